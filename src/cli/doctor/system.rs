//! The kernel, the daemon's limits, its memory, and the processors.

use super::daemon::Served;
use super::finding::Finding;
use super::host::Host;
use crate::ring::{Caps, Unusable};

/// What it is worth not to wake a processor that sleeps, as measured.
pub(super) const WAKING: &str = "where that one sleeps, waking it takes about 16 µs of each I/O";

const UNIT: &str = "the unit has it (ringtgt.service); by hand: ";

pub(super) fn findings(host: &Host, served: Option<&Served>) -> Vec<Finding> {
    let mut all = vec![kernel(host, Caps::probe())];
    if let Some(served) = served.filter(|served| served.pid != 0) {
        all.extend(locked_memory(host, served));
        all.extend(open_files(host, served));
        all.extend(huge_pages(host, served));
    }
    all.extend(governor(host));
    all.extend(balancer(host));
    all
}

fn kernel(host: &Host, caps: Result<Caps, Unusable>) -> Finding {
    let release = host.text("/proc/sys/kernel/osrelease").unwrap_or_else(|| "?".into());
    let about = "kernel";
    match caps {
        Err(Unusable { cause, remedy }) => {
            let (is, why) = (format!("Linux {release}: {cause}"), "ringtgt needs io_uring");
            Finding::hint(about, is, why, "nothing is served", remedy).wrong()
        }
        Ok(caps) if caps.defer_taskrun => Finding::good(about, format!("Linux {release}: {caps}")),
        Ok(caps) => Finding::hint(
            about,
            format!("Linux {release}: {caps}"),
            "completions interrupt a reactor in its work",
            "at depth 1 an I/O takes 3 to 20 % more processor time",
            "Linux 6.1 or newer",
        ),
    }
}

/// The soft limit of that name in `/proc/PID/limits`; `u64::MAX` without one.
fn limit(host: &Host, pid: u64, name: &str) -> Option<u64> {
    let text = host.text(&format!("/proc/{pid}/limits"))?;
    let soft = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

/// Whether a ring of that process has buffers registered: what may lock as much as it likes (CAP_IPC_LOCK) can, whatever
/// its limit is.
fn has_registered(host: &Host, pid: u64) -> bool {
    let fds = format!("/proc/{pid}/fd");
    let is_ring = |fd: &String| host.link(&format!("{fds}/{fd}")).as_deref() == Some("anon_inode:[io_uring]");
    let count = |fd: String| {
        let info = host.text(&format!("/proc/{pid}/fdinfo/{fd}"))?;
        info.lines().find_map(|line| line.strip_prefix("UserBufs:")?.trim().parse::<u32>().ok())
    };
    host.names(&fds).into_iter().filter(is_ring).filter_map(count).any(|count| count > 0)
}

fn locked_memory(host: &Host, served: &Served) -> Option<Finding> {
    let limit = limit(host, served.pid, "Max locked memory")?;
    let (about, mib) = ("locked memory", served.buffers >> 20);
    if limit >= served.buffers || has_registered(host, served.pid) {
        return Some(Finding::good(about, format!("enough for {mib} MiB of buffers")));
    }
    Some(Finding::hint(
        about,
        format!("{} MiB may be locked, and buffers have {mib} MiB", limit >> 20),
        "buffers that are not registered are looked up page by page for every disk request",
        "128 KiB of a disk took 11.5 µs of a processor instead of 5.6; 4 KiB hardly more than with",
        format!("LimitMEMLOCK=infinity: {UNIT}ulimit -l unlimited"),
    ))
}

/// A connection and a store each have a descriptor; fewer than this many are soon used up.
const FEW_FILES: u64 = 4096;

fn open_files(host: &Host, served: &Served) -> Option<Finding> {
    let limit = limit(host, served.pid, "Max open files")?;
    let used = host.names(&format!("/proc/{}/fd", served.pid)).len() as u64;
    let (about, is) = ("open files", format!("{used} of {limit}"));
    let remedy = format!("LimitNOFILE=1048576: {UNIT}ulimit -n 1048576");
    if used >= limit - limit / 10 {
        let cost = format!("no more than {} further ones", limit.saturating_sub(used));
        return Some(Finding::hint(about, is, "the next initiators are turned away", cost, remedy).wrong());
    }
    if limit < FEW_FILES {
        let cost = format!("no more than {limit} of both together");
        return Some(Finding::hint(about, is, "each connection and each store has one", cost, remedy));
    }
    Some(Finding::good(about, is))
}

fn huge_pages(host: &Host, served: &Served) -> Option<Finding> {
    let maps = host.text(&format!("/proc/{}/smaps_rollup", served.pid))?;
    let line = maps.lines().find_map(|line| line.strip_prefix("AnonHugePages:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    let (about, is) = ("huge pages", format!("{} MiB of {} MiB", kib >> 10, served.buffers >> 20));
    if kib << 10 >= served.buffers / 2 || served.buffers == 0 {
        return Some(Finding::good(about, is));
    }
    let setting = host.chosen("/sys/kernel/mm/transparent_hugepage/enabled");
    let remedy = match setting.as_deref() {
        Some("never") => "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, and restart ringtgt",
        _ => "restart ringtgt when memory is not in pieces: soon after the machine has started",
    };
    let why = "buffers in small pages cost the processor more lookups";
    let cost = "512 of its entries for what takes one in a huge page; what that comes to was not measured";
    Some(Finding::hint(about, is, why, cost, remedy))
}

fn governor(host: &Host) -> Option<Finding> {
    let cpus = host.names("/sys/devices/system/cpu");
    let of = |cpu: &String| host.text(&format!("/sys/devices/system/cpu/{cpu}/cpufreq/scaling_governor"));
    let governors: Vec<String> = cpus.iter().filter_map(of).collect();
    let slow = governors.iter().find(|governor| *governor != "performance");
    match slow {
        Some(governor) => Some(Finding::hint(
            "processors",
            format!("the frequency governor is {governor}"),
            "an I/O that comes alone finds the processor slow",
            slowness(host),
            "cpupower frequency-set -g performance",
        )),
        None if governors.is_empty() => None,
        None => Some(Finding::good("processors", "the frequency governor is performance")),
    }
}

/// How slow the processor may be found.
fn slowness(host: &Host) -> String {
    let of = |which| host.number(&format!("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_{which}_freq"));
    match (of("min"), of("max")) {
        (Some(least), Some(most @ 1..)) => format!("at {} % of its speed at worst", least * 100 / most),
        _ => "as much as its lowest frequency is below its highest".into(),
    }
}

fn balancer(host: &Host) -> Option<Finding> {
    let is_it = |pid: &String| host.text(&format!("/proc/{pid}/comm")).as_deref() == Some("irqbalance");
    let runs = host.names("/proc").iter().any(is_it);
    runs.then(|| {
        Finding::hint(
            "irqbalance",
            "runs",
            "it moves a card's interrupts away from the reactors that they are for, to another processor",
            WAKING,
            "systemctl disable --now irqbalance, then /usr/share/ringtgt/tuning/nic-affinity apply INTERFACE CPUS",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::super::host::testing::Fake;
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max open files            1024                 1048576              files     \n\
                          Max locked memory         8388608              unlimited            bytes     \n";

    fn served() -> Served {
        Served { buffers: 64 << 20, ..super::super::daemon::testing::served(2) }
    }

    fn grades(findings: &[Finding]) -> Vec<(&str, Grade)> {
        findings.iter().map(|f| (f.about.as_str(), f.grade)).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_good() {
        let fake = Fake::with(&[
            ("/proc/7/limits", &LIMITS.replace("8388608", "unlimited").replace("1024 ", "65536")),
            ("/proc/7/smaps_rollup", "Rss: 70000 kB\nAnonHugePages:   65536 kB\n"),
            ("/proc/7/fd/0", ""),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
        ]);
        let found = findings(&fake.host, Some(&served()));
        let rest = &grades(&found)[1..];
        let good =
            ["locked memory", "open files", "huge pages", "processors"].map(|about| (about, Grade::Good));
        assert_eq!(rest, good);
    }

    #[test]
    fn what_is_not_has_a_remedy() {
        let fake = Fake::with(&[
            ("/proc/7/limits", LIMITS),
            ("/proc/7/smaps_rollup", "AnonHugePages:   0 kB\n"),
            ("/proc/9/comm", "irqbalance\n"),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_min_freq", "800000\n"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3200000\n"),
        ]);
        let found = &findings(&fake.host, Some(&served()))[1..];
        let hinted = ["locked memory", "open files", "huge pages", "processors", "irqbalance"]
            .map(|about| (about, Grade::Hint));
        assert_eq!(grades(found), hinted);
        let said = |f: &Finding| [&f.why, &f.cost, &f.remedy].into_iter().all(|text| !text.is_empty());
        assert!(found.iter().all(said), "{found:?}");
        assert_eq!(found[3].cost, "at 25 % of its speed at worst");
        assert!(found[0].is.contains("8 MiB may be locked, and buffers have 64 MiB"), "{}", found[0].is);
        assert!(found[2].remedy.contains("madvise"));
    }

    #[test]
    fn what_is_registered_was_not_too_much_for_the_limit() {
        let fake =
            Fake::with(&[("/proc/7/limits", LIMITS), ("/proc/7/fdinfo/4", "UserFiles:\t9\nUserBufs:\t1\n")]);
        fake.link("/proc/7/fd/4", "anon_inode:[io_uring]");
        let grade = || locked_memory(&fake.host, &served()).map(|finding| finding.grade);
        assert_eq!(grade(), Some(Grade::Good));
        fake.put("/proc/7/fdinfo/4", "UserBufs:\t0\n");
        assert_eq!(grade(), Some(Grade::Hint));
    }

    #[test]
    fn files_that_run_out_are_wrong() {
        let fake = Fake::with(&[("/proc/7/limits", &LIMITS.replace("1024 ", "10 "))]);
        (0..9).for_each(|n| fake.put(&format!("/proc/7/fd/{n}"), ""));
        let found = open_files(&fake.host, &served()).expect("a finding");
        assert_eq!((found.grade, found.is.as_str()), (Grade::Wrong, "9 of 10"));
    }

    #[test]
    fn a_kernel_is_judged_by_what_it_can() {
        let fake = Fake::with(&[("/proc/sys/kernel/osrelease", "5.10.0\n")]);
        let refused = Unusable { cause: "no".into(), remedy: "yes".into() };
        let judge = |caps| kernel(&fake.host, caps).grade;
        assert_eq!(judge(Err(refused)), Grade::Wrong);
        assert_eq!(judge(Ok(Caps::default())), Grade::Hint);
        assert_eq!(judge(Ok(Caps { defer_taskrun: true, ..Caps::default() })), Grade::Good);
    }

    #[test]
    fn what_cannot_be_seen_is_not_told() {
        let fake = Fake::with(&[]);
        assert_eq!(findings(&fake.host, Some(&served())).len(), 1, "the kernel, which is this one");
    }
}
