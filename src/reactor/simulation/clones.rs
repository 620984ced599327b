//! Ranges that stores copy by themselves: such a request touches two logical units, and keeps the rules of both.
//!
//! The simulated disks cannot do it, which is found out in the blocking pool; the request is held up and waited for all
//! the same.

use std::time::Duration;

use super::super::disk::Client as Who;
use super::rig::{Plan, Rig};
use super::seeds;
use crate::ids::{ConnId, LuId, TaskId};
use crate::scsi::Failure;
use crate::session::host::DiskOp;

const WAIT: Duration = Duration::from_secs(60);
const SOURCE: LuId = LuId(0);
const DESTINATION: LuId = LuId(1);

/// A range that both sides of [`CLONE`] meet.
const SHARED: DiskOp = DiskOp::Enclose { offset: 1024, len: 512 };
const CLONE: DiskOp = DiskOp::Clone { from: SOURCE, from_offset: 0, offset: 1024, len: 2048 };

fn rig(seed: u64) -> Rig {
    Rig::new(seed, &Plan { reactors: 1 + seed as usize % 3, disks: vec![16, 16], ..Plan::default() })
}

/// A task on some reactor.
#[derive(Debug, Clone, Copy)]
struct Actor {
    core: usize,
    who: Who,
}

impl Actor {
    fn new(rig: &Rig, number: u32) -> Self {
        let conn = ConnId { index: 9000 + number, generation: 0 };
        let who = Who::Task { conn, task: TaskId { index: 0, generation: 0 }, part: 0 };
        Self { core: rig.chance(rig.reactors.len() as u64) as usize, who }
    }

    fn submit(self, rig: &mut Rig, lu: LuId, op: DiskOp) {
        rig.reactors[self.core].as_mut().expect("it runs").world.submit(self.who, lu, op);
    }

    /// The result of its request, once there is one.
    fn heard(self, rig: &Rig) -> Option<Result<(), Failure>> {
        let heard = &rig.reactors[self.core].as_ref().expect("it runs").world.heard;
        heard.iter().find(|(client, _)| client.is_same_task(self.who)).map(|(_, result)| *result)
    }

    /// Waits for that result, and forgets it.
    fn hear(self, rig: &mut Rig) -> Result<(), Failure> {
        rig.until(&mut [], WAIT, "a request ends", |rig, _| self.heard(rig).is_some());
        let heard = &mut rig.reactors[self.core].as_mut().expect("it runs").world.heard;
        let at = heard.iter().position(|(client, _)| client.is_same_task(self.who));
        heard.swap_remove(at.expect("it was heard")).1
    }
}

#[test]
fn a_clone_waits_for_whoever_has_either_range_to_itself() {
    seeds(24, |seed| {
        let mut rig = rig(seed);
        let (owner, copier) = (Actor::new(&rig, 1), Actor::new(&rig, 2));
        let lu = if rig.chance(2) == 0 { SOURCE } else { DESTINATION };
        owner.submit(&mut rig, lu, SHARED);
        assert_eq!(owner.hear(&mut rig), Ok(()));
        copier.submit(&mut rig, DESTINATION, CLONE);
        rig.pass(&mut [], Duration::from_millis(500));
        assert_eq!(copier.heard(&rig), None);
        owner.submit(&mut rig, lu, DiskOp::Disclose);
        assert_eq!(owner.hear(&mut rig), Ok(()));
        // It was tried at least.
        assert!(copier.hear(&mut rig).is_err());
        rig.finish(&mut []);
    });
}

#[test]
fn whoever_wants_either_range_to_itself_waits_for_the_clone() {
    seeds(48, |seed| {
        let mut rig = rig(seed);
        let (owner, copier) = (Actor::new(&rig, 1), Actor::new(&rig, 2));
        let lu = if rig.chance(2) == 0 { SOURCE } else { DESTINATION };
        copier.submit(&mut rig, DESTINATION, CLONE);
        owner.submit(&mut rig, lu, SHARED);
        assert_eq!(owner.hear(&mut rig), Ok(()));
        assert!(copier.heard(&rig).is_some(), "the clone may still be under way");
        owner.submit(&mut rig, lu, DiskOp::Disclose);
        assert_eq!((owner.hear(&mut rig), copier.hear(&mut rig).is_err()), (Ok(()), true));
        rig.finish(&mut []);
    });
}
