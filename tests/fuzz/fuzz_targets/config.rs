//! Configuration files: any text is read or refused with problems that have places; secrets are never shown.

#![no_main]

use std::path::Path;

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use ringtgt::admin::config::{self, Source};

/// Lines of a sound file, and of some that are not.
const LINES: &[&str] = &[
    "[server]",
    "reactors = \"auto\"",
    "reactors = 3",
    "buffer_memory = \"64M\"",
    "poll_us = 50",
    "drain_timeout = \"10s\"",
    "log = \"info\"",
    "[server.limits]",
    "connections = 10",
    "pending_logins = 0",
    "[[backstore]]",
    "kind = \"null\"",
    "kind = \"ramdisk\"",
    "kind = \"fileio\"",
    "kind = \"block\"",
    "name = \"a\"",
    "name = \"b\"",
    "path = \"/x/y\"",
    "path = \"z\"",
    "size = \"1G\"",
    "size = 1",
    "size = \"99999999999999999999T\"",
    "block_size = 4096",
    "block_size = 513",
    "io = \"polled\"",
    "io = \"passthrough\"",
    "write_back = true",
    "thin = true",
    "read_only = true",
    "serial = \"x\"",
    "naa = \"3000000000000001\"",
    "uuid = \"not one\"",
    "[[target]]",
    "iqn = \"iqn.2026-11.org.example:t\"",
    "iqn = \"nonsense\"",
    "alias = \"é\"",
    "[[target.tpg]]",
    "tag = 1",
    "tag = 70000",
    "portals = [\"127.0.0.1:3260\"]",
    "portals = [\"[::]:0\", \"x\"]",
    "any_initiator = true",
    "[target.tpg.parameters]",
    "max_burst_length = \"1M\"",
    "first_burst_length = \"16M\"",
    "login_timeout = \"1s\"",
    "command_window = 4097",
    "header_digest = false",
    "require_digests = true",
    "[[target.tpg.lun]]",
    "lun = 0",
    "lun = 16384",
    "backstore = \"a\"",
    "backstore = \"absent\"",
    "[[target.tpg.acl]]",
    "initiator = \"iqn.2026-11.org.example:i\"",
    "chap = { user = \"u\", secret = \"hushhushhush\" }",
    "chap = { user = \"u\", secret_file = \"/x\" }",
    "mutual_chap = { user = \"v\", secret = \"hushhush-too!\" }",
    "chap = \"hushhushhush\"",
    "[discovery]",
    "show = \"portal\"",
    "show = \"none\"",
    "chap_algorithms = [\"sha1\", \"sha3\"]",
    "[[portal]]",
    "address = \"127.0.0.1:3260\"",
    "address = \"[fe80::1%lo]:3260\"",
    "portals = [\"[fe80::1%lo]:3260\", \"127.0.0.2\", \"fe80::%\"]",
    "dscp = \"af31\"",
    "dscp = 64",
    "pcp = 4",
    "keepalive = 0",
    "keepalive_interval = \"1500ms\"",
    "keepalive_probes = 3",
    "user_timeout = \"30s\"",
    "congestion = \"bbr\"",
    "congestion = \"\"",
    "zero_copy = true",
    "zero_copy = 1",
    "redirect = { to = \"127.0.0.1:3260\" }",
    "redirect = { to = \"127.0.0.2\", permanent = true }",
    "redirect = { to = \"[::1%1]:1\", permanent = 1 }",
    "# comment",
    "\"\"\"",
    "'''",
    "= 3",
    "x = [",
    "}",
];

const SECRETS: [&str; 2] = ["hushhushhush", "hushhush-too!"];

#[derive(Debug)]
struct Input {
    text: String,
    mode: Option<u32>,
    tame: bool,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mode = *u.choose(&[None, Some(0o600), Some(0o644)])?;
        let (mut text, mut tame) = (String::new(), true);
        for _ in 0..u.int_in_range(0..=40)? {
            if u.ratio(15, 16)? {
                text.push_str(u.choose(LINES)?);
            } else {
                tame = false;
                text.push_str(u.arbitrary::<&str>()?);
            }
            text.push(if u.ratio(31, 32)? { '\n' } else { ' ' });
        }
        Ok(Self { text, mode, tame })
    }
}

fuzz_target!(|input: Input| {
    let source = Source::new("fuzz.toml", input.text.as_str());
    match config::parse(source, Path::new("/srv"), input.mode) {
        Ok((mut config, report)) => {
            let _ = config.take_catalog();
            shown(&report.to_string(), &input);
        }
        Err(report) => {
            assert!(report.errors() > 0);
            shown(&report.to_string(), &input);
        }
    }
});

/// Where only our own lines were put together, the secrets among them are known, and none may be shown.
fn shown(report: &str, input: &Input) {
    let told = SECRETS.iter().find(|secret| report.contains(**secret));
    assert!(!input.tame || told.is_none(), "{report}\n---\n{}", input.text);
}
