//! The drive around the medium: whether it runs, whether a medium is in it, who keeps that in.
//!
//! START STOP UNIT (SBC-4 section 5.31, and MMC-6), PREVENT ALLOW MEDIUM REMOVAL (SPC-5 section 6.17), and what
//! follows from them for all other commands.

use super::cdb::Cdb;
use super::check::bad_field;
use super::reserve::Needs;
use super::{
    Answered, Asc, Context, DeviceType, Effects, Failure, ItNexus, Lu, Outcome, Sense, SenseKey, SharedOp,
};

/// Power condition (SPC-5 section 5.13). Nothing of ours spins: idle and standby are remembered
/// and reported until a command needs the medium, which is served as in active.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Power {
    /// Ready.
    #[default]
    Active,
    /// Ready, by command in the idle condition.
    Idle,
    /// Ready, by command in the standby condition.
    Standby,
    /// The medium is not accessible until START STOP UNIT starts it.
    Stopped,
}

/// The state of the drive.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Drive {
    /// The power condition that a command has given it. `Lu::power` tells whether it still has it.
    pub power: Power,
    /// Which of the idle and standby conditions that commands have given it this is.
    rests: u32,
    /// The medium, which is removable, was taken out.
    pub ejected: bool,
    /// How often it was taken out or put in.
    pub(super) moves: u32,
    /// The nexuses that prevent the removal of the medium.
    preventing: Vec<Prevention>,
}

/// One nexus prevents the removal of the medium. On a drive of the multimedia command set it can do so in two ways, each
/// of which it allows again by itself (MMC-6, PREVENT ALLOW MEDIUM REMOVAL).
#[derive(Clone, PartialEq, Eq, Debug)]
struct Prevention {
    nexus: ItNexus,
    persistent: bool,
}

/// What a device that is passed through is to be told of the removal of its medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Removal {
    /// Whether it is prevented.
    pub prevent: bool,
    /// Whether that is the persistent prevention of drives.
    pub persistent: bool,
    /// Whether the nexus that asked prevents it only since.
    pub is_new: bool,
}

impl Removal {
    /// The command that says so.
    pub fn cdb(self) -> [u8; 6] {
        [0x1e, 0, 0, 0, u8::from(self.prevent) | u8::from(self.persistent) << 1, 0]
    }
}

/// A change of the drive that a command asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriveOp {
    /// Takes on a power condition.
    Power {
        /// Which.
        to: Power,
        /// Whether the write cache is to be flushed before the answer.
        flush: bool,
    },
    /// Puts the medium in, and starts.
    Load,
    /// Takes the medium out.
    Eject {
        /// Whether the write cache is to be flushed before the answer.
        flush: bool,
    },
    /// From now on this nexus prevents the removal of the medium, or no longer does.
    Prevent {
        /// Whether it does.
        prevent: bool,
        /// Whether it is the persistent prevention of drives.
        persistent: bool,
    },
}

impl Power {
    /// Whether the next access to the medium ends it.
    fn rests(self) -> bool {
        matches!(self, Self::Idle | Self::Standby)
    }
}

impl Lu {
    /// The power condition that the drive is in.
    pub(super) fn power(&self) -> Power {
        let Drive { power, rests, .. } = self.state.drive;
        if power.rests() && self.counters.rests_ended() == rests { Power::Active } else { power }
    }

    /// A command needs the medium: the drive is active from now on (SPC-5 section 5.13.7, Idle to Active_Wait).
    pub(super) fn rouse(&self) {
        if self.power().rests() {
            self.counters.end_rest(self.state.drive.rests);
        }
    }
}

impl Drive {
    /// Whether every command can be served, and none changes anything by that.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.power == Power::Active && !self.ejected
    }

    /// Whether every command can be served.
    pub(super) fn is_ready(&self) -> bool {
        self.power != Power::Stopped && !self.ejected
    }

    /// Why the medium is not accessible; `running` says whether it must be more than just there.
    pub(super) fn check(&self, running: bool) -> Result<(), Failure> {
        if self.ejected {
            return Err(Sense::not_ready(Asc::MEDIUM_NOT_PRESENT_TRAY_OPEN).into());
        }
        if running && self.power == Power::Stopped {
            return Err(Sense::not_ready(Asc::INITIALIZING_COMMAND_REQUIRED).into());
        }
        Ok(())
    }

    /// What REQUEST SENSE tells of a drive in that power condition (SBC-4 section 4.21, SPC-5 section 6.39).
    pub(super) fn sense(&self, power: Power) -> Sense {
        match power {
            _ if self.ejected => Sense::not_ready(Asc::MEDIUM_NOT_PRESENT_TRAY_OPEN),
            Power::Active => Sense::none(),
            Power::Idle => Sense::new(SenseKey::NO_SENSE, Asc::IDLE_BY_COMMAND),
            Power::Standby => Sense::new(SenseKey::NO_SENSE, Asc::STANDBY_BY_COMMAND),
            Power::Stopped => Sense::not_ready(Asc::INITIALIZING_COMMAND_REQUIRED),
        }
    }

    /// Does `op`, or says why not; then nothing has changed.
    pub(super) fn apply(&mut self, op: DriveOp, nexus: &ItNexus) -> Result<Effects, Failure> {
        match op {
            DriveOp::Power { to, flush } => {
                self.power = to;
                self.rests = self.rests.wrapping_add(to.rests().into());
                return Ok(Effects { flush, ..Effects::default() });
            }
            DriveOp::Prevent { prevent, persistent } => {
                let prevention = Prevention { nexus: nexus.clone(), persistent };
                self.preventing.retain(|p| *p != prevention);
                self.preventing.extend(prevent.then_some(prevention));
            }
            DriveOp::Load | DriveOp::Eject { .. } if self.is_prevented() => {
                return Err(Sense::illegal(Asc::MEDIUM_REMOVAL_PREVENTED).into());
            }
            DriveOp::Load => return Ok(self.load()),
            DriveOp::Eject { flush } => {
                self.move_to(true);
                return Ok(Effects { flush, ..Effects::default() });
            }
        }
        Ok(Effects::default())
    }

    /// The others cannot know that it is the same medium; who loads it knows that it is loaded.
    fn load(&mut self) -> Effects {
        let attention_others = self.ejected.then_some(Asc::MEDIUM_MAY_HAVE_CHANGED);
        self.move_to(false);
        self.power = Power::Active;
        Effects { attention_others, ..Effects::default() }
    }

    fn move_to(&mut self, ejected: bool) {
        if self.ejected != ejected {
            self.ejected = ejected;
            self.moves = self.moves.saturating_add(1);
        }
    }

    /// Whether anybody keeps the medium in.
    pub(super) fn is_prevented(&self) -> bool {
        !self.preventing.is_empty()
    }

    /// Whether anybody does so in the persistent way.
    pub(super) fn is_prevented_for_long(&self) -> bool {
        self.preventing.iter().any(|p| p.persistent)
    }

    /// What a device that is passed through is to be told when this has become of `before` by `op` of `nexus`. To the
    /// device all nexuses are one, so it hears that removal is allowed when the last that prevented it has allowed it or
    /// is gone. What a nexus itself asks for it always hears: what has happened to it meanwhile is not known here.
    pub(super) fn to_device(&self, before: &Self, op: &SharedOp, nexus: &ItNexus) -> Vec<Removal> {
        let asked = |persistent| match op {
            SharedOp::Drive(DriveOp::Prevent { prevent, persistent: p }) if *p == persistent => {
                Some(*prevent)
            }
            _ => None,
        };
        let told = |persistent| {
            let prevented = |drive: &Self| drive.preventing.iter().any(|p| p.persistent == persistent);
            let own = before.preventing.iter().any(|p| p.persistent == persistent && p.nexus == *nexus);
            let prevent = match asked(persistent) {
                Some(true) => true,
                Some(false) if !prevented(self) => false,
                _ if prevented(before) && !prevented(self) => false,
                _ => return None,
            };
            Some(Removal { prevent, persistent, is_new: !own })
        };
        [false, true].into_iter().filter_map(told).collect()
    }

    /// Ends what that nexus prevented.
    pub(super) fn nexus_lost(&mut self, nexus: &ItNexus) {
        self.preventing.retain(|p| p.nexus != *nexus);
    }

    /// A logical unit reset starts the drive and ends all prevention; what is ejected stays so.
    pub(super) fn reset(&mut self) {
        self.power = Power::Active;
        self.preventing.clear();
    }
}

/// START STOP UNIT. IMMED changes nothing: what it asks for is done at once.
pub(super) fn start_stop(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let (start, condition) = (cdb.bit::<4>(0), cdb.u8::<4>() >> 4);
    if !(start && condition == 0) {
        lu.state.reservations.check(cx.nexus, Needs::Writing)?;
    }
    let op = if condition == 0 { started(cdb, lu, start)? } else { conditioned(cdb, lu, condition)? };
    Ok(op.map_or(Outcome::Good, |op| Outcome::Shared(SharedOp::Drive(op))))
}

/// START and LOEJ; what is so already is left so, but flushed again if asked for: whoever made it so may not have.
fn started(cdb: &Cdb, lu: &Lu, start: bool) -> Result<Option<DriveOp>, Failure> {
    let (drive, load_eject, no_flush) = (&lu.state.drive, cdb.bit::<4>(1), cdb.bit::<4>(2));
    if load_eject && !lu.facts.removable {
        return Err(bad_field(4, 1));
    }
    let optical = lu.facts.device == DeviceType::Cdrom;
    // FL of a drive: another format layer of the disc, which has one.
    if optical && no_flush {
        return Err(bad_field(4, 2));
    }
    let flush = !no_flush && !optical;
    Ok(match (load_eject, start) {
        (true, true) => Some(DriveOp::Load).filter(|_| !drive.is_ready()),
        (true, false) => Some(DriveOp::Eject { flush }).filter(|_| flush || !drive.ejected),
        (false, true) => {
            drive.check(false)?;
            Some(DriveOp::Power { to: Power::Active, flush: false }).filter(|_| drive.power != Power::Active)
        }
        (false, false) => {
            // A drive turns its disc again when somebody reads it (MMC-6, START STOP UNIT).
            let to = if optical { Power::Standby } else { Power::Stopped };
            Some(DriveOp::Power { to, flush }).filter(|_| flush || lu.power() != to)
        }
    })
}

/// A POWER CONDITION other than START_VALID: then START and LOEJ are not looked at. There are no
/// timers, so LU_CONTROL means active, and forcing a timer to zero means its condition. Of each
/// condition there is one kind.
fn conditioned(cdb: &Cdb, lu: &Lu, condition: u8) -> Result<Option<DriveOp>, Failure> {
    let to = match condition {
        0x1 | 0x7 => Power::Active,
        0x2 | 0xa => Power::Idle,
        0x3 | 0xb => Power::Standby,
        _ => return Err(bad_field(4, 7)),
    };
    if cdb.u8::<3>() & 0x0f != 0 {
        return Err(bad_field(3, 3));
    }
    let flush = to == Power::Standby && !cdb.bit::<4>(2);
    let is_so = lu.state.drive.power == to && lu.power() == to;
    Ok(Some(DriveOp::Power { to, flush }).filter(|_| flush || !is_so))
}

/// Whether removal is prevented, and whether persistently, which only drives know.
fn prevention(cdb: &Cdb, is_drive: bool) -> Result<(bool, bool), Failure> {
    let (prevent, persistent) = (cdb.bit::<4>(0), cdb.bit::<4>(1));
    if persistent && !is_drive { Err(bad_field(4, 1)) } else { Ok((prevent, persistent)) }
}

/// PREVENT ALLOW MEDIUM REMOVAL. Only allowing passes a reservation of others (SPC-5 table 68).
pub(super) fn prevent_allow(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let (prevent, persistent) = prevention(cdb, lu.facts.device != DeviceType::Disk)?;
    if prevent {
        lu.state.reservations.check(cx.nexus, Needs::Writing)?;
    }
    let is_this = |p: &Prevention| p.nexus == *cx.nexus && p.persistent == persistent;
    if lu.state.drive.preventing.iter().any(is_this) == prevent {
        return Ok(Outcome::Good);
    }
    Ok(Outcome::Shared(SharedOp::Drive(DriveOp::Prevent { prevent, persistent })))
}

/// The same of a device that is passed through, after its reservations were asked: its owner tells it, for all nexuses.
pub(super) fn pass_prevent_allow(cdb: &Cdb, is_drive: bool) -> Answered {
    let (prevent, persistent) = prevention(cdb, is_drive)?;
    Ok(Outcome::Shared(SharedOp::Drive(DriveOp::Prevent { prevent, persistent })))
}

#[cfg(test)]
#[path = "drive_tests.rs"]
mod tests;
