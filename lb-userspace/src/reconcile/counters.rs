//! Small numbers for things that the data plane counts or indexes: each is given out once, and again only after
//! it was given back.

use std::collections::{BTreeMap, BTreeSet};

/// Numbers from 1 to a limit by owner.
#[derive(Debug, Clone)]
pub(super) struct Numbers<K> {
    limit: u32,
    used: BTreeMap<K, u32>,
    free: BTreeSet<u32>,
    next: u32,
}

impl<K: Ord + Clone> Numbers<K> {
    /// The numbers 1 to `limit` - 1.
    pub(super) fn below(limit: u32) -> Numbers<K> {
        Numbers { limit, used: BTreeMap::new(), free: BTreeSet::new(), next: 1 }
    }

    /// The number of `owner`, a new one if it has none; none if all are used.
    pub(super) fn of(&mut self, owner: &K) -> Option<u32> {
        if let Some(number) = self.used.get(owner) {
            return Some(*number);
        }
        let number = self.free.pop_first().or_else(|| self.unused())?;
        self.used.insert(owner.clone(), number);
        Some(number)
    }

    /// Takes over that `number` is `owner`'s; a number that is out of range or another's is not.
    pub(super) fn adopt(&mut self, owner: K, number: u32) {
        let is_taken = number == 0 || number >= self.limit || self.used.values().any(|used| *used == number);
        if is_taken || self.used.contains_key(&owner) {
            return;
        }
        self.free.extend(self.next..number);
        self.free.remove(&number);
        self.next = self.next.max(number + 1);
        self.used.insert(owner, number);
    }

    fn unused(&mut self) -> Option<u32> {
        let number = self.next;
        if number >= self.limit {
            return None;
        }
        self.next += 1;
        Some(number)
    }

    /// The number of `owner`, if it has one.
    pub(super) fn get(&self, owner: &K) -> Option<u32> {
        self.used.get(owner).copied()
    }

    /// Gives back the numbers of all owners for which `keep` is false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        let gone: Vec<K> = self.used.keys().filter(|owner| !keep(owner)).cloned().collect();
        for owner in gone {
            let number = self.used.remove(&owner).expect("the key was just seen");
            self.free.insert(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_belongs_to_one_owner_until_it_is_given_back() {
        let mut numbers = Numbers::below(3);
        assert_eq!((numbers.of(&"a"), numbers.of(&"b"), numbers.of(&"c")), (Some(1), Some(2), None));
        assert_eq!(numbers.of(&"a"), Some(1));
        numbers.retain(|owner| *owner != "a");
        assert_eq!((numbers.of(&"c"), numbers.of(&"b")), (Some(1), Some(2)));
        assert_eq!((numbers.get(&"a"), numbers.get(&"c")), (None, Some(1)));
    }

    #[test]
    fn numbers_that_were_adopted_are_given_to_nobody_else() {
        let mut numbers = Numbers::below(6);
        for (owner, number) in [("a", 3), ("b", 1), ("c", 3), ("d", 6), ("e", 0), ("a", 4)] {
            numbers.adopt(owner, number);
        }
        assert_eq!((numbers.get(&"a"), numbers.get(&"b"), numbers.get(&"c")), (Some(3), Some(1), None));
        assert_eq!(["c", "d", "e"].map(|owner| numbers.of(&owner)), [Some(2), Some(4), Some(5)]);
        assert_eq!(numbers.of(&"f"), None);
    }
}
