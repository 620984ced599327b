//! Instructions of the protocol core, counted by callgrind: the same on every machine with the same compiler.
//!
//! `benches/instructions.sh` runs this, and compares what comes out with `benches/instructions.txt`.

#![allow(unused_qualifications, reason = "the macros name everything in full")]

mod host;
mod play;

use std::hint::black_box;

use gungraun::prelude::*;
use ringtgt::wire::digest::crc32c;

use play::{Ask, How, Play};

const PLAIN: How = How { digests: false, solicited: false };
const DIGESTS: How = How { digests: true, solicited: false };
const SOLICITED: How = How { digests: false, solicited: true };

#[library_benchmark]
#[bench::test_unit_ready(args = (Ask::Ready, PLAIN), setup = Play::new, teardown = Play::check)]
#[bench::nop(args = (Ask::Ping, PLAIN), setup = Play::new, teardown = Play::check)]
#[bench::read_4k(args = (Ask::Read(4096), PLAIN), setup = Play::new, teardown = Play::check)]
#[bench::read_256k(args = (Ask::Read(262144), PLAIN), setup = Play::new, teardown = Play::check)]
#[bench::read_4k_digests(args = (Ask::Read(4096), DIGESTS), setup = Play::new, teardown = Play::check)]
#[bench::write_4k(args = (Ask::Write(4096), PLAIN), setup = Play::new, teardown = Play::check)]
#[bench::write_4k_r2t(args = (Ask::Write(4096), SOLICITED), setup = Play::new, teardown = Play::check)]
#[bench::write_4k_digests(args = (Ask::Write(4096), DIGESTS), setup = Play::new, teardown = Play::check)]
#[bench::abort_task(args = (Ask::Abort, PLAIN), setup = Play::new, teardown = Play::check)]
#[bench::lun_reset(args = (Ask::Reset, PLAIN), setup = Play::new, teardown = Play::check)]
fn session(play: Play) -> Play {
    black_box(black_box(play).perform())
}

#[library_benchmark]
#[bench::normal()]
fn login() -> bool {
    black_box(play::login())
}

#[library_benchmark]
#[bench::block_4k(vec![0x5a; 4096])]
fn digest(block: Vec<u8>) -> u32 {
    black_box(crc32c(black_box(&block)))
}

library_benchmark_group!(name = core, benchmarks = [session, login, digest]);
main!(library_benchmark_groups = core);
