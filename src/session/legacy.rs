//! A session that goes on with another connection (RFC 7143 section 6.3.4).
//!
//! At ErrorRecoveryLevel 0 the tasks of the old connection end with it, and nobody is told. What the session itself
//! has goes on: its numbers, what was negotiated for all of it, what its nexus has yet to be told of its logical units,
//! what WRITE BUFFER wrote, and the records of copies.

use super::copy::Copies;
use super::keys::Negotiated;
use super::revise::{lost, merge};
use super::{MappedLun, Session};
use crate::ids::LuId;
use crate::scsi::Echo;
use crate::wire::sn::Sn;

/// What one connection of a session leaves to the next.
#[derive(Debug)]
pub struct Legacy {
    negotiated: Negotiated,
    exp_cmd_sn: Sn,
    max_cmd_sn: Sn,
    luns: Vec<MappedLun>,
    echo: Echo,
    copies: Copies,
}

impl Session {
    /// Whether it goes on with a session whose last connection has not yet left it what it had.
    pub fn awaits_legacy(&self) -> bool {
        self.awaits_legacy
    }

    /// The connection ends, its tasks have ended ([`Session::abort_all`]), and the session goes on with another.
    /// Nothing, when there is nothing to go on with.
    pub fn bequeath(&mut self) -> Option<Legacy> {
        (!self.awaits_legacy).then(|| Legacy {
            negotiated: self.negotiated.clone(),
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.max_cmd_sn,
            luns: std::mem::take(&mut self.luns),
            echo: std::mem::take(&mut self.echo),
            copies: std::mem::take(&mut self.copies),
        })
    }

    /// Goes on with what the last connection had. What its nexus was to be told meanwhile is told behind the rest. Logical
    /// units that the last connection has seen and this one does not.
    pub fn inherit(&mut self, legacy: Legacy) -> Vec<LuId> {
        let Legacy { negotiated, exp_cmd_sn, max_cmd_sn, luns, echo, copies } = legacy;
        self.awaits_legacy = false;
        self.negotiated = self.negotiated.joining(negotiated);
        self.established.negotiated = self.negotiated.clone();
        self.exp_cmd_sn = exp_cmd_sn;
        // It never goes back, and nothing is open any more.
        let open = exp_cmd_sn.add(self.command_window).back(1);
        self.max_cmd_sn = if max_cmd_sn.precedes(open) { open } else { max_cmd_sn };
        merge(&mut self.luns, &luns);
        (self.echo, self.copies) = (echo, copies);
        lost(&luns, &self.luns)
    }

    /// ExpCmdSN and MaxCmdSN, for the response that ends the login.
    pub fn window(&self) -> (u32, u32) {
        (self.exp_cmd_sn.0, self.max_cmd_sn.0)
    }

    /// The connection takes up its work at `now`.
    pub fn begin_full_feature(&mut self, now: u64) {
        self.last_heard = now;
    }
}
