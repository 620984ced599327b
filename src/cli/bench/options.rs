//! What `ringtgt bench` can be told, and what of it makes no sense.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::url::Url;
use crate::admin::size;

/// The most bytes of one I/O: what a Data Segment's length and WRITE(16) of small blocks can name with room to spare.
pub(super) const BS_MAX: u64 = 16 << 20;
/// The most commands that a session keeps outstanding.
pub(super) const QD_MAX: u32 = 1024;
/// The most sessions.
pub(super) const SESSIONS_MAX: u32 = 8192;

/// What kind of I/O, and in which order.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Work {
    /// One place after the other
    Read,
    Write,
    /// Places at random
    Randread,
    Randwrite,
    /// Reads and writes mixed
    Rw,
    Randrw,
}

impl Work {
    pub(super) fn is_random(self) -> bool {
        matches!(self, Self::Randread | Self::Randwrite | Self::Randrw)
    }

    /// Of a hundred I/Os, so many are reads.
    pub(super) fn reads(self, mix: u32) -> u32 {
        match self {
            Self::Read | Self::Randread => 100,
            Self::Write | Self::Randwrite => 0,
            Self::Rw | Self::Randrw => mix,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Randread => "randread",
            Self::Randwrite => "randwrite",
            Self::Rw => "rw",
            Self::Randrw => "randrw",
        }
    }
}

/// Which digests to demand.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Digest {
    Header,
    Data,
}

const URL_HELP: &str = "\
The logical unit: iscsi://[user[%secret]@]host[:port]/target-name/lun

A secret given here is visible to everybody on this machine: --secret-file or the environment variable
RINGTGT_BENCH_SECRET keep it to yourself.";

#[derive(Args, Debug)]
pub(in crate::cli) struct Options {
    #[arg(value_name = "URL", help = URL_HELP, value_parser = Url::parse, value_hint = ValueHint::Url)]
    pub(super) url: Url,

    /// What to do; everything but read and randread destroys what is on the disk
    #[arg(long, value_enum, default_value_t = Work::Randread, hide_possible_values = false)]
    pub(super) rw: Work,

    /// Of a hundred I/Os of rw and randrw, so many are reads
    #[arg(long, value_name = "PERCENT", default_value_t = 70, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(super) mix: u32,

    /// Bytes of each I/O; several are measured one after the other
    #[arg(long, value_name = "SIZE,…", default_value = "4k", value_delimiter = ',', value_parser = block_bytes)]
    pub(super) bs: Vec<u32>,

    /// I/Os outstanding in each session; several are measured one after the other
    #[arg(long, value_name = "N,…", default_value = "32", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=i64::from(QD_MAX)))]
    pub(super) qd: Vec<u32>,

    /// Sessions of one connection each; several are measured one after the other
    #[arg(long, value_name = "N,…", default_value = "1", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=i64::from(SESSIONS_MAX)))]
    pub(super) sessions: Vec<u32>,

    /// Spread the I/Os over so many LUNs, from the URL's on, which are all taken to be as large as the first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16384), conflicts_with = "verify")]
    pub(super) luns: u16,

    /// Threads, each with a ring of its own, that share the sessions
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) threads: u32,

    /// Processors for the threads, one after the other
    #[arg(long, value_name = "CPU,…", value_delimiter = ',')]
    pub(super) cpus: Vec<usize>,

    /// Never sleep, so that the server pays for no wake-ups; each thread uses a whole processor
    #[arg(long)]
    pub(super) busy: bool,

    /// Seconds to measure
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    pub(super) secs: Duration,

    /// Seconds before that, which do not count
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = seconds)]
    pub(super) warm: Duration,

    /// I/Os per second to begin, all sessions together [default: as many as --qd lets]
    ///
    /// Latencies then count from when an I/O was due, also when it could not begin in time: a server that stalls is
    /// charged with all that it held up.
    #[arg(long, value_name = "IOPS", value_parser = rate)]
    pub(super) rate: Option<f64>,

    /// Bytes of the disk to use, from its beginning [default: all; with --verify at most 1G]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(super) span: Option<u64>,

    /// Digests to demand
    #[arg(long, value_enum, value_name = "header,data", value_delimiter = ',')]
    pub(super) digests: Vec<Digest>,

    /// Send no data with commands, nor without being asked: each write waits for an R2T
    #[arg(long)]
    pub(super) no_immediate: bool,

    /// Write data that can be checked, and check it
    ///
    /// Each block holds its number and the generation of its write. What was written is compared whenever it is read,
    /// and all of it once more at the end. In a mixture, places are written before they are read. With read and
    /// randread nothing is written: the blocks must be whole and their own, as an earlier run with --verify left them.
    #[arg(long)]
    pub(super) verify: bool,

    /// The server's process on this machine, to measure its processor time for each I/O
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,

    /// Our own name, if the target lets in only those it knows
    #[arg(long, value_name = "IQN", default_value = "iqn.2026-11.org.ringtgt:bench")]
    pub(super) initiator: String,

    /// The file with the CHAP secret of the URL's user, readable by its owner only
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) secret_file: Option<PathBuf>,

    /// Write all results to this file ("-": standard output, instead of the table)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) json: Option<PathBuf>,

    /// Draw them: an .svg, or an .html page with the table
    #[arg(long, value_name = "FILE.svg|FILE.html", value_parser = picture, value_hint = ValueHint::FilePath)]
    pub(super) plot: Option<PathBuf>,
}

fn bytes(text: &str) -> Result<u64, String> {
    size::parse(text).map_err(|error| error.to_string())
}

fn block_bytes(text: &str) -> Result<u32, String> {
    let bytes = bytes(text)?;
    let fits = (1..=BS_MAX).contains(&bytes) && bytes % 512 == 0;
    if fits { Ok(bytes as u32) } else { Err("it must be a multiple of 512, and at most 16M".into()) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| (0.0..=86_400.0).contains(s));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "it must be a number from 0 to 86400".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|r| (0.01..=1e9).contains(r));
    rate.ok_or_else(|| "it must be a number from 0.01 to 1000000000".into())
}

fn picture(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|e| e.to_str()) {
        Some("svg" | "html") => Ok(path),
        _ => Err("the name must end in .svg or .html".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.options)
    }

    const URL: &str = "bench iscsi://h/iqn.2026-11.a:b/0";

    #[test]
    fn all_of_it_is_understood() {
        let o = parse(&format!(
            "{URL} --rw randrw --mix 60 --bs 4k,64K --qd 1,32 --sessions 1,4 --threads 2 --cpus 0,1 --busy --secs 0.5 \
             --warm 0 --rate 1000 --span 1G --digests header,data --no-immediate --verify --pid 7 --initiator \
             iqn.2026-11.a:i --secret-file s --json - --plot p.html"
        ))
        .unwrap();
        assert_eq!((o.bs, o.qd, o.sessions), (vec![4096, 65536], vec![1, 32], vec![1, 4]));
        assert_eq!((o.rw.reads(o.mix), o.rw.is_random(), o.digests.len()), (60, true, 2));
        assert_eq!((o.secs, o.span, o.rate), (Duration::from_millis(500), Some(1 << 30), Some(1000.0)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            "--rw trim",
            "--mix 100",
            "--bs 1000",
            "--bs 32M",
            "--bs 4kb",
            "--qd 0",
            "--qd 2000",
            "--sessions 0",
            "--luns 0",
            "--luns 2 --verify",
            "--secs -1",
            "--secs x",
            "--rate 0",
            "--digests crc",
            "--plot p.png",
            "--plot svg",
            "--span x",
        ] {
            assert!(parse(&format!("{URL} {wrong}")).is_err(), "{wrong}");
        }
        let error = parse("bench iscsi://joe%hunter2hunter2@h:x/iqn.2026-11.a:b/0").unwrap_err().to_string();
        assert!(error.contains("port"), "{error}");
    }
}
