//! Keeps the rule of layers on the crate page: who may `use crate::…` whom.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules that each top-level module may name besides itself.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("sys", &["ids"]),
    ("wire", &["ids"]),
    ("scsi", &["ids"]),
    ("target", &["ids", "wire", "scsi", "sys"]),
    ("mem", &["ids", "sys"]),
    ("ring", &["ids", "sys", "mem"]),
    ("session", &["ids", "wire", "scsi", "target"]),
    ("initiator", &["ids", "wire", "scsi", "sys", "target", "session"]),
    ("store", &["ids", "sys", "scsi", "mem", "ring"]),
    ("reactor", &["ids", "sys", "wire", "scsi", "target", "mem", "ring", "session", "store"]),
    ("loopback", &["ids", "sys", "wire", "scsi", "target", "mem", "ring", "session", "initiator"]),
    (
        "admin",
        &["ids", "sys", "wire", "scsi", "target", "mem", "ring", "session", "store", "reactor", "loopback"],
    ),
    (
        "cli",
        &[
            "ids",
            "sys",
            "wire",
            "scsi",
            "target",
            "mem",
            "ring",
            "session",
            "store",
            "reactor",
            "initiator",
            "loopback",
            "admin",
        ],
    ),
];

/// Files that may say `unsafe`.
const MAY_BE_UNSAFE: &[&str] = &["src/mem/region.rs", "src/ring/ring.rs", "src/sys.rs"];

/// Parts of the paths of files that only tests see: they may know whom they need.
const TESTS: &[&str] = &["test", "rehearsal", "simulation"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(Path::new("src"), &mut found);
    assert!(found.len() > 50, "the sources are somewhere else: {found:?}");
    found
}

/// The part of a file that ships: not the module of tests that ends it, which may look around. Modules of tests in
/// files of their own end nothing.
fn shipped(text: &str) -> &str {
    let mark = "#[cfg(test)]\nmod ";
    let ends = |(at, _): &(usize, &str)| {
        text[at + mark.len()..]
            .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            .starts_with(" {")
    };
    text.match_indices(mark).find(ends).map_or(text, |(at, _)| &text[..at])
}

#[test]
fn only_a_module_of_tests_with_a_body_ends_what_ships() {
    assert_eq!(shipped("a\n#[cfg(test)]\nmod tests;\nb"), "a\n#[cfg(test)]\nmod tests;\nb");
    assert_eq!(
        shipped("a\n#[cfg(test)]\nmod x;\nb\n#[cfg(test)]\nmod tests {\nc"),
        "a\n#[cfg(test)]\nmod x;\nb\n"
    );
}

/// The modules named behind `crate::`, also in a group: `use crate::{a::B, c}`.
fn named(text: &str) -> Vec<String> {
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
        for (at, found) in line.match_indices("crate::") {
            let rest = &line[at + found.len()..];
            match rest.strip_prefix('{') {
                Some(group) => names.extend(group.split(',').map(|part| word(part.trim()))),
                None => names.push(word(rest)),
            }
        }
    }
    names.retain(|n| !n.is_empty());
    names
}

#[test]
fn nobody_knows_more_than_allowed() {
    let mut wrong = Vec::new();
    for path in all_sources() {
        let module = path.strip_prefix("src").unwrap().iter().next().unwrap().to_str().unwrap();
        let module = module.trim_end_matches(".rs");
        let is_test = path.to_str().is_some_and(|p| TESTS.iter().any(|t| p.contains(t)));
        if is_test || ["lib", "main"].contains(&module) {
            continue;
        }
        let (_, allowed) =
            MAY_KNOW.iter().find(|(m, _)| *m == module).unwrap_or_else(|| panic!("{module} has no row here"));
        for name in named(shipped(&fs::read_to_string(&path).unwrap())) {
            let known = MAY_KNOW.iter().any(|(m, _)| *m == name);
            if known && name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} names {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_three_files_are_unsafe() {
    let says_unsafe = |text: &str| {
        text.lines().any(|l| {
            let code = l.split("//").next().unwrap_or("");
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        })
    };
    let wrong: Vec<_> = all_sources()
        .into_iter()
        .filter(|p| says_unsafe(&fs::read_to_string(p).unwrap()))
        .filter(|p| !MAY_BE_UNSAFE.contains(&p.to_str().unwrap()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn io_uring_is_named_in_one_module() {
    let wrong: Vec<_> = all_sources()
        .into_iter()
        .filter(|p| !p.starts_with("src/ring") && fs::read_to_string(p).unwrap().contains("io_uring::"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
