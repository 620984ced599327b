//! What can be typed: the one definition of commands and options, from which help, manual pages and
//! completions come too.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::bench::options::Options;
use crate::admin::config::{DEFAULT_FILE, MAX_POLL_US};
use crate::admin::lio::SAVECONFIG;
use crate::admin::log;
use crate::ring::KernelLevel;

/// An iSCSI target for Linux on io_uring.
#[derive(Parser, Debug)]
#[command(name = "ringtgt", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Serve the disks of a configuration file, or those named here
    Serve(Box<Serve>),
    /// Change a configuration in the language of targetcli: typed, from a pipe, or one line
    ///
    /// Without a line, lines are read from standard input: on a terminal with completion and history, from a pipe until
    /// the end or the first mistake, after which what was not saved before is not saved. A line that is given here is
    /// saved at once. One that begins with a path needs no `shell` before it: `ringtgt /iscsi ls`.
    ///
    /// When a daemon serves the file, what is shown and changed is what it serves, and every change takes effect at once
    /// or is refused with the reason; saving writes the file, for the next start. When no daemon runs, or it serves
    /// another file, what is changed is the file.
    ///
    /// Exit status: 0 when all was done, 1 when something was refused, 2 when the file cannot be read.
    Shell {
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = crate::admin::config::DEFAULT_FILE, value_hint = ValueHint::FilePath)]
        config: PathBuf,
        /// Where the daemon listens that serves it [default: where the file says, or usual]
        #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
        control_socket: Option<PathBuf>,
        /// A line, like '/iscsi create iqn.2026-11.org.example:disks'
        #[arg(value_name = "LINE", trailing_var_arg = true, allow_hyphen_values = true)]
        line: Vec<String>,
    },
    /// Show the objects of a configuration as a tree
    Ls {
        /// The path, as in /iscsi
        path: Option<String>,
        /// How many levels
        depth: Option<usize>,
        #[command(flatten)]
        managed: Managed,
    },
    /// Create an object of a configuration, as in: create /backstores/ramdisk name=a size=1G
    Create(Act),
    /// Delete an object of a configuration, as in: delete /iscsi iqn.2026-11.org.example:disks
    Delete(Act),
    /// Set settings of an object, as in: set /iscsi/IQN/tpg1 parameter ImmediateData=No
    ///
    /// A secret that stands in a command line can be read by others; the shell takes it from standard input.
    Set(Act),
    /// Show settings of an object, as in: get /iscsi/IQN/tpg1 parameter
    Get(Act),
    /// Say what an object is
    Info {
        /// Its path
        path: String,
        #[command(flatten)]
        managed: Managed,
    },
    /// Save the configuration, to another file if one is named
    #[command(alias = "saveconfig")]
    Save {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<String>,
        #[command(flatten)]
        managed: Managed,
    },
    /// Take objects from a saved file, as in: restore FILE clear_existing=true
    #[command(alias = "restoreconfig")]
    Restore {
        /// The file, and clear_existing=true, target=IQN or storage_object=PATH
        #[arg(required = true)]
        words: Vec<String>,
        #[command(flatten)]
        managed: Managed,
    },
    /// As users of targetcli type it
    #[command(name = "clearconfig", hide = true)]
    Clear {
        /// confirm=True
        words: Vec<String>,
        #[command(flatten)]
        managed: Managed,
    },
    /// As users of targetcli type it
    #[command(hide = true)]
    Version,
    /// Check a configuration file and tell everything that is wrong with it
    ///
    /// Exit status: 0 when it is right (there may be warnings), 1 when it is wrong, 2 when it cannot be read.
    Check {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Print JSON: of each problem file, line, column, what, reason, remedy and severity
        #[arg(long)]
        json: bool,
    },
    /// Make a configuration of that of another target
    #[command(subcommand)]
    Import(Import),
    /// Make a configuration for another target of that of ringtgt
    #[command(subcommand)]
    Export(Export),
    /// Have a running daemon serve this configuration from now on
    ///
    /// Prints the plan first: what comes (+), changes (~) and goes (-), the sessions that feel it (!), and what takes
    /// effect at the next start only (=). It is done whole or not at all.
    ///
    /// What another file says than the one that the daemon was started with lasts until the next reload or restart, which
    /// read that one again.
    Apply(Apply),
    /// Have a running daemon serve its configuration file as that is now
    ///
    /// Prints what that has changed, as `apply` does, or everything that is wrong with the file; then nothing has changed.
    ///
    /// Exit status: 0 when the file is served, 1 when it is not.
    Reload {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Print what a configuration file would change of what is served
    ///
    /// Exit status: 0 when it is the same, 1 when it is not, 2 when that cannot be known.
    Diff {
        /// The file [default: the one that is served]
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List who is logged in
    Sessions {
        /// With all that is known: who has proved himself and how, and what was negotiated
        #[arg(long)]
        detail: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Drop sessions at once; their initiators may come again
    Kick {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Ask sessions to log out, and drop them if they do not
    ///
    /// With --to they go elsewhere: until the deadline has passed, whoever logs in to the target, or at the portal, is told
    /// that it has moved there for a while. Who has come in there already stays. A deadline of 0 ends that; who has been
    /// asked to log out before still has to.
    Drain {
        #[command(flatten)]
        whom: Whom,
        /// Where initiators are to log in instead; wants --target or --portal, and nothing else of these
        #[arg(long, value_name = "ADDR[:PORT]", conflicts_with_all = ["initiator", "tsih"])]
        to: Option<String>,
        /// Seconds until they are dropped, and nobody is sent elsewhere any more
        #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=3600))]
        deadline: u64,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Ask sessions to negotiate anew
    ///
    /// What was changed of a portal group holds for sessions that begin afterwards. Of those under way initiators can be
    /// asked for a new negotiation (RFC 7143, asynchronous event 4), in which MaxRecvDataSegmentLength may change; the
    /// Linux kernel's drops its session instead and logs in anew, with all that was changed.
    Renegotiate {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Say what of this machine, of the daemon and of its initiators costs speed or safety, and what to do
    ///
    /// Nothing is changed. Exit status: 0, or 1 when something is wrong and not merely slow.
    Doctor {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Write the last PDUs that a running daemon has seen to a file that Wireshark opens
    ///
    /// Only their headers, with the CDBs of commands: neither data nor secrets. How many each reactor remembers says
    /// server.recorder. After an error of the protocol the daemon keeps such a file by itself, in the directory recordings
    /// of its state, at most one a minute of each reactor and eight in all.
    ///
    /// Wireshark knows iSCSI at port 3260; where it is at another, say so: Decode As, or `tshark -d
    /// tcp.port==3261,iscsi`.
    Record {
        /// The file
        #[arg(long, value_name = "FILE.pcap", value_hint = ValueHint::FilePath)]
        out: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show what a running daemon is doing: reactors, LUNs, sessions, and where the time of their commands goes
    ///
    /// A command is queued (for its task set, slots or a fence), waits for data of the initiator, is at the disk, or its
    /// answer is being sent. Times are quantiles of the commands of the last interval, right to a tenth. DEPTH is how many
    /// commands were under way on average, and of a session how many are open now (* some wait for slots).
    Top(Top),
    /// Measure a target: how many I/Os, how fast, at which price
    ///
    /// Exit status: 0 when all was measured, 1 when the target failed or its data was wrong.
    Bench(Box<Options>),
    /// Print the manual page or the completions of a shell
    #[command(hide = true)]
    Generate {
        /// What to print
        what: What,
        /// For a manual page: the command that it is about; for files: their directory
        command: Option<String>,
    },
}

/// Where to import from.
#[derive(Subcommand, Debug)]
pub(super) enum Import {
    /// From LIO, the Linux kernel's target, as targetcli saves it
    ///
    /// Initiators then see the same disks: serial numbers, NAA designators and INQUIRY data are kept. What has no
    /// meaning here is listed on standard error, with its place and the reason. Stop LIO before ringtgt serves the
    /// result.
    Lio {
        /// The file
        #[arg(default_value = SAVECONFIG, value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        to: Output,
    },
}

/// Where to export to.
#[derive(Subcommand, Debug)]
pub(super) enum Export {
    /// To LIO, the Linux kernel's target: a file that `targetctl restore` takes
    ///
    /// What has no meaning there is listed on standard error.
    Lio {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, value_hint = ValueHint::FilePath)]
        config: PathBuf,
        /// Where a daemon keeps what initiators know its disks by [default: where the one that serves the file does, or where the
        /// file says]
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        state_dir: Option<PathBuf>,
        #[command(flatten)]
        to: Output,
    },
}

/// Where a configuration is written, which may have secrets in it.
#[derive(Args, Debug)]
pub(super) struct Output {
    /// Write to this file, which only its owner can read [default: standard output]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) output: Option<PathBuf>,

    /// Replace the file if it is there
    #[arg(long, requires = "output")]
    pub(super) force: bool,
}

/// What `generate` can print.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(super) enum What {
    /// The manual page of a command
    Man,
    /// That of the configuration
    Conf,
    /// That of the control socket
    Rpc,
    /// All manual pages and completions, as files
    Files,
    Bash,
    Zsh,
    Fish,
}

/// Which daemon is asked, and how its answer is printed.
#[derive(Args, Debug, Default)]
pub(super) struct Daemon {
    /// Where the daemon listens [default: /run/ringtgt/control.sock, or that of the user's own daemon]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(super) control_socket: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct Top {
    /// Look once and print it (with --json: for programs)
    #[arg(long)]
    pub(super) once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(super) interval: Duration,
    /// Only this backstore, however little it does; may be repeated
    ///
    /// Of those that do most quantiles are always known; with this, of any. With --json all times are told whole: buckets_ns
    /// has where each bucket begins that is not empty, and how many are in it.
    #[arg(long, value_name = "NAME")]
    pub(super) backstore: Vec<String>,
    /// Only the session with this handle, as `ringtgt sessions` tells it; may be repeated
    #[arg(long, value_name = "TSIH")]
    pub(super) session: Vec<u16>,
    #[command(flatten)]
    pub(super) daemon: Daemon,
}

/// Seconds, as in 2 or 0.5.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write seconds, as in 2 or 0.5".to_owned())?;
    let in_range = (0.1..=3600.0).contains(&seconds);
    in_range.then(|| Duration::from_secs_f64(seconds)).ok_or_else(|| "it must be 0.1 to 3600".to_owned())
}

#[derive(Args, Debug)]
pub(super) struct Apply {
    /// The file
    #[arg(value_hint = ValueHint::FilePath)]
    pub(super) file: PathBuf,
    /// Only print the plan
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Also remove what the file does not name
    #[arg(long)]
    pub(super) prune: bool,
    /// Do not ask; of what cannot be had all is told at once, not only sizes
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) daemon: Daemon,
}

/// Which sessions are meant: those for which all that is given is right.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(super) struct Whom {
    /// Those of this initiator
    #[arg(long, value_name = "IQN")]
    pub(super) initiator: Option<String>,
    /// Those with this target
    #[arg(long, value_name = "IQN")]
    pub(super) target: Option<String>,
    /// The one with this handle, as `ringtgt sessions` tells it
    #[arg(long, value_name = "N")]
    pub(super) tsih: Option<u16>,
    /// Those who have come in at this portal
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub(super) portal: Option<String>,
}

const STORE_HELP: &str = "\
A disk to serve; the first is LUN 0 of the one target, and so on

  PATH        a block device or a file
  PATH:SIZE   a file, created sparse when absent (sizes like 512M, 10G, 1T)
  ram:SIZE    memory, gone when ringtgt ends
  null:SIZE   nothing: writes vanish, reads are zeroes

STOREs and --cdrom exclude --config: what a file serves is said in the file. Without any of these,
/etc/ringtgt/ringtgt.toml is served.";

/// Which configuration is looked at or changed, and how the answer is printed.
#[derive(Args, Debug)]
pub(super) struct Managed {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = crate::admin::config::DEFAULT_FILE, value_hint = ValueHint::FilePath)]
    pub(super) config: PathBuf,
    /// Where the daemon listens that serves it [default: where the file says, or usual]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(super) control_socket: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

/// A verb of the shell at a path.
#[derive(Args, Debug)]
pub(super) struct Act {
    /// The path, as in /backstores/block
    pub(super) path: String,
    /// What the shell would take there: words and NAME=VALUE
    pub(super) words: Vec<String>,
    #[command(flatten)]
    pub(super) managed: Managed,
}

#[derive(Args, Debug, Default)]
pub(super) struct Serve {
    /// The configuration file to serve, instead of STOREs and what is about them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) config: Option<PathBuf>,

    /// Where to listen for STOREs [default: 127.0.0.1:3260]; port 0 takes any free one
    ///
    /// An address that others can reach needs --allow or --chap-user.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: Vec<String>,

    /// How many reactors, or on which processors (like 0-3,6) [default: auto, one on each]
    #[arg(long, value_name = "N|auto|CPULIST")]
    pub(super) reactors: Option<String>,

    /// The target's name [default: made from the host's name]
    #[arg(long, value_name = "IQN")]
    pub(super) iqn: Option<String>,

    /// An initiator that may log in; others then may not
    #[arg(long, value_name = "INITIATOR_IQN")]
    pub(super) allow: Vec<String>,

    /// The CHAP user name that initiators must show
    #[arg(long, value_name = "NAME", requires = "chap_secret_file")]
    pub(super) chap_user: Option<String>,

    /// The file with the CHAP secret, readable by its owner only
    #[arg(long, value_name = "FILE", requires = "chap_user", value_hint = ValueHint::FilePath)]
    pub(super) chap_secret_file: Option<PathBuf>,

    /// Bytes in a block of the STOREs [default: the smallest that each can address]
    #[arg(long, value_name = "512|4096", value_parser = block_size(), hide_possible_values = true)]
    pub(super) block_size: Option<u32>,

    /// Let nobody write to the STOREs
    #[arg(long)]
    pub(super) read_only: bool,

    /// Show removable media, which initiators may eject and load again
    #[arg(long)]
    pub(super) removable: bool,

    /// An image (or block device) to show as a disc in a CD or DVD drive, after the STOREs; may be repeated
    ///
    /// Initiators can read and eject it. Its blocks have 2048 bytes.
    #[arg(long, value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub(super) cdrom: Vec<OsString>,

    /// Where identities and reservations are kept [default: /var/lib/ringtgt]
    ///
    /// For STOREs of users other than root the default is ~/.local/state/ringtgt.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) state_dir: Option<PathBuf>,

    /// Where to listen for those who control the daemon [default: /run/ringtgt/control.sock]
    ///
    /// With another --state-dir than the default: control.sock in that.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(super) control_socket: Option<PathBuf>,

    /// Microseconds that a reactor looks for work before it sleeps; 0 never looks [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_POLL_US)))]
    pub(super) poll_us: Option<u32>,

    /// Buffer memory of all reactors together [default: 64M for each]
    #[arg(long, value_name = "SIZE", value_parser = crate::admin::config::parse_buffer_memory)]
    pub(super) buffer_memory: Option<u64>,

    /// What to log: error, warn, info, debug, or MODULE=LEVEL,… [default: what server.log says, or info]
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub(super) log: Option<String>,

    /// Use only what that Linux version has (for developers)
    #[arg(long, value_name = "VERSION", hide = true, value_parser = kernel_level)]
    pub(super) kernel_level: Option<KernelLevel>,

    #[arg(value_name = "STORE", help = STORE_HELP, value_hint = ValueHint::FilePath)]
    pub(super) stores: Vec<OsString>,
}

fn block_size() -> impl TypedValueParser<Value = u32> {
    clap::builder::PossibleValuesParser::new(["512", "4096"]).try_map(|text| text.parse::<u32>())
}

fn level(text: &str) -> Result<String, String> {
    log::check(text).map(|()| text.to_owned()).map_err(|what| format!("{what}; {}", log::REMEDY))
}

fn kernel_level(text: &str) -> Result<KernelLevel, String> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_synopsis_is_understood() {
        let line = "ringtgt serve --listen 127.0.0.1:0 --listen [::1]:0 --reactors 0-1 --iqn iqn.2026-11.a:b \
                    --allow iqn.2026-11.a:i --chap-user u --chap-secret-file f --block-size 4096 --read-only --removable \
                    --cdrom a.iso --cdrom b.iso --state-dir d --poll-us 0 --buffer-memory 256M --kernel-level 5.10 --log debug a.img:1G ram:1M";
        let Command::Serve(serve) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("not serve")
        };
        assert_eq!((serve.listen.len(), serve.stores.len(), serve.block_size), (2, 2, Some(4096)));
        assert_eq!(serve.cdrom, ["a.iso", "b.iso"]);
        assert_eq!((serve.buffer_memory, serve.kernel_level), (Some(256 << 20), Some(KernelLevel::V5_10)));
    }

    #[test]
    fn what_is_no_command() {
        for line in [
            "ringtgt",
            "ringtgt serve --chap-user u",
            "ringtgt serve --block-size 1024 ram:1M",
            "ringtgt serve --poll-us 10001 ram:1M",
            "ringtgt serve --buffer-memory 1K ram:1M",
            "ringtgt serve --kernel-level 2.4 ram:1M",
            "ringtgt serve --log debgu ram:1M",
            "ringtgt check",
            "ringtgt iscsi ls",
            "ringtgt kick",
            "ringtgt renegotiate --deadline 5",
            "ringtgt drain --deadline 5",
            "ringtgt drain --to 192.0.2.2",
            "ringtgt drain --tsih 1 --to 192.0.2.2",
            "ringtgt apply --yes",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
