//! From a configuration to `saveconfig.json`.

mod alua;

use std::collections::HashSet;

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{Listed, Moved, names};
use crate::admin::config::{Config, show_naa};
use crate::admin::socket::SocketOptions;
use crate::scsi::{DEFAULT_GROUP, DeviceType, Identity};
use crate::store::{Io, StoreConfig, StoreKind};
use crate::target::{Acl, Auth, Credential, Lun, Network, Target, Tpg, TpgParams};

/// LIO's bounds: the depth of a session, and the seconds of a login and of a NOP-In and its answer.
const DEPTH: (u64, u64) = (1, 512);
const LOGIN: (u64, u64) = (5, 30);
const NOP: (u64, u64) = (3, 60);

/// The last LUN that rtslib-fb maps for an initiator.
const LAST_MAPPED: u16 = 255;

/// Why a target port group is not what it is here.
const OWN_GROUP: &str = "LIO's own is \"default_tg_pt_gp\", number 0, and stays as it is";

/// What is said of a store that nobody has served yet.
pub const NAMELESS: &str = "it has no names yet: LIO will make some";

/// Why limits stay behind.
const UNLIMITED: &str = "LIO does not limit what there may be in a second";

/// Writes a configuration for LIO. `identity` tells what is saved of a store's names, if anything is.
pub fn export(config: &Config, mut identity: impl FnMut(&StoreConfig) -> Option<Identity>) -> Moved {
    let mut out = Export { listed: Vec::new(), lacking: HashSet::new(), config };
    let objects: Vec<Value> =
        config.stores.iter().filter_map(|store| out.store(store, identity(store))).collect();
    let targets: Vec<Value> = config.targets.iter().filter_map(|target| out.target(target)).collect();
    let modules = out.discovery();
    out.beside();
    let all = json!({ "fabric_modules": modules, "storage_objects": objects, "targets": targets });
    let text = serde_json::to_string_pretty(&all).unwrap_or_default();
    Moved { text: Zeroizing::new(text + "\n"), listed: out.listed }
}

struct Export<'c> {
    listed: Vec<Listed>,
    /// The names of stores that LIO cannot have.
    lacking: HashSet<&'c str>,
    config: &'c Config,
}

fn plugin(store: &StoreConfig) -> &'static str {
    match store.kind {
        StoreKind::Block => "block",
        StoreKind::Fileio => "fileio",
        StoreKind::Ramdisk | StoreKind::Null => "ramdisk",
        StoreKind::Pscsi => "pscsi",
    }
}

/// Why LIO cannot have a store.
fn left_out(store: &StoreConfig) -> Option<&'static str> {
    if store.device == DeviceType::Cdrom {
        return Some("LIO has no CD or DVD drives");
    }
    let unknown = store.kind == StoreKind::Fileio && store.size.is_none() && length(store).is_none();
    unknown.then_some("LIO must be told the size of a file, and this one is not there")
}

/// The size of what a store is in, which for a file that is one is its length; LIO finds that of a device by itself.
fn length(store: &StoreConfig) -> Option<u64> {
    std::fs::metadata(store.path.as_ref()?).ok().map(|meta| meta.len())
}

impl<'c> Export<'c> {
    fn list(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.listed.push(Listed { span: 0..0, path: path.into(), reason: reason.into() });
    }

    /// A number within LIO's bounds.
    fn bounded(&mut self, path: String, number: u64, (least, most): (u64, u64)) -> u64 {
        let within = number.clamp(least, most);
        if within != number {
            self.list(path, format!("it is from {least} to {most} in LIO: it is {within}"));
        }
        within
    }

    fn store(&mut self, store: &'c StoreConfig, identity: Option<Identity>) -> Option<Value> {
        let at = format!("backstore \"{}\"", store.name);
        if let Some(why) = left_out(store) {
            self.list(at, format!("{why}: it is left out, with its LUNs"));
            self.lacking.insert(&store.name);
            return None;
        }
        let mut object = Map::new();
        object.insert("name".into(), store.name.clone().into());
        object.insert("plugin".into(), plugin(store).into());
        object.insert("attributes".into(), self.attributes(store));
        if let Some(path) = &store.path {
            object.insert("dev".into(), path.display().to_string().into());
        }
        let found = length(store).filter(|length| store.kind == StoreKind::Fileio && *length > 0);
        if let Some(size) = store.size.or(found) {
            object.insert("size".into(), size.into());
        }
        match store.kind {
            StoreKind::Block => {
                object.insert("readonly".into(), store.read_only.into());
                object.insert("write_back".into(), false.into());
            }
            StoreKind::Fileio => {
                object.insert("write_back".into(), store.write_back.unwrap_or(true).into());
                object.insert("aio".into(), false.into());
            }
            StoreKind::Null => drop(object.insert("nullio".into(), true.into())),
            StoreKind::Ramdisk => self.list(&*at, "what is in it is in ringtgt's memory, and is not moved"),
            StoreKind::Pscsi => {}
        }
        self.without_counterpart(store, &at);
        if store.kind != StoreKind::Pscsi {
            object.extend(self.identity(store, identity, &at));
            self.groups(store, &at);
            object.insert("alua_tpgs".into(), alua::export(&store.groups));
        }
        Some(object.into())
    }

    fn attributes(&self, store: &StoreConfig) -> Value {
        if store.kind == StoreKind::Pscsi {
            return json!({});
        }
        let mut attributes = Map::new();
        if let Some(block) = store.block_size.or_else(|| (store.kind != StoreKind::Block).then_some(512)) {
            attributes.insert("block_size".into(), block.into());
        }
        attributes.insert("emulate_model_alias".into(), self.alias(store).into());
        if matches!(store.kind, StoreKind::Block | StoreKind::Fileio)
            && let Some(thin) = store.thin
        {
            attributes.insert("emulate_tpu".into(), u8::from(thin).into());
            attributes.insert("emulate_tpws".into(), u8::from(thin).into());
        }
        if store.kind == StoreKind::Fileio {
            let cached = store.write_back.unwrap_or(true);
            attributes.insert("emulate_write_cache".into(), u8::from(cached).into());
        }
        attributes.into()
    }

    /// Whether LIO takes the product's name from the storage object: unless it is that of the plugin.
    fn alias(&self, store: &StoreConfig) -> u8 {
        let of_plugin = names::product(plugin(store), &store.name, false);
        u8::from(store.identity.product.as_deref() != Some(&*of_plugin))
    }

    fn without_counterpart(&mut self, store: &StoreConfig, at: &str) {
        if store.removable {
            self.list(format!("{at}: removable"), "LIO has no removable media");
        }
        if self.config.is_limited(&store.name) {
            self.list(format!("{at}: qos"), UNLIMITED);
        }
        if store.low_space.is_some() {
            self.list(format!("{at}: low_space"), "LIO does not tell of that");
        }
        if store.read_only && store.kind != StoreKind::Block {
            self.list(
                format!("{at}: read_only"),
                "LIO says so of its LUNs only: all are mapped write-protected",
            );
        }
        if store.kind == StoreKind::Block && store.write_back.is_some() {
            self.list(format!("{at}: write_back"), "LIO asks the device whether it has a cache");
        }
        if store.io != Io::Direct {
            self.list(format!("{at}: io"), "LIO has one way to its devices");
        }
        if store.thin == Some(false) && store.kind == StoreKind::Fileio {
            self.list(format!("{at}: thin"), "LIO does not allocate the file");
        }
    }

    /// Groups that are others there.
    fn groups(&mut self, store: &StoreConfig, at: &str) {
        for group in alua::moved(&store.groups) {
            let at = format!("{at}: alua group \"{}\"", group.here.name);
            if group.is_another() {
                let (name, id) = (&group.name, group.id);
                self.list(at, format!("{OWN_GROUP}: this one is \"{name}\", number {id}"));
            } else if group.is_looser() {
                self.list(at, format!("{OWN_GROUP}: initiators may change its state there"));
            }
        }
    }

    /// What LIO makes its names of; those that come out otherwise are listed.
    fn identity(
        &mut self,
        store: &StoreConfig,
        saved: Option<Identity>,
        at: &str,
    ) -> Option<(String, Value)> {
        let chosen = &store.identity;
        let serial = chosen.serial.clone().or_else(|| Some(saved.as_ref()?.serial.clone()));
        let Some(serial) = serial else {
            self.list(at, NAMELESS);
            return None;
        };
        let identity = saved.or_else(|| Identity::fresh().ok()).and_then(|i| i.with(chosen).ok());
        if let Some(identity) = identity {
            let naa = show_naa(identity.naa.bytes());
            let theirs = names::naa(&serial);
            if naa != theirs {
                let reason = format!("LIO makes {theirs} of the serial number: initiators see another disk");
                self.list(format!("{at}: naa"), reason);
            }
            let product = names::product(plugin(store), &store.name, self.alias(store) == 1);
            let t10 = names::t10(&product, &serial);
            let ours = [&*identity.vendor, &identity.product, &identity.revision, identity.t10()];
            if ours != [names::VENDOR, &product, names::REVISION, &t10] {
                let reason = format!("LIO calls it {} {product} {}, {t10}", names::VENDOR, names::REVISION);
                self.list(format!("{at}: vendor, product, revision, t10"), reason);
            }
        }
        if chosen.uuid.is_some() {
            self.list(format!("{at}: uuid"), "LIO has no UUID designator");
        }
        Some(("wwn".into(), serial.into()))
    }

    fn target(&mut self, target: &Target) -> Option<Value> {
        let at = format!("target {}", target.iqn);
        self.name(&at, &target.iqn);
        if target.redirect.is_some() {
            self.list(format!("{at}: redirect"), "LIO sends nobody on");
        }
        if target.tpgs.is_empty() {
            self.list(at, "it has no group: it is left out");
            return None;
        }
        let tpgs: Vec<Value> = target.tpgs.iter().map(|tpg| self.tpg(tpg, target)).collect();
        Some(json!({ "fabric": "iscsi", "wwn": target.iqn, "tpgs": tpgs }))
    }

    fn name(&mut self, at: &str, name: &str) {
        if !names::is_taken(name) {
            let why = "rtslib-fb skips a name like this: it wants a domain of two parts, and no underscore";
            self.list(at, why);
        }
    }

    fn tpg(&mut self, tpg: &Tpg, target: &Target) -> Value {
        let at = format!("target {} group {}", target.iqn, tpg.tag);
        let asks = tpg.auth.required() || tpg.acls.iter().any(|acl| acl.auth.required());
        let luns: Vec<Value> = tpg.luns.iter().filter_map(|lun| self.lun(lun)).collect();
        let acls: Vec<Value> = tpg.acls.iter().map(|acl| self.acl(acl, tpg, asks, &at)).collect();
        let depth = self.bounded(format!("{at}: command_window"), tpg.params.command_window.into(), DEPTH);
        let login = self.bounded(format!("{at}: login_timeout"), tpg.params.login_timeout.as_secs(), LOGIN);
        let protect = self.protects(tpg, &at);
        let mut all = json!({
            "tag": tpg.tag,
            "enable": true,
            "attributes": {
                "authentication": u8::from(asks),
                "default_cmdsn_depth": depth,
                "demo_mode_write_protect": u8::from(protect),
                "generate_node_acls": u8::from(tpg.open),
                "login_timeout": login,
            },
            "parameters": parameters(&tpg.params, target.alias.as_deref()),
            "portals": portals(tpg),
            "luns": luns,
            "node_acls": acls,
        });
        self.credentials(&mut all, "chap_", &tpg.auth, &at);
        if tpg.open && asks && !tpg.auth.required() {
            self.list(
                &*at,
                "LIO asks everybody when it asks anybody: initiators without an ACL cannot log in",
            );
        }
        let (params, default) = (&tpg.params, TpgParams::default());
        if params.chap_algorithms != default.chap_algorithms {
            self.list(format!("{at}: chap_algorithms"), "LIO takes what its kernel has");
        }
        self.places(&tpg.from, &at);
        if tpg.relative_port != 0 {
            self.list(format!("{at}: relative_port"), "LIO gives such numbers itself");
        }
        all
    }

    fn places(&mut self, from: &[Network], at: &str) {
        if !from.is_empty() {
            self.list(
                format!("{at}: from"),
                "LIO lets initiators come from anywhere: a firewall must see to it",
            );
        }
    }

    /// Whether strangers may only read; LIO has that for all LUNs or none.
    fn protects(&mut self, tpg: &Tpg, at: &str) -> bool {
        let read_only = tpg.luns.iter().filter(|lun| self.read_only(lun)).count();
        if tpg.open && read_only > 0 && read_only < tpg.luns.len() {
            self.list(at, "strangers write all LUNs or none in LIO: none");
        }
        !tpg.open || read_only > 0
    }

    fn read_only(&self, lun: &Lun) -> bool {
        let store = self.config.stores.get(lun.lu.0 as usize);
        lun.read_only || store.is_some_and(|store| store.read_only && store.kind != StoreKind::Block)
    }

    fn lun(&self, lun: &Lun) -> Option<Value> {
        let store =
            self.config.stores.get(lun.lu.0 as usize).filter(|s| !self.lacking.contains(s.name.as_str()))?;
        let groups = alua::moved(&store.groups);
        let group = groups.iter().find(|g| g.here.id == lun.group).map_or(DEFAULT_GROUP, |g| &g.name);
        Some(json!({
            "index": lun.lun,
            "storage_object": format!("/backstores/{}/{}", plugin(store), store.name),
            "alua_tg_pt_gp_name": group,
        }))
    }

    fn acl(&mut self, acl: &Acl, tpg: &Tpg, asks: bool, at: &str) -> Value {
        let at = format!("{at} ACL {}", acl.initiator);
        if acl.quota.is_some() {
            self.list(format!("{at}: qos"), UNLIMITED);
        }
        self.places(&acl.from, &at);
        self.name(&at, &acl.initiator);
        let mapped: Vec<Value> = acl.luns.iter().filter_map(|lun| self.mapped(lun, tpg, &at)).collect();
        let interval = match tpg.params.nop_interval {
            // It never asks, here and there.
            never if never.is_zero() => 0,
            some => self.bounded(format!("{at}: nop_interval"), some.as_secs(), NOP),
        };
        let timeout = self.bounded(format!("{at}: nop_timeout"), tpg.params.nop_timeout.as_secs(), NOP);
        let auth = if acl.auth.required() { &acl.auth } else { &tpg.auth };
        let mut attributes = json!({ "nopin_timeout": interval, "nopin_response_timeout": timeout });
        if asks && !auth.required() {
            attributes["authentication"] = 0.into();
            self.list(&*at, "LIO asks it for no credentials only from Linux 6.1 on");
        }
        let mut all = json!({ "node_wwn": acl.initiator, "attributes": attributes, "mapped_luns": mapped });
        self.credentials(&mut all, "chap_", auth, &at);
        all
    }

    fn mapped(&mut self, lun: &Lun, tpg: &Tpg, at: &str) -> Option<Value> {
        self.lun(lun)?;
        if lun.lun > LAST_MAPPED {
            let why = format!("rtslib-fb maps LUNs up to {LAST_MAPPED}: it is left out");
            self.list(format!("{at}: mapped LUN {}", lun.lun), why);
            return None;
        }
        let same = |l: &&Lun| l.lu == lun.lu;
        let behind =
            tpg.luns.iter().filter(same).find(|l| l.lun == lun.lun).or_else(|| tpg.luns.iter().find(same))?;
        Some(json!({ "index": lun.lun, "tpg_lun": behind.lun, "write_protect": self.read_only(lun) }))
    }

    /// LIO has one userid at each door.
    fn credentials(&mut self, object: &mut Value, prefix: &str, auth: &Auth, at: &str) {
        let whole: Vec<&Credential> = auth.chap.iter().filter(|c| c.is_whole()).collect();
        // Where credentials are demanded and none are set, one without either half stands for that, and LIO does the same.
        if auth.chap.iter().any(|c| !c.is_whole() && !c.is_empty()) {
            let why =
                "it is unfinished, so that nobody can log in by it, neither here nor there: it is left out";
            self.list(format!("{at}: chap"), why);
        }
        let Some((first, others)) = whole.split_first() else { return };
        let mut put = |userid: &str, password: &str, credential: &Credential| {
            object[format!("{prefix}{userid}")] = credential.user.clone().into();
            object[format!("{prefix}{password}")] = credential.secret.expose_secret().into();
        };
        put("userid", "password", first);
        if let Some(mutual) = &auth.mutual {
            put("mutual_userid", "mutual_password", mutual);
        }
        for other in others {
            self.list(
                format!("{at}: chap of {}", other.user),
                "LIO has one userid at each door: it is left out",
            );
        }
    }

    fn discovery(&mut self) -> Vec<Value> {
        let auth = &self.config.discovery.auth;
        if !auth.required() {
            return Vec::new();
        }
        let mut module = json!({ "name": "iscsi", "discovery_enable_auth": true });
        self.credentials(&mut module, "discovery_", auth, "discovery");
        vec![module]
    }

    /// What is beside stores and targets.
    fn beside(&mut self) {
        if self.config.discovery.own_portal_only {
            self.list("discovery: show", "LIO shows every portal of a target");
        }
        for disk in &self.config.loopbacks {
            self.list(
                format!("loopback {}", disk.store),
                "targetcli makes LIO's own below /loopback, by another driver",
            );
        }
        for portal in &self.config.portals {
            let at = format!("portal {}", portal.address);
            if portal.redirect.is_some() {
                self.list(format!("{at}: redirect"), "LIO sends nobody on");
            }
            if portal.options != SocketOptions::default() {
                self.list(at, "LIO leaves sockets to the system");
            }
        }
        self.list("server", "what is said about reactors, memory and limits has no counterpart in LIO");
    }
}

fn portals(tpg: &Tpg) -> Vec<Value> {
    let one = |portal: &std::net::SocketAddr| {
        let text = portal.to_string();
        // LIO wants IPv6 addresses in brackets, too.
        let address = text.rsplit_once(':').map_or(&*text, |(address, _)| address);
        json!({ "ip_address": address, "port": portal.port(), "iser": false, "offload": false })
    };
    tpg.portals.iter().map(one).collect()
}

fn parameters(params: &TpgParams, alias: Option<&str>) -> Value {
    let yes = |flag: bool| if flag { "Yes" } else { "No" };
    let digest = |allowed| super::digest(allowed, params.require_digests);
    let mut all = json!({
        "HeaderDigest": digest(params.header_digest),
        "DataDigest": digest(params.data_digest),
        "MaxRecvDataSegmentLength": params.max_recv_data_segment_length.to_string(),
        "FirstBurstLength": params.first_burst_length.to_string(),
        "MaxBurstLength": params.max_burst_length.to_string(),
        "MaxOutstandingR2T": params.max_outstanding_r2t.to_string(),
        "DefaultTime2Wait": params.time2wait.to_string(),
        "DefaultTime2Retain": params.time2retain.to_string(),
        "InitialR2T": yes(params.initial_r2t),
        "ImmediateData": yes(params.immediate_data),
        "DataPDUInOrder": yes(params.data_pdu_in_order),
        "DataSequenceInOrder": yes(params.data_sequence_in_order),
    });
    if let Some(alias) = alias {
        all["TargetAlias"] = alias.into();
    }
    all
}
