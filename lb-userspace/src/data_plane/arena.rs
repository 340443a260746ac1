//! Where in the `SLOTS` map each table lies: a buddy allocator over power-of-two tables.
//!
//! Pure bookkeeping. A table that is replaced is freed only after no packet can be reading it any more; the
//! caller sees to that.

use std::collections::BTreeSet;

/// The slots of the `SLOTS` map, as free and used blocks of 2^n slots.
#[derive(Debug)]
pub struct Arena {
    /// Free blocks by the binary logarithm of their size: first slots.
    free: Vec<BTreeSet<u32>>,
}

/// A table's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The first slot.
    pub first: u32,
    /// The binary logarithm of the number of slots.
    pub log2: u8,
}

impl Arena {
    /// An arena of 2^`log2` slots (at most 2^31), all free.
    pub fn new(log2: u8) -> Arena {
        let mut free = vec![BTreeSet::new(); log2 as usize + 1];
        free[log2 as usize].insert(0);
        Arena { free }
    }

    /// A block of 2^`log2` slots, or none if no such block is free.
    pub fn take(&mut self, log2: u8) -> Option<Block> {
        let found = (log2 as usize..self.free.len()).find(|size| !self.free[*size].is_empty())?;
        let first = self.free[found].pop_first().expect("the block was just found");
        for size in (log2 as usize..found).rev() {
            self.free[size].insert(first + (1 << size));
        }
        Some(Block { first, log2 })
    }

    /// Gives a block back.
    pub fn give_back(&mut self, block: Block) {
        let (mut first, mut size) = (block.first, block.log2 as usize);
        while size + 1 < self.free.len() && self.free[size].remove(&(first ^ (1 << size))) {
            first &= !(1 << size);
            size += 1;
        }
        self.free[size].insert(first);
    }

    /// How many slots are free, in blocks of any size.
    pub fn free_slots(&self) -> u64 {
        self.free.iter().enumerate().map(|(size, blocks)| (blocks.len() as u64) << size).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_whole_again() {
        let mut arena = Arena::new(10);
        let blocks: Vec<_> = (0..4).map(|_| arena.take(8).expect("room for four quarters")).collect();
        assert_eq!(arena.take(8), None);
        blocks.into_iter().for_each(|block| arena.give_back(block));
        assert_eq!(arena.take(10), Some(Block { first: 0, log2: 10 }));
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_and_nothing_is_lost(steps in proptest::collection::vec((0u8..6, any::<u8>()), 0..200)) {
            let mut arena = Arena::new(8);
            let mut taken: Vec<Block> = Vec::new();
            for (log2, pick) in steps {
                if pick % 2 == 0 {
                    taken.extend(arena.take(log2));
                } else if !taken.is_empty() {
                    let at = pick as usize % taken.len();
                    arena.give_back(taken.swap_remove(at));
                }
                let mut used = vec![false; 256];
                for block in &taken {
                    prop_assert_eq!(block.first % (1 << block.log2), 0);
                    for slot in block.first..block.first + (1 << block.log2) {
                        prop_assert!(!std::mem::replace(&mut used[slot as usize], true));
                    }
                }
                prop_assert_eq!(arena.free_slots() + used.iter().filter(|used| **used).count() as u64, 256);
            }
        }
    }
}
