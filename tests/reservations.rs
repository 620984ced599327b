//! Reservations that outlive the process, and that belong to the disk whatever target shows it.

#[path = "support/daemon.rs"]
#[allow(dead_code)] // it serves more than one test
mod daemon;
#[path = "support/e2e.rs"]
#[allow(dead_code)] // it serves more than one test
mod support;

use std::fs;
use std::path::PathBuf;

use ringtgt::initiator::{Direction, Initiator, LoginOptions};
use ringtgt::scsi::status;

use daemon::{Daemon, TARGET};
use support::{Life, PATIENCE, serve_config};

/// The other target that shows the same disk.
const OTHER: &str = "iqn.2026-11.org.example:other";

/// PERSISTENT RESERVE OUT service actions.
const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const CLEAR: u8 = 3;
const MOVE: u8 = 7;
const REPLACE_LOST: u8 = 8;
/// Types.
const EXCLUSIVE_ACCESS: u8 = 3;
const WRITE_EXCLUSIVE_REGISTRANTS: u8 = 5;
/// Flags of the parameter list.
const APTPL: u8 = 1;
const ALL_TG_PT: u8 = 4;

/// A daemon with one disk behind two targets, and where it keeps its state.
struct Site {
    dir: tempfile::TempDir,
    daemon: Daemon,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().display();
        let mut text = format!(
            "[server]\nreactors = 2\nstate_dir = \"{state}/state\"\ncontrol_socket = \"{state}/control.sock\"\n\
             [[backstore]]\nkind = \"ramdisk\"\nname = \"disk\"\nsize = \"4M\"\n"
        );
        for iqn in [TARGET, OTHER] {
            text += &format!(
                "[[target]]\niqn = \"{iqn}\"\n[[target.tpg]]\nportals = [\"127.0.0.1:0\"]\n\
                 any_initiator = true\n[[target.tpg.lun]]\nlun = 0\nbackstore = \"disk\"\n"
            );
        }
        fs::write(dir.path().join("ringtgt.toml"), text).expect("a configuration");
        let daemon = Daemon::start(serve_config(&dir.path().join("ringtgt.toml")));
        Self { dir, daemon }
    }

    /// SIGKILL, and another daemon on the same state.
    fn kill_and_restart(&mut self) {
        self.daemon.kill();
        self.daemon = Daemon::start(serve_config(&self.dir.path().join("ringtgt.toml")));
    }

    /// Initiator `number` at one of the targets, whose unit attentions are out of the way.
    fn login(&self, number: u8, target: &str) -> Initiator {
        let name = format!("iqn.2026-11.org.example:i{number}");
        let mut initiator =
            Initiator::login(self.daemon.portal(), LoginOptions::new(&name, Some(target)), PATIENCE)
                .expect("a login");
        initiator.clear_attention(0).expect("an answer");
        initiator
    }

    /// The file in which the disk's reservations are.
    fn saved(&self) -> PathBuf {
        let mut files = fs::read_dir(self.dir.path().join("state/unit")).expect("the directory");
        files.next().expect("a file").expect("its name").path()
    }
}

/// The parameter list of all actions but REGISTER AND MOVE.
fn list(key: u64, action_key: u64, flags: u8) -> Vec<u8> {
    [&key.to_be_bytes()[..], &action_key.to_be_bytes(), &[0, 0, 0, 0, flags, 0, 0, 0]].concat()
}

/// PERSISTENT RESERVE OUT; its status.
fn reserve_out(i: &mut Initiator, action: u8, kind: u8, list: Vec<u8>) -> u8 {
    let mut cdb = [0; 16];
    cdb[..3].copy_from_slice(&[0x5f, action, kind]);
    cdb[5..9].copy_from_slice(&(list.len() as u32).to_be_bytes());
    i.execute(0, cdb, Direction::Out, list).expect("an answer").status
}

/// PERSISTENT RESERVE IN; what it tells.
fn reserve_in(i: &mut Initiator, action: u8) -> Vec<u8> {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x5e, action]);
    cdb[7] = 16;
    let done = i.execute(0, cdb, Direction::In, vec![0; 4096]).expect("an answer");
    assert!(done.is_good(), "{:?}", done.sense_code());
    done.buffer[..done.received].to_vec()
}

fn full_status(i: &mut Initiator) -> Vec<u8> {
    reserve_in(i, 3)
}

fn write(i: &mut Initiator) -> u8 {
    i.write(0, 0, 1, vec![7; 512]).expect("an answer").status
}

fn sense_of_ready(i: &mut Initiator) -> Option<(u8, u8, u8)> {
    i.execute(0, [0; 16], Direction::None, Vec::new()).expect("an answer").sense_code()
}

/// Two initiators register, the first with these flags, and it reserves.
fn set_up(site: &Site, flags: u8) -> [Initiator; 2] {
    let mut pair = [site.login(1, TARGET), site.login(2, TARGET)];
    for (key, i) in (1..).zip(&mut pair) {
        assert_eq!(reserve_out(i, REGISTER, 0, list(0, key, flags)), status::GOOD);
    }
    let kind = WRITE_EXCLUSIVE_REGISTRANTS;
    assert_eq!(reserve_out(&mut pair[0], RESERVE, kind, list(1, 0, 0)), status::GOOD);
    pair
}

#[test]
fn what_was_to_survive_a_power_loss_survives_a_kill() {
    let mut site = Site::new();
    let [mut one, _] = set_up(&site, APTPL);
    assert_eq!(reserve_in(&mut one, 2)[3] & 1, 1, "PTPL_A");
    let before = full_status(&mut one);
    site.kill_and_restart();
    one = site.login(1, TARGET);
    let mut two = site.login(2, TARGET);
    let after = full_status(&mut two);
    assert_eq!((&after[..4], &after[4..]), (&[0; 4][..], &before[4..]), "all of it but PRGENERATION");
    assert_eq!(reserve_in(&mut one, 2)[3] & 1, 1, "PTPL_A");
    let mut stranger = site.login(3, TARGET);
    assert_eq!([&mut one, &mut two].map(write), [status::GOOD; 2]);
    assert_eq!(write(&mut stranger), status::RESERVATION_CONFLICT);
    // The last word counts: now it is not to survive any more.
    assert_eq!(reserve_out(&mut two, REGISTER, 0, list(2, 2, 0)), status::GOOD);
    site.kill_and_restart();
    assert_eq!(full_status(&mut site.login(1, TARGET)), [0; 8]);
    assert_eq!(write(&mut site.login(3, TARGET)), status::GOOD);
}

#[test]
fn without_being_asked_nothing_survives() {
    let mut site = Site::new();
    set_up(&site, 0);
    site.kill_and_restart();
    assert_eq!(full_status(&mut site.login(1, TARGET)), [0; 8]);
}

/// Every state that was answered with GOOD is the one after a kill at once.
#[test]
fn what_was_answered_is_on_disk() {
    let mut site = Site::new();
    let mut key = 0u64;
    for round in 1..=5 {
        let mut one = site.login(1, TARGET);
        for _ in 0..round {
            assert_eq!(reserve_out(&mut one, REGISTER, 0, list(key, key + 1, APTPL)), status::GOOD);
            key += 1;
        }
        site.kill_and_restart();
        let keys = reserve_in(&mut site.login(2, TARGET), 0);
        assert_eq!(keys[8..], key.to_be_bytes());
    }
}

#[test]
fn damaged_reservations_are_told_and_replaced() {
    let mut site = Site::new();
    set_up(&site, APTPL);
    let good = fs::read(site.saved()).expect("what was saved");
    site.daemon.kill();
    fs::write(site.saved(), &good[..good.len() / 2]).expect("half of it");
    site.kill_and_restart();
    let lost = Some((7, 0x44, 1));
    let [mut one, mut two] = [site.login(1, TARGET), site.login(2, TARGET)];
    assert_eq!([&mut one, &mut two].map(sense_of_ready), [lost; 2]);
    assert_eq!(write(&mut one), status::CHECK_CONDITION);
    // Nothing overwrites what may still be mended, and a restart does not make it better.
    site.kill_and_restart();
    [one, two] = [site.login(1, TARGET), site.login(2, TARGET)];
    assert_eq!(sense_of_ready(&mut two), lost);
    assert_eq!(reserve_out(&mut one, REPLACE_LOST, EXCLUSIVE_ACCESS, list(0, 9, APTPL)), status::GOOD);
    assert_eq!([write(&mut one), write(&mut two)], [status::GOOD, status::RESERVATION_CONFLICT]);
    site.kill_and_restart();
    assert_eq!(reserve_in(&mut site.login(2, TARGET), 0)[8..], 9u64.to_be_bytes());
}

#[test]
fn two_targets_of_one_disk_share_its_reservations() {
    let site = Site::new();
    let [mut here, mut there] = [site.login(1, TARGET), site.login(1, OTHER)];
    assert_eq!(reserve_out(&mut here, REGISTER, 0, list(0, 1, 0)), status::GOOD);
    assert_eq!(reserve_out(&mut here, RESERVE, EXCLUSIVE_ACCESS, list(1, 0, 0)), status::GOOD);
    assert_eq!(write(&mut there), status::RESERVATION_CONFLICT, "the same initiator, but another nexus");
    let status = full_status(&mut there);
    assert_eq!(
        (status[7], status[8 + 12], &status[8 + 18..8 + 20]),
        (status.len() as u8 - 8, 1, &[0, 1][..])
    );
    assert_eq!(reserve_out(&mut here, CLEAR, 0, list(1, 0, 0)), status::GOOD);
    // At all ports of the disk at once.
    assert_eq!(reserve_out(&mut here, REGISTER, 0, list(0, 5, ALL_TG_PT)), status::GOOD);
    let status = full_status(&mut there);
    let descriptor = (status.len() - 8) / 2;
    let ports = [0, 1].map(|n| status[8 + n * descriptor + 19]);
    assert_eq!(ports, [1, 2], "relative target ports");
    let kind = WRITE_EXCLUSIVE_REGISTRANTS;
    assert_eq!(reserve_out(&mut here, RESERVE, kind, list(5, 0, 0)), status::GOOD);
    assert_eq!(write(&mut there), status::GOOD);
}

#[test]
fn a_reservation_moves_to_a_port_of_the_other_target() {
    let site = Site::new();
    let [mut one, mut two, mut elsewhere] =
        [site.login(1, TARGET), site.login(2, OTHER), site.login(2, TARGET)];
    assert_eq!(reserve_out(&mut one, REGISTER, 0, list(0, 1, 0)), status::GOOD);
    assert_eq!(reserve_out(&mut one, RESERVE, EXCLUSIVE_ACCESS, list(1, 0, 0)), status::GOOD);
    // By the name alone: the one port that is logged in is meant. UNREG, relative port 2.
    let mut name = b"iqn.2026-11.org.example:i2".to_vec();
    name.resize(28, 0);
    let mut list = [&1u64.to_be_bytes()[..], &8u64.to_be_bytes(), &[0, 2, 0, 2, 0, 0, 0, 32]].concat();
    list.extend([5, 0, 0, 28]);
    list.extend(name);
    assert_eq!(reserve_out(&mut one, MOVE, 0, list), status::GOOD);
    assert_eq!(
        [&mut one, &mut two, &mut elsewhere].map(write),
        [status::RESERVATION_CONFLICT, status::GOOD, status::RESERVATION_CONFLICT]
    );
    assert_eq!(reserve_in(&mut one, 0)[8..], 8u64.to_be_bytes());
}
