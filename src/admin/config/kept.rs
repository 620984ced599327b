//! A configuration that changes a little at a time: what is written as it was is not read again.
//!
//! Ten thousand objects are megabytes of text, and a change is a few lines of it. Promises: what comes of a text is what
//! reading all of it comes to. Where the [parts](super::parts) that are written otherwise cannot tell that by themselves,
//! or they are wrong, all is read. What can be lived with is told of the part that it is about, as long as that is written so.
//! Refuses to know: what is served.
//!
//! Parts that are written otherwise are read by the rules for a whole text, in a text of their own, together with what
//! stands for each backstore that they name; what they must not have in common with others is looked for here. What is done
//! for each of the others is to count, to compare, or to copy it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::file::{FileConfig, FileTarget};
use super::parts::{Change, Kind, Parts};
use super::store::MOST_STORES;
use super::{At, Config, Problem, Report, Source, parse, reader};
use crate::ids::LuId;
use crate::scsi::{Groups, MAX_GROUP_PORTS};
use crate::store::{IdentityOverride, StoreConfig};
use crate::target::Target;

/// The text that was read last, if that helps with the next one.
#[derive(Debug, Default)]
pub struct Kept(Option<Known>);

/// A text that is right, and what it comes to.
#[derive(Debug)]
struct Known {
    parts: Parts,
    dir: PathBuf,
    config: Config,
    /// What can be lived with.
    problems: Vec<Problem>,
    /// How much text was read for the last change.
    #[cfg(test)]
    read: std::cell::Cell<usize>,
}

/// What is written otherwise, and has been read.
struct Fresh {
    /// The stores, and behind them what stands for others.
    config: Config,
    /// How many of them are no such stand-ins.
    stores: usize,
    problems: Vec<Problem>,
}

impl Kept {
    /// What a text comes to, as [`parse`] has it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(
        &mut self,
        source: Source,
        dir: &Path,
        mode: Option<u32>,
    ) -> Result<(Config, Report), Report> {
        if let Some(known) = self.0.as_mut()
            && known.follow(source.text(), dir).is_some()
        {
            return Ok((known.config.clone(), Report::new(source, known.problems.clone())));
        }
        let (config, report) = parse(source, dir, mode)?;
        self.0 = Known::of(report.text(), dir, &config, report.problems());
        Ok((config, report))
    }
}

impl Known {
    /// Nothing, when the parts of the text cannot be told from each other, or what they say of portals or local disks has to
    /// do with others, or there is more to it than the text.
    fn of(text: &str, dir: &Path, config: &Config, problems: &[Problem]) -> Option<Self> {
        let placed = problems.iter().all(|p| matches!(p.at, At::File(_)));
        if !placed || says_more_elsewhere(text) {
            return None;
        }
        let parts = Parts::of(text)?;
        let count = (parts.count(Kind::Store), parts.count(Kind::Target));
        let told = count == (config.stores.len(), config.targets.len());
        let alone = config.portals.is_empty()
            && config.loopbacks.is_empty()
            && config.targets.iter().all(|t| t.redirect.is_none());
        (told && alone).then(|| Self {
            parts,
            dir: dir.to_owned(),
            config: config.clone(),
            problems: problems.to_vec(),
            #[cfg(test)]
            read: Default::default(),
        })
    }

    /// What `text` comes to, whose relative paths start at `dir`; nothing, when all of it has to be read.
    fn follow(&mut self, text: &str, dir: &Path) -> Option<&Config> {
        if self.dir != dir {
            return None;
        }
        let change = self.parts.compare(text)?;
        let (config, told) = self.changed(&change)?;
        let place = |at| self.parts.place(at, text, &change);
        self.problems = self.problems.iter().filter_map(|p| p.moved(place)).chain(told).collect();
        self.config = config;
        self.parts.follow(text, change);
        Some(&self.config)
    }

    /// With what is to be told of what is written otherwise.
    fn changed(&self, change: &Change<'_>) -> Option<(Config, Vec<Problem>)> {
        let gone = change.stores.gone();
        let stay = self.config.stores.iter().enumerate().filter(|(n, _)| !gone.contains(n));
        let stay: HashMap<&str, &StoreConfig> = stay.map(|(_, s)| (s.name.as_str(), &**s)).collect();
        let mut fresh = self.fresh(change, &stay)?;
        let simple = gone
            .iter()
            .chain(&self.shown_by(&change.targets.gone()))
            .all(|n| is_simple(&self.config.stores[*n]));
        if !simple || !self.fits(&fresh, &stay) {
            return None;
        }
        let told = std::mem::take(&mut fresh.problems);
        let config = self.merged(change, fresh)?;
        (are_all_others(&config.targets) && is_within_limits(&config)).then_some((config, told))
    }

    /// The stores that these targets show.
    fn shown_by(&self, targets: &HashSet<usize>) -> HashSet<usize> {
        let groups = targets.iter().flat_map(|n| &self.config.targets[*n].tpgs);
        groups.flat_map(|g| &g.luns).map(|l| l.lu.0 as usize).collect()
    }

    /// Reads what is written otherwise.
    fn fresh(&self, change: &Change<'_>, stay: &HashMap<&str, &StoreConfig>) -> Option<Fresh> {
        let (own, targets) = (change.stores.text(), change.targets.text());
        if says_more_elsewhere(&targets) {
            return None;
        }
        let named: BTreeSet<String> =
            named(&targets)?.into_iter().filter(|name| stay.contains_key(name.as_str())).collect();
        let stand_in = |name| format!("[[backstore]]\nkind = \"null\"\nname = \"{name}\"\nsize = \"1M\"\n");
        let stand_ins: String = named.iter().map(stand_in).collect();
        let text = format!("{own}\n{stand_ins}{targets}");
        #[cfg(test)]
        self.read.set(text.len());
        let (config, report) = parse(Source::new("", text), &self.dir, None).ok()?;
        let stores = change.stores.count();
        let count = (stores + named.len(), change.targets.count());
        let told = (config.stores.len(), config.targets.len()) == count;
        let simple = named.iter().all(|name| stay.get(name.as_str()).is_none_or(|s| is_simple(s)));
        let behind = own.len() + 1 + stand_ins.len();
        let place = |at: usize| match at.checked_sub(behind) {
            Some(at) => change.targets.place(at),
            None => change.stores.place(at),
        };
        let problems = report.problems().iter().map(|p| p.moved(place)).collect::<Option<_>>()?;
        (told && simple).then_some(Fresh { config, stores, problems })
    }

    /// Whether these have nothing that must be nobody else's and could be one's of those that stay.
    fn fits(&self, fresh: &Fresh, stay: &HashMap<&str, &StoreConfig>) -> bool {
        let Fresh { config: Config { stores, targets, media, .. }, stores: own, .. } = fresh;
        let is_own = |s: &StoreConfig| {
            is_simple(s) && s.identity == IdentityOverride::default() && !stay.contains_key(s.name.as_str())
        };
        let is_free =
            |path| self.config.media.get(path).is_none_or(|of: &String| !stay.contains_key(of.as_str()));
        let is_alone = |t: &Target| t.redirect.is_none() && t.tpgs.iter().all(|g| g.relative_port == 0);
        stores[..*own].iter().all(|s| is_own(s)) && media.keys().all(is_free) && targets.iter().all(is_alone)
    }

    /// The objects that stay and those that are written otherwise, in the order of the text. Nothing, when a target names a
    /// store that is not there any more.
    fn merged(&self, change: &Change<'_>, fresh: Fresh) -> Option<Config> {
        let old = &self.config;
        let Fresh { config: mut fresh, stores: own, .. } = fresh;
        let names: Vec<String> = fresh.stores.iter().map(|s| s.name.clone()).collect();
        let order = change.stores.order(old.stores.len());
        let stores = interleaved(&order, &old.stores, fresh.stores.drain(..own))?;
        let places: HashMap<&str, usize> =
            stores.iter().enumerate().map(|(n, s)| (s.name.as_str(), n)).collect();
        let number = |name: &str| places.get(name).map(|n| LuId(*n as u32));
        let stays = |name: &str| places.get(name).is_some_and(|n| order[*n].is_some());
        // The numbers of stores, by those that they had before, and in what was read now.
        let of_old: Vec<Option<LuId>> = old.stores.iter().map(|s| number(&s.name)).collect();
        let of_fresh: Vec<Option<LuId>> = names.iter().map(|name| number(name)).collect();
        let old_quotas = old.quotas.iter().filter(|(lu, _)| stays(&old.stores[lu.0 as usize].name));
        let old_quotas = old_quotas.map(|(lu, quota)| (of_old[lu.0 as usize], *quota));
        let quotas =
            old_quotas.chain(fresh.quotas.iter().map(|(lu, quota)| (of_fresh[lu.0 as usize], *quota)));
        let quotas = quotas.filter_map(|(lu, quota)| Some((lu?, quota))).collect();
        let mut media = old.media.clone();
        media.retain(|_, name| stays(name));
        media.extend(fresh.media);
        fresh.targets.iter_mut().try_for_each(|t| renumber(t, &of_fresh))?;
        let mut kept = old.targets.clone();
        let order = change.targets.order(kept.len());
        order.iter().flatten().try_for_each(|n| renumber(&mut kept[*n], &of_old))?;
        let targets = interleaved(&order, &kept, fresh.targets.into_iter())?;
        let (server, discovery) = (old.server.clone(), old.discovery.clone());
        // Where there are any, all is read.
        let loopbacks = Vec::new();
        Some(Config { server, stores, quotas, loopbacks, targets, discovery, portals: Vec::new(), media })
    }
}

/// Whether it may name files that have secrets in them: these change, and the text stays. Keys can be written with escapes.
fn says_more_elsewhere(text: &str) -> bool {
    ["secret_file", "\\u", "\\U", "\\x"].iter().any(|what| text.contains(what))
}

/// Those of the old ones that are named, and where none is the next of the new ones.
fn interleaved<T: Clone>(
    order: &[Option<usize>],
    old: &[T],
    mut new: impl Iterator<Item = T>,
) -> Option<Vec<T>> {
    order.iter().map(|n| n.map_or_else(|| new.next(), |n| Some(old[n].clone()))).collect()
}

/// Whether targets that show it have nothing to say of it than that.
fn is_simple(store: &StoreConfig) -> bool {
    store.groups == Groups::default()
}

/// Whether no two targets have the same name.
fn are_all_others(targets: &[Target]) -> bool {
    let mut names = HashSet::new();
    targets.iter().all(|t| names.insert(t.iqn.as_str()))
}

/// Nothing, when a store that it names is not there any more.
fn renumber(target: &mut Target, numbers: &[Option<LuId>]) -> Option<()> {
    for group in &mut target.tpgs {
        let maps = group.acls.iter_mut().map(|acl| &mut acl.luns).chain([&mut group.luns]);
        for lun in maps.flatten() {
            lun.lu = numbers.get(lun.lu.0 as usize).copied().flatten()?;
        }
    }
    Some(())
}

/// Whether there is not too much of anything.
fn is_within_limits(config: &Config) -> bool {
    let groups = || config.targets.iter().flat_map(|t| &t.tpgs);
    let mut ports = vec![0; config.stores.len()];
    groups().flat_map(|g| &g.luns).for_each(|l| ports[l.lu.0 as usize] += 1);
    config.stores.len() <= MOST_STORES
        && groups().count() <= usize::from(u16::MAX)
        && ports.iter().all(|ports| *ports <= MAX_GROUP_PORTS)
}

/// The stores that targets name. Nothing, when that is no TOML.
fn named(targets: &str) -> Option<Vec<String>> {
    let (table, errors) = DeTable::parse_recoverable(targets);
    if !errors.is_empty() {
        return None;
    }
    let file: FileConfig = reader::read_table(table.into_inner(), 0..0, &mut Vec::new());
    let luns =
        |target: FileTarget| target.tpg.into_iter().flatten().flat_map(|tpg| tpg.lun.into_iter().flatten());
    let targets = file.target.into_iter().flatten();
    Some(targets.flat_map(luns).filter_map(|lun| lun.backstore).map(|name| name.into_inner()).collect())
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
