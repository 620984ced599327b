//! The state directory on a real file system.

use std::os::unix::fs::PermissionsExt;
use std::thread;

use super::*;
use crate::store::{IdentityOverride, StoreKind};

fn state() -> (tempfile::TempDir, StateDir) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path().join("a/b")).unwrap();
    (dir, state)
}

fn config(name: &str) -> StoreConfig {
    StoreConfig::new(StoreKind::Ramdisk, name)
}

#[test]
fn an_identity_is_kept() {
    let (_dir, state) = state();
    let first = state.identity(&config("disk")).unwrap();
    assert_eq!(StateDir::open(state.path()).unwrap().identity(&config("disk")).unwrap(), first);
    assert_ne!(state.identity(&config("other")).unwrap(), first);
    state.forget_identity("disk").unwrap();
    state.forget_identity("disk").unwrap();
    assert_ne!(state.identity(&config("disk")).unwrap(), first);
}

#[test]
fn what_is_forgotten_is_forgotten_as_a_whole_and_nothing_else() {
    let (_dir, state) = state();
    let (first, other) =
        (state.identity(&config("disk")).unwrap(), state.identity(&config("other")).unwrap());
    for serial in [&*first.serial, &other.serial, "chosen", "another"] {
        state.save_unit(serial, &1).unwrap();
    }
    for _ in 0..2 {
        state.forget("disk", Some("chosen")).unwrap();
    }
    assert_ne!(state.identity(&config("disk")).unwrap(), first);
    assert_eq!(state.identity(&config("other")).unwrap(), other);
    let saved =
        [&*first.serial, "chosen", &other.serial, "another"].map(|serial| state.load_unit(serial).unwrap());
    assert_eq!(saved, [None, None, Some(1), Some(1)]);
}

#[test]
fn many_new_identities_are_each_their_own_and_old_ones_stay() {
    let (_dir, state) = state();
    let old = state.identity(&config("disk7")).unwrap();
    let names: Vec<String> = (0..2 * MANY).map(|n| format!("disk{n}")).collect();
    state.identify(names.iter().map(String::as_str)).unwrap();
    let all = || names.iter().map(|name| state.identity(&config(name)).unwrap()).collect::<Vec<_>>();
    let first = all();
    assert_eq!(first[7], old);
    let serials: std::collections::HashSet<&str> = first.iter().map(|i| i.serial.as_str()).collect();
    assert_eq!(serials.len(), names.len());
    state.identify(names.iter().map(String::as_str)).unwrap();
    assert_eq!(all(), first);
    let files = fs::read_dir(state.path().join("identity")).unwrap();
    assert_eq!(files.count(), names.len(), "nothing is left aside");
}

/// Makes a file that nobody has written for a day.
fn forgotten(path: PathBuf) -> PathBuf {
    let day = Duration::from_secs(86_400);
    let file = File::create(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() - day).unwrap();
    path
}

#[test]
fn what_a_killed_process_has_left_aside_goes_with_the_next_start() {
    let (_dir, state) = state();
    let at = |name: &str| state.path().join(name);
    let left = [".version.7.0", ".ports.json.7.12", "identity/.disk.json.4194304.3", "unit/.a.b.json.1.1"];
    let left = left.map(|name| forgotten(at(name)));
    let others = ["unit/.a.json.swp", ".notes.7.0", "identity/.disk.json", "unit/a.json.7.0"];
    let others = others.map(|name| forgotten(at(name)));
    let at_work = at("identity/.disk.json.8.0");
    fs::write(&at_work, "").unwrap();
    StateDir::open(state.path()).unwrap();
    assert!(left.iter().all(|path| !path.exists()));
    assert!(others.iter().all(|path| path.exists()));
    assert!(at_work.exists(), "somebody may be about to give it its name");
}

#[test]
fn many_identities_that_cannot_be_saved_are_an_error() {
    let (_dir, state) = state();
    fs::remove_dir_all(state.path().join("identity")).unwrap();
    let names: Vec<String> = (0..MANY).map(|n| format!("disk{n}")).collect();
    let error = state.identify(names.iter().map(String::as_str)).unwrap_err();
    assert!(error.what.contains("cannot be written"), "{error}");
}

#[test]
fn ports_keep_their_numbers() {
    use crate::target::{Target, Tpg};
    let (_dir, state) = state();
    let number = |tags: &[u16]| {
        let tpg = |&tag: &u16| Tpg { tag, open: true, ..Tpg::default() };
        let tpgs = tags.iter().map(tpg).collect();
        let mut targets = [Target { iqn: "iqn.t".into(), alias: None, redirect: None, tpgs }];
        let mut ports = state.ports().unwrap();
        ports.number(&mut targets);
        state.keep_ports(&ports).unwrap();
        targets[0].tpgs.iter().map(|g| g.relative_port).collect::<Vec<_>>()
    };
    assert_eq!(number(&[1, 2]), [1, 2]);
    assert_eq!(number(&[3, 2]), [3, 2]);
    fs::write(state.path().join("ports.json"), "{").unwrap();
    assert!(state.ports().unwrap_err().damaged);
    assert!(state.keep_ports(&Ports::default()).unwrap_err().damaged, "it is not written over");
}

#[test]
fn what_is_chosen_wins_and_is_not_saved() {
    let (_dir, state) = state();
    let serial = Some("chosen".to_owned());
    let chosen = StoreConfig {
        identity: IdentityOverride { serial, ..IdentityOverride::default() },
        ..config("disk")
    };
    let identity = state.identity(&chosen).unwrap();
    assert_eq!(identity.serial, "chosen");
    let saved = state.identity(&config("disk")).unwrap();
    assert_ne!(saved.serial, "chosen");
    assert_eq!(saved.naa, identity.naa);
}

#[test]
fn racing_processes_agree_on_one_identity() {
    let (_dir, state) = state();
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let state = state.clone();
            thread::spawn(move || state.identity(&config("disk")).unwrap())
        })
        .collect();
    let identities: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    assert!(identities.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(fs::read_dir(state.path().join("identity")).unwrap().count(), 1);
}

#[test]
fn units_are_saved_replaced_and_forgotten() {
    let (_dir, state) = state();
    let load = || state.load_unit::<String>("s/1").unwrap();
    assert_eq!(load(), None);
    state.save_unit("s/1", &"one").unwrap();
    state.save_unit("s/1", &"two").unwrap();
    assert_eq!(load().as_deref(), Some("two"));
    state.forget_unit("s/1").unwrap();
    assert_eq!(load(), None);
}

#[test]
fn damage_is_an_error_not_absence() {
    let (_dir, state) = state();
    state.save_unit("s", &"state").unwrap();
    state.identity(&config("disk")).unwrap();
    fs::write(state.path().join("unit/s.json"), "{").unwrap();
    fs::write(state.path().join("identity/disk.json"), "").unwrap();
    let error = state.load_unit::<String>("s").unwrap_err();
    assert!(error.damaged && error.what.contains("is damaged"), "{error}");
    assert!(state.identity(&config("disk")).unwrap_err().what.contains("is damaged"));
}

/// Any byte of a saved state may change, or the file may end anywhere: it is never taken for another state.
#[test]
fn no_changed_byte_makes_another_state() {
    let (_dir, state) = state();
    state.save_unit("s", &[0x1234_5678_u64, 42]).unwrap();
    let path = state.path().join("unit/s.json");
    let good = fs::read(&path).unwrap();
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        state.load_unit::<[u64; 2]>("s")
    };
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            match load(&bad) {
                Ok(same) => assert_eq!(same, Some([0x1234_5678, 42]), "white space at {at}"),
                Err(error) => assert!(error.damaged, "{error}"),
            }
        }
        assert!(load(&good[..at]).unwrap_err().damaged, "cut at {at}");
    }
}

#[test]
fn the_state_of_another_unit_is_no_state() {
    let (_dir, state) = state();
    state.save_unit("a", &1).unwrap();
    fs::rename(state.path().join("unit/a.json"), state.path().join("unit/b.json")).unwrap();
    assert!(state.load_unit::<u8>("b").unwrap_err().what.contains("the state of a"));
}

#[test]
fn a_newer_layout_is_refused() {
    let (_dir, state) = state();
    fs::write(state.path().join("version"), "2").unwrap();
    assert!(StateDir::open(state.path()).unwrap_err().what.contains("layout 2"));
}

#[test]
fn nobody_else_may_look() {
    let (_dir, state) = state();
    state.save_unit("s", &"").unwrap();
    let mode = |path: &str| fs::metadata(state.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("unit"), mode("unit/s.json")), (0o700, 0o700, 0o600));
}

#[test]
fn any_name_is_a_file_name_of_its_own() {
    assert_eq!(escape("disk-1.img_A"), "disk-1.img_A");
    assert_eq!(escape("../x"), "%2e.%2fx");
    assert_eq!(escape("ü%"), "%c3%bc%25");
    assert_ne!(escape("a/b"), escape("a%2fb"));
}

#[test]
fn the_directory_follows_the_user() {
    let env = |pairs: &'static [(&str, &str)]| {
        move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    };
    let path = |p: &str| PathBuf::from(p);
    assert_eq!(ad_hoc_dir_in(env(&[("HOME", "/home/u")]), false), path("/home/u/.local/state/ringtgt"));
    assert_eq!(ad_hoc_dir_in(env(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), false), path("/s/ringtgt"));
    assert_eq!(
        ad_hoc_dir_in(env(&[("XDG_STATE_HOME", "s"), ("HOME", "/h")]), false),
        path("/h/.local/state/ringtgt")
    );
    assert_eq!(ad_hoc_dir_in(env(&[("HOME", "/root")]), true), path(SYSTEM));
    assert_eq!(service_dir_in(env(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")])), path("/var/lib/a"));
    assert_eq!(service_dir_in(env(&[])), path(SYSTEM));
}
