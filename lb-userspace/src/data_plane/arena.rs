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

    /// Takes this very block; false, and nothing is changed, if it is not free.
    pub fn reserve(&mut self, block: Block) -> bool {
        let (first, log2) = (block.first, usize::from(block.log2));
        let around = |size: usize| first >> size << size;
        let aligned = log2 < self.free.len() && around(log2) == first;
        let Some(found) =
            (log2..self.free.len()).find(|size| aligned && self.free[*size].remove(&around(*size)))
        else {
            return false;
        };
        for size in log2..found {
            self.free[size].insert(around(size) ^ (1 << size));
        }
        true
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
        fn an_arena_whose_blocks_are_reserved_is_as_if_they_had_been_taken(
            sizes in proptest::collection::vec(0u8..5, 0..30),
            kept in any::<u32>(),
        ) {
            let mut arena = Arena::new(8);
            let blocks: Vec<Block> = sizes.into_iter().filter_map(|log2| arena.take(log2)).collect();
            let mut again = Arena::new(8);
            for (at, block) in blocks.iter().enumerate() {
                if kept >> at & 1 == 1 {
                    prop_assert!(again.reserve(*block));
                    prop_assert!(!again.reserve(*block));
                } else {
                    arena.give_back(*block);
                }
            }
            prop_assert_eq!(again.free, arena.free);
        }
    }

    #[test]
    fn a_block_that_is_nowhere_is_not_reserved() {
        let mut arena = Arena::new(4);
        for block in [Block { first: 1, log2: 1 }, Block { first: 16, log2: 0 }, Block { first: 0, log2: 5 }]
        {
            assert!(!arena.reserve(block), "{block:?}");
        }
        assert_eq!(arena.free_slots(), 16);
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
