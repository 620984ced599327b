//! `storage_objects`: what LUNs sit on.

use std::collections::{HashMap, HashSet};

use super::json::{Findings, Node, Object};
use super::known::{self, list_rest};
use super::text::Text;
use super::{alua, names};
use crate::admin::config::check_geometry;

/// What has become of the storage objects.
#[derive(Default)]
pub(super) struct Stores {
    /// By their path in LIO's tree; none where one was left out.
    by_path: HashMap<String, Option<Store>>,
    taken: HashSet<String>,
    devices: HashSet<String>,
    naas: HashSet<String>,
    serials: HashSet<String>,
}

/// One that is a backstore here.
pub(super) struct Store {
    /// Its name here.
    pub(super) name: String,
    /// The names of its target port groups, there and here.
    pub(super) groups: Vec<(String, String)>,
}

impl Stores {
    /// The one at that path: nothing is known of it, or it was left out, or this.
    pub(super) fn at(&self, path: &str) -> Option<Option<&Store>> {
        self.by_path.get(path).map(Option::as_ref)
    }

    fn name(&mut self, theirs: &str, node: &Node<'_>, found: &mut Findings<'_>) -> String {
        let name = names::unused(names::safe(theirs), |name| self.taken.contains(name));
        if name != theirs {
            found.list(node, format!("its name is {name} here"));
        }
        self.taken.insert(name.clone());
        name
    }
}

/// What all kinds have in common.
struct Common<'t> {
    plugin: String,
    theirs: String,
    name: String,
    attributes: Option<Object<'t>>,
}

pub(super) fn import<'t>(node: &Node<'t>, stores: &mut Stores, out: &mut Text, found: &mut Findings<'t>) {
    let Some(mut o) = node.object(found) else { return };
    let (theirs, plugin) = (o.needed("name", found), o.needed("plugin", found));
    let (Some(theirs), Some(plugin)) = (theirs, plugin) else { return };
    let path = format!("/backstores/{plugin}/{theirs}");
    if stores.by_path.contains_key(&path) {
        let what = format!("there is a storage object {path} already");
        return found.error(node, &what, "give it another name");
    }
    let attributes = o.object("attributes", found);
    let store = match refusal(&plugin, &o, attributes.as_ref(), stores) {
        Some(reason) => {
            found.list(node, reason);
            None
        }
        None => {
            let name = stores.name(&theirs, node, found);
            Some(write(o, Common { plugin, theirs, name, attributes }, stores, out, found))
        }
    };
    stores.by_path.insert(path, store);
}

/// Why it cannot be a backstore here, if it cannot.
fn refusal(
    plugin: &str,
    o: &Object<'_>,
    attributes: Option<&Object<'_>>,
    stores: &mut Stores,
) -> Option<String> {
    if !["block", "fileio", "ramdisk", "pscsi"].contains(&plugin) {
        return Some(format!(
            "there is no kind of backstore like {plugin} here: it is left out, with its LUNs"
        ));
    }
    let block = attributes.and_then(|a| a.peek("block_size")).map(|node| node.word());
    if let Some(block) = block.filter(|block| plugin != "pscsi" && !["512", "4096"].contains(&block.as_str()))
    {
        let what = "initiators know disks of 512 and of 4096";
        return Some(format!("blocks of {block} cannot be had, {what}: it is left out, with its LUNs"));
    }
    let device = if plugin == "ramdisk" { None } else { o.peek("dev").map(|node| node.word()) };
    if let Some(device) = &device
        && !device.starts_with('/')
    {
        return Some(format!("{device} is no path: it is left out, with its LUNs"));
    }
    let twice = device.filter(|device| !stores.devices.insert(device.clone()))?;
    Some(format!("another storage object has {twice} already: it is left out, with its LUNs"))
}

fn write<'t>(
    mut o: Object<'t>,
    common: Common<'t>,
    stores: &mut Stores,
    out: &mut Text,
    found: &mut Findings<'t>,
) -> Store {
    let Common { plugin, theirs, name, mut attributes } = common;
    let node = o.node.clone();
    out.section("[[backstore]]");
    let kind = kind(&plugin, &mut o, found);
    out.text("kind", kind);
    out.text("name", &name);
    if plugin != "ramdisk"
        && let Some(dev) = o.needed("dev", found)
    {
        out.text("path", &dev);
    }
    if plugin == "pscsi" {
        return passed(o, name, attributes, found);
    }
    let block = attributes.as_mut().and_then(|a| a.number("block_size", found));
    size(kind, &mut o, block, out, found);
    // A device has its own; everything else has blocks of 512 bytes there unless something is said.
    if let Some(block) = block.or_else(|| (kind != "block").then_some(512)) {
        out.value("block_size", block);
    }
    if plugin == "block" && o.flag("readonly", found).unwrap_or(false) {
        out.value("read_only", true);
    }
    cache(kind, &mut o, attributes.as_mut(), out, found);
    thin(kind, attributes.as_mut(), out, found);
    let alias = attributes.as_mut().and_then(|a| a.flag("emulate_model_alias", found)).unwrap_or(false);
    identity(&names::product(&plugin, &theirs, alias), &mut o, stores, out, found);
    let groups = o.list("alua_tpgs", found);
    let groups = alua::import(&groups, out, found);
    if kind == "ramdisk" {
        found.list(&node, "what is in it is in LIO's memory, and is not moved");
    }
    if let Some(attributes) = attributes {
        list_rest(attributes, known::OF_STORES, found);
    }
    list_rest(o, known::OF_OBJECTS, found);
    Store { name, groups }
}

/// A device that is passed through says everything itself.
fn passed<'t>(
    mut o: Object<'t>,
    name: String,
    attributes: Option<Object<'t>>,
    found: &mut Findings<'t>,
) -> Store {
    if let Some(node) = o.take("alua_tpgs").filter(|node| !node.items(found).is_empty()) {
        found.list(&node, "a device that is passed through has its own, or none");
    }
    for o in [attributes, Some(o)].into_iter().flatten() {
        list_rest(o, known::OF_PASSED, found);
    }
    Store { name, groups: Vec::new() }
}

fn kind<'t>(plugin: &str, o: &mut Object<'t>, found: &mut Findings<'t>) -> &'static str {
    match plugin {
        "block" => "block",
        "pscsi" => "pscsi",
        "ramdisk" if o.flag("nullio", found).unwrap_or(false) => "null",
        "ramdisk" => "ramdisk",
        _ => match o.peek("dev").cloned() {
            Some(dev) if is_device(&dev.word()) => {
                found.list(&dev, "this looks like a block device: its kind is \"block\" here");
                "block"
            }
            _ => "fileio",
        },
    }
}

fn is_device(path: &str) -> bool {
    path.starts_with("/dev/") && !path.starts_with("/dev/shm/")
}

fn size<'t>(kind: &str, o: &mut Object<'t>, block: Option<u64>, out: &mut Text, found: &mut Findings<'t>) {
    let Some(node) = o.take("size") else { return };
    let Some(size) = node.number(found) else { return };
    if kind == "block" {
        return found.list(&node, "a device has its own size");
    }
    let block = block.and_then(|block| u32::try_from(block).ok()).unwrap_or(512);
    let whole = size - size % u64::from(block);
    if whole > i64::MAX as u64 || check_geometry(whole, Some(block)).is_err() {
        return found.error(
            &node,
            "a disk of that size cannot be had",
            "write its size in bytes, at least one block",
        );
    }
    if whole != size {
        found.list(&node, format!("a disk is a whole number of blocks: it has {whole} bytes"));
    }
    out.value("size", whole);
}

/// Of a file LIO says whether writes may stay in its cache.
fn cache<'t>(
    kind: &str,
    o: &mut Object<'t>,
    attributes: Option<&mut Object<'t>>,
    out: &mut Text,
    found: &mut Findings<'t>,
) {
    if kind != "fileio" {
        return;
    }
    let emulated = attributes.and_then(|a| a.take("emulate_write_cache"));
    let said = o.flag("write_back", found);
    let shown = emulated.as_ref().and_then(|node| node.flag(found));
    if let (Some(said), Some(shown), Some(node)) = (said, shown, &emulated)
        && said != shown
    {
        found.list(node, "write_back says otherwise, and that is what counts");
    }
    out.value("write_back", said.or(shown).unwrap_or(false));
}

/// What becomes of it when LIO tells nobody of a file that space of it can be given back, as it does by itself.
pub const FILES_ARE_THIN: &str =
    "initiators may give space back here; thin = false forbids it, and allocates the file whole";

/// Whether initiators are told that they can give space back.
fn thin<'t>(kind: &str, attributes: Option<&mut Object<'t>>, out: &mut Text, found: &mut Findings<'t>) {
    if !["block", "fileio"].contains(&kind) {
        return;
    }
    let Some(attributes) = attributes else { return };
    let (unmap, same) = (attributes.take("emulate_tpu"), attributes.take("emulate_tpws"));
    let flags: Vec<bool> =
        [&unmap, &same].into_iter().flatten().filter_map(|node| node.flag(found)).collect();
    match (flags.contains(&true), kind, unmap.or(same)) {
        (true, ..) => out.value("thin", true),
        (false, "block", Some(_)) => out.value("thin", false),
        (false, _, Some(node)) => {
            found.list(&node, FILES_ARE_THIN);
        }
        (false, _, None) => {}
    }
}

/// The names by which initiators know the disk.
fn identity<'t>(
    product: &str,
    o: &mut Object<'t>,
    stores: &mut Stores,
    out: &mut Text,
    found: &mut Findings<'t>,
) {
    let node = o.take("wwn");
    let Some(serial) = node.as_ref().and_then(|node| node.text(found)).filter(|serial| !serial.is_empty())
    else {
        return found.list(&o.node, "it has no wwn: its names are new here, as they would be there");
    };
    let naa = names::naa(&serial);
    if stores.naas.insert(naa.clone()) {
        out.text("naa", &naa);
    } else {
        found.list(
            &o.node,
            format!("another disk is {naa}, too, as LIO makes it of its wwn: it has a new one here"),
        );
    }
    let printable = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if !stores.serials.insert(serial.clone()) {
        found.list(&o.node, "another disk has that wwn, too: this one has new names here");
        return;
    }
    if (1..=64).contains(&serial.len()) && serial.bytes().all(|b| b.is_ascii_graphic()) {
        out.text("serial", &serial);
    } else if let Some(node) = node {
        found.list(
            &node,
            "a serial number has 1 to 64 printable ASCII characters without spaces: it is left out",
        );
    }
    out.text("vendor", names::VENDOR);
    if !product.is_empty() && printable(product) {
        out.text("product", product);
    }
    out.text("revision", names::REVISION);
    let t10 = names::t10(product, &serial);
    if t10.len() <= crate::scsi::T10_MAX && printable(&t10) && t10.trim() == t10 {
        out.text("t10", &t10);
    } else {
        found.list(&o.node, "its T10 name is longer than 64 bytes, or not ASCII: that name is another here");
    }
}
