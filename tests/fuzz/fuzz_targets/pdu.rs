//! Any bytes as PDU headers: the views agree with each other, and a header can be shown in one line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringtgt::wire::ahs;
use ringtgt::wire::bhs::{BHS_LEN, Bhs, DataIn, LoginRequest, NopOut, ScsiCommand, padding};
use ringtgt::wire::digest::{Crc, crc32c};
use ringtgt::wire::{lun, name, show};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Some(raw) = rest.first_chunk::<BHS_LEN>() {
        let bhs = Bhs::from_bhs(raw);
        views(raw, bhs);
        let (ahs, data) = (bhs.ahs_len(), bhs.data_len());
        let more = &rest[BHS_LEN..];
        let extra = &more[..ahs.min(more.len())];
        assert!(ahs::segments(extra).count() <= extra.len() / 3 + 1);
        digests(raw, extra);
        let whole = BHS_LEN + ahs + data + padding(data);
        rest = rest.get(whole..).unwrap_or(&rest[BHS_LEN..]);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        names(text);
    }
});

/// All views see the same bytes.
fn views(raw: &[u8; BHS_LEN], bhs: &Bhs) {
    assert_eq!(bhs.as_bhs(), raw);
    assert!(bhs.ahs_len() <= 255 * 4 && bhs.data_len() < 1 << 24);
    let command = ScsiCommand::from_bhs(raw);
    assert_eq!((command.data_len(), command.itt, command.as_bhs()), (bhs.data_len(), bhs.itt, raw));
    assert_eq!(NopOut::from_bhs(raw).lun, command.lun);
    assert_eq!(DataIn::from_bhs(raw).itt, LoginRequest::from_bhs(raw).itt);
    let mut again = *command;
    again.set_data_len(bhs.data_len());
    assert_eq!(again.as_bhs(), raw);
    if let Some(number) = lun::from_wire(command.lun) {
        assert_eq!(lun::from_wire(lun::to_wire(number)), Some(number));
    }
    let line = show::Line(raw).to_string();
    assert!(!line.is_empty() && line.len() < 1024 && !line.contains('\n'), "{line}");
}

/// A digest does not depend on how its bytes are cut.
fn digests(head: &[u8], tail: &[u8]) {
    let mut crc = Crc::new();
    crc.update(head);
    crc.update(tail);
    assert_eq!(crc.finish(), crc32c(&[head, tail].concat()));
}

/// A name that is normal stays as it is.
fn names(text: &str) {
    if let Ok(normal) = name::normalise(text) {
        assert!(normal.len() <= 223);
        assert_eq!(name::normalise(&normal).as_deref(), Ok(normal.as_str()));
    }
}
