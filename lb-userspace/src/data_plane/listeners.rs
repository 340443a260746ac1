//! The hash table `LISTENERS`: where entries lie, and in which order they are written while packets read them.

use anyhow::{Context, ensure};
use lb_common::hash::HashKey;
use lb_common::listener::{Comparison, Listener, ListenerKey, ListenerLine, MAX_PROBES};
use lb_common::shared::Shared;

/// Entries for each listener that fits: with so many, a place near its home is free for each.
pub(super) const PLACES_PER_LISTENER: u32 = 4;

/// The number of entries that the map needs for so many listeners: a power of two.
pub(super) fn places(listeners: u32) -> u32 {
    (listeners * PLACES_PER_LISTENER).next_power_of_two()
}

/// What is known of the table besides its content.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    used: u32,
    of_any_port: u32,
    /// Whether an entry was removed since the last grace period: its place may still be read.
    removed: bool,
}

impl Listeners {
    /// Adds or replaces a listener; a packet sees the old or the new one.
    pub(super) fn set(
        &mut self,
        lines: &[ListenerLine],
        key: ListenerKey,
        listener: Listener,
        hash_key: HashKey,
        grace_period: impl FnOnce(),
    ) -> anyhow::Result<()> {
        if let Some(line) = find(lines, key) {
            line.0[3].store(listener.word());
            return Ok(());
        }
        let capacity = lines.len() as u32 / PLACES_PER_LISTENER;
        ensure!(self.used < capacity, "adding a listener: the balancer was loaded for {capacity}");
        let free = probes(lines, key).find(|line| line.0[2].load() <= ListenerLine::REMOVED);
        let line = free.context("adding a listener: all places near its home are taken")?;
        if std::mem::take(&mut self.removed) {
            grace_period();
        }
        write(line, key, listener, hash_key);
        self.used += 1;
        self.of_any_port += u32::from(key.is_of_any_port());
        Ok(())
    }

    /// The table that an earlier controller has left, with its listeners. An entry of which only a part was written is not
    /// there yet; the place of one that was removed may still be read.
    pub(super) fn adopted(lines: &[ListenerLine]) -> (Listeners, Vec<(ListenerKey, Listener)>) {
        let third = |line: &ListenerLine| line.0[2].load();
        let held: Vec<_> = lines
            .iter()
            .filter(|line| third(line) > ListenerLine::REMOVED)
            .map(|line| {
                let key = ListenerKey::from_words([line.0[0].load(), line.0[1].load(), third(line)]);
                (key, line.listener())
            })
            .collect();
        let table = Listeners {
            used: held.len() as u32,
            of_any_port: held.iter().filter(|(key, _)| key.is_of_any_port()).count() as u32,
            removed: lines.iter().any(|line| third(line) == ListenerLine::REMOVED),
        };
        (table, held)
    }

    /// Copies the listeners of `from` into the empty table `to`, which may be of another size; how many find no place.
    pub(super) fn copy(from: &[ListenerLine], to: &[ListenerLine]) -> usize {
        let (mut room, mut without) = (to.len() / PLACES_PER_LISTENER as usize, 0);
        for line in from.iter().filter(|line| line.0[2].load() > ListenerLine::REMOVED) {
            let words = line.0.each_ref().map(|word| word.load());
            let key = ListenerKey::from_words([words[0], words[1], words[2]]);
            let free = probes(to, key).find(|line| line.0[2].load() <= ListenerLine::REMOVED);
            let Some(place) = free.filter(|_| room > 0) else {
                without += 1;
                continue;
            };
            room -= 1;
            for at in [0, 1, 3, 4, 5, 6, 7, 2] {
                place.0[at].store(words[at]);
            }
        }
        without
    }

    /// How many listeners would find no place in a table with so many places.
    pub(super) fn without_room(lines: &[ListenerLine], places: u32) -> usize {
        let empty = || ListenerLine(std::array::from_fn(|_| Shared::<u64>::new(0)));
        let table: Vec<ListenerLine> = (0..places).map(|_| empty()).collect();
        Listeners::copy(lines, &table)
    }

    /// Whether a listener of any port is there.
    pub(super) fn has_any_port(&self) -> bool {
        self.of_any_port > 0
    }

    /// Removes a listener.
    pub(super) fn remove(&mut self, lines: &[ListenerLine], key: ListenerKey) -> anyhow::Result<()> {
        let line = find(lines, key).context("removing a listener that is not there")?;
        line.0[2].store(ListenerLine::REMOVED);
        self.used -= 1;
        self.of_any_port -= u32::from(key.is_of_any_port());
        self.removed = true;
        Ok(())
    }
}

fn write(line: &ListenerLine, key: ListenerKey, listener: Listener, hash_key: HashKey) {
    let [first, second, third] = key.words();
    let [a, b, c, d] = key.hash_state(hash_key).0;
    for (at, word) in [(0, first), (1, second), (3, listener.word()), (4, a), (5, b), (6, c), (7, d)] {
        line.0[at].store(word);
    }
    line.0[2].store(third);
}

fn find(lines: &[ListenerLine], key: ListenerKey) -> Option<&ListenerLine> {
    let line = probes(lines, key).find(|line| line.compare(key) != Comparison::Another)?;
    line.holds(key).then_some(line)
}

fn probes(lines: &[ListenerLine], key: ListenerKey) -> impl Iterator<Item = &ListenerLine> {
    let mask = lines.len() - 1;
    let home = key.home(u64::BITS - lines.len().trailing_zeros()) as usize;
    (0..MAX_PROBES as usize).map(move |step| &lines[(home + step) & mask])
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const HASH_KEY: HashKey = HashKey { k0: 1, k1: 2 };

    fn key(number: u8) -> ListenerKey {
        ListenerKey::new([0, 0, 0, u32::from(number)], 80, 6)
    }

    fn listener(forward: u32) -> Listener {
        Listener { forward, counter: 0, idle: 0, tracking: Listener::TRACK_CHANGED, flags: 0 }
    }

    proptest! {
        #[test]
        fn the_table_holds_what_was_set_and_not_removed(steps in proptest::collection::vec((any::<u8>(), 0u32..4), 0..300)) {
            let lines: Vec<_> = (0..64).map(|_| ListenerLine(std::array::from_fn(|_| Shared::<u64>::new(0)))).collect();
            let mut table = Listeners::default();
            let mut model = HashMap::new();
            for (number, forward) in steps {
                let number = number % 20;
                if forward == 0 {
                    prop_assert_eq!(table.remove(&lines, key(number)).is_ok(), model.remove(&number).is_some());
                } else if table.set(&lines, key(number), listener(forward), HASH_KEY, || ()).is_ok() {
                    model.insert(number, forward);
                } else {
                    prop_assert_eq!(model.len(), 16);
                }
                let (adopted, held) = Listeners::adopted(&lines);
                prop_assert_eq!((adopted.used, adopted.of_any_port), (table.used, table.of_any_port));
                prop_assert_eq!(held.len(), model.len());
                let other: Vec<_> = (0..128).map(|_| ListenerLine(std::array::from_fn(|_| Shared::<u64>::new(0)))).collect();
                prop_assert_eq!(Listeners::copy(&lines, &other), 0);
                let moved = Listeners::adopted(&other).1;
                prop_assert!(held.iter().all(|one| moved.contains(one)) && moved.len() == held.len());
                prop_assert_eq!(Listeners::without_room(&lines, 16), model.len().saturating_sub(4));
                for number in 0..20 {
                    let found = find(&lines, key(number)).map(|line| line.listener().forward);
                    prop_assert_eq!(found, model.get(&number).copied());
                }
            }
        }
    }

    #[test]
    fn the_place_of_a_removed_listener_is_used_again_only_after_a_grace_period() {
        let lines: Vec<_> =
            (0..64).map(|_| ListenerLine(std::array::from_fn(|_| Shared::<u64>::new(0)))).collect();
        let mut table = Listeners::default();
        let mut periods = 0;
        table.set(&lines, key(1), listener(1), HASH_KEY, || periods += 1).unwrap();
        table.remove(&lines, key(1)).unwrap();
        table.set(&lines, key(1), listener(1), HASH_KEY, || periods += 1).unwrap();
        table.set(&lines, key(2), listener(1), HASH_KEY, || periods += 1).unwrap();
        assert_eq!(periods, 1);
    }
}
