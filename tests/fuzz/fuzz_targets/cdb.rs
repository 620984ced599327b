//! Sequences of commands from three initiators: no panic, every range inside the medium and of whole blocks, nobody
//! writes through a reservation, and read-only stays read-only.

#![no_main]

use std::sync::Arc;

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use ringtgt::ids::LuId;
use ringtgt::scsi::{
    self, AccessState, Amount, Atomic, Attentions, Context, CopyCommand, CopyOrder, Counters, DEFAULT_GROUP,
    Device, DeviceKind, DeviceType, Echo, Failure, Group, Groups, Identity, Io, ItNexus, Lu, LuFacts,
    LuState, MAX_PARAMS, MAX_SENSE, Naa, Outcome, Pass, PassData, Peer, Power, PrType, Range, Rod, SharedOp,
    Supported, TOKEN_SECRET, Thin, Tokens, WHOLE,
};

/// Opcodes of the commands that exist, with their lengths.
const COMMANDS: &[(u8, usize)] = &[
    (0x00, 6),
    (0x03, 6),
    (0x04, 6),
    (0x08, 6),
    (0x0a, 6),
    (0x12, 6),
    (0x15, 6),
    (0x16, 6),
    (0x17, 6),
    (0x1a, 6),
    (0x1b, 6),
    (0x1c, 6),
    (0x1d, 6),
    (0x1e, 6),
    (0x25, 10),
    (0x28, 10),
    (0x2a, 10),
    (0x2b, 10),
    (0x2e, 10),
    (0x2f, 10),
    (0x34, 10),
    (0x35, 10),
    (0x37, 10),
    (0x3b, 10),
    (0x3c, 10),
    (0x41, 10),
    (0x42, 10),
    (0x43, 10),
    (0x46, 10),
    (0x48, 10),
    (0x4a, 10),
    (0x4c, 10),
    (0x4d, 10),
    (0x51, 10),
    (0x52, 10),
    (0x55, 10),
    (0x56, 10),
    (0x57, 10),
    (0x5a, 10),
    (0x5e, 10),
    (0x5f, 10),
    (0x7f, 32),
    (0x83, 16),
    (0x84, 16),
    (0x88, 16),
    (0x89, 16),
    (0x8a, 16),
    (0x8b, 16),
    (0x8e, 16),
    (0x8f, 16),
    (0x90, 16),
    (0x91, 16),
    (0x93, 16),
    (0x9b, 16),
    (0x9c, 16),
    (0x9e, 16),
    (0xa0, 12),
    (0xa3, 12),
    (0xa4, 12),
    (0xa8, 12),
    (0xaa, 12),
    (0xae, 12),
    (0xaf, 12),
    (0xb7, 12),
    (0xac, 12),
    (0xad, 12),
    (0xb6, 12),
    (0xb9, 12),
    (0xbb, 12),
    (0xbd, 12),
    (0xbe, 12),
];

/// Service actions of THIRD-PARTY COPY OUT and IN.
const COPY_OUT: &[u8] = &[0x00, 0x01, 0x10, 0x11, 0x1c];
const COPY_IN: &[u8] = &[0x00, 0x01, 0x03, 0x04, 0x05, 0x07, 0x08];

#[derive(Debug)]
struct Command {
    from: usize,
    cdb: Vec<u8>,
    list: Vec<u8>,
}

#[derive(Debug)]
struct Input {
    facts: LuFacts,
    read_only_map: bool,
    room: usize,
    commands: Vec<Command>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let facts = facts(u)?;
        let (read_only_map, room) =
            (u.ratio(1, 8)?, if u.ratio(7, 8)? { 65536 } else { u.int_in_range(0..=300)? });
        let mut commands = vec![];
        while !u.is_empty() && commands.len() < 64 {
            commands.push(command(u, &facts)?);
        }
        Ok(Self { facts, read_only_map, room, commands })
    }
}

/// The ports of two of the nexuses are in a group that can be in any state.
fn groups(u: &mut Unstructured<'_>) -> Result<Groups> {
    let states =
        [AccessState::Optimized, AccessState::NonOptimized, AccessState::Standby, AccessState::Unavailable];
    let second = Group {
        implicit: u.arbitrary()?,
        explicit: u.arbitrary()?,
        preferred: u.arbitrary()?,
        supported: Supported::all(),
        configured: *u.choose(&states)?,
        ports: vec![1, 2],
        ..Group::new(1, "second")
    };
    let others = if u.ratio(1, 2)? { vec![second] } else { vec![] };
    Ok(Groups::new(Group { ports: vec![3], ..Group::new(0, DEFAULT_GROUP) }, others, u.arbitrary()?))
}

fn device(u: &mut Unstructured<'_>) -> Result<Device> {
    let peripheral = *u.choose(&[0x00, 0x01, 0x05, 0x08, 0x0d])?;
    let kind = DeviceKind::of_type(peripheral).expect("a kind that can be passed through");
    let [long_inquiry, names, limits] = u.arbitrary()?;
    let most = u.int_in_range(1..=1 << 18)?;
    Ok(Device { kind, peripheral, long_inquiry, names, limits, most })
}

fn facts(u: &mut Unstructured<'_>) -> Result<LuFacts> {
    let thin = Thin {
        max_unmap_blocks: *u.choose(&[8, 1 << 16, u32::MAX])?,
        max_unmap_descriptors: *u.choose(&[1, 16, u32::MAX])?,
        granularity_blocks: *u.choose(&[0, 1, 8])?,
        alignment_blocks: u.int_in_range(0..=7)?,
        lbprz: u.arbitrary()?,
        max_write_same_blocks: *u.choose(&[0, 8, 1 << 16])?,
        anchors: u.arbitrary()?,
        threshold_exponent: *u.choose(&[0, 8, 11])?,
        threshold: *u.choose(&[0, 8])?,
    };
    let shown = if u.ratio(1, 4)? { DeviceType::Cdrom } else { DeviceType::Disk };
    Ok(LuFacts {
        name: "disk".into(),
        device: shown,
        block_size: *u.choose(shown.block_sizes())?,
        blocks: *u.choose(&[0, 1, 7, 2048, 1 << 21, 1 << 33, (1 << 52) - 1])?,
        physical_exponent: u.int_in_range(0..=15)?,
        read_only: u.ratio(1, 8)?,
        write_cache: u.arbitrary()?,
        thin: u.ratio(3, 4)?.then_some(thin),
        identity: Identity {
            vendor: "RINGTGT".into(),
            product: "disk".into(),
            revision: "1".into(),
            serial: "0123456789abcdef".into(),
            naa: if u.arbitrary()? { Naa::Short([0x30; 8]) } else { Naa::Long([0x60; 16]) },
            uuid: [7; 16],
            t10: None,
        },
        optimal_transfer_blocks: 512,
        max_transfer_blocks: *u.choose(&[0, 128])?,
        rotational: u.arbitrary()?,
        ranges: u.arbitrary()?,
        removable: u.arbitrary()?,
        saves: u.arbitrary()?,
        resident: u.arbitrary()?,
        groups: groups(u)?,
        atomic: u.arbitrary::<bool>()?.then_some(Atomic {
            max_blocks: 64,
            alignment_blocks: *u.choose(&[0, 8])?,
            granularity_blocks: *u.choose(&[0, 8])?,
            natural: u.arbitrary()?,
        }),
        passed: if u.ratio(1, 4)? { Some(device(u)?) } else { None },
    })
}

/// A block address that is often near the end.
fn lba(u: &mut Unstructured<'_>, facts: &LuFacts) -> Result<u64> {
    Ok(match u.int_in_range(0..=5)? {
        0 | 1 => u.int_in_range(0..=64)?,
        2 => facts.blocks,
        3 => facts.blocks.saturating_sub(u.int_in_range(1..=8)?),
        4 => u64::MAX - u.int_in_range(0..=8)?,
        _ => u.arbitrary()?,
    })
}

fn command(u: &mut Unstructured<'_>, facts: &LuFacts) -> Result<Command> {
    let from = u.int_in_range(0..=2)?;
    let (mut cdb, list) = if u.ratio(1, 32)? {
        (u.arbitrary::<Vec<u8>>()?, u.arbitrary()?)
    } else {
        let (opcode, len) = *u.choose(COMMANDS)?;
        let cdb = cdb(u, facts, opcode, len)?;
        let list = list(u, facts, opcode, cdb[1])?;
        (cdb, list)
    };
    if u.ratio(1, 16)? && !cdb.is_empty() {
        let at = u.choose_index(cdb.len())?;
        cdb[at] = u.arbitrary()?;
    }
    Ok(Command { from, cdb, list })
}

fn cdb(u: &mut Unstructured<'_>, facts: &LuFacts, opcode: u8, len: usize) -> Result<Vec<u8>> {
    let mut cdb = vec![0; 16.max(len)];
    cdb[0] = opcode;
    let count: u32 = *u.choose(&[0, 1, 2, 8, 16, 64, 255, 4096, 0xffff, u32::MAX])?;
    let at = lba(u, facts)?;
    if opcode == 0x7f {
        (cdb[7], cdb[9]) = (0x18, u.int_in_range(0x08..=0x0e)?);
        cdb[10] = *u.choose(&[0, 2, 4, 8, 0x10])?;
        cdb[12..20].copy_from_slice(&at.to_be_bytes());
        cdb[28..32].copy_from_slice(&count.to_be_bytes());
        return Ok(cdb);
    }
    match opcode {
        0x04 => cdb[1] = *u.choose(&[0, 0x10, 0x30, 0x18])?,
        0x48 => cdb[1] = *u.choose(&[0x01, 0x02, 0x81, 0xa2, 0x1f, 0x03])?,
        0x83 => cdb[1] = *u.choose(COPY_OUT)?,
        0x84 => cdb[1] = *u.choose(COPY_IN)?,
        0x5e => cdb[1] = u.int_in_range(0..=4)?,
        0x5f => (cdb[1], cdb[2]) = (u.int_in_range(0..=8)?, u.int_in_range(0..=9)?),
        0x9e => cdb[1] = u.int_in_range(0x10..=0x13)?,
        0xa4 => cdb[1] = *u.choose(&[0x06, 0x0a, 0x0f])?,
        0xa3 => (cdb[1], cdb[2], cdb[3]) = (u.int_in_range(0x05..=0x0f)?, u.arbitrary()?, u.arbitrary()?),
        0x12 => {
            (cdb[1], cdb[2]) = (
                u.int_in_range(0..=1)?,
                *u.choose(&[0, 0x80, 0x83, 0x85, 0x86, 0x87, 0x88, 0x8f, 0xb0, 0xb1, 0xb2, 0xb3, 0xb7, 0xb9])?,
            )
        }
        0x1a | 0x5a => cdb[2] = u.arbitrary()?,
        0x15 | 0x55 => cdb[1] = *u.choose(&[0x10, 0x11, 0])?,
        0x1b => cdb[4] = u.arbitrary()?,
        0x2e | 0x2f | 0x8e | 0x8f | 0xae | 0xaf => cdb[1] = *u.choose(&[0, 2, 4, 6])?,
        0x43 | 0x46 | 0x4a | 0x51 | 0x52 | 0xac => cdb[1] = u.arbitrary()?,
        0xb9 | 0xbe => {
            (cdb[1], cdb[9]) = (*u.choose(&[0, 0, 0x08, 0x04])?, *u.choose(&[0x10, 0x10, 0, 0xf8])?)
        }
        0x41 | 0x93 => cdb[1] = *u.choose(&[0, 1, 8, 9, 0x10])?,
        _ => cdb[1] = if u.ratio(1, 4)? { u.arbitrary()? } else { 0 },
    }
    match (len, opcode) {
        (6, 0x08 | 0x0a) => (cdb[2], cdb[3], cdb[4]) = ((at >> 8) as u8, at as u8, count as u8),
        (6, 0x04 | 0x1b) => {}
        (10, 0x48) => cdb[8] = if cdb[1] & 0x1f == 1 { *u.choose(&[5, 8, 0])? } else { 0 },
        (6, _) => cdb[4] = u.arbitrary()?,
        (10, 0x5e | 0x5f | 0x42 | 0x55 | 0x5a) => {
            cdb[7..9].copy_from_slice(&u.arbitrary::<u16>()?.to_be_bytes())
        }
        (10, _) => {
            cdb[2..6].copy_from_slice(&(at as u32).to_be_bytes());
            cdb[7..9].copy_from_slice(&(count as u16).to_be_bytes());
        }
        (12, 0xa0 | 0xa3 | 0xa4) => cdb[6..10].copy_from_slice(&count.to_be_bytes()),
        (12, 0xb9 | 0xbe) => {
            cdb[2..6].copy_from_slice(&(at as u32).to_be_bytes());
            (cdb[7], cdb[8]) = (u.int_in_range(0..=2)?, count as u8);
        }
        (12, _) => {
            cdb[2..6].copy_from_slice(&(at as u32).to_be_bytes());
            cdb[6..10].copy_from_slice(&count.to_be_bytes());
        }
        (_, 0x83 | 0x84) => {
            // List identifiers, of one byte and of four, at either place.
            (cdb[2], cdb[5], cdb[9]) =
                (u.int_in_range(0..=2)?, u.int_in_range(0..=2)?, u.int_in_range(0..=2)?);
            let length = if opcode == 0x83 { 0xffff } else { count };
            cdb[10..14].copy_from_slice(&length.to_be_bytes());
        }
        (_, 0x89) => {
            cdb[2..10].copy_from_slice(&at.to_be_bytes());
            cdb[13] = count as u8;
        }
        _ => {
            cdb[2..10].copy_from_slice(&at.to_be_bytes());
            cdb[10..14].copy_from_slice(&count.to_be_bytes());
        }
    }
    Ok(cdb)
}

/// Block device range descriptors behind a header of `start` bytes that ends with their length.
fn ranges(u: &mut Unstructured<'_>, facts: &LuFacts, start: usize) -> Result<Vec<u8>> {
    let mut list = vec![0; start];
    let count = u.int_in_range(0..=6)?;
    for _ in 0..count {
        list.extend(lba(u, facts)?.to_be_bytes());
        list.extend(u.choose(&[0u32, 1, 8, 1 << 10, u32::MAX])?.to_be_bytes());
        list.extend([0; 4]);
    }
    list[..2].copy_from_slice(&((start - 2 + 16 * count) as u16).to_be_bytes());
    list[start - 2..start].copy_from_slice(&((16 * count) as u16).to_be_bytes());
    Ok(list)
}

/// The list of a service action of THIRD-PARTY COPY OUT.
fn copy_list(u: &mut Unstructured<'_>, facts: &LuFacts, action: u8) -> Result<Vec<u8>> {
    let long = action == 0x01;
    match action {
        0x10 => {
            let mut list = ranges(u, facts, 16)?;
            (list[2], list[6], list[7], list[9]) =
                (u.int_in_range(0..=3)?, u.int_in_range(0..=2)?, u.arbitrary()?, 1);
            return Ok(list);
        }
        0x11 => {
            let mut list = ranges(u, facts, 536)?;
            (list[2], list[15], list[22], list[23]) =
                (u.int_in_range(0..=3)?, u.int_in_range(0..=9)?, 0x01, 0xf8);
            list[16..20].copy_from_slice(u.choose(&[[0xff, 0xff, 0, 1], [0, 1, 0, 0], [0, 0x80, 0, 0]])?);
            list[31] = u.int_in_range(0..=3)?;
            return Ok(list);
        }
        _ => {}
    }
    let (cscds, segments) = (u.int_in_range(0..=3)?, u.int_in_range(0..=4)?);
    let mut list = vec![0; if long { 48 } else { 16 }];
    if long {
        (list[0], list[3], list[15], list[16], list[43], list[45]) =
            (1, 0x20, u.int_in_range(0..=1)?, 0xff, 32 * cscds, 28 * segments);
    } else {
        (list[1], list[3], list[11]) = (*u.choose(&[0, 0x10, 0x18])?, 32 * cscds, 28 * segments);
    }
    for _ in 0..cscds {
        let mut cscd = [0; 32];
        (cscd[0], cscd[4], cscd[5]) = (0xe4, 1, 3);
        let name = facts.identity.naa.bytes();
        cscd[7] = name.len() as u8;
        cscd[8..8 + name.len()].copy_from_slice(name);
        cscd[28] = u.arbitrary::<u8>()? & 4;
        list.extend(cscd);
    }
    for _ in 0..segments {
        let which = [[0u8, 0], [0, 1], [0xff, 0xff]];
        list.extend([2, *u.choose(&[0, 2])?, 0, 0x18]);
        list.extend([*u.choose(&which)?, *u.choose(&which)?].concat());
        list.extend([0, 0, 0, *u.choose(&[0, 1, 8, 64])?]);
        list.extend([lba(u, facts)?.to_be_bytes(), lba(u, facts)?.to_be_bytes()].concat());
    }
    Ok(list)
}

fn list(u: &mut Unstructured<'_>, facts: &LuFacts, opcode: u8, action: u8) -> Result<Vec<u8>> {
    let mut list = match opcode {
        0x42 => {
            let extents = u.int_in_range(0..=17)?;
            let len = extents as u16 * 16;
            let mut list = [&(len + 6).to_be_bytes()[..], &len.to_be_bytes(), &[0; 4]].concat();
            for _ in 0..extents {
                list.extend(lba(u, facts)?.to_be_bytes());
                list.extend(u.choose(&[0u32, 1, 8, 1 << 16, u32::MAX])?.to_be_bytes());
                list.extend([0; 4]);
            }
            list
        }
        0x83 => copy_list(u, facts, action)?,
        0x5f => {
            let mut list = vec![0; 24];
            (list[7], list[15], list[20]) =
                (u.int_in_range(0..=3)?, u.int_in_range(0..=3)?, u.arbitrary::<u8>()? & 0x0d);
            list
        }
        0xa4 => {
            let group = [*u.choose(&[0u8, 1, 2, 3, 0x0e, 0x0f])?, 0, 0, u.int_in_range(0..=2)?];
            [[0; 4], group].concat()
        }
        0x04 => {
            vec![0, *u.choose(&[0, 2, 0x88, 0x8a])?, 0, 0, 0, u.int_in_range(0..=1)?, 0, 1, u.arbitrary()?]
        }
        0x48 => vec![u.arbitrary::<u8>()? & 0x83, 0, 0, u.int_in_range(0..=2)?, u.arbitrary()?],
        0x15 | 0x55 => {
            let mut list = vec![0; if opcode == 0x15 { 4 } else { 8 }];
            list.extend([0x0a, 0x0a, u.arbitrary::<u8>()? & 4 | 0x22, 0x10, u.arbitrary::<u8>()? & 8, 0x40]);
            list.extend([0; 6]);
            list
        }
        _ => u.arbitrary()?,
    };
    if u.ratio(1, 16)? {
        list.truncate(u.int_in_range(0..=list.len())?);
    }
    if u.ratio(1, 16)? && !list.is_empty() {
        let at = u.choose_index(list.len())?;
        list[at] = u.arbitrary()?;
    }
    Ok(list)
}

fn nexus(number: usize) -> ItNexus {
    ItNexus {
        initiator: format!("iqn.2026-01.org.example:host{number}"),
        isid: [0x80, 0, 0, 0, 0, 1],
        target: "iqn.2026-01.org.example:disk".into(),
        tpg_tag: 1,
        relative_port: number as u16 + 1,
    }
}

struct Rig {
    lu: Lu,
    attentions: [Attentions; 3],
    read_only_map: bool,
    echo: Echo,
    tokens: Tokens,
    out: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let Input { facts, read_only_map, room, commands } = input;
    let lu = Lu { facts: Arc::new(facts), state: Arc::default(), counters: Counters::default() };
    let mut rig = Rig {
        lu,
        attentions: Default::default(),
        read_only_map,
        echo: Echo::default(),
        tokens: Tokens::default(),
        out: vec![0; room],
    };
    for Command { from, cdb, list } in &commands {
        let mut outcome = rig.ask(*from, cdb, None);
        if let Outcome::Params(wanted) | Outcome::ParamsUpTo(wanted) = outcome {
            assert!(wanted > 0 && wanted <= MAX_PARAMS);
            outcome = rig.ask(*from, cdb, Some(&list[..list.len().min(wanted as usize)]));
            assert!(!matches!(outcome, Outcome::Params(_) | Outcome::ParamsUpTo(_)), "{cdb:02x?}");
        }
        rig.follow(*from, cdb, outcome);
        // Whatever a layer above may get wrong.
        let _ = rig.ask(*from, cdb, Some(list));
    }
});

impl Rig {
    fn ask(&mut self, from: usize, cdb: &[u8], list: Option<&[u8]>) -> Outcome {
        let nexus = nexus(from);
        let mut cx = Context {
            lu: Some(&self.lu),
            nexus: &nexus,
            luns: &[0, 1, 300],
            read_only_map: self.read_only_map,
            attentions: &mut self.attentions[from],
            well_known: false,
            ports: &[],
            echo: &mut self.echo,
            queries: true,
            now: 0,
        };
        match list {
            None => scsi::start(cdb, &mut cx, &mut self.out),
            Some(list) => scsi::params(cdb, &mut cx, list, &mut self.out),
        }
    }

    fn follow(&mut self, from: usize, cdb: &[u8], outcome: Outcome) {
        match outcome {
            Outcome::Good
            | Outcome::Met
            | Outcome::Fail(Failure::Status(_))
            | Outcome::Params(_)
            | Outcome::ParamsUpTo(_) => {}
            Outcome::Data(n) => assert!(n <= self.out.len()),
            Outcome::Fail(Failure::Check(sense)) => {
                let mut bytes = [0; MAX_SENSE];
                assert!(sense.encode(true, &mut bytes) <= MAX_SENSE && sense.encode(false, &mut bytes) == 18);
            }
            Outcome::Io(io) => self.io(from, cdb, &io),
            Outcome::Shared(op) => self.change(from, &op),
            Outcome::Copy(command) => self.copy(from, command),
            Outcome::Pass(pass) => self.pass(from, cdb, &pass),
        }
    }

    /// The device gets a whole CDB and no more than a slot of data; whatever it says, the answer stays within what the
    /// initiator takes.
    fn pass(&mut self, from: usize, cdb: &[u8], pass: &Pass) {
        assert!([6, 10, 12, 16].contains(&pass.order.cdb.len()), "{pass:?}");
        if let PassData::In(Amount::Known(len)) | PassData::Out(Amount::Known(len)) = pass.data {
            assert!(len <= WHOLE, "{pass:?}");
        }
        let nexus = nexus(from);
        let said: Vec<u8> = self.out.iter().zip(cdb.iter().cycle()).map(|(a, b)| a ^ b).collect();
        let cx = Context {
            lu: Some(&self.lu),
            nexus: &nexus,
            luns: &[0],
            read_only_map: self.read_only_map,
            attentions: &mut self.attentions[from],
            well_known: false,
            ports: &[],
            echo: &mut self.echo,
            queries: true,
            now: 0,
        };
        let len = scsi::revise(cdb, &cx, &said, &mut self.out);
        assert!(len <= self.out.len());
    }

    /// Tokens are made and used; whatever is copied lies inside the medium, and is written only where it may be.
    fn copy(&mut self, from: usize, command: CopyCommand) {
        let facts = self.lu.facts.clone();
        match command {
            CopyCommand::Start(order) => self.extents(from, &order),
            CopyCommand::Populate(order) => {
                let rod = Rod { source: LuId(0), creator: nexus(from), ranges: order.ranges };
                assert!(rod.fits(&facts));
                let _ = self.tokens.create(rod, &facts, order.timeout, &[0; TOKEN_SECRET], 0);
            }
            CopyCommand::WriteByToken(order) => {
                let range = Range { offset: 0, len: facts.bytes() };
                let whole = Rod { source: LuId(0), creator: nexus(from), ranges: vec![range] };
                let found = self.tokens.find(&order.token, 1).ok().flatten();
                for rod in [None, found, Some(Arc::new(whole))] {
                    let rod = rod.map(|rod| (rod, &*facts));
                    if let Ok(order) = CopyOrder::by_token(&order, rod, &facts) {
                        self.extents(from, &order);
                    }
                }
            }
            CopyCommand::Tokens { allocation } => {
                let room = self.out.len();
                match self.tokens.report(LuId(0), allocation, 1, &mut self.out) {
                    Outcome::Data(n) => assert!(n <= room),
                    other => panic!("{other:?}"),
                }
            }
            CopyCommand::Report(_) | CopyCommand::Abort(_) => {}
        }
    }

    fn extents(&self, from: usize, order: &CopyOrder) {
        let lu = &self.lu;
        let peers = std::iter::once(Peer { id: LuId(0), lu, read_only_map: self.read_only_map, via: None });
        let size = u64::from(lu.facts.block_size);
        for index in 0..order.segments() {
            let Ok(e) = order.extent(index, LuId(0), &nexus(from), peers.clone()) else { continue };
            for offset in [e.from_offset, e.to_offset] {
                let end = offset.checked_add(e.len.next_multiple_of(size)).expect("no overflow");
                assert!(offset.is_multiple_of(size) && end <= lu.facts.bytes(), "{e:?}");
            }
            assert!(!self.read_only_map && !lu.facts.read_only && self.may_write(from), "{e:?}");
        }
    }

    fn change(&mut self, from: usize, op: &SharedOp) {
        let Ok((state, effects)) = self.lu.state.apply(&self.lu.facts, op, &nexus(from)) else { return };
        assert!(!state.reservations.reservation.as_ref().is_some_and(|held| {
            if held.kind.all_registrants() {
                state.reservations.registrants.is_empty()
            } else {
                state.reservations.key_of(&held.holder).is_none()
            }
        }));
        assert_eq!(LuState::restored(state.persistent()).persistent(), state.persistent());
        for (who, asc) in &effects.attentions {
            (0..3).filter(|n| nexus(*n) == *who).for_each(|n| self.attentions[n].raise(*asc));
        }
        if let Some(asc) = effects.attention_others {
            (0..3).filter(|n| *n != from).for_each(|n| self.attentions[n].raise(asc));
        }
        self.lu.state = Arc::new(state);
        if self.lu.state.erasing().is_some() {
            // It takes no time here: it ends before the next command, well or not.
            self.change(from, &SharedOp::Erased { failed: from == 0 });
        }
    }

    fn io(&self, from: usize, cdb: &[u8], io: &Io) {
        let (ranges, writes): (&[Range], bool) = match io {
            Io::Unmap(ranges) | Io::Anchor(ranges) => (ranges, true),
            Io::Read { range, .. }
            | Io::Compare { range }
            | Io::CompareEach { range }
            | Io::Map { range, .. }
            | Io::Verify { range }
            | Io::Flush { range, .. } => (std::slice::from_ref(range), false),
            Io::Write { range, .. }
            | Io::WriteVerify { range, .. }
            | Io::CompareAndWrite { range, .. }
            | Io::Or { range, .. }
            | Io::WriteAtomic { range, .. }
            | Io::Fill { range, .. }
            | Io::Zero { range, .. } => (std::slice::from_ref(range), true),
        };
        let (facts, size) = (&self.lu.facts, u64::from(self.lu.facts.block_size));
        for range in ranges {
            let end = range.offset.checked_add(range.len).expect("no overflow");
            // Of no blocks, COMPARE AND WRITE still waits for its turn.
            let may_be_empty = matches!(io, Io::CompareAndWrite { .. });
            assert!((range.len > 0 || may_be_empty) && end <= facts.bytes(), "{cdb:02x?}: {io:?}");
            assert!(
                range.offset.is_multiple_of(size) && range.len.is_multiple_of(size),
                "{cdb:02x?}: {io:?}"
            );
        }
        assert!(self.lu.state.erasure.is_none(), "{cdb:02x?} on a medium that is closed");
        assert!(self.lu.state.drive.power != Power::Stopped, "{cdb:02x?} on a stopped unit");
        let reached =
            [AccessState::Optimized, AccessState::NonOptimized].contains(&self.lu.access(&nexus(from)));
        assert!(reached, "{cdb:02x?} through a port that is not active");
        assert!(!self.lu.state.drive.ejected, "{cdb:02x?} without a medium");
        assert!(!writes || !(facts.read_only || self.read_only_map), "{cdb:02x?} on what is read-only");
        assert!(!writes || self.may_write(from), "{cdb:02x?} through a reservation");
    }

    fn may_write(&self, from: usize) -> bool {
        let reservations = &self.lu.state.reservations;
        match &reservations.reservation {
            None => true,
            Some(held) if matches!(held.kind, PrType::WriteExclusive | PrType::ExclusiveAccess) => {
                held.holder == nexus(from)
            }
            Some(_) => reservations.key_of(&nexus(from)).is_some(),
        }
    }
}
