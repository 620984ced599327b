//! Conversations with a target, written as text.
//!
//! ```text
//! serve ARGUMENT…              what the daemon serves (default: ram:16M null:1G), paths from the root of this tree;
//!                              first line, if there
//! configuration FILE           the same by a file of tests/scripts
//! | TOML                       or by these lines; TARGET stands for the target's name
//! login [key=value…]           connects and logs in; `login` alone: an ordinary session; `portal=N`: at the
//!                              portal that the daemon names N-th
//! connect [N]                  connects only, to the Nth portal (default: the first)
//! term                         ends the daemon as an administrator would
//! reload OLD => NEW            has its configuration served with NEW for OLD
//! clear LUN                    reports the unit attentions of a LUN away
//! > Pdu [immediate] key=value… sends a PDU; unnamed fields are zero, numbers and lengths are right
//! > bytes HEX                  sends bytes
//! < Pdu key=value…             the next PDU is this one; unnamed fields are not looked at
//! < closed                     the target has closed the connection
//! close                        closes it from this side
//! ```
//! A number before a line (`2> NopOut …`) names another connection than 1. `#` begins a comment.
//! A value is a number (`7`, `0xff`), bits (`F+R+1`), a variable (`$a`: set where it is first received), or for
//! sequence numbers `next`, `next+N`, `next-N`. `cdb=` takes `read:LBA:BLOCKS`, `write:…`, `tur` or hex.
//! `data=` takes `zeros:N`, `fill:XX:N`, `hex:…` or `text:key=value;…`; `spoil=header|data` damages that digest;
//! `ahs=HEX` adds header segments.
//! A value of text may be `@hex:N` or `@base64:N` (N bytes), `@heard:KEY` or `@2:KEY` (what was last heard there for
//! that key), `@chap:SECRET` or `@chap64:SECRET` (the response to the challenge that was heard).
//! Received: `sense=KK/AA/QQ`, `data_len=N`, `echo=sent` (a Reject shows the header
//! of the last PDU), `residual=over:N|under:N|none`, `text=KEY=VALUE` (VALUE may be `*`, or `@chap:SECRET`: the response
//! to the challenge that was sent), `no_text=KEY` or `no_text=KEY=VALUE`. StatSN is checked throughout.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ringtgt::initiator::{LoginOptions, Pdu, RawConn, cdb};
use ringtgt::session::chap::{Challenge, by_number, decode_binary, encode_hex};
use ringtgt::session::keys::DIGEST_DEMANDED;
use ringtgt::wire::bhs::{BHS_LEN, Bhs, NopIn};
use ringtgt::wire::codes::{Opcode, TAG_NONE};
use ringtgt::wire::flags;
use ringtgt::wire::text::pairs;

use crate::daemon::{Daemon, TARGET};
use crate::pdus::{Shape, shapes};

/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bits by the letters of the standard. One letter may mean different things in different PDUs, never two in one.
const BITS: [(&str, u64); 11] = [
    ("F", flags::FINAL as u64),
    ("T", flags::TRANSIT as u64),
    ("C", flags::CONTINUE as u64),
    ("R", flags::READ as u64),
    ("W", flags::WRITE as u64),
    ("O", flags::OVERFLOW as u64),
    ("U", flags::UNDERFLOW as u64),
    ("S", flags::STATUS as u64),
    ("SIMPLE", flags::ATTR_SIMPLE as u64),
    ("ORDERED", flags::ATTR_ORDERED as u64),
    ("HEAD", flags::ATTR_HEAD_OF_QUEUE as u64),
];

/// One connection of a conversation.
struct Line {
    conn: RawConn,
    number: u32,
    cmd_sn: u32,
    stat_sn: Option<u32>,
    last_sent: [u8; BHS_LEN],
    /// The latest value of each key, in either direction.
    heard: Keys,
    said: Keys,
}

type Keys = HashMap<String, String>;

/// A conversation under way.
struct Talk {
    daemon: Daemon,
    shapes: Vec<Shape>,
    lines: HashMap<u32, Line>,
    variables: HashMap<String, u64>,
}

/// Plays tests/scripts/NAME.txt.
pub(crate) fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).expect("a script");
    assert!(
        text.starts_with("# RFC ") || text.starts_with("# S"),
        "{name}: the first line names the standard"
    );
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.split('#').next().unwrap_or_default().trim()))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    let (daemon, lines) = match lines.split_first() {
        Some(((_, first), rest)) if first.starts_with("serve ") => (serve(&first["serve ".len()..]), rest),
        Some(((_, first), rest)) if first.starts_with("configuration ") => {
            let file = path.with_file_name(&first["configuration ".len()..]);
            (serve(&format!("--reactors 2 --config {}", file.display())), rest)
        }
        Some(((_, first), _)) if first.starts_with('|') => configured(&lines),
        _ => (serve("ram:16M null:1G"), &lines[..]),
    };
    let mut talk = Talk { daemon, shapes: shapes(), lines: HashMap::new(), variables: HashMap::new() };
    for (number, line) in lines {
        if let Err(problem) = talk.line(line) {
            panic!("tests/scripts/{name}.txt:{number}: {line}\n  {problem}");
        }
    }
}

fn serve(served: &str) -> Daemon {
    let mut arguments = vec!["--reactors", "1", "--buffer-memory", "16M"];
    if served.contains("--reactors") {
        arguments.drain(..2);
    }
    arguments.extend(served.split_whitespace());
    Daemon::serve(&arguments)
}

/// The daemon of the configuration that the first lines are, and the rest.
fn configured<'a, 'l>(lines: &'l [(usize, &'a str)]) -> (Daemon, &'l [(usize, &'a str)]) {
    let toml = lines.iter().map_while(|(_, line)| line.strip_prefix('|')).collect::<Vec<_>>();
    let server = "[server]\nreactors = 1\nbuffer_memory = \"16M\"\ndrain_timeout = \"2s\"\n";
    (Daemon::of(&(server.to_owned() + &toml.join("\n").replace("TARGET", TARGET))), &lines[toml.len()..])
}

type Step<T = ()> = Result<T, String>;

impl Talk {
    fn line(&mut self, text: &str) -> Step {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number =
            if digits > 0 { text[..digits].parse().map_err(|_| "no connection number")? } else { 1 };
        let (verb, rest) =
            text[digits..].trim_start().split_once(' ').unwrap_or_else(|| (text[digits..].trim(), ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match verb {
            "connect" => {
                let portal = Some(&rest).filter(|n| !n.is_empty()).map(|n| format!("portal={n}"));
                let portal = self.portal(portal.as_deref().as_ref())?;
                self.connect(number, portal)
            }
            "term" => self.terminate(),
            "reload" => self.reload(rest),
            "login" => self.login(number, &words),
            "clear" => self.clear(number, rest),
            ">" => self.send(number, &words),
            "<" => self.expect(number, &words),
            "close" => self.lines.remove(&number).map(drop).ok_or_else(|| "not connected".into()),
            other => Err(format!("no such verb: {other}")),
        }
    }

    fn connect(&mut self, number: u32, portal: SocketAddr) -> Step {
        let conn = RawConn::connect(portal, PATIENCE).map_err(|e| e.to_string())?;
        let (heard, said) = (Keys::new(), Keys::new());
        let line = Line { conn, number, cmd_sn: 1, stat_sn: None, last_sent: [0; BHS_LEN], heard, said };
        self.lines.insert(number, line);
        Ok(())
    }

    fn terminate(&self) -> Step {
        let pid = self.daemon.child.id().to_string();
        let done = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        done.is_ok_and(|status| status.success()).then_some(()).ok_or_else(|| "no kill".into())
    }

    fn reload(&self, change: &str) -> Step {
        let (old, new) = change.split_once(" => ").ok_or("OLD => NEW")?;
        self.daemon.reload(|text| text.replace(old, new));
        Ok(())
    }

    fn login(&mut self, number: u32, words: &[&str]) -> Step {
        let (portal, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|w| w.starts_with("portal="));
        let portal = self.portal(portal.first())?;
        self.connect(number, portal)?;
        let options = login_options(number, &words)?;
        let line = self.at(number)?;
        let login = line.conn.login(options).map_err(|e| e.to_string())?;
        line.cmd_sn = login.cmd_sn.0;
        line.stat_sn = Some(login.exp_stat_sn.0);
        self.variables.insert(format!("$tsih{number}"), login.tsih.into());
        Ok(())
    }

    /// The portal that a login names as `portal=N`, or the first.
    fn portal(&self, word: Option<&&str>) -> Step<SocketAddr> {
        let Some(word) = word else { return Ok(self.daemon.portal()) };
        let number = plain_number(&word["portal=".len()..])? as usize;
        self.daemon.portals.get(number.wrapping_sub(1)).copied().ok_or_else(|| "no such portal".into())
    }

    fn at(&mut self, number: u32) -> Step<&mut Line> {
        self.lines.get_mut(&number).ok_or_else(|| format!("connection {number} is not there"))
    }

    fn clear(&mut self, number: u32, lun: &str) -> Step {
        for _ in 0..8 {
            self.line(&format!("{number}> ScsiCommand immediate flags=F lun={lun} itt=0xcccc cdb=tur"))?;
            let answer = self.receive(number)?.ok_or("closed")?;
            if answer.opcode() == Opcode::SCSI_RESPONSE && answer.bhs[3] == 0 {
                return Ok(());
            }
        }
        Err("never ready".into())
    }

    fn send(&mut self, number: u32, words: &[&str]) -> Step {
        let (kind, pairs) = words.split_first().ok_or("send what?")?;
        if *kind == "bytes" {
            let bytes = hex(&pairs.concat())?;
            return self.at(number)?.conn.send_bytes(&bytes).map_err(|e| e.to_string());
        }
        let (mut pdu, counts) = self.build(number, kind, pairs)?;
        let spoil = pairs.iter().find_map(|w| w.strip_prefix("spoil="));
        let line = self.at(number)?;
        if let Some(counts) = counts {
            line.cmd_sn = line.cmd_sn.wrapping_add(counts);
        }
        line.last_sent = pdu.bhs;
        line.said.extend(text_of(&pdu.data));
        pdu.ahs.resize(pdu.header().ahs_len(), 0);
        let mut bytes = line.conn.encode(&pdu);
        match spoil {
            None => {}
            Some("header") => bytes[BHS_LEN] ^= 1,
            Some("data") => *bytes.last_mut().ok_or("nothing to spoil")? ^= 1,
            Some(other) => return Err(format!("spoil what? {other}")),
        }
        line.conn.send_bytes(&bytes).map_err(|e| e.to_string())
    }

    /// A PDU from words, and by how much it advances CmdSN (`None`: it has none, or the script said which).
    fn build(&mut self, number: u32, kind: &str, words: &[&str]) -> Step<(Pdu, Option<u32>)> {
        let line = self.at(number)?;
        let (cmd_sn, stat_sn) = (line.cmd_sn, line.stat_sn.unwrap_or(0));
        let shape = self.shapes.iter().find(|s| s.name == kind).ok_or_else(|| format!("no PDU {kind}"))?;
        let mut pdu = Pdu::new(&shape.blank, Vec::new());
        put(&mut pdu.bhs, shape, "cmd_sn", cmd_sn.into());
        put(&mut pdu.bhs, shape, "exp_stat_sn", stat_sn.into());
        let mut counts = shape.field("cmd_sn").is_some().then_some(1);
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "immediate" => {
                    pdu.bhs[0] |= flags::IMMEDIATE;
                    counts = None;
                }
                "ahs" => {
                    pdu.ahs = hex(value)?;
                    put(&mut pdu.bhs, shape, "total_ahs_len", pdu.ahs.len() as u64 / 4);
                }
                "data" => {
                    pdu.data = match value.strip_prefix("text:") {
                        Some(text) => self.text(number, text)?,
                        None => data(value)?,
                    };
                    put(&mut pdu.bhs, shape, "data_segment_len", pdu.data.len() as u64);
                }
                "cdb" => pdu.bhs[32..48].copy_from_slice(&command(value)?),
                "lun" => put(
                    &mut pdu.bhs,
                    shape,
                    "lun",
                    self.variables.get(value).copied().map_or_else(|| wire_lun(value), Ok)?,
                ),
                "spoil" => {}
                "cmd_sn" => {
                    put(&mut pdu.bhs, shape, key, sequence(value, cmd_sn)?.into());
                    counts = None;
                }
                _ => {
                    let field = shape.field(key).ok_or_else(|| format!("{kind} has no {key}"))?;
                    let value = number_of(value, &self.variables)?;
                    put(&mut pdu.bhs, shape, field.0, value);
                }
            }
        }
        Ok((pdu, counts))
    }

    /// `key=value;…` as it travels.
    fn text(&self, number: u32, text: &str) -> Step<Vec<u8>> {
        let items = text.split(';').map(|item| match item.split_once("=@") {
            Some((key, value)) => Ok(format!("{key}={}", self.value(number, value)?)),
            None => Ok(item.replace("TARGET", TARGET)),
        });
        Ok(items.collect::<Step<Vec<_>>>()?.join("\0").into_bytes())
    }

    /// A value that is not written out.
    fn value(&self, number: u32, spelled: &str) -> Step<String> {
        let (kind, rest) = spelled.split_once(':').ok_or("@kind:value")?;
        let line =
            |number: u32| self.lines.get(&number).ok_or_else(|| format!("connection {number} is not there"));
        let heard =
            |number| line(number)?.heard.get(rest).cloned().ok_or_else(|| format!("never heard {rest}"));
        match kind {
            "hex" => Ok(encode_hex(&vec![0xab; plain_number(rest)? as usize])),
            "base64" => Ok(format!("0b{}", BASE64.encode(vec![0xab; plain_number(rest)? as usize]))),
            "heard" => heard(number),
            "said1" => line(1)?.said.get(rest).cloned().ok_or_else(|| format!("never said {rest}")),
            "chap" => chap(&line(number)?.heard, &line(number)?.heard, rest).map(|bytes| encode_hex(&bytes)),
            "chap64" => chap(&line(number)?.heard, &line(number)?.heard, rest)
                .map(|bytes| format!("0b{}", BASE64.encode(bytes))),
            other => heard(other.parse().map_err(|_| format!("no value @{spelled}"))?),
        }
    }

    /// Whether a text says that.
    fn says(&self, number: u32, wanted: &str, data: &[u8]) -> Step {
        let (key, value) = wanted.split_once('=').ok_or("text=KEY=VALUE")?;
        let line = self.lines.get(&number).ok_or("not connected")?;
        let response = value.strip_prefix("@chap:").map(|secret| chap(&line.heard, &line.said, secret));
        let (response, value) = (response.transpose()?, value.replace("TARGET", TARGET));
        let is_right = |found: &str| match &response {
            Some(response) => decode_binary(found, 64).as_ref() == Some(response),
            None => value == "*" || found == value,
        };
        let mut found = pairs(data).map_while(Result::ok).filter(|p| p.key == key);
        if found.any(|p| is_right(p.value)) { Ok(()) } else { Err(format!("text is without {wanted}")) }
    }

    fn receive(&mut self, number: u32) -> Step<Option<Pdu>> {
        let line = self.at(number)?;
        let Some(pdu) = line.conn.recv().map_err(|e| e.to_string())? else { return Ok(None) };
        line.number_follows(&pdu)?;
        if matches!(pdu.opcode(), Opcode::LOGIN_RESPONSE | Opcode::TEXT_RESPONSE) {
            line.heard.extend(text_of(&pdu.data));
        }
        Ok(Some(pdu))
    }

    fn expect(&mut self, number: u32, words: &[&str]) -> Step {
        let (kind, pairs) = words.split_first().ok_or("expect what?")?;
        let got = self.receive(number)?;
        if *kind == "closed" {
            return got.map_or(Ok(()), |pdu| Err(format!("came: {}", shown(&pdu))));
        }
        let Some(pdu) = got else { return Err("the target has closed the connection".into()) };
        for pair in pairs {
            self.compare(number, kind, pair, &pdu).map_err(|e| format!("{e}; came: {}", shown(&pdu)))?;
        }
        self.shape_is(kind, &pdu)
    }

    fn shape_is(&self, kind: &str, pdu: &Pdu) -> Step {
        let shape = self.shapes.iter().find(|s| s.name == kind).ok_or_else(|| format!("no PDU {kind}"))?;
        let same = Bhs::from_bhs(&shape.blank).opcode() == pdu.opcode();
        if same { Ok(()) } else { Err(format!("came: {}", shown(pdu))) }
    }

    fn compare(&mut self, number: u32, kind: &str, pair: &str, pdu: &Pdu) -> Step {
        self.shape_is(kind, pdu)?;
        let (key, wanted) = pair.split_once('=').ok_or("key=value")?;
        match key {
            "data" => same("data", pdu.data == data(wanted)?),
            "data_len" => same(key, pdu.data.len() as u64 == number_of(wanted, &self.variables)?),
            "text" => self.says(number, wanted, &pdu.data),
            "no_text" => {
                let (key, value) = wanted.split_once('=').unwrap_or((wanted, "*"));
                let there = self.says(number, &format!("{key}={value}"), &pdu.data).is_ok();
                same("text", !there)
            }
            "sense" => same("sense", sense(&pdu.data) == wanted),
            "echo" => same("echo", pdu.data == self.at(number)?.last_sent),
            "residual" => same("residual", residual(pdu)? == wanted),
            _ => {
                let shape = self.shapes.iter().find(|s| s.name == kind).ok_or("no such PDU")?;
                let field = shape.field(key).ok_or_else(|| format!("{kind} has no {key}"))?;
                let found = get(&pdu.bhs, field);
                if let Some(name) = wanted.strip_prefix('$')
                    && !self.variables.contains_key(wanted)
                {
                    self.variables.insert(format!("${name}"), found);
                    return Ok(());
                }
                let cmd_sn = self.at(number)?.cmd_sn;
                let wanted = match key {
                    "lun" => wire_lun(wanted)?,
                    "exp_cmd_sn" | "max_cmd_sn" => sequence(wanted, cmd_sn)?.into(),
                    _ => number_of(wanted, &self.variables)?,
                };
                if found == wanted { Ok(()) } else { Err(format!("{key} is {found:#x}, not {wanted:#x}")) }
            }
        }
    }
}

impl Line {
    /// StatSN goes on by one with everything that has one (RFC 7143 section 4.2.2.2).
    fn number_follows(&mut self, pdu: &Pdu) -> Step {
        let any = NopIn::from_bhs(&pdu.bhs);
        let (counts, shows) = match pdu.opcode() {
            Opcode::DATA_IN => (any.flags & flags::STATUS != 0, any.flags & flags::STATUS != 0),
            Opcode::R2T => (false, true),
            Opcode::NOP_IN => (any.itt.get() != TAG_NONE, true),
            _ => (true, true),
        };
        let stat_sn = any.stat_sn.get();
        if shows && self.stat_sn.is_some_and(|expected| expected != stat_sn) {
            return Err(format!("connection {}: StatSN does not follow: {}", self.number, shown(pdu)));
        }
        if counts {
            self.stat_sn = Some(stat_sn.wrapping_add(1));
        }
        Ok(())
    }
}

/// The keys of a text and their values; of several the last. What is no text has none.
fn text_of(data: &[u8]) -> Keys {
    pairs(data).map_while(Result::ok).map(|p| (p.key.to_owned(), p.value.to_owned())).collect()
}

/// The response of one who knows `secret` to the challenge in `challenged`, by the algorithm that was agreed on.
fn chap(agreed: &Keys, challenged: &Keys, secret: &str) -> Step<Vec<u8>> {
    let key = |keys: &Keys, name: &str| keys.get(name).cloned().ok_or_else(|| format!("no {name}"));
    let algorithm = by_number(&key(agreed, "CHAP_A")?).ok_or("no algorithm")?;
    let challenge = Challenge::from_text(algorithm, &key(challenged, "CHAP_I")?, &key(challenged, "CHAP_C")?);
    Ok(challenge.map_err(|e| e.to_string())?.response(&secret.to_owned().into()))
}

fn shown(pdu: &Pdu) -> String {
    let line = ringtgt::wire::show::Line(&pdu.bhs);
    format!("{line}, {} bytes of data {:02x?}", pdu.data.len(), &pdu.data[..pdu.data.len().min(64)])
}

fn same(what: &str, equal: bool) -> Step {
    if equal { Ok(()) } else { Err(format!("{what} differs")) }
}

fn put(bhs: &mut [u8; BHS_LEN], shape: &Shape, name: &str, value: u64) {
    if let Some((_, at, len)) = shape.field(name) {
        bhs[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
    }
}

fn get(bhs: &[u8; BHS_LEN], (_, at, len): (&str, usize, usize)) -> u64 {
    bhs[at..at + len].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn plain_number(text: &str) -> Step<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("no number: {text}"))
}

fn number_of(text: &str, variables: &HashMap<String, u64>) -> Step<u64> {
    if text == "none" {
        return Ok(TAG_NONE.into());
    }
    text.split('+').try_fold(0, |sum, part| {
        let bit = BITS.iter().find(|(name, _)| *name == part).map(|(_, bit)| *bit);
        let value = bit.or_else(|| variables.get(part).copied());
        Ok(sum | value.map_or_else(|| plain_number(part), Ok)?)
    })
}

fn sequence(text: &str, next: u32) -> Step<u32> {
    let Some(step) = text.strip_prefix("next") else { return Ok(plain_number(text)? as u32) };
    match step.split_at_checked(1) {
        Some(("+", n)) => Ok(next.wrapping_add(plain_number(n)? as u32)),
        Some(("-", n)) => Ok(next.wrapping_sub(plain_number(n)? as u32)),
        _ => Ok(next),
    }
}

fn wire_lun(text: &str) -> Step<u64> {
    let number = plain_number(text)?;
    Ok(u16::try_from(number).map_or(number, |n| ringtgt::wire::lun::to_wire(n).get()))
}

fn hex(text: &str) -> Step<Vec<u8>> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    if digits.len() != text.len() || !digits.len().is_multiple_of(2) {
        return Err(format!("no hex: {text}"));
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

fn data(text: &str) -> Step<Vec<u8>> {
    let (kind, rest) = text.split_once(':').ok_or("data is kind:value")?;
    match kind {
        "zeros" => Ok(vec![0; plain_number(rest)? as usize]),
        "fill" => {
            let (byte, count) = rest.split_once(':').ok_or("fill:XX:N")?;
            Ok(vec![hex(byte)?[0]; plain_number(count)? as usize])
        }
        "hex" => hex(rest),
        "text" => Ok(rest.replace("TARGET", TARGET).replace(';', "\0").into_bytes()),
        other => Err(format!("no data of kind {other}")),
    }
}

fn command(text: &str) -> Step<cdb::Cdb> {
    let words: Vec<&str> = text.split(':').collect();
    Ok(match words[..] {
        ["tur"] => cdb::TEST_UNIT_READY,
        ["read", lba, blocks] => cdb::read(plain_number(lba)?, plain_number(blocks)? as u32),
        ["write", lba, blocks] => cdb::write(plain_number(lba)?, plain_number(blocks)? as u32),
        ["inquiry", len] => cdb::inquiry(None, plain_number(len)? as u16),
        [digits] => {
            let mut cdb = [0; 16];
            let bytes = hex(digits)?;
            cdb[..bytes.len()].copy_from_slice(&bytes);
            cdb
        }
        _ => return Err(format!("no CDB: {text}")),
    })
}

/// Sense key, ASC and ASCQ of fixed format sense data behind its length.
fn sense(data: &[u8]) -> String {
    let at = |n: usize| data.get(n + 2).copied().unwrap_or(0);
    format!("{:02x}/{:02x}/{:02x}", at(2) & 15, at(12), at(13))
}

fn residual(pdu: &Pdu) -> Step<String> {
    let count = u32::from_be_bytes(pdu.bhs[44..48].try_into().map_err(|_| "a header")?);
    Ok(match pdu.bhs[1] & (flags::OVERFLOW | flags::UNDERFLOW) {
        0 => "none".to_owned(),
        flags::OVERFLOW => format!("over:{count}"),
        flags::UNDERFLOW => format!("under:{count}"),
        _ => "both".to_owned(),
    })
}

fn login_options(number: u32, words: &[&str]) -> Step<LoginOptions> {
    let mut options = LoginOptions::new(&format!("iqn.2026-11.org.example:i{number}"), Some(TARGET));
    options.isid[5] = number as u8;
    for word in words {
        let (key, value) = word.split_once('=').ok_or("key=value")?;
        let wishes = &mut options.wishes;
        let number = || plain_number(value).map(|n| n as u32);
        match key {
            "initiator" => options.initiator = value.to_owned(),
            "isid" => options.isid[5] = number()? as u8,
            "cmd_sn" => options.cmd_sn = number()?,
            "target" if value == "none" => options.target = None,
            "header_digest" => wishes.header_digest = DIGEST_DEMANDED,
            "data_digest" => wishes.data_digest = DIGEST_DEMANDED,
            "initial_r2t" => wishes.initial_r2t = value == "Yes",
            "immediate_data" => wishes.immediate_data = value == "Yes",
            "first_burst" => wishes.first_burst_length = number()?,
            "max_burst" => wishes.max_burst_length = number()?,
            "data_pdu_in_order" => wishes.data_pdu_in_order = value == "Yes",
            "max_r2t" => wishes.max_outstanding_r2t = number()? as u16,
            "task_reporting" if value == "FastAbort" => wishes.task_reporting = &["FastAbort"],
            "protocol_level" => wishes.protocol_level = number()? as u8,
            "segment" => wishes.max_recv_data_segment_length = number()?,
            other => return Err(format!("no login option {other}")),
        }
    }
    let first = options.wishes.first_burst_length.min(options.wishes.max_burst_length);
    options.wishes.first_burst_length = first;
    Ok(options)
}

/// The names of all scripts.
pub(crate) fn names() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let files = std::fs::read_dir(dir).expect("the scripts");
    let stem = |path: std::path::PathBuf| path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let is_script = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "txt");
    let paths = files.map(|file| file.expect("a file").path()).filter(is_script);
    let mut names: Vec<String> = paths.filter_map(stem).collect();
    names.sort();
    names
}
