//! What stays of a text that is edited, and what is saved of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::admin::config::{At, Severity, parse_portal};

const IQN: &str = "iqn.2026-11.org.example:t";
const HOST: &str = "iqn.2026-11.org.example:i";

fn text(text: &str) -> Scalar {
    Scalar::Text(text.into())
}

/// A disk of nothing.
fn void(doc: &mut Document, name: &str) {
    doc.add_store(&[("kind", text("null")), ("name", text(name)), ("size", text("1G"))]);
}

fn whole() -> Document {
    let mut doc = Document::default();
    void(&mut doc, "a");
    doc.add_target(IQN);
    doc.add_tpg(IQN, 1).unwrap();
    doc.add_portal(IQN, 1, "127.0.0.1:3260").unwrap();
    doc.add_lun(IQN, 1, 0, "a").unwrap();
    doc.add_acl(IQN, 1, HOST).unwrap();
    doc
}

fn checked(doc: &Document) -> Result<(Config, Report), EditError> {
    check(&doc.text(), &mut Kept::default(), "t.toml", Path::new("/"))
}

fn accepted(doc: &Document) -> Config {
    checked(doc).unwrap_or_else(|e| panic!("{e}\n{}", doc.text())).0
}

#[test]
fn objects_are_written_as_one_would() {
    let doc = whole();
    assert_eq!(
        doc.text(),
        "[[backstore]]\nkind = \"null\"\nname = \"a\"\nsize = \"1G\"\n\n[[target]]\niqn = \"iqn.2026-11.org.example:t\"\n\
         \n[[target.tpg]]\ntag = 1\nportals = [\"127.0.0.1:3260\"]\n\n[[target.tpg.lun]]\nlun = 0\nbackstore = \"a\"\n\
         \n[[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:i\"\n"
    );
    let config = accepted(&doc);
    assert_eq!(config.targets[0].tpgs[0].acls[0].luns.len(), 1, "without a map it sees all");
}

#[test]
fn comments_and_order_stay() {
    let by_hand = "# Our disks.\n# Ask Joe.\n\n# The fast one.\n[[backstore]]\nname = \"a\" # first\nkind = \"null\"\n\
                   size = \"1G\"\n\n# For the web.\n[[target]]\niqn = \"iqn.2026-11.org.example:t\"\n# by two\ntpg = [ { \
                   portals = [\"127.0.0.1:3260\"], any_initiator = true } ]\n";
    let mut doc = Document::parse(by_hand).unwrap();
    assert_eq!(doc.text(), by_hand);
    void(&mut doc, "b");
    doc.add_lun(IQN, 1, 0, "b").unwrap();
    doc.set(&Owner::Store("a".into()), "size", Some(&text("2G"))).unwrap();
    let edited = doc.text();
    for kept in [
        "# Our disks.\n# Ask Joe.\n\n# The fast one.\n",
        "name = \"a\" # first\n",
        "# by two\n",
        "# For the web.\n",
    ] {
        assert!(edited.contains(kept), "{kept}: {edited}");
    }
    assert_eq!(accepted(&doc).targets[0].tpgs[0].luns.len(), 1, "{edited}");
    // What is said of the whole file outlives its first section.
    doc.remove_store("a").unwrap();
    assert!(doc.text().starts_with("# Our disks.\n# Ask Joe.\n\n"), "{}", doc.text());
}

#[test]
fn a_file_of_comments_stays_at_the_top() {
    let sample = include_str!("../../../tuning/ringtgt.toml");
    let mut doc = Document::parse(sample).unwrap();
    assert_eq!(doc.text(), sample);
    void(&mut doc, "a");
    let edited = doc.text();
    assert!(edited.starts_with(sample) && edited.ends_with("size = \"1G\"\n"), "{edited}");
    assert_eq!(edited.matches("# ringtgt.toml:").count(), 1);
}

#[test]
fn what_depends_on_it_goes_too() {
    let mut doc = whole();
    doc.spell_out_map(IQN, 1, HOST, &[0]).unwrap();
    assert_eq!(doc.remove_store("a").unwrap(), [(IQN.to_owned(), 1, 0)]);
    let config = accepted(&doc);
    assert!(config.stores.is_empty() && config.targets[0].tpgs[0].luns.is_empty());
    assert!(doc.has_map(IQN, 1, HOST).unwrap(), "it showed one LUN and now shows none, not all to come");
    doc.remove_acl(IQN, 1, &HOST.to_uppercase()).unwrap();
    doc.remove_portal(IQN, 1, parse_portal("127.0.0.1", At::Whole).unwrap()).unwrap();
    doc.remove_tpg(IQN, 1).unwrap();
    doc.remove_target(IQN).unwrap();
    assert_eq!(doc.text().trim(), "");
}

#[test]
fn what_is_not_there_is_told() {
    let mut doc = whole();
    let before = doc.text();
    for (error, word) in [
        (doc.remove_store("b").map(|_| ()), "backstore b"),
        (doc.remove_target("iqn.2026-11.org.example:x"), "target iqn"),
        (doc.remove_tpg(IQN, 2), "TPG 2"),
        (doc.remove_lun(IQN, 1, 5), "LUN 5"),
        (doc.remove_acl(IQN, 1, "iqn.2026-11.org.example:x"), "ACL for"),
        (doc.remove_portal(IQN, 1, parse_portal("[::1]", At::Whole).unwrap()), "portal [::1]:3260"),
        (doc.unmap_lun(IQN, 1, HOST, 0), "mapped LUN 0"),
    ] {
        let told = error.unwrap_err().to_string();
        assert!(told.contains("there is no ") && told.contains(word), "{told}");
    }
    assert_eq!(doc.text(), before);
}

#[test]
fn half_a_credential_lets_nobody_in() {
    let mut doc = whole();
    let owner = Owner::Acl(IQN.into(), 1, HOST.into());
    for (key, value) in [("user", "u"), ("secret", "correct horse")] {
        let mut half = doc.clone();
        half.set_credential(&owner, Door::In, key, value).unwrap();
        assert!(half.text().contains("unfinished = true"), "{}", half.text());
        let (config, report) = checked(&half).unwrap();
        assert_eq!(report.warnings(), 1, "{report}");
        assert!(report.problems()[0].what == config::UNFINISHED && !report.to_string().contains("horse"));
        let auth = &config.targets[0].tpgs[0].acls[0].auth;
        use secrecy::ExposeSecret;
        assert!(auth.required() && auth.chap[0].secret.expose_secret().is_empty());
    }
    doc.set_credential(&owner, Door::In, "secret", "correct horse").unwrap();
    doc.set_credential(&owner, Door::In, "user", "u").unwrap();
    doc.set_credential(&owner, Door::Out, "user", "t").unwrap();
    assert!(accepted(&doc).targets[0].tpgs[0].acls[0].auth.mutual.is_none(), "half a proof is none");
    doc.set_credential(&owner, Door::Out, "secret", "battery staple").unwrap();
    assert!(!doc.text().contains("unfinished"), "{}", doc.text());
    assert!(accepted(&doc).targets[0].tpgs[0].acls[0].auth.mutual.is_some());
    assert_eq!(doc.credential(&owner, Door::In).unwrap(), (Some("u".into()), true));
    for (door, key) in [(Door::Out, "user"), (Door::Out, "secret"), (Door::In, "user"), (Door::In, "secret")]
    {
        doc.set_credential(&owner, door, key, "").unwrap();
    }
    assert!(!doc.text().contains("chap"), "{}", doc.text());
}

#[test]
fn several_users_are_left_to_the_file() {
    let mut doc = whole();
    let two = "chap = [{ user = \"a\", secret = \"correct horse\" }, { user = \"b\", secret = \"battery staple\" }]\n";
    doc = Document::parse(&(doc.text() + two)).unwrap();
    let owner = Owner::Acl(IQN.into(), 1, HOST.into());
    let told = doc.set_credential(&owner, Door::In, "user", "c").unwrap_err().to_string();
    assert!(told.contains("several users"), "{told}");
}

#[test]
fn an_unfinished_credential_must_be_one() {
    for (chap, what) in [("user = \"u\", secret = \"correct horse\", ", "not unfinished"), ("", "empty")] {
        let text = format!("[discovery]\nchap = {{ {chap}unfinished = true }}\n");
        let told = checked(&Document::parse(&text).unwrap()).unwrap_err().to_string();
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn objects_come_from_another_document() {
    let (mut doc, other) = (Document::default(), whole());
    void(&mut doc, "a");
    let left = doc.take_from(&other, Some("a"), Some(IQN), false).unwrap();
    assert_eq!(left, ["a"]);
    assert_eq!(accepted(&doc).targets[0].tpgs[0].acls.len(), 1);
    assert_eq!(doc.take_from(&other, Some("a"), Some(IQN), false).unwrap(), ["a", IQN]);
    assert!(doc.take_from(&other, Some("x"), None, false).is_err());
    assert!(doc.take_from(&other, Some("a"), Some("iqn.x"), false).is_err(), "both, or nothing");
}

#[test]
fn comments_come_with_what_comes_from_another_document() {
    let by_hand =
        "[[backstore]]\n# whose\nkind = \"null\"\nname = \"a\" # first\n\n# as large as his\nsize = \"1G\"\n";
    let braced = "backstore = [{ kind = \"null\", name = \"a\", size = \"2G\" }]\n";
    let [by_hand_doc, braced_doc] = [by_hand, braced].map(|text| Document::parse(text).unwrap());
    let mut doc = Document::default();
    doc.take_from(&by_hand_doc, Some("a"), None, false).unwrap();
    assert_eq!(doc.text().trim_start(), by_hand);
    doc.take_from(&braced_doc, Some("a"), None, true).unwrap();
    let text = doc.text();
    assert!(text.contains("\nsize = \"2G\"") && !text.contains("his"), "no space of the braces: {text}");
    let mut doc = Document::parse(braced).unwrap();
    doc.take_from(&by_hand_doc, Some("a"), None, true).unwrap();
    assert!(doc.text().starts_with("backstore = [{") && accepted(&doc).stores.len() == 1, "{}", doc.text());
}

#[test]
fn what_comes_in_the_place_of_another_stands_there() {
    let (mut doc, mut other) = (whole(), whole());
    void(&mut doc, "b");
    other.remove_acl(IQN, 1, HOST).unwrap();
    assert!(doc.take_from(&other, Some("a"), Some(IQN), true).unwrap().is_empty());
    let config = accepted(&doc);
    assert!(config.targets[0].tpgs[0].acls.is_empty());
    assert_eq!(config.stores.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let listed = "backstore = [{ kind = \"null\", name = \"a\", size = \"9M\" }]\n";
    let mut doc = Document::parse(listed).unwrap();
    doc.take_from(&other, Some("a"), None, true).unwrap();
    assert!(!doc.text().contains("9M") && accepted(&doc).stores.len() == 1, "{}", doc.text());
}

#[test]
fn comments_in_a_credential_stay() {
    let owner = Owner::Acl(IQN.into(), 1, HOST.into());
    for chap in [
        "[target.tpg.acl.chap] # whose\nuser = \"u\" # he\n# since May\nsecret = \"correct horse\" # long\n",
        "chap = { # whose\n user = \"u\", # he\n # since May\n secret = \"correct horse\", # long\n}\n",
        "chap = { user = \"u\", secret = \"correct horse\" } # whose he since May long\n",
    ] {
        let mut doc = Document::parse(&(whole().text() + chap)).unwrap();
        doc.set_credential(&owner, Door::In, "secret", "battery staple").unwrap();
        doc.set_credential(&owner, Door::In, "user", "v").unwrap();
        let text = doc.text();
        for word in ["whose", "since May", "long", "battery staple"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        accepted(&doc);
    }
}

#[test]
fn a_save_is_private_and_keeps_the_last_ones() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("new/ringtgt.toml");
    for n in 0..14 {
        save(&file, &format!("# {n}\n")).unwrap();
        save(&file, &format!("# {n}\n")).unwrap();
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("# 13\n", 0o600));
    let backups = backup_dir(&file);
    assert_eq!(mode(&backups), 0o700);
    let mut kept: Vec<_> = fs::read_dir(&backups).unwrap().map(|e| e.unwrap().path()).collect();
    kept.sort();
    let texts: Vec<String> = kept.iter().map(|p| fs::read_to_string(p).unwrap()).collect();
    assert_eq!(texts, (3..13).map(|n| format!("# {n}\n")).collect::<Vec<_>>(), "the same twice is one");
    assert!(kept.iter().all(|p| mode(p) == 0o600));
    let beside = fs::read_dir(file.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 2, "nothing temporary is left");
}

#[test]
fn a_save_goes_through_links_and_makes_private() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real.toml"), dir.path().join("link.toml"));
    fs::write(&real, "a").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink("real.toml", &link).unwrap();
    save(&link, "a").unwrap();
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    save(&link, "b").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), "b");
}

#[test]
fn a_save_that_fails_leaves_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    fs::write(&file, "before").unwrap();
    fs::write(dir.path().join("backup"), "no directory").unwrap();
    assert!(save(&file, "after").is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "before");
}

#[test]
fn a_save_leaves_a_file_to_its_owner() {
    use std::os::unix::fs::{MetadataExt, chown};
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ringtgt.toml");
    fs::write(&file, "before").unwrap();
    // Only some may give files away; to all others it stays theirs.
    let _ = chown(&file, Some(1234), Some(4321));
    let owner = |path: &Path| fs::metadata(path).map(|meta| (meta.uid(), meta.gid())).unwrap();
    let before = owner(&file);
    save(&file, "after").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "after");
    let backups = backup_dir(&file);
    for path in [&file, &backups, &backups.join("ringtgt-000001.toml")] {
        assert_eq!(owner(path), before, "{}", path.display());
    }
}

#[test]
fn a_save_removes_what_a_killed_one_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ringtgt.toml");
    save(&file, "a").unwrap();
    save(&file, "b").unwrap();
    let day = std::time::Duration::from_secs(86_400);
    let forgotten = |path: PathBuf| {
        let made = fs::File::create(&path).unwrap();
        made.set_modified(std::time::SystemTime::now() - day).unwrap();
        path
    };
    let left =
        [".ringtgt.toml.7.1", "backup/.ringtgt-000001.toml.7.0"].map(|n| forgotten(dir.path().join(n)));
    let others = [".other.toml.7.1", "backup/.other-000001.toml.7.0"].map(|n| forgotten(dir.path().join(n)));
    save(&file, "c").unwrap();
    assert!(left.iter().all(|path| !path.exists()));
    assert!(others.iter().all(|path| path.exists()));
}

#[test]
fn a_save_replaces_nothing_but_files() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, link) = (dir.path().join("a.toml"), dir.path().join("b.toml"));
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let told = save(&socket, "text").unwrap_err().to_string();
    assert!(told.contains("no regular file"), "{told}");
    std::os::unix::fs::symlink("nowhere.toml", &link).unwrap();
    let told = save(&link, "text").unwrap_err().to_string();
    assert!(told.contains("a link to what is not there"), "{told}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing was made");
}

#[test]
fn only_what_was_made_here_is_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ringtgt.toml");
    let backups = backup_dir(&file);
    fs::create_dir(&backups).unwrap();
    let others = ["ringtgt-7.toml", "ringtgt-+00007.toml", "ringtgt-0000008.toml", "ringtgt-old.toml"];
    others.iter().for_each(|name| fs::write(backups.join(name), "").unwrap());
    (0..14).for_each(|n| save(&file, &n.to_string()).unwrap());
    assert!(others.iter().all(|name| backups.join(name).exists()));
    assert!(backups.join("ringtgt-000013.toml").exists() && !backups.join("ringtgt-000003.toml").exists());
    assert_eq!(fs::read_dir(&backups).unwrap().count(), BACKUPS + others.len());
    fs::write(backups.join(format!("ringtgt-{}.toml", u64::MAX)), "").unwrap();
    let told = save(&file, "more").unwrap_err().to_string();
    assert!(told.contains("last number"), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "13");
}

#[test]
fn a_heading_is_not_doubled_by_the_line_ends_of_others() {
    let mut text = "# Our disks.\r\n# Ask Joe.\r\n\r\n[server]\r\nreactors = 1\r\n".to_owned();
    for name in ["a", "b"] {
        let mut doc = Document::parse(&text).unwrap();
        void(&mut doc, name);
        text = doc.text();
    }
    assert_eq!(text.matches("Our disks").count(), 1, "{text}");
    assert!(text.starts_with("# Our disks.\n# Ask Joe.\n\n[server]\nreactors = 1\n"), "{text}");
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let told = Document::read("t.toml", "# x\nchap = \"hunter2\nname = \n").unwrap_err();
    assert!(told.contains("t.toml:2:") && !told.contains("hunter2"), "{told}");
}

#[test]
fn what_is_beside_comes_from_another_document_too() {
    let beside = "[discovery]\nchap = { user = \"d\", secret = \"0123456789ab\" }\n\n\
                  [[portal]]\naddress = \"127.0.0.1\"\ndscp = 46\n";
    let other = Document::parse(&format!("{}\n{beside}", whole().text())).unwrap();
    assert_eq!(other.beside(), ["portal 127.0.0.1", "[discovery]"]);
    let mut doc = Document::default();
    assert_eq!(doc.take_all(&other).unwrap(), [""; 0]);
    let config = accepted(&doc);
    assert!(config.discovery.auth.required() && config.portals.len() == 1, "{}", doc.text());
    let again = doc.take_all(&other).unwrap();
    assert_eq!(again, ["a", IQN, "127.0.0.1", "[discovery]"]);
    doc.clear_objects();
    assert_eq!(doc.drop_idle_portals(), ["portal 127.0.0.1"]);
    assert!(accepted(&doc).discovery.auth.required());
    assert!(doc.take_all(&Document::default()).is_err());
    // A target of the same name that listens elsewhere stays, and so what is said of its portal does not come.
    let mut doc = Document::default();
    doc.add_target(IQN);
    assert_eq!(doc.take_all(&other).unwrap(), [IQN, "portal 127.0.0.1"]);
    accepted(&doc);
}

/// One edit, by numbers that say what it is about.
fn edit(doc: &mut Document, (kind, one, two): (u8, u8, u8)) -> Result<(), EditError> {
    let (store, lun, tag) = (format!("s{one}"), u16::from(two), u16::from(one % 2) + 1);
    let initiator = format!("iqn.2026-11.org.example:i{two}");
    let owner = Owner::Acl(IQN.into(), tag, initiator.clone());
    match kind {
        0 => void(doc, &store),
        1 => doc.remove_store(&store).map(|_| ())?,
        2 => doc.add_target(IQN),
        3 => doc.add_tpg(IQN, tag)?,
        4 => doc.remove_tpg(IQN, tag)?,
        5 => doc.add_portal(IQN, tag, &format!("127.0.0.{}:3260", two + 1))?,
        6 => doc.add_lun(IQN, tag, lun, &store)?,
        7 => doc.remove_lun(IQN, tag, lun)?,
        8 => doc.add_acl(IQN, tag, &initiator)?,
        9 => doc.remove_acl(IQN, tag, &initiator)?,
        10 => doc.map_lun(IQN, tag, &initiator, lun, u16::from(one), one == 0)?,
        11 => doc.unmap_lun(IQN, tag, &initiator, lun)?,
        12 => {
            doc.set_credential(&owner, Door::In, if one == 0 { "user" } else { "secret" }, "correct horse")?;
        }
        13 => doc.set(&Owner::Tpg(IQN.into(), tag), "any_initiator", Some(&Scalar::Flag(two == 0)))?,
        _ => doc.remove_target(IQN)?,
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done in whatever order, an edit is taken whole by the checker, or refused and undone whole; and what
    /// is written reads back as the same.
    #[test]
    fn any_edits_leave_a_document_that_is_right(
        edits in proptest::collection::vec((0u8..15, 0u8..3, 0u8..3), 0..60),
        braces in any::<bool>(),
    ) {
        let start = "# top\n\ntarget = [{ iqn = \"iqn.2026-11.org.example:t\", tpg = [{ tag = 1 }] }] # in braces\n";
        let mut doc = Document::parse(if braces { start } else { "# top\n\n" }).unwrap();
        for one in edits {
            let mut next = doc.clone();
            if edit(&mut next, one).is_err() {
                continue;
            }
            match checked(&next) {
                Ok(_) => doc = next,
                Err(EditError::Invalid(report)) => prop_assert!(
                    report.problems().iter().any(|p| p.severity == Severity::Error && !p.remedy.is_empty())
                        && !report.to_string().contains("so this is not TOML"),
                    "{report}"
                ),
                Err(other) => prop_assert!(false, "{other}\n{}", next.text()),
            }
            let text = doc.text();
            prop_assert!(text.starts_with("# top\n\n"));
            prop_assert_eq!(Document::parse(&text).unwrap().text(), text);
        }
    }
}
