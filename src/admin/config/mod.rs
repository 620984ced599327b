//! The configuration: from a TOML file, all mistakes at once, to plain resolved data.
//!
//! Two representations. As written (`file`): every key with its place. Resolved ([`Config`]): sizes in
//! bytes, names normalised, references followed, nothing left to check. The one conversion between them is
//! where all checking is, and it goes on after a mistake, so that one run tells of all of them. It looks at
//! no device and opens no socket: a disk that is absent today is no mistake in the file. Only interfaces that
//! link-local addresses name must be there.

mod alua;
mod auth;
mod device;
mod file;
mod identity;
mod kept;
mod loopback;
mod names;
mod params;
mod parts;
mod places;
mod portal;
mod problem;
mod qos;
mod reader;
mod resolve;
mod server;
mod source;
mod store;
mod target;
pub mod words;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

pub use alua::{ACCESS, NO_PORT};
pub use auth::{NO_CHAP, UNFINISHED};
pub use identity::{show_naa, show_uuid};
pub use kept::Kept;
pub use loopback::LoopbackConfig;
pub use names::{check_iqn, default_iqn};
pub use places::Places;
pub use portal::{DEFAULT_PORT, PortalConfig, check_open, parse_destination, parse_portal};
pub use problem::{At, Problem, Report, Severity, Told};
pub use server::{DEFAULT_BUFFER_MEMORY, Limits, MAX_POLL_US, ServerConfig, parse_buffer_memory};
pub use source::Source;
pub use store::check_geometry;
pub use target::{NO_ACL, NO_PORTAL};

use super::listen::Portal;
use crate::ids::LuId;
use crate::store::StoreConfig;
use crate::target::{Catalog, Discovery, LOCAL_PORTAL, Quota, Target};
use file::FileConfig;
use resolve::Resolver;

/// The configuration file when none is named.
pub const DEFAULT_FILE: &str = "/etc/ringtgt/ringtgt.toml";

/// So many errors of syntax are told: one often leads to all that follow.
const MOST_SYNTAX: usize = 20;

/// A configuration longer than this is something else: 10,000 logical units need 2 MiB.
const MAX_FILE: u64 = 64 << 20;

/// What the daemon is to do, resolved and checked.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The daemon itself.
    pub server: ServerConfig,
    /// The stores. The index of one is the [`LuId`] of its logical unit.
    pub stores: Vec<Arc<StoreConfig>>,
    /// What logical units may do in a second, as far as they are limited.
    pub quotas: HashMap<LuId, Quota>,
    /// The backstores that are disks of this host, too.
    pub loopbacks: Vec<LoopbackConfig>,
    /// The targets, in the order of the file.
    pub targets: Vec<Target>,
    /// Who may ask which targets there are, and what is shown.
    pub discovery: Discovery,
    /// What is said of portals, in the order of the file.
    pub portals: Vec<PortalConfig>,
    /// Where the stores really are, and which is there: each place is that of one.
    pub media: HashMap<PathBuf, String>,
}

impl Config {
    /// Whether something of the backstore of that name is limited.
    pub fn is_limited(&self, name: &str) -> bool {
        let number = self.stores.iter().position(|store| store.name == name);
        number.is_some_and(|number| self.quotas.contains_key(&LuId(number as u32)))
    }

    /// Adds the targets by which local disks are reached. Whoever serves this needs them, and nobody else: they are not
    /// written anywhere.
    pub fn expose_local(&mut self) {
        self.targets.extend(loopback::targets(&self.loopbacks, &self.stores));
    }

    /// The addresses to listen on, each once, in the order of the file.
    pub fn listeners(&self) -> Vec<Portal> {
        // Nobody listens for what comes from here.
        let mut seen = std::collections::HashSet::from([LOCAL_PORTAL]);
        let portals = self.targets.iter().flat_map(|t| &t.tpgs).flat_map(|g| &g.portals);
        portals.filter(|p| seen.insert(**p)).map(|p| self.portal(*p)).collect()
    }

    fn portal(&self, address: SocketAddr) -> Portal {
        let said = self.portals.iter().find(|p| p.address == address);
        let options = said.map(|p| p.options.clone()).unwrap_or_default();
        Portal { address, options }
    }

    /// Puts the addresses that listeners got in the place of those that were asked for: port 0 means
    /// "any free port", and groups must know their real one.
    pub fn bind(&mut self, bound: &[(SocketAddr, SocketAddr)]) {
        let listed = self.targets.iter_mut().flat_map(|t| &mut t.tpgs).flat_map(|g| &mut g.portals);
        for portal in listed.chain(self.portals.iter_mut().map(|p| &mut p.address)) {
            if let Some((_, got)) = bound.iter().find(|(asked, _)| asked == portal) {
                *portal = *got;
            }
        }
    }

    /// The catalogue of this configuration, whose targets it takes with it.
    pub fn take_catalog(&mut self) -> Catalog {
        Catalog {
            targets: std::mem::take(&mut self.targets).into_iter().map(Arc::new).collect(),
            discovery: std::mem::take(&mut self.discovery).into(),
            quotas: std::mem::take(&mut self.quotas),
            redirects: self.portals.iter().filter_map(|p| Some((p.address, p.redirect?))).collect(),
            removed: Vec::new(),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}; {remedy}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
        /// What to do.
        remedy: String,
    },
    /// The file is wrong.
    #[error("{0}")]
    Invalid(Report),
}

/// Reads and checks the file at `path`. The report that comes with a configuration has only warnings.
pub fn load(path: &Path) -> Result<(Config, Report), LoadError> {
    let (source, mode) = read_source(path)?;
    parse(source, &dir_of(path), Some(mode)).map_err(LoadError::Invalid)
}

/// Where the relative paths of a file start: where it is, wherever one was started who reads it.
pub fn dir_of(file: &Path) -> PathBuf {
    // A name alone has no directory of its own.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.into());
    file.parent().unwrap_or_else(|| Path::new("/")).to_owned()
}

/// Reads the file at `path`, with the permission bits that it has.
///
/// # Errors
/// When it cannot be read, or is no text.
pub fn read_source(path: &Path) -> Result<(Source, u32), LoadError> {
    let (bytes, mode) = read(path).map_err(|error| {
        let remedy = remedy_of_reading(&error);
        LoadError::Read { path: path.into(), error, remedy }
    })?;
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|e| LoadError::Invalid(not_text(&name, &e)))?;
    Ok((Source::new(name, text), mode))
}

/// Checks a text. `dir` is where its relative paths start, `mode` the permission bits of its file, which
/// decide whether secrets may stand in it.
pub fn parse(mut source: Source, dir: &Path, mode: Option<u32>) -> Result<(Config, Report), Report> {
    let text = zeroize::Zeroizing::new(source.text().to_owned());
    let (table, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        source.distrust();
        return Err(no_toml(source, &errors));
    }
    source.trust(reader::secrets(table.get_ref()));
    let mut problems = Vec::new();
    let file: FileConfig = reader::read_table(table.into_inner(), 0..0, &mut problems);
    let mut resolver = Resolver::new(dir, mode, problems);
    let config = resolver.config(file);
    let report = Report::new(source, resolver.finish());
    if report.errors() > 0 { Err(report) } else { Ok((config, report)) }
}

fn read(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len().min(MAX_FILE)).unwrap_or_default() + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is longer than 64 MiB, so it is no configuration"));
    }
    Ok((bytes, meta.permissions().mode() & 0o7777))
}

fn remedy_of_reading(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "create it, or name another; an empty file is valid".into(),
        io::ErrorKind::PermissionDenied => "run ringtgt as the owner of the file".into(),
        io::ErrorKind::IsADirectory => "name the file in it".into(),
        _ => "name a text file".into(),
    }
}

/// What stands before the first byte that is no text tells where that is.
fn not_text(name: &str, error: &std::string::FromUtf8Error) -> Report {
    let end = error.utf8_error().valid_up_to();
    let what = format!("byte {end} is not UTF-8 text");
    let mut source = Source::new(name, String::from_utf8_lossy(&error.as_bytes()[..end]));
    source.distrust();
    Report::new(
        source,
        vec![Problem::error(end..end, what, "configurations are UTF-8", "save the file as UTF-8")],
    )
}

fn no_toml(source: Source, errors: &[toml::de::Error]) -> Report {
    if source.text().trim_start().starts_with('{') {
        let reason = "a configuration is TOML; that of LIO, which targetcli saves, is JSON";
        let remedy = format!("make one of it: ringtgt import lio {} --output FILE", source.name());
        return Report::new(source, vec![Problem::error(At::Whole, "this is JSON", reason, remedy)]);
    }
    let told = errors.iter().take(MOST_SYNTAX).map(syntax_problem).collect();
    Report::new(source, told).and_more(errors.len().saturating_sub(MOST_SYNTAX))
}

fn syntax_problem(error: &toml::de::Error) -> Problem {
    let what = error.message().replace('\n', ", ");
    let reason = "so this is not TOML";
    let remedy = "write `name = value`, one on a line, with texts in quotes";
    Problem::error(error.span().unwrap_or_default(), what, reason, remedy)
}
