//! Whose flows a forward action goes on with.
//!
//! A table is behind entries of `LISTENERS`, and it has their past: which slot was whose. What they forward to may
//! become something else, and the flows are there all the same. So a table stays with its entries, whatever these
//! forward to from then on, and changes as any table does:
//!
//! ```text
//!   80 ─► table 1: {blue}          80 ─► table 1: {green}, goes on with its slots
//!   81 ─► table 2: {green}    ─►   81 ─► table 2: {blue}, goes on with its slots
//!
//!   80 ─► table 1: {blue}          80 ─► table 1: {green}, goes on with its slots
//!   81 ─►     "               ─►   81 ─► table 2: {blue, green}, begins with those of table 1
//!
//!   80 ─► table 1: {blue}          80 ─► table 1: {blue}, as it was
//!   81 ─► table 2: {green}    ─►   81 ─► table 2: {blue}, goes on with its slots: a twin of table 1
//! ```
//!
//! Twins join when the past of both is over, as then they say the same. Entries that never had a table share one with
//! whoever forwards alike. Where there is no room for twins, entries share one at once, and the flows of all but one
//! table's break.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::ForwardAction;

/// What a packet finds in `LISTENERS`: VIP, port (0 for any) and protocol number.
pub(super) type Entry = (IpAddr, u16, u8);

/// The index of the action that has the packets of an entry now, by `serving`: its own, or that of all ports.
pub(super) fn predecessor(entry: Entry, serving: &BTreeMap<Entry, u32>) -> Option<u32> {
    let (vip, _, protocol) = entry;
    serving.get(&entry).or_else(|| serving.get(&(vip, 0, protocol))).copied()
}

/// Entries that forward alike and have one past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// What they are to forward to.
    pub(super) forward: &'a ForwardAction,
    /// Whose flows they have; none if they had no action yet.
    pub(super) past: Option<u32>,
    /// Which they are.
    pub(super) entries: Vec<Entry>,
}

/// Sorts entries by what they are to forward to and whose flows they have. `past` answers by the index of an action
/// that is there. Those without a past are with others that forward alike, if there are any.
pub(super) fn lines<'a>(
    wanted: &BTreeMap<Entry, &'a ForwardAction>,
    past: impl Fn(Entry) -> Option<u32>,
) -> Vec<Line<'a>> {
    let mut sorted: BTreeMap<(&ForwardAction, Option<u32>), Vec<Entry>> = BTreeMap::new();
    for (entry, forward) in wanted {
        sorted.entry((forward, past(*entry))).or_default().push(*entry);
    }
    let mut lines: Vec<Line<'_>> = Vec::new();
    for ((forward, past), entries) in sorted {
        match lines.last_mut() {
            // None comes before all others.
            Some(last) if last.forward == forward && last.past.is_none() => {
                last.past = past;
                last.entries.extend(entries);
            }
            _ => lines.push(Line { forward, past, entries }),
        }
    }
    lines
}

/// One line for each forward action: of several the one that `stays` says of, or the first, with the entries of all.
pub(super) fn without_twins<'a>(lines: Vec<Line<'a>>, stays: impl Fn(&Line<'a>) -> bool) -> Vec<Line<'a>> {
    let mut joined: Vec<Line<'_>> = Vec::new();
    for line in lines {
        match joined.last_mut() {
            Some(last) if last.forward == line.forward => {
                if !stays(last) && stays(&line) {
                    last.past = line.past;
                }
                last.entries.extend(line.entries);
            }
            _ => joined.push(line),
        }
    }
    joined
}

/// Whether two lines forward alike; lines are sorted.
pub(super) fn have_twins(lines: &[Line<'_>]) -> bool {
    lines.windows(2).any(|pair| pair[0].forward == pair[1].forward)
}

/// The index of each line's action: that of its past if it `stays` there or nobody does, else one that is free. `free`
/// begins with those that nobody had before.
///
/// The first heir of an action that nobody stays with has its index: what is known of the slots in the data plane is
/// its own then, and until its entries are written these find its table, not a stranger's.
pub(super) fn indices(
    lines: &[Line<'_>],
    stays: impl Fn(&Line<'_>) -> bool,
    free: impl Iterator<Item = u32>,
) -> Vec<u32> {
    let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
    let positions = || lines.iter().enumerate();
    for (at, line) in positions().filter(|(_, line)| stays(line)).chain(positions()) {
        if let Some(past) = line.past {
            taken.entry(past).or_insert(at);
        }
    }
    let used: BTreeSet<u32> = taken.keys().copied().collect();
    let mut free = free.filter(|index| !used.contains(index));
    positions()
        .map(|(at, line)| match line.past {
            Some(past) if taken[&past] == at => past,
            _ => free.next().expect("there are no more lines than indices"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WeightedTargetGroup;

    fn forward(group: &str) -> ForwardAction {
        ForwardAction(vec![WeightedTargetGroup { target_group: group.into(), weight: 1 }])
    }

    fn entry(port: u16) -> Entry {
        (IpAddr::from([10, 0, 0, 1]), port, 6)
    }

    /// The indices by port, where each port has the past and forwards to the group that is said of it.
    fn indices_of(ports: &[(u16, Option<u32>, &str)], held: &[(u32, &str)]) -> BTreeMap<u16, u32> {
        let forwards: Vec<ForwardAction> = ports.iter().map(|(_, _, group)| forward(group)).collect();
        let wanted = ports.iter().zip(&forwards).map(|((port, _, _), forward)| (entry(*port), forward));
        let past = |(_, port, _): Entry| ports.iter().find(|one| one.0 == port).and_then(|one| one.1);
        let lines = lines(&wanted.collect(), past);
        let stays = |line: &Line<'_>| {
            held.iter().any(|(index, group)| Some(*index) == line.past && *line.forward == forward(group))
        };
        let indices = indices(&lines, stays, 1..9);
        let of_line = |(line, index): (&Line<'_>, u32)| {
            line.entries.iter().map(move |(_, port, _)| (*port, index)).collect::<Vec<_>>()
        };
        lines.iter().zip(indices).flat_map(of_line).collect()
    }

    #[test]
    fn entries_that_swap_what_they_forward_to_keep_their_tables() {
        let ports = [(80, Some(1), "green"), (81, Some(2), "blue")];
        assert_eq!(indices_of(&ports, &[(1, "blue"), (2, "green")]), [(80, 1), (81, 2)].into());
    }

    #[test]
    fn entries_that_come_to_forward_alike_keep_a_table_each() {
        let ports = [(80, Some(1), "blue"), (81, Some(2), "blue")];
        assert_eq!(indices_of(&ports, &[(1, "blue"), (2, "green")]), [(80, 1), (81, 2)].into());
    }

    #[test]
    fn of_entries_that_part_the_one_that_goes_on_as_it_was_keeps_the_table() {
        let ports = [(80, Some(1), "aqua"), (81, Some(1), "blue")];
        assert_eq!(indices_of(&ports, &[(1, "blue")]), [(80, 2), (81, 1)].into());
        assert_eq!(indices_of(&ports, &[(1, "red")]), [(80, 1), (81, 2)].into());
    }

    #[test]
    fn entries_without_a_past_share_a_table_with_whoever_forwards_alike() {
        let ports = [(80, None, "blue"), (81, Some(3), "blue"), (82, None, "red"), (83, None, "red")];
        assert_eq!(indices_of(&ports, &[(3, "blue")]), [(80, 3), (81, 3), (82, 1), (83, 1)].into());
    }

    #[test]
    fn an_entry_of_one_port_goes_on_with_the_flows_of_all_ports() {
        let serving = BTreeMap::from([(entry(0), 7), (entry(81), 8)]);
        assert_eq!([80, 81].map(|port| predecessor(entry(port), &serving)), [Some(7), Some(8)]);
        assert_eq!(predecessor((entry(80).0, 80, 17), &serving), None);
    }
}
