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

impl ItNexus {
    fn ports(&self) -> (&str, [u8; 6], &str, u16) {
        (&self.initiator, self.isid, &self.target, self.tpg_tag)
    }

    /// The SCSI name string of a port of the target (SPC-5 section 7.7.6.11, RFC 7143 section 4.4.1).
    pub(super) fn port_name(&self, tag: u16) -> String {
        format!("{},t,0x{tag:04x}", self.target)
    }

    /// The initiator port's iSCSI TransportID (SPC-5 section 7.6.4.6, format 01b): name, the
    /// separator `,i,0x` and the ISID in hexadecimal, ended by a NUL and filled up to a multiple of
    /// four and at least 20 bytes.
    pub fn transport_id(&self) -> Vec<u8> {
        let [a, b, c, d, e, f] = self.isid;
        let name = format!("{},i,0x{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}\0", self.initiator);
        let length = name.len().next_multiple_of(4).max(20);
        let mut id = vec![0x45, 0];
        id.extend((length as u16).to_be_bytes());
        id.extend(name.as_bytes());
        id.resize(4 + length, 0);
        id
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
    fn transport_id_is_terminated_and_padded() {
        let nexus = ItNexus {
            initiator: "iqn.2026-01.a:b".into(),
            isid: [0x80, 1, 2, 3, 4, 0xab],
            target: "iqn.t".into(),
            tpg_tag: 1,
            relative_port: 1,
        };
        let id = nexus.transport_id();
        assert_eq!(&id[..4], [0x45, 0, 0, 36]);
        assert_eq!(&id[4..37], b"iqn.2026-01.a:b,i,0x8001020304ab\0");
        assert_eq!(id.len(), 40);
    }

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
