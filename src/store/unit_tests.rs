//! Steps of stores that need no disk.

use std::time::Duration;

use super::super::{StoreConfig, StoreKind, open};
use super::*;

const RAM: RegionId = RegionId(1);
const ZERO: RegionId = RegionId(2);
const MIB: u64 = 1 << 20;

fn store(config: &StoreConfig) -> (Store, Memory) {
    let backing = Arc::new(open(config, Duration::ZERO).unwrap());
    let mut memory = Memory::new(Region::new(1, Pages::Transparent).unwrap());
    memory.attach(ZERO, Some(zero_region().unwrap()));
    let reach = match &backing.medium {
        Medium::Ram(region) => {
            memory.attach(RAM, Some(region.clone()));
            Reach::Region(RAM)
        }
        _ => Reach::Nothing,
    };
    (Store::new(backing, reach, ZERO, false), memory)
}

fn sized(kind: StoreKind) -> StoreConfig {
    StoreConfig { size: Some(4 * MIB), ..StoreConfig::new(kind, "t") }
}

fn finish(store: &Store, memory: &mut Memory, mut span: Span) -> usize {
    let mut steps = 0;
    while let Some(step) = span.step(store, memory) {
        assert!(matches!(step, Step::Later), "{step:?}");
        span.done(0).unwrap();
        steps += 1;
    }
    steps
}

#[test]
fn a_ramdisk_keeps_what_is_written() {
    let (store, mut memory) = store(&sized(StoreKind::Ramdisk));
    memory.get_mut(Place::pool(0, 512)).fill(7);
    assert!(matches!(store.write(&mut memory, Place::pool(0, 512), MIB, true, false), Step::Now(Ok(()))));
    assert!(matches!(store.read(&mut memory, Place::pool(4096, 1024), MIB), Step::Now(Ok(()))));
    assert_eq!(memory.get(Place::pool(4096, 1024))[511..513], [7, 0]);
    let resident = store.resident(MIB, 512).unwrap();
    assert_eq!(memory.compare(resident, Place::pool(0, 512)), None);
    assert!(matches!(store.flush(), Step::Now(Ok(()))));
}

#[test]
fn only_what_may_be_written_there_is_committed_to_a_ramdisk() {
    let (ramdisk, mut memory) = store(&sized(StoreKind::Ramdisk));
    let end = ramdisk.backing().blocks * 512;
    assert!(ramdisk.commit(&mut memory, &[7; 512], end - 512));
    assert!(!ramdisk.commit(&mut memory, &[8; 1024], end - 512), "it ends there");
    memory.copy(ramdisk.resident(end - 512, 512).unwrap(), Place::pool(0, 512));
    assert_eq!(memory.get(Place::pool(0, 512)), [7; 512]);
    let (protected, mut memory) = store(&StoreConfig { read_only: true, ..sized(StoreKind::Ramdisk) });
    assert!(!protected.commit(&mut memory, &[7; 512], 0));
    assert!(memory.is_zero(protected.resident(0, 512).unwrap()));
    let (null, mut memory) = store(&sized(StoreKind::Null));
    assert!(!null.commit(&mut memory, &[7; 512], 0), "it ends later, like a disk");
}

#[test]
fn a_ramdisk_is_zeroed_and_discarded_in_pieces() {
    for unmap in [true, false] {
        let (store, mut memory) = store(&sized(StoreKind::Ramdisk));
        memory.get_mut(Place::pool(0, 512)).fill(7);
        for offset in [0, MIB, 2 * MIB] {
            store.write(&mut memory, Place::pool(0, 512), offset, false, false);
        }
        let span =
            if unmap { store.discard(512, 2 * MIB - 512) } else { store.zero(512, 2 * MIB - 512, false) };
        assert_eq!(finish(&store, &mut memory, span), 2);
        let is_zero = |at| memory.is_zero(Place::in_region(RAM, at, 512));
        assert_eq!([is_zero(0), is_zero(MIB), is_zero(2 * MIB)], [false, true, false]);
    }
}

#[test]
fn nothing_reads_zeroes_never_anothers_data() {
    let (store, mut memory) = store(&sized(StoreKind::Null));
    memory.get_mut(Place::pool(0, 512)).fill(7);
    assert!(matches!(store.write(&mut memory, Place::pool(0, 512), 0, false, false), Step::Later));
    assert!(matches!(store.read(&mut memory, Place::pool(0, 512), 0), Step::Later));
    assert_eq!(store.judge(Direction::Read, 0, 512), Progress::Done);
    assert!(memory.is_zero(Place::pool(0, 512)));
    assert!(memory.is_zero(store.resident(0, ZEROES).unwrap()));
    assert!(store.resident(0, ZEROES + 512).is_none());
    assert_eq!(finish(&store, &mut memory, store.zero(0, 4 * MIB, true)), 1);
}

#[test]
fn nothing_reaches_beyond_the_end_or_a_read_only_store() {
    let (store, mut memory) = store(&sized(StoreKind::Ramdisk));
    let place = Place::pool(0, 512);
    for offset in [4 * MIB, 4 * MIB - 511, u64::MAX, u64::MAX - 100] {
        assert!(matches!(store.read(&mut memory, place, offset), Step::Now(Err(_))));
        assert!(matches!(store.write(&mut memory, place, offset, false, false), Step::Now(Err(_))));
        assert!(store.resident(offset, 512).is_none());
        assert!(matches!(
            store.zero(offset, 512, true).step(&store, &mut memory),
            Some(Step::Now(Err(_))) | None
        ));
    }
    let (store, mut memory) = self::store(&StoreConfig { read_only: true, ..sized(StoreKind::Ramdisk) });
    assert!(matches!(store.write(&mut memory, place, 0, false, false), Step::Now(Err(Fault::Protected))));
    let step = store.discard(0, 512).step(&store, &mut memory);
    assert!(matches!(step, Some(Step::Now(Err(Fault::Protected)))));
}

fn at(dir: &std::path::Path, name: &str) -> StoreConfig {
    StoreConfig { path: Some(dir.join(name)), ..sized(StoreKind::Fileio) }
}

/// Such a store as this reactor would have it: files are reached by its driver, which is not needed here.
fn file_store(config: &StoreConfig) -> Store {
    let backing = Arc::new(open(config, Duration::ZERO).unwrap());
    let bytes = backing.bytes();
    Store {
        backing,
        bytes,
        place: Location::Null,
        zeroes: Place::in_region(ZERO, 0, ZEROES),
        discards: false,
    }
}

#[test]
fn files_share_what_is_cloned_or_say_that_they_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let [from, to] = ["a", "b"].map(|name| file_store(&at(dir.path(), name)));
    std::fs::write(dir.path().join("a"), vec![7; 4 * MIB as usize]).unwrap();
    assert!(to.may_clone(&from));
    let Step::Blocking(call) = to.clone_range(MIB, MIB, &from, 0) else { panic!("a call") };
    let result = call.run();
    let got = std::fs::read(dir.path().join("b")).unwrap();
    let mib = MIB as usize;
    if result == 0 {
        assert!(got[mib..2 * mib].iter().all(|b| *b == 7));
    } else {
        // The file system of the test has no shared extents; it is not asked again.
        assert_eq!((result, to.may_clone(&from)), (-libc::EOPNOTSUPP, false));
        assert!(got.iter().all(|b| *b == 0));
    }
    assert!(got[..mib].iter().chain(&got[2 * mib..]).all(|b| *b == 0));
    let beyond = [to.clone_range(4 * MIB, 512, &from, 0), to.clone_range(0, 512, &from, 4 * MIB)];
    assert!(beyond.iter().all(|step| matches!(step, Step::Now(Err(Fault::Beyond)))));
}

#[test]
fn what_is_not_to_be_shared() {
    let dir = tempfile::tempdir().unwrap();
    let thin = file_store(&at(dir.path(), "thin"));
    let thick = file_store(&StoreConfig { thin: Some(false), ..at(dir.path(), "thick") });
    let (ram, _memory) = store(&sized(StoreKind::Ramdisk));
    let (null, _memory) = store(&sized(StoreKind::Null));
    assert!(thin.may_clone(&file_store(&at(dir.path(), "other"))));
    for other in [&thick, &ram, &null] {
        assert!(!thin.may_clone(other) && !other.may_clone(&thin));
    }
    std::fs::write(dir.path().join("golden"), vec![0; MIB as usize]).unwrap();
    let golden = StoreConfig { size: None, read_only: true, ..at(dir.path(), "golden") };
    let golden = file_store(&golden);
    assert!(thin.may_clone(&golden), "what is never written again can be shared");
    let refused = golden.clone_range(0, 512, &thin, 0);
    assert!(matches!(refused, Step::Now(Err(Fault::Protected))));
}
