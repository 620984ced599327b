//! What the kernel's io_uring can do: asked for at start, never guessed from a version number.
//!
//! Owns: [`Caps`] and the words for a kernel that cannot serve. Promises: a mask only takes away.

use std::fmt;
use std::io;
use std::str::FromStr;

use io_uring::{Builder, IoUring, Probe, cqueue, opcode, squeue};

/// Abilities beyond the least that is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Caps {
    /// Submission goes on after an entry that fails (5.18).
    pub submit_all: bool,
    /// Completions are not announced by an interrupt, with a flag instead (5.19).
    pub coop_taskrun: bool,
    /// Completions are worked off when the reactor asks (6.1).
    pub defer_taskrun: bool,
    /// A wait takes a deadline (5.11).
    pub ext_arg: bool,
    /// The ring's own descriptor can be registered (5.18).
    pub ring_fd: bool,
    /// A receive tells whether more is waiting (5.19).
    pub socket_hints: bool,
    /// Block devices take discards (6.12).
    pub discard: bool,
    /// Sends without copies (6.1; one that is to tell whether there were any fails before 6.2, which cannot be asked
    /// for).
    pub zero_copy: bool,
    /// A sleeping reactor does not count as waiting for a disk (6.15).
    pub no_iowait: bool,
    /// Devices take commands of their own, and tell how each has ended (5.19; but until 6.12 NVMe tells of success, too, when
    /// a command has failed before the device had it, as when that vanishes).
    pub commands: bool,
}

/// Rings made only to ask.
const PROBE_ENTRIES: u32 = 4;

/// Without these nothing works. Linux 5.10 has them all.
const NEEDED: [(u8, &str); 14] = [
    (opcode::Accept::CODE, "accept"),
    (opcode::Recv::CODE, "recv"),
    (opcode::RecvMsg::CODE, "recvmsg"),
    (opcode::Send::CODE, "send"),
    (opcode::SendMsg::CODE, "sendmsg"),
    (opcode::Read::CODE, "read"),
    (opcode::Write::CODE, "write"),
    (opcode::ReadFixed::CODE, "read_fixed"),
    (opcode::WriteFixed::CODE, "write_fixed"),
    (opcode::Fsync::CODE, "fsync"),
    (opcode::Fallocate::CODE, "fallocate"),
    (opcode::AsyncCancel::CODE, "async_cancel"),
    (opcode::Timeout::CODE, "timeout"),
    (opcode::Close::CODE, "close"),
];

type Setup = Builder<squeue::Entry, cqueue::Entry>;

fn accepts(flags: impl Fn(&mut Setup) -> &mut Setup) -> bool {
    flags(&mut IoUring::builder()).build(PROBE_ENTRIES).is_ok()
}

/// Whether there are rings of long entries and completions.
fn makes_long() -> bool {
    IoUring::<squeue::Entry128, cqueue::Entry32>::builder().build(PROBE_ENTRIES).is_ok()
}

/// io_uring cannot be used here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("io_uring cannot be used: {cause}. {remedy}")]
pub struct Unusable {
    /// What is in the way.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

impl Unusable {
    fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into() }
    }

    fn lacks(op: &str) -> Self {
        Self::new(format!("the kernel's io_uring has no {op}"), "Linux 5.10 or newer is needed.")
    }

    /// Explains why the kernel refuses to make a ring.
    pub(super) fn refused(error: io::Error) -> Self {
        let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
        Self::explain(error, sysctl.trim())
    }

    fn explain(error: io::Error, sysctl: &str) -> Self {
        match (error.raw_os_error(), sysctl) {
            (Some(libc::EPERM), "2") => Self::new(
                "the sysctl kernel.io_uring_disabled is 2",
                "Run `sysctl kernel.io_uring_disabled=0`, and put the line in /etc/sysctl.d to keep it.",
            ),
            (Some(libc::EPERM), "1") => Self::new(
                "the sysctl kernel.io_uring_disabled is 1 and this process is not privileged",
                "Run as root, or set kernel.io_uring_group to a group of this process, or \
                 `sysctl kernel.io_uring_disabled=0`.",
            ),
            (Some(libc::EPERM | libc::EACCES), _) => Self::new(
                "the system forbids it, probably a seccomp filter of a container or a service",
                "Allow io_uring_setup, io_uring_enter and io_uring_register there.",
            ),
            (Some(libc::ENOSYS), _) => Self::new(
                "the kernel does not know it, or a seccomp filter hides it",
                "Linux 5.10 or newer is needed; in a container, allow the io_uring system calls.",
            ),
            (Some(libc::ENOMEM), _) => Self::new(
                "there is too little lockable memory for the rings",
                "Raise the limit: LimitMEMLOCK=infinity in the systemd unit, or `ulimit -l unlimited`.",
            ),
            (Some(libc::EMFILE | libc::ENFILE), _) => Self::new(
                "there are too many open files",
                "Raise the limit: LimitNOFILE= in the systemd unit, or `ulimit -n`.",
            ),
            _ => Self::new(error.to_string(), "See io_uring_setup(2)."),
        }
    }
}

/// Kernels to stand in for: the developer option that masks [`Caps`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KernelLevel {
    /// Amazon Linux 2.
    V5_10,
    /// The last before registered rings and cooperative task work.
    V5_15,
    /// Debian 12, Amazon Linux 2023.
    V6_1,
    /// Ubuntu 24.04.
    V6_8,
    /// Newer Amazon Linux 2023.
    V6_12,
}

impl FromStr for KernelLevel {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "5.10" => Ok(Self::V5_10),
            "5.15" => Ok(Self::V5_15),
            "6.1" => Ok(Self::V6_1),
            "6.8" => Ok(Self::V6_8),
            "6.12" => Ok(Self::V6_12),
            other => Err(format!("no such kernel level: {other} (there are 5.10, 5.15, 6.1, 6.8 and 6.12)")),
        }
    }
}

impl Caps {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When it cannot serve at all, with the cause and the remedy.
    pub fn probe() -> Result<Self, Unusable> {
        let ring = IoUring::new(PROBE_ENTRIES).map_err(Unusable::refused)?;
        let mut ops = Probe::new();
        ring.submitter().register_probe(&mut ops).map_err(Unusable::refused)?;
        if let Some((_, name)) = NEEDED.iter().find(|(code, _)| !ops.is_supported(*code)) {
            return Err(Unusable::lacks(name));
        }
        let params = ring.params();
        // What came with that release and cannot be asked for itself.
        let since_6_12 = params.is_feature_min_timeout() && ops.is_supported(opcode::UringCmd80::CODE);
        Ok(Self {
            submit_all: accepts(|b| b.setup_submit_all()),
            coop_taskrun: accepts(|b| b.setup_coop_taskrun().setup_taskrun_flag()),
            defer_taskrun: accepts(|b| b.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag()),
            ext_arg: params.is_feature_ext_arg(),
            ring_fd: ring.submitter().register_ring_fd().is_ok(),
            // Came with the same release; hints themselves cannot be asked for.
            socket_hints: ops.is_supported(opcode::Socket::CODE),
            discard: since_6_12,
            zero_copy: ops.is_supported(opcode::SendMsgZc::CODE),
            no_iowait: params.is_feature_no_iowait(),
            commands: since_6_12 && makes_long(),
        })
    }

    /// Takes away what a kernel of that level does not have.
    #[must_use]
    pub fn masked(self, level: KernelLevel) -> Self {
        use KernelLevel::{V5_15, V6_1, V6_8, V6_12};
        Self {
            submit_all: self.submit_all && level >= V6_1,
            coop_taskrun: self.coop_taskrun && level >= V6_1,
            defer_taskrun: self.defer_taskrun && level >= V6_1,
            ext_arg: self.ext_arg && level >= V5_15,
            ring_fd: self.ring_fd && level >= V6_1,
            socket_hints: self.socket_hints && level >= V6_1,
            discard: self.discard && level >= V6_12,
            zero_copy: self.zero_copy && level >= V6_8,
            no_iowait: false,
            commands: self.commands && level >= V6_12,
        }
    }
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.defer_taskrun, "deferred task work"),
            (!self.defer_taskrun && self.coop_taskrun, "cooperative task work"),
            (self.ext_arg, "timed waits"),
            (self.ring_fd, "registered ring"),
            (self.socket_hints, "socket hints"),
            (self.discard, "block discard"),
            (self.zero_copy, "zero-copy sends"),
            (self.commands, "commands of devices"),
        ];
        let names: Vec<_> = all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        f.write_str(if names.is_empty() { "basic operations only" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_only_takes_away() {
        let all = Caps {
            submit_all: true,
            coop_taskrun: true,
            defer_taskrun: true,
            ext_arg: true,
            ring_fd: true,
            socket_hints: true,
            discard: true,
            zero_copy: true,
            no_iowait: true,
            commands: true,
        };
        assert_eq!(all.masked(KernelLevel::V5_10), Caps::default());
        assert_eq!(all.masked(KernelLevel::V5_15), Caps { ext_arg: true, ..Caps::default() });
        let old = Caps { discard: false, zero_copy: false, no_iowait: false, commands: false, ..all };
        assert_eq!(all.masked(KernelLevel::V6_1), old);
        assert_eq!(
            all.masked(KernelLevel::V6_8),
            Caps { zero_copy: true, ..old },
            "NVMe may say what is not true there"
        );
        assert_eq!(all.masked(KernelLevel::V6_12), Caps { no_iowait: false, ..all });
        assert_eq!(Caps::default().masked(KernelLevel::V6_12), Caps::default());
        assert_eq!(Caps::default().to_string(), "basic operations only");
    }

    #[test]
    fn a_refusal_names_cause_and_remedy() {
        let say = |errno, sysctl| Unusable::explain(io::Error::from_raw_os_error(errno), sysctl).to_string();
        assert!(say(libc::EPERM, "2").contains("sysctl kernel.io_uring_disabled=0"));
        assert!(say(libc::EPERM, "0").contains("seccomp"));
        assert!(say(libc::ENOSYS, "").contains("5.10"));
        assert!(say(libc::ENOMEM, "0").contains("LimitMEMLOCK"));
    }
}
