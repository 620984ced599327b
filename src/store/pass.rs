//! Commands on their way to a device that is passed through.
//!
//! Owns: the memory that the device works on for as long as a command takes, and the threads that wait for it, which
//! each device has of its own: a command may take a day, and no other store is to wait for it. Promises: a command that
//! was recalled before its turn came is never sent; what the device or its host adapter has answered is told as status
//! and sense data. Refuses to know: what commands mean.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use arrayvec::ArrayVec;

use super::blocking::BlockingPool;
use crate::mem::Lent;
use crate::scsi::{Asc, Device, Failure, MAX_DEVICE_SENSE, MAX_SENSE, PassOrder, PassReport, Sense, status};
use crate::sys::{self, ScsiAnswer, ScsiData};

/// A device that is passed through.
#[derive(Debug)]
pub struct PassMedium {
    /// The way to it.
    pub passage: Box<dyn Passage>,
    /// The threads that wait for it; none: those of all stores do.
    pub threads: Option<BlockingPool>,
    /// What it is.
    pub device: Device,
}

/// Runs commands on a device.
pub trait Passage: fmt::Debug + Send + Sync {
    /// Runs one, and waits for its end.
    ///
    /// # Errors
    /// When the device has not got it.
    fn run(&self, order: &PassOrder, data: ScsiData<'_>) -> io::Result<PassReport>;

    /// Of the node by which it is reached, if there is one.
    fn metadata(&self) -> Option<Metadata> {
        None
    }
}

/// A command, as the reactor that asked and the thread that waits share it.
#[derive(Debug)]
pub struct Errand {
    order: PassOrder,
    /// Data goes to the initiator, if there is any.
    inward: bool,
    report: OnceLock<PassReport>,
    stage: AtomicU8,
}

/// Nobody has sent it yet.
const WAITS: u8 = 0;
/// The device has it, or has had it.
const SENT: u8 = 1;
/// It is not to be sent.
const RECALLED: u8 = 2;

impl Errand {
    /// A command that nobody has sent yet.
    pub fn new(order: PassOrder, inward: bool) -> Self {
        Self { order, inward, report: OnceLock::new(), stage: AtomicU8::new(WAITS) }
    }

    /// It is not to be sent, if it has not been. Whether it never will be.
    pub fn recall(&self) -> bool {
        self.move_on(WAITS, RECALLED) || self.stage.load(Ordering::Acquire) == RECALLED
    }

    /// It is to be sent after all. Only for whoever has recalled it, when no thread has it any more.
    pub fn renew(&self) {
        self.move_on(RECALLED, WAITS);
    }

    fn move_on(&self, from: u8, to: u8) -> bool {
        self.stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The command.
    pub fn order(&self) -> &PassOrder {
        &self.order
    }

    /// What the device has answered, when it has.
    pub fn report(&self) -> Option<&PassReport> {
        self.report.get()
    }
}

impl PassMedium {
    /// Runs a command: zero when there is a report, or a negative errno: EAGAIN when it was recalled.
    pub(super) fn run(&self, errand: &Errand, mut data: Option<Lent>) -> i32 {
        if !errand.move_on(WAITS, SENT) {
            return -libc::EAGAIN;
        }
        let data = match data.as_mut().map(Lent::bytes) {
            None => ScsiData::Nothing,
            Some(bytes) if errand.inward => {
                // What the slot held belonged to somebody else, and not every device fills what it says.
                bytes.fill(0);
                ScsiData::In(bytes)
            }
            Some(bytes) => ScsiData::Out(bytes),
        };
        match self.passage.run(&errand.order, data) {
            Ok(report) => {
                errand.report.get_or_init(|| report);
                0
            }
            Err(error) => -errno(&error),
        }
    }
}

/// What a failed call amounts to, in terms that others know. None of them may have it repeated: the device may have got
/// the command.
fn errno(error: &io::Error) -> i32 {
    match error.raw_os_error() {
        Some(libc::EINTR) | None => libc::ECANCELED,
        // No room for another command: EDOM is the generic driver's word.
        Some(libc::EAGAIN | libc::EDOM) => libc::EBUSY,
        // The kernel, not the medium, refuses.
        Some(libc::EPERM | libc::EACCES) => libc::EOPNOTSUPP,
        Some(libc::EIO) => libc::EREMOTEIO,
        Some(other) => other,
    }
}

/// The device itself, by its block or generic node.
#[derive(Debug)]
pub(super) struct Node(pub(super) File);

impl Passage for Node {
    fn run(&self, order: &PassOrder, data: ScsiData<'_>) -> io::Result<PassReport> {
        let wanted = match &data {
            ScsiData::Nothing => 0,
            ScsiData::In(bytes) => bytes.len(),
            ScsiData::Out(bytes) => bytes.len(),
        };
        let mut sense = [0; MAX_DEVICE_SENSE];
        let timeout = Duration::from_secs(order.seconds.into());
        let answer = sys::scsi_command(self.0.as_fd(), &order.cdb, data, &mut sense, timeout)?;
        judge(&answer, wanted as u32, &sense)
    }

    fn metadata(&self) -> Option<Metadata> {
        self.0.metadata().ok()
    }
}

/// What the host adapter says (`DID_…` of `scsi/scsi_status.h`), where the device has said nothing.
mod host {
    pub(super) const OK: u16 = 0x00;
    pub(super) const NO_CONNECT: u16 = 0x01;
    pub(super) const BUS_BUSY: u16 = 0x02;
    pub(super) const TIME_OUT: u16 = 0x03;
    pub(super) const BAD_TARGET: u16 = 0x04;
    pub(super) const ABORT: u16 = 0x05;
    pub(super) const PARITY: u16 = 0x06;
    pub(super) const RESET: u16 = 0x08;
    pub(super) const SOFT_ERROR: u16 = 0x0b;
    pub(super) const IMM_RETRY: u16 = 0x0c;
    pub(super) const REQUEUE: u16 = 0x0d;
    pub(super) const TRANSPORT_DISRUPTED: u16 = 0x0e;
    pub(super) const TRANSPORT_FAILFAST: u16 = 0x0f;
}

/// What the driver says: in its low four bits `DRIVER_…`.
const DRIVER_OK: u16 = 0x00;
const DRIVER_TIMEOUT: u16 = 0x06;
const DRIVER_SENSE: u16 = 0x08;

/// COMMAND TIMEOUT DURING PROCESSING
const COMMAND_TIMEOUT: Asc = Asc(0x2e, 0x02);
/// SCSI PARITY ERROR
const PARITY_ERROR: Asc = Asc(0x47, 0x00);

/// What a command has come to that wanted to move so many bytes. A status of the device counts more than what is said
/// about it; sense data are told as they are.
pub(super) fn judge(answer: &ScsiAnswer, wanted: u32, sense: &[u8]) -> io::Result<PassReport> {
    let moved = i64::from(wanted) - i64::from(answer.residual);
    let moved = moved.clamp(0, wanted.into()) as u32;
    if answer.status != status::GOOD {
        let sense = sense.iter().take(answer.sense_len.into()).copied().collect();
        return Ok(PassReport { status: answer.status, sense, moved });
    }
    let failure = match (answer.host, answer.driver & 0x0f) {
        (host::OK, DRIVER_OK | DRIVER_SENSE) => {
            return Ok(PassReport { status: status::GOOD, sense: ArrayVec::new(), moved });
        }
        (host::TIME_OUT, _) | (host::OK, DRIVER_TIMEOUT) => Sense::aborted(COMMAND_TIMEOUT).into(),
        (host::NO_CONNECT | host::BAD_TARGET | host::TRANSPORT_FAILFAST, _) => {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        (host::BUS_BUSY | host::IMM_RETRY | host::REQUEUE | host::TRANSPORT_DISRUPTED, _) => {
            Failure::Status(status::BUSY)
        }
        (host::ABORT | host::RESET | host::SOFT_ERROR, _) => Sense::aborted(Asc::NONE).into(),
        (host::PARITY, _) => Sense::aborted(PARITY_ERROR).into(),
        _ => Sense::target_failure().into(),
    };
    Ok(failed(failure))
}

fn failed(failure: Failure) -> PassReport {
    match failure {
        Failure::Status(status) => PassReport { status, ..PassReport::default() },
        Failure::Check(sense) => {
            let mut bytes = [0; MAX_SENSE];
            let len = sense.encode(false, &mut bytes);
            let sense = bytes.into_iter().take(len).collect();
            PassReport { status: status::CHECK_CONDITION, sense, moved: 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENSE: [u8; 18] = [0xf0, 0, 3, 0, 0, 0x12, 0x34, 10, 0, 0, 0, 0, 0x11, 0x00, 0, 0x80, 0, 1];

    fn answer(status: u8, host: u16, driver: u16) -> ScsiAnswer {
        ScsiAnswer { status, host, driver, sense_len: 18, residual: 512 }
    }

    fn judged(status: u8, host: u16, driver: u16) -> PassReport {
        judge(&answer(status, host, driver), 4096, &SENSE).unwrap()
    }

    /// Status, sense key, ASC and ASCQ.
    fn told(report: &PassReport) -> (u8, [u8; 3]) {
        let at = |n: usize| report.sense.get(n).copied().unwrap_or(0);
        (report.status, [at(2), at(12), at(13)])
    }

    #[test]
    fn what_the_device_says_is_told_as_it_is() {
        let report = judged(0x02, 0, 0x08);
        assert_eq!((report.status, report.moved, &report.sense[..]), (0x02, 3584, &SENSE[..]));
        // With DID_MEDIUM_ERROR, as older kernels add.
        assert_eq!(judged(0x02, 0x13, 0x08), report);
        for status in [0x08, 0x18, 0x28, 0x40] {
            assert_eq!(judged(status, 0x11, 0).status, status);
        }
        let long = ScsiAnswer { sense_len: 252, ..answer(0x02, 0, 0x08) };
        assert_eq!(judge(&long, 0, &[0x72; 252]).unwrap().sense[..], [0x72; 252]);
    }

    #[test]
    fn a_residual_never_makes_more_of_it() {
        let of = |residual| {
            let answer = ScsiAnswer { residual, ..ScsiAnswer::default() };
            judge(&answer, 4096, &[]).unwrap().moved
        };
        assert_eq!([of(0), of(4096), of(1), of(5000), of(-1), of(i32::MIN)], [4096, 0, 4095, 0, 4096, 4096]);
    }

    #[test]
    fn what_the_host_says_becomes_status_and_sense() {
        assert_eq!(told(&judged(0, 0, 0)), (0, [0, 0, 0]));
        assert_eq!(told(&judged(0, 0x03, 0)), (2, [0x0b, 0x2e, 0x02]));
        assert_eq!(told(&judged(0, 0, 0x06)), (2, [0x0b, 0x2e, 0x02]));
        for busy in [0x02, 0x0c, 0x0d, 0x0e] {
            assert_eq!(told(&judged(0, busy, 0)), (8, [0, 0, 0]));
        }
        for aborted in [0x05, 0x08, 0x0b] {
            assert_eq!(told(&judged(0, aborted, 0)), (2, [0x0b, 0, 0]));
        }
        assert_eq!(told(&judged(0, 0x06, 0)), (2, [0x0b, 0x47, 0]));
        for broken in [0x07, 0x09, 0x0a, 0x77] {
            assert_eq!(told(&judged(0, broken, 0)), (2, [0x04, 0x44, 0]));
        }
        assert_eq!(told(&judged(0, 0, 0x05)), (2, [0x04, 0x44, 0]));
        for gone in [0x01, 0x04, 0x0f] {
            let error = judge(&answer(0, gone, 0), 0, &[]).unwrap_err();
            assert_eq!(errno(&error), libc::ENODEV);
        }
    }

    /// A device that answers GOOD, and whose data-in is short.
    #[derive(Debug)]
    struct Ready;

    impl Passage for Ready {
        fn run(&self, _: &PassOrder, data: ScsiData<'_>) -> io::Result<PassReport> {
            let ScsiData::In(bytes) = data else { return Err(io::ErrorKind::Interrupted.into()) };
            assert!(bytes.iter().all(|byte| *byte == 0), "what the slot held belonged to somebody else");
            bytes[0] = 1;
            Ok(PassReport { moved: 1, ..PassReport::default() })
        }
    }

    #[test]
    fn what_was_recalled_is_not_sent_and_old_data_not_shown() {
        let device = Device::whole(crate::scsi::DeviceKind::Disk);
        let medium = PassMedium { passage: Box::new(Ready), threads: None, device };
        let region = crate::mem::Region::new(1, crate::mem::Pages::Transparent).unwrap();
        let mut memory = crate::mem::Memory::new(region);
        let place = crate::mem::Place::pool(4096, 512);
        memory.get_mut(place).fill(7);
        let order =
            PassOrder { cdb: ArrayVec::new(), reads: true, changes: false, standby: false, seconds: 1 };
        let recalled = Errand::new(order.clone(), true);
        assert!(recalled.recall());
        let ran = medium.run(&recalled, Some(memory.lend(place)));
        assert_eq!((ran, recalled.report(), recalled.recall()), (-libc::EAGAIN, None, true));
        assert_eq!(memory.get(place), [7; 512]);
        recalled.renew();
        assert_eq!(medium.run(&recalled, None), -libc::ECANCELED, "it was sent after all");
        assert!(!recalled.recall(), "too late");
        let sent = Errand::new(order.clone(), true);
        assert_eq!(medium.run(&sent, Some(memory.lend(place))), 0);
        assert_eq!(sent.report().map(|report| report.moved), Some(1));
        assert_eq!(memory.get(place)[..3], [1, 0, 0]);
        let out = Errand::new(order, false);
        assert_eq!(medium.run(&out, Some(memory.lend(place))), -libc::ECANCELED);
    }

    #[test]
    fn no_failed_call_is_repeated() {
        let of = |errno| self::errno(&io::Error::from_raw_os_error(errno));
        let told = [libc::EINTR, libc::EAGAIN, libc::EPERM, libc::EIO, libc::ENOMEM].map(of);
        assert_eq!(told, [libc::ECANCELED, libc::EBUSY, libc::EOPNOTSUPP, libc::EREMOTEIO, libc::ENOMEM]);
    }
}
