//! Wall time of what `main.rs` counts the instructions of: what cache misses and mispredicted branches cost shows only
//! here. The figures are those of this machine and this hour: compare them by a baseline of the same run of it,
//! `cargo bench --bench wall -- --save-baseline before`, and with the change `cargo bench --bench wall -- --baseline before`.

mod host;
mod play;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

use ringtgt::wire::digest::crc32c;

use play::{Ask, DEPTH, How, Play};

const PLAIN: How = How { digests: false, solicited: false };
const DIGESTS: How = How { digests: true, solicited: false };
const SOLICITED: How = How { digests: false, solicited: true };

/// The time of one command among [`DEPTH`] that come together.
fn session(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    group.throughput(Throughput::Elements(DEPTH as u64));
    for (name, ask, how) in [
        ("test_unit_ready", Ask::Ready, PLAIN),
        ("nop", Ask::Ping, PLAIN),
        ("read_4k", Ask::Read(4096), PLAIN),
        ("read_256k", Ask::Read(262_144), PLAIN),
        ("read_4k_digests", Ask::Read(4096), DIGESTS),
        ("write_4k", Ask::Write(4096), PLAIN),
        ("write_4k_r2t", Ask::Write(4096), SOLICITED),
        ("write_4k_digests", Ask::Write(4096), DIGESTS),
        ("abort_task", Ask::Abort, PLAIN),
        ("lun_reset", Ask::Reset, PLAIN),
    ] {
        Play::new(ask, how).perform().check();
        group.bench_function(name, |b| {
            b.iter_batched(|| Play::new(ask, how), Play::perform, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// The time of a login, of both sides of it.
fn login(c: &mut Criterion) {
    c.bench_function("login", |b| b.iter(play::login));
}

/// The time of a digest, by its length: a header, a block, the longest data segment.
fn digest(c: &mut Criterion) {
    let mut group = c.benchmark_group("digest");
    for len in [48, 4096, 262_144] {
        let bytes = vec![0x5a; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::from_parameter(len), &bytes, |b, bytes| {
            b.iter(|| crc32c(black_box(bytes)));
        });
    }
    group.finish();
}

criterion_group!(wall, session, login, digest);
criterion_main!(wall);
