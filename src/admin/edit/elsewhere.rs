//! A configuration that comes from another file, or goes to one: put in the place of another, and meant the same there.

use std::path::Path;

use toml_edit::{Item, RawString, TableLike, Value};

use super::objects::{Edited, NOTHING, refuse, unplace};
use super::{Document, OBJECTS, SERVER};

/// The keys whose values are paths.
const PATHS: [&str; 4] = ["path", "secret_file", "state_dir", "control_socket"];

/// Before the first table that was read.
const FIRST: isize = 0;

impl Document {
    /// Takes everything out of `other`, as it is written there, in the place of everything that is here, but for `[server]`:
    /// that stays, and so does what is said at the top of all.
    ///
    /// # Errors
    /// There is nothing in `other`.
    pub fn replace_all(&mut self, other: &Self) -> Edited {
        if OBJECTS.iter().all(|key| !other.doc.contains_key(key)) {
            return refuse(NOTHING);
        }
        let (own, heading) = (self.doc.remove_entry(SERVER), std::mem::take(&mut self.heading));
        *self = other.clone();
        let theirs = self.doc.remove(SERVER);
        let place = theirs.and_then(|item| item.as_table()?.position()).unwrap_or(FIRST);
        self.stand_back(place, &heading);
        if let Some((key, mut item)) = own {
            unplace(&mut item);
            if let Item::Table(table) = &mut item {
                table.set_position(Some(place));
            }
            self.doc.insert_formatted(&key, item);
        }
        if !heading.is_empty() {
            self.heading = heading;
        }
        Ok(())
    }

    /// Has the table that stands first stand apart from what comes before it, which may begin with the same heading.
    fn stand_back(&mut self, place: isize, heading: &str) {
        let tables = self.doc.iter_mut().filter_map(|(_, item)| match item {
            Item::Table(table) => Some(table),
            Item::ArrayOfTables(tables) => tables.get_mut(0),
            _ => None,
        });
        let Some(first) = tables.min_by_key(|table| table.position()) else { return };
        if first.position() > Some(place) {
            let above = first.decor().prefix().and_then(RawString::as_str).unwrap_or_default();
            let above = above.strip_prefix(heading).unwrap_or(above).trim_start_matches('\n');
            let above = format!("\n{above}");
            first.decor_mut().set_prefix(above);
        }
    }

    /// Whether `other` says something else of the daemon itself.
    pub fn has_other_server(&self, other: &Self) -> bool {
        let said = |doc: &Self| doc.doc.get(SERVER).map(|item| item.to_string().trim().to_owned());
        said(other).is_some_and(|theirs| said(self) != Some(theirs))
    }

    /// Whether there is nothing in it that is in no configuration.
    pub fn is_configuration(&self) -> bool {
        self.doc.iter().all(|(key, _)| key == SERVER || OBJECTS.contains(&key))
    }

    /// Makes the relative paths in it absolute, which start at `dir`; returns them as they were.
    ///
    /// # Errors
    /// That directory cannot be written in a configuration.
    pub fn anchor(&mut self, dir: &Path) -> Edited<Vec<String>> {
        let Some(text) = dir.to_str() else {
            return refuse(format!("{}: this is no UTF-8, and cannot be written in it", dir.display()));
        };
        let mut found = Vec::new();
        anchor(self.doc.as_table_mut(), Path::new(text), &mut found);
        Ok(found)
    }
}

/// The same for a table and those below it.
fn anchor(table: &mut dyn TableLike, dir: &Path, found: &mut Vec<String>) {
    for (key, item) in table.iter_mut() {
        match item.as_value_mut().filter(|value| value.is_str()) {
            Some(value) if PATHS.contains(&key.get()) => anchor_path(value, dir, found),
            _ => anchor_below(item, dir, found),
        }
    }
}

fn anchor_below(item: &mut Item, dir: &Path, found: &mut Vec<String>) {
    match item {
        Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|table| anchor(table, dir, found)),
        Item::Value(Value::Array(array)) => {
            let tables = array.iter_mut().filter_map(Value::as_inline_table_mut);
            tables.for_each(|table| anchor(table, dir, found));
        }
        item => item.as_table_like_mut().into_iter().for_each(|table| anchor(table, dir, found)),
    }
}

fn anchor_path(value: &mut Value, dir: &Path, found: &mut Vec<String>) {
    let Some(path) = value.as_str().filter(|path| Path::new(path).is_relative()).map(str::to_owned) else {
        return;
    };
    let mut absolute = Value::from(dir.join(&path).display().to_string());
    *absolute.decor_mut() = value.decor().clone();
    *value = absolute;
    found.push(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "# This host's.\n\n# All that it has.\n[server]\nreactors = 2 # of four\n\n[server.limits]\ntasks = 9\n\n\
                       [[backstore]]\nname = \"old\"\n";

    fn replaced(own: &str, other: &str) -> String {
        let mut doc = Document::parse(own).unwrap();
        doc.replace_all(&Document::parse(other).unwrap()).unwrap();
        doc.text()
    }

    #[test]
    fn what_is_said_of_the_daemon_stays_where_all_else_is_replaced() {
        let server = OWN.split_once("\n[[").unwrap().0;
        let other = "# From there.\n\n# Mine.\n[[backstore]]\nname = \"a\" # new\n";
        assert_eq!(replaced(OWN, other), format!("{server}\n{other}"));
        // What stands at the top of both is said once.
        let alike = "# This host's.\n\n[[backstore]]\nname = \"a\"\n";
        assert_eq!(replaced(OWN, alike), format!("{server}\n[[backstore]]\nname = \"a\"\n"));
        // Theirs goes, and what is here has its place.
        let theirs =
            "[[backstore]]\nname = \"a\"\n\n[server]\nreactors = 7\n\n[[target]]\niqn = \"iqn.a:b\"\n";
        let text = replaced("[server]\nreactors = 2\n", theirs);
        assert_eq!(text, theirs.replace("7", "2").replace("\n\n[server]", "\n[server]"));
        let text = replaced("[[backstore]]\nname = \"old\"\n", theirs);
        assert!(!text.contains("server") && !text.contains("old") && text.contains("[[target]]"), "{text}");
    }

    #[test]
    fn it_stays_in_whatever_form_it_is_written() {
        for own in ["# Why.\nserver = { reactors = 2 }\n", "# Why.\nserver.reactors = 2\n"] {
            for other in ["[[backstore]]\nname = \"a\"\n", "backstore = [{ name = \"a\" }]\n"] {
                let text = replaced(own, other);
                assert!(text.contains(own) && text.contains("name = \"a\""), "{text}");
                let table: toml::Table = toml::from_str(&text).unwrap();
                assert_eq!(table["server"]["reactors"].as_integer(), Some(2), "{text}");
            }
        }
        let text = replaced("[server]\nreactors = 2\n", "backstore = [{ name = \"a\" }]\n");
        assert_eq!(toml::from_str::<toml::Table>(&text).unwrap().len(), 2, "{text}");
    }

    #[test]
    fn nothing_replaces_nothing() {
        let mut doc = Document::parse(OWN).unwrap();
        for empty in ["", "# nothing\n", "[server]\nreactors = 7\n"] {
            let told = doc.replace_all(&Document::parse(empty).unwrap()).unwrap_err().to_string();
            assert_eq!((told.as_str(), doc.text().as_str()), ("there is nothing in it", OWN));
        }
    }

    #[test]
    fn paths_are_made_absolute_wherever_they_stand() {
        let text = "[server]\nstate_dir = \"s\"\n\n[discovery]\nchap = [{ user = \"u\", secret_file = \"d\" }]\n\n\
                    [[backstore]]\npath = \"a/b.img\" # one\nname = \"path\"\n\n[[backstore]]\npath = \"/c.img\"\n\n\
                    [[target]]\n\n[[target.tpg]]\nacl = [{ chap = { secret_file = \"e\" } }]\n";
        let mut doc = Document::parse(text).unwrap();
        assert_eq!(doc.anchor(Path::new("/x")).unwrap(), ["s", "d", "a/b.img", "e"]);
        let mut expected = text.to_owned();
        for path in ["s", "d", "a/b.img", "e"] {
            expected = expected.replace(&format!(" \"{path}\""), &format!(" \"/x/{path}\""));
        }
        assert_eq!(doc.text(), expected);
        assert!(doc.anchor(Path::new("/y")).unwrap().is_empty());
    }
}
