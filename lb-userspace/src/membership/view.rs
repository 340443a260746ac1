//! What a node tells the others of its targets' health: those that it sees unhealthy, and those that it has no view of.
//!
//! Bounded: a record is read by every node every few seconds. A node that has to say more ([`MOST`]) says nothing, and
//! the others decide without it.

use std::collections::BTreeSet;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most targets that a view names: 16 KiB of text.
pub const MOST: usize = 1024;

/// Hex digits of a target's identity.
const DIGITS: usize = 16;

/// A node's view of the targets that it checks; those that it does not name are healthy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct View {
    /// Those whose checks fail.
    #[serde(default, skip_serializing_if = "Identities::is_empty")]
    unhealthy: Identities,
    /// Those that were not checked often enough yet.
    #[serde(default, skip_serializing_if = "Identities::is_empty")]
    unknown: Identities,
}

/// What a node says of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Its checks pass.
    Healthy,
    /// Its checks fail.
    Unhealthy,
    /// Nothing.
    Unknown,
}

/// Targets, as [`identity`](crate::table::member::identity) names them on every node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Identities(BTreeSet<u64>);

impl View {
    /// The view of a node that sees its targets so; none if there is too much to say.
    pub fn of(targets: impl Iterator<Item = (u64, Seen)>) -> Option<View> {
        let mut view = View::default();
        for (identity, seen) in targets {
            match seen {
                Seen::Healthy => continue,
                Seen::Unhealthy => view.unhealthy.0.insert(identity),
                Seen::Unknown => view.unknown.0.insert(identity),
            };
            if view.unhealthy.0.len() + view.unknown.0.len() > MOST {
                return None;
            }
        }
        Some(view)
    }

    /// What it says of a target.
    pub fn seen(&self, identity: u64) -> Seen {
        match identity {
            one if self.unknown.0.contains(&one) => Seen::Unknown,
            one if self.unhealthy.0.contains(&one) => Seen::Unhealthy,
            _ => Seen::Healthy,
        }
    }

    /// How many targets it sees unhealthy.
    pub fn unhealthy(&self) -> usize {
        self.unhealthy.0.len()
    }
}

impl Identities {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One string of digits: a list of strings would be a third longer.
impl Serialize for Identities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|one| format!("{one:016x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Identities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Identities, D::Error> {
        let text = String::deserialize(deserializer)?;
        let words = text.as_bytes().chunks(DIGITS);
        let number = |word: &[u8]| {
            let digits = std::str::from_utf8(word).ok().filter(|word| word.len() == DIGITS)?;
            u64::from_str_radix(digits, 16).ok()
        };
        let all = words.map(number).collect::<Option<BTreeSet<u64>>>();
        all.map(Identities).ok_or_else(|| D::Error::custom("targets' identities are words of 16 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(count: u64) -> impl Iterator<Item = (u64, Seen)> {
        (0..count).map(|at| (u64::MAX - at, if at % 2 == 0 { Seen::Unhealthy } else { Seen::Unknown }))
    }

    #[test]
    fn what_is_read_is_what_was_written_and_its_size_is_bounded() {
        let named = [(1, Seen::Unhealthy), (2, Seen::Unknown), (3, Seen::Healthy), (0xabc, Seen::Unhealthy)];
        let view = View::of(named.into_iter()).unwrap();
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(text, r#"{"unhealthy":"00000000000000010000000000000abc","unknown":"0000000000000002"}"#);
        let read: View = serde_json::from_str(&text).unwrap();
        assert_eq!((read.clone(), read.unhealthy()), (view, 2));
        for (identity, seen) in named.into_iter().chain([(9, Seen::Healthy)]) {
            assert_eq!(read.seen(identity), seen, "{identity}");
        }
        assert_eq!(serde_json::to_string(&View::default()).unwrap(), "{}");
        let fullest = View::of(many(MOST as u64)).unwrap();
        assert!(serde_json::to_string(&fullest).unwrap().len() < 17 * 1024);
    }

    #[test]
    fn a_node_that_has_too_much_to_say_says_nothing() {
        assert!(View::of(many(MOST as u64)).is_some());
        assert_eq!(View::of(many(MOST as u64 + 1)), None);
    }

    #[test]
    fn what_is_no_view_is_refused() {
        for text in
            [r#"{"unhealthy":"1"}"#, r#"{"unknown":"000000000000000g"}"#, r#"{"unhealthy":"äääääääääää"}"#]
        {
            assert!(serde_json::from_str::<View>(text).is_err(), "{text}");
        }
    }
}
