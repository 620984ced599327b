//! `[backstore.qos]` and `[target.tpg.acl.qos]`: how much there may be in a second.

use super::file::FileQos;
use super::resolve::{Bounds, Resolver};
use crate::target::{Quota, Rate};

const IOPS: Bounds = Bounds { min: 1, max: 100_000_000, reason: "with none nobody would be answered" };

/// At the least of it a command of 1 MiB, the longest that Linux sends as it is set up, takes 16 s; initiators wait for 30.
/// The longest that there can be (32 MiB) would have those after it wait for 512 s.
const BANDWIDTH: Bounds = Bounds {
    min: 64 << 10,
    max: 1 << 40,
    reason: "a long command would take longer than initiators wait, or less time than can be measured",
};

/// Milliseconds.
const BURST: Bounds =
    Bounds { min: 10, max: 60_000, reason: "reactors share it out in slices of some milliseconds" };

pub(super) fn resolve(file: Option<FileQos>, cx: &mut Resolver<'_>) -> Quota {
    let Some(file) = file else { return Quota::default() };
    let iops = |value, cx: &mut Resolver<'_>| cx.number(value, &IOPS).map_or(0, u64::from);
    let rate = |commands, bytes, cx: &mut Resolver<'_>| Rate {
        commands: iops(commands, cx),
        bytes: cx.size(bytes, &BANDWIDTH).unwrap_or(0),
    };
    let read = rate(&file.read_iops, &file.read_bandwidth, cx);
    let write = rate(&file.write_iops, &file.write_bandwidth, cx);
    let quota = Quota { read, write, ..Quota::default() };
    if let Some(value) = &file.burst
        && !quota.is_some()
    {
        let reason = "what may be made up for is part of a limit";
        cx.error(value, "there is a burst, and no limit", reason, "add read_iops = 1000 or another limit");
    }
    let burst = cx.period(&file.burst, &BURST).unwrap_or(quota.burst);
    Quota { burst, ..quota }
}
