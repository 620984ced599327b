//! Limits of logical units and of initiators, kept by all reactors together.
//!
//! A limit is a course of time: each command costs the time in which so much may be done, and what is spent is spent for
//! everybody. The one number that reactors share is how far the time is spent ([`Till`]). None of them looks at it for
//! each command: a reactor draws a slice of a few milliseconds, which begins where the last one that somebody drew has
//! ended, and uses it up alone when it has begun. So a reactor that is idle draws nothing and all goes to the others;
//! those that are busy draw in turn, and get the same; and together they never have more than the limit, and what has
//! been saved up. A command that costs more than a slice is drawn for alone; when it is aborted while it waits, the
//! reactor has that for those that come later. Nobody else gets it, which is no more than one command's worth.
//!
//! Who gets nothing waits in its session, first come first served. When the first slice begins that somebody waits for,
//! the sessions that wait for it have their turn, another one first each time, and before anything else has: until then
//! nobody gets anything there.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use slab::Slab;

use super::live::Targets;
use super::registry::Registry;
use crate::ids::{ConnId, LuId};
use crate::session::{Charge, Limited, Session};
use crate::target::{Quota, Rate};

/// The least that a reactor draws at a time, nanoseconds: long enough that the cache line which all share moves seldom,
/// short enough that nobody notices who has drawn first.
const SLICE_NS: u64 = 2_000_000;

/// Those who wait have their turn at multiples of this only, nanoseconds: of many limits, many begin something then.
const PAUSE_NS: u64 = 200_000;

/// A command that had better not wait may use a slice that begins within that time, nanoseconds.
const OVERDRAFT_NS: u64 = 1_000_000_000;

/// Nobody waits.
const NEVER: u64 = u64::MAX;

/// One limit of one kind of thing.
#[derive(Debug)]
struct Till {
    /// So much in a second.
    rate: u64,
    /// What may be saved up, nanoseconds.
    burst: u64,
    /// Up to then all is drawn.
    spent: AtomicU64,
}

impl Till {
    fn new(rate: u64, burst: u64) -> Option<Self> {
        (rate > 0).then(|| Self { rate, burst, spent: AtomicU64::new(0) })
    }

    /// The time in which so much may be done, nanoseconds.
    fn cost(&self, amount: u64) -> u64 {
        (u128::from(amount) * 1_000_000_000).div_ceil(u128::from(self.rate)) as u64
    }

    /// Draws so much time; when it begins.
    fn draw(&self, time: u64, now: u64) -> u64 {
        let begin = |spent: u64| spent.max(now.saturating_sub(self.burst));
        let next = |spent| Some(begin(spent).saturating_add(time));
        // Nothing else is told by it, so that no order is needed.
        match self.spent.fetch_update(Relaxed, Relaxed, next) {
            Ok(spent) | Err(spent) => begin(spent),
        }
    }
}

/// What a reactor has drawn of a till and not used.
#[derive(Debug, Default)]
struct Slice {
    left: u64,
    begins: u64,
}

impl Slice {
    /// Draws what is missing for that cost; when all of it may be used.
    fn cover(&mut self, till: &Till, cost: u64, now: u64) -> u64 {
        if self.left < cost {
            let more = (cost - self.left).max(SLICE_NS);
            self.begins = till.draw(more, now);
            self.left += more;
        }
        self.begins
    }
}

/// The tills of one direction.
#[derive(Debug)]
struct Course {
    commands: Option<Till>,
    bytes: Option<Till>,
}

impl Course {
    fn new(rate: Rate, burst: u64) -> Self {
        Self { commands: Till::new(rate.commands, burst), bytes: Till::new(rate.bytes, burst) }
    }
}

/// What all reactors share of one quota.
#[derive(Debug)]
pub(super) struct Common {
    quota: Quota,
    courses: [Course; 2],
}

impl Common {
    fn new(quota: Quota) -> Self {
        let burst = quota.burst.as_nanos() as u64;
        Self { quota, courses: [quota.read, quota.write].map(|rate| Course::new(rate, burst)) }
    }
}

/// Whose quota it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    Unit(LuId),
    /// Target, tag of the group, name.
    Initiator(String, u16, String),
}

/// A quota of somebody. Another one of the same holder is another thing: while reactors change from one to the other,
/// both are used.
type Known = (Holder, Quota);

/// The quotas that reactors use, so that they find each other's. Slow path only.
#[derive(Debug, Default)]
pub(super) struct Exchange(Mutex<Offers>);

#[derive(Debug, Default)]
struct Offers {
    all: HashMap<Known, Weak<Common>>,
    /// When there are more than so many, those that nobody uses any more are forgotten.
    most: usize,
}

impl Exchange {
    /// What all share of that quota.
    fn common(&self, known: Known) -> Arc<Common> {
        let mut offers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if offers.all.len() > offers.most {
            offers.all.retain(|_, common| common.strong_count() > 0);
            offers.most = 2 * offers.all.len();
        }
        match offers.all.get(&known).and_then(Weak::upgrade) {
            Some(common) => common,
            None => {
                let common = Arc::new(Common::new(known.1));
                offers.all.insert(known, Arc::downgrade(&common));
                common
            }
        }
    }
}

/// One direction of an account.
#[derive(Debug, Default)]
struct Lane {
    commands: Slice,
    bytes: Slice,
    /// Somebody waits for it: whoever comes before then waits, too.
    shut_until: u64,
}

/// A quota as this reactor has it.
#[derive(Debug)]
struct Account {
    common: Arc<Common>,
    lanes: [Lane; 2],
}

impl Account {
    fn new(common: Arc<Common>) -> Self {
        Self { common, lanes: Default::default() }
    }

    /// Why that cannot be had now: when it is to be asked for again.
    fn refuses(&mut self, charge: Charge, overdraw: bool, now: u64) -> Option<u64> {
        let shut_until = self.lane(charge).shut_until;
        if shut_until > now && !overdraw {
            return Some(shut_until);
        }
        let begins = self.cover(charge, now);
        if begins <= now.saturating_add(if overdraw { OVERDRAFT_NS } else { 0 }) {
            return None;
        }
        let until = begins.div_ceil(PAUSE_NS).saturating_mul(PAUSE_NS);
        self.lane(charge).shut_until = until;
        Some(until)
    }

    fn lane(&mut self, charge: Charge) -> &mut Lane {
        &mut self.lanes[usize::from(charge.writes)]
    }

    /// When all of that begins.
    fn cover(&mut self, charge: Charge, now: u64) -> u64 {
        let side = usize::from(charge.writes);
        let (lane, course) = (&mut self.lanes[side], &self.common.courses[side]);
        let commands = course.commands.as_ref().map(|t| lane.commands.cover(t, t.cost(charge.commands), now));
        let bytes = course.bytes.as_ref().map(|t| lane.bytes.cover(t, t.cost(charge.bytes), now));
        commands.max(bytes).unwrap_or(0)
    }

    fn pay(&mut self, charge: Charge) {
        let side = usize::from(charge.writes);
        let (lane, course) = (&mut self.lanes[side], &self.common.courses[side]);
        if let Some(till) = &course.commands {
            lane.commands.left -= till.cost(charge.commands);
        }
        if let Some(till) = &course.bytes {
            lane.bytes.left -= till.cost(charge.bytes);
        }
    }
}

/// The quotas of a reactor. See the module page.
#[derive(Debug)]
pub(super) struct Quotas {
    /// By logical unit.
    units: Vec<Option<Box<Account>>>,
    /// By the numbers that sessions have. When one is given again, those who had it have been told already.
    initiators: Slab<Account>,
    /// Of the quotas of initiators that are there.
    numbers: HashMap<Known, u32>,
    /// Sessions whose tasks wait.
    waiting: VecDeque<ConnId>,
    /// When the first of those who wait have their turn.
    wake: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            units: Vec::new(),
            initiators: Slab::new(),
            numbers: HashMap::new(),
            waiting: VecDeque::new(),
            wake: NEVER,
        }
    }
}

impl Quotas {
    /// When the first of those who wait have their turn, if anybody does.
    #[inline]
    pub(super) fn wake(&self) -> Option<u64> {
        (self.wake != NEVER).then_some(self.wake)
    }

    /// Goes by these from now on. What is limited as it was goes on as it is; a quota without limits is none.
    pub(super) fn renew<'a>(
        &mut self,
        quotas: impl IntoIterator<Item = (&'a LuId, &'a Quota)>,
        registry: &Registry,
    ) {
        for (lu, quota) in quotas {
            let at = lu.0 as usize;
            if quota.is_some() && self.units.len() <= at {
                self.units.resize_with(at + 1, || None);
            }
            let Some(place) = self.units.get_mut(at) else { continue };
            if !quota.is_some() {
                *place = None;
            } else if place.as_ref().is_none_or(|account| account.common.quota != *quota) {
                let common = registry.quotas.common((Holder::Unit(*lu), *quota));
                *place = Some(Box::new(Account::new(common)));
            }
        }
    }

    /// Quotas of initiators that are no more at targets that are not as they were. Their sessions go by the others soon.
    pub(super) fn forget_initiators(&mut self, targets: &Targets) {
        let accounts = &mut self.initiators;
        self.numbers.retain(|(holder, quota), number| {
            let Holder::Initiator(target, tag, name) = holder else { return true };
            let Some(now) = targets.get(target) else { return true };
            let group = now.as_ref().and_then(|target| target.tpgs.iter().find(|group| group.tag == *tag));
            let stays = group.and_then(|group| group.access(name)).is_some_and(|a| a.quota == *quota);
            if !stays {
                accounts.try_remove(*number as usize);
            }
            stays
        });
    }

    /// How many initiators have an account.
    #[cfg(test)]
    pub(super) fn limited_initiators(&self) -> usize {
        self.initiators.len()
    }

    /// Those who wait try again at once.
    pub(super) fn hurry(&mut self) {
        self.wake = 0;
    }

    /// What limits hold for a session.
    pub(super) fn limits_of(&mut self, session: &Session, registry: &Registry) -> Limited {
        let initiator = self.number_of(session, registry);
        let is_limited = |lu: LuId| matches!(self.units.get(lu.0 as usize), Some(Some(_)));
        Limited { any: initiator.is_some() || session.logical_units().any(is_limited), initiator }
    }

    /// The number of the account of a session's initiator, if that is limited. Where nothing is seen nothing is charged:
    /// the target may be gone.
    fn number_of(&mut self, session: &Session, registry: &Registry) -> Option<u32> {
        session.logical_units().next()?;
        let established = session.established();
        let target = established.target.as_ref()?;
        let group = target.tpgs.get(established.tpg)?;
        let quota = group.access(&established.initiator)?.quota;
        if !quota.is_some() {
            return None;
        }
        let holder = Holder::Initiator(target.iqn.clone(), group.tag, established.initiator.clone());
        let known = (holder, quota);
        if let Some(number) = self.numbers.get(&known) {
            return Some(*number);
        }
        let number = self.initiators.insert(Account::new(registry.quotas.common(known.clone()))) as u32;
        self.numbers.insert(known, number);
        Some(number)
    }

    /// The accounts of a logical unit and of an initiator, as far as these are limited.
    fn accounts(&mut self, lu: LuId, initiator: Option<u32>) -> impl Iterator<Item = &mut Account> {
        let unit = self.units.get_mut(lu.0 as usize).and_then(Option::as_deref_mut);
        let initiator = initiator.and_then(|number| self.initiators.get_mut(number as usize));
        unit.into_iter().chain(initiator)
    }

    /// Charges a command to those whose limits hold for it.
    ///
    /// # Errors
    /// When it must wait: until when.
    pub(super) fn charge(
        &mut self,
        lu: LuId,
        initiator: Option<u32>,
        charge: Charge,
        overdraw: bool,
        now: u64,
    ) -> Result<(), u64> {
        let refusals = self.accounts(lu, initiator).map(|account| account.refuses(charge, overdraw, now));
        // Each of them is asked: what waits for one keeps its place with the other.
        if let Some(until) = refusals.fold(None, Ord::max) {
            self.wake = self.wake.min(until);
            return Err(until);
        }
        self.accounts(lu, initiator).for_each(|account| account.pay(charge));
        Ok(())
    }

    /// A session has tasks that wait, and has been told until when.
    pub(super) fn wait(&mut self, conn: ConnId) {
        self.waiting.push_back(conn);
    }

    /// It is not its turn: it waits on, until then.
    pub(super) fn wait_on(&mut self, conn: ConnId, until: u64) {
        self.wait(conn);
        self.wake = self.wake.min(until);
    }

    /// Begins a turn of those who wait; how many they are. Each is to be taken with [`Quotas::next`].
    pub(super) fn begin_turn(&mut self) -> usize {
        self.wake = NEVER;
        self.waiting.len()
    }

    /// The next session that waits.
    pub(super) fn next(&mut self) -> Option<ConnId> {
        self.waiting.pop_front()
    }

    /// All had their turn: next time another one is the first.
    pub(super) fn end_turn(&mut self) {
        if !self.waiting.is_empty() {
            self.waiting.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;
    const READ: Charge = Charge { writes: false, commands: 1, bytes: 4096 };
    const WRITE: Charge = Charge { writes: true, commands: 1, bytes: 4096 };
    const LU: LuId = LuId(0);

    fn reads(commands: u64, bytes: u64, burst: u64) -> Quota {
        let read = Rate { commands, bytes };
        Quota { read, burst: Duration::from_nanos(burst), ..Quota::default() }
    }

    /// So many reactors that go by that quota for the logical unit.
    fn reactors(count: usize, quota: Quota) -> Vec<Quotas> {
        let registry = Registry::new(count);
        let make = |_| {
            let mut quotas = Quotas::default();
            quotas.renew([(&LU, &quota)], &registry);
            quotas
        };
        (0..count).map(make).collect()
    }

    fn may(quotas: &mut Quotas, charge: Charge, now: u64) -> bool {
        quotas.charge(LU, None, charge, false, now).is_ok()
    }

    /// Uses what there is, in steps of that length from `from` to `to`; how many were let go, by reactor.
    fn run(all: &mut [Quotas], charge: Charge, from: u64, to: u64, step: u64) -> Vec<u64> {
        let mut done = vec![0; all.len()];
        for now in (from..to).step_by(step as usize) {
            for (quotas, done) in all.iter_mut().zip(&mut done) {
                if quotas.wake().is_some_and(|wake| wake <= now) {
                    quotas.begin_turn();
                }
                while may(quotas, charge, now) {
                    *done += 1;
                }
            }
        }
        done
    }

    #[test]
    fn a_till_gives_what_was_saved_and_then_the_rate() {
        let till = Till::new(1000, 10 * MS).unwrap();
        assert_eq!((till.cost(1), till.cost(0), till.cost(7)), (MS, 0, 7 * MS));
        assert_eq!(till.draw(4 * MS, SECOND), SECOND - 10 * MS, "since long nobody came");
        assert_eq!(till.draw(6 * MS, SECOND), SECOND - 6 * MS);
        assert_eq!(till.draw(2 * MS, SECOND), SECOND, "all that was saved is used");
        assert_eq!(till.draw(2 * MS, SECOND), SECOND + 2 * MS, "and this begins later");
        assert_eq!(till.draw(MS, SECOND + 5 * MS), SECOND + 4 * MS);
    }

    #[test]
    fn a_cost_is_never_nothing_and_never_too_large_to_count() {
        let fastest = Till::new(1 << 40, 0).unwrap();
        assert_eq!(fastest.cost(1), 1);
        assert_eq!(Till::new(1, 0).unwrap().cost(1 << 30), SECOND << 30);
        assert!(Till::new(0, 0).is_none());
    }

    #[test]
    fn one_reactor_gets_all_of_it() {
        for rate in [7, 100, 1000, 3000, 250_000] {
            let mut all = reactors(1, reads(rate, 0, 100 * MS));
            let done = run(&mut all, READ, SECOND, 5 * SECOND, 100_000)[0];
            let most = rate * 41 / 10;
            assert!(done <= most + 1 && done >= most - most / 50 - 1, "{done} of {most}");
        }
    }

    #[test]
    fn reactors_have_the_limit_together_and_get_the_same() {
        for rate in [10, 100, 1000, 30_000] {
            let mut all = reactors(3, reads(rate, 0, 10 * MS));
            let done = run(&mut all, READ, SECOND, 5 * SECOND, 100_000);
            let (sum, most) = (done.iter().sum::<u64>(), rate * 401 / 100);
            assert!(sum <= most + 3 && sum >= most - most / 50 - 3, "{done:?} of {most}");
            let fair = most / 3;
            assert!(done.iter().all(|n| n.abs_diff(fair) <= fair / 20 + 3), "{done:?}: {fair} for each");
        }
    }

    #[test]
    fn what_the_idle_do_not_use_goes_to_the_busy() {
        let mut all = reactors(2, reads(1000, 0, 10 * MS));
        run(&mut all, READ, SECOND, 2 * SECOND, 100_000);
        let alone = run(&mut all[..1], READ, 2 * SECOND, 4 * SECOND, 100_000)[0];
        assert!((1960..=2040).contains(&alone), "{alone}");
        let other = run(&mut all[1..], READ, 4 * SECOND, 6 * SECOND, 100_000)[0];
        assert!((1960..=2040).contains(&other), "{other}");
    }

    #[test]
    fn bytes_count_by_the_byte_and_long_commands_take_their_time() {
        let mut all = reactors(2, reads(0, 1 << 20, 0));
        let long = Charge { bytes: 256 << 10, ..READ };
        let done = run(&mut all, long, SECOND, 9 * SECOND, MS);
        assert!((31..=34).contains(&done.iter().sum::<u64>()), "{done:?}: four in a second");
    }

    #[test]
    fn the_tighter_one_of_two_limits_counts_and_writes_are_free() {
        let mut all = reactors(1, reads(1000, 100 * 4096, 0));
        let done = run(&mut all, READ, SECOND, 3 * SECOND, 100_000)[0];
        assert!((196..=204).contains(&done), "{done}");
        assert!((0..10_000).all(|_| may(&mut all[0], WRITE, 3 * SECOND)));
        let others = |quotas: &mut Quotas| quotas.charge(LuId(1), None, READ, false, 3 * SECOND).is_ok();
        assert!((0..10_000).all(|_| others(&mut all[0])), "nor others");
    }

    #[test]
    fn who_had_better_not_wait_leaves_the_bill_to_the_next() {
        let mut all = reactors(1, reads(1000, 0, 0));
        run(&mut all, READ, SECOND, SECOND + MS, MS);
        let beyond =
            (0..5000).take_while(|_| all[0].charge(LU, None, READ, true, SECOND + MS).is_ok()).count();
        assert!((990..=1010).contains(&beyond), "{beyond}: a second of it, and no more");
        assert_eq!(run(&mut all, READ, SECOND + 2 * MS, SECOND + 900 * MS, MS), [0]);
        assert!(run(&mut all, READ, 2 * SECOND, 3 * SECOND, MS)[0] > 900);
    }

    #[test]
    fn whoever_comes_after_those_who_wait_waits_too() {
        let mut all = reactors(1, reads(1000, 0, 0));
        let quotas = &mut all[0];
        while may(quotas, READ, SECOND) {}
        let wake = quotas.wake().expect("somebody waits");
        assert!(!may(quotas, READ, wake - 1), "not before their turn");
        assert!(may(quotas, READ, wake));
    }

    #[test]
    fn only_those_have_a_turn_for_whom_something_begins() {
        let registry = Registry::new(1);
        let units = [(LU, reads(1000, 0, 0)), (LuId(1), reads(10, 0, 0))];
        let mut quotas = Quotas::default();
        quotas.renew(&HashMap::from(units), &registry);
        let read = |quotas: &mut Quotas, unit, now| quotas.charge(LuId(unit), None, READ, false, now);
        let until = [0, 1].map(|unit| (0..).find_map(|_| read(&mut quotas, unit, SECOND).err()).unwrap());
        assert!(until[0] < until[1] && quotas.wake() == Some(until[0]), "{until:?}");
        assert!(until.iter().all(|until| until % PAUSE_NS == 0), "{until:?}");
        for n in 0..2 {
            quotas.wait(ConnId { index: n, generation: 0 });
        }
        // It is not the turn of the second one.
        assert_eq!(quotas.begin_turn(), 2);
        assert_eq!(quotas.next().map(|conn| conn.index), Some(0));
        assert!(read(&mut quotas, 0, until[0]).is_ok());
        let second = quotas.next().unwrap();
        quotas.wait_on(second, until[1]);
        assert_eq!((quotas.wake(), read(&mut quotas, 1, until[0])), (Some(until[1]), Err(until[1])));
    }

    #[test]
    fn reactors_that_change_one_after_the_other_still_have_one_limit_together() {
        let registry = Registry::new(3);
        let limits = |rate| HashMap::from([(LU, reads(rate, 0, 0))]);
        let (old, new) = (limits(50), limits(100));
        let mut all: Vec<Quotas> = (0..3).map(|_| Quotas::default()).collect();
        // The third one has not used that quota before, and is behind.
        for (who, limits) in [(0, &old), (1, &old), (0, &new), (2, &old), (1, &new), (2, &new)] {
            all[who].renew(limits, &registry);
        }
        let done = run(&mut all, READ, SECOND, 5 * SECOND, 100_000);
        assert!((380..=410).contains(&done.iter().sum::<u64>()), "{done:?} of 400");
    }

    #[test]
    fn another_limit_counts_at_once_and_the_same_one_goes_on() {
        let registry = Registry::new(1);
        let limits = |rate| HashMap::from([(LU, reads(rate, 0, 0)), (LuId(3), reads(5, 0, 0))]);
        let mut quotas = Quotas::default();
        let other = |quotas: &mut Quotas| quotas.charge(LuId(3), None, READ, false, SECOND).is_ok();
        quotas.renew(&limits(1), &registry);
        while may(&mut quotas, READ, SECOND) {}
        while other(&mut quotas) {}
        quotas.renew(&limits(1000), &registry);
        assert!(may(&mut quotas, READ, SECOND));
        assert!(!other(&mut quotas), "this is not another");
        quotas.renew([(&LuId(3), &Quota::default())], &registry);
        assert!((0..10_000).all(|_| other(&mut quotas)));
    }
}
