//! From `saveconfig.json` to the text of a configuration.

use std::ops::Range;

use super::json::{Findings, Node};
use super::stores::Stores;
use super::text::Text;
use super::{Moved, auth, stores, targets};
use crate::admin::config::{Problem, Report, Source};

/// Reads LIO's configuration.
///
/// # Errors
/// Everything that makes it something else than such a configuration, with the places.
pub fn import(mut source: Source) -> Result<Moved, Report> {
    let file = zeroize::Zeroizing::new(source.text().to_owned());
    let root = match Node::root(&file) {
        Ok(root) => root,
        Err(error) => {
            source.distrust();
            return Err(Report::new(source, vec![not_json(&file, &error)]));
        }
    };
    source.trust(secrets(&file));
    let mut found = Findings::new(&file);
    let mut out = Text::default();
    out.comment(&format!("Made by `ringtgt import lio` from {}.", source.name()));
    configuration(&root, &mut out, &mut found);
    if found.problems.is_empty() {
        return Ok(Moved { text: out.finish(), listed: found.finish() });
    }
    Err(Report::new(source, found.problems))
}

fn configuration<'t>(root: &Node<'t>, out: &mut Text, found: &mut Findings<'t>) {
    let Some(mut top) = root.object(found) else { return };
    for module in top.list("fabric_modules", found) {
        auth::discovery(&module, out, found);
    }
    let mut all = Stores::default();
    for object in top.list("storage_objects", found) {
        stores::import(&object, &mut all, out, found);
    }
    for target in top.list("targets", found) {
        targets::import(&target, &all, out, found);
    }
    top.finish(found);
}

fn not_json(file: &str, error: &serde_json::Error) -> Problem {
    let before: usize = file.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let at = (before + error.column().saturating_sub(1)).min(file.len());
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
    let remedy = "name what `targetcli saveconfig` has written";
    Problem::error(at..at, what, "so this is not JSON", remedy)
}

/// The places of all values that are passwords.
fn secrets(file: &str) -> Vec<Range<usize>> {
    const KEY: &str = "password\"";
    let after_key = file.match_indices(KEY).map(|(at, _)| at + KEY.len());
    after_key.filter_map(|at| value(file, at)).collect()
}

/// The value behind a key that ends at `at`. One that is no text was meant as one.
fn value(file: &str, at: usize) -> Option<Range<usize>> {
    let whole = file[at..].trim_start().strip_prefix(':')?.trim_start();
    let Some(text) = whole.strip_prefix('"') else {
        let start = file.len() - whole.len();
        let end = whole.find([',', '}', ']', '\n']).unwrap_or(whole.len());
        return (end > 0).then(|| start..start + whole[..end].trim_end().len());
    };
    let start = file.len() - text.len();
    let mut escaped = false;
    let end = text.bytes().position(|b| {
        let ends = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        ends
    });
    Some(start..end.map_or(file.len(), |end| start + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_wherever_they_stand() {
        let file =
            r#"{"a": {"chap_password" : "hun\"ter2", "chap_userid": "u"}, "password":"x" "password": "#;
        let found: Vec<&str> = secrets(file).into_iter().map(|range| &file[range]).collect();
        assert_eq!(found, [r#"hun\"ter2"#, "x"]);
    }
}
