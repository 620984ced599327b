//! One test per kind of mistake: that it is found, where, and what is said.

use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;
use crate::ids::LuId;
use crate::scsi::{AccessState, DEFAULT_GROUP, DeviceType, Group, Groups, Supported};
use crate::store::{Io, StoreKind};
use crate::target::Rate;

fn check(text: &str) -> Result<(Config, Report), Report> {
    parse(Source::new("t.toml", text), Path::new("/etc/ringtgt"), Some(0o600))
}

fn good(text: &str) -> Config {
    match check(text) {
        Ok((config, _)) => config,
        Err(report) => panic!("{report}"),
    }
}

/// The errors of `text`, without their excerpts.
fn errors(text: &str) -> Vec<String> {
    let report = check(text).expect_err("it was to be refused");
    let text = report.to_string();
    let errors = text.lines().filter(|l| l.starts_with("t.toml:") && !l.contains(": warning: "));
    errors.map(str::to_owned).collect()
}

fn one_error(text: &str) -> String {
    let mut all = errors(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn warnings(text: &str) -> String {
    check(text).unwrap().1.to_string()
}

const CORE: &str = r#"
[server]
reactors = "auto"
control_socket = "/run/ringtgt/control.sock"
[[backstore]]
kind = "fileio"
name = "sample-bs"
path = "/srv/disk.img"
size = "10G"
[[target]]
iqn = "iqn.2023-03.sample.ec2:sample"
[[target.tpg]]
tag = 1
portals = ["0.0.0.0:3260", "[::]:3260"]
[[target.tpg.lun]]
lun = 0
backstore = "sample-bs"
[[target.tpg.acl]]
initiator = "iqn.2023-03.sample.ec2:sample-initiator"
chap = { user = "sample-user", secret = "supersecret" }
mutual_chap = { user = "target-user", secret = "another-secret" }
"#;

#[test]
fn an_empty_file_is_valid() {
    let config = good("");
    assert!(config.stores.is_empty() && config.targets.is_empty());
    assert_eq!(config.server.reactors, crate::admin::cpulist::Reactors::Auto);
    assert!(good("# nothing yet\n[server]\n").targets.is_empty());
}

#[test]
fn there_are_no_more_backstores_than_numbers() {
    let one = |n: usize| format!("[[backstore]]\nkind = \"null\"\nname = \"n{n}\"\nsize = \"1M\"\n");
    let many: String = (0..65_000).map(one).collect();
    assert_eq!(good(&many).stores.len(), 65_000);
    let error = one_error(&(many + &one(65_000)));
    assert!(error.starts_with("t.toml:260001:1: ") && error.contains("65001 backstores"), "{error}");
}

#[test]
fn the_core_of_the_schema() {
    let mut config = good(CORE);
    assert_eq!((config.stores[0].kind, config.stores[0].size), (StoreKind::Fileio, Some(10 << 30)));
    assert_eq!(config.listeners().len(), 2);
    let tpg = &config.targets[0].tpgs[0];
    let access = tpg.access("iqn.2023-03.sample.ec2:sample-initiator").unwrap();
    assert_eq!((access.luns, access.luns[0].lun), (tpg.luns.as_slice(), 0));
    assert_eq!(access.auth.chap[0].secret.expose_secret(), "supersecret");
    assert_eq!(access.auth.mutual.as_ref().unwrap().user, "target-user");
    assert!(tpg.access("iqn.2023-03.sample.ec2:other").is_none());
    let catalog = config.take_catalog();
    assert!(catalog.target("iqn.2023-03.sample.ec2:sample").is_some());
}

#[test]
fn a_short_secret_is_taken_with_a_warning() {
    let text = warnings(CORE);
    assert!(text.contains("t.toml:20:41: warning: the secret has fewer than 12 bytes"), "{text}");
    assert!(text.contains("RFC 7143 section 9.2.1"), "{text}");
}

#[test]
fn unknown_keys_at_every_level() {
    let all = errors(
        "colour = 1\n[server]\nreactor = 1\n[server.limits]\nconns = 1\n\
         [[backstore]]\nkind = \"null\"\nname = \"a\"\nsize = \"1G\"\nblocksize = 512\n\
         [[target]]\niqn = \"iqn.2026-11.org.example:a\"\ntpgs = []\n\
         [[target.tpg]]\nopen = true\n[target.tpg.parameters]\nHeaderDigest = true\n\
         [[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:i\"\npassword = \"x\"\n",
    );
    let expected = [
        "1:1: \"colour\" is not a setting of the file",
        "3:1: \"reactor\" is not a setting of [server]",
        "5:1: \"conns\" is not a setting of [server.limits]",
        "10:1: \"blocksize\" is not a setting of [[backstore]]",
        "13:1: \"tpgs\" is not a setting of [[target]]",
        "15:1: \"open\" is not a setting of [[target.tpg]]",
        "17:1: \"HeaderDigest\" is not a setting of [target.tpg.parameters]",
        "20:1: \"password\" is not a setting of [[target.tpg.acl]]",
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for (error, expected) in all.iter().zip(expected) {
        assert!(error.starts_with(&format!("t.toml:{expected}; ")), "{error}");
    }
    assert!(
        all[1].ends_with("did you mean \"reactors\"?") && all[5].ends_with("did you mean \"any_initiator\"?")
    );
    assert!(all[6].ends_with("did you mean \"header_digest\"?"), "{}", all[6]);
}

#[test]
fn wrong_types_are_told_with_the_right_ones() {
    let all = errors(
        "[server]\nreactors = true\npoll_us = -1\nlimits = 3\n[[backstore]]\nkind = \"null\"\nname = 5\n\
         size = 1.5\nread_only = \"yes\"\n[target]\niqn = \"x\"\n",
    );
    assert_eq!(all.len(), 7, "{all:#?}");
    assert!(all[1].contains("`poll_us` must be a whole number from 0"), "{}", all[1]);
    assert!(all.iter().any(|e| e.contains("`read_only` must be true or false, without quotes")));
    assert!(all.last().unwrap().contains("start it with the line [[target]]"), "{all:#?}");
}

#[test]
fn every_error_has_place_excerpt_and_caret() {
    let report = check("[server]\n  reactors = \"0-\"\n").unwrap_err().to_string();
    assert!(report.starts_with("t.toml:2:14: \"0-\" is neither"), "{report}");
    assert!(report.ends_with("  2 |   reactors = \"0-\"\n    |              ^^^^\n"), "{report}");
}

#[test]
fn what_is_no_toml() {
    let all = errors("[server\nreactors = = 1\n[[backstore]]\nname = x\n");
    assert!(all.len() >= 2 && all[0].contains("this is not TOML"), "{all:#?}");
    assert!(one_error("[server]\nreactors = 1\nreactors = 2\n").contains("t.toml:3:1"));
}

#[test]
fn what_is_no_toml_at_all_does_not_flood() {
    let report = check(&"a b\n".repeat(500)).unwrap_err();
    let text = report.to_string();
    assert_eq!(text.lines().filter(|line| line.contains("this is not TOML")).count(), 20, "{text}");
    let rest = text.lines().last().unwrap().to_owned();
    assert_eq!(rest, format!("t.toml: and {} more of this kind", report.errors() - 20));
    assert!(report.errors() >= 500 && report.warnings() == 0, "{}", report.summary());
    for json in ["{", "\n {\n  \"storage_objects\": [],\n  \"targets\": []\n}\n"] {
        let told = one_error(json);
        assert!(
            told.starts_with("t.toml: this is JSON; ") && told.contains("ringtgt import lio t.toml"),
            "{told}"
        );
    }
}

#[test]
fn a_secret_is_never_quoted() {
    for text in [
        "chap = { user = \"u\", secret = \"hunter2\" }",
        "chap = { user = \"u\", sceret = \"hunter2\" }",
        "chap = { user = \"u\", secret = \"hunter2\"",
        "chap = { user = 5, secret = \"hunter2\" } x",
        "chap = { user = \"u\", secret = hunter2 }",
        "chap = { user = \"u\", secret = [\"hunter2\"] }",
        "chap = \"u:hunter2\"",
        "chap = [\"hunter2\"]",
        "chap.secret = '''\nhunter2''' x",
        "mutual_chap = { user = \"u\", secret = \"hunter2\" }",
        "pwd = \"hunter2\"",
        "psk = \"hunter2\"",
        "pass = \"hunter2\"",
        "chap_password = \"hunter2\"",
        "[discovery.chap]\nuser = \"u\"\npass = \"hunter2\"",
    ] {
        let shown = match check(&format!("[discovery]\n{text}\n")) {
            Ok((config, report)) => format!("{report}{report:?}{config:?}"),
            Err(report) => format!("{report}{report:?}"),
        };
        assert!(!shown.contains("hunter2") && !shown.is_empty(), "{text}: {shown}");
    }
}

/// Every text that is one slip of the hand away from one with a secret.
#[test]
fn no_slip_of_the_hand_shows_a_secret() {
    let forms = [
        "[discovery]\nchap = { user = \"u\", secret = \"QQQQQQQQQQQQ\" }\n",
        "[discovery.chap]\nuser = \"u\"\nsecret = \"QQQQQQQQQQQQ\"\n",
        "discovery.chap.secret = 'QQQQQQQQQQQQ'\n",
        "[discovery]\nchap = [{ secret = \"QQQQQQQQQQQQ\", user = \"u\" },\n{ user = \"v\" }]\n",
    ];
    for form in forms {
        for (at, c) in form.char_indices() {
            for slip in ["", "\"", "'", "\n", "=", "#", " ", "[", "}", ".", ",", "x", "é"] {
                let text = [&form[..at], slip, &form[at + c.len_utf8()..]].concat();
                let report = check(&text).map_or_else(|report| report, |(_, report)| report).to_string();
                assert!(!report.contains("QQ"), "{text}\n{report}");
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}", toml in "([a-z\\[\\]{}=\"'., \n0-9]|target|chap|tpg|lun){0,60}") {
        for text in [text, toml] {
            if let Err(report) = check(&text) {
                proptest::prop_assert!(!report.to_string().is_empty());
            }
        }
    }
}

#[test]
fn inline_secrets_need_a_private_file() {
    let verdict = |mode| parse(Source::new("t", CORE), Path::new("/"), Some(mode)).map_err(|r| r.to_string());
    assert!(verdict(0o600).is_ok() && verdict(0o400).is_ok());
    for mode in [0o640, 0o604, 0o644, 0o660] {
        let report = verdict(mode).unwrap_err();
        assert!(report.contains(&format!("mode is {mode:04o}")) && report.contains("chmod 600"), "{report}");
    }
    assert!(parse(Source::new("t", "[server]\n"), Path::new("/"), Some(0o644)).is_ok());
}

fn discovery(chap: &str) -> String {
    format!("[discovery]\n{chap}\n")
}

#[test]
fn credentials() {
    let secret = "secret = \"0123456789ab\"";
    assert!(one_error(&discovery(&format!("chap = {{ {secret} }}"))).contains("no `user`"));
    assert!(one_error(&discovery("chap = { user = \"u\" }")).contains("no `secret`"));
    assert!(
        one_error(&discovery(&format!("chap = {{ user = \"\", {secret} }}"))).contains("no CHAP user name")
    );
    assert!(one_error(&discovery("chap = { user = \"u\", secret = \"\" }")).contains("the secret is empty"));
    let twice = format!("chap = [{{ user = \"u\", {secret} }}, {{ user = \"u\", {secret} }}]");
    assert!(one_error(&discovery(&twice)).contains("two secrets"));
    let alone = format!("mutual_chap = {{ user = \"t\", {secret} }}");
    assert!(one_error(&discovery(&alone)).contains("without chap"));
    let same = format!("chap = {{ user = \"u\", {secret} }}\nmutual_chap = {{ user = \"t\", {secret} }}");
    assert!(one_error(&discovery(&same)).contains("same secret"));
    let both = format!("chap = {{ user = \"u\", {secret}, secret_file = \"/x\" }}");
    assert!(one_error(&discovery(&both)).contains("as well as"));
    let config = good(&discovery(&twice.replacen("\"u\"", "\"v\"", 1)));
    assert_eq!(config.discovery.auth.chap.len(), 2);
}

#[test]
fn secret_files_are_found_beside_the_configuration() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "correct horse\n").unwrap();
    let text = discovery("chap = { user = \"u\", secret_file = \"secret\" }");
    let set = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let read = || parse(Source::new("t", text.clone()), dir.path(), Some(0o644));
    set(0o600);
    assert_eq!(read().unwrap().0.discovery.auth.chap[0].secret.expose_secret(), "correct horse");
    set(0o644);
    assert!(read().unwrap_err().to_string().contains("chmod 600"));
    std::fs::remove_file(&file).unwrap();
    assert!(read().unwrap_err().to_string().contains("cannot read the secret"));
}

fn store(lines: &str) -> String {
    format!("[[backstore]]\n{lines}\n")
}

#[test]
fn backstores() {
    let null = "kind = \"null\"\nname = \"a\"\nsize = \"1G\"\n";
    assert!(one_error(&store("name = \"a\"")).contains("no `kind`"));
    assert!(one_error(&store("kind = \"null\"\nsize = \"1G\"")).contains("no `name`"));
    assert!(one_error(&store("kind = \"null\"\nname = \"a\"")).contains("no `size`"));
    assert!(one_error(&store("kind = \"block\"\nname = \"a\"")).contains("no `path`"));
    assert!(one_error(&store("kind = \"file\"\nname = \"a\"")).contains("did you mean \"fileio\"?"));
    assert!(one_error(&store("kind = \"pscsi\"\nname = \"a\"")).contains("path = \"/dev/sg…\""));
    assert!(one_error(&store("kind = \"null\"\nname = \"a/b\"\nsize = 512")).contains("'/' cannot be part"));
    assert!(one_error(&(store(null) + &store(null))).contains("\"a\" already"));
    assert!(one_error(&store(&null.replace("1G", "1000"))).contains("write 512 or 1024"));
    assert!(one_error(&store(&null.replace("1G", "1GB"))).contains("write \"1G\""));
    assert!(one_error(&store(&null.replace("1G", "0"))).contains("too small"));
    assert!(one_error(&store(&format!("{null}block_size = 1024"))).contains("512 or 4096"));
    assert!(one_error(&store(&format!("{null}write_back = true"))).contains("means nothing"));
    assert!(one_error(&store(&format!("{null}low_space = \"1G\""))).contains("means nothing"));
    let file = "kind = \"fileio\"\nname = \"f\"\npath = \"/x\"\nlow_space = \"1G\"\n";
    assert_eq!(good(&store(file)).stores[0].low_space, Some(1 << 30));
    assert!(one_error(&store(&format!("{file}thin = false"))).contains("only of a sparse file"));
    let device = "kind = \"block\"\nname = \"b\"\npath = \"/dev/x\"\n";
    assert_eq!(good(&store(device)).stores[0].io, Io::Direct);
    for io in Io::ALL {
        assert_eq!(good(&store(&format!("{device}io = \"{}\"", io.word()))).stores[0].io, io);
    }
    let error = one_error(&store(&format!("{device}io = \"poll\"")));
    assert!(error.starts_with("t.toml:5:6: ") && error.contains("did you mean \"polled\"?"), "{error}");
    assert!(one_error(&store(&format!("{file}io = \"polled\""))).contains("only block devices"));
    assert!(one_error(&store(&format!("{device}size = \"1G\""))).contains("own size"));
    assert!(
        one_error(&(store(device) + &store(&device.replace("\"b\"", "\"c\""))))
            .contains("opened exclusively")
    );
    let config = good(&store(&format!("{null}block_size = \"4K\"\nread_only = true")));
    assert_eq!((config.stores[0].block_size, config.stores[0].read_only), (Some(4096), true));
}

#[test]
fn a_device_that_is_passed_through_has_all_but_a_name_and_a_path_of_its_own() {
    let device = "kind = \"pscsi\"\nname = \"p\"\npath = \"/dev/sg1\"\n";
    let config = good(&store(&format!("{device}read_only = true")));
    let store_of = &config.stores[0];
    assert_eq!((store_of.kind, store_of.read_only), (StoreKind::Pscsi, true));
    assert_eq!(store_of.path.as_deref(), Some(std::path::Path::new("/dev/sg1")));
    for (line, reason) in [
        ("size = \"1G\"", "its own size"),
        ("block_size = 512", "its own blocks"),
        ("write_back = true", "a cache of its own"),
        ("removable = true", "the device says"),
        ("thin = true", "its own space"),
        ("low_space = \"1G\"", "its own space"),
        ("serial = \"1234\"", "names of the device"),
        ("naa = \"3000000000000001\"", "names of the device"),
        ("uuid = \"123e4567-e89b-12d3-a456-426614174000\"", "names of the device"),
    ] {
        let error = one_error(&store(&format!("{device}{line}")));
        let key = line.split(' ').next().unwrap();
        assert!(error.contains(&format!("`{key}` means nothing for kind = \"pscsi\"")), "{error}");
        assert!(error.contains(reason) && error.contains("remove the line"), "{error}");
        assert!(error.contains(":5:"), "its line and column: {error}");
    }
    let groups = "[backstore.alua]\n[[backstore.alua.group]]\nname = \"g\"\nid = 1\n";
    assert!(one_error(&store(&format!("{device}{groups}"))).contains("target port groups cannot be had"));
}

#[test]
fn discs() {
    let disc = "kind = \"fileio\"\nname = \"a\"\npath = \"/a.iso\"\ndevice_type = \"cdrom\"\n";
    let config = good(&store(disc));
    let got = &config.stores[0];
    assert_eq!((got.device, got.read_only, got.removable), (DeviceType::Cdrom, true, true));
    let said = "read_only = true\nremovable = true\nblock_size = \"2K\"\n";
    assert_eq!(good(&store(&format!("{disc}{said}"))).stores[0].block_size, None, "as it is at any rate");
    let device = disc.replace("fileio", "block").replace("/a.iso", "/dev/x");
    assert_eq!(good(&store(&device)).stores[0].device, DeviceType::Cdrom);
    let disk = good(&store(&disc.replace("cdrom", "disk")));
    assert_eq!((disk.stores[0].device, disk.stores[0].read_only), (DeviceType::Disk, false));
}

#[test]
fn discs_that_cannot_be() {
    let disc = "kind = \"fileio\"\nname = \"a\"\npath = \"/a.iso\"\ndevice_type = \"cdrom\"\n";
    for (line, reason) in [
        ("read_only = false", "cannot write to a CD-ROM"),
        ("removable = false", "can be taken out"),
        ("block_size = 512", "have 2048 bytes"),
        ("size = \"1G\"", "as large as its image"),
        ("write_back = true", "nobody writes to it"),
        ("thin = true", "nobody writes to it"),
        ("low_space = \"1G\"", "no more space"),
    ] {
        let error = one_error(&store(&format!("{disc}{line}")));
        let key = line.split(' ').next().unwrap();
        assert!(
            error.starts_with(&format!("t.toml:6:{}: `{key}` cannot be set so", key.len() + 4)),
            "{error}"
        );
        assert!(error.contains(reason) && error.ends_with("remove the line"), "{error}");
    }
    for word in ["cd", "dvd", "dvdrom", "CDROM"] {
        let error = one_error(&store(&disc.replace("cdrom", word)));
        assert!(error.contains("did you mean \"cdrom\"?"), "{error}");
    }
    assert!(one_error(&store(&disc.replace("cdrom", "tape"))).contains("choose from disk and cdrom"));
    let memory = "kind = \"ramdisk\"\nname = \"a\"\nsize = \"1G\"\ndevice_type = \"cdrom\"\n";
    assert!(one_error(&store(memory)).contains("nothing on it"));
    let passed = "kind = \"pscsi\"\nname = \"a\"\npath = \"/dev/sg1\"\ndevice_type = \"cdrom\"\n";
    assert!(one_error(&store(passed)).contains("the device says what it is"));
}

#[test]
fn identities_are_nobody_elses() {
    let null =
        |name: &str, line: &str| store(&format!("kind = \"null\"\nname = \"{name}\"\nsize = \"1G\"\n{line}"));
    for line in
        ["serial = \"1234\"", "naa = \"3000000000000001\"", "uuid = \"123e4567-e89b-12d3-a456-426614174000\""]
    {
        let error = one_error(&(null("a", line) + &null("b", line)));
        assert!(
            error.contains("backstore \"a\" has the") && error.contains("one disk on two paths"),
            "{error}"
        );
    }
    let upper = "naa = \"naa.600140500000000000000000000000AB\"";
    assert!(errors(&(null("a", upper) + &null("b", &upper.to_lowercase()))).len() == 1);
    assert!(one_error(&null("a", "naa = \"7\"")).contains("is not an NAA designator"));
    assert_eq!(good(&null("a", "serial = \"S-1\"")).stores[0].identity.serial.as_deref(), Some("S-1"));
}

/// A target with one group, whose lines are `lines`.
fn group(lines: &str) -> String {
    format!(
        "backstore = [{{ kind = \"null\", name = \"a\", size = \"1G\" }}]\n\
         [[target]]\niqn = \"iqn.2026-11.org.example:t\"\n[[target.tpg]]\n{lines}\n"
    )
}

#[test]
fn groups_and_portals() {
    let acl = "\nacl = [{ initiator = \"iqn.2026-11.org.example:i\" }]";
    let with = |lines: &str| group(&format!("{lines}{acl}"));
    assert!(one_error(&with("portals = [\"localhost:3260\"]")).contains("names are not looked up"));
    assert!(one_error(&with("portals = [\"1.2.3.4\", \"1.2.3.4:3260\"]")).contains("named twice"));
    assert!(one_error(&with("portals = [1]")).contains("a list of texts"));
    let second = "\n[[target.tpg]]\nportals = [\"192.0.2.1:3260\"]";
    let error = one_error(&(with("portals = [\"0.0.0.0:3260\"]") + second));
    assert!(error.contains("covered by 0.0.0.0:3260 of group 1"), "{error}");
    let twice = "portals = [\"127.0.0.1:0\"]";
    let error = one_error(&(with(twice) + "\n[[target.tpg]]\n" + twice + acl));
    assert!(error.contains("covered by 127.0.0.1:0 of group 1"), "one free port for both: {error}");
    let error = one_error(&(with("tag = 2\nportals = [\"192.0.2.1:1\"]") + second));
    assert!(error.contains("a group 2 already"), "{error}");
    assert!(warnings(&with("")).contains("no portal"));
    assert!(warnings(&group("portals = [\"0.0.0.0:3260\"]")).contains("no ACL, no access"));
    assert!(warnings("[[target]]\niqn = \"iqn.2026-11.org.example:t\"").contains("no group"));
}

#[test]
fn nobody_is_let_in_from_afar_unasked() {
    let error = one_error(&group("any_initiator = true\nportals = [\"127.0.0.1:1\", \"0.0.0.0:3260\"]"));
    assert!(
        error.contains("0.0.0.0:3260 would let anybody in") && error.contains("any_initiator"),
        "{error}"
    );
    good(&group("any_initiator = true\nportals = [\"127.0.0.1:1\", \"[::1]:1\"]"));
    let chap = "chap = { user = \"u\", secret = \"0123456789ab\" }";
    let config = good(&group(&format!("any_initiator = true\nportals = [\"0.0.0.0:3260\"]\n{chap}")));
    assert!(config.targets[0].tpgs[0].access("iqn.2026-11.org.example:x").unwrap().auth.required());
}

#[test]
fn targets_have_names_of_their_own() {
    let target = |iqn: &str| format!("[[target]]\niqn = \"{iqn}\"\n");
    let (a, b) = (target("iqn.2026-11.org.example:t"), target("IQN.2026-11.org.example:T"));
    assert!(one_error(&(a + &b)).contains("already"));
    assert!(one_error(&target("disk")).contains("is no iSCSI name"));
    assert!(one_error("[[target]]\n").contains("no `iqn`"));
    assert!(one_error("[[target]]\n").starts_with("t.toml:1:1:"));
}

#[test]
fn luns_and_maps() {
    let base = "portals = [\"0.0.0.0:3260\"]\nlun = [{ lun = 0, backstore = \"a\" }]\n";
    let acl =
        |map: &str| group(&format!("{base}acl = [{{ initiator = \"iqn.2026-11.org.example:i\"{map} }}]"));
    let luns = |config: &Config| config.targets[0].tpgs[0].acls[0].luns.clone();
    assert_eq!(luns(&good(&acl(""))).len(), 1);
    assert_eq!(luns(&good(&acl(", mapped_lun = []"))).len(), 0);
    let mapped = luns(&good(&acl(", mapped_lun = [{ lun = 5, tpg_lun = 0, read_only = true }]")));
    assert_eq!((mapped[0].lun, mapped[0].lu.0, mapped[0].read_only), (5, 0, true));
    assert!(one_error(&acl(", mapped_lun = [{ lun = 1 }]")).contains("no LUN 1"));
    let twice = ", mapped_lun = [{ lun = 0 }, { lun = 0 }]";
    assert!(one_error(&acl(twice)).contains("a LUN 0 already"));
    let lun = |lines: &str| group(&format!("lun = [{lines}]"));
    assert!(one_error(&lun("{ lun = 0, backstore = \"b\" }")).contains("the only one is a"));
    assert!(one_error(&lun("{ lun = 16384, backstore = \"a\" }")).contains("too large"));
    assert!(one_error(&lun("{ backstore = \"a\" }")).contains("no `lun`"));
    assert!(one_error(&lun("{ lun = 0 }")).contains("no `backstore`"));
    let same = "{ lun = 0, backstore = \"a\" }, { lun = 0, backstore = \"a\" }";
    assert!(one_error(&lun(same)).contains("a LUN 0 already"));
    assert!(warnings(&lun(&same.replacen("lun = 0", "lun = 1", 1))).contains("same backstore"));
}

#[test]
fn initiators_come_from_networks() {
    let acl = "acl = [{ initiator = \"iqn.2026-11.org.example:i\", from = [\"192.0.2.7\"] }]";
    let config = good(&group(&format!("from = [\"192.0.2.0/255.255.255.0\", \"2001:db8::/32\"]\n{acl}")));
    let tpg = &config.targets[0].tpgs[0];
    assert_eq!(
        tpg.from.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.0.2.0/24", "2001:db8::/32"]
    );
    assert_eq!(tpg.acls[0].from, ["192.0.2.7".parse().unwrap()]);
    let from = |list: &str| one_error(&group(&format!("from = [{list}]\n{acl}")));
    assert!(from("\"storage\"").contains("\"storage\" is no address and no network"));
    assert!(from("\"192.0.2.1/24\"").contains("192.0.2.1 has bits set behind the first 24"));
    assert!(from("\"::/0\"").contains("::/0 is everywhere"));
    assert!(from("").contains("there is nowhere to come from"));
}

#[test]
fn acls_name_initiators_once() {
    let acl = "{ initiator = \"iqn.2026-11.org.example:i\" }";
    assert!(one_error(&group(&format!("acl = [{acl}, {acl}]"))).contains("an ACL for"));
    assert!(one_error(&group("acl = [{ initiator = \"me\" }]")).contains("no iSCSI name"));
    assert!(one_error(&group("acl = [{}]")).contains("no `initiator`"));
}

#[test]
fn an_acl_proves_the_target_by_the_secret_of_its_group() {
    let text = group(
        "chap = { user = \"g\", secret = \"0123456789ab\" }\nmutual_chap = { user = \"t\", secret = \"ba9876543210\" }\n\
         acl = [{ initiator = \"iqn.2026-11.org.example:i\", chap = { user = \"i\", secret = \"SECRET\" } }]",
    );
    let config = good(&text.replace("SECRET", "abcdefabcdef"));
    assert_eq!(config.targets[0].tpgs[0].acls[0].auth.mutual.as_ref().unwrap().user, "t");
    assert!(one_error(&text.replace("SECRET", "ba9876543210")).contains("same secret"));
}

#[test]
fn parameters() {
    let with = |lines: &str| group(&format!("[target.tpg.parameters]\n{lines}"));
    let config = good(&with(
        "header_digest = false\nmax_burst_length = \"128K\"\nnop_interval = 0\nlogin_timeout = \"5s\"\n\
         chap_algorithms = [\"SHA256\"]\ncommand_window = 128\ntime2wait = 0\nmax_outstanding_r2t = 1\n",
    ));
    let params = &config.targets[0].tpgs[0].params;
    assert!(!params.header_digest && params.nop_interval.is_zero());
    assert_eq!((params.first_burst_length, params.max_burst_length), (128 << 10, 128 << 10));
    assert_eq!(params.chap_algorithms, [crate::target::ChapAlgorithm::Sha256]);
    for (line, part) in [
        ("max_burst_length = 100", "too small"),
        ("max_burst_length = \"16M\"", "too large"),
        ("max_recv_data_segment_length = \"512K\"", "largest buffer"),
        ("first_burst_length = \"256K\"\nmax_burst_length = \"128K\"", "longer than max_burst_length"),
        ("max_outstanding_r2t = 0", "too small"),
        ("command_window = 5000", "too large"),
        ("time2retain = \"2h\"", "too large"),
        ("time2wait = \"1500ms\"", "not a whole number of seconds"),
        ("nop_timeout = \"soon\"", "not a period"),
        ("chap_algorithms = []", "no CHAP algorithm"),
        ("chap_algorithms = [\"md5\", \"MD5\"]", "named twice"),
        ("chap_algorithms = [\"sha2\"]", "did you mean \"sha256\"?"),
        ("require_digests = true\ndata_digest = false", "no initiator could log in"),
    ] {
        let error = one_error(&with(line));
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn server_settings() {
    let config = good(
        "[server]\nreactors = \"0-1\"\nbuffer_memory = \"1G\"\npoll_us = 0\nstate_dir = \"state\"\n\
         drain_timeout = \"3s\"\nlog = \"warn,ringtgt::session=debug\"\n[server.limits]\nconnections = 100\npending_logins = 5\n",
    );
    let server = &config.server;
    assert_eq!(server.buffer_memory_each(2), 512 << 20);
    assert!(server.poll.is_zero() && server.drain_timeout.as_secs() == 3);
    assert_eq!(server.state_dir, Path::new("/etc/ringtgt/state"));
    assert_eq!((server.limits.connections, server.limits.pending_logins), (100, 5));
    assert_eq!(
        (server.log.as_str(), ServerConfig::default().log.as_str()),
        ("warn,ringtgt::session=debug", "info")
    );
    let loud = one_error("[server]\nlog = \"loud\"\n");
    assert!(loud.contains(":2:7: \"loud\" is no level; write error, warn, info or debug"), "{loud}");
    assert_eq!(ServerConfig::default().buffer_memory_each(3), DEFAULT_BUFFER_MEMORY);
    for line in ["buffer_memory = \"1M\"", "poll_us = 20000", "drain_timeout = \"1h\"", "reactors = \"0,0\""]
    {
        one_error(&format!("[server]\n{line}\n"));
    }
    let few = one_error("[server]\nreactors = 16\nbuffer_memory = \"8M\"\n");
    assert!(
        few.contains(":3:17: 8 MiB is too small for 16 reactors") && few.contains("give 32 MiB or more"),
        "{few}"
    );
    good("[server]\nreactors = 4\nbuffer_memory = \"8M\"\n");
}

/// A file with a target that listens at `portals`, and then `lines` about portals.
fn with_portals(portals: &str, lines: &str) -> String {
    let chap = "chap = { user = \"u\", secret = \"correct horse\" }";
    format!("{}{lines}", group(&format!("any_initiator = true\n{chap}\nportals = [{portals}]")))
}

/// The errors of such a file, their lines counted from the first of `lines`.
fn portal_errors(portals: &str, lines: &str) -> Vec<String> {
    let before = with_portals(portals, "").lines().count();
    let counted = |error: String| {
        let (line, rest) = error.strip_prefix("t.toml:").unwrap().split_once(':').unwrap();
        format!("t.toml:{}:{rest}", line.parse::<usize>().unwrap() - before)
    };
    errors(&with_portals(portals, lines)).into_iter().map(counted).collect()
}

fn portal_error(portals: &str, lines: &str) -> String {
    let mut all = portal_errors(portals, lines);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

const ONE: &str = "\"192.0.2.1:3260\"";

#[test]
fn portals_are_set() {
    let text = with_portals(
        ONE,
        "[[portal]]\naddress = \"192.0.2.1\"\ndscp = \"AF31\"\npcp = 4\nkeepalive = \"1m\"\nkeepalive_interval = 5\n\
         keepalive_probes = 3\nuser_timeout = \"30s\"\ncongestion = \"bbr\"\n\
         zero_copy = true\nredirect = { to = \"[2001:db8::2]:3261\", permanent = true }",
    );
    let mut config = good(&text);
    let listener = config.listeners().remove(0);
    let options = listener.options;
    assert_eq!((options.dscp, options.pcp), (Some(26), Some(4)));
    assert_eq!(options.congestion.as_deref(), Some("bbr"));
    assert_eq!((options.user_timeout, options.zero_copy), (Some(Duration::from_secs(30)), true));
    let keepalive = options.keepalive.unwrap();
    assert_eq!((keepalive.idle, keepalive.probes), (Some(Duration::from_secs(60)), Some(3)));
    assert_eq!(keepalive.interval, Some(Duration::from_secs(5)));
    let redirect = config.take_catalog().redirect_at("192.0.2.1:3260".parse().unwrap()).unwrap();
    assert_eq!((redirect.to.to_string().as_str(), redirect.permanent), ("[2001:db8::2]:3261", true));
    let off = good(&with_portals(ONE, "[[portal]]\naddress = \"192.0.2.1\"\nkeepalive = 0\ndscp = 46"));
    let options = off.listeners().remove(0).options;
    assert_eq!((options.keepalive, options.dscp), (None, Some(46)));
}

#[test]
fn portals_that_cannot_be_set_so() {
    let error = |lines: &str| portal_error(ONE, &format!("[[portal]]\n{lines}"));
    let at = |line: &str| error(&format!("address = \"192.0.2.1\"\n{line}"));
    assert!(error("dscp = 1").starts_with("t.toml:1:1: this [[portal]] has no `address`"));
    assert!(
        error("address = \"storage\"").starts_with("t.toml:2:11: \"storage\" is not an address and a port")
    );
    assert!(error("address = \"192.0.2.2\"").starts_with("t.toml:2:11: no group listens at 192.0.2.2:3260"));
    let again = at("[[portal]]\naddress = \"192.0.2.1:3260\"");
    assert!(again.starts_with("t.toml:4:11: there is a [[portal]] 192.0.2.1:3260 already"), "{again}");
    for (line, told) in [
        ("dscp = 64", "3:8: \"64\" is no differentiated services code point"),
        ("dscp = \"af14\"", "3:8: \"af14\" is no differentiated services code point"),
        ("pcp = 8", "3:7: 8 is too large"),
        ("keepalive = \"10h\"", "3:13: 10h is too large"),
        ("keepalive = \"1500ms\"", "3:13: this is not a whole number of seconds"),
        ("keepalive_interval = 0", "3:22: 0s is too small"),
        ("keepalive_probes = 128", "3:20: 128 is too large"),
        ("user_timeout = \"500ms\"", "3:16: 500ms is too small"),
        ("zero_copy = \"yes\"", "3:13: `zero_copy` must be true or false"),
        ("congestion = \"a b\"", "3:14: \"a b\" is no congestion control"),
        ("congestion = \"0123456789abcdef\"", "3:14: \"0123456789abcdef\" is no congestion control"),
        ("redirect = { permanent = true }", "3:12: this redirect has no `to`"),
        ("redirect = { to = \"storage:3260\" }", "3:19: \"storage:3260\" is not an address to which"),
        ("redirect = { to = \"0.0.0.0:3260\" }", "3:19: \"0.0.0.0:3260\" is not an address to which"),
        (
            "redirect = { to = \"[fe80::1%lo]:3260\" }",
            "3:19: \"[fe80::1%lo]:3260\" is not an address to which",
        ),
        ("redirect = { to = \"[fe80::1]:3260\" }", "3:19: \"[fe80::1]:3260\" is not an address to which"),
        ("redirect = \"192.0.2.2:3260\"", "3:12: `redirect` is a string here"),
        ("redirect = { too = \"192.0.2.2\", to = \"192.0.2.2\" }", "3:14: \"too\" is not a setting"),
        ("congestion_control = \"bbr\"", "3:1: \"congestion_control\" is not a setting of [[portal]]"),
    ] {
        let error = at(line);
        assert!(error.starts_with(&format!("t.toml:{told}")), "{line}: {error}");
    }
    let both = "\"0.0.0.0:3260\", \"192.0.2.1:3260\"";
    let covered = portal_error(both, "[[portal]]\naddress = \"192.0.2.1\"\ndscp = 1");
    assert!(covered.starts_with("t.toml:3:8: 192.0.2.1:3260 has no socket of its own"));
}

#[test]
fn nobody_is_sent_in_a_circle() {
    let sent = |portal: &str, to: &str| {
        format!("[[portal]]\naddress = \"{portal}\"\nredirect = {{ to = \"{to}\" }}\n")
    };
    let itself = portal_error(ONE, &sent("192.0.2.1", "192.0.2.1"));
    assert!(
        itself.starts_with(
            "t.toml:3:12: initiators are sent to 192.0.2.1:3260, a portal of this file; and from"
        ),
        "{itself}"
    );
    let two = "\"192.0.2.1:3260\", \"192.0.2.2:3260\"";
    let round = sent("192.0.2.1", "192.0.2.2") + &sent("192.0.2.2", "192.0.2.1");
    assert_eq!(errors(&with_portals(two, &round)).len(), 2);
    good(&with_portals(two, &sent("192.0.2.1", "192.0.2.2")));
    good(&with_portals("\"0.0.0.0:3260\"", &sent("0.0.0.0", "192.0.2.1")));
    // A target that sends to a portal that sends back.
    let target = |to: &str, lines: &str| {
        let text = with_portals(two, lines);
        text.replace("[[target.tpg]]", &format!("redirect = {{ to = \"{to}\" }}\n[[target.tpg]]"))
    };
    good(&target("192.0.2.2", ""));
    good(&target("198.51.100.1", ""));
    let error = one_error(&target("192.0.2.2", &sent("192.0.2.2", "192.0.2.1")));
    assert!(error.contains("and from there back again"), "{error}");
    let other = "[[target]]\niqn = \"iqn.2026-11.org.example:other\"\n[[target.tpg]]\nportals = [\"192.0.2.9:3260\"]\n";
    let stranded = one_error(&format!("{}{other}", target("192.0.2.9", "")));
    assert!(stranded.contains("where no group of this target listens; and are refused there"), "{stranded}");
    // A target may have left altogether.
    let left = "[[target]]\niqn = \"iqn.2026-11.org.example:left\"\nredirect = { to = \"192.0.2.9\", permanent = true }\n";
    assert_eq!(warnings(left), "");
}

#[test]
fn what_discovery_shows() {
    assert!(!good(&discovery("show = \"all\"")).discovery.own_portal_only);
    assert!(good(&discovery("show = \"portal\"")).discovery.own_portal_only);
    let error = one_error(&discovery("show = \"portals\""));
    assert!(error.starts_with("t.toml:2:8: discovery cannot show \"portals\""), "{error}");
    assert!(error.ends_with("did you mean \"portal\"?"), "{error}");
    let some = good(&discovery("chap_algorithms = [\"sha256\"]"));
    assert_eq!(some.discovery.chap_algorithms, [crate::target::ChapAlgorithm::Sha256]);
    assert!(
        one_error(&discovery("chap_algorithms = [\"sha512\"]")).starts_with("t.toml:2:20: there is no CHAP")
    );
}

#[test]
fn port_0_becomes_the_real_one() {
    let mut config = good(&group("any_initiator = true\nportals = [\"127.0.0.1:0\"]"));
    let got = "127.0.0.1:4711".parse().unwrap();
    config.bind(&[(config.listeners()[0].address, got)]);
    assert!(config.take_catalog().targets[0].tpg_at(got).is_some());
}

#[test]
fn ten_thousand_luns_are_read() {
    let mut text = String::new();
    for n in 0..10_000 {
        text += &format!("[[backstore]]\nkind = \"null\"\nname = \"s{n}\"\nsize = \"1G\"\n");
    }
    text += "[[target]]\niqn = \"iqn.2026-11.org.example:t\"\n[[target.tpg]]\n";
    for n in 0..10_000 {
        text += &format!("[[target.tpg.lun]]\nlun = {n}\nbackstore = \"s{n}\"\n");
    }
    assert_eq!(good(&text).targets[0].tpgs[0].luns.len(), 10_000);
}

#[test]
fn a_file_that_cannot_be_read_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("absent"), dir.path().to_owned()] {
        assert!(matches!(load(&path), Err(LoadError::Read { .. })), "{}", path.display());
    }
    let binary = dir.path().join("binary");
    std::fs::write(&binary, b"# one\nsecret = \"hunter2\xff\"\n").unwrap();
    let Err(LoadError::Invalid(report)) = load(&binary) else { panic!("valid?") };
    assert!(report.to_string().contains("binary:2:18: byte 23 is not UTF-8 text"), "{report}");
    assert!(!report.to_string().contains("hunter2"), "{report}");
}

#[test]
fn the_sample_configuration_has_every_setting() {
    let sample = include_str!("../../../tuning/ringtgt.toml");
    let kinds = [": leaf<", ": table<", ": tables<", ": one_or_more<"];
    let lines = include_str!("file.rs").lines().filter(|l| l.trim_end().ends_with(">,"));
    let keys: Vec<&str> = lines
        .filter_map(|l| kinds.iter().find_map(|kind| l.trim().split_once(kind)))
        .map(|(key, _)| key)
        .collect();
    assert!(keys.len() > 60, "{}", keys.len());
    // The file that holds a secret is told in words: uncommented it would have to exist.
    for key in keys {
        let shown = [format!("\n#{key} = "), format!("{key}]"), format!("{key} = ")];
        assert!(shown.iter().any(|form| sample.contains(form)), "{key}");
    }
}

/// Two portal groups, of which the second is in `lun`'s target port group.
fn alua(groups: &str, lun: &str) -> String {
    let tpg = |tag: u16, lun: &str| {
        format!(
            "[[target.tpg]]\ntag = {tag}\nportals = [\"127.0.0.1:{tag}\"]\nany_initiator = true\n\
             [[target.tpg.lun]]\nlun = 0\nbackstore = \"a\"\n{lun}\n"
        )
    };
    let store = "[[backstore]]\nkind = \"null\"\nname = \"a\"\nsize = \"1G\"\n";
    let target = "[[target]]\niqn = \"iqn.2026-11.org.example:a\"\n";
    [store, groups, "\n", target, &tpg(1, ""), &tpg(2, lun)].concat()
}

const SECOND: &str = "[[backstore.alua.group]]\nname = \"b\"\nid = 7\n";

#[test]
fn a_backstore_of_which_nothing_is_said_has_one_group() {
    let config = good(&alua("", ""));
    assert_eq!(config.stores[0].groups, Groups::default());
    assert!(config.targets[0].tpgs.iter().all(|g| g.luns[0].group == 0));
}

#[test]
fn target_port_groups() {
    let more = "access = \"both\"\nstate = \"standby\"\npreferred = true\n\
                supported_states = [\"active/optimized\", \"standby\"]\n";
    let text = alua(
        &format!("[backstore.alua]\nimplicit_transition_time = \"1500ms\"\n{SECOND}{more}"),
        "alua_group = \"b\"",
    );
    let config = good(&text);
    let default = Group { implicit: true, supported: Supported::all(), ..Group::new(0, DEFAULT_GROUP) };
    let second = Group {
        implicit: true,
        explicit: true,
        preferred: true,
        supported: Supported::OPTIMIZED | Supported::STANDBY,
        configured: AccessState::Standby,
        ..Group::new(7, "b")
    };
    assert_eq!(config.stores[0].groups, Groups::new(default, vec![second], 2));
    assert_eq!(config.targets[0].tpgs.iter().map(|g| g.luns[0].group).collect::<Vec<_>>(), [0, 7]);
    let reached = config.targets[0].reached(None).filter(|(lu, ..)| *lu == LuId(0));
    assert_eq!(reached.map(|(_, g, group)| (group, g.relative_port)).collect::<Vec<_>>(), [(0, 0), (7, 0)]);
}

#[test]
fn the_default_group_can_be_described() {
    let text = "[[backstore.alua.group]]\nname = \"default_tg_pt_gp\"\naccess = \"explicit\"\nid = 9\n";
    let config = good(&alua(text, ""));
    let group = config.stores[0].groups.iter().next().unwrap();
    assert_eq!((group.id, group.implicit, group.explicit), (9, false, true));
    assert!(config.targets[0].tpgs.iter().all(|g| g.luns[0].group == 9));
}

#[test]
fn mistakes_about_target_port_groups() {
    let of_group = |lines: &str| one_error(&alua(&format!("{SECOND}{lines}"), "alua_group = \"b\""));
    for (lines, place, part) in [
        ("access = \"implict\"", "8:10", "did you mean \"implicit\"?"),
        ("state = \"offline\"", "8:9", "\"offline\" is no state for this"),
        ("state = \"transitioning\"", "8:9", "is no state for this"),
        (
            "supported_states = [\"standby\", \"actve/optimized\"]\nstate = \"standby\"",
            "8:32",
            "did you mean",
        ),
        ("supported_states = [\"standby\"]", "5:1", "active/optimized and does not support that"),
        ("supported_states = []\nstate = \"standby\"", "9:9", "does not support that"),
        ("colour = 1", "8:1", "is not a setting of [[backstore.alua.group]]"),
        ("[[backstore.alua.group]]\nname = \"c\"", "8:1", "has no `id`"),
        ("[[backstore.alua.group]]\nid = 8", "8:1", "has no `name`"),
        ("[[backstore.alua.group]]\nname = \"default_tg_pt_gp\"\nid = 7", "10:6", "group 7 already"),
    ] {
        let error = of_group(lines);
        assert!(error.starts_with(&format!("t.toml:{place}: ")) && error.contains(part), "{lines}: {error}");
    }
    let zero = SECOND.replace('7', "0");
    assert!(one_error(&alua(&zero, "alua_group = \"b\"")).contains("a target port group 0 already"));
    let twice = format!("{SECOND}{}", SECOND.replace('7', "8"));
    assert!(one_error(&alua(&twice, "alua_group = \"b\"")).contains("group \"b\" already"));
    assert!(
        one_error(&alua(
            &format!("[backstore.alua]\nimplicit_transition_time = 256\n{SECOND}"),
            "alua_group = \"b\""
        ))
        .contains("too large")
    );
    let unknown = one_error(&alua(SECOND, "alua_group = \"B2\""));
    assert!(unknown.contains("backstore \"a\" has no target port group \"B2\""), "{unknown}");
    assert!(
        warnings(&alua(SECOND, "")).contains("t.toml:5:1: warning: no port is in this target port group")
    );
}

#[test]
fn a_portal_group_is_in_one_target_port_group_of_a_backstore() {
    let again = "alua_group = \"b\"\n[[target.tpg.lun]]\nlun = 1\nbackstore = \"a\"\n";
    let error = one_error(&alua(SECOND, again));
    assert!(error.contains("LUN 0 has put this portal group into another"), "{error}");
}

#[test]
fn there_are_only_so_many_groups_and_ports_in_them() {
    let groups = |count: u16| {
        (1..=count)
            .map(|n| format!("[[backstore.alua.group]]\nname = \"g{n}\"\nid = {n}\n"))
            .collect::<String>()
    };
    assert!(warnings(&alua(&groups(31), "")).contains("no port"));
    assert!(one_error(&alua(&groups(32), "")).contains("at most 32 target port groups"));
    let ports = |count: u16| {
        let tpg = |n| format!("[[target.tpg]]\ntag = {n}\nlun = [{{ lun = 0, backstore = \"a\" }}]\n");
        alua("", "") + &(3..=count).map(tpg).collect::<String>()
    };
    check(&ports(255)).unwrap();
    assert!(one_error(&ports(257)).contains("has 255 ports already"));
}

#[test]
fn ports_have_numbers_of_their_own() {
    let chosen = alua("", "").replace("tag = 2\n", "tag = 2\nrelative_port = 9\n");
    assert_eq!(good(&chosen).targets[0].tpgs.iter().map(|g| g.relative_port).collect::<Vec<_>>(), [0, 9]);
    assert!(one_error(&chosen.replace("= 9", "= 0")).contains("too small"));
    let twice = chosen.replace("tag = 1\n", "tag = 1\nrelative_port = 9\n");
    assert!(one_error(&twice).contains("another group is port 9 already"));
}

/// A store and an initiator, each with these lines in its table of limits.
fn with_limits(of_store: &str, of_initiator: &str) -> String {
    let store = "name = \"sample-bs\"\n";
    let text = CORE.replace(store, &format!("{store}qos = {{ {of_store} }}\n"));
    format!("{text}[target.tpg.acl.qos]\n{of_initiator}\n")
}

#[test]
fn limits_of_a_store_and_of_an_initiator() {
    let mut config =
        good(&with_limits("read_iops = 3000, write_bandwidth = \"100M\", burst = \"1s\"", "write_iops = 5"));
    let rate = |commands, bytes| Rate { commands, bytes };
    let quota = config.quotas[&LuId(0)];
    assert_eq!((quota.read, quota.write), (rate(3000, 0), rate(0, 100 << 20)));
    assert_eq!(quota.burst, Duration::from_secs(1));
    let quota = config.targets[0].tpgs[0].acls[0].quota;
    assert_eq!((quota.read, quota.write), (rate(0, 0), rate(5, 0)));
    assert_eq!(quota.burst, Duration::from_millis(100), "by default");
    assert_eq!(config.take_catalog().quotas.len(), 1);
    assert!(good(CORE).quotas.is_empty() && !good(CORE).targets[0].tpgs[0].acls[0].quota.is_some());
}

#[test]
fn limits_that_cannot_be() {
    let at = CORE.lines().count() + 3;
    for (line, told) in [
        ("read_iops = 0", "13: 0 is too small"),
        ("read_iops = \"many\"", "13: `read_iops` must be a whole number"),
        ("write_bandwidth = \"1K\"", "19: 1 KiB is too small"),
        ("write_bandwidth = \"100MB\"", "19: \"100MB\" is ambiguous"),
        ("read_iops = 1\nburst = \"2m\"", "9: 2m is too large"),
        ("burst = \"1s\"", "9: there is a burst, and no limit"),
        ("read_bps = 1", "1: \"read_bps\" is not a setting of { read_iops"),
    ] {
        let error = one_error(&with_limits("read_iops = 1", line));
        let line_of_it = at + line.matches('\n').count();
        assert!(error.starts_with(&format!("t.toml:{line_of_it}:{told}")), "{line}: {error}");
    }
    let error = one_error(&CORE.replace("size = \"10G\"\n", "size = \"10G\"\nqos = 1000\n"));
    assert!(error.starts_with("t.toml:10:7: `qos` is an integer here"), "{error}");
}
