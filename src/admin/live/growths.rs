//! Files, and nothings, that are to have another length from now on.

use super::Running;
use super::draft::{Draft, DraftStore};
use super::lacking::Lacking;
use crate::ids::LuId;
use crate::reactor::Control;
use crate::scsi::{Failure, SharedOp};
use crate::store::Growth;

/// Those of a change. They are as they were when this goes before anybody has been shown.
pub(super) struct Growths(Vec<Growing>);

struct Growing {
    lu: LuId,
    name: String,
    growth: Growth,
}

impl Growths {
    /// Makes the files that long, as far as they can be.
    pub(super) fn begin(running: &Running, draft: &Draft, lacking: &mut Lacking) -> Self {
        let begin = |store: &DraftStore| {
            let backing = &running.stores.get(&store.lu)?.unit.backing;
            let (lu, name) = (store.lu, store.config.name.clone());
            let growth = lacking.of_store(&name, Growth::begin(backing, store.config.size))?;
            Some(Growing { lu, name, growth })
        };
        Self(draft.stores.iter().filter(|store| store.resized).filter_map(begin).collect())
    }

    /// Everybody is served all of them from now on, and told; what has gone wrong.
    pub(super) fn show(self, control: &Control) -> Vec<String> {
        let failed = |name: &str, why: &dyn std::fmt::Debug| {
            format!("backstore {name}: initiators are not told of its new size yet ({why:?})")
        };
        let show = |Growing { lu, name, growth }| match growth.keep() {
            Err(error) => Some(failed(&name, &error)),
            Ok(blocks) => {
                let told: Result<(), Failure> = control.change_unit(lu, SharedOp::Resize { blocks });
                told.err().map(|failure| failed(&name, &failure))
            }
        };
        self.0.into_iter().filter_map(show).collect()
    }
}
