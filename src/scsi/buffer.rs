//! READ BUFFER and WRITE BUFFER (SPC-5 sections 6.22, 6.23 and 6.49): a piece of memory for testing the path.
//!
//! Data and echo buffer are one and the same memory of an I_T nexus, so nobody else can overwrite it; but as a
//! session has only one, what was written for one logical unit may be lost to another's.

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::bad_field;
use super::table;
use super::{Answered, Asc, Context, Failure, Lu, Naa, Outcome, Sense};

/// Bytes of the buffer: what the echo buffer descriptor can say, in round numbers. It is kept per session, so it
/// is little.
const CAPACITY: u32 = 4096;

/// Modes (SPC-5 tables 231 and 298). The others, downloading microcode among them, are not offered.
const DATA: u8 = 0x02;
const DESCRIPTOR: u8 = 0x03;
const ECHO: u8 = 0x0a;
const ECHO_DESCRIPTOR: u8 = 0x0b;

/// Whether it is one of these commands, and about more than the echo buffer: ports that are not active serve only that.
pub(super) fn needs_more_than_echo(cdb: &Cdb) -> bool {
    let buffer = [table::WRITE_BUFFER, table::READ_BUFFER10, table::READ_BUFFER16].contains(&cdb.opcode());
    buffer && ![ECHO, ECHO_DESCRIPTOR].contains(&Request::of(cdb).mode)
}

/// What one I_T nexus has written by WRITE BUFFER, and for which logical unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Echo {
    whose: Option<Naa>,
    bytes: Vec<u8>,
    /// How much of it the last echo was; `None`: there was none.
    echo: Option<usize>,
}

impl Echo {
    /// The buffer as that logical unit's, empty if it was another's.
    fn of(&mut self, lu: &Lu) -> &mut Self {
        let naa = lu.facts.identity.naa;
        if self.whose != Some(naa) {
            *self = Self { whose: Some(naa), bytes: vec![0; CAPACITY as usize], echo: None };
        }
        self
    }

    /// What was echoed to that logical unit.
    fn echoed(&self, lu: &Lu) -> Result<&[u8], Failure> {
        let length = self.echo.ok_or(Sense::illegal(Asc::COMMAND_SEQUENCE_ERROR))?;
        if self.whose != Some(lu.facts.identity.naa) {
            return Err(Sense::aborted(Asc::ECHO_BUFFER_OVERWRITTEN).into());
        }
        Ok(&self.bytes[..length])
    }
}

/// The fields of READ BUFFER, of either length.
struct Request {
    mode: u8,
    id: u8,
    offset: u64,
    allocation: usize,
}

impl Request {
    fn of(cdb: &Cdb) -> Self {
        let mode = cdb.u8::<1>() & 0x1f;
        if cdb.opcode() == table::READ_BUFFER16 {
            let allocation = cdb.u32::<10>() as usize;
            return Self { mode, id: cdb.u8::<14>(), offset: cdb.u64::<2>(), allocation };
        }
        let u24 = |high, low| u32::from(high) << 16 | u32::from(low);
        let offset = u24(cdb.u8::<3>(), cdb.u16::<4>()).into();
        Self { mode, id: cdb.u8::<2>(), offset, allocation: u24(cdb.u8::<6>(), cdb.u16::<7>()) as usize }
    }

    /// Where the fields of this length stand, for pointing at what is wrong.
    fn id_at(cdb: &Cdb) -> u16 {
        if cdb.opcode() == table::READ_BUFFER16 { 14 } else { 2 }
    }

    fn offset_at(cdb: &Cdb) -> u16 {
        if cdb.opcode() == table::READ_BUFFER16 { 2 } else { 3 }
    }
}

pub(super) fn read(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let request = Request::of(cdb);
    let mut answer = Answer::new(out, request.allocation);
    match request.mode {
        DATA if request.id != 0 => return Err(bad_field(Request::id_at(cdb), 7)),
        DATA => {
            let Some(from) = usize::try_from(request.offset).ok().filter(|at| *at <= CAPACITY as usize)
            else {
                return Err(bad_field(Request::offset_at(cdb), 7));
            };
            answer.put(&cx.echo.of(lu).bytes[from..]);
        }
        // OFFSET BOUNDARY 0: any byte. There is only buffer 0; of others the descriptor is zero.
        DESCRIPTOR if request.id == 0 => answer.put(&CAPACITY.to_be_bytes()),
        DESCRIPTOR => answer.zeroes(4),
        ECHO => answer.put(cx.echo.echoed(lu)?),
        // EBOS: nobody else overwrites it.
        ECHO_DESCRIPTOR => answer.put(&(CAPACITY | 1 << 24).to_be_bytes()),
        _ => return Err(bad_field(1, 4)),
    }
    Ok(answer.finish())
}

/// WRITE BUFFER: offset and length must lie inside the buffer.
pub(super) fn write(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let request = Request::of(cdb);
    let length = request.allocation as u64;
    match request.mode {
        DATA if request.id != 0 => return Err(bad_field(2, 7)),
        DATA if request.offset > u64::from(CAPACITY) => return Err(bad_field(3, 7)),
        DATA if request.offset + length > u64::from(CAPACITY) => return Err(bad_field(6, 7)),
        ECHO if length > u64::from(CAPACITY) => return Err(bad_field(6, 7)),
        DATA | ECHO => {}
        _ => return Err(bad_field(1, 4)),
    }
    Ok(if length == 0 { Outcome::Good } else { Outcome::Params(length as u32) })
}

pub(super) fn write_params(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    let request = Request::of(cdb);
    let echo = request.mode == ECHO;
    let buffer = cx.echo.of(lu);
    let at = if echo { 0 } else { request.offset as usize };
    let Some(room) = buffer.bytes.get_mut(at..at + data.len()) else { return Err(bad_field(6, 7)) };
    room.copy_from_slice(data);
    buffer.echo = if echo { Some(data.len()) } else { None };
    Ok(Outcome::Good)
}

#[cfg(test)]
mod tests {
    use super::super::LuFacts;
    use super::super::testing::{Rig, facts};
    use super::*;

    fn read(mode: u8, id: u8, offset: u16, length: u16) -> [u8; 10] {
        let ([a, b], [c, d]) = (offset.to_be_bytes(), length.to_be_bytes());
        [0x3c, mode, id, 0, a, b, 0, c, d, 0]
    }

    fn write(mode: u8, id: u8, offset: u16, length: u16) -> [u8; 10] {
        let mut cdb = read(mode, id, offset, length);
        cdb[0] = 0x3b;
        cdb
    }

    #[test]
    fn an_echo_comes_back() {
        let mut rig = Rig::new(facts());
        let early = Sense::illegal(Asc(0x2c, 0));
        assert_eq!(rig.sense(&read(ECHO, 0, 0, 16)), early, "nothing was written");
        assert_eq!(rig.send(&write(ECHO, 0, 0, 5), b"hello"), Outcome::Good);
        assert_eq!(rig.data(&read(ECHO, 0, 0, 16)), b"hello");
        assert_eq!(rig.data(&read(ECHO, 0, 0, 2)), b"he");
        let sixteen = [0x9b, ECHO, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0];
        assert_eq!(rig.data(&sixteen), b"hello");
    }

    #[test]
    fn another_unit_of_the_session_overwrites_the_echo() {
        let mut rig = Rig::new(facts());
        rig.send(&write(ECHO, 0, 0, 5), b"hello");
        let mut other = facts();
        other.identity.naa = Naa::Short([0x31; 8]);
        let mut second = Rig { echo: rig.echo.clone(), ..Rig::new(other) };
        let lost = Sense::aborted(Asc(0x3f, 0x0f));
        assert_eq!(second.sense(&read(ECHO, 0, 0, 16)), lost);
        assert_eq!(second.data(&read(DATA, 0, 0, 4)), [0; 4], "and it does not see what was in it");
    }

    #[test]
    fn descriptors_say_how_much_there_is() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.data(&read(DESCRIPTOR, 0, 0, 4)), [0, 0, 0x10, 0]);
        assert_eq!(rig.data(&read(DESCRIPTOR, 1, 0, 4)), [0; 4], "there is no buffer 1");
        assert_eq!(rig.data(&read(ECHO_DESCRIPTOR, 0, 0, 4)), [1, 0, 0x10, 0]);
    }

    #[test]
    fn data_keeps_to_its_bounds() {
        let mut rig = Rig::new(LuFacts { blocks: 0, ..facts() });
        rig.out = vec![0xee; 8192];
        assert_eq!(rig.send(&write(DATA, 0, 4094, 2), &[7, 8]), Outcome::Good);
        let whole = rig.data(&read(DATA, 0, 0, 8192));
        assert_eq!((whole.len(), &whole[4093..]), (4096, &[0, 7, 8][..]));
        assert_eq!(rig.data(&read(DATA, 0, 4095, 8)), [8]);
        assert_eq!(rig.start(&read(DATA, 0, 4096, 8)), Outcome::Data(0));
        assert_eq!(rig.sense(&read(DATA, 0, 4097, 8)), Sense::cdb_field(3, 7));
        assert_eq!(rig.sense(&read(DATA, 1, 0, 8)), Sense::cdb_field(2, 7));
        assert_eq!(rig.sense(&write(DATA, 0, 4095, 2)), Sense::cdb_field(6, 7));
        assert_eq!(rig.sense(&write(DATA, 0, 4097, 0)), Sense::cdb_field(3, 7));
        assert_eq!(rig.sense(&write(ECHO, 0, 0, 4097)), Sense::cdb_field(6, 7));
        assert_eq!(rig.start(&write(ECHO, 0, 0, 0)), Outcome::Good);
    }

    #[test]
    fn microcode_is_not_taken() {
        let mut rig = Rig::new(facts());
        for mode in [0x00, 0x04, 0x05, 0x06, 0x07, 0x0d, 0x0e, 0x0f, 0x1a, 0x1b, 0x1c] {
            assert_eq!(rig.sense(&write(mode, 0, 0, 4)), Sense::cdb_field(1, 4), "mode {mode:#x}");
            assert_eq!(rig.sense(&read(mode, 0, 0, 4)), Sense::cdb_field(1, 4), "mode {mode:#x}");
        }
    }

    #[test]
    fn a_list_that_came_short_is_what_was_written() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.send(&write(ECHO, 0, 0, 100), b"abc"), Outcome::Good);
        assert_eq!(rig.data(&read(ECHO, 0, 0, 100)), b"abc");
    }
}
