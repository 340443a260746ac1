//! Where the lives of a table's slots are kept: most slots are at rest most of the time, and a slot at rest is what
//! the data plane is told of it, four bytes that both share.
//!
//! ```text
//!   words   A A B C C A …        a word for each slot, as the data plane has it
//!   awake   (3, changing …)      the lives of those of which a word does not say all
//! ```

use std::sync::Arc;

use lb_common::{ChainWord, Slot, TargetId};

use super::regime::{Regime, SlotLife};

/// The lives of all slots of a table.
#[derive(Debug, Clone)]
pub(super) struct Lives {
    regime: Regime,
    words: Arc<[Slot]>,
    /// In the order of the slots; no life that is that of a slot at rest.
    awake: Vec<(u32, SlotLife)>,
}

impl Lives {
    /// Every slot stable on its owner.
    pub(super) fn stable(owners: &[TargetId], regime: Regime) -> Lives {
        Lives { regime, words: owners.iter().copied().map(Slot::stable).collect(), awake: Vec::new() }
    }

    /// These lives; `words` are kept where they say what the lives do.
    pub(super) fn of(mut words: Arc<[Slot]>, regime: Regime, lives: impl Iterator<Item = SlotLife>) -> Lives {
        let mut awake = Vec::new();
        for (slot, life) in lives.enumerate() {
            write(&mut words, slot, life.encoded().0);
            keep(&mut awake, regime, slot, life);
        }
        awake.shrink_to_fit();
        Lives { regime, words, awake }
    }

    /// Who is to keep flows where they are.
    pub(super) fn regime(&self) -> Regime {
        self.regime
    }

    /// Sets who that is; each slot follows when no flow notices it.
    pub(super) fn enter(&mut self, regime: Regime) {
        self.regime = regime;
        self.awake.retain_mut(|(_, life)| {
            life.enter(regime);
            !is_at_rest(life, regime)
        });
        self.awake.shrink_to_fit();
    }

    /// What the data plane is told, slot by slot: a change is another allocation.
    pub(super) fn words(&self) -> &Arc<[Slot]> {
        &self.words
    }

    /// The chains that the data plane is told, slot by slot; empty if no slot has one.
    pub(super) fn chain_words(&self) -> Arc<[ChainWord]> {
        let chains = || self.awake.iter().map(|(slot, life)| (*slot as usize, life.encoded().1));
        if chains().all(|(_, chain)| chain == ChainWord::NONE) {
            return Arc::new([]);
        }
        let mut words = vec![ChainWord::NONE; self.words.len()];
        chains().for_each(|(slot, chain)| words[slot] = chain);
        words.into()
    }

    /// The lives of the slots that are not at rest.
    pub(super) fn awake(&self) -> impl Iterator<Item = &SlotLife> {
        self.awake.iter().map(|(_, life)| life)
    }

    /// The same, to be changed in what no word says.
    pub(super) fn awake_mut(&mut self) -> impl Iterator<Item = &mut SlotLife> {
        self.awake.iter_mut().map(|(_, life)| life)
    }

    /// The lives of all slots.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = SlotLife> {
        let mut awake = self.awake.iter().peekable();
        self.words.iter().enumerate().map(move |(slot, word)| {
            let known = awake.next_if(|(at, _)| *at as usize == slot);
            known.map_or(SlotLife::stable(word.current(), self.regime), |(_, life)| *life)
        })
    }

    /// Changes the lives of the slots that are not at rest, and of those that `wakes` says of a slot and its target;
    /// the number of slots that the data plane is told something else of than before.
    pub(super) fn change(
        &mut self,
        wakes: impl Fn(usize, TargetId) -> bool,
        mut change: impl FnMut(usize, &mut SlotLife),
    ) -> usize {
        let (regime, mut changed) = (self.regime, 0);
        let mut awake = std::mem::take(&mut self.awake).into_iter().peekable();
        for slot in 0..self.words.len() {
            let mut life = match awake.next_if(|(at, _)| *at as usize == slot) {
                Some((_, life)) => life,
                None if wakes(slot, self.words[slot].current()) => {
                    SlotLife::stable(self.words[slot].current(), regime)
                }
                None => continue,
            };
            let before = life.encoded();
            change(slot, &mut life);
            changed += usize::from(life.encoded() != before);
            write(&mut self.words, slot, life.encoded().0);
            keep(&mut self.awake, regime, slot, life);
        }
        self.awake.shrink_to_fit();
        changed
    }

    /// Makes `copies` slots that live alike of each.
    pub(super) fn grow(&mut self, copies: usize) {
        self.words = self.words.iter().flat_map(|word| std::iter::repeat_n(*word, copies)).collect();
        let each = |(slot, life): &(u32, SlotLife)| {
            let (first, life) = (slot * copies as u32, *life);
            (first..first + copies as u32).map(move |slot| (slot, life))
        };
        self.awake = self.awake.iter().flat_map(each).collect();
    }
}

fn is_at_rest(life: &SlotLife, regime: Regime) -> bool {
    *life == SlotLife::stable(life.current(), regime)
}

fn keep(awake: &mut Vec<(u32, SlotLife)>, regime: Regime, slot: usize, life: SlotLife) {
    if !is_at_rest(&life, regime) {
        awake.push((u32::try_from(slot).expect("a table has at most 2^17 slots"), life));
    }
}

fn write(words: &mut Arc<[Slot]>, slot: usize, word: Slot) {
    if words[slot] != word {
        Arc::make_mut(words)[slot] = word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Fate;
    use crate::table::regime::Now;

    const A: TargetId = TargetId(1);
    const B: TargetId = TargetId(2);

    fn give_to_b(lives: &mut Lives, slot: usize) -> usize {
        let now = std::time::Instant::now();
        let fate = |_| Fate::Stays { window: std::time::Duration::from_secs(60) };
        let (regime, now) = (lives.regime(), Now::of(now, now));
        lives.change(|at, _| at == slot, |_, life| life.reassign(B, regime, now, &fate))
    }

    #[test]
    fn slots_at_rest_take_four_bytes_each_in_either_regime() {
        let mut lives = Lives::stable(&[A; 4096], Regime::FlowTable);
        lives.enter(Regime::SecondChance);
        assert_eq!((lives.awake.capacity(), size_of_val(&lives.words[..])), (0, 4 * 4096));
        assert!(lives.all().all(|life| life == SlotLife::stable(A, Regime::SecondChance)));
    }

    #[test]
    fn a_change_is_another_allocation_and_wakes_the_slots_that_changed_alone() {
        for regime in [Regime::FlowTable, Regime::SecondChance] {
            let mut lives = Lives::stable(&[A; 256], regime);
            let told = Arc::clone(lives.words());
            assert_eq!(lives.change(|_, _| true, |_, _| ()), 0);
            assert!(Arc::ptr_eq(&told, lives.words()));
            assert_eq!(give_to_b(&mut lives, 7), 1);
            assert_eq!(lives.awake.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [7]);
            assert_eq!((told[7], lives.words()[7]), (Slot::stable(A), Slot::changing(B, A)));
            assert_eq!(lives.chain_words().len(), if regime == Regime::SecondChance { 256 } else { 0 });
        }
    }

    #[test]
    fn a_slot_that_grows_wakes_with_all_of_its_copies() {
        let mut lives = Lives::stable(&[A; 256], Regime::FlowTable);
        give_to_b(&mut lives, 3);
        lives.grow(2);
        assert_eq!(lives.awake.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [6, 7]);
        assert!(lives.all().zip(lives.words().iter()).all(|(life, word)| life.encoded().0 == *word));
    }
}
