//! Keeps true what `tests/README.md` says of itself: each script, scenario, test and line of a test that it names is there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

/// What is between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The text of all that is below a directory and is text.
fn all_text(dir: &Path) -> String {
    let entries = fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.path());
    entries
        .map(
            |path| if path.is_dir() { all_text(&path) } else { fs::read_to_string(path).unwrap_or_default() },
        )
        .collect()
}

#[test]
fn files_that_are_named_are_there() {
    let text = read("tests/README.md");
    let words = quoted(&text).flat_map(|span| span.split(' '));
    let named: Vec<&str> = words
        .filter(|word| ["tests/", "benches/", "tuning/"].iter().any(|dir| word.starts_with(dir)))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    named.into_iter().for_each(|path| assert!(root().join(path).exists(), "{path}"));
}

#[test]
fn scenarios_that_are_named_are_there() {
    let text = read("tests/README.md");
    for (script, dir) in
        [("tests/vm/run ", "tests/vm/scenarios"), ("tests/vm/inside/run ", "tests/vm/inside")]
    {
        let named: Vec<&str> = quoted(&text).filter_map(|span| span.strip_prefix(script)).collect();
        assert!(!named.is_empty(), "{script}");
        named
            .iter()
            .flat_map(|names| names.split(' '))
            .for_each(|name| drop(read(format!("{dir}/{name}.sh"))));
    }
}

#[test]
fn tests_that_are_named_are_there() {
    let text = read("tests/README.md");
    let commands: Vec<&str> = quoted(&text).filter_map(|span| span.strip_prefix("cargo test ")).collect();
    assert!(!commands.is_empty());
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            ["--lib", module] => {
                assert!(root().join("src").join(module.replace("::", "/")).is_dir(), "{module}");
            }
            ["--test", file, name] => {
                assert!(read(format!("tests/{file}.rs")).contains(&format!("fn {name}()")), "{command}");
            }
            _ => words.chunks(2).for_each(|option| drop(read(format!("tests/{}.rs", option[1])))),
        }
    }
}

#[test]
fn lines_that_are_quoted_are_said() {
    let (text, tests) = (read("tests/README.md"), all_text(&root().join("tests")));
    // It is among them itself, as are lines that name who says them.
    let tests = tests.replace(&text, "");
    let lines: Vec<&str> = quoted(&text).filter_map(|span| span.strip_prefix("PASS ")).collect();
    assert!(lines.len() > 20, "{lines:?}");
    for line in lines {
        let said = line.split_once(": ").map_or(line, |(_, said)| said);
        assert!(tests.contains(line) || tests.contains(said), "{line}");
    }
}
