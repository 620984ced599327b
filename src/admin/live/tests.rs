//! Changes with a reactor of the kernel's, and with things that go wrong underneath.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use super::units::Reached;
use super::*;
use crate::admin::state::StateDir;
use crate::admin::stats::{Mark, Stats};
use crate::initiator::{self, Initiator, LoginOptions};
use crate::reactor::{Limits, Setup, start};
use crate::scsi::{AccessState, LuState};
use crate::store::Medium;
use crate::target::{LOCAL_INITIATOR, is_local, local_name};

/// What is served, as a daemon has it.
struct Stage {
    live: Live,
    dir: tempfile::TempDir,
    /// Nothing can be saved.
    unsaved: Arc<AtomicBool>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let ended = self.live.control.drain(Duration::ZERO);
        assert!(ended.is_ok() || thread::panicking(), "a reactor ended badly");
    }
}

/// Files by name, each a LUN; with a target port group of its own for the first, if that is wanted.
fn text(grouped: bool, stores: &[&str]) -> String {
    let mut text = String::new();
    for (n, name) in stores.iter().enumerate() {
        text += &format!(
            "[[backstore]]\nkind = \"fileio\"\nname = \"{name}\"\npath = \"{name}.img\"\nsize = \"1M\"\n"
        );
        if grouped && n == 0 {
            text += "[backstore.alua]\n[[backstore.alua.group]]\nname = \"g\"\nid = 2\naccess = \"both\"\n";
        }
    }
    text += "[[target]]\niqn = \"iqn.2026-11.org.example:t\"\n[[target.tpg]]\nportals = [\"127.0.0.1:0\"]\n";
    text += "any_initiator = true\n";
    for (n, name) in stores.iter().enumerate() {
        text += &format!("[[target.tpg.lun]]\nlun = {n}\nbackstore = \"{name}\"\n");
        if grouped && n == 0 {
            text += "alua_group = \"g\"\n";
        }
    }
    text
}

impl Stage {
    /// What initiators know that backstore by.
    fn serial_of(&self, name: &str) -> String {
        self.live.unit_named(name).unwrap().1.identity.serial.clone()
    }

    fn new(text: &str) -> Self {
        Self::with(text, |unit| unit)
    }

    /// `last` makes something else of the last logical unit.
    fn with(text: &str, last: impl FnOnce(UnitSeed) -> UnitSeed) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut config, _) = config::parse(Source::new("test", text), dir.path(), None).unwrap();
        let meant = config.clone();
        config.expose_local();
        let state = StateDir::open(dir.path().join("state")).unwrap();
        let keeper = Keeper::new(Some(state.clone()), &config.server, 1);
        keeper.keep_ports(&keeper.number_ports(&mut config.targets).unwrap()).unwrap();
        let reached = Reached::by(config.targets.iter());
        let mut units = keeper.begin(&config.stores, &reached, Duration::ZERO).unwrap();
        let changed = units.pop().map(last);
        units.extend(changed);
        let (serials, unsaved) = (Serials::default(), Arc::new(AtomicBool::default()));
        (0..).zip(&units).for_each(|(n, unit)| serials.enter(LuId(n), unit));
        let catalog = Arc::new(config.take_catalog());
        let setup = setup(&catalog, &units, &serials, state, &unsaved);
        let control = Arc::new(start(setup).unwrap());
        let watcher = Watcher::start(&[], control.messenger()).unwrap();
        let origin = Origin { text: text.into(), ..Origin::default() };
        let sockets = Vec::new();
        let messenger = control.messenger();
        let loopbacks = Loopbacks::new(Arc::new(move || messenger.connect()), Ok(()));
        let live = Live::new(Start {
            control,
            keeper,
            serials,
            watcher,
            origin,
            meant,
            config,
            catalog,
            units,
            inherited: Inherited::default(),
            sockets,
            loopbacks,
        });
        Self { live, dir, unsaved }
    }

    fn apply(&self, text: &str) -> Result<Plan, Refused> {
        self.live.apply_if("test", text, Some(self.dir.path()), |_, _| true)
    }

    fn number(&self, name: &str) -> LuId {
        self.live.unit_named(name).expect("it is served").0
    }

    fn ports(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("state/ports.json")).unwrap()
    }
}

fn setup(
    catalog: &Arc<Catalog>,
    units: &[UnitSeed],
    serials: &Serials,
    state: StateDir,
    unsaved: &Arc<AtomicBool>,
) -> Setup {
    let (save, unsaved) = (serials.saver(Some(state)), unsaved.clone());
    let limits = Limits {
        memory: 4 << 20,
        connections: 4,
        local_connections: 4,
        pending_logins: 4,
        operations: 64,
        poll_ns: 0,
        level: None,
        login_timeout: Duration::from_secs(15),
    };
    Setup {
        cores: vec![None],
        catalog: catalog.clone(),
        units: units.to_vec(),
        listeners: Vec::new(),
        limits,
        saver: Arc::new(move |lu: LuId, next: &LuState| match unsaved.load(Ordering::Relaxed) {
            true => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            false => save(lu, next),
        }),
        recorder: Default::default(),
        entropy: |bytes| bytes.fill(7),
    }
}

/// A pipe can be made durable as little as a disk that has failed.
fn unflushable(unit: UnitSeed) -> UnitSeed {
    let mut backing = Arc::into_inner(unit.backing).expect("nobody else has it");
    let Medium::File(medium) = &mut backing.medium else { panic!("it is a file") };
    let (_, pipe) = io::pipe().unwrap();
    medium.file = OwnedFd::from(pipe).into();
    UnitSeed { backing: backing.into(), ..unit }
}

#[test]
fn a_change_that_is_given_up_gives_no_number_out_twice() {
    let stage = Stage::new(&text(true, &["a"]));
    let live = &stage.live;
    live.control.set_access(LuId(0), vec![(2, AccessState::Standby)]).expect("it is saved");
    stage.unsaved.store(true, Ordering::Relaxed);
    // Without its group what was saved of that is forgotten, and that cannot be saved.
    assert!(matches!(stage.apply(&text(false, &["a", "b"])), Err(Refused::Failed(_))));
    stage.unsaved.store(false, Ordering::Relaxed);
    assert!(live.unit_named("b").is_none());
    let deadline = Instant::now() + Duration::from_secs(20);
    while live.backings().iter().any(|backing| backing.name == "b") {
        assert!(Instant::now() < deadline, "nobody lets go of it");
        thread::sleep(Duration::from_millis(5));
    }
    stage.apply(&text(true, &["a", "c", "d"])).unwrap();
    let numbers = ["a", "c", "d"].map(|name| stage.number(name));
    assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2] && numbers[2] != numbers[0], "{numbers:?}");
}

#[test]
fn a_change_that_is_given_up_leaves_groups_in_the_states_that_they_were_put_in() {
    let group = "[backstore.alua]\n[[backstore.alua.group]]\nname = \"g\"\nid = 2\naccess = \"both\"\n";
    let grouped = text(false, &["a", "b"]).replace("size = \"1M\"\n", &format!("size = \"1M\"\n{group}"));
    let stage = Stage::new(&grouped);
    let live = &stage.live;
    for lu in [0, 1].map(LuId) {
        live.control.set_access(lu, vec![(2, AccessState::Standby)]).expect("it is saved");
    }
    let states = || {
        let all = live.access_states(|store, group, state| (store.to_owned(), group.id, state)).unwrap();
        all.into_iter()
            .filter(|(_, id, _)| *id == 2)
            .map(|(store, _, state)| (store, state))
            .collect::<Vec<_>>()
    };
    let before = states();
    assert_eq!(before, ["a", "b"].map(|store| (store.to_owned(), AccessState::Standby)));
    // What is in the place of its file cannot be replaced.
    let serial = live.unit_named("b").expect("it is served").1.identity.serial.clone();
    let saved = stage.dir.path().join(format!("state/unit/{serial}.json"));
    std::fs::remove_file(&saved).and_then(|()| std::fs::create_dir(&saved)).unwrap();
    assert!(matches!(stage.apply(&text(false, &["a", "b"])), Err(Refused::Failed(_))));
    assert_eq!(states(), before);
}

#[test]
fn what_is_still_at_work_under_one_name_is_waited_for_under_another() {
    let stage = Stage::new(&text(false, &["a", "b"]));
    let busy = stage.live.backings().into_iter().find(|backing| backing.name == "b").expect("it is served");
    stage.apply(&text(false, &["a"])).expect("it is made without that");
    let renamed = text(false, &["a", "b"]).replace("name = \"b\"", "name = \"c\"");
    let renamed = renamed.replace("backstore = \"b\"", "backstore = \"c\"");
    let path = busy.path.clone();
    let config = StoreConfig { path, ..StoreConfig::new(crate::store::StoreKind::Fileio, "c") };
    let said = stage.live.await_leaving(&config, Instant::now()).unwrap_err().to_string();
    assert!(said.contains("backstore b has gone, and is still at work there"), "{said}");
    let ends = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(busy);
    });
    stage.apply(&renamed).expect("it is free soon");
    ends.join().unwrap();
    assert!(stage.live.unit_named("c").is_some());
}

#[test]
fn what_goes_wrong_at_the_end_is_told_of_a_change_that_is_made() {
    let stage = Stage::with(&text(false, &["a", "b"]), unflushable);
    let without = text(false, &["a"]);
    let plan = stage.apply(&without).expect("it is made");
    assert!(plan.warnings.iter().any(|w| w.contains("cannot flush b")), "{:?}", plan.warnings);
    assert_eq!(stage.live.text(), without);
    assert!(stage.live.unit_named("b").is_none());
    let again = stage.apply(&without).unwrap();
    assert!(again.is_empty() && again.warnings.is_empty(), "{again}");
}

#[test]
fn what_is_not_carried_out_leaves_nothing_behind() {
    let stage = Stage::new(&text(false, &["a"]));
    let before = stage.ports();
    let more = text(false, &["a"])
        + "[[target]]\niqn = \"iqn.2026-11.org.example:u\"\n[[target.tpg]]\nportals = [\"127.0.0.1:0\"]\n\
           any_initiator = true\n";
    stage.live.plan("test", &more, Some(stage.dir.path())).expect("a plan");
    assert_eq!(stage.ports(), before, "a plan");
    // What could only be told by trying is not, where something is known to be wrong neither.
    std::fs::create_dir(stage.dir.path().join("d.img")).unwrap();
    let wrong = text(false, &["a", "d"]).replacen("1M", "512K", 1);
    let said = stage.live.plan("test", &wrong, Some(stage.dir.path())).unwrap_err().to_string();
    assert!(said.contains("would be lost") && !said.contains("d.img"), "{said}");
    let refused = stage.live.apply_if("test", &more, Some(stage.dir.path()), |_, _| false);
    assert!(matches!(refused, Err(Refused::Other(_))));
    assert_eq!(stage.ports(), before, "a plan that is not wanted");
    stage.apply(&more).unwrap();
    assert_ne!(stage.ports(), before);
}

#[test]
fn a_change_that_is_refused_leaves_no_file_that_it_made() {
    let stage = Stage::new(&text(true, &["a"]));
    let is_there = |name: &str| stage.dir.path().join(format!("{name}.img")).exists();
    let is_known = |name: &str| stage.dir.path().join(format!("state/identity/{name}.json")).exists();
    // An address that somebody else has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = taken.local_addr().unwrap().to_string();
    let nowhere = text(true, &["a", "b"]).replace("127.0.0.1:0", &portal);
    let said = stage.apply(&nowhere);
    assert!(matches!(said, Err(Refused::Failed(_))), "{said:?}");
    assert!(is_there("a") && !is_there("b"), "a portal");
    assert!(is_known("a") && !is_known("b"), "the next start makes it");
    // What was known before stays known.
    let old = stage.dir.path().join("state/identity/b.json");
    std::fs::copy(stage.dir.path().join("state/identity/a.json"), &old).unwrap();
    assert!(matches!(stage.apply(&nowhere), Err(Refused::Failed(_))));
    assert!(!is_there("b") && is_known("b"), "the start does not make it");
    std::fs::remove_file(old).unwrap();
    // So many that their identities are saved together, and one of them cannot be had.
    let many: Vec<String> = (0..40).map(|n| format!("m{n}")).chain(["d".into()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    std::fs::create_dir(stage.dir.path().join("d.img")).unwrap();
    assert!(matches!(stage.apply(&text(true, &many)), Err(Refused::Failed(_))));
    assert!((0..40).map(|n| format!("m{n}")).all(|name| !is_there(&name) && !is_known(&name)));
    // A store that cannot be had, behind one that was made.
    assert!(matches!(stage.apply(&text(true, &["a", "c", "d"])), Err(Refused::Failed(_))));
    assert!(is_there("a") && !is_there("c"), "another store");
    // Something that cannot be saved.
    stage.live.control.set_access(LuId(0), vec![(2, AccessState::Standby)]).expect("it is saved");
    std::fs::write(stage.dir.path().join("f.img"), vec![7; 1 << 20]).unwrap();
    stage.unsaved.store(true, Ordering::Relaxed);
    assert!(matches!(stage.apply(&text(false, &["a", "e", "f"])), Err(Refused::Failed(_))));
    assert!(is_there("a") && !is_there("e") && is_there("f"), "its state");
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_and_what_is_absent_is_told_of() {
    let stage = Stage::new(&text(false, &["a"]));
    let nowhere = text(false, &["a", "b"]).replace("\"b.img\"", "\"no/b.img\"");
    let dry = stage.live.plan("test", &nowhere, Some(stage.dir.path())).unwrap_err().to_string();
    let said = stage.apply(&nowhere).unwrap_err().to_string();
    assert_eq!(dry, said, "the plan knows it");
    assert!(
        said.contains("b.img: cannot be made: there is no directory") && said.contains("mkdir -p"),
        "{said}"
    );
    assert!(stage.live.unit_named("b").is_none());
    // What does not begin with an empty file may come yet.
    let absent = nowhere.replace("no/b.img\"\nsize = \"1M\"", "b.img\"");
    let plan = stage.apply(&absent).unwrap();
    assert!(plan.to_string().contains("b.img; it is not there, and so not ready"), "{plan}");
    assert!(matches!(&plan.warnings[..], [one] if one.starts_with("backstore b is not ready: ")), "{plan}");
    assert_eq!(stage.apply(&absent).unwrap().warnings, [""; 0], "it has been told");
}

#[test]
fn what_was_never_open_is_made_as_soon_as_it_can_be() {
    let later = text(false, &["a", "b"]).replace("\"b.img\"", "\"no/b.img\"");
    let stage = Stage::new(&later.replace("no/b.img\"\nsize = \"1M\"", "no/b.img\""));
    assert_eq!(stage.live.revive().unwrap(), None, "there is no such directory");
    stage.apply(&later).expect("it has a size now, and is not ready yet");
    assert_eq!(stage.live.revive().unwrap(), None);
    std::fs::create_dir(stage.dir.path().join("no")).unwrap();
    let told = lines(stage.live.revive().unwrap());
    assert!(told.starts_with("/backstores/fileio/b: it is there\n"), "{told}");
    assert_eq!(std::fs::metadata(stage.dir.path().join("no/b.img")).unwrap().len(), 1 << 20);
}

/// The directory of the only file that is away appears, and the file is made; `change` is served before that can be.
fn serve_too_late(stage: &Stage, change: &str) {
    let (then, _, away) = stage.live.present();
    std::fs::create_dir(stage.dir.path().join("no")).unwrap();
    let (lu, Sought { config, .. }) = &away[0];
    let made = stage.live.keeper.open_again(config, None).unwrap();
    stage.apply(change).unwrap();
    assert_eq!(stage.live.serve_again(then, Came::from([(*lu, made.into())])).unwrap(), None);
}

#[test]
fn what_was_made_for_a_change_that_another_was_faster_than_goes_again() {
    let text = text(false, &["a", "b"]).replace("\"b.img\"", "\"no/b.img\"");
    let stage = Stage::new(&text);
    serve_too_late(&stage, &format!("# Another\n{text}"));
    assert!(!stage.dir.path().join("no/b.img").exists());
}

#[test]
fn what_is_served_keeps_its_names_when_a_look_at_what_was_there_before_is_too_late() {
    let away = text(false, &["a", "b"]).replace("\"b.img\"", "\"no/b.img\"");
    let stage = Stage::new(&away);
    serve_too_late(&stage, &text(false, &["a", "b"]));
    assert_eq!(stage.live.keeper.saved_serial("b").unwrap(), Some(stage.serial_of("b")));
}

#[test]
fn what_comes_is_known_by_what_stood_for_it() {
    let away = text(false, &["a", "b"]).replace("\"b.img\"", "\"no/b.img\"");
    let stage = Stage::new(&away);
    let before = stage.serial_of("b");
    std::fs::create_dir(stage.dir.path().join("no")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while stage.live.revive().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it does not come");
    }
    assert_eq!(
        (stage.serial_of("b"), stage.live.keeper.saved_serial("b").unwrap()),
        (before.clone(), Some(before))
    );
}

#[test]
fn what_another_is_known_by_is_not_forgotten() {
    let stage = Stage::new(&text(false, &["a", "b"]));
    let serial = stage.serial_of("b");
    stage.apply(&text(false, &["a"])).unwrap();
    let renamed = text(false, &["a", "c"]).replace("\"c.img\"", &format!("\"b.img\"\nserial = \"{serial}\""));
    stage.apply(&renamed).unwrap();
    let said = stage.live.forget("b", None).unwrap_err().to_string();
    assert!(said.contains("or another by its serial number"), "{said}");
    stage.apply(&text(false, &["a"])).unwrap();
    stage.live.forget("b", None).expect("nobody is known by it");
}

#[test]
fn what_is_found_late_keeps_no_change_from_the_path() {
    let text = |name: &str| text(false, &["a", name]).replace(&format!("\"{name}.img\""), "\"no/b.img\"");
    let stage = Stage::new(&text("b"));
    let (_, _, away) = stage.live.present();
    let path = stage.dir.path().join("no/b.img");
    std::fs::create_dir(stage.dir.path().join("no")).unwrap();
    let (release, gate) = bounded::<()>(0);
    let look = stage.live.keeper.look();
    let late = move |what: &Sought| {
        let found = look(what);
        let _ = gate.recv();
        found
    };
    assert!(stage.live.keeper.looks.find(away, late).is_empty() && path.exists());
    let lets_go = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(release);
    });
    stage.apply(&text("c")).expect("it is waited for");
    lets_go.join().unwrap();
    assert!(stage.live.unit_named("c").is_some() && path.exists());
}

#[test]
fn a_path_goes_from_one_store_to_another_in_two_changes() {
    let stage = Stage::new(&text(false, &["a", "b"]));
    let renamed = text(false, &["a", "c"]).replace("\"c.img\"", "\"b.img\"");
    let dry = stage.live.plan("test", &renamed, Some(stage.dir.path())).unwrap_err().to_string();
    let said = stage.apply(&renamed).unwrap_err().to_string();
    assert_eq!(dry, said, "the plan knows it");
    assert!(said.contains("b.img: backstore b, which goes, has it open"), "{said}");
    assert!(said.contains("apply without both first"), "{said}");
    stage.apply(&text(false, &["a"])).unwrap();
    stage.apply(&renamed).expect("nobody has it");
    // What is only read is nobody's alone.
    let read = |name: &str| {
        text(false, &["a"]).replace("name = \"a\"", &format!("name = \"{name}\"\nread_only = true"))
    };
    let read = |name: &str| read(name).replace("backstore = \"a\"", &format!("backstore = \"{name}\""));
    stage.apply(&text(false, &[])).unwrap();
    stage.apply(&read("d")).unwrap();
    stage.apply(&read("e")).expect("in one change");
}

#[test]
fn blocks_of_another_size_are_warned_of() {
    let stage = Stage::new(&text(false, &["a"]));
    let now = stage.live.unit_named("a").unwrap().1.block_size;
    let sized = |block: u32| {
        text(false, &["a"]).replace("size = \"1M\"", &format!("size = \"1M\"\nblock_size = {block}"))
    };
    let told = stage.apply(&sized(if now == 512 { 4096 } else { 512 })).unwrap().next_start.concat();
    assert!(told.contains("block_size, at the next start"), "{told}");
    assert!(told.contains(&format!("What is on it was written in blocks of {now}")), "{told}");
    let told = stage.apply(&sized(now)).unwrap().next_start.concat();
    assert!(!told.contains("was written"), "{told}");
}

#[test]
fn a_warning_that_stands_is_no_news() {
    // A target without a group is warned of.
    let odd = |stores: &[&str]| text(false, stores) + "[[target]]\niqn = \"iqn.2026-11.org.example:u\"\n";
    let stage = Stage::new(&odd(&["a"]));
    let report = |text: &str| stage.live.parse("test", text, Some(stage.dir.path())).unwrap().1;
    let first = report(&odd(&["a"]));
    assert!(first.warnings() > 0);
    stage.live.warn_anew(&first);
    let more = report(&odd(&["a", "b"]));
    assert_eq!(more.news(locked(&stage.live.warned).as_ref().unwrap()), "");
}

#[test]
fn a_store_that_appears_takes_back_no_change_that_was_faster() {
    let stage = Stage::new(&text(false, &["a"]));
    let (then, ..) = stage.live.present();
    let other = text(false, &["a", "b"]);
    stage.apply(&other).unwrap();
    assert_eq!(stage.live.serve_again(then, Came::new()).unwrap(), None);
    assert_eq!(stage.live.text(), other);
    let (now, ..) = stage.live.present();
    assert!(stage.live.serve_again(now, Came::new()).unwrap().is_some());
}

#[test]
fn a_file_that_is_saved_while_a_reload_waits_is_what_that_serves() {
    let mut stage = Stage::new(&text(false, &["a"]));
    let file = stage.dir.path().join("ringtgt.toml");
    std::fs::write(&file, text(false, &["a", "b"])).unwrap();
    stage.live.origin.file = Some(file.clone());
    let (live, saved) = (&stage.live, text(false, &["a", "c"]));
    let change = locked(&live.running);
    thread::scope(|scope| {
        let reload = scope.spawn(|| live.reload().expect("it is served"));
        // It has read the file by then, and waits for the change; if not, it reads the other.
        thread::sleep(Duration::from_millis(300));
        std::fs::write(&file, &saved).unwrap();
        drop(change);
        reload.join().unwrap();
    });
    assert_eq!(live.text(), saved);
    assert!(live.unit_named("c").is_some() && live.unit_named("b").is_none());
}

#[test]
fn who_only_looks_waits_for_no_change() {
    let served = text(false, &["a", "b"]);
    let stage = Stage::new(&text(false, &["a"]));
    stage.apply(&served).unwrap();
    let change = locked(&stage.live.running);
    let (tell, told) = bounded(1);
    let told = thread::scope(|scope| {
        scope.spawn(|| {
            let live = &stage.live;
            let names: Vec<String> = live.units(|name, _| name.to_owned());
            let known = live.unit_named("b").is_some() && live.unit_names().len() == 2;
            let seen = Stats::of(live, &Mark::default()).is_ok();
            tell.send((live.served(), names, known && seen))
        });
        let told = told.recv_timeout(Duration::from_secs(10));
        drop(change);
        told
    });
    let dir = Some(stage.dir.path().to_owned());
    assert_eq!(told, Ok(((served, dir), vec!["a".into(), "b".into()], true)));
}

#[test]
fn figures_without_those_of_a_reactor_are_no_picture() {
    let stage = Stage::new(&text(false, &["a"]));
    assert!(Stats::of(&stage.live, &Mark::default()).is_ok());
    stage.live.control.drain(Duration::ZERO).unwrap();
    let late = Stats::of(&stage.live, &Mark::default()).unwrap_err();
    assert!(late.to_string().starts_with("reactor 0 has not answered"), "{late}");
}

#[test]
fn the_end_waits_for_no_change() {
    let stage = Stage::new(&text(false, &["a"]));
    let change = locked(&stage.live.running);
    let (tell, told) = bounded(1);
    let told = thread::scope(|scope| {
        scope.spawn(|| tell.send((stage.live.drain_timeout(), stage.live.backings().len())));
        let told = told.recv_timeout(Duration::from_secs(10));
        drop(change);
        told
    });
    assert_eq!(told, Ok((Duration::from_secs(10), 1)));
}

/// So many logical units that keep nothing, in ten targets; `more`: and one, which another initiator of the first may see.
fn many(count: usize, more: bool) -> String {
    let store = |n: usize| format!("[[backstore]]\nkind = \"null\"\nname = \"n{n}\"\nsize = \"1G\"\n");
    let lun = |n: usize| format!("[[target.tpg.lun]]\nlun = {}\nbackstore = \"n{n}\"\n", n / 10);
    let acl = |n: usize| format!("[[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:i{n}\"\n");
    let all = count + usize::from(more);
    let target = |t: usize| {
        let luns: String = (t..all).step_by(10).map(lun).collect();
        let acls: String = (0..=usize::from(more && t == 0)).map(acl).collect();
        format!("[[target]]\niqn = \"iqn.2026-11.org.example:t{t}\"\n[[target.tpg]]\n{luns}{acls}")
    };
    (0..all).map(store).chain((0..10).map(target)).collect()
}

/// How many stores, targets and changes the way from one text to the other has to do with.
fn looked_at(stage: &Stage, to: &str) -> (usize, usize, usize) {
    let (config, _) = stage.live.parse("test", to, Some(stage.dir.path())).unwrap();
    let draft = stage.live.draft(&locked(&stage.live.running), config, Came::new()).unwrap();
    (draft.stores.len() + draft.removed.len(), draft.moved.targets.len(), draft.plan.changes.len())
}

#[test]
fn a_change_has_to_do_with_what_it_changes_however_much_there_is() {
    for count in [100, 10_000] {
        let stage = Stage::new(&many(count, false));
        assert_eq!(looked_at(&stage, &many(count, false)), (0, 0, 0), "{count}");
        assert_eq!(looked_at(&stage, &many(count, true)), (1, 1, 3), "{count}");
        stage.apply(&many(count, true)).unwrap();
        assert_eq!(looked_at(&stage, &many(count, false)), (1, 1, 3), "{count}");
        stage.apply(&many(count, false)).unwrap();
        assert_eq!(stage.live.unit_names().len(), count);
    }
}

/// A stage whose last store is on a device as this directory has it, which vanishes with that.
fn on_device(stores: &[&str]) -> (Stage, tempfile::TempDir) {
    on_device_with(stores, "")
}

/// The same, with more text.
fn on_device_with(stores: &[&str], more: &str) -> (Stage, tempfile::TempDir) {
    let sysfs = tempfile::tempdir().unwrap();
    let seated = |unit: UnitSeed| {
        let backing = Arc::into_inner(unit.backing).expect("nobody else has it").seated(sysfs.path());
        UnitSeed { backing: backing.into(), ..unit }
    };
    (Stage::with(&(closed(stores) + more), seated), sysfs)
}

/// Where nobody comes in: a stage begins without the sockets that a daemon has.
fn closed(stores: &[&str]) -> String {
    text(false, stores).replace("portals = [\"127.0.0.1:0\"]\n", "")
}

fn lines(plan: Option<Plan>) -> String {
    plan.expect("something has changed")
        .changes
        .into_iter()
        .map(|c| c.path + ": " + &c.detail + "\n")
        .collect()
}

#[test]
fn what_vanishes_is_stood_for_until_the_same_is_there_again() {
    let (stage, sysfs) = on_device(&["a", "b"]);
    let live = &stage.live;
    assert_eq!(live.revive().unwrap(), None, "it is there");
    let (a, b) = (stage.number("a"), live.unit_named("b").expect("it is served"));
    let before = Arc::downgrade(&locked(&live.running).stores[&b.0].unit.backing);
    sysfs.close().unwrap();
    let went = "/backstores/fileio/b: it has vanished, and is not ready\n/iscsi/iqn.2026-11.org.example:t/tpg1/luns/lun1: b\n";
    assert_eq!(lines(live.revive().unwrap()), went);
    let away = live.unit_named("b").expect("something stands for it");
    assert_eq!(
        (stage.number("a"), away.1.identity.clone()),
        (a, b.1.identity.clone()),
        "the names are the same"
    );
    assert_ne!(away.0, b.0);
    assert_eq!(before.strong_count(), 0, "what has vanished is closed");
    assert!(lines(live.revive().unwrap()).starts_with("/backstores/fileio/b: it is there\n"));
    assert_eq!(live.unit_named("b").expect("it is served").1.blocks, b.1.blocks);
    assert_eq!(live.revive().unwrap(), None);
}

#[test]
fn a_disk_that_comes_and_goes_does_not_have_the_text_read_again() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    let write = |text: &str| std::fs::write(secret.path(), text).unwrap();
    write("correct horse battery");
    let target = "[[target]]\niqn = \"iqn.2026-11.org.example:u\"\n[[target.tpg]]\nany_initiator = true\n";
    let chap = format!("chap = {{ user = \"u\", secret_file = \"{}\" }}\n", secret.path().display());
    let (stage, sysfs) = on_device_with(&["b"], &(target.to_owned() + &chap));
    let (live, before) = (&stage.live, stage.live.catalog());
    sysfs.close().unwrap();
    write("staple of another day");
    live.revive().unwrap().expect("something stands for it");
    secret.close().unwrap();
    assert!(live.revive().unwrap().is_some(), "it is there again");
    let other = |catalog: &Catalog| catalog.target("iqn.2026-11.org.example:u").cloned();
    assert!(other(&before).is_some() && other(&live.catalog()) == other(&before), "the secret of before");
}

#[test]
fn another_in_the_place_of_what_has_vanished_is_left_alone() {
    let (stage, sysfs) = on_device(&["b"]);
    let (live, image) = (&stage.live, stage.dir.path().join("b.img"));
    sysfs.close().unwrap();
    live.revive().unwrap().expect("it has vanished");
    std::fs::rename(&image, stage.dir.path().join("b.old")).unwrap();
    assert_eq!(live.revive().unwrap(), None, "nothing is there");
    std::fs::write(&image, vec![7; 1 << 20]).unwrap();
    assert_eq!(live.revive().unwrap(), None);
    let said = live.stores(|store, _| store.why.unwrap_or_default().to_owned()).concat();
    assert!(said.contains("b.img is another than before") && said.contains("ringtgt apply"), "{said}");
    stage.apply(&text(false, &["b"])).unwrap();
    assert_eq!(live.revive().unwrap(), None, "nobody has asked for that one");
    assert_eq!(std::fs::read(&image).unwrap(), vec![7; 1 << 20]);
    std::fs::rename(&image, stage.dir.path().join("c.img")).unwrap();
    stage.apply(&text(false, &["b"]).replace("b.img", "c.img")).unwrap();
    assert_eq!(live.revive().unwrap(), None, "by its own name it is served");
    assert_eq!(live.unit_named("b").expect("it is served").1.blocks, 2048);
}

/// Also where looks take so long that some of them find nothing in time.
#[test]
fn why_a_store_is_not_ready_is_told_once() {
    let stage = Stage::new(&text(false, &["a", "b"]));
    let (generation, ..) = stage.live.present();
    let told = |whys: &[(&str, &str)]| {
        let reasons = whys.iter().map(|(name, why)| (stage.number(name), (*why).to_owned()));
        stage.live.explain(generation, reasons.collect())
    };
    let both = [("a", "it is busy"), ("b", "it is another")];
    assert_eq!(told(&both[..1]), ["backstore a: it is busy"]);
    assert!(told(&[]).is_empty(), "nothing was found in time");
    assert_eq!(told(&both), ["backstore b: it is another"]);
    assert!(told(&both[1..]).is_empty() && told(&both).is_empty());
    assert_eq!(told(&[("a", "it does not answer")]), ["backstore a: it does not answer"]);
}

#[test]
fn the_one_of_before_is_not_opened_while_somebody_still_has_it() {
    let (stage, sysfs) = on_device(&["b"]);
    let live = &stage.live;
    let writes = live.backings();
    sysfs.close().unwrap();
    live.revive().unwrap().expect("it has vanished");
    assert_eq!(live.revive().unwrap(), None, "a write may be under way");
    drop(writes);
    assert!(live.revive().unwrap().is_some());
}

#[test]
fn what_can_be_listened_at_again_is_though_others_cannot() {
    let stage = Stage::new(&text(false, &["a"]));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = |got| Socket {
        plan: listen::Plan { address: got, only_v6: false, options: Default::default() },
        got,
        fd: -1,
    };
    let closed =
        vec![socket(free), socket(taken.local_addr().unwrap()), socket("127.0.0.1:0".parse().unwrap())];
    let doors = NewDoors { new: Vec::new(), close: Vec::new(), closed };
    let mut running = locked(&stage.live.running);
    let said = stage.live.close_again(&mut running, doors, anyhow::anyhow!("the reason"));
    let said = format!("{said:#}");
    assert!(
        said.contains(&taken.local_addr().unwrap().to_string()) && said.ends_with("the reason"),
        "{said}"
    );
    assert_eq!(running.sockets.len(), 2, "the others are on record");
    assert!(TcpStream::connect(free).is_ok(), "and listened at");
}

#[test]
fn another_medium_by_a_known_name_is_told_of() {
    let stage = Stage::new(&text(false, &["a"]));
    let told = |text: &str| stage.apply(text).unwrap().warnings;
    let path_of = |path: &str| text(false, &["a"]).replace("a.img", path);
    let image = |name: &str| std::fs::write(stage.dir.path().join(name), vec![0; 1 << 20]).unwrap();
    ["c.img", "d.img"].into_iter().for_each(image);
    let [other] = told(&path_of("c.img")).try_into().unwrap();
    assert!(other.contains("backstore a: it is ") && other.contains("a.img (file "), "{other}");
    assert_eq!(told(&path_of("c.img")), [""; 0], "it is known by now");
    assert_eq!(told(""), [""; 0]);
    std::fs::rename(stage.dir.path().join("c.img"), stage.dir.path().join("e.img")).unwrap();
    assert_eq!(told(&path_of("e.img")), [""; 0], "the same by another path");
    // What is deleted is not forgotten: initiators may know it yet.
    assert_eq!(told(""), [""; 0]);
    let planned = stage.live.plan("test", &path_of("d.img"), Some(stage.dir.path())).unwrap().warnings;
    assert_eq!((planned.len(), told(&path_of("d.img"))), (1, planned));
    assert_eq!(told(""), [""; 0]);
    assert!(told(&path_of("new.img"))[0].contains("it is a new file from now on"));
    // Whoever gives it a serial number means it.
    let serial = |path| path_of(path).replace("size =", "serial = \"S1\"\nsize =");
    assert_eq!([told(&serial("c2.img")), told(&text(false, &["b"]))], [const { Vec::<String>::new() }; 2]);
}

/// Logs in to the target of that local disk, as its thread does.
fn log_in(stage: &Stage, store: &str) -> Result<Initiator<UnixStream>, initiator::Error> {
    let stream = stage.live.control.messenger().connect().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Initiator::over(stream, LoginOptions::new(LOCAL_INITIATOR, Some(&local_name(store))))
}

#[test]
fn a_local_disk_is_a_session_like_any_other() {
    let stage = Stage::new(&(text(false, &["a", "b"]) + "[[loopback]]\nbackstore = \"b\"\n"));
    let mut disk = log_in(&stage, "b").unwrap();
    disk.clear_attention(0).unwrap();
    assert_eq!(disk.capacity(0).unwrap(), (2048, 512));
    assert!(disk.write(0, 7, 2, vec![9; 1024]).unwrap().is_good());
    assert_eq!(disk.read(0, 7, 2, 1024).unwrap().buffer, [9; 1024]);
    let sessions = stage.live.control.sessions();
    assert_eq!((sessions.len(), sessions[0].initiator.as_str()), (1, LOCAL_INITIATOR));
    assert_eq!(sessions[0].target.as_deref(), Some(local_name("b").as_str()));
    assert!(log_in(&stage, "a").is_err(), "it is none");
    // Nobody is told of it who asks what there is.
    let stream = stage.live.control.messenger().connect().unwrap();
    let mut visitor = Initiator::over(stream, LoginOptions::new("iqn.2026-11.org.example:i", None)).unwrap();
    assert!(!visitor.send_targets().unwrap().contains("loopback"));
    disk.logout().unwrap();
}

/// A stage with local disks, none of which is made, and the address of its portal, where it listens.
fn crowded() -> (Stage, SocketAddr) {
    let local = |store: &str| format!("[[loopback]]\nbackstore = \"{store}\"\n");
    let stores = ["a", "b"];
    let text = text(false, &stores) + &stores.map(local).concat();
    let stage = Stage::new(&text);
    stage.live.loopbacks.expect(&locked(&stage.live.running).loopbacks);
    stage.apply(&text.replace("127.0.0.1:0", "127.0.0.2:0")).unwrap();
    let address = locked(&stage.live.running).sockets[0].got;
    (stage, address)
}

fn log_in_from_afar(address: SocketAddr, name: &str) -> Result<Initiator<TcpStream>, initiator::Error> {
    let options = LoginOptions::new(name, Some("iqn.2026-11.org.example:t"));
    Initiator::login(address, options, Duration::from_secs(20))
}

#[test]
fn a_crowd_from_the_network_keeps_no_local_disk_out() {
    let (stage, address) = crowded();
    // More than may come in, and none of them says anything.
    let _crowd: Vec<_> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
    thread::sleep(Duration::from_millis(100));
    let mut disks = ["a", "b"].map(|store| log_in(&stage, store).unwrap());
    for disk in &mut disks {
        disk.clear_attention(0).unwrap();
        assert!(disk.read(0, 0, 1, 512).unwrap().is_good());
    }
}

#[test]
fn local_disks_keep_nobody_from_the_network_out() {
    let (stage, address) = crowded();
    let _disks = ["a", "b"].map(|store| log_in(&stage, store).unwrap());
    let _silent = [(), ()].map(|()| stage.live.control.messenger().connect().unwrap());
    assert!(log_in(&stage, "a").is_err(), "there is no room for a fifth, and it takes nobody else's");
    let names = (0..4).map(|n| format!("iqn.2026-11.org.example:host{n}"));
    let hosts: Vec<_> = names.map(|name| log_in_from_afar(address, &name)).collect();
    assert!(hosts.iter().all(Result::is_ok), "{hosts:?}");
}

/// Where there is ublk the disks of these tests would be made.
fn without_ublk() {
    let control = Path::new("/dev/ublk-control");
    assert!(!control.exists(), "this test is about a host without ublk: run `rmmod ublk_drv` first");
}

#[test]
fn where_no_local_disk_can_be_made_the_change_is_refused_and_nothing_has_happened() {
    let text = text(false, &["a"]);
    let stage = Stage::new(&text);
    without_ublk();
    let more = text.clone() + "[[loopback]]\nbackstore = \"a\"\n";
    assert_eq!(
        stage.live.plan("test", &more, Some(stage.dir.path())).unwrap().to_string(),
        "+ /loopback/a\n"
    );
    let refused = stage.apply(&more).unwrap_err().to_string();
    assert!(refused.contains("local disk a: there is no /dev/ublk-control"), "{refused}");
    assert!(refused.contains("modprobe ublk_drv"), "{refused}");
    assert_eq!(stage.live.text(), text);
    assert!(stage.live.catalog().targets.iter().all(|t| !is_local(&t.iqn)));
}

#[test]
fn a_local_disk_that_cannot_be_made_at_the_start_is_waited_for() {
    without_ublk();
    let stage = Stage::new(&(text(false, &["a"]) + "[[loopback]]\nbackstore = \"a\"\n"));
    stage.live.loopbacks.expect(&[LoopbackConfig { store: "a".into(), device: None, read_only: false }]);
    stage.live.raise_loopbacks();
    let disks = stage.live.local_disks();
    assert_eq!((disks.len(), &disks[0].device), (1, &None));
    assert!(disks[0].why.contains("modprobe ublk_drv"), "{disks:?}");
    let plan = stage.apply(&text(false, &["a"])).unwrap();
    assert_eq!(plan.to_string(), "- /loopback/a\n");
    assert!(stage.live.local_disks().is_empty());
}
