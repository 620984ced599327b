//! Moving in from LIO, the kernel's target, and out to it: its configuration as rtslib-fb saves it.
//!
//! Owns: what each object, attribute and parameter of `saveconfig.json` means here, and the other way round.
//! Promises: initiators find the same disks under the same names; what has no meaning on the other side is listed
//! with its path and the reason; all mistakes are told at once, with their places. Refuses to know: files, and
//! whether what is named is there.

mod alua;
mod auth;
mod export;
mod import;
mod json;
mod known;
mod names;
mod params;
mod ports;
mod stores;
mod targets;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

pub use export::{NAMELESS, export};
pub use import::import;
pub use known::{Known, OF_ACLS, OF_ALUA, OF_GROUPS, OF_PARAMETERS, OF_STORES};
pub use params::digest;
pub use stores::FILES_ARE_THIN;

/// Where LIO keeps its configuration.
pub const SAVECONFIG: &str = "/etc/target/saveconfig.json";

/// Something that has no meaning on the other side, or another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Where it stands, as bytes of what was read; empty for what was made.
    pub span: Range<usize>,
    /// Its path, like `storage_objects[0].attributes`.
    pub path: String,
    /// Why it is not taken over as it is.
    pub reason: String,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// A configuration for the other side, with secrets in it, and what it leaves out.
#[derive(Debug)]
pub struct Moved {
    /// The text of the file.
    pub text: Zeroizing<String>,
    /// What has no meaning there, in the order in which it was met.
    pub listed: Vec<Listed>,
}
