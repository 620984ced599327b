//! What flight recorders have, as a file that Wireshark and tshark open.
//!
//! A pcap file of packets that were never on a wire so: each PDU is a TCP segment of its own, with addresses, ports and
//! sequence numbers as they were or could have been. Of a PDU its header is there; the data behind it is announced and cut
//! off, as in a capture with a short snapshot length.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Receiver;

use crate::ids::{ConnId, CoreId};
use crate::reactor::{Passed, Recording};
use crate::wire::bhs::{BHS_LEN, Bhs, padding};

/// Raw IP, version 4 or 6 (LINKTYPE_RAW).
const LINKTYPE_RAW: u32 = 101;

/// Nanoseconds in the time stamps.
const MAGIC: u32 = 0xa1b2_3c4d;

const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;

/// The port of what is not known any more; dissectors know iSCSI by it.
const PORT: u16 = 3260;

/// Files that are kept of those that were made without being asked for.
const MOST_FILES: usize = 8;

/// The recordings as one file, in the order of time. `wall` is the time of day when they were made.
pub(super) fn pcap(recordings: &[Recording], wall: SystemTime) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [MAGIC, 0x0004_0002, 0, 0, 65_535, LINKTYPE_RAW] {
        out.extend(word.to_le_bytes());
    }
    // All reactors have one clock, but are asked one after the other.
    let now = recordings.iter().map(|recording| recording.now).max().unwrap_or(0);
    let mut all: Vec<(CoreId, &Passed)> = Vec::new();
    for recording in recordings {
        all.extend(recording.passed.iter().map(|passed| (recording.core, passed)));
    }
    // Oldest first; those of one time as they were recorded.
    all.sort_by_key(|(_, passed)| passed.time);
    let mut streams = Streams::new(recordings);
    for (core, passed) in all {
        let age = Duration::from_nanos(now.saturating_sub(passed.time));
        let time = wall.checked_sub(age).unwrap_or(UNIX_EPOCH);
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (packet, len) = streams.packet(core, passed);
        for word in [time.as_secs() as u32, time.subsec_nanos(), packet.len() as u32, len as u32] {
            out.extend(word.to_le_bytes());
        }
        out.extend(packet);
    }
    out
}

/// Who talks: our address and theirs.
type Ends = (SocketAddr, SocketAddr);

/// The sequence numbers of what either side sends next.
struct Numbers {
    sent: u32,
    received: u32,
}

/// Connections. One that changes its reactor after the login goes on by its addresses: to each reactor it is another.
struct Streams {
    ends: HashMap<(CoreId, ConnId), Ends>,
    numbers: HashMap<Ends, Numbers>,
}

impl Streams {
    fn new(recordings: &[Recording]) -> Self {
        let mut ends = HashMap::new();
        for recording in recordings {
            let of = |&(conn, local, peer): &_| ((recording.core, conn), (local, peer));
            ends.extend(recording.ends.iter().map(of));
        }
        Self { ends, numbers: HashMap::new() }
    }

    /// The packet of a PDU as far as it is there, and how long it would be.
    fn packet(&mut self, core: CoreId, passed: &Passed) -> (Vec<u8>, usize) {
        let (local, peer) =
            self.ends.get(&(core, passed.conn)).copied().unwrap_or_else(|| unknown(core, passed.conn));
        let numbers = self.numbers.entry((local, peer)).or_insert(Numbers { sent: 1, received: 1 });
        let bhs = Bhs::from_bhs(&passed.bhs);
        let payload = BHS_LEN + bhs.ahs_len() + bhs.data_len() + padding(bhs.data_len());
        let (from, to) = if passed.outward { (local, peer) } else { (peer, local) };
        let (seq, ack) =
            if passed.outward { (numbers.sent, numbers.received) } else { (numbers.received, numbers.sent) };
        let mut packet = ip_header(from.ip(), to.ip(), TCP + payload);
        let head = packet.len() + TCP;
        packet.extend(from.port().to_be_bytes());
        packet.extend(to.port().to_be_bytes());
        packet.extend(seq.to_be_bytes());
        packet.extend(ack.to_be_bytes());
        // Five words of header; PSH and ACK; a window; no checksum.
        packet.extend([5 << 4, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(passed.bhs);
        let side = if passed.outward { &mut numbers.sent } else { &mut numbers.received };
        *side = side.wrapping_add(payload as u32);
        (packet, head + payload)
    }
}

/// A connection whose addresses are not known any more gets some that nobody has (RFC 5737).
fn unknown(core: CoreId, conn: ConnId) -> Ends {
    let [a, b] = (conn.index as u16).to_be_bytes();
    let peer = SocketAddr::from((Ipv4Addr::new(198, 51, 100, core.0 as u8), u16::from_be_bytes([a, b])));
    (SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), PORT)), peer)
}

/// An IP header for so many bytes. What is longer than IP can say has a length of zero, as where the network card cuts
/// segments.
fn ip_header(from: IpAddr, to: IpAddr, len: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(IPV6 + TCP + BHS_LEN);
    match (from.to_canonical(), to.to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = u16::try_from(IPV4 + len).unwrap_or(0);
            header.extend([0x45, 0]);
            header.extend(len.to_be_bytes());
            // No fragment; sixty-four hops; TCP.
            header.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (from, to) => {
            header.extend([0x60, 0, 0, 0]);
            header.extend(u16::try_from(len).unwrap_or(0).to_be_bytes());
            header.extend([6, 64]);
            header.extend(six(from));
            header.extend(six(to));
        }
    }
    header
}

fn six(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Of a header of IP (RFC 791 section 3.1).
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(folded + (folded >> 16)) as u16
}

/// A thread that keeps recordings that reactors make by themselves, in that directory.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn keep(dir: PathBuf, recordings: Receiver<Recording>) -> io::Result<()> {
    let work = move || {
        for recording in recordings {
            match save(&dir, &recording) {
                Ok(file) => {
                    let (file, reason) = (file.display(), &recording.reason);
                    tracing::warn!(%file, reason, "the PDUs before an error were kept; Wireshark opens them");
                }
                Err(error) => tracing::warn!(%error, dir = %dir.display(), "cannot keep a recording"),
            }
        }
    };
    std::thread::Builder::new().name("recorder".into()).spawn(work).map(drop)
}

/// Writes a recording, and removes the oldest if there are too many.
fn save(dir: &Path, recording: &Recording) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let wall = SystemTime::now();
    let seconds = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let file = dir.join(format!("{seconds:015}-reactor{}.pcap", recording.core.0));
    // Commands tell what is on disks: for their owner only.
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&file)?;
    out.write_all(&pcap(std::slice::from_ref(recording), wall))?;
    thin_out(dir)?;
    Ok(file)
}

/// A name as [`save`] gives it: when, and which reactor. Somebody may keep other files there.
fn is_name(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts = name.strip_suffix(".pcap").and_then(|name| name.split_once("-reactor"));
    parts.is_some_and(|(when, reactor)| when.len() == 15 && is_number(when) && is_number(reactor))
}

fn thin_out(dir: &Path) -> io::Result<()> {
    let is_ours = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(is_name);
    let mut files: Vec<PathBuf> = fs::read_dir(dir)?.flatten().map(|e| e.path()).filter(is_ours).collect();
    files.sort();
    let many = files.len().saturating_sub(MOST_FILES);
    files.iter().take(many).try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(pdus: u8) -> Recording {
        let conn = ConnId { index: 5, generation: 1 };
        let passed = |n: u8| {
            let mut bhs = [n; BHS_LEN];
            // Opcode, no AHS, and 300,000 bytes of data, or five.
            bhs[0] = if n == 1 { 0x25 } else { 0x01 };
            bhs[4..8].copy_from_slice(&if n == 1 { [0, 4, 0x93, 0xe0] } else { [0, 0, 0, 5] });
            Passed { time: u64::from(n) * 1000, conn, outward: n == 1, bhs }
        };
        Recording {
            core: CoreId(0),
            now: 5000,
            passed: (0..pdus).map(passed).collect(),
            ends: vec![(conn, "192.0.2.9:3260".parse().unwrap(), "192.0.2.7:40000".parse().unwrap())],
            reason: String::new(),
        }
    }

    fn word(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    #[test]
    fn every_pdu_is_a_segment_of_its_own() {
        let wall = UNIX_EPOCH + Duration::new(1_800_000_000, 7000);
        let file = pcap(&[recording(3)], wall);
        assert_eq!((word(&file, 0), word(&file, 20)), (MAGIC as usize, 101));
        let (mut at, mut packets) = (24, Vec::new());
        while at < file.len() {
            let (stamp, captured, whole) = (word(&file, at + 4), word(&file, at + 8), word(&file, at + 12));
            packets.push((stamp, whole, file[at + 16..at + 16 + captured].to_vec()));
            at += 16 + captured;
        }
        assert_eq!(packets.iter().map(|p| p.0).collect::<Vec<_>>(), [2000, 3000, 4000], "when");
        let small = IPV4 + TCP + BHS_LEN + 8;
        assert_eq!(
            packets.iter().map(|p| p.1).collect::<Vec<_>>(),
            [small, IPV4 + TCP + BHS_LEN + 300_000, small]
        );
        for (n, (_, whole, packet)) in packets.iter().enumerate() {
            assert_eq!((packet.len(), checksum(&packet[..IPV4])), (IPV4 + TCP + BHS_LEN, 0));
            let len = u16::from_be_bytes([packet[2], packet[3]]);
            assert_eq!(usize::from(len), if n == 1 { 0 } else { *whole });
            assert_eq!(packet[40..], recording(3).passed[n].bhs);
        }
        let ports = |p: &[u8]| (u16::from_be_bytes([p[20], p[21]]), u16::from_be_bytes([p[22], p[23]]));
        assert_eq!((ports(&packets[0].2), ports(&packets[1].2)), ((40_000, 3260), (3260, 40_000)));
        let seq = |p: &[u8]| u32::from_be_bytes(p[24..28].try_into().unwrap());
        assert_eq!((seq(&packets[0].2), seq(&packets[2].2)), (1, 1 + BHS_LEN as u32 + 8));
    }

    #[test]
    fn a_connection_that_changes_its_reactor_after_the_login_is_one() {
        // Of the first reactor the request; it has been asked before the second one, which has the rest.
        let mut first = recording(1);
        let mut second = recording(4);
        second.passed.remove(0);
        (first.now, second.core, second.now) = (3500, CoreId(1), 9000);
        second.ends[0].0.index = 77;
        second.passed.iter_mut().for_each(|passed| passed.conn.index = 77);
        let whole = pcap(&[recording(4)], UNIX_EPOCH + Duration::from_secs(1));
        let later = pcap(&[first, second], UNIX_EPOCH + Duration::from_nanos(1_000_004_000));
        assert_eq!(whole, later);
    }

    #[test]
    fn what_is_not_known_any_more_has_some_address() {
        let unknown = Recording { ends: Vec::new(), ..recording(2) };
        let file = pcap(&[unknown], SystemTime::now());
        assert_eq!(file[24 + 16 + 12..][..8], [198, 51, 100, 0, 192, 0, 2, 1]);
        let mut six = recording(1);
        six.ends[0].1 = "[2001:db8::1]:3260".parse().unwrap();
        let file = pcap(&[six], SystemTime::now());
        assert_eq!((file[40] >> 4, word(&file, 24 + 8)), (6, IPV6 + TCP + BHS_LEN));
    }

    #[test]
    fn only_the_last_files_are_kept_and_only_their_owner_reads_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for n in 0..MOST_FILES + 3 {
            fs::write(dir.path().join(format!("{n:015}-reactor0.pcap")), "").unwrap();
        }
        let others = ["0.pcap", "000000000000001-reactor.pcap", "notes.txt", "the-outage-of-may.pcap"];
        others.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
        let file = save(dir.path(), &recording(3)).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let names = fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        assert!(
            others.iter().all(|name| names.iter().any(|n| n == name)),
            "what others keep there: {names:?}"
        );
        names.retain(|name| !others.contains(&name.as_str()));
        assert_eq!(names.len(), MOST_FILES);
        assert_eq!(names[0], format!("{:015}-reactor0.pcap", 4));
    }
}
