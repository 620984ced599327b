//! `device_type`: what initiators take a backstore for.

use std::ops::Range;

use super::file::FileBackstore;
use super::resolve::Resolver;
use super::words;
use crate::admin::size;
use crate::scsi::DeviceType;
use crate::store::StoreKind;

const TYPES: [DeviceType; 2] = [DeviceType::Disk, DeviceType::Cdrom];

/// The device type, and nothing beside it that contradicts it.
pub(super) fn resolve(file: &FileBackstore, kind: Option<StoreKind>, cx: &mut Resolver<'_>) -> DeviceType {
    let Some(value) = &file.device_type else { return DeviceType::Disk };
    let word = value.get_ref().as_str();
    let Some(device) = TYPES.into_iter().find(|device| device.word() == word) else {
        let what = format!("there is no device type \"{word}\"");
        cx.error(value, what, "", words::suggestion(word, TYPES.iter().map(|device| device.word())));
        return DeviceType::Disk;
    };
    match (device, kind) {
        (DeviceType::Disk, _) => {}
        (DeviceType::Cdrom, Some(kind @ (StoreKind::Ramdisk | StoreKind::Null))) => {
            let what = format!("a backstore of kind \"{}\" cannot be a disc", kind.word());
            let reason = "there is nothing on it, and nobody could write it";
            cx.error(value, what, reason, "use kind = \"fileio\"");
        }
        (DeviceType::Cdrom, Some(StoreKind::Pscsi)) => {
            let what = "`device_type` means nothing for kind = \"pscsi\"";
            cx.error(value, what, "the device says what it is", "remove the line");
        }
        (DeviceType::Cdrom, _) => check_disc(file, cx),
    }
    device
}

/// What a disc is can be said again, but not otherwise; what is about writing means nothing for it.
fn check_disc(file: &FileBackstore, cx: &mut Resolver<'_>) {
    let is_other = |bytes: &str| size::parse(bytes) != Ok(2048);
    let block_size = file.block_size.as_ref().filter(|v| is_other(&v.get_ref().0));
    let no = |value: &Option<toml::Spanned<bool>>| value.as_ref().filter(|v| !v.get_ref()).map(|v| v.span());
    let contradictions = [
        ("read_only", no(&file.read_only), "initiators cannot write to a CD-ROM or DVD-ROM"),
        ("removable", no(&file.removable), "a disc can be taken out of its drive"),
        ("block_size", block_size.map(|v| v.span()), "the blocks of a disc have 2048 bytes"),
        ("size", file.size.as_ref().map(|v| v.span()), "the disc is as large as its image"),
        ("write_back", file.write_back.as_ref().map(|v| v.span()), "nobody writes to it"),
        ("thin", file.thin.as_ref().map(|v| v.span()), "nobody writes to it"),
        ("low_space", file.low_space.as_ref().map(|v| v.span()), "it takes no more space than it has"),
    ];
    for (key, span, reason) in contradictions {
        if let Some(span) = span {
            contradiction(key, span, reason, cx);
        }
    }
}

fn contradiction(key: &str, span: Range<usize>, reason: &str, cx: &mut Resolver<'_>) {
    let what = format!("`{key}` cannot be set so for device_type = \"cdrom\"");
    cx.error(span, what, reason, "remove the line");
}
