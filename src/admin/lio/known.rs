//! Attributes and parameters of LIO that have no counterpart here, with their defaults there.

use super::json::{Findings, Object};

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// LIO's default; none where it depends on the device.
    pub default: Option<&'static str>,
    /// Why there is no counterpart.
    pub reason: &'static str,
    /// Nobody would notice another value.
    pub is_moot: bool,
}

const fn known(name: &'static str, default: &'static str, reason: &'static str) -> Known {
    Known { name, default: Some(default), reason, is_moot: false }
}

const fn moot(name: &'static str, default: &'static str, reason: &'static str) -> Known {
    Known { is_moot: true, ..known(name, default, reason) }
}

/// It depends on the device what it is there, and nobody misses it here.
const fn varies(name: &'static str, reason: &'static str) -> Known {
    Known { name, default: None, reason, is_moot: true }
}

/// The device decides, there and here.
const fn of_device(name: &'static str) -> Known {
    Known { name, default: None, reason: "", is_moot: false }
}

const DEVICE: &str = "the device says so itself, and initiators are told what fits it";
const ALWAYS: &str = "it is always offered here";
const PROTECTION: &str = "protection information is not offered here";
const LEVEL: &str = "error recovery level 0 is all that is offered here";
const ORDER: &str = "data is always sent in order here";
const MARKERS: &str = "markers are gone from iSCSI (RFC 7143)";

/// Members of storage objects beside their attributes.
pub(super) const OF_OBJECTS: &[Known] = &[
    known("aio", "false", "io_uring is used in any case"),
    known("write_back", "false", "the device says whether it has a cache"),
];

/// Attributes of storage objects.
pub const OF_STORES: &[Known] = &[
    known("alua_support", "1", "target port groups are always offered here"),
    known("emulate_3pc", "1", ALWAYS),
    known("emulate_caw", "1", ALWAYS),
    known("emulate_dpo", "1", ALWAYS),
    known("emulate_fua_read", "1", ALWAYS),
    known("emulate_fua_write", "1", ALWAYS),
    known("emulate_pr", "1", "reservations are always offered here"),
    known("emulate_rest_reord", "0", "the order of commands is what their task attributes say"),
    known("emulate_rsoc", "1", ALWAYS),
    known("emulate_tas", "1", "who aborts tasks of others is what the control mode page says"),
    known("emulate_tpu", "0", "memory has no space on a disk"),
    known("emulate_tpws", "0", "memory has no space on a disk"),
    known("emulate_write_cache", "0", "the device says whether it has a cache"),
    known("emulate_ua_intlck_ctrl", "0", "unit attentions are not interlocked here"),
    known("enforce_pr_isids", "1", "reservations always belong to one session's port here"),
    known("force_pr_aptpl", "0", "the initiator says whether its reservation is to survive a power loss"),
    known("pgr_support", "1", "reservations are always offered here"),
    known("pi_prot_type", "0", PROTECTION),
    known("pi_prot_format", "0", PROTECTION),
    known("pi_prot_verify", "0", PROTECTION),
    known("submit_type", "0", "io_uring takes the place of it"),
    varies("complete_type", "io_uring takes the place of it"),
    varies("emulate_model_alias", "the model that initiators see is `product` of the [[backstore]]"),
    varies("hw_block_size", DEVICE),
    varies("hw_max_sectors", DEVICE),
    varies("hw_pi_prot_type", PROTECTION),
    varies("hw_queue_depth", DEVICE),
    varies("is_nonrot", DEVICE),
    varies("max_unmap_block_desc_count", DEVICE),
    varies("max_unmap_lba_count", DEVICE),
    varies("max_write_same_len", DEVICE),
    varies("optimal_sectors", DEVICE),
    varies("queue_depth", "default_cmdsn_depth of a group says how many commands may be under way"),
    varies("unmap_granularity", DEVICE),
    varies("unmap_granularity_alignment", DEVICE),
    varies("unmap_zeroes_data", DEVICE),
];

/// Parameters of targets.
pub(super) const OF_TARGETS: &[Known] = &[known(
    "cmd_completion_affinity",
    "-1",
    "a command ends here on the processor that its connection is on",
)];

/// Attributes of target portal groups.
pub const OF_GROUPS: &[Known] = &[
    moot("cache_dynamic_acls", "0", "initiators without an ACL leave nothing behind here"),
    known("default_erl", "0", LEVEL),
    known("demo_mode_discovery", "1", "discovery shows what an initiator may log in to"),
    known("fabric_prot_type", "0", PROTECTION),
    moot("login_keys_workaround", "1", "such initiators are served without being told to"),
    moot("netif_timeout", "2", "a portal stays open here when its link is lost"),
    known("prod_mode_write_protect", "0", "each mapped LUN says whether it is write-protected"),
    known("t10_pi", "0", PROTECTION),
    moot("tpg_enabled_sendtargets", "1", "every group is served, so all are shown"),
];

/// Of a device that is passed through, its names and attributes are its own.
pub(super) const OF_PASSED: &[Known] = &[
    of_device("alua_support"),
    of_device("emulate_model_alias"),
    of_device("emulate_pr"),
    of_device("hw_block_size"),
    of_device("hw_max_sectors"),
    of_device("hw_queue_depth"),
    of_device("pgr_support"),
    of_device("wwn"),
];

/// The random names that rtslib-fb gives to LUNs and mapped LUNs.
pub(super) const OF_LUNS: &[Known] = &[of_device("alias"), of_device("alua_tg_pt_gp_name")];

/// Attributes of ACLs.
pub const OF_ACLS: &[Known] = &[
    known("dataout_timeout", "3", "how long data may be owed depends here on who else waits for memory"),
    known("dataout_timeout_retries", "5", LEVEL),
    known("default_erl", "0", LEVEL),
    known("random_datain_pdu_offsets", "0", ORDER),
    known("random_datain_seq_offsets", "0", ORDER),
    known("random_r2t_offsets", "0", ORDER),
];

/// Keys of the negotiation.
pub const OF_PARAMETERS: &[Known] = &[
    known("ErrorRecoveryLevel", "0", LEVEL),
    known("IFMarkInt", "Reject", MARKERS),
    known("IFMarker", "No", MARKERS),
    known("MaxConnections", "1", "a session has one connection here; use several sessions and multipath"),
    moot("MaxXmitDataSegmentLength", "262144", "what the initiator declares is what is sent to it"),
    known("OFMarkInt", "Reject", MARKERS),
    known("OFMarker", "No", MARKERS),
];

/// Attributes of target port groups of a storage object.
pub const OF_ALUA: &[Known] = &[
    known("alua_access_status", "0", "it tells what has changed the state last"),
    known("alua_support_offline", "1", "that state is for units that cannot be reached at all"),
    known("alua_support_lba_dependent", "0", "there is no such state here"),
    moot("alua_write_metadata", "0", "states that were changed are always kept here, in state_dir"),
    moot("nonop_delay_msecs", "100", "a port that is not optimized is not made slower here"),
    moot("trans_delay_msecs", "0", "states change at once here"),
];

/// Lists what is left of `object`: what is as LIO has it by itself together with that of its like.
pub(super) fn list_rest(mut object: Object<'_>, known: &[Known], found: &mut Findings<'_>) {
    for (name, node) in object.rest() {
        match known.iter().find(|k| k.name == name) {
            Some(k) if k.default.is_none_or(|default| default == node.word()) => {
                found.usual(&object.node, name);
            }
            Some(k) => found.list(&node, k.reason),
            None => found.list(&node, "this is not known here"),
        }
    }
}
