//! Since when other nodes have other tables than this one. Pure.
//!
//! For moments nodes differ: checks end when they end, and a record is a few seconds old. What lasts is a fault: another
//! version, another inventory, a target that one of them alone can't reach.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::record::Record;

/// How long tables must differ until it is told.
pub const LASTING: Duration = Duration::from_secs(20);

/// Since when each of the others differs.
#[derive(Debug, Default)]
pub(super) struct Agreement(BTreeMap<String, Instant>);

impl Agreement {
    /// The names of those that differ from `own`, and have for long; `others` are those that are present.
    pub(super) fn look<'r>(
        &mut self,
        own: &Record,
        others: impl Iterator<Item = &'r Record>,
        now: Instant,
    ) -> BTreeSet<String> {
        let differing = others.filter(|other| own.differs_from(other)).map(|other| other.name.clone());
        self.0 = differing.map(|name| self.0.get_key_value(&name).map_or((name, now), known)).collect();
        let lasts = |since: Instant| now.saturating_duration_since(since) >= LASTING;
        self.0.iter().filter(|(_, since)| lasts(**since)).map(|(name, _)| name.clone()).collect()
    }
}

fn known((name, since): (&String, &Instant)) -> (String, Instant) {
    (name.clone(), *since)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn only_what_lasts_is_told_and_only_while_it_does() {
        let (mut agreement, begin) = (Agreement::default(), Instant::now());
        let own = record("lb1", "a", 7, "x");
        let (same, other) = (record("lb2", "a", 7, "x"), record("lb2", "a", 7, "y"));
        for (seconds, told, expected) in [
            (0, &other, 0),
            (19, &other, 0),
            (20, &other, 1),
            (21, &same, 0),
            (22, &other, 0),
            (41, &other, 0),
            (42, &other, 1),
        ] {
            let now = begin + Duration::from_secs(seconds);
            assert_eq!(agreement.look(&own, [told].into_iter(), now).len(), expected, "after {seconds} s");
        }
    }

    #[test]
    fn a_new_generation_begins_anew() {
        let (mut agreement, begin) = (Agreement::default(), Instant::now());
        let other = |generation| record("lb2", "a", generation, "y");
        for (seconds, generation, other) in
            [(0, 7, other(7)), (15, 8, other(7)), (16, 8, other(8)), (30, 8, other(8))]
        {
            let own = record("lb1", "a", generation, "x");
            let now = begin + Duration::from_secs(seconds);
            assert!(agreement.look(&own, [&other].into_iter(), now).is_empty(), "after {seconds} s");
        }
    }
}
