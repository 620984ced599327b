//! Lines that are taken together do what they do one by one, for less.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::cli::shell::backend::Backend;
use crate::cli::shell::tests::{shell, shell_over};

const WIDTH: usize = 93;
const T: &str = "/iscsi/iqn.2026-01.org.example:t";

fn given(lines: &[String]) -> Vec<Result<String, String>> {
    lines.iter().cloned().map(Ok).collect()
}

/// What lines come to: what they print, the first that is wrong, the configuration, and the place.
type Came = (String, Result<(), (usize, String)>, String, String);

fn came(shell: &Shell, said: String, done: Result<Next, (usize, String)>) -> Came {
    (said, done.map(|_| ()), shell.doc.text(), shell.path())
}

fn taken_together(shell: &mut Shell, lines: &[String]) -> Came {
    let mut said = String::new();
    let done = shell.lines(&given(lines), |text| said.push_str(text));
    came(shell, said, done)
}

fn one_by_one(shell: &mut Shell, lines: &[String]) -> Came {
    let (mut said, mut done) = (String::new(), Ok(Next::Go));
    for (at, line) in lines.iter().enumerate() {
        done = shell.line(line).map_err(|error| (at, error));
        said.push_str(&std::mem::take(&mut shell.said));
        if done != Ok(Next::Go) {
            break;
        }
    }
    came(shell, said, done)
}

/// A target, and so many backstores which it shows to two initiators.
fn script(disks: usize) -> Vec<String> {
    let mut lines = vec![
        "/iscsi create iqn.2026-01.org.example:t".to_owned(),
        format!("{T}/tpg1/acls create iqn.2026-01.org.example:one"),
        format!("{T}/tpg1/acls create iqn.2026-01.org.example:two add_mapped_luns=false"),
    ];
    for n in 0..disks {
        lines.push(format!("/backstores/ramdisk create disk{n} 1M"));
        lines.push(format!("{T}/tpg1/luns create disk{n}"));
    }
    lines
}

/// What `work` makes the checker look at a whole configuration.
fn checks<T>(shell: &mut Shell, work: impl FnOnce(&mut Shell) -> T) -> (T, usize) {
    let before = shell.checks.get();
    let done = work(shell);
    (done, shell.checks.get() - before)
}

#[test]
fn however_many_lines_there_are_the_checker_looks_once() {
    for disks in [1, 30, 300] {
        let mut together = shell(WIDTH);
        let (came, looks) = checks(&mut together, |shell| taken_together(shell, &script(disks)));
        assert_eq!(looks, 1, "for {} lines", script(disks).len());
        assert!(came.1.is_ok() && came.0.ends_with("mapping in node ACL iqn.2026-01.org.example:two\n"));
        assert_eq!(together.config.targets[0].tpgs[0].acls[0].luns.len(), disks);
    }
    let mut alone = shell(WIDTH);
    assert_eq!(taken_together(&mut shell(WIDTH), &script(30)), one_by_one(&mut alone, &script(30)));
}

#[test]
fn a_mistake_costs_the_logarithm_and_leaves_what_was_before_it() {
    for wrong in [3, 4, 100, 255, 602] {
        let mut lines = script(300);
        lines[wrong] = "/backstores/null create odd 1000".into();
        lines.insert(wrong + 1, "/backstores/null create never 1M".into());
        let mut together = shell(WIDTH);
        let (came, looks) = checks(&mut together, |shell| taken_together(shell, &lines));
        assert!(looks <= 12, "{looks} for a mistake in line {wrong} of 603");
        let (at, error) = came.1.unwrap_err();
        assert_eq!(at, wrong);
        assert!(error.contains("1000 bytes are no whole number of blocks of 512"), "{error}");
        let mut before = shell(WIDTH);
        let expected = taken_together(&mut before, &lines[..wrong]);
        assert_eq!((came.0, came.2), (expected.0, expected.2));
    }
}

#[test]
fn lines_that_have_to_be_taken_alone_part_those_that_need_not() {
    let mut lines = script(100);
    lines.insert(50, "ls /backstores".into());
    lines.insert(150, "/backstores/ramdisk delete disk0".into());
    let mut together = shell(WIDTH);
    let (came, looks) = checks(&mut together, |shell| taken_together(shell, &lines));
    assert_eq!(looks, 4, "three for what can be taken together, one for what is deleted");
    assert_eq!(came, one_by_one(&mut shell(WIDTH), &lines));
}

#[test]
fn warnings_stand_behind_their_line() {
    let mut lines = script(40);
    lines.insert(60, format!("{T}/tpg1/luns create disk3"));
    let mut together = shell(WIDTH);
    let came = taken_together(&mut together, &lines);
    assert!(came.0.contains("\nWarning: LUN 3 of this group is the same backstore"), "{}", came.0);
    assert_eq!(came, one_by_one(&mut shell(WIDTH), &lines));
}

#[test]
fn when_it_is_in_vain_too_often_it_is_left() {
    let mut lines = script(100);
    for n in 0..100 {
        lines.push(format!("{T}/tpg1/luns create disk{n}"));
    }
    let mut together = shell(WIDTH);
    let (came, looks) = checks(&mut together, |shell| taken_together(shell, &lines));
    assert!(looks <= lines.len() + 2 * MOST_VAIN, "{looks}");
    assert_eq!(came.1, Ok(()));
}

/// A daemon that refuses one backstore.
#[derive(Default)]
struct Daemon {
    served: Rc<RefCell<Vec<String>>>,
}

impl Backend for Daemon {
    fn file(&self) -> &Path {
        Path::new("/etc/ringtgt/ringtgt.toml")
    }

    fn load(&mut self, _kept: &mut crate::admin::config::Kept) -> Result<String, String> {
        Ok(String::new())
    }

    fn taken(&mut self) {}

    fn edited(&mut self, text: &str) -> Result<Vec<String>, String> {
        if text.contains("\"refused\"") {
            return Err("it cannot be had".into());
        }
        self.served.borrow_mut().push(text.into());
        Ok(Vec::new())
    }

    fn save(&mut self, _text: &str, _elsewhere: Option<&Path>, _backups: usize) -> Result<PathBuf, String> {
        Ok(PathBuf::new())
    }
}

#[test]
fn a_daemon_gets_many_lines_as_one_change() {
    let served = Rc::new(RefCell::default());
    let mut together = shell_over(Box::new(Daemon { served: Rc::clone(&served) }), WIDTH);
    let came = taken_together(&mut together, &script(200));
    assert_eq!(*served.borrow(), [came.2]);
}

#[test]
fn what_a_daemon_refuses_is_named_and_what_was_before_it_is_served() {
    let served = Rc::new(RefCell::default());
    let mut together = shell_over(Box::new(Daemon { served: Rc::clone(&served) }), WIDTH);
    let mut lines = script(200);
    lines.insert(333, "/backstores/null create refused 1M".into());
    let came = taken_together(&mut together, &lines);
    assert_eq!(came.1, Err((333, "it cannot be had".into())));
    let expected = taken_together(&mut shell(WIDTH), &lines[..333]);
    assert_eq!((came.0, &came.2), (expected.0, &expected.2));
    let served = served.borrow();
    assert_eq!(served.last(), Some(&came.2), "what is served is what the shell has");
    assert!(served.len() <= 10, "{} changes", served.len());
}

fn line() -> impl Strategy<Value = String> {
    const LINES: [&str; 24] = [
        "/backstores/null create dN 1M",
        "/backstores/ramdisk create dN 2M",
        "/backstores/fileio create dN /srv/disk.img",
        "/backstores/null create dN 1000",
        "/backstores/null delete dN",
        "/iscsi create iqn.2026-01.org.example:t",
        "/iscsi create IQN.2026-01.org.example:tN",
        "/iscsi/iqn.2026-01.org.example:t create",
        "/iscsi/iqn.2026-01.org.example:t/tpg1/luns create dN",
        "/iscsi/iqn.2026-01.org.example:t/tpg1/luns create dN lun=N",
        "/iscsi/iqn.2026-01.org.example:t/tpg1/luns create dN add_mapped_luns=false",
        "/iscsi/iqn.2026-01.org.example:t/tpg2/luns create null/dN",
        "/iscsi/iqn.2026-01.org.example:t/tpg1/acls create iqn.2026-01.org.example:N",
        "/iscsi/iqn.2026-01.org.example:t/tpg1/acls create iqn.2026-01.org.example:N add_mapped_luns=false",
        "/iscsi/iqn.2026-01.org.example:t/tpg1/acls/iqn.2026-01.org.example:N create 7 lunN",
        "/iscsi/iqn.2026-01.org.example:t/tpg1/acls/iqn.2026-01.org.example:N create N dN write_protect=true",
        "/iscsi/iqn.2026-01.org.example:t/tpg1/acls/iqn.2026-01.org.example:N set auth userid=me password=short",
        "/iscsi/iqn.2026-01.org.example:t/tpg2/portals create 192.0.2.N",
        "/iscsi/iqn.2026-01.org.example:t/tpg1/luns delete lunN",
        "cd /iscsi/iqn.2026-01.org.example:t/tpg1/luns",
        "create dN",
        "set global auto_add_mapped_luns=false",
        "set global auto_cd_after_create=true",
        "# nothing",
    ];
    (prop::sample::select(&LINES[..]), 0..4_u8).prop_map(|(line, n)| line.replace('N', &n.to_string()))
}

proptest! {
    #[test]
    fn what_lines_come_to_together_is_what_they_come_to_one_by_one(lines in prop::collection::vec(line(), 1..40)) {
        // Those that are wrong where they stand are left out, but for the first behind twenty that are right.
        let (mut right, mut judge) = (Vec::new(), shell(WIDTH));
        for line in lines {
            let done = judge.line(&line).is_ok();
            judge.said.clear();
            if done || right.len() > 20 {
                right.push(line);
            }
        }
        prop_assert_eq!(taken_together(&mut shell(WIDTH), &right), one_by_one(&mut shell(WIDTH), &right));
    }
}
