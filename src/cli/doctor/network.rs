//! Network settings of the kernel, and the cards.

use super::daemon::Served;
use super::finding::Finding;
use super::host::{Host, count_cpus};
use super::system::WAKING;

const SYSCTL: &str =
    "cp /usr/share/ringtgt/tuning/sysctl.conf /etc/sysctl.d/90-ringtgt.conf && sysctl --system";

pub(super) fn findings(host: &Host, served: Option<&Served>) -> Vec<Finding> {
    let mut all: Vec<Finding> = settings(host).into_iter().flatten().collect();
    all.extend(drops(host));
    all.extend(overflows(host));
    let reactors = served.map_or(0, |served| served.reactors);
    cards(host).iter().for_each(|card| all.extend(card_findings(host, card, reactors)));
    all
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

/// Logins that found no place to wait.
fn overflows(host: &Host) -> Option<Finding> {
    let text = host.text("/proc/net/netstat")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "ListenOverflows")?;
    let count: u64 = values.split_whitespace().nth(at)?.parse().ok()?;
    (count > 0).then(|| {
        let why =
            "that many connections of any service found no place to wait (since the machine has started)";
        let cost = "a second until each tries again, then two, then four";
        Finding::hint("listening", count.to_string(), why, cost, format!("net.core.somaxconn: {SYSCTL}"))
    })
}

/// Network cards that are up. What has no device behind it is loopback, a bridge or the like.
fn cards(host: &Host) -> Vec<String> {
    let is_up = |card: &String| {
        let dir = format!("/sys/class/net/{card}");
        host.exists(&format!("{dir}/device"))
            && host.text(&format!("{dir}/operstate")).as_deref() == Some("up")
    };
    host.names("/sys/class/net").into_iter().filter(is_up).collect()
}

fn card_findings(host: &Host, card: &str, reactors: usize) -> Vec<Finding> {
    [mtu(host, card), queues(host, card, reactors), interrupts(host, card)].into_iter().flatten().collect()
}

/// Why long packets are better.
pub(super) const PACKETS: &str =
    "the kernel's work for each packet is most of what a large transfer costs it";

/// Bytes of IPv4 and TCP, with time stamps, in each packet.
const HEADERS: u64 = 52;

/// In how many packets a large transfer goes that carry so many bytes each.
pub(super) fn packets(segment: u64) -> String {
    let count = |segment: u64| (128_u64 << 10).div_ceil(segment.max(1));
    format!("128 KiB are {} packets, and {} of 9,000 bytes", count(segment), count(9000 - HEADERS))
}

fn mtu(host: &Host, card: &str) -> Option<Finding> {
    let mtu = host.number(&format!("/sys/class/net/{card}/mtu"))?;
    let is = format!("MTU {mtu}");
    Some(if mtu >= 8900 {
        Finding::good(card, is)
    } else {
        let remedy =
            format!("where every switch and the other side have it too: ip link set {card} mtu 9000");
        Finding::hint(card, is, PACKETS, packets(mtu.saturating_sub(HEADERS)), remedy)
    })
}

fn queues(host: &Host, card: &str, reactors: usize) -> Option<Finding> {
    let names = host.names(&format!("/sys/class/net/{card}/queues"));
    let count = names.iter().filter(|name| name.starts_with("rx-")).count();
    if count == 0 || reactors == 0 {
        return None;
    }
    let is = format!("{count} receive queues for {reactors} reactors");
    Some(if count >= reactors {
        Finding::good(card, is)
    } else {
        let why = format!("{} reactors get their packets from another processor", reactors - count);
        Finding::hint(
            card,
            is,
            why,
            WAKING,
            format!("ethtool -L {card} combined {reactors}, then {}", affinity(card)),
        )
    })
}

/// How its queues come to where the reactors are, and how to see that they have.
fn affinity(card: &str) -> String {
    let script = "/usr/share/ringtgt/tuning/nic-affinity";
    format!("{script} apply {card} CPUS, and {script} check {card} DISK... tells whether all fits")
}

/// Whether its interrupts all end on one processor although it has several.
fn interrupts(host: &Host, card: &str) -> Option<Finding> {
    let irqs = host.names(&format!("/sys/class/net/{card}/device/msi_irqs"));
    let on = |irq: &String| host.text(&format!("/proc/irq/{irq}/effective_affinity_list"));
    let places: Vec<String> = irqs.iter().filter_map(on).collect();
    let cpus = host.text("/sys/devices/system/cpu/online").map_or(1, |list| count_cpus(&list));
    let one = places.windows(2).all(|pair| pair[0] == pair[1]);
    (places.len() > 2 && cpus > 1 && one).then(|| {
        let is = format!("all {} interrupts end on processor {}", places.len(), places[0]);
        let why = "that processor is busy with packets while others wait for them";
        let cost = format!("one of {cpus} processors does that work for all");
        Finding::hint(card, is, why, cost, affinity(card))
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::super::host::testing::Fake;
    use super::*;
    use crate::cli::away::Away;

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
            ("/sys/class/net/lo/mtu", "65536"),
            ("/sys/class/net/eth0/device/vendor", "x"),
            ("/sys/class/net/eth0/operstate", "up"),
            ("/sys/class/net/eth0/mtu", "9001"),
            ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "0"),
            ("/sys/class/net/eth0/queues/rx-1/rps_cpus", "0"),
            ("/sys/class/net/eth0/queues/tx-0/xps_cpus", "0"),
            ("/sys/devices/system/cpu/online", "0-3"),
        ])
    }

    fn served(reactors: usize) -> Served {
        Served { pid: 7, reactors, buffers: 0, stores: Some(vec![]), away: Away::default(), sessions: vec![] }
    }

    #[test]
    fn a_tuned_machine_has_nothing_to_hear() {
        let found = findings(&tuned().host, Some(&served(2)));
        assert!(found.iter().all(|f| f.grade == Grade::Good), "{found:#?}");
        assert_eq!(found.len(), 7);
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
            ("/sys/class/net/eth0/mtu", "1500"),
        ] {
            fake.put(name, text);
        }
        for irq in ["24", "25", "26"] {
            fake.put(&format!("/sys/class/net/eth0/device/msi_irqs/{irq}"), "msix");
            fake.put(&format!("/proc/irq/{irq}/effective_affinity_list"), "0\n");
        }
        let found = findings(&fake.host, Some(&served(4)));
        let said = |f: &Finding| f.grade == Grade::Hint && !f.cost.is_empty() && !f.remedy.is_empty();
        assert!(found.iter().all(said), "{found:#?}");
        assert_eq!(found.len(), 9);
        assert!(found[0].cost.contains("212 MB/s"), "{}", found[0].cost);
        for card in &found[7..] {
            assert!(card.remedy.contains("nic-affinity check eth0"), "{}", card.remedy);
        }
        assert_eq!(found[6].cost, "128 KiB are 91 packets, and 15 of 9,000 bytes");
        assert_eq!(found[4].is, "12", "packets, counted in hexadecimal");
    }
}
