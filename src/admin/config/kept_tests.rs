//! What a text comes to, part by part and as a whole.

use std::collections::BTreeMap;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

const DIR: &str = "/srv";

fn whole(text: &str) -> Result<(Config, Report), Report> {
    parse(Source::new("test", text), Path::new(DIR), None)
}

/// A text that helps with the next one.
fn kept(text: &str) -> Option<Known> {
    let (config, report) = whole(text).ok()?;
    Known::of(text, Path::new(DIR), &config, report.problems())
}

/// All of it, to be compared.
fn shown(config: &Config) -> String {
    let Config { server, stores, quotas, loopbacks, targets, discovery, portals, media } = config;
    let quotas: BTreeMap<_, _> = quotas.iter().collect();
    let media: BTreeMap<_, _> = media.iter().collect();
    format!("{:#?}", (server, stores, quotas, loopbacks, targets, discovery, portals, media))
}

/// What is told, and of what.
fn told(problems: &[Problem]) -> Vec<String> {
    let mut told: Vec<String> = problems.iter().map(|p| format!("{:?}: {p}", p.at)).collect();
    told.sort();
    told
}

fn store(n: usize) -> String {
    format!("[[backstore]]\nkind = \"null\"\nname = \"n{n}\"\nsize = \"1G\"\n")
}

/// The target of that number, which shows these stores.
fn target(n: usize, stores: impl Iterator<Item = usize>) -> String {
    let lun = |(lun, store)| format!("[[target.tpg.lun]]\nlun = {lun}\nbackstore = \"n{store}\"\n");
    let luns: String = stores.enumerate().map(lun).collect();
    let head = format!(
        "[[target]]\niqn = \"iqn.2026-11.org.example:t{n}\"\n[[target.tpg]]\nportals = [\"0.0.0.0:3260\"]\n"
    );
    head + &luns + "[[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:i\"\n"
}

#[test]
fn what_is_read_is_what_is_written_otherwise() {
    let text = |count: usize, more: usize| {
        let own = |t: usize| {
            (t * 10..t * 10 + 10).chain((t == 3).then_some(count..count + more).into_iter().flatten())
        };
        let stores = (0..count + more).map(store);
        stores.chain((0..count / 10).map(|t| target(t, own(t)))).collect::<String>()
    };
    let read = |count| {
        let mut kept = kept(&text(count, 0)).expect("it is plain");
        let steps = [1, 2, 0].map(|more| {
            let config =
                kept.follow(&text(count, more), Path::new(DIR)).expect("a few parts tell it").clone();
            assert_eq!(shown(&config), shown(&whole(&text(count, more)).unwrap().0));
            kept.read.get()
        });
        steps.iter().sum::<usize>()
    };
    let few = read(100);
    assert!(few < 4000, "{few} bytes");
    assert!(read(10_000) < few + 200, "the names are longer");
}

#[test]
fn what_can_be_lived_with_spares_nobody_else() {
    let warned = target(0, 0..1).replace(
        "iqn.2026-11.org.example:i\"",
        "iqn.2026-11.org.example:i\"\nchap = { user = \"u\", secret = \"short\" }",
    );
    let lonely = "[[target]]\niqn = \"iqn.2026-11.org.example:lonely\"\n";
    let text = |more: &str| store(0) + more + &store(1) + &warned + lonely;
    let mut known = kept(&text("")).expect("it is right");
    for more in [store(2), store(2) + &store(3), String::new()] {
        let text = text(&more);
        let config = known.follow(&text, Path::new(DIR)).expect("the warnings are about others").clone();
        let (expected, report) = whole(&text).unwrap();
        assert_eq!(shown(&config), shown(&expected));
        assert_eq!((told(&known.problems), known.problems.len()), (told(report.problems()), 2));
        assert!(known.read.get() < 200, "{}", known.read.get());
    }
    let mended = text("").replace("short", "long enough for anybody");
    known.follow(&mended, Path::new(DIR)).expect("one target is read");
    assert_eq!(told(&known.problems), told(whole(&mended).unwrap().1.problems()));
}

#[test]
fn a_secret_in_a_file_of_its_own_is_read_each_time() {
    use std::os::unix::fs::OpenOptionsExt;
    let dir = tempfile::tempdir().unwrap();
    let write = |secret: &str| {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(dir.path().join("s"));
        std::io::Write::write_all(&mut file.unwrap(), secret.as_bytes()).unwrap();
    };
    let of_acl = "chap = { user = \"u\", secret_file = \"s\" }\n";
    let escaped = of_acl.replace("secret_file", "\"secret\\u005ffile\"");
    let discovery = format!("[discovery]\n{of_acl}");
    let plain = store(0) + &target(0, 0..1);
    for text in [plain.clone() + of_acl, plain.clone() + &escaped, discovery + &plain] {
        let mut kept = Kept::default();
        let mut secret = |text: &str| {
            let (config, _) = kept.read(Source::new("test", text), dir.path(), None).expect("it is right");
            let of_acl = config.targets[0].tpgs[0].acls[0].auth.chap.first().cloned();
            let found = of_acl.or_else(|| config.discovery.auth.chap.first().cloned());
            found.map(|credential| credential.secret.expose_secret().to_owned())
        };
        // What went before had none, or the same.
        write("a secret of before");
        assert_eq!(secret(&plain), None);
        assert_eq!(secret(&text).as_deref(), Some("a secret of before"), "{text}");
        write("a secret of today");
        assert_eq!(secret(&text).as_deref(), Some("a secret of today"), "{text}");
        let more = text.clone() + "# one more\n" + &store(1);
        write("a secret of tomorrow");
        assert_eq!(secret(&more).as_deref(), Some("a secret of tomorrow"), "{more}");
    }
}

fn line() -> impl Strategy<Value = String> {
    const LINES: [&str; 30] = [
        "[[backstore]]\nkind = \"null\"\nname = \"nN\"\nsize = \"1G\"",
        "[[backstore]]\nkind = \"null\"\nname = \"nN\"\nsize = \"2G\"",
        "[[backstore]]\nkind = \"null\"\nname = \"nN\"\nsize = \"1G\"\n[backstore.qos]\nread_iops = 5",
        "[[backstore]]\nkind = \"fileio\"\nname = \"nN\"\npath = \"diskN\"\nsize = \"1G\"",
        "[[backstore]]\nkind = \"fileio\"\nname = \"nN\"\npath = \"disk1\"\nsize = \"1G\"",
        "[[backstore]]\nkind = \"null\"\nname = \"nN\"\nsize = \"1G\"\nserial = \"sN\"",
        "[[backstore]]\nkind = \"null\"\nname = \"nN\"\nsize = \"1G\"\n[[backstore.alua.group]]\nname = \"g\"\nid = 2",
        "size = \"3G\"",
        "read_only = true",
        "[[target]]\niqn = \"iqn.2026-11.org.example:tN\"\n[[target.tpg]]\nportals = [\"0.0.0.0:3260\"]",
        "[[target]]\niqn = \"iqn.2026-11.org.example:tN\"\n[[target.tpg]]\nportals = [\"0.0.0.0:3260\"]\nrelative_port = 4",
        "[[target]]\niqn = \"iqn.2026-11.org.example:tN\"\n[[target.tpg]]\nportals = [\n\"0.0.0.0:3260\",\n]",
        "[[target.tpg.lun]]\nlun = N\nbackstore = \"nN\"",
        "[[target.tpg.lun]]\nlun = N\nbackstore = \"nN\"",
        "[[target.tpg.lun]]\nlun = N\nbackstore = \"nN\"",
        "[[target.tpg.lun]]\nlun = 9\nbackstore = \"nN\"",
        "[[target.tpg.lun]]\nlun = 8\nbackstore = \"n1\"\nalua_group = \"g\"",
        "[[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:iN\"",
        "[[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:iN\"",
        "[[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:iN\"\nmapped_lun = [\n{ lun = 0, tpg_lun = N },\n]",
        "[[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:iN\"\nmapped_lun = []",
        "any_initiator = true",
        "[[target.tpg]]\nportals = [\"0.0.0.0:326N\"]",
        "[[portal]]\naddress = \"0.0.0.0:3260\"\nredirect = \"192.0.2.1:3260\"",
        "[server]\npoll_us = N",
        "[discovery]\nown_portal_only = true",
        "alias = \"N\"",
        "# N",
        "",
        "alias = '''\n[[target]]\n'''",
    ];
    (prop::sample::select(&LINES[..]), 0..4_u8)
        .prop_map(|(line, n)| format!("{}\n", line.replace('N', &n.to_string())))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn part_by_part_it_comes_to_the_same(
        begin in prop::collection::vec(line(), 0..12),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize, line()), 1..12),
    ) {
        // What is right, and pieces that come and go in it.
        let mut pieces: Vec<String> = vec![store(0), store(1), store(2), target(0, 0..2), target(1, 2..3)];
        for piece in begin {
            pieces.push(piece);
            if kept(&pieces.concat()).is_none() {
                pieces.pop();
            }
        }
        let mut now = kept(&pieces.concat()).unwrap();
        for (at, what, piece) in edits {
            let mut next = pieces.clone();
            let at = at.index(next.len());
            match what {
                0 => drop(next.remove(at)),
                1 => next[at] = piece,
                _ => next.insert(at, piece),
            }
            let text = next.concat();
            let read = whole(&text);
            match now.follow(&text, Path::new(DIR)).map(shown) {
                Some(config) => {
                    let (expected, report) = read.expect("it is right");
                    prop_assert_eq!(config, shown(&expected), "{}", text);
                    prop_assert_eq!(told(&now.problems), told(report.problems()), "{}", text);
                    pieces = next;
                }
                None => if let Some(new) = kept(&text) {
                    (now, pieces) = (new, next);
                },
            }
            if pieces.is_empty() {
                break;
            }
        }
    }
}
