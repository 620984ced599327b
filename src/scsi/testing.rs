//! What the tests of this layer share: a logical unit, nexuses, and a way to send commands.

use std::sync::Arc;

use super::*;

/// A nexus that differs from all with another number.
pub(super) fn nexus(number: u16) -> ItNexus {
    ItNexus {
        initiator: format!("iqn.2026-01.org.example:host{number}"),
        isid: [0x80, 0, 0, 0, 0, 1],
        target: "iqn.2026-01.org.example:disk".into(),
        tpg_tag: 1,
        relative_port: 1,
    }
}

/// A thin disk of 1 GiB with 512-byte blocks and a write cache.
pub(super) fn facts() -> LuFacts {
    let thin = Thin {
        max_unmap_blocks: 1 << 16,
        max_unmap_descriptors: 16,
        granularity_blocks: 8,
        alignment_blocks: 0,
        lbprz: true,
        max_write_same_blocks: 1 << 16,
        anchors: false,
        threshold_exponent: 0,
        threshold: 0,
    };
    let identity = Identity {
        vendor: "RINGTGT".into(),
        product: "disk".into(),
        revision: "1".into(),
        serial: "0123456789abcdef".into(),
        naa: Naa::Short([0x30, 1, 2, 3, 4, 5, 6, 7]),
        uuid: [7; 16],
        t10: None,
    };
    LuFacts {
        name: "disk".into(),
        device: DeviceType::Disk,
        block_size: 512,
        blocks: 1 << 21,
        physical_exponent: 3,
        read_only: false,
        write_cache: true,
        thin: Some(thin),
        identity,
        optimal_transfer_blocks: 512,
        max_transfer_blocks: 1 << 16,
        rotational: false,
        ranges: Vec::new(),
        removable: false,
        saves: true,
        resident: false,
        groups: Groups::default(),
        atomic: None,
        passed: None,
    }
}

/// A drive with a disc of that many blocks.
pub(super) fn cdrom(blocks: u64) -> LuFacts {
    LuFacts {
        device: DeviceType::Cdrom,
        block_size: 2048,
        blocks,
        physical_exponent: 0,
        read_only: true,
        write_cache: false,
        thin: None,
        removable: true,
        ..facts()
    }
}

/// A CDB of that opcode with LBA and length in the places of its group. 60h + n is the variable-length command with
/// service action n.
pub(super) fn block_cdb(opcode: u8, flags: u8, lba: u64, blocks: u32) -> Vec<u8> {
    let (lba32, length) = ((lba as u32).to_be_bytes(), blocks.to_be_bytes());
    match opcode >> 5 {
        0 => vec![opcode, lba32[1] & 0x1f, lba32[2], lba32[3], length[3], 0],
        1 | 2 => [&[opcode, flags][..], &lba32, &[0], &length[2..], &[0]].concat(),
        3 => {
            let head = [0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0, opcode & 0x0f, flags, 0];
            [&head[..], &lba.to_be_bytes(), &[0; 8], &length].concat()
        }
        5 => [&[opcode, flags][..], &lba32, &length, &[0, 0]].concat(),
        _ => [&[opcode, flags][..], &lba.to_be_bytes(), &length, &[0, 0]].concat(),
    }
}

/// Where [`block_cdb`] has put the flags.
pub(super) fn flags_at(opcode: u8) -> u16 {
    if opcode >> 5 == 3 { 10 } else { 1 }
}

/// A logical unit, what one initiator does to it, and what came of it.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) lu: Lu,
    pub(super) attentions: Attentions,
    /// The port that all nexuses come through, by tag and by relative identifier.
    pub(super) port: u16,
    pub(super) read_only_map: bool,
    pub(super) echo: Echo,
    pub(super) queries: bool,
    pub(super) now: u64,
    pub(super) out: Vec<u8>,
}

impl Rig {
    pub(super) fn new(facts: LuFacts) -> Self {
        let lu = Lu { facts: Arc::new(facts), state: Arc::default(), counters: Counters::default() };
        let out = vec![0xee; 4096];
        let (attentions, echo) = (Attentions::new(), Echo::default());
        Self { lu, attentions, port: 1, read_only_map: false, echo, queries: false, now: 0, out }
    }

    /// Sends a command from nexus 1.
    pub(super) fn start(&mut self, cdb: &[u8]) -> Outcome {
        self.start_from(1, cdb)
    }

    pub(super) fn start_from(&mut self, number: u16, cdb: &[u8]) -> Outcome {
        self.with(number, false, |cx, out| {
            let straight = straight(cdb, cx);
            let outcome = start(cdb, cx, out);
            if let Some(Straight { way, range }) = straight {
                let same = match &outcome {
                    Outcome::Io(Io::Read { range: same, .. }) => way == Way::Read && range == *same,
                    Outcome::Io(Io::Write { range: same, fua }) => {
                        way == (if *fua { Way::WriteThrough } else { Way::Write }) && range == *same
                    }
                    _ => false,
                };
                assert!(same, "what goes straight does the same: {straight:?}, {outcome:?}");
            }
            outcome
        })
    }

    /// What a command is to do that nothing is in the way of.
    pub(super) fn straight(&mut self, cdb: &[u8]) -> Option<Straight> {
        self.with(1, false, |cx, _| straight(cdb, cx))
    }

    /// Sends a command from nexus 1 to the REPORT LUNS well known logical unit.
    pub(super) fn start_known(&mut self, cdb: &[u8]) -> Outcome {
        self.with(1, true, |cx, out| start(cdb, cx, out))
    }

    fn nexus(&self, number: u16) -> ItNexus {
        ItNexus { tpg_tag: self.port, relative_port: self.port, ..nexus(number) }
    }

    fn with<R>(
        &mut self,
        number: u16,
        known: bool,
        call: impl FnOnce(&mut Context<'_>, &mut [u8]) -> R,
    ) -> R {
        let me = self.nexus(number);
        let mut cx = Context {
            lu: (!known).then_some(&self.lu),
            well_known: known,
            nexus: &me,
            luns: &[0, 1, 300],
            read_only_map: self.read_only_map,
            attentions: &mut self.attentions,
            ports: &[Port { tag: 1, relative: 1 }, Port { tag: 7, relative: 0x102 }],
            echo: &mut self.echo,
            queries: self.queries,
            now: self.now,
        };
        call(&mut cx, &mut self.out)
    }

    /// Sends a command with a parameter list from nexus 1.
    pub(super) fn send(&mut self, cdb: &[u8], data: &[u8]) -> Outcome {
        self.send_from(1, cdb, data)
    }

    pub(super) fn send_from(&mut self, number: u16, cdb: &[u8], data: &[u8]) -> Outcome {
        match self.start_from(number, cdb) {
            Outcome::Params(wanted) | Outcome::ParamsUpTo(wanted) => {
                let came = data.len().min(wanted as usize);
                self.params_from(number, cdb, &data[..came])
            }
            other => other,
        }
    }

    /// Goes on with a command as if its parameter list had been asked for.
    pub(super) fn params_from(&mut self, number: u16, cdb: &[u8], data: &[u8]) -> Outcome {
        self.with(number, false, |cx, out| params(cdb, cx, data, out))
    }

    /// Sends a command and, if it changes shared state, applies that.
    pub(super) fn run_from(&mut self, number: u16, cdb: &[u8], data: &[u8]) -> Result<Effects, Failure> {
        match self.send_from(number, cdb, data) {
            Outcome::Shared(op) => {
                let me = self.nexus(number);
                let (state, effects) = self.lu.state.apply(&self.lu.facts, &op, &me)?;
                self.lu.state = Arc::new(state);
                Ok(effects)
            }
            Outcome::Fail(failure) => Err(failure),
            _ => Ok(Effects::default()),
        }
    }

    /// The data-in of a command that must succeed.
    pub(super) fn data(&mut self, cdb: &[u8]) -> Vec<u8> {
        match self.start(cdb) {
            Outcome::Data(n) => self.out[..n].to_vec(),
            other => panic!("{cdb:02x?} gave {other:?}"),
        }
    }

    /// The sense data of a command that must fail with some.
    pub(super) fn sense(&mut self, cdb: &[u8]) -> Sense {
        match self.start(cdb) {
            Outcome::Fail(Failure::Check(sense)) => sense,
            other => panic!("{cdb:02x?} gave {other:?}"),
        }
    }
}
