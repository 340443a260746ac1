//! The slots of one forward action's table through time: what the data plane is told, and until when.
//!
//! A [`SlotTable`] is given owners (by `overlay`), what became of targets, the time, and when the data plane
//! last saw an exception of a slot; it never looks any of this up. A slot's rules are in `life` and `chain`, which
//! of both it follows in `regime`, where the lives are kept in `lives`; here is the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};
use lb_common::{ChainWord, Slot, SlotState, TargetId};
use siphasher::sip::SipHasher24;

use super::chain::Chain;
pub use super::life::Fate;
use super::life::Moment;
use super::lives::Lives;
use super::regime::{Now, Regime, SlotLife};
use super::size::TableSize;

/// All slots of a table.
#[derive(Debug, Clone)]
pub struct SlotTable {
    epoch: Instant,
    lives: Lives,
}

/// What of a table waits, and who could say more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Slots whose packets name former owners.
    pub chained: usize,
    /// Slots that keep their owner although another is to have them.
    pub deferred: usize,
}

impl SlotTable {
    /// A table on which there is no flow yet: every slot is stable on its owner.
    ///
    /// # Panics
    ///
    /// If `owners` has not as many entries as a [`TableSize`] has slots.
    pub fn new(owners: &[TargetId], now: Instant) -> SlotTable {
        let _ = size_of(owners.len());
        SlotTable { epoch: now, lives: Lives::stable(owners, Regime::FlowTable) }
    }

    /// The table that the data plane was told as `slots` and `chains` (one for each slot, or none at all), of which
    /// nobody knows any more since when: every window begins at `now`, which is never too short.
    ///
    /// # Panics
    ///
    /// If `slots` has not as many entries as a [`TableSize`] has slots.
    pub fn adopted(
        slots: &Arc<[Slot]>,
        chains: &Arc<[ChainWord]>,
        now: Instant,
        fate: &dyn Fn(TargetId) -> Fate,
    ) -> SlotTable {
        let _ = size_of(slots.len());
        let at = Moment::not_before(now, now);
        let words = chains.iter().copied().chain(std::iter::repeat(ChainWord::NONE));
        let lives = slots.iter().zip(words).map(|(slot, chain)| SlotLife::adopted(*slot, chain, at, fate));
        let (slots, chains) = (Arc::clone(slots), Arc::clone(chains));
        SlotTable { epoch: now, lives: Lives::of(slots, chains, Regime::FlowTable, lives) }
    }

    /// The same slots for an action that goes on with them: what the data plane saw of their exceptions is not known
    /// of it, so that their time begins anew.
    pub fn succeeded(&self, now: Instant) -> SlotTable {
        let mut table = self.clone();
        let now = Moment::not_before(table.epoch, now);
        table.lives.shapes_mut().for_each(|life| life.renew_exceptions(now));
        table
    }

    /// Whether all flows of all slots are on the current target.
    pub fn is_stable(&self) -> bool {
        self.lives.awake().all(|life| life.is_stable())
    }

    /// Sets who keeps flows where they are; each slot follows when no flow notices it.
    pub fn enter(&mut self, regime: Regime) {
        self.lives.enter(regime);
    }

    /// Who is to keep flows where they are.
    pub fn regime(&self) -> Regime {
        self.lives.regime()
    }

    /// The number of slots.
    pub fn size(&self) -> TableSize {
        size_of(self.lives.words().len())
    }

    /// Gives every slot to its owner; the number of slots that are told something else than before.
    ///
    /// `fate` is asked of every target that loses a slot, and of every target that unknown flows of a
    /// changing slot would go to. Where `owners` is of a larger table than this, this one grows; where it is
    /// of a smaller one, all slots that would be one there get the same owner, and [`SlotTable::resize`] can
    /// make them one when all is quiet. A slot without an owner (`TargetId::NONE`) forwards nothing, not even
    /// flows that it had; so a draining target has to stay the owner while there is no other.
    ///
    /// # Panics
    ///
    /// If `owners` has not as many entries as a [`TableSize`] has slots.
    pub fn reassign(&mut self, owners: &[TargetId], now: Instant, fate: &dyn Fn(TargetId) -> Fate) -> usize {
        let size = size_of(owners.len());
        if size > self.size() {
            self.grow(size);
        }
        let narrower = self.size().log2() - size.log2();
        let (now, regime) = (Now::of(self.epoch, now), self.regime());
        let owner = |slot: usize| owners[slot >> narrower];
        self.lives.change(
            |slot, word, shape| {
                owner(slot) != word.current() || shape.is_some_and(|shape| shape.may_notice_death(word, fate))
            },
            |slot, life| life.reassign(owner(slot), regime, now, fate),
        )
    }

    /// Forgets `target` as the place of unknown flows; the number of slots that are told something else than
    /// before. The slots that it owns stay its own until they are reassigned.
    pub fn died(&mut self, target: TargetId, now: Instant) -> usize {
        let (now, regime) = (Moment::not_before(self.epoch, now), self.regime());
        let died = |_, life: &mut SlotLife| {
            life.died(target, now);
            life.enter(regime);
        };
        self.lives.change(|_, _, shape| shape.is_some(), died)
    }

    /// Ends what time has ended; the number of slots that are told something else than before.
    ///
    /// `last_exception` says of a slot when a packet of it last met an entry of the flow table that names
    /// another target than the slot's current one. `idle` is the longest idle time-out of the action's
    /// groups. `fate` is as in [`SlotTable::reassign`], for changes that had to wait.
    pub fn tick(
        &mut self,
        now: Instant,
        last_exception: &dyn Fn(usize) -> Option<Instant>,
        idle: Duration,
        fate: &dyn Fn(TargetId) -> Fate,
    ) -> usize {
        let (epoch, regime) = (self.epoch, self.regime());
        let now = Now::of(epoch, now);
        let tick = |slot, life: &mut SlotLife| {
            let seen = || last_exception(slot).map(|at| Moment::not_before(epoch, at));
            life.tick(regime, now, idle, seen, fate);
        };
        let is_due = |shape: &SlotLife| shape.may_change_by(regime, now, idle);
        self.lives.change(|_, _, shape| shape.is_some_and(is_due), tick)
    }

    /// Takes over what `target` told of its connections when it was asked at `asked`: whether a slot has any. The
    /// number of slots that the data plane is told something else of than before.
    pub fn told(
        &mut self,
        target: TargetId,
        has_connections: &dyn Fn(usize) -> bool,
        asked: Instant,
        now: Instant,
        fate: &dyn Fn(TargetId) -> Fate,
    ) -> usize {
        let (asked, now, regime) =
            (Moment::reached(self.epoch, asked), Now::of(self.epoch, now), self.regime());
        let told = |slot, life: &mut SlotLife| {
            if let SlotLife::Chained(chain) = life
                && chain.had(target)
            {
                chain.told(target, has_connections(slot), asked);
                if regime == Regime::SecondChance && has_connections(slot) {
                    chain.seat(target, now.not_before, fate);
                }
                life.retry(regime, now, fate);
                life.enter(regime);
            }
        };
        self.lives.change(|_, _, shape| shape.is_some(), told)
    }

    /// Takes over in which slots `target` had connections when it was asked at `asked`, on a node that has just started
    /// and so knows no former owners. The number of slots that the data plane is told something else of than before.
    pub fn learn(
        &mut self,
        target: TargetId,
        has_connections: &dyn Fn(usize) -> bool,
        asked: Instant,
        fate: &dyn Fn(TargetId) -> Fate,
    ) -> usize {
        let asked = Moment::reached(self.epoch, asked);
        let learn = |slot, life: &mut SlotLife| {
            if let SlotLife::Chained(chain) = life
                && has_connections(slot)
            {
                chain.learn(target, asked, fate);
            }
        };
        self.lives.change(|slot, _, _| has_connections(slot), learn)
    }

    /// The former owners who should be asked for their connections now: their window is about to end, or the place
    /// that they take is needed.
    pub fn questions(&self, now: Instant) -> BTreeSet<TargetId> {
        let now = Moment::reached(self.epoch, now);
        let mut targets = BTreeSet::new();
        self.chains().for_each(|chain| {
            chain.questions(now, |target| targets.extend([target]));
        });
        targets
    }

    /// When [`SlotTable::questions`] may have one more, if nothing changes until then.
    pub fn next_question(&self) -> Option<Instant> {
        let next =
            self.lives.shapes().filter_map(SlotLife::chain).filter_map(|chain| chain.next_question()).min();
        next.map(|moment| moment.instant(self.epoch))
    }

    /// What of the table waits.
    pub fn waiting(&self) -> Waiting {
        self.chains().fold(Waiting::default(), |sum, chain| Waiting {
            chained: sum.chained + 1,
            deferred: sum.deferred + usize::from(chain.is_deferred()),
        })
    }

    fn chains(&self) -> impl Iterator<Item = Chain> {
        self.chained().filter_map(|life| life.chain().copied())
    }

    /// The lives that are not at rest, if any slot has former owners. Not all of these have a word for the data plane: one
    /// without a current owner has none.
    fn chained(&self) -> impl Iterator<Item = SlotLife> {
        let has_chains = self.lives.shapes().any(|shape| shape.chain().is_some());
        has_chains.then(|| self.lives.awake()).into_iter().flatten()
    }

    /// Makes the table one of `size`; false, and nothing is changed, where flows would notice.
    ///
    /// Growing always works: both halves of a slot go on with its life. Shrinking joins slots that have the
    /// same target and treat unknown flows alike; so it works when the owners of the smaller table were
    /// assigned, and what this changed is no longer changing.
    pub fn resize(&mut self, size: TableSize) -> bool {
        if size >= self.size() {
            self.grow(size);
            return true;
        }
        let joined = 1 << (self.size().log2() - size.log2());
        let merge =
            |lives: &[SlotLife]| lives[1..].iter().try_fold(lives[0], |one, &other| one.merged(other));
        let lives: Vec<SlotLife> = self.lives.all().collect();
        let merged: Option<Vec<SlotLife>> = lives.chunks_exact(joined).map(merge).collect();
        let Some(merged) = merged else { return false };
        let words = merged.iter().map(|life| life.encoded().0).collect();
        self.lives = Lives::of(words, Arc::new([]), self.regime(), merged.into_iter());
        true
    }

    fn grow(&mut self, size: TableSize) {
        self.lives.grow(size.slots() / self.size().slots());
    }

    /// What the data plane is told, slot by slot: a change is another allocation.
    pub fn words(&self) -> &Arc<[Slot]> {
        self.lives.words()
    }

    /// The slots' chains likewise; empty if no slot has one.
    pub fn chain_words(&self) -> &Arc<[ChainWord]> {
        self.lives.chains()
    }

    /// What the data plane is told, slot by slot.
    pub fn encoded(&self) -> impl ExactSizeIterator<Item = Slot> {
        self.words().iter().copied()
    }

    /// The same with the slots' chains.
    pub fn with_chains(&self) -> impl ExactSizeIterator<Item = (Slot, ChainWord)> {
        self.lives.all().map(|life| life.encoded())
    }

    /// How many slots are in `state`; those with a chain are in none but [`SlotTable::waiting`].
    pub fn count(&self, state: SlotState) -> usize {
        let chained = |(slot, chain): (Slot, ChainWord)| chain.is_chain_of(slot) && slot.state() == state;
        let with_chain = self.chained().filter(|life| chained(life.encoded())).count();
        self.encoded().filter(|slot| slot.state() == state).count() - with_chain
    }

    /// How many slots send new flows to each target; one that has none is not in it.
    pub fn slots_by_target(&self) -> BTreeMap<TargetId, usize> {
        let mut counts: HashMap<TargetId, usize> = HashMap::new();
        for target in self.encoded().map(Slot::current).filter(|target| !target.is_none()) {
            *counts.entry(target).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    /// Whether a slot still names `target`. Entries of the flow table may name it for an idle time longer.
    pub fn names(&self, target: TargetId) -> bool {
        self.encoded().any(|slot| slot.current() == target)
            || self.lives.awake().any(|life| life.names(target))
    }

    /// When the next [`SlotTable::tick`] may change something; none while all slots are stable.
    pub fn next_deadline(&self, idle: Duration) -> Option<Instant> {
        let next = self.lives.shapes().filter_map(|life| life.deadline(self.regime(), idle)).min();
        next.map(|moment| moment.instant(self.epoch))
    }

    /// A digest of who owns which part of the hash's range: 16 hex digits, equal on all nodes that have the
    /// same owners. A table that has not shrunk yet has that of the smaller one.
    ///
    /// `identity` is what [`super::member::identity`] says: ids of targets differ between nodes.
    pub fn digest(&self, identity: impl Fn(TargetId) -> u64) -> String {
        let mut owners: Vec<TargetId> = self.encoded().map(Slot::current).collect();
        while owners.len() > TableSize::SMALLEST.slots()
            && owners.chunks_exact(2).all(|pair| pair[0] == pair[1])
        {
            owners = owners.into_iter().step_by(2).collect();
        }
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        for owner in owners {
            hasher.write(&if owner.is_none() { 0 } else { identity(owner) }.to_le_bytes());
        }
        format!("{:016x}", hasher.finish())
    }
}

fn size_of(slots: usize) -> TableSize {
    TableSize::from_slots(slots).expect("a table has as many owners as a table size has slots")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TargetId = TargetId(1);
    const B: TargetId = TargetId(2);
    const IDLE: Duration = Duration::from_secs(60);

    fn stays(_: TargetId) -> Fate {
        Fate::Stays { window: IDLE }
    }

    fn none() -> Arc<[ChainWord]> {
        Arc::new([])
    }

    fn never(_: usize) -> Option<Instant> {
        None
    }

    /// 256 slots of which every fourth is B's.
    fn quarter_to_b() -> Vec<TargetId> {
        (0..256).map(|slot| if slot % 4 == 0 { B } else { A }).collect()
    }

    #[test]
    fn former_owners_are_asked_though_no_slot_has_a_current_one() {
        let start = Instant::now();
        let mut table = SlotTable::new(&[A; 256], start);
        table.enter(Regime::SecondChance);
        table.reassign(&[TargetId::NONE; 256], start, &stays);
        assert_eq!(table.chain_words().len(), 0);
        assert_eq!(table.waiting(), Waiting { chained: 256, deferred: 0 });
        assert_eq!(table.questions(start + IDLE), BTreeSet::from([A]));
    }

    #[test]
    fn only_slots_with_another_owner_change() {
        let start = Instant::now();
        let mut table = SlotTable::new(&[A; 256], start);
        assert_eq!(table.reassign(&quarter_to_b(), start, &stays), 64);
        assert_eq!(table.count(SlotState::Changing), 64);
        assert_eq!(table.slots_by_target(), BTreeMap::from([(A, 192), (B, 64)]));
        assert!(table.names(A) && table.names(B) && !table.names(TargetId(3)));
    }

    #[test]
    fn deadlines_lead_to_stability() {
        let start = Instant::now();
        let mut table = SlotTable::new(&[A; 256], start);
        assert_eq!(table.next_deadline(IDLE), None);
        table.reassign(&[B; 256], start, &stays);
        for state in [SlotState::Exceptions, SlotState::Stable] {
            let deadline = table.next_deadline(IDLE).unwrap();
            assert_eq!(table.tick(deadline - Duration::from_millis(1), &never, IDLE, &stays), 0);
            assert_eq!(table.tick(deadline, &never, IDLE, &stays), 256);
            assert_eq!(table.count(state), 256);
        }
        assert_eq!(table.next_deadline(IDLE), None);
        assert!(!table.names(A));
    }

    #[test]
    fn an_adopted_table_says_the_same_and_its_windows_begin_anew() {
        let start = Instant::now();
        let mut table = SlotTable::new(&[A; 256], start);
        table.reassign(&quarter_to_b(), start, &stays);
        let words: Vec<Slot> = table.encoded().collect();
        let later = start + IDLE - Duration::from_secs(1);
        let mut adopted = SlotTable::adopted(&words.as_slice().into(), &none(), later, &stays);
        assert_eq!(adopted.encoded().collect::<Vec<_>>(), words);
        assert_eq!(adopted.next_deadline(IDLE), Some(later + IDLE));
        assert_eq!(adopted.tick(later + IDLE, &never, IDLE, &stays), 64);
        let excepted: Vec<Slot> = adopted.encoded().collect();
        let again = SlotTable::adopted(&excepted.as_slice().into(), &none(), later, &stays);
        assert_eq!(again.encoded().collect::<Vec<_>>(), excepted);
        assert_eq!(again.next_deadline(IDLE), Some(later + IDLE));
    }

    #[test]
    fn a_table_that_grows_keeps_the_life_of_every_slot() {
        let start = Instant::now();
        let mut table = SlotTable::new(&[A; 256], start);
        table.reassign(&quarter_to_b(), start, &stays);
        let before: Vec<Slot> = table.encoded().collect();
        assert!(table.resize(TableSize::from_slots(1024).unwrap()));
        assert!(table.encoded().enumerate().all(|(slot, life)| life == before[slot / 4]));
        assert!(table.resize(TableSize::SMALLEST), "siblings that live alike are joined, changing or not");
        assert_eq!(table.encoded().collect::<Vec<_>>(), before);
    }

    #[test]
    fn owners_of_a_larger_table_make_it_grow() {
        let start = Instant::now();
        let mut table = SlotTable::new(&[A; 256], start);
        let owners: Vec<TargetId> = (0..512).map(|slot| if slot % 2 == 0 { A } else { B }).collect();
        assert_eq!(table.reassign(&owners, start, &stays), 256);
        assert_eq!(table.size().slots(), 512);
    }

    #[test]
    fn a_table_shrinks_when_the_owners_of_the_smaller_one_have_settled() {
        let start = Instant::now();
        let owners: Vec<TargetId> = (0..512).map(|slot| if slot % 2 == 0 { A } else { B }).collect();
        let mut table = SlotTable::new(&owners, start);
        assert!(!table.resize(TableSize::SMALLEST));
        assert_eq!(table.reassign(&[A; 256], start, &stays), 256);
        assert!(!table.resize(TableSize::SMALLEST), "unknown flows of B's slots are still B's");
        assert_eq!(table.size().slots(), 512);
        table.tick(start + IDLE, &never, IDLE, &stays);
        assert!(table.resize(TableSize::SMALLEST));
        assert_eq!((table.size(), table.count(SlotState::Exceptions)), (TableSize::SMALLEST, 256));
    }

    #[test]
    fn the_digest_is_of_the_owners_alone() {
        let start = Instant::now();
        let digest = |table: &SlotTable| table.digest(|target| 100 + u64::from(target.0));
        let fresh = SlotTable::new(&quarter_to_b(), start);
        let mut changed = SlotTable::new(&[A; 256], start);
        assert_ne!(digest(&changed), digest(&fresh));
        changed.reassign(&quarter_to_b(), start, &stays);
        assert_eq!(digest(&changed), digest(&fresh));
        changed.resize(TableSize::LARGEST);
        assert_eq!(digest(&changed), digest(&fresh));
        assert_eq!(digest(&fresh).len(), 16);
        let renumbered: Vec<TargetId> = quarter_to_b().iter().map(|id| TargetId(id.0 + 7)).collect();
        assert_eq!(SlotTable::new(&renumbered, start).digest(|id| 93 + u64::from(id.0)), digest(&fresh));
    }

    #[test]
    fn a_table_without_targets_forwards_nothing() {
        let table = SlotTable::new(&[TargetId::NONE; 256], Instant::now());
        assert!(table.encoded().all(|slot| slot == Slot::EMPTY));
        assert!(table.slots_by_target().is_empty());
    }
}
