//! Whole configurations, there and back; and what is none.

use std::path::Path;

use proptest::prelude::*;

use super::{export, import};
use crate::admin::config::{self, Config, Source};
use crate::scsi::Identity;

const SIMPLE: &str = include_str!("../../../tests/lio/simple.json");
const FULL: &str = include_str!("../../../tests/lio/full.json");
/// As `targetctl save` of rtslib-fb 2.1.75 has written it on Linux 6.1 (see tests/vm/inside/lio.sh).
const SAVED: &str = include_str!("../../../tests/lio/saved.json");

fn source(text: &str) -> Source {
    Source::new("saveconfig.json", text)
}

fn imported(text: &str) -> String {
    import(source(text)).expect("a configuration of LIO").text.to_string()
}

fn checked(toml: &str) -> Config {
    let parsed = config::parse(Source::new("ringtgt.toml", toml), Path::new("/etc/ringtgt"), Some(0o600));
    parsed.unwrap_or_else(|report| panic!("{report}")).0
}

/// What comes of a configuration that goes to LIO and comes back.
fn there_and_back(toml: &str) -> String {
    imported(&export(&checked(toml), |_| None).text)
}

/// The refusal, without the lines that are shown.
fn refusals(text: &str) -> Vec<String> {
    let report = import(source(text)).expect_err("no configuration of LIO").to_string();
    report.lines().filter(|line| line.starts_with("saveconfig.json:")).map(String::from).collect()
}

#[test]
fn what_becomes_of_a_configuration() {
    assert_eq!(imported(SIMPLE), include_str!("../../../tests/lio/simple.toml"));
    assert_eq!(imported(FULL), include_str!("../../../tests/lio/full.toml"));
    assert_eq!(imported(SAVED), include_str!("../../../tests/lio/saved.toml"));
    checked(&imported(SAVED));
    checked(&imported(SIMPLE));
    checked(&imported(FULL));
}

#[test]
fn what_has_no_meaning_here_is_listed_with_its_place() {
    for (text, expected) in [
        (SIMPLE, include_str!("../../../tests/lio/simple.listed")),
        (FULL, include_str!("../../../tests/lio/full.listed")),
        (SAVED, include_str!("../../../tests/lio/saved.listed")),
    ] {
        let places = source(text);
        let listed = import(source(text)).unwrap().listed;
        let lines = listed.iter().map(|listed| {
            let (line, column) = places.position(listed.span.start);
            format!("saveconfig.json:{line}:{column}: {listed}\n")
        });
        assert_eq!(lines.collect::<String>(), expected);
    }
}

#[test]
fn there_and_back_is_the_same() {
    // LIO asks everybody of a group or nobody: what is asked of one there, is of all.
    let asked = imported(SIMPLE).replace(":3260\"]\n", ":3260\"]\nrequire_chap = true\n");
    assert_eq!(there_and_back(&imported(SIMPLE)), asked);
    assert_eq!(there_and_back(&asked), asked);
    assert_eq!(there_and_back(&imported(SAVED)), imported(SAVED));
    // The first time loses what LIO cannot say, as it lists: products that are not the names, credentials of a group
    // that count for its initiators.
    let once = there_and_back(&imported(FULL));
    assert!(
        once.contains("product = \"fast-disk\"")
            && once.contains("naa = \"60014055d2f0c9a1c1c4a628a7e1f0cd\"")
    );
    assert_eq!(there_and_back(&once), once);
}

#[test]
fn a_file_has_a_size_on_the_way_out() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(3 << 20).unwrap();
    let toml = |path: &Path| {
        format!(
            "[[backstore]]\nkind = \"fileio\"\nname = \"a\"\npath = \"{}\"\n\
             [[target]]\niqn = \"iqn.2026-11.org.example:t\"\n[[target.tpg]]\nportals = [\"127.0.0.1\"]\n\
             [target.tpg.parameters]\nnop_interval = 0\n[[target.tpg.lun]]\nlun = 0\nbackstore = \"a\"\n\
             [[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:i\"\n",
            path.display()
        )
    };
    let moved = export(&checked(&toml(file.path())), |_| None);
    let json: serde_json::Value = serde_json::from_str(&moved.text).unwrap();
    assert_eq!(json["storage_objects"][0]["size"], 3 << 20);
    let acl = &json["targets"][0]["tpgs"][0]["node_acls"][0];
    assert_eq!(acl["attributes"]["nopin_timeout"], 0, "it never asks, there too");
    assert!(moved.listed.iter().all(|l| !l.to_string().contains("nop_interval")));

    let moved = export(&checked(&toml(Path::new("/nonexistent/disk.img"))), |_| None);
    let json: serde_json::Value = serde_json::from_str(&moved.text).unwrap();
    let (stores, luns) = (&json["storage_objects"], &json["targets"][0]["tpgs"][0]["luns"]);
    assert_eq!((stores, luns), (&serde_json::json!([]), &serde_json::json!([])));
    let told = moved.listed[0].to_string();
    assert!(
        told.contains("backstore \"a\": LIO must be told the size") && told.contains("left out"),
        "{told}"
    );
}

#[test]
fn groups_keep_what_they_say_beside_lios_own() {
    let group = |name: &str, more: &str| format!("[[backstore.alua.group]]\nname = \"{name}\"\n{more}\n");
    let toml = |groups: &[String], lun: &str| {
        format!(
            "[[backstore]]\nkind = \"null\"\nname = \"a\"\nsize = \"1G\"\n{}[[target]]\n\
             iqn = \"iqn.2026-11.org.example:t\"\n[[target.tpg]]\nportals = [\"127.0.0.1\"]\n\
             [[target.tpg.lun]]\nlun = 0\nbackstore = \"a\"\n{lun}",
            groups.concat()
        )
    };
    let moved = |groups: &[String], lun: &str| {
        let moved = export(&checked(&toml(groups, lun)), |_| None);
        let json: serde_json::Value = serde_json::from_str(&moved.text).unwrap();
        let groups = json["storage_objects"][0]["alua_tpgs"].as_array().unwrap().clone();
        let lines =
            groups.iter().map(|g| format!("{} {} {}", g["name"], g["tg_pt_gp_id"], g["alua_access_state"]));
        let of_lun = json["targets"][0]["tpgs"][0]["luns"][0]["alua_tg_pt_gp_name"].to_string();
        let listed = moved.listed.iter().map(ToString::to_string).filter(|line| line.contains("alua"));
        (lines.collect::<Vec<_>>(), of_lun, listed.collect::<Vec<_>>())
    };
    let own = "\"default_tg_pt_gp\" 0 0".to_owned();
    let of_own = "\"default_tg_pt_gp\"".to_owned();
    assert_eq!(moved(&[], ""), (vec![own.clone()], of_own.clone(), vec![]), "nothing is said");
    let as_there = group("default_tg_pt_gp", "access = \"both\"");
    assert_eq!(
        moved(std::slice::from_ref(&as_there), ""),
        (vec![own.clone()], of_own, vec![]),
        "it is as LIO has it"
    );

    let standby = group("default_tg_pt_gp", "id = 7\nstate = \"standby\"");
    let (groups, lun, listed) = moved(&[standby, group("default", "id = 0")], "");
    assert_eq!(groups, ["\"default-2\" 7 2", "\"default\" 1 0"]);
    assert_eq!(lun, "\"default-2\"", "its ports are in it");
    assert_eq!(
        listed,
        [
            "backstore \"a\": alua group \"default_tg_pt_gp\": LIO's own is \"default_tg_pt_gp\", number 0, and stays \
             as it is: this one is \"default-2\", number 7",
            "backstore \"a\": alua group \"default\": LIO's own is \"default_tg_pt_gp\", number 0, and stays as it \
             is: this one is \"default\", number 1",
        ]
    );
    let (groups, _, listed) = moved(&[group("far", "id = 2")], "alua_group = \"far\"");
    assert_eq!((&groups[0], listed.len()), (&own, 1), "{listed:?}");
    assert!(listed[0].ends_with("stays as it is: initiators may change its state there"), "{listed:?}");
    let (groups, lun, listed) = moved(&[as_there, group("far", "id = 2")], "alua_group = \"far\"");
    assert_eq!((groups, lun.as_str(), listed.len()), (vec![own, "\"far\" 2 0".into()], "\"far\"", 0));
}

#[test]
fn what_targetctl_would_skip_is_listed() {
    let toml = there("mapped_lun = [{ lun = 256, tpg_lun = 0 }, { lun = 255, tpg_lun = 0 }]\n")
        .replace(":t\"", ":a_b\"");
    let moved = export(&checked(&toml), |_| None);
    let json: serde_json::Value = serde_json::from_str(&moved.text).unwrap();
    let mapped = json["targets"][0]["tpgs"][0]["node_acls"][0]["mapped_luns"].as_array().unwrap().clone();
    assert_eq!((mapped.len(), &mapped[0]["index"]), (1, &255.into()));
    let listed: Vec<String> = moved.listed.iter().map(ToString::to_string).collect();
    let has = |what: &str| listed.iter().any(|line| line.contains(what));
    assert!(
        has("mapped LUN 256: rtslib-fb maps LUNs up to 255") && has(":a_b: rtslib-fb skips a name"),
        "{listed:?}"
    );
}

#[test]
fn disks_keep_their_names_on_the_way_out() {
    let toml = "[[backstore]]\nkind = \"null\"\nname = \"a\"\nsize = \"1G\"\n";
    let saved = Identity { serial: "0123abcd".into(), ..Identity::fresh().unwrap() };
    let moved = export(&checked(toml), |_| Some(saved.clone()));
    assert!(moved.text.contains("\"wwn\": \"0123abcd\""), "{}", *moved.text);
    let listed: Vec<String> = moved.listed.iter().map(ToString::to_string).collect();
    let naa = "backstore \"a\": naa: LIO makes 60014050123abcd00000000000000000 of the serial number: \
               initiators see another disk";
    assert!(listed.iter().any(|line| line == naa), "{listed:?}");
    let unsaved = export(&checked(toml), |_| None);
    assert!(!unsaved.text.contains("wwn"), "{}", *unsaved.text);
}

#[test]
fn what_is_not_json_is_told_with_its_place() {
    let told = refusals("{\n  \"targets\": [,]\n}");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("saveconfig.json:2:15: expected value; so this is not JSON; "), "{told:?}");
    assert!(refusals("")[0].starts_with("saveconfig.json:1:1: EOF"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = r#"{
  "storage_objects": [
    {"plugin": "block", "dev": "/dev/a"},
    {"name": "b", "plugin": "fileio", "dev": "/b", "size": "large"}
  ],
  "targets": [
    {"fabric": "iscsi", "wwn": "no name", "tpgs": []},
    {"fabric": "iscsi", "wwn": "iqn.2003-01.a:b", "tpgs": [
      {"tag": 1, "enable": "perhaps", "luns": [{"index": 0, "storage_object": "/backstores/block/none"}],
       "node_acls": {}}
    ]}
  ]
}"#;
    let told = refusals(text);
    let places: Vec<&str> = told.iter().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(
        places,
        [
            "storage_objects[0]",
            "storage_objects[1].size",
            "targets[0]",
            "targets[1].tpgs[0].enable",
            "targets[1].tpgs[0].luns[0]",
            "targets[1].tpgs[0].node_acls"
        ]
    );
    assert!(told[1].starts_with("saveconfig.json:4:60: "), "{told:?}");
}

#[test]
fn a_password_is_never_shown() {
    for text in [
        r#"{"targets": 5, "chap_password": "hunter2hunter2"}"#,
        "{\"chap_password\": \"hunter2hunter2\", \n \"targets\" [}",
        r#"{"targets": [{"chap_password": "hunter2hunter2", "fabric": "iscsi"}]}"#,
        "{\"fabric_modules\": [{\"name\": \"iscsi\", \"discovery_userid\": \"u\", \"discovery_password\": 8675309hunter2}]}",
        "{\"fabric_modules\": [{\"name\": \"iscsi\", \"discovery_userid\": \"u\",\n\"discovery_password\": 8675309}]}",
    ] {
        let report = import(source(text)).expect_err("wrong").to_string();
        assert!(!report.contains("hunter2") && !report.contains("8675309"), "{report}");
    }
}

#[test]
fn half_a_credential_lets_nobody_in_there_either() {
    let toml = there("chap = { user = \"u\", unfinished = true }\n");
    let moved = export(&checked(&toml), |_| None);
    let json: serde_json::Value = serde_json::from_str(&moved.text).unwrap();
    let tpg = &json["targets"][0]["tpgs"][0];
    assert_eq!(tpg["attributes"]["authentication"], 1);
    let acl = &tpg["node_acls"][0];
    assert!(acl["chap_userid"].is_null() && acl["chap_password"].is_null(), "{acl}");
    assert!(moved.listed.iter().any(|listed| listed.to_string().contains("unfinished")));
}

/// As after the lines that guides begin with, before they give anybody a password.
#[test]
fn credentials_that_are_demanded_and_not_set_are_nothing_unfinished() {
    let toml = there("").replace("[[target.tpg]]\n", "[[target.tpg]]\nrequire_chap = true\n")
        + "[discovery]\nrequire_chap = true\n";
    let moved = export(&checked(&toml), |_| None);
    let json: serde_json::Value = serde_json::from_str(&moved.text).unwrap();
    assert_eq!(json["targets"][0]["tpgs"][0]["attributes"]["authentication"], 1);
    assert_eq!(json["fabric_modules"][0]["discovery_enable_auth"], true);
    let listed: Vec<String> = moved.listed.iter().map(ToString::to_string).collect();
    assert!(!listed.iter().any(|what| what.contains("chap")), "{listed:?}");
}

/// A target with one ACL that says this.
fn there(acl: &str) -> String {
    format!(
        "[[backstore]]\nkind = \"null\"\nname = \"a\"\nsize = \"1G\"\n[[target]]\niqn = \"iqn.2026-11.org.example:t\"\n\
         [[target.tpg]]\nportals = [\"192.0.2.1:3260\"]\n[[target.tpg.lun]]\nlun = 0\nbackstore = \"a\"\n\
         [[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:i\"\n{acl}"
    )
}

#[test]
fn credentials_that_lio_did_not_ask_for_are_asked_for_here() {
    let config = checked(&imported(SIMPLE));
    assert!(config.targets[0].tpgs[0].acls[0].auth.required());
}

/// What becomes of the group of a target of LIO that asks for credentials and has none: its rules here, and how many ACLs
/// it has.
fn asking(group: &str, acl: &str) -> (String, usize) {
    let text = format!(
        r#"{{"targets": [{{"fabric": "iscsi", "wwn": "iqn.2003-01.a:b", "tpgs": [{{"tag": 1,
            "attributes": {{"authentication": 1{group}}}, "portals": [{{"ip_address": "192.0.2.1", "port": 3260}}],
            "node_acls": [{{"node_wwn": "iqn.2003-01.a:i"{acl}}}]}}]}}]}}"#
    );
    let toml = imported(&text);
    let rules = toml.lines().filter(|line| ["require", "any_in"].iter().any(|key| line.starts_with(key)));
    let tpg = &checked(&toml).targets[0].tpgs[0];
    assert_eq!(toml.contains("require_chap"), tpg.auth.required(), "{toml}");
    (rules.collect::<Vec<_>>().join("; "), tpg.acls.len())
}

#[test]
fn where_lio_asked_for_credentials_that_are_not_set_nobody_gets_in_either() {
    assert_eq!(asking("", ""), ("require_chap = true".into(), 1), "until there are some");
    let own = r#", "chap_userid": "u", "chap_password": "twelve letters""#;
    assert_eq!(asking("", own), ("require_chap = true".into(), 1));
    let open = r#", "generate_node_acls": 1"#;
    assert_eq!(asking(open, own), ("any_initiator = true; require_chap = true".into(), 1));
    // One is asked for nothing, and gets in; the rule is one for the group, so that others are left out.
    let free = r#", "attributes": {"authentication": 0}"#;
    assert_eq!(asking("", free), (String::new(), 1));
    let others = format!(r#"{free}}}, {{"node_wwn": "iqn.2003-01.a:j""#);
    assert_eq!(asking(open, &others), (String::new(), 1));
    let asked = r#", "attributes": {"authentication": 1}"#;
    assert_eq!(asking(r#", "authentication": 0"#, asked), (String::new(), 0));
}

#[test]
fn where_lio_told_nobody_of_targets_nobody_is_told_here_either() {
    let told = |module: &str| {
        let toml = imported(&format!(r#"{{"fabric_modules": [{{"name": "iscsi", {module}}}]}}"#));
        checked(&toml).discovery.auth.required()
    };
    assert!(told(r#""discovery_enable_auth": true"#));
    assert!(told(r#""discovery_enable_auth": true, "discovery_userid": "u""#), "half a credential");
    assert!(!told(r#""discovery_enable_auth": false"#));
    let toml = "[discovery]\nrequire_chap = true\n";
    assert!(checked(&there_and_back(toml)).discovery.auth.required());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Pieces of a configuration taken out, put elsewhere or replaced by something else: an answer, and no panic;
    /// what is imported can be checked, right or wrong, and exported when it is right.
    #[test]
    fn whatever_the_file_says_there_is_an_answer(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..40usize, piece()), 1..4)
    ) {
        let mut text = FULL.to_owned();
        for (at, length, piece) in cuts {
            let at = (0..=at.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let end = (at..=text.len()).find(|end| *end >= at + length && text.is_char_boundary(*end));
            text.replace_range(at..end.unwrap_or(text.len()), piece);
        }
        answer(&text);
    }

    /// One value of a configuration is another.
    #[test]
    fn whatever_a_value_is_there_is_an_answer(at in any::<prop::sample::Index>(), piece in piece()) {
        let colons: Vec<usize> = FULL.match_indices("\": ").map(|(at, _)| at + 3).collect();
        let start = colons[at.index(colons.len())];
        let end = FULL[start..].find(['\n']).map_or(FULL.len(), |end| start + end);
        let comma = if FULL[..end].ends_with(',') { "," } else { "" };
        answer(&[&FULL[..start], piece, comma, &FULL[end..]].concat());
    }
}

fn answer(text: &str) {
    let Ok(moved) = import(source(text)) else { return };
    let parsed = config::parse(Source::new("ringtgt.toml", moved.text.as_str()), Path::new("/"), Some(0o600));
    if let Ok((config, _)) = parsed {
        import(source(&export(&config, |_| None).text)).expect("what was exported can be imported");
    }
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(
        &[
            "",
            "null",
            "true",
            "-1",
            "0",
            "1e400",
            "18446744073709551616",
            "[]",
            "{}",
            "[[[[[[",
            "\"\"",
            "\"NULL\"",
            "\"\\ud800\"",
            "\"a\\nb\\u0000\"",
            "\"é\"",
            "[0, {}]",
            "{\"name\": null}",
            "\"iqn.2003-01.a:b\"",
            "\"0x10\"",
        ][..],
    )
}
