//! Network settings of the kernel, and what it counts.

use super::finding::Finding;
use super::host::Host;

const SYSCTL: &str =
    "cp /usr/share/ringtgt/tuning/sysctl.conf /etc/sysctl.d/90-ringtgt.conf && sysctl --system";

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    settings(host).into_iter().chain([drops(host), listening(host)]).flatten().collect()
}

fn settings(host: &Host) -> [Option<Finding>; 4] {
    [
        at_least(
            host,
            "net.core.rmem_max",
            4 << 20,
            "a large write cannot be under way as a whole: bandwidth on lines with delay",
        ),
        at_least(
            host,
            "net.core.wmem_max",
            4 << 20,
            "a large read cannot be under way as a whole: bandwidth on lines with delay",
        ),
        congestion(host),
        slow_start(host),
    ]
}

/// The file of a setting.
fn file(setting: &str) -> String {
    format!("/proc/sys/{}", setting.replace('.', "/"))
}

fn at_least(host: &Host, setting: &str, least: u64, why: &str) -> Option<Finding> {
    let value = host.number(&file(setting))?;
    let is = value.to_string();
    if value >= least {
        return Some(Finding::good(setting, is));
    }
    let each_ms = value / 1000;
    let cost = format!(
        "where buffers have a size of their own, at most {each_ms} MB/s in a connection for 1 ms of delay"
    );
    Some(Finding::hint(setting, is, why, cost, SYSCTL))
}

fn congestion(host: &Host) -> Option<Finding> {
    let setting = "net.ipv4.tcp_congestion_control";
    let value = host.text(&file(setting))?;
    Some(if value == "bbr" {
        let why = "it paces what is sent; over a line with loss it can be the better one";
        Finding::hint(
            setting,
            value,
            why,
            "on loopback 44 % of the throughput at 64 KiB",
            "on a LAN: sysctl net.ipv4.tcp_congestion_control=cubic, or congestion of a portal",
        )
    } else {
        Finding::good(setting, value)
    })
}

fn slow_start(host: &Host) -> Option<Finding> {
    let setting = "net.ipv4.tcp_slow_start_after_idle";
    let value = host.number(&file(setting))?;
    Some(if value == 0 {
        Finding::good(setting, "0")
    } else {
        let why = "the first large transfer after each pause starts slowly, and I/O comes in bursts";
        let cost = "128 KiB in packets of 1,500 bytes take 4 round trips then instead of 1";
        Finding::hint(setting, value.to_string(), why, cost, SYSCTL)
    })
}

/// Packets that were dropped between card and TCP, on all processors: the second column, in hexadecimal.
fn drops(host: &Host) -> Option<Finding> {
    let text = host.text("/proc/net/softnet_stat")?;
    let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    let sum: u64 = text.lines().filter_map(dropped).sum();
    let about = "packets dropped before TCP";
    Some(if sum == 0 {
        Finding::good(about, "none")
    } else {
        let why = "each was sent again (since the machine has started)";
        let cost = "a pause of 200 ms for each at worst";
        Finding::hint(about, sum.to_string(), why, cost, format!("net.core.netdev_max_backlog: {SYSCTL}"))
    })
}

/// Connections that may wait to be accepted when all initiators come back at once.
const ROOM: u64 = 4096;

/// Whether there is room for connections to wait, where some found none.
fn listening(host: &Host) -> Option<Finding> {
    let (about, setting) = ("listening", "net.core.somaxconn");
    let room = host.number(&file(setting))?;
    let is = format!("{room} connections may wait");
    if room >= ROOM {
        return Some(Finding::good(about, is));
    }
    let count = overflows(host).filter(|count| *count > 0)?;
    let is = format!("{is}, and {count} found no place");
    let why = "initiators that lost the target all come back at once (of any service, since the machine has started)";
    let cost = "a second until each tries again, then two, then four";
    Some(Finding::hint(about, is, why, cost, format!("{setting}: {SYSCTL}")))
}

/// Connections that found no place to wait: whose they were is not counted.
fn overflows(host: &Host) -> Option<u64> {
    let text = host.text("/proc/net/netstat")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "ListenOverflows")?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::super::host::testing::Fake;
    use super::*;

    fn tuned() -> Fake {
        Fake::with(&[
            ("/proc/sys/net/core/rmem_max", "16777216"),
            ("/proc/sys/net/core/wmem_max", "16777216"),
            ("/proc/sys/net/ipv4/tcp_congestion_control", "cubic"),
            ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "0"),
            ("/proc/net/softnet_stat", "0000abcd 00000000 00000001\n00000001 00000000 00000000\n"),
            (
                "/proc/net/netstat",
                "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 3 0\nIpExt: a\nIpExt: 1\n",
            ),
            ("/proc/sys/net/core/somaxconn", "4096"),
        ])
    }

    #[test]
    fn a_tuned_machine_has_nothing_to_hear() {
        let found = findings(&tuned().host);
        assert!(found.iter().all(|f| f.grade == Grade::Good), "{found:#?}");
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn every_setting_that_costs_is_told() {
        let fake = tuned();
        for (name, text) in [
            ("/proc/sys/net/core/rmem_max", "212992"),
            ("/proc/sys/net/core/wmem_max", "212992"),
            ("/proc/sys/net/ipv4/tcp_congestion_control", "bbr"),
            ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "1"),
            ("/proc/net/softnet_stat", "0000abcd 0000000a 00000001\n00000001 00000002 00000000\n"),
            ("/proc/net/netstat", "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 3 5\n"),
            ("/proc/sys/net/core/somaxconn", "128"),
        ] {
            fake.put(name, text);
        }
        let found = findings(&fake.host);
        let said = |f: &Finding| f.grade == Grade::Hint && !f.cost.is_empty() && !f.remedy.is_empty();
        assert!(found.iter().all(said), "{found:#?}");
        assert_eq!(found.len(), 6);
        assert!(found[0].cost.contains("212 MB/s"), "{}", found[0].cost);
        assert_eq!(found[4].is, "12", "packets, counted in hexadecimal");
        assert_eq!(found[5].is, "128 connections may wait, and 5 found no place");
        // What is counted stays: who has made room has done what can be done.
        fake.put("/proc/sys/net/core/somaxconn", "4096");
        assert_eq!(findings(&fake.host)[5], Finding::good("listening", "4096 connections may wait"));
    }
}
