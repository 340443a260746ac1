//! A flow table of another size: where its entries go.
//!
//! An entry does not say in which set of a larger table its flow would be looked for, as its set's number is all that is
//! known of those bits of the flow's hash. So it goes to each set that it could be: 2 where there are twice as many. In
//! the others nobody looks for it (but one flow in 2^32), and it ages there as in its own.
//!
//! In a smaller table several sets become one, and each entry that lives must find room there, or the table stays.

use lb_common::flow_table::{FlowEntry, FlowSet, Tick, WAYS};

/// The ways before it are those of confirmed flows.
const CONFIRMED: usize = 5;

/// So many ticks after [`Age::now`] an entry may have been seen: packets go on while a table is copied.
const AHEAD: u16 = 60;

/// When an entry is worth keeping.
#[derive(Debug, Clone, Copy)]
pub(super) struct Age {
    /// When the copy began.
    pub(super) now: Tick,
    /// After so many ticks without a packet every listener has forgotten a flow.
    pub(super) idle: u16,
}

impl Age {
    fn keeps(self, entry: FlowEntry) -> bool {
        !entry.target().is_none() && self.of(entry) <= self.idle.saturating_add(AHEAD)
    }

    /// Ticks since its flow was last seen, and [`AHEAD`] more.
    fn of(self, entry: FlowEntry) -> u16 {
        Tick(self.now.0.wrapping_add(AHEAD)).since(entry.seen())
    }
}

/// Copies what lives in `old` to `new`, which is empty; how many entries found no room.
pub(super) fn copy(old: &[FlowSet], new: &[FlowSet], age: Age) -> usize {
    let mut without_room = 0;
    for (at, set) in new.iter().enumerate() {
        let sources: Vec<[FlowEntry; WAYS]> =
            (at % old.len()..old.len()).step_by(new.len()).map(|at| entries(&old[at])).collect();
        let (merged, more) = merged(&sources, age);
        without_room += more;
        for (cell, entry) in set.0.iter().zip(merged) {
            cell.store(entry.0);
        }
    }
    without_room
}

/// How many living entries would find no room in a table of `sets` sets.
pub(super) fn without_room(old: &[FlowSet], sets: usize, age: Age) -> usize {
    if sets >= old.len() {
        return 0;
    }
    let sources = |at| (at..old.len()).step_by(sets).map(|at| entries(&old[at])).collect::<Vec<_>>();
    (0..sets).map(|at| merged(&sources(at), age).1).sum()
}

/// Brings entries that packets have refreshed in `old` since they were copied up to date. None is added: that a flow of
/// `old` is unknown in `new` may mean that another connection has its ports meanwhile.
pub(super) fn refresh(old: &[FlowSet], new: &[FlowSet], age: Age) {
    for (at, set) in old.iter().enumerate() {
        for entry in entries(set).into_iter().filter(|entry| age.keeps(*entry)) {
            let places = (at % new.len()..new.len()).step_by(old.len());
            places.for_each(|place| refresh_in(&new[place], entry));
        }
    }
}

fn refresh_in(set: &FlowSet, entry: FlowEntry) {
    for cell in &set.0 {
        let there = FlowEntry(cell.load());
        let is_it = there.tag() == entry.tag() && there.target() == entry.target();
        let since = entry.seen().since(there.seen());
        if is_it && since != 0 && since < 1 << 15 {
            // Or a packet has refreshed it at this moment.
            let _ = cell.replace_if(there.0, entry.0);
        }
    }
}

/// From the last way to the first: a flow whose second packet comes moves that way, and must be met in one or the other.
fn entries(set: &FlowSet) -> [FlowEntry; WAYS] {
    let mut entries = [FlowEntry(0); WAYS];
    for (entry, cell) in entries.iter_mut().zip(&set.0).rev() {
        *entry = FlowEntry(cell.load());
    }
    entries
}

/// One set of what lives in several, and how many entries it has no room for: those that were seen first.
fn merged(sources: &[[FlowEntry; WAYS]], age: Age) -> ([FlowEntry; WAYS], usize) {
    if let [source] = sources {
        return (source.map(|entry| if age.keeps(entry) { entry } else { FlowEntry(0) }), 0);
    }
    let mut confirmed = living(sources, 0..CONFIRMED, age);
    let mut new = living(sources, CONFIRMED..WAYS, age);
    new.retain(|entry| confirmed.iter().all(|known| known.tag() != entry.tag()));
    // Confirmed ones that are too many are among the new ones, which are confirmed where there is room.
    let spare = confirmed.split_off(confirmed.len().min(CONFIRMED));
    new.extend(spare);
    new.sort_by_key(|entry| age.of(*entry));
    while confirmed.len() < CONFIRMED && new.len() > WAYS - CONFIRMED {
        confirmed.extend(new.pop());
    }
    let without_room = new.len().saturating_sub(WAYS - CONFIRMED);
    let mut set = [FlowEntry(0); WAYS];
    set.iter_mut().zip(confirmed).for_each(|(way, entry)| *way = entry);
    set[CONFIRMED..].iter_mut().zip(new).for_each(|(way, entry)| *way = entry);
    (set, without_room)
}

/// The living entries in some ways, each flow once, those first that were seen last.
fn living(sources: &[[FlowEntry; WAYS]], ways: std::ops::Range<usize>, age: Age) -> Vec<FlowEntry> {
    let all = sources.iter().flat_map(|set| &set[ways.clone()]);
    let mut living: Vec<FlowEntry> = all.copied().filter(|entry| age.keeps(*entry)).collect();
    living.sort_by_key(|entry| age.of(*entry));
    let mut tags = std::collections::BTreeSet::new();
    living.retain(|entry| tags.insert(entry.tag()));
    living
}

#[cfg(test)]
mod tests {
    use lb_common::TargetId;
    use lb_common::flow::FlowHash;
    use lb_common::flow_table::Sighting;
    use lb_common::shared::Shared;
    use proptest::prelude::*;

    use super::*;

    const AGE: Age = Age { now: Tick(1000), idle: 100 };
    const TARGET: TargetId = TargetId(7);

    fn table(sets: usize) -> Vec<FlowSet> {
        (0..sets).map(|_| FlowSet([const { Shared::<u64>::new(0) }; WAYS])).collect()
    }

    fn sighting(hash: u64, seen: u16) -> Sighting {
        Sighting { hash: FlowHash(hash), now: Tick(seen), idle: AGE.idle }
    }

    fn find(table: &[FlowSet], hash: u64) -> Option<TargetId> {
        let sighting = sighting(hash, AGE.now.0);
        table[sighting.hash.set() as usize % table.len()].peek(sighting).map(FlowEntry::target)
    }

    /// Flows that are remembered, seen so long ago.
    fn remember(table: &[FlowSet], flows: &[(u64, u16)]) {
        for (hash, ago) in flows {
            let sighting = sighting(*hash, AGE.now.0 - ago);
            table[sighting.hash.set() as usize % table.len()].remember(sighting, TARGET);
        }
    }

    proptest! {
        #[test]
        fn what_was_known_is_known_in_a_table_of_any_size_and_nothing_else_is(
            flows in proptest::collection::vec((any::<u64>(), 0u16..100), 0..40),
            others in proptest::collection::vec(any::<u64>(), 20),
            (from, to) in (3u32..9, 3u32..9),
        ) {
            let (old, new) = (table(1 << from), table(1 << to));
            remember(&old, &flows);
            let known: Vec<u64> =
                flows.iter().map(|(hash, _)| *hash).filter(|hash| find(&old, *hash).is_some()).collect();
            let without = without_room(&old, new.len(), AGE);
            prop_assert_eq!(copy(&old, &new, AGE), without);
            let found = known.iter().filter(|hash| find(&new, **hash) == Some(TARGET)).count();
            prop_assert!(found + without >= known.len(), "{} of {}, {} without", found, known.len(), without);
            for hash in others.iter().filter(|hash| !flows.iter().any(|(flow, _)| flow == *hash)) {
                prop_assert_eq!(find(&new, *hash), None);
            }
        }
    }

    #[test]
    fn what_no_listener_remembers_is_left_behind() {
        let (old, new) = (table(1), table(2));
        remember(&old, &[(1, 101), (2, 100)]);
        assert_eq!(copy(&old, &new, AGE), 0);
        assert_eq!(new[0].0.iter().filter(|cell| cell.load() != 0).count(), 1);
        assert_eq!((find(&new, 1), find(&new, 2)), (None, Some(TARGET)));
    }

    #[test]
    fn a_flow_whose_packet_comes_while_the_table_is_copied_is_copied() {
        let (old, new, small) = (table(2), table(4), table(1));
        for (hash, later) in [(1, 0), (2, 1), (1 << 32 | 3, 2)] {
            old[(hash >> 32) as usize].remember(sighting(hash, AGE.now.0 + later), TARGET);
        }
        assert_eq!((copy(&old, &new, AGE), copy(&old, &small, AGE)), (0, 0));
        let count = |table: &[FlowSet]| table.iter().flat_map(entries).filter(|entry| entry.0 != 0).count();
        assert_eq!((count(&new), count(&small)), (6, 3));
    }

    #[test]
    fn a_table_that_grew_and_shrank_again_is_as_it_was() {
        let (old, large, again) = (table(4), table(16), table(4));
        remember(&old, &[(1, 0), (1 << 32 | 2, 5), (3 << 32 | 3, 50)]);
        assert_eq!(copy(&old, &large, AGE) + copy(&large, &again, AGE), 0);
        let count = |table: &[FlowSet]| table.iter().flat_map(entries).filter(|entry| entry.0 != 0).count();
        assert_eq!((count(&old), count(&large), count(&again)), (3, 12, 3));
    }

    #[test]
    fn too_many_living_flows_for_a_set_are_told() {
        let old = table(2);
        let flows: Vec<(u64, u16)> = (0..6u64).map(|at| ((at % 2) << 32 | at, at as u16)).collect();
        remember(&old, &flows);
        assert_eq!(without_room(&old, 1, AGE), 0);
        for (at, cell) in old.iter().flat_map(|set| &set.0).enumerate() {
            cell.store(FlowEntry::new(at as u32, TARGET, AGE.now).0);
        }
        assert_eq!(without_room(&old, 1, AGE), 8);
        assert_eq!(copy(&old, &table(1), AGE), 8);
    }

    #[test]
    fn packets_of_the_last_moment_are_told_to_the_new_table_and_no_flow_comes_to_life_again() {
        let (old, new) = (table(1), table(2));
        remember(&old, &[(1, 50), (2, 50)]);
        copy(&old, &new, AGE);
        new.iter().for_each(|set| set.forget(FlowHash(2)));
        old[0].find(sighting(1, AGE.now.0), |_| true).unwrap();
        old[0].find(sighting(2, AGE.now.0), |_| true).unwrap();
        refresh(&old, &new, AGE);
        for set in &new {
            assert_eq!(set.peek(sighting(1, AGE.now.0)).unwrap().seen(), AGE.now);
            assert_eq!(set.peek(sighting(2, AGE.now.0)), None);
        }
        new[0].find(sighting(1, AGE.now.0 + 1), |_| true).unwrap();
        refresh(&old, &new, AGE);
        assert_eq!(new[0].peek(sighting(1, AGE.now.0 + 1)).unwrap().seen(), Tick(AGE.now.0 + 1));
    }
}
