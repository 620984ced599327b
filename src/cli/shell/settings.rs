//! What can be set and got: each setting by its targetcli name, with its place in the configuration.

use std::sync::LazyLock;

use super::groups;
use super::node::{self, Node};
use crate::admin::config::{ACCESS, Config};
use crate::admin::edit::{Owner, Scalar};
use crate::admin::lio::{self, Known};
use crate::store::StoreKind;
use crate::target::Tpg;

/// The groups that have secrets.
pub(super) const SECRET_GROUPS: [&str; 2] = ["auth", "discovery_auth"];

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// 0 or 1 here, false or true there.
    Flag,
    /// Yes or No.
    YesNo,
    /// None, CRC32C or both, with a comma: without None it is demanded, which another key says for headers and data
    /// together.
    Digest,
    /// A whole number.
    Number,
    /// A size or a period.
    Word,
    /// Any text.
    Text,
    /// Half of a credential.
    Credential,
    /// Whether credentials are demanded: where it says so, and wherever there are some.
    Demand,
    /// What changes the state of a target port group.
    Access,
    /// It can only be looked at; why.
    Fixed(&'static str),
    /// LIO has it, and here it is the same for all.
    Lio(&'static Known),
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    /// Its key in the configuration.
    pub(super) key: &'static str,
    pub(super) form: Form,
    pub(super) help: &'static str,
}

pub(super) const fn s(
    group: &'static str,
    name: &'static str,
    key: &'static str,
    form: Form,
    help: &'static str,
) -> Setting {
    Setting { group, name, key, form, help }
}

const MC_S: &str = "a session has one connection; use several sessions and multipath";

/// These, and those of LIO that are fixed here, each in its group.
pub(super) fn with_lio(own: &[Setting], fixed: &[(&'static str, &'static [Known])]) -> Vec<Setting> {
    let mut all = own.to_vec();
    for (group, known) in fixed {
        let theirs = known.iter().filter(|k| own.iter().all(|s| s.name != k.name));
        let theirs = theirs.map(|k| s(group, k.name, "", Form::Lio(k), k.reason));
        let behind = own.iter().rposition(|s| s.group == *group).map_or(0, |last| last + 1);
        all.splice(behind..behind, theirs);
    }
    all
}

/// Why credentials stay demanded, in a group and at discovery.
pub(super) const DEMANDED: &str = "credentials are demanded wherever they are set, here or at an ACL: it stays 1 until `set auth \
                                   userid= password=` has taken them out there";
pub(super) const DEMANDED_BY_ALL: &str = "credentials are demanded wherever they are set: `set discovery_auth enable=0 userid= \
                                          password=`, in one line, takes them out as well";

/// Who is still asked for credentials when only those are who have some.
pub(super) const STILL_EACH: &str = "Initiators whose ACL has credentials are still asked for them; the others of this group are \
                                     let in without any.";
pub(super) const STILL_GROUP: &str =
    "The credentials of this group are still asked for: `set auth userid= password=` takes them out.";

const STRANGERS: &str = "whoever is let in without an ACL may write; `set attribute read_only=1` at a LUN protects it \
                         from everybody in this group, write_protect at a mapped LUN from one initiator";

const DATA_DIGEST: &str =
    "CRC32C of data, if the initiator wants it; without None it must, for headers as well";

/// The key that demands credentials, and keeps everybody out as long as there are none.
pub(super) const REQUIRE_CHAP: &str = "require_chap";

/// The key that demands digests.
pub(super) const REQUIRE_DIGESTS: &str = "require_digests";

static TPG: LazyLock<Vec<Setting>> =
    LazyLock::new(|| with_lio(OWN_TPG, &[("parameter", lio::OF_PARAMETERS), ("attribute", lio::OF_GROUPS)]));

static OWN_TPG: &[Setting] = &[
    s(
        "attribute",
        "authentication",
        REQUIRE_CHAP,
        Form::Demand,
        "whether initiators must prove who they are",
    ),
    s(
        "attribute",
        "demo_mode_write_protect",
        "",
        Form::Fixed(STRANGERS),
        "whether initiators without an ACL may only read",
    ),
    s("attribute", "generate_node_acls", "any_initiator", Form::Flag, "let initiators in that have no ACL"),
    s("attribute", "relative_port", "relative_port", Form::Number, "the number of this port"),
    s("attribute", "default_cmdsn_depth", "command_window", Form::Number, "commands of a session under way"),
    s("attribute", "login_timeout", "login_timeout", Form::Word, "how long a login may take"),
    s("attribute", "nopin_timeout", "nop_interval", Form::Word, "after what silence initiators are asked"),
    s("attribute", "nopin_response_timeout", "nop_timeout", Form::Word, "how long the answer may take"),
    s("auth", "userid", "user", Form::Credential, "what initiators without credentials of their own show"),
    s("auth", "password", "secret", Form::Credential, "its secret"),
    s("auth", "mutual_userid", "user", Form::Credential, "what the target shows in turn"),
    s("auth", "mutual_password", "secret", Form::Credential, "its secret"),
    s("parameter", "AuthMethod", "", Form::Lio(&AUTH_METHOD), "how initiators prove who they are"),
    s("parameter", "DataDigest", "data_digest", Form::Digest, DATA_DIGEST),
    s("parameter", "DataPDUInOrder", "data_pdu_in_order", Form::YesNo, "data of a sequence comes in order"),
    s("parameter", "DataSequenceInOrder", "data_sequence_in_order", Form::YesNo, "sequences come in order"),
    s("parameter", "DefaultTime2Retain", "time2retain", Form::Number, "seconds"),
    s("parameter", "DefaultTime2Wait", "time2wait", Form::Number, "seconds"),
    s("parameter", "ErrorRecoveryLevel", "", Form::Fixed("level 0 is all that Linux and Windows use"), "0"),
    s("parameter", "FirstBurstLength", "first_burst_length", Form::Word, "unsolicited bytes of a command"),
    s("parameter", "HeaderDigest", "header_digest", Form::Digest, "CRC32C of headers, likewise"),
    s("parameter", "ImmediateData", "immediate_data", Form::YesNo, "data may come with its command"),
    s("parameter", "InitialR2T", "initial_r2t", Form::YesNo, "no data without being asked for"),
    s("parameter", "MaxBurstLength", "max_burst_length", Form::Word, "bytes of a sequence"),
    s("parameter", "MaxConnections", "", Form::Fixed(MC_S), "connections of a session"),
    s("parameter", "MaxOutstandingR2T", "max_outstanding_r2t", Form::Number, "sequences of a task at once"),
    s(
        "parameter",
        "MaxRecvDataSegmentLength",
        "max_recv_data_segment_length",
        Form::Word,
        "bytes of a PDU's data",
    ),
    s("parameter", ALIAS, "alias", Form::Text, "a name of the target for people"),
];

/// Targetcli's name for the alias of a target, which it sets at a group.
const ALIAS: &str = "TargetAlias";

/// There it follows from `authentication`, too.
static AUTH_METHOD: Known = Known {
    name: "AuthMethod",
    default: None,
    reason: "credentials are asked for wherever there are some, or where `set attribute authentication=1` says so",
    is_moot: true,
};

const READ_IOPS: Setting =
    s("qos", "read_iops", "read_iops", Form::Number, "commands that read in a second, at most");
const WRITE_IOPS: Setting =
    s("qos", "write_iops", "write_iops", Form::Number, "commands that write in a second, at most");
const READ_BANDWIDTH: Setting =
    s("qos", "read_bandwidth", "read_bandwidth", Form::Word, "bytes read in a second, at most, like 100M");
const WRITE_BANDWIDTH: Setting =
    s("qos", "write_bandwidth", "write_bandwidth", Form::Word, "bytes written in a second, at most");
const BURST: Setting =
    s("qos", "burst", "burst", Form::Word, "who was idle so long may make up for that, like 100ms");

/// What LIO has for each initiator, and this for all of a group.
static SHARED: Known = Known {
    name: "",
    default: None,
    reason: "it is one for all initiators of the group, and is set there",
    is_moot: true,
};

static ACL: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let shared = OWN_TPG.iter().filter(|s| s.group == "parameter");
    let shared = shared.map(|s| Setting { form: Form::Lio(&SHARED), ..*s });
    with_lio(OWN_ACL, &[("attribute", lio::OF_ACLS)]).into_iter().chain(shared).collect()
});

static OWN_ACL: &[Setting] = &[
    s("attribute", "nopin_timeout", "", Form::Lio(&SHARED), "after what silence initiators are asked"),
    s("attribute", "nopin_response_timeout", "", Form::Lio(&SHARED), "how long the answer may take"),
    s("auth", "userid", "user", Form::Credential, "what this initiator shows"),
    s("auth", "password", "secret", Form::Credential, "its secret"),
    s("auth", "mutual_userid", "user", Form::Credential, "what the target shows it in turn"),
    s("auth", "mutual_password", "secret", Form::Credential, "its secret"),
    READ_IOPS,
    WRITE_IOPS,
    READ_BANDWIDTH,
    WRITE_BANDWIDTH,
    BURST,
];

static DISCOVERY: &[Setting] = &[
    s(
        "discovery_auth",
        "enable",
        REQUIRE_CHAP,
        Form::Demand,
        "whether initiators must prove who they are before they are told of targets",
    ),
    s("discovery_auth", "userid", "user", Form::Credential, "what initiators show"),
    s("discovery_auth", "password", "secret", Form::Credential, "its secret"),
    s("discovery_auth", "mutual_userid", "user", Form::Credential, "what is shown them in turn"),
    s("discovery_auth", "mutual_password", "secret", Form::Credential, "its secret"),
];

static STORE: LazyLock<Vec<Setting>> =
    LazyLock::new(|| with_lio(OWN_STORE, &[("attribute", lio::OF_STORES)]));

static OWN_STORE: &[Setting] = &[
    s("attribute", "block_size", "block_size", Form::Number, "512 or 4096"),
    s("attribute", "emulate_tpu", "thin", Form::Flag, "discarded space is given back"),
    s("attribute", "emulate_tpws", "thin", Form::Flag, "the same"),
    s("attribute", "emulate_write_cache", "write_back", Form::Flag, "a write is answered when it is cached"),
    s("attribute", "io", "io", Form::Text, "direct, polled or passthrough: how a block device is worked on"),
    s("attribute", "low_space", "low_space", Form::Word, "initiators are told when no more is left"),
    s("attribute", "naa", "naa", Form::Text, "the designator that initiators see"),
    s("attribute", "read_only", "read_only", Form::Flag, "nobody may write"),
    s("attribute", "removable", "removable", Form::Flag, "initiators may eject it"),
    s("attribute", "serial", "serial", Form::Text, "the serial number that initiators see"),
    s("attribute", "size", "size", Form::Word, "bytes, like 10G"),
    s("attribute", "thin", "thin", Form::Flag, "the same as emulate_tpu; 0 also allocates a file whole"),
    s("attribute", "uuid", "uuid", Form::Text, "the UUID that initiators see"),
    READ_IOPS,
    WRITE_IOPS,
    READ_BANDWIDTH,
    WRITE_BANDWIDTH,
    BURST,
];

static TARGET: &[Setting] = &[s("attribute", "alias", "alias", Form::Text, "a name for people")];

static LUN: &[Setting] = &[
    s("attribute", "alua_tg_pt_gp_name", "alua_group", Form::Text, "the target port group it is in"),
    s("attribute", "read_only", "read_only", Form::Flag, "nobody may write through this group"),
    s("alua", "alua_tg_pt_gp_name", "alua_group", Form::Text, "the same as the attribute"),
];

static MAPPED: &[Setting] =
    &[s("attribute", "write_protect", "read_only", Form::Flag, "this initiator may not write")];

/// The settings of a node.
pub(super) fn of(node: &Node) -> &'static [Setting] {
    match node {
        Node::Store(_) => &STORE,
        Node::AluaGroup(..) => &groups::SETTINGS,
        Node::Iscsi => DISCOVERY,
        Node::Target(_) => TARGET,
        Node::Tpg(..) => &TPG,
        Node::Acl(..) => &ACL,
        Node::Lun(..) => LUN,
        Node::Mapped(..) => MAPPED,
        _ => &[],
    }
}

/// The table in which a setting of a node stands.
pub(super) fn owner(node: &Node, setting: &Setting) -> Option<Owner> {
    Some(match node.clone() {
        Node::Store(name) if setting.group == "qos" => Owner::StoreQos(name),
        Node::Store(name) => Owner::Store(name),
        Node::AluaGroup(store, group) => Owner::AluaGroup(store, group),
        Node::Iscsi => Owner::Discovery,
        Node::Target(iqn) => Owner::Target(iqn),
        Node::Tpg(iqn, tag) => {
            let direct = ["any_initiator", "relative_port", REQUIRE_CHAP].contains(&setting.key);
            if setting.name == ALIAS {
                Owner::Target(iqn)
            } else if direct || setting.form == Form::Credential {
                Owner::Tpg(iqn, tag)
            } else {
                Owner::Parameters(iqn, tag)
            }
        }
        Node::Acl(iqn, tag, initiator) if setting.group == "qos" => Owner::AclQos(iqn, tag, initiator),
        Node::Acl(iqn, tag, initiator) => Owner::Acl(iqn, tag, initiator),
        Node::Lun(iqn, tag, lun) => Owner::Lun(iqn, tag, lun),
        Node::Mapped(iqn, tag, initiator, lun) => Owner::Mapped(iqn, tag, initiator, lun),
        _ => return None,
    })
}

/// Whether two ways to write a value mean the same.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || flag(one).is_ok_and(|one| flag(other) == Ok(one))
}

/// Yes or no, in any of the words for them.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(format!("\"{text}\" is neither true nor false")),
    }
}

impl Form {
    /// Whether it can only be looked at.
    pub(super) fn is_fixed(self) -> bool {
        matches!(self, Self::Fixed(_) | Self::Lio(_))
    }

    /// What is written in the configuration for `text`; nothing for an empty one, so that the default counts.
    pub(super) fn scalar(self, text: &str) -> Result<Option<Scalar>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        Ok(Some(match self {
            Self::Flag | Self::YesNo => Scalar::Flag(flag(text)?),
            Self::Demand if !flag(text)? => return Ok(None),
            Self::Demand => Scalar::Flag(true),
            Self::Digest => Scalar::Flag(allows_digest(text)?),
            Self::Access => Scalar::Text(groups::access(text)?.into()),
            Self::Number => Scalar::Number(text.parse().map_err(|_| format!("\"{text}\" is no number"))?),
            Self::Word => text.parse().map_or_else(|_| Scalar::Text(text.into()), Scalar::Number),
            Self::Text | Self::Credential => Scalar::Text(text.into()),
            Self::Fixed(why) => return Err(why.into()),
            Self::Lio(known) => return Err(known.reason.into()),
        }))
    }

    /// What it can be, where that is a list.
    pub(super) fn choices(self) -> Vec<&'static str> {
        match self {
            Self::Flag | Self::Demand => vec!["0", "1"],
            Self::YesNo => vec!["Yes", "No"],
            Self::Digest => vec!["None", "CRC32C", "CRC32C,None"],
            Self::Access => ACCESS.map(|(word, ..)| word).into(),
            _ => Vec::new(),
        }
    }

    /// How the value of the configuration is shown.
    pub(super) fn show(self, written: &str) -> String {
        match (self, written) {
            (Self::Flag, "true") => "1".into(),
            (Self::Flag, "false") => "0".into(),
            (Self::YesNo, "true") => "Yes".into(),
            (Self::YesNo, "false") => "No".into(),
            _ => written.into(),
        }
    }
}

fn allows_digest(text: &str) -> Result<bool, String> {
    let words: Vec<String> = text.split(',').map(|w| w.trim().to_ascii_lowercase()).collect();
    if words.iter().all(|w| w == "none" || w == "crc32c") {
        return Ok(words.iter().any(|w| w == "crc32c"));
    }
    Err(format!("\"{text}\" is not made of CRC32C and None"))
}

/// Whether nobody may do without that digest.
pub(super) fn demands_digest(text: &str) -> bool {
    text.split(',').all(|word| word.trim().eq_ignore_ascii_case("crc32c"))
}

/// What counts where nothing is written, or where one key does not say it all.
pub(super) fn default(node: &Node, setting: &Setting, config: &Config) -> String {
    if let Form::Lio(Known { default: Some(default), is_moot: false, .. }) = setting.form {
        return (*default).into();
    }
    match node {
        Node::AluaGroup(store, group) => groups::default(config, store, group, setting.name),
        Node::Tpg(iqn, tag) | Node::Acl(iqn, tag, _) => {
            node::tpg(config, iqn, *tag).map(|g| of_tpg(g, setting.name))
        }
        Node::Store(name) => node::store(config, name).map(|s| match setting.key {
            "read_only" => u8::from(s.read_only).to_string(),
            "removable" => u8::from(s.removable).to_string(),
            "io" if s.kind == StoreKind::Block => s.io.word().into(),
            "write_back" if s.kind == StoreKind::Fileio => "1".into(),
            _ => String::new(),
        }),
        Node::Iscsi if setting.form == Form::Demand => {
            Some(u8::from(config.discovery.auth.required()).to_string())
        }
        Node::Lun(..) if setting.key == "alua_group" => Some(crate::scsi::DEFAULT_GROUP.into()),
        Node::Lun(..) | Node::Mapped(..) => Some("0".into()),
        _ => None,
    }
    .unwrap_or_default()
}

fn of_tpg(tpg: &Tpg, name: &str) -> String {
    let p = &tpg.params;
    let flag = |on: bool, form: Form| form.show(if on { "true" } else { "false" });
    let demanded = tpg.auth.required() || tpg.acls.iter().any(|a| a.auth.required());
    match name {
        "authentication" => flag(demanded, Form::Flag),
        "demo_mode_write_protect" => flag(false, Form::Flag),
        "generate_node_acls" => flag(tpg.open, Form::Flag),
        "default_cmdsn_depth" => p.command_window.to_string(),
        "login_timeout" => crate::admin::period::show(p.login_timeout),
        "nopin_timeout" => crate::admin::period::show(p.nop_interval),
        "nopin_response_timeout" => crate::admin::period::show(p.nop_timeout),
        "DataDigest" => lio::digest(p.data_digest, p.require_digests).into(),
        "HeaderDigest" => lio::digest(p.header_digest, p.require_digests).into(),
        "DataPDUInOrder" => flag(p.data_pdu_in_order, Form::YesNo),
        "DataSequenceInOrder" => flag(p.data_sequence_in_order, Form::YesNo),
        "DefaultTime2Retain" => p.time2retain.to_string(),
        "DefaultTime2Wait" => p.time2wait.to_string(),
        "ErrorRecoveryLevel" => "0".into(),
        "MaxConnections" => "1".into(),
        "FirstBurstLength" => p.first_burst_length.to_string(),
        "ImmediateData" => flag(p.immediate_data, Form::YesNo),
        "InitialR2T" => flag(p.initial_r2t, Form::YesNo),
        "MaxBurstLength" => p.max_burst_length.to_string(),
        "MaxOutstandingR2T" => p.max_outstanding_r2t.to_string(),
        "MaxRecvDataSegmentLength" => p.max_recv_data_segment_length.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_there_and_back() {
        assert_eq!(Form::Flag.scalar("yes"), Ok(Some(Scalar::Flag(true))));
        assert_eq!(Form::Digest.scalar("CRC32C, None"), Ok(Some(Scalar::Flag(true))));
        assert_eq!(Form::Digest.scalar("none"), Ok(Some(Scalar::Flag(false))));
        assert_eq!(Form::Word.scalar("10G"), Ok(Some(Scalar::Text("10G".into()))));
        assert_eq!(Form::Word.scalar("512"), Ok(Some(Scalar::Number(512))));
        assert_eq!(Form::Text.scalar(""), Ok(None));
        for (form, bad) in
            [(Form::Flag, "2"), (Form::Digest, "md5"), (Form::Number, "x"), (Form::Fixed("w"), "1")]
        {
            assert!(form.scalar(bad).is_err(), "{bad}");
        }
        assert_eq!((Form::YesNo.show("true"), Form::Flag.show("false")), ("Yes".into(), "0".into()));
        assert!(demands_digest("crc32c, CRC32C") && !demands_digest("CRC32C,None") && !demands_digest(""));
    }
}
