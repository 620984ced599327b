//! The mode pages as data: default bytes, what follows from the facts, and the few bits that can be set.

use std::ptr;

use super::super::provisioning::DESCRIPTORS;
use super::super::{DeviceType, Lu, LuFacts, Threshold};
use super::Settings;
use super::optical::{CAPABILITIES, TIMEOUT};

/// A mode page.
#[derive(Debug)]
pub(super) struct Page {
    /// Its default bytes with the header, settable bits and PS zero.
    fixed: &'static [u8],
    /// Writes what the facts decide, and what the state of the drive does.
    fill: fn(&Lu, &mut [u8]),
    /// The bits that follow [`Settings`].
    knobs: &'static [Knob],
    /// The threshold descriptors that do.
    dials: &'static [Dial],
    /// Whether the logical unit has the page.
    on: fn(&LuFacts) -> bool,
    /// The byte, if any, whose settable bits together say what is reserved.
    reserved: fn(&[u8]) -> Option<usize>,
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

/// A threshold that can be set.
#[derive(Debug)]
struct Dial {
    /// Where its descriptor begins.
    at: usize,
    get: fn(&Settings, &LuFacts) -> Threshold,
    set: fn(&mut Settings, Threshold),
}

/// ENABLED, in the first byte of a threshold descriptor.
const ENABLED: u8 = 0x80;

impl Dial {
    fn put(&self, threshold: Threshold, page: &mut [u8]) {
        page[self.at] |= if threshold.enabled { ENABLED } else { 0 };
        page[self.at + 4..self.at + 8].copy_from_slice(&threshold.count.to_be_bytes());
    }

    fn read(&self, page: &[u8]) -> Option<Threshold> {
        let [flags, _, _, _, a, b, c, d] = *page.get(self.at..)?.first_chunk()?;
        Some(Threshold { enabled: flags & ENABLED != 0, count: u32::from_be_bytes([a, b, c, d]) })
    }

    /// What stays as configured follows the configuration.
    fn turn(&self, settings: &mut Settings, to: Threshold, facts: &LuFacts) {
        if to != (self.get)(settings, facts) {
            (self.set)(settings, to);
        }
    }
}

/// The pages, in the order in which MODE SENSE gives all of them: ascending.
static PAGES: &[Page] = &[
    ERROR_RECOVERY,
    DISCONNECT,
    FORMAT,
    GEOMETRY,
    VERIFY_RECOVERY,
    CACHING,
    CONTROL,
    CONTROL_EXTENSION,
    HINTS,
    XOR,
    POWER,
    EXCEPTIONS,
    NO_THRESHOLDS,
    THRESHOLDS,
    TIMEOUT,
    CAPABILITIES,
];

/// The pages that the logical unit has, ascending.
pub(super) fn pages(facts: &LuFacts) -> impl Iterator<Item = &'static Page> {
    PAGES.iter().filter(|page| (page.on)(facts))
}

/// Some of the pages: a bit for each, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct PageSet(u16);

const _: () = assert!(PAGES.len() <= u16::BITS as usize);

impl PageSet {
    #[cfg(test)]
    pub(super) const ALL: Self = Self(u16::MAX);

    pub(super) fn add(&mut self, page: &'static Page) {
        let at = PAGES.iter().position(|known| ptr::eq(known, page));
        self.0 |= at.map_or(0, |at| 1 << at);
    }

    /// Those of them that the logical unit has.
    pub(super) fn of(self, facts: &LuFacts) -> impl Iterator<Item = &'static Page> {
        let named = PAGES.iter().enumerate().filter(move |(at, _)| self.0 >> at & 1 != 0);
        named.map(|(_, page)| page).filter(|page| (page.on)(facts))
    }
}

/// A page that every logical unit has, and on which nothing can be set.
const fn page(fixed: &'static [u8]) -> Page {
    Page { fixed, fill: |_, _| {}, knobs: &[], dials: &[], on: |_| true, reserved: |_| None }
}

/// A page that every disk has, and likewise.
const fn of_disks(fixed: &'static [u8]) -> Page {
    Page { on: |facts| facts.device == DeviceType::Disk, ..page(fixed) }
}

/// A page that every drive of the multimedia command set has, and likewise.
pub(super) const fn of_drives(fixed: &'static [u8], fill: fn(&Lu, &mut [u8])) -> Page {
    Page { fill, on: |facts| facts.device == DeviceType::Cdrom, ..page(fixed) }
}

/// Whether it is known how much space there is, and so a threshold can be watched.
fn counts_space(facts: &LuFacts) -> bool {
    facts.thin.is_some_and(|thin| thin.threshold_exponent != 0)
}

/// 01h, Read-Write Error Recovery (SBC-4 section 6.5.10). LBPERE: a threshold that is reached is told. Nothing else is
/// promised.
const ERROR_RECOVERY: Page = Page {
    knobs: &[Knob {
        byte: 7,
        mask: 0x80,
        get: |settings, facts| counts_space(facts) && !settings.silent_thresholds,
        set: |settings, on| settings.silent_thresholds = !on,
        changeable: counts_space,
    }],
    ..page(&[0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
};

/// 02h, Disconnect-Reconnect (SPC-5 section 7.5.12): no limit. iSCSI negotiates its bursts by text keys.
const DISCONNECT: Page = page(&[0x02, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// The geometry that software makes of any disk that has none: cylinders of 255 heads and 63 sectors.
const HEADS: u8 = 255;
const SECTORS: u8 = 63;

/// 03h, Format Device (SBC-2 section 6.3.5, since obsolete): hard sectors, and the sectors of a track.
const FORMAT: Page = Page {
    fill: |lu, page| {
        page[11] = SECTORS;
        page[12..14].copy_from_slice(&(lu.facts.block_size as u16).to_be_bytes());
    },
    ..of_disks(&[0x03, 0x16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x40, 0, 0, 0])
};

/// 04h, Rigid Disk Geometry (SBC-2 section 6.3.8, since obsolete): whole cylinders, as many as the field can say.
const GEOMETRY: Page = Page {
    fill: |lu, page| {
        let cylinders = lu.facts.blocks / (u64::from(HEADS) * u64::from(SECTORS));
        let [_, high, middle, low] = (cylinders.clamp(1, 0xff_ffff) as u32).to_be_bytes();
        page[2..6].copy_from_slice(&[high, middle, low, HEADS]);
    },
    ..of_disks(&[0x04, 0x16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
};

/// 07h, Verify Error Recovery (SBC-4 section 6.5.11): nothing is promised.
const VERIFY_RECOVERY: Page = of_disks(&[0x07, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// 08h, Caching (SBC-4 section 6.5.6): WCE.
const CACHING: Page = Page {
    knobs: &[Knob {
        byte: 2,
        mask: 0x04,
        get: Settings::caches,
        set: |settings, on| settings.write_through = !on,
        changeable: |facts| facts.write_cache,
    }],
    ..of_disks(&[0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
};

/// 0Ah, Control (SPC-5 section 7.5.13). TST 001b: each I_T nexus has its own task set. GLTSD: no log parameters are
/// saved. QUEUE ALGORITHM MODIFIER 1h: SIMPLE commands may be reordered; 0h: they are not. QERR 00b: a failed command
/// ends no other; 01b and 11b, which are the same here: it ends those of its nexus. TAS: whoever loses tasks by
/// another's doing is told by the status TASK ABORTED, unless that is switched off; then a unit attention tells it.
const CONTROL: Page = Page {
    knobs: &[
        Knob {
            byte: 2,
            mask: 0x04,
            get: |settings, _| settings.descriptor_sense,
            set: |settings, on| settings.descriptor_sense = on,
            changeable: |_| true,
        },
        Knob {
            byte: 3,
            mask: 0x10,
            get: |settings, _| !settings.restricted_reordering,
            set: |settings, on| settings.restricted_reordering = !on,
            changeable: |_| true,
        },
        Knob {
            byte: 3,
            mask: 0x02,
            get: |settings, _| settings.abort_on_error,
            set: |settings, on| settings.abort_on_error = on,
            changeable: |_| true,
        },
        Knob {
            byte: 3,
            mask: 0x04,
            get: |settings, _| settings.abort_own_on_error,
            set: |settings, on| settings.abort_own_on_error = on,
            changeable: |_| true,
        },
        Knob {
            byte: 4,
            mask: 0x08,
            get: |settings, _| settings.write_protect,
            set: |settings, on| settings.write_protect = on,
            changeable: |_| true,
        },
        Knob {
            byte: 5,
            mask: 0x40,
            get: |settings, _| !settings.silent_aborts,
            set: |settings, on| settings.silent_aborts = !on,
            changeable: |_| true,
        },
    ],
    reserved: |page| (page[3] & 0x06 == 0x04).then_some(3),
    ..page(&[0x0a, 0x0a, 0x22, 0, 0, 0, 0, 0, 0, 0, 0, 0])
};

/// 0Ah/01h, Control Extension (SPC-5 section 7.5.14). TCMOS: the clock is set when the target starts; SCSIP: what
/// SET TIMESTAMP says counts more. IALUAE: target port groups may change by themselves.
const CONTROL_EXTENSION: Page = Page {
    fill: |lu, page| page[4] |= u8::from(lu.facts.groups.iter().any(|group| group.implicit)),
    ..of_disks(&[
        0x4a, 0x01, 0, 0x1c, 0x06, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ])
};

/// 0Ah/05h, IO Advice Hints Grouping (SBC-4 section 6.5.9): a descriptor for each group number.
const HINTS: Page = of_disks(&NO_HINTS);

/// 16 bytes and 64 descriptors of 16, each of which says (mode 01b) that it has no hints.
const NO_HINTS: [u8; LONGEST] = {
    let mut page = [0; LONGEST];
    [page[0], page[1], page[2], page[3]] = [0x4a, 0x05, 0x04, 0x0c];
    let mut at = 16;
    while at < LONGEST {
        page[at] = 0x40;
        at += 16;
    }
    page
};

/// 10h, XOR Control (SBC-2 section 6.3.9, since obsolete). XORDIS: there are no such commands.
const XOR: Page = of_disks(&[0x10, 0x16, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// 1Ah, Power Condition (SPC-5 section 7.5.18): no timer runs.
const POWER: Page = page(&[
    0x1a, 0x26, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0,
]);

/// 1Ch, Informational Exceptions Control (SPC-5 section 7.5.16). DEXCPT: none are reported.
const EXCEPTIONS: Page = page(&[0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// 1Ch/02h, Logical Block Provisioning (SBC-4 section 6.5.8), of a unit of which it is not known how much space it has:
/// there are no thresholds.
const NO_THRESHOLDS: Page = Page {
    on: |facts| facts.thin.is_some() && !counts_space(facts),
    ..page(&[0x5c, 0x02, 0, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
};

/// The same page with two soft thresholds. Available resources (01h), armed decreasing (000b); used resources (02h),
/// armed increasing (001b). SITUA zero: every nexus is told.
const THRESHOLDS: Page = Page {
    on: counts_space,
    dials: &[
        Dial {
            at: DESCRIPTORS[0],
            get: Settings::available_threshold,
            set: |settings, to| settings.available = Some(to),
        },
        Dial {
            at: DESCRIPTORS[1],
            get: |settings, _| settings.used_threshold(),
            set: |settings, to| settings.used = Some(to),
        },
    ],
    ..page(&[
        0x5c, 0x02, 0, 0x1c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // the header and SITUA
        0x00, 0x01, 0, 0, 0, 0, 0, 0, // available
        0x01, 0x02, 0, 0, 0, 0, 0, 0, // used
    ])
};

/// The longest page, in bytes.
pub(super) const LONGEST: usize = 1040;

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
        if self.is_subpage() { self.fixed[1] } else { 0 }
    }

    /// SPF: the header is that of a subpage.
    fn is_subpage(&self) -> bool {
        self.fixed[0] & 0x40 != 0
    }

    /// Bytes before the page's parameters.
    fn header(&self) -> usize {
        if self.is_subpage() { 4 } else { 2 }
    }

    pub(super) fn len(&self) -> usize {
        self.fixed.len()
    }

    /// Whether `bytes` begins as this page does, but for PS, which MODE SELECT does not look at.
    pub(super) fn begins(&self, bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|first| first & 0x7f == self.fixed[0])
            && (self.subpage() == 0 || bytes.get(1) == Some(&self.subpage()))
    }

    /// The page's bytes, of which the first [`Page::len`] count. PS says that its values can be saved.
    pub(super) fn bytes(&self, values: Values<'_>, lu: &Lu) -> [u8; LONGEST] {
        let (mut bytes, facts) = ([0; LONGEST], &*lu.facts);
        match values {
            Values::Changeable => bytes[..self.header()].copy_from_slice(&self.fixed[..self.header()]),
            Values::Of(_) => {
                bytes[..self.len()].copy_from_slice(self.fixed);
                (self.fill)(lu, &mut bytes[..self.len()]);
            }
        }
        for knob in self.knobs {
            let one = match values {
                Values::Changeable => (knob.changeable)(facts),
                Values::Of(settings) => (knob.get)(settings, facts),
            };
            bytes[knob.byte] |= if one { knob.mask } else { 0 };
        }
        for dial in self.dials {
            let threshold = match values {
                Values::Changeable => Threshold { enabled: true, count: u32::MAX },
                Values::Of(settings) => (dial.get)(settings, facts),
            };
            dial.put(threshold, &mut bytes);
        }
        let settable = !self.knobs.is_empty() || !self.dials.is_empty();
        bytes[0] |= if facts.saves && settable { 0x80 } else { 0 };
        bytes
    }

    /// Takes what `bytes`, which is [`Page::len`] long, sets; or the byte that asks for something
    /// that cannot be changed.
    pub(super) fn set(&self, bytes: &[u8], settings: &mut Settings, lu: &Lu) -> Result<(), usize> {
        let current = self.bytes(Values::Of(settings), lu);
        let (mask, facts) = (self.bytes(Values::Changeable, lu), &*lu.facts);
        let asked = bytes.iter().zip(current.iter().zip(&mask)).enumerate().skip(1);
        for (at, (new, (old, free))) in asked {
            // The header is in the mask too, but may not change either.
            let free = if at < self.header() { 0 } else { *free };
            if (new ^ old) & !free != 0 {
                return Err(at);
            }
        }
        if let Some(at) = (self.reserved)(bytes) {
            return Err(at);
        }
        for knob in self.knobs.iter().filter(|knob| (knob.changeable)(facts)) {
            (knob.set)(settings, bytes.get(knob.byte).is_some_and(|b| b & knob.mask != 0));
        }
        for dial in self.dials {
            if let Some(to) = dial.read(bytes) {
                dial.turn(settings, to, facts);
            }
        }
        Ok(())
    }

    /// Sets in `to` what the page says of `from`, and nothing else.
    pub(super) fn copy(&self, from: &Settings, to: &mut Settings, facts: &LuFacts) {
        for knob in self.knobs.iter().filter(|knob| (knob.changeable)(facts)) {
            (knob.set)(to, (knob.get)(from, facts));
        }
        for dial in self.dials {
            dial.turn(to, (dial.get)(from, facts), facts);
        }
    }
}
