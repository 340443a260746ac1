//! Since when other nodes have other tables than this one, or another key of the flow hash. Pure.
//!
//! For moments tables differ: checks end when they end, and a record is a few seconds old. What lasts is a fault: another
//! version, another inventory, a target that one of them alone can't reach. A key is another one from the start, and
//! stays so until somebody copies it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::record::Record;

/// How long tables must differ until it is told.
pub const LASTING: Duration = Duration::from_secs(20);

/// What an operator does about another hash key.
pub const HASH_KEY_REMEDY: &str = "copy /run/sluice/hash.key of the node whose key is to stay to /etc/sluice/hash.key of \
     the other one; there `sluice node drain`, `systemctl stop sluice`, `sluice detach`, `rm /run/sluice/hash.key`, \
     `systemd-tmpfiles --create sluice.conf`, `systemctl start sluice`, `sluice node undrain`";

/// In what another node differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// It places flows by another key: whatever its tables are, a flow goes to another target there.
    HashKey,
    /// Its tables are others, though it follows the same generation, and have been for long.
    Tables,
}

/// Since when each of the others has other tables.
#[derive(Debug, Default)]
pub(super) struct Agreement(BTreeMap<String, Instant>);

impl Agreement {
    /// The names of those that differ from `own`; `others` are those that are present.
    pub(super) fn look<'r>(
        &mut self,
        own: &Record,
        others: impl Iterator<Item = &'r Record> + Clone,
        now: Instant,
    ) -> BTreeMap<String, Difference> {
        let differing =
            others.clone().filter(|other| own.differs_from(other)).map(|other| other.name.clone());
        self.0 = differing.map(|name| self.0.get_key_value(&name).map_or((name, now), known)).collect();
        let lasts = |since: Instant| now.saturating_duration_since(since) >= LASTING;
        let lasting = self.0.iter().filter(|(_, since)| lasts(**since));
        let tables = lasting.map(|(name, _)| (name.clone(), Difference::Tables));
        let strangers = others.filter(|other| own.has_other_key(other));
        // The key weighs more, so it is put over the tables.
        tables.chain(strangers.map(|other| (other.name.clone(), Difference::HashKey))).collect()
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

    #[test]
    fn another_key_is_told_at_once_and_outweighs_tables() {
        let (mut agreement, begin) = (Agreement::default(), Instant::now());
        let own = record("lb1", "a", 7, "x");
        let with = |all, key: Option<&str>| Record {
            hash_key: key.map(str::to_owned),
            ..record("lb2", "a", 7, all)
        };
        for (seconds, other, expected) in [
            (0, with("x", Some("f00d")), Some(Difference::HashKey)),
            (1, with("y", Some("f00d")), Some(Difference::HashKey)),
            (21, with("y", Some("f00d")), Some(Difference::HashKey)),
            (22, with("y", Some("5eed")), Some(Difference::Tables)),
            (23, with("x", Some("5eed")), None),
            (24, with("x", None), None),
        ] {
            let now = begin + Duration::from_secs(seconds);
            let found = agreement.look(&own, [&other].into_iter(), now);
            assert_eq!(found.get("lb2").copied(), expected, "after {seconds} s");
        }
    }
}
