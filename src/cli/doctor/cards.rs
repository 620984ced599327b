//! The network cards that carry what is served: how long their packets are, and to which processors they come.

use std::collections::BTreeSet;

use super::daemon::Served;
use super::finding::{Finding, count};
use super::host::{Host, count_cpus, masked_cpus};
use super::system::WAKING;

pub(super) fn findings(host: &Host, served: Option<&Served>) -> Vec<Finding> {
    let reactors = served.map_or(0, |served| served.reactors);
    let of = |card: &String| [mtu(host, card), queues(host, card, reactors), interrupts(host, card)];
    cards(host, served).iter().flat_map(of).flatten().collect()
}

/// Those that are up and below an address at which the daemon is reached: without a daemon, all that are up. What has no
/// device behind it is loopback, a bridge or the like.
fn cards(host: &Host, served: Option<&Served>) -> Vec<String> {
    let is_card = |card: &String| {
        let dir = format!("/sys/class/net/{card}");
        host.exists(&format!("{dir}/device"))
            && host.text(&format!("{dir}/operstate")).as_deref() == Some("up")
    };
    let carrying = served.map(|served| carrying(host, served));
    let carries = |card: &String| carrying.as_ref().is_none_or(|carrying| carrying.contains(card));
    host.names("/sys/class/net").into_iter().filter(|card| is_card(card) && carries(card)).collect()
}

/// The interfaces that have such an address, and those below them.
fn carrying(host: &Host, served: &Served) -> BTreeSet<String> {
    let is_ours = |address| served.addresses.iter().any(|ours| ours.is_unspecified() || *ours == address);
    let interfaces = (host.addresses)().into_iter().filter(|(_, address)| is_ours(*address));
    // An address of IPv4 may have a label behind its interface, as in eth0:1.
    interfaces.flat_map(|(name, _)| with_lower(host, name.split(':').next().unwrap_or_default())).collect()
}

/// An interface, and what it is made of: bonds, bridges and VLANs have others below.
fn with_lower(host: &Host, interface: &str) -> Vec<String> {
    let links = host.names(&format!("/sys/class/net/{interface}"));
    let lower = links.iter().filter_map(|link| link.strip_prefix("lower_"));
    let below: Vec<String> = lower.flat_map(|lower| with_lower(host, lower)).collect();
    std::iter::once(interface.to_owned()).chain(below).collect()
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
    let receiving: Vec<String> = names.into_iter().filter(|name| name.starts_with("rx-")).collect();
    if receiving.is_empty() || reactors == 0 {
        return None;
    }
    let cpus = reached(host, card, &receiving);
    let spread = if cpus > receiving.len() {
        format!(", spread to {}", count(cpus, "processor"))
    } else {
        String::new()
    };
    let is =
        format!("{}{spread}, for {}", count(receiving.len(), "receive queue"), count(reactors, "reactor"));
    Some(if cpus >= reactors {
        Finding::good(card, is)
    } else {
        let why = format!("packets come to {}, from where the others are woken", count(cpus, "processor"));
        Finding::hint(card, is, why, WAKING, more_queues(host, card, receiving.len(), reactors))
    })
}

/// To how many processors packets come: by the interrupt of each queue to one, or from there to those that it spreads them to
/// (RPS).
fn reached(host: &Host, card: &str, receiving: &[String]) -> usize {
    let spread = |queue: &String| host.text(&format!("/sys/class/net/{card}/queues/{queue}/rps_cpus"));
    let masks: Vec<BTreeSet<usize>> =
        receiving.iter().map(|queue| masked_cpus(&spread(queue).unwrap_or_default())).collect();
    let by_interrupt = masks.iter().filter(|cpus| cpus.is_empty()).count();
    by_interrupt + masks.into_iter().flatten().collect::<BTreeSet<usize>>().len()
}

/// How packets come to as many processors as there are reactors: what the card has not in queues, software does.
fn more_queues(host: &Host, card: &str, queues: usize, reactors: usize) -> String {
    let affinity = affinity(card);
    match (host.most_queues)(card) {
        Some(most) if most <= queues => {
            format!("it has no more queues: spread packets by software, {affinity}")
        }
        Some(most) => format!("ethtool -L {card} combined {}, then {affinity}", most.min(reactors)),
        None => format!(
            "where ethtool -l {card} shows more: ethtool -L {card} combined {reactors}; then {affinity}"
        ),
    }
}

/// How its queues come to where the reactors are, and how to see that they have.
fn affinity(card: &str) -> String {
    let script = "/usr/share/ringtgt/tuning/nic-affinity";
    format!("{script} apply {card} CPUS, and {script} check {card} DISK... tells whether all fits")
}

/// Whether the interrupts of its queues all end on one processor although there are several of both.
fn interrupts(host: &Host, card: &str) -> Option<Finding> {
    let irqs = queue_irqs(host, card);
    let on = |(irq, _): &(String, String)| host.text(&format!("/proc/irq/{irq}/effective_affinity_list"));
    let places: Vec<String> = irqs.iter().filter_map(on).collect();
    let queues: BTreeSet<&str> = irqs.iter().map(|(_, name)| queue_of(name)).collect();
    let cpus = host.text("/sys/devices/system/cpu/online").map_or(1, |list| count_cpus(&list));
    let one = places.windows(2).all(|pair| pair[0] == pair[1]);
    (queues.len() > 1 && places.len() > 1 && cpus > 1 && one).then(|| {
        let is = format!("the interrupts of all {} queues end on processor {}", queues.len(), places[0]);
        let why = "that processor is busy with packets while others wait for them";
        let cost = format!("one of {cpus} processors does that work for all");
        Finding::hint(card, is, why, cost, affinity(card))
    })
}

/// What marks the name of an interrupt that carries no packets.
const MANAGEMENT: [&str; 4] = ["mgmnt", "config", "async", "control"];

/// The interrupts of its queues, each with its name. Virtio's are those of the device that carries it.
fn queue_irqs(host: &Host, card: &str) -> Vec<(String, String)> {
    let device = format!("/sys/class/net/{card}/device");
    let own = format!("{device}/msi_irqs");
    let irqs = host.names(&if host.exists(&own) { own } else { format!("{device}/../msi_irqs") });
    let all = host.text("/proc/interrupts").unwrap_or_default();
    let named = |irq: String| {
        let mut lines =
            all.lines().filter_map(|line| line.trim_start().strip_prefix(&irq)?.strip_prefix(':'));
        let name = lines.next()?.split_whitespace().last()?.to_owned();
        Some((irq, name))
    };
    let carries = |(_, name): &(String, String)| !MANAGEMENT.iter().any(|word| name.contains(word));
    irqs.into_iter().filter_map(named).filter(carries).collect()
}

/// The number of its queue, which ends the name of an interrupt (eth0-Tx-Rx-1, virtio0-input.1, mlx5_comp1@pci:…).
fn queue_of(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or_default();
    &name[name.trim_end_matches(|c: char| c.is_ascii_digit()).len()..]
}

#[cfg(test)]
mod tests {
    use super::super::daemon::testing::served;
    use super::super::finding::Grade;
    use super::super::host::testing::Fake;
    use super::*;

    /// A machine with this card, which has two queues with an interrupt each, and one more for management.
    fn machine() -> Fake {
        let fake = Fake::with(&[
            ("/sys/class/net/lo/mtu", "65536"),
            ("/sys/class/net/eth0/device/vendor", "x"),
            ("/sys/class/net/eth0/operstate", "up"),
            ("/sys/class/net/eth0/mtu", "9001"),
            ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "0"),
            ("/sys/class/net/eth0/queues/rx-1/rps_cpus", "0"),
            ("/sys/class/net/eth0/queues/tx-0/xps_cpus", "0"),
            ("/sys/devices/system/cpu/online", "0-3"),
            (
                "/proc/interrupts",
                "  24:  9  0  PCI-MSI  ena-mgmnt@pci:0\n  25:  9  0  PCI-MSI  eth0-Tx-Rx-0\n  26:  9  0  PCI-MSI  eth0-Tx-Rx-1\n",
            ),
        ]);
        for (irq, cpu) in [("24", "0"), ("25", "0"), ("26", "1")] {
            end(&fake, "eth0/device", irq, cpu);
        }
        fake
    }

    /// An interrupt of that device ends on that processor.
    fn end(fake: &Fake, device: &str, irq: &str, cpu: &str) {
        fake.put(&format!("/sys/class/net/{device}/msi_irqs/{irq}"), "msix");
        fake.put(&format!("/proc/irq/{irq}/effective_affinity_list"), cpu);
    }

    fn with_addresses(mut fake: Fake) -> Fake {
        fake.host.addresses = || {
            let all = [("lo", "127.0.0.1"), ("eth0:1", "192.0.2.1"), ("bond0.7", "198.51.100.1")];
            all.map(|(name, address)| (name.to_owned(), address.parse().expect("an address"))).into()
        };
        fake
    }

    #[test]
    fn a_tuned_card_has_nothing_to_hear() {
        let found = findings(&with_addresses(machine()).host, Some(&served(2)));
        let good =
            [Finding::good("eth0", "MTU 9001"), Finding::good("eth0", "2 receive queues, for 2 reactors")];
        assert_eq!(found, good);
    }

    #[test]
    fn one_that_carries_nothing_of_what_is_served_is_not_looked_at() {
        let fake = with_addresses(machine());
        fake.put("/sys/class/net/eth1/device/vendor", "x");
        fake.put("/sys/class/net/eth1/operstate", "up");
        fake.put("/sys/class/net/bond0.7/lower_bond0/mtu", "1500");
        fake.put("/sys/class/net/bond0/lower_eth1/mtu", "1500");
        let at = |address: &str| {
            let served = Served { addresses: vec![address.parse().expect("an address")], ..served(2) };
            cards(&fake.host, Some(&served))
        };
        assert_eq!((at("127.0.0.1").len(), at("192.0.2.1")), (0, vec!["eth0".to_owned()]));
        assert_eq!(at("198.51.100.1"), ["eth1"], "below a VLAN of a bond");
        assert_eq!((at("0.0.0.0").len(), at("::").len()), (2, 2));
        assert_eq!(cards(&fake.host, None).len(), 2, "who is not there may serve anywhere");
    }

    #[test]
    fn what_costs_is_told() {
        let fake = machine();
        fake.put("/sys/class/net/eth0/mtu", "1500");
        end(&fake, "eth0/device", "26", "0");
        let found = findings(&fake.host, None);
        let is: Vec<&str> = found.iter().map(|f| f.is.as_str()).collect();
        assert_eq!(is, ["MTU 1500", "the interrupts of all 2 queues end on processor 0"]);
        assert_eq!(found[0].cost, "128 KiB are 91 packets, and 15 of 9,000 bytes");
        let said = |f: &Finding| f.grade == Grade::Hint && !f.cost.is_empty() && !f.remedy.is_empty();
        assert!(found.iter().all(said), "{found:#?}");
        assert!(found[1].remedy.contains("nic-affinity check eth0"), "{}", found[1].remedy);
    }

    #[test]
    fn interrupts_of_what_carries_virtio_are_those_of_its_queues() {
        let fake = machine();
        std::fs::remove_dir_all(fake.host.path("/sys/class/net/eth0/device/msi_irqs"))
            .expect("they are gone");
        let names = ["config", "input.0", "output.0", "input.1", "output.1"];
        let lines =
            names.iter().zip(30..).map(|(name, irq)| format!(" {irq}:  9  PCI-MSI  virtio0-{name}\n"));
        fake.put("/proc/interrupts", &lines.collect::<String>());
        (30..35).for_each(|irq| end(&fake, "eth0", &irq.to_string(), "0"));
        let told = || interrupts(&fake.host, "eth0").map(|f| f.is);
        assert_eq!(told().as_deref(), Some("the interrupts of all 2 queues end on processor 0"));
        // The other queue's end elsewhere; both of one queue belong together.
        ["33", "34"].iter().for_each(|irq| end(&fake, "eth0", irq, "1"));
        assert_eq!(told(), None);
    }

    #[test]
    fn more_queues_are_asked_for_only_of_a_card_that_has_them() {
        let mut fake = machine();
        let hint = |fake: &Fake| {
            let found = queues(&fake.host, "eth0", 3).expect("a finding");
            assert_eq!((found.grade, found.is.as_str()), (Grade::Hint, "2 receive queues, for 3 reactors"));
            found.remedy
        };
        assert!(
            hint(&fake)
                .starts_with("where ethtool -l eth0 shows more: ethtool -L eth0 combined 3; then /usr")
        );
        fake.host.most_queues = |_| Some(8);
        assert!(hint(&fake).starts_with("ethtool -L eth0 combined 3, then /usr"));
        fake.host.most_queues = |_| Some(2);
        assert!(hint(&fake).starts_with("it has no more queues: spread packets by software, /usr"));
    }

    #[test]
    fn where_packets_are_spread_to_they_come() {
        let fake = machine();
        fake.put("/sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,0000000c");
        let of = |reactors| queues(&fake.host, "eth0", reactors).map(|f| (f.grade, f.is));
        let is = |reactors| format!("2 receive queues, spread to 3 processors, for {reactors} reactors");
        assert_eq!(of(3), Some((Grade::Good, is(3))));
        assert_eq!(of(4), Some((Grade::Hint, is(4))));
    }
}
