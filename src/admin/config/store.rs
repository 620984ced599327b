//! `[[backstore]]`: what logical units sit on.

use std::collections::HashMap;
use std::path::PathBuf;

use super::alua::AluaGroups;
use super::device;
use super::file::{FileAlua, FileBackstore};
use super::identity::{self, Identities};
use super::resolve::{Bounds, Resolver};
use super::{qos, words};
use crate::admin::size;
use crate::ids::LuId;
use crate::scsi::DeviceType;
use crate::store::{Io, StoreConfig, StoreKind, real_path};
use crate::target::Quota;

const KINDS: [StoreKind; 5] =
    [StoreKind::Block, StoreKind::Fileio, StoreKind::Ramdisk, StoreKind::Null, StoreKind::Pscsi];

const ANY_SIZE: Bounds = Bounds { min: 512, max: size::MAX, reason: "a disk has at least one block" };

const ANY_SPACE: Bounds = Bounds { min: 1, max: size::MAX, reason: "with none left it is too late" };

const NAME_MAX: usize = 64;

/// Reactors name the memory of each by sixteen bits, and a few are for other things.
pub(super) const MOST_STORES: usize = 65_000;

/// The stores of a file by name.
#[derive(Default)]
pub(super) struct Stores {
    pub(super) configs: Vec<StoreConfig>,
    by_name: HashMap<String, usize>,
    /// Where they really are.
    pub(super) paths: HashMap<PathBuf, String>,
    identities: Identities,
    pub(super) alua: AluaGroups,
    /// By the place of their stores.
    pub(super) quotas: HashMap<LuId, Quota>,
}

impl Stores {
    pub(super) fn resolve(files: Vec<FileBackstore>, cx: &mut Resolver<'_>) -> Self {
        let mut stores = Self::default();
        if let Some(first) = files.get(MOST_STORES) {
            let what = format!("there are {} backstores", files.len());
            let reason = format!("a daemon has numbers for {MOST_STORES}");
            cx.error(first.here.span.clone(), what, reason, "serve some of them by another daemon");
        }
        for mut file in files {
            let alua = file.alua.take();
            let quota = qos::resolve(file.qos.take(), cx);
            if quota.is_some() {
                stores.quotas.insert(LuId(stores.configs.len() as u32), quota);
            }
            stores.add(&file, alua, cx);
        }
        stores
    }

    /// The number of the store of that name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// All names, in the order of the file.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.configs.iter().map(|s| s.name.as_str())
    }

    fn add(&mut self, file: &FileBackstore, alua: Option<FileAlua>, cx: &mut Resolver<'_>) {
        let name = self.name(file, cx);
        // A wrong kind has been told; what depends on it is not judged, the rest is.
        let kind = kind(file, cx);
        let mut store = StoreConfig::new(kind.unwrap_or(StoreKind::Null), name);
        if let Some(kind) = kind {
            check_applicable(kind, file, cx);
            check_passed(kind, file, alua.as_ref(), cx);
            store.path = self.path(kind, file, cx);
            store.size = self.size(kind, file, cx);
        }
        let device = device::resolve(file, kind, cx);
        // What a disc says of its blocks has been judged with it.
        store.block_size = if device == DeviceType::Disk { block_size(file, cx) } else { None };
        check_size(&store, file, cx);
        store.io = io(file, cx);
        store.write_back = file.write_back.as_ref().map(|v| *v.get_ref());
        store.read_only = file.read_only.as_ref().is_some_and(|v| *v.get_ref());
        store.removable = file.removable.as_ref().is_some_and(|v| *v.get_ref());
        store.thin = file.thin.as_ref().map(|v| *v.get_ref());
        store.low_space = cx.size(&file.low_space, &ANY_SPACE);
        store.identity = identity::resolve(file, &mut self.identities, cx);
        if let Some(alua) = alua {
            store.groups = self.alua.resolve(self.configs.len(), alua, cx);
        }
        self.configs.push(if device == DeviceType::Cdrom { store.into_cdrom() } else { store });
    }

    fn name(&mut self, file: &FileBackstore, cx: &mut Resolver<'_>) -> String {
        let Some(value) = &file.name else {
            cx.missing(&file.here, "[[backstore]]", "name", "\"…\"");
            return String::new();
        };
        let name = value.get_ref();
        if let Some(what) = bad_name(name) {
            let reason = "the name is part of paths in the tree and of what initiators see";
            cx.error(value, what, reason, "use letters, digits and - _ . : + @");
        } else if self.by_name.insert(name.clone(), self.configs.len()).is_some() {
            let what = format!("there is a backstore \"{name}\" already");
            cx.error(value, what, "a LUN that names it could mean either", "choose another name");
        }
        name.clone()
    }

    fn path(&mut self, kind: StoreKind, file: &FileBackstore, cx: &mut Resolver<'_>) -> Option<PathBuf> {
        if !has_path(kind) {
            return None;
        }
        let Some(value) = file.path.as_ref() else {
            let example = match kind {
                StoreKind::Pscsi => "\"/dev/sg…\"",
                StoreKind::Block => "\"/dev/…\"",
                _ => "\"/…\"",
            };
            cx.missing(&file.here, "[[backstore]]", "path", example);
            return None;
        };
        let path = cx.path(value.get_ref());
        let real = real_path(&path);
        let name = file.name.as_ref().map(|n| n.get_ref().clone()).unwrap_or_default();
        let behind = if real == path { String::new() } else { format!(", which is {}", real.display()) };
        if let Some(other) = self.paths.insert(real, name) {
            cx.error(
                value,
                format!("backstore \"{other}\" uses {} already{behind}", path.display()),
                "a store is opened exclusively: two logical units would overwrite each other's data",
                "let several LUNs name the same backstore instead",
            );
        }
        Some(path)
    }

    fn size(&self, kind: StoreKind, file: &FileBackstore, cx: &mut Resolver<'_>) -> Option<u64> {
        if file.size.is_none() && !has_path(kind) {
            cx.missing(&file.here, "[[backstore]]", "size", "\"1G\"");
        }
        cx.size(&file.size, &ANY_SIZE)
    }
}

fn has_path(kind: StoreKind) -> bool {
    matches!(kind, StoreKind::Block | StoreKind::Fileio | StoreKind::Pscsi)
}

/// What is wrong with a name of something, if anything.
pub(super) fn bad_name(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:+@".contains(c);
    match name {
        "" => Some("the name is empty".into()),
        "." | ".." => Some(format!("\"{name}\" is no name")),
        _ if name.len() > NAME_MAX => Some(format!("the name is longer than {NAME_MAX} bytes")),
        _ => name.chars().find(|c| !allowed(*c)).map(|c| format!("{c:?} cannot be part of a name")),
    }
}

fn kind(file: &FileBackstore, cx: &mut Resolver<'_>) -> Option<StoreKind> {
    let Some(value) = &file.kind else {
        cx.missing(&file.here, "[[backstore]]", "kind", "\"block\"");
        return None;
    };
    let word = value.get_ref().as_str();
    let found = KINDS.into_iter().find(|k| k.word() == word);
    if found.is_none() {
        let what = format!("there is no kind of backstore \"{word}\"");
        cx.error(value, what, "", words::suggestion(word, KINDS.iter().map(|k| k.word())));
    }
    found
}

fn io(file: &FileBackstore, cx: &mut Resolver<'_>) -> Io {
    let Some(value) = &file.io else { return Io::Direct };
    let word = value.get_ref().as_str();
    Io::ALL.into_iter().find(|io| io.word() == word).unwrap_or_else(|| {
        let what = format!("a device cannot be worked on in the way \"{word}\"");
        cx.error(value, what, "", words::suggestion(word, Io::ALL.iter().map(|io| io.word())));
        Io::Direct
    })
}

/// Settings that mean nothing for a kind would mislead.
fn check_applicable(kind: StoreKind, file: &FileBackstore, cx: &mut Resolver<'_>) {
    let (memory, passed) = (!has_path(kind), kind == StoreKind::Pscsi);
    let checks = [
        ("path", file.path.as_ref().map(|v| v.span()), memory, "it has no file or device"),
        ("size", file.size.as_ref().map(|v| v.span()), kind == StoreKind::Block, "a device has its own size"),
        (
            "io",
            file.io.as_ref().map(|v| v.span()),
            kind != StoreKind::Block,
            "only block devices can be worked on in different ways",
        ),
        ("write_back", file.write_back.as_ref().map(|v| v.span()), memory, "it has no cache to write back"),
        (
            "low_space",
            file.low_space.as_ref().map(|v| v.span()),
            !passed && (kind != StoreKind::Fileio || file.thin.as_ref().is_some_and(|v| !v.get_ref())),
            "only of a sparse file it is known how much space is left",
        ),
        ("thin", file.thin.as_ref().map(|v| v.span()), memory, "it has no space on a disk"),
    ];
    for (key, span, wrong, reason) in checks {
        if let (Some(span), true) = (span, wrong) {
            let what = format!("`{key}` means nothing for kind = \"{}\"", kind.word());
            cx.error(span, what, reason, "remove the line");
        }
    }
}

/// Of a device that is passed through nearly everything is for the device to say.
fn check_passed(kind: StoreKind, file: &FileBackstore, alua: Option<&FileAlua>, cx: &mut Resolver<'_>) {
    if kind != StoreKind::Pscsi {
        return;
    }
    let (size, cache) = ("the device has its own size", "the device has a cache of its own, or none");
    let (names, space) = ("initiators see the names of the device", "the device manages its own space");
    let keys = [
        ("size", file.size.as_ref().map(|v| v.span()), size),
        ("block_size", file.block_size.as_ref().map(|v| v.span()), "the device has its own blocks"),
        ("write_back", file.write_back.as_ref().map(|v| v.span()), cache),
        ("removable", file.removable.as_ref().map(|v| v.span()), "the device says whether it is"),
        ("thin", file.thin.as_ref().map(|v| v.span()), space),
        ("low_space", file.low_space.as_ref().map(|v| v.span()), space),
        ("serial", file.serial.as_ref().map(|v| v.span()), names),
        ("naa", file.naa.as_ref().map(|v| v.span()), names),
        ("uuid", file.uuid.as_ref().map(|v| v.span()), names),
        ("vendor", file.vendor.as_ref().map(|v| v.span()), names),
        ("product", file.product.as_ref().map(|v| v.span()), names),
        ("revision", file.revision.as_ref().map(|v| v.span()), names),
        ("t10", file.t10.as_ref().map(|v| v.span()), names),
    ];
    for (key, span, reason) in keys {
        if let Some(span) = span {
            let what = format!("`{key}` means nothing for kind = \"pscsi\"");
            cx.error(span, what, reason, "remove the line");
        }
    }
    if alua.is_some() {
        let what = "target port groups cannot be had for kind = \"pscsi\"";
        cx.error(
            file.here.span.clone(),
            what,
            "its commands go to one device by one way",
            "remove [backstore.alua]",
        );
    }
}

fn block_size(file: &FileBackstore, cx: &mut Resolver<'_>) -> Option<u32> {
    let value = file.block_size.as_ref()?;
    match size::parse(&value.get_ref().0) {
        Ok(512) => Some(512),
        Ok(4096) => Some(4096),
        _ => {
            let what = format!("blocks of {} cannot be had", value.get_ref().0);
            cx.error(
                value,
                what,
                "initiators know disks of 512 and of 4096",
                "write block_size = 512 or 4096",
            );
            None
        }
    }
}

fn check_size(store: &StoreConfig, file: &FileBackstore, cx: &mut Resolver<'_>) {
    let (Some(size), Some(value)) = (store.size, &file.size) else { return };
    if let Err((what, remedy)) = check_geometry(size, store.block_size) {
        cx.error(value, what, "a disk is a whole number of blocks", remedy);
    }
}

/// Whether a disk of `size` bytes has a whole number of blocks; else what is wrong, and what to do.
pub fn check_geometry(size: u64, block_size: Option<u32>) -> Result<(), (String, String)> {
    let block = u64::from(block_size.unwrap_or(512));
    if size > 0 && size.is_multiple_of(block) {
        return Ok(());
    }
    let (below, above) = ((size / block * block).max(block), size.div_ceil(block).max(1) * block);
    let what = format!("{size} bytes are no whole number of blocks of {block}");
    let remedy = if below == above { format!("write {above}") } else { format!("write {below} or {above}") };
    Err((what, remedy))
}
