//! Where objects stand in a configuration that is right: what of it cannot be had is found out long after it was read.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;

use toml::de::DeTable;

use super::file::FileConfig;
use super::problem::At;
use super::{parse_portal, reader};

/// The places of the objects of a text, by what they are called.
#[derive(Debug, Default)]
pub struct Places {
    stores: HashMap<String, Range<usize>>,
    portals: HashMap<SocketAddr, Range<usize>>,
}

impl Places {
    /// Those of this text.
    pub fn of(text: &str) -> Self {
        let (table, _) = DeTable::parse_recoverable(text);
        let file: FileConfig = reader::read_table(table.into_inner(), 0..0, &mut Vec::new());
        let mut places = Self::default();
        for store in file.backstore.into_iter().flatten() {
            if let Some(name) = store.name {
                places.stores.entry(name.get_ref().clone()).or_insert_with(|| name.span());
            }
        }
        let groups = file.target.into_iter().flatten().flat_map(|target| target.tpg.unwrap_or_default());
        for portal in groups.filter_map(|group| group.portals).flat_map(toml::Spanned::into_inner) {
            if let Ok(address) = parse_portal(portal.get_ref(), At::Whole) {
                places.portals.entry(address).or_insert_with(|| portal.span());
            }
        }
        places
    }

    /// Where the backstore of that name stands.
    pub fn store(&self, name: &str) -> At {
        self.stores.get(name).cloned().map_or(At::Whole, At::File)
    }

    /// Where that portal stands first.
    pub fn portal(&self, address: SocketAddr) -> At {
        self.portals.get(&address).cloned().map_or(At::Whole, At::File)
    }
}
