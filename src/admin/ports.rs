//! The numbers of target ports: relative target port identifiers (SPC-5 section 4.3.4), unique among all ports and
//! the same after every start, as initiators and their reservations know ports by them.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::target::{Target, Tpg};

/// The ports that were given a number.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ports {
    known: Vec<Known>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    target: String,
    tag: u16,
    relative_port: u16,
}

impl Ports {
    /// Gives every port that has no number yet its own of before, or the lowest that is free. Ports that are not there
    /// now keep theirs, unless all are taken: they may come back.
    pub(super) fn number(&mut self, targets: &mut [Target]) {
        let chosen: HashSet<u16> =
            groups(targets).map(|(_, g)| g.relative_port).filter(|p| *p != 0).collect();
        self.known.retain(|k| !chosen.contains(&k.relative_port));
        let before: HashMap<(&str, u16), u16> =
            self.known.iter().map(|k| ((k.target.as_str(), k.tag), k.relative_port)).collect();
        for target in targets.iter_mut() {
            for group in target.tpgs.iter_mut().filter(|g| g.relative_port == 0) {
                group.relative_port = before.get(&(target.iqn.as_str(), group.tag)).copied().unwrap_or(0);
            }
        }
        let mut taken: HashSet<u16> = self.known.iter().map(|k| k.relative_port).chain(chosen).collect();
        if taken.len() + groups(targets).count() > usize::from(u16::MAX) {
            let here: HashSet<(&str, u16)> = groups(targets).map(|(target, g)| (target, g.tag)).collect();
            self.known.retain(|k| here.contains(&(k.target.as_str(), k.tag)));
            taken = groups(targets).map(|(_, g)| g.relative_port).collect();
        }
        let mut free = (1..=u16::MAX).filter(|p| !taken.contains(p));
        for target in targets {
            for group in target.tpgs.iter_mut().filter(|g| g.relative_port == 0) {
                // There are no more groups than numbers: that has been checked.
                group.relative_port = free.next().unwrap_or(0);
                let (target, tag, relative_port) = (target.iqn.clone(), group.tag, group.relative_port);
                self.known.push(Known { target, tag, relative_port });
            }
        }
    }
}

fn groups(targets: &[Target]) -> impl Iterator<Item = (&str, &Tpg)> {
    targets.iter().flat_map(|t| t.tpgs.iter().map(|g| (t.iqn.as_str(), g)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Targets by name, with the tags of their groups and the numbers that were chosen.
    fn targets(list: &[(&str, &[(u16, u16)])]) -> Vec<Target> {
        let tpg =
            |&(tag, relative_port): &(u16, u16)| Tpg { tag, relative_port, open: true, ..Tpg::default() };
        let target = |(iqn, tpgs): &(&str, &[(u16, u16)])| Target {
            iqn: (*iqn).into(),
            alias: None,
            redirect: None,
            tpgs: tpgs.iter().map(tpg).collect(),
        };
        list.iter().map(target).collect()
    }

    fn numbers(ports: &mut Ports, list: &[(&str, &[(u16, u16)])]) -> Vec<u16> {
        let mut targets = targets(list);
        ports.number(&mut targets);
        groups(&targets).map(|(_, g)| g.relative_port).collect()
    }

    #[test]
    fn a_port_keeps_its_number_whatever_comes_and_goes() {
        let mut ports = Ports::default();
        assert_eq!(numbers(&mut ports, &[("a", &[(1, 0), (2, 0)]), ("b", &[(1, 0)])]), [1, 2, 3]);
        assert_eq!(numbers(&mut ports, &[("b", &[(7, 0), (1, 0)])]), [4, 3]);
        assert_eq!(numbers(&mut ports, &[("a", &[(2, 0)]), ("b", &[(1, 0)])]), [2, 3]);
    }

    #[test]
    fn a_number_that_was_chosen_is_nobody_elses() {
        let mut ports = Ports::default();
        assert_eq!(numbers(&mut ports, &[("a", &[(1, 0), (2, 1)])]), [2, 1]);
        assert_eq!(numbers(&mut ports, &[("a", &[(1, 0), (2, 0)]), ("b", &[(1, 2)])]), [1, 3, 2]);
    }

    #[test]
    fn those_that_are_gone_make_room_when_all_numbers_are_taken() {
        let tags: Vec<(u16, u16)> = (0..u16::MAX - 1).map(|tag| (tag, 0)).collect();
        let mut ports = Ports::default();
        numbers(&mut ports, &[("a", &tags)]);
        let got = numbers(&mut ports, &[("b", &[(1, 0), (2, 0)]), ("a", &[(5, 0)])]);
        assert_eq!(got, [1, 2, 6]);
        assert_eq!(ports.known.len(), 3);
    }
}
