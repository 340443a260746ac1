//! Where the lives of a table's slots are kept. Who has a slot and who had it is what the data plane is told, and shared
//! with that. Most slots are at rest most of the time, and there is no more to say of them; of the others only what no
//! word says is kept, once for all that it is said of: slots change by thousands in one moment.
//!
//! ```text
//!   words    A A B CB C A …     a word for each slot, as the data plane has it
//!   chains   (none)             likewise, while a slot has one
//!   marks    . . . 0 .  . …     which shape each slot has that is not at rest; none while all are
//!   shapes   changing until …   lives without the targets
//! ```

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use lb_common::{ChainWord, Slot, TargetId};

use super::marks::Marks;
use super::regime::{Regime, SlotLife};

/// The lives of all slots of a table.
#[derive(Debug, Clone)]
pub(super) struct Lives {
    regime: Regime,
    words: Arc<[Slot]>,
    /// Empty if no slot has one.
    chains: Arc<[ChainWord]>,
    /// The places in the shapes of the slots that are not at rest.
    marks: Marks,
    /// Each is some slot's.
    shapes: Vec<SlotLife>,
}

impl Lives {
    /// Every slot stable on its owner.
    pub(super) fn stable(owners: &[TargetId], regime: Regime) -> Lives {
        let words = owners.iter().copied().map(Slot::stable).collect();
        Lives { regime, words, chains: Arc::new([]), marks: Marks::default(), shapes: Vec::new() }
    }

    /// These lives; `words` and `chains` are kept where they say what the lives do.
    pub(super) fn of(
        words: Arc<[Slot]>,
        chains: Arc<[ChainWord]>,
        regime: Regime,
        lives: impl Iterator<Item = SlotLife>,
    ) -> Lives {
        let mut all = Lives { regime, words, chains, marks: Marks::default(), shapes: Vec::new() };
        let mut packer = Packer::of(all.words.len(), regime);
        for (slot, life) in lives.enumerate() {
            all.write(slot, life.encoded());
            packer.keep(slot, life);
        }
        all.take(packer);
        all
    }

    /// Who is to keep flows where they are.
    pub(super) fn regime(&self) -> Regime {
        self.regime
    }

    /// Sets who that is; each slot follows when no flow notices it.
    pub(super) fn enter(&mut self, regime: Regime) {
        if regime == self.regime {
            return;
        }
        let mut packer = Packer::of(self.words.len(), regime);
        for (slot, shape) in self.marks.iter() {
            let mut life = self.life(slot, shape);
            life.enter(regime);
            packer.keep(slot, life);
        }
        self.regime = regime;
        self.take(packer);
    }

    /// What the data plane is told, slot by slot: a change is another allocation.
    pub(super) fn words(&self) -> &Arc<[Slot]> {
        &self.words
    }

    /// The chains that the data plane is told likewise; empty if no slot has one.
    pub(super) fn chains(&self) -> &Arc<[ChainWord]> {
        &self.chains
    }

    /// The lives of the slots that are not at rest.
    pub(super) fn awake(&self) -> impl Iterator<Item = SlotLife> {
        self.marks.iter().map(|(slot, shape)| self.life(slot, shape))
    }

    /// What is said of slots that are not at rest: their lives without the targets, each once.
    pub(super) fn shapes(&self) -> impl Iterator<Item = &SlotLife> {
        self.shapes.iter()
    }

    /// The same, to be changed.
    pub(super) fn shapes_mut(&mut self) -> impl Iterator<Item = &mut SlotLife> {
        self.shapes.iter_mut()
    }

    /// The lives of all slots.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = SlotLife> {
        (0..self.words.len()).map(|slot| self.of_slot(slot))
    }

    fn of_slot(&self, slot: usize) -> SlotLife {
        self.marks.get(slot).map_or_else(|| self.at_rest(slot), |shape| self.life(slot, shape))
    }

    fn life(&self, slot: usize, shape: usize) -> SlotLife {
        let chain = self.chains.get(slot).copied().unwrap_or(ChainWord::NONE);
        self.shapes[shape].of_targets(self.words[slot], chain)
    }

    fn at_rest(&self, slot: usize) -> SlotLife {
        SlotLife::stable(self.words[slot].current(), self.regime)
    }

    /// Changes the lives of the slots that `concerns` says: of a slot, its word, and its shape if it is not at rest. The
    /// number of slots that the data plane is told something else of than before.
    pub(super) fn change(
        &mut self,
        concerns: impl Fn(usize, Slot, Option<&SlotLife>) -> bool,
        mut change: impl FnMut(usize, &mut SlotLife),
    ) -> usize {
        let mut changed = 0;
        let mut packer = Packer::of(self.words.len(), self.regime);
        for slot in 0..self.words.len() {
            let place = self.marks.get(slot);
            if concerns(slot, self.words[slot], place.map(|place| &self.shapes[place])) {
                let before = self.of_slot(slot);
                let mut life = before;
                change(slot, &mut life);
                if life != before {
                    changed += usize::from(life.encoded() != before.encoded());
                    self.write(slot, life.encoded());
                    packer.keep(slot, life);
                    continue;
                }
            }
            if let Some(place) = place {
                packer.keep_shape(slot, place, self.shapes[place]);
            }
        }
        self.take(packer);
        changed
    }

    fn write(&mut self, slot: usize, (word, chain): (Slot, ChainWord)) {
        if self.words[slot] != word {
            Arc::make_mut(&mut self.words)[slot] = word;
        }
        if self.chains.is_empty() && chain != ChainWord::NONE {
            self.chains = vec![ChainWord::NONE; self.words.len()].into();
        }
        if self.chains.get(slot).is_some_and(|known| *known != chain) {
            Arc::make_mut(&mut self.chains)[slot] = chain;
        }
    }

    fn take(&mut self, packer: Packer) {
        (self.marks, self.shapes) = (packer.marks, packer.shapes);
        self.shapes.shrink_to_fit();
        if self.chains.iter().all(|chain| *chain == ChainWord::NONE) {
            self.chains = Arc::new([]);
        }
    }

    /// Makes `copies` slots that live alike of each.
    pub(super) fn grow(&mut self, copies: usize) {
        self.words = self.words.iter().flat_map(|word| std::iter::repeat_n(*word, copies)).collect();
        self.chains = self.chains.iter().flat_map(|chain| std::iter::repeat_n(*chain, copies)).collect();
        self.marks.grow(copies);
    }
}

/// Sorts out which slots are not at rest, and what shapes they have.
struct Packer {
    slots: usize,
    marks: Marks,
    shapes: Vec<SlotLife>,
    places: HashMap<SlotLife, usize>,
    /// The shape of slots at rest.
    rest: SlotLife,
    /// The place of the latest slot's shape: neighbours mostly live alike.
    latest: usize,
    /// What has become of the shapes that there were before, by their places.
    before: Vec<Before>,
}

/// A shape that there was before.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// No slot that has it still was taken in yet.
    Unseen,
    /// It says of a slot that it is at rest.
    AtRest,
    /// It is at this place now.
    At(usize),
}

impl Packer {
    /// For a table of so many slots in `regime`, all of which are at rest so far.
    fn of(slots: usize, regime: Regime) -> Packer {
        Packer {
            slots,
            marks: Marks::default(),
            shapes: Vec::new(),
            places: HashMap::new(),
            rest: SlotLife::stable(TargetId::NONE, regime),
            latest: 0,
            before: Vec::new(),
        }
    }

    /// Takes in the life of a slot that lives on as it did, with the shape that was at `place`: most do while others
    /// change, and a shape is looked for once, not for each of them.
    fn keep_shape(&mut self, slot: usize, place: usize, shape: SlotLife) {
        if self.before.len() <= place {
            self.before.resize(place + 1, Before::Unseen);
        }
        if matches!(self.before[place], Before::Unseen) {
            let is_at_rest = shape == self.rest;
            self.before[place] = if is_at_rest { Before::AtRest } else { Before::At(self.place(shape)) };
        }
        if let Before::At(now) = self.before[place] {
            self.marks.set(slot, now, self.slots);
        }
    }

    /// Takes in the life of a slot.
    fn keep(&mut self, slot: usize, life: SlotLife) {
        let shape = life.shape();
        if shape == self.rest {
            return;
        }
        if self.shapes.get(self.latest) != Some(&shape) {
            self.latest = self.place(shape);
        }
        self.marks.set(slot, self.latest, self.slots);
    }

    fn place(&mut self, shape: SlotLife) -> usize {
        *self.places.entry(shape).or_insert_with(|| {
            self.shapes.push(shape);
            self.shapes.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Fate;
    use crate::table::life::Moment;
    use crate::table::regime::Now;

    const A: TargetId = TargetId(1);
    const B: TargetId = TargetId(2);

    const NOON: Moment = Moment(1000);

    fn give_to_b(lives: &mut Lives, slot: usize, now: Moment) -> usize {
        let fate = |_| Fate::Stays { window: std::time::Duration::from_secs(60) };
        let (regime, now) = (lives.regime(), Now { reached: now, not_before: now });
        lives.change(|at, _, _| at == slot, |_, life| life.reassign(B, regime, now, &fate))
    }

    fn awake(lives: &Lives) -> Vec<usize> {
        lives.marks.iter().map(|(slot, _)| slot).collect()
    }

    #[test]
    fn slots_that_change_together_take_one_byte_more() {
        for regime in [Regime::FlowTable, Regime::SecondChance] {
            let mut lives = Lives::stable(&[A; 4096], regime);
            assert_eq!((0..4096).map(|slot| give_to_b(&mut lives, slot, NOON)).sum::<usize>(), 4096);
            assert_eq!((lives.marks.iter().count(), lives.shapes.len()), (4096, 1));
            assert_eq!(lives.marks.bytes(), 4096);
        }
    }

    #[test]
    fn slots_at_rest_take_four_bytes_each_in_either_regime() {
        let mut lives = Lives::stable(&[A; 4096], Regime::FlowTable);
        lives.enter(Regime::SecondChance);
        assert_eq!((lives.marks.bytes(), lives.shapes.capacity(), lives.chains.len()), (0, 0, 0));
        assert_eq!(size_of_val(&lives.words[..]), 4 * 4096);
        assert!(lives.all().all(|life| life == SlotLife::stable(A, Regime::SecondChance)));
    }

    #[test]
    fn a_change_is_another_allocation_and_wakes_the_slots_that_changed_alone() {
        for regime in [Regime::FlowTable, Regime::SecondChance] {
            let mut lives = Lives::stable(&[A; 256], regime);
            let told = Arc::clone(lives.words());
            assert_eq!(lives.change(|_, _, _| true, |_, _| ()), 0);
            assert!(Arc::ptr_eq(&told, lives.words()));
            assert_eq!(give_to_b(&mut lives, 7, NOON), 1);
            assert_eq!(awake(&lives), [7]);
            assert_eq!((told[7], lives.words()[7]), (Slot::stable(A), Slot::changing(B, A)));
            assert_eq!(lives.chains().len(), if regime == Regime::SecondChance { 256 } else { 0 });
        }
    }

    #[test]
    fn slots_that_live_on_keep_their_shapes_while_others_change() {
        for regime in [Regime::FlowTable, Regime::SecondChance] {
            let mut lives = Lives::stable(&[A; 256], regime);
            for (slot, now) in [(3, NOON), (5, NOON), (9, Moment(2000))] {
                give_to_b(&mut lives, slot, now);
            }
            let before: Vec<SlotLife> = lives.all().collect();
            give_to_b(&mut lives, 100, Moment(3000));
            let after: Vec<SlotLife> = lives.all().collect();
            assert!((0..256).filter(|slot| before[*slot] != after[*slot]).eq([100]));
            assert_eq!((awake(&lives), lives.shapes.len()), (vec![3, 5, 9, 100], 3));
        }
    }

    #[test]
    fn a_slot_that_grows_wakes_with_all_of_its_copies() {
        let mut lives = Lives::stable(&[A; 256], Regime::FlowTable);
        give_to_b(&mut lives, 3, NOON);
        lives.grow(2);
        assert_eq!(awake(&lives), [6, 7]);
        assert!(lives.all().zip(lives.words().iter()).all(|(life, word)| life.encoded().0 == *word));
    }
}
