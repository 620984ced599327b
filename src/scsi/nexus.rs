//! Who speaks to whom: the I_T nexus, to which reservations and unit attentions belong.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// An I_T nexus of iSCSI (RFC 7143 section 4.4.1): an initiator port (name and ISID) at a target
/// port (name and portal group).
///
/// The relative port identifier only accompanies it: it may change with the configuration, so two
/// nexuses that differ in nothing else are the same one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ItNexus {
    /// The initiator's iSCSI name, normalised.
    pub initiator: String,
    /// The initiator session identifier.
    pub isid: [u8; 6],
    /// The target's iSCSI name, normalised.
    pub target: String,
    /// The target portal group tag.
    pub tpg_tag: u16,
    /// The relative target port identifier (SPC-5 section 6.7.9) of that portal group.
    pub relative_port: u16,
}

/// A target port of iSCSI: a portal group of a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    /// The target portal group tag.
    pub tag: u16,
    /// The relative target port identifier.
    pub relative: u16,
}

/// A target port by which a logical unit is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetPort {
    /// The target's iSCSI name, normalised.
    pub target: String,
    /// The target portal group tag.
    pub tpg_tag: u16,
    /// The relative target port identifier.
    pub relative_port: u16,
}

impl ItNexus {
    /// The cause of what no nexus has caused. It equals none that can log in.
    pub fn nobody() -> Self {
        Self { initiator: String::new(), isid: [0; 6], target: String::new(), tpg_tag: 0, relative_port: 0 }
    }

    /// The nexus of an initiator port and a target port.
    pub(super) fn between(initiator: &str, isid: [u8; 6], port: &TargetPort) -> Self {
        Self {
            initiator: initiator.to_owned(),
            isid,
            target: port.target.clone(),
            tpg_tag: port.tpg_tag,
            relative_port: port.relative_port,
        }
    }

    /// The SCSI name string of a port of the target (SPC-5 section 7.7.6.11, RFC 7143 section 4.4.1).
    pub(super) fn port_name(&self, tag: u16) -> String {
        format!("{},t,0x{tag:04x}", self.target)
    }

    /// Its target port.
    pub(super) fn target_port(&self) -> TargetPort {
        let (target, tpg_tag, relative_port) = (self.target.clone(), self.tpg_tag, self.relative_port);
        TargetPort { target, tpg_tag, relative_port }
    }

    /// Whether both are of the same initiator port.
    pub(super) fn shares_initiator_port(&self, other: &Self) -> bool {
        (&self.initiator, self.isid) == (&other.initiator, other.isid)
    }

    fn ports(&self) -> (&str, [u8; 6], &str, u16) {
        (&self.initiator, self.isid, &self.target, self.tpg_tag)
    }
}

impl PartialEq for ItNexus {
    fn eq(&self, other: &Self) -> bool {
        self.ports() == other.ports()
    }
}

impl Eq for ItNexus {}

impl Hash for ItNexus {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ports().hash(state);
    }
}

impl fmt::Display for ItNexus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {},t,{}", self.initiator, self.target, self.tpg_tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relative_port_does_not_tell_nexuses_apart() {
        let nexus = |relative_port, tpg_tag| ItNexus {
            initiator: "i".into(),
            isid: [0; 6],
            target: "t".into(),
            tpg_tag,
            relative_port,
        };
        assert_eq!(nexus(1, 1), nexus(2, 1));
        assert_ne!(nexus(1, 1), nexus(1, 2));
    }
}
