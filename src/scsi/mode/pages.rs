//! The mode pages as data: fixed bytes, and the few bits that can be set.

use super::super::LuFacts;
use super::Settings;

/// A mode page.
#[derive(Debug)]
pub(super) struct Page {
    /// Its default bytes with the header, settable bits zero. Bit 7 (PS) says that it can be saved.
    fixed: &'static [u8],
    /// The bits that follow [`Settings`].
    knobs: &'static [Knob],
}

/// One bit that can be set.
#[derive(Debug)]
struct Knob {
    byte: usize,
    mask: u8,
    get: fn(&Settings, &LuFacts) -> bool,
    set: fn(&mut Settings, bool),
    /// Whether this logical unit lets it be changed.
    changeable: fn(&LuFacts) -> bool,
}

/// The pages, in the order in which MODE SENSE gives all of them: ascending.
pub(super) static PAGES: &[Page] = &[ERROR_RECOVERY, CACHING, CONTROL, CONTROL_EXTENSION, EXCEPTIONS];

/// 01h, Read-Write Error Recovery (SBC-4 section 6.5.10): nothing is promised.
const ERROR_RECOVERY: Page = Page { fixed: &[0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], knobs: &[] };

/// 08h, Caching (SBC-4 section 6.5.6): WCE.
const CACHING: Page = Page {
    fixed: &[0x88, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    knobs: &[Knob {
        byte: 2,
        mask: 0x04,
        get: Settings::caches,
        set: |settings, on| settings.write_through = !on,
        changeable: |facts| facts.write_cache,
    }],
};

/// 0Ah, Control (SPC-5 section 7.5.13). TST 001b: each I_T nexus has its own task set. GLTSD: no
/// log parameters are saved. Unrestricted reordering. TAS: whoever loses tasks by another's doing
/// is told by the status TASK ABORTED, rather than left waiting for an answer.
const CONTROL: Page = Page {
    fixed: &[0x8a, 0x0a, 0x22, 0x10, 0, 0x40, 0, 0, 0, 0, 0, 0],
    knobs: &[
        Knob {
            byte: 2,
            mask: 0x04,
            get: |settings, _| settings.descriptor_sense,
            set: |settings, on| settings.descriptor_sense = on,
            changeable: |_| true,
        },
        Knob {
            byte: 4,
            mask: 0x08,
            get: |settings, _| settings.write_protect,
            set: |settings, on| settings.write_protect = on,
            changeable: |_| true,
        },
    ],
};

/// 0Ah/01h, Control Extension (SPC-5 section 7.5.14).
const CONTROL_EXTENSION: Page = Page {
    fixed: &[
        0x4a, 0x01, 0, 0x1c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0,
    ],
    knobs: &[],
};

/// 1Ch, Informational Exceptions Control (SPC-5 section 7.5.16). DEXCPT: none are reported.
const EXCEPTIONS: Page = Page { fixed: &[0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0], knobs: &[] };

/// The longest page, in bytes.
pub(super) const LONGEST: usize = 32;

/// Which values MODE SENSE asks for (PC).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Values<'a> {
    /// Ones where a bit can be changed.
    Changeable,
    /// The values of these settings.
    Of(&'a Settings),
}

impl Page {
    pub(super) fn code(&self) -> u8 {
        self.fixed[0] & 0x3f
    }

    /// The subpage code; 0 where there is none.
    pub(super) fn subpage(&self) -> u8 {
        if self.fixed[0] & 0x40 != 0 { self.fixed[1] } else { 0 }
    }

    /// Bytes before the page's parameters.
    fn header(&self) -> usize {
        if self.fixed[0] & 0x40 != 0 { 4 } else { 2 }
    }

    pub(super) fn len(&self) -> usize {
        self.fixed.len()
    }

    /// Whether `bytes` begins as this page does, but for PS, which MODE SELECT does not look at.
    pub(super) fn begins(&self, bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|first| first & 0x7f == self.fixed[0] & 0x7f)
            && (self.subpage() == 0 || bytes.get(1) == Some(&self.subpage()))
    }

    /// The page's bytes, of which the first [`Page::len`] count.
    pub(super) fn bytes(&self, values: Values<'_>, facts: &LuFacts) -> [u8; LONGEST] {
        let mut bytes = [0; LONGEST];
        let constant = if values == Values::Changeable { self.header() } else { self.len() };
        bytes[..constant].copy_from_slice(&self.fixed[..constant]);
        for knob in self.knobs {
            let one = match values {
                Values::Changeable => (knob.changeable)(facts),
                Values::Of(settings) => (knob.get)(settings, facts),
            };
            bytes[knob.byte] |= if one { knob.mask } else { 0 };
        }
        bytes
    }

    /// Takes what `bytes`, which is [`Page::len`] long, sets; or the byte that asks for something
    /// that cannot be changed.
    pub(super) fn set(&self, bytes: &[u8], settings: &mut Settings, facts: &LuFacts) -> Result<(), usize> {
        let current = self.bytes(Values::Of(settings), facts);
        let mask = self.bytes(Values::Changeable, facts);
        let asked = bytes.iter().zip(current.iter().zip(&mask)).enumerate().skip(1);
        for (at, (new, (old, free))) in asked {
            // The header is in the mask too, but may not change either.
            let free = if at < self.header() { 0 } else { *free };
            if (new ^ old) & !free != 0 {
                return Err(at);
            }
        }
        for knob in self.knobs.iter().filter(|knob| (knob.changeable)(facts)) {
            (knob.set)(settings, bytes.get(knob.byte).is_some_and(|b| b & knob.mask != 0));
        }
        Ok(())
    }
}
