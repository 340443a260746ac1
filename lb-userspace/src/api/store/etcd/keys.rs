//! The keys in etcd, and the one about all others.

use serde::{Deserialize, Serialize};

/// Keys under a prefix.
///
/// ```text
///   /sluice/head                       the Head
///   /sluice/state/load-balancer/web    an entry
///   /sluice/cluster/record/lb1         what a node says of itself
///   /sluice/cluster/present/lb1        that it is there: under its lease
/// ```
///
/// What nodes say of themselves is no part of the state: it lies before the head, so that one range has the state alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    prefix: String,
}

/// What is said about the state as a whole. Every change writes it, and compares it with the one that it is based on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The version of the entries.
    pub(super) format: u32,
    /// The generation of the state.
    pub(super) generation: u64,
    /// How many entries there are.
    pub(super) entries: usize,
    /// Which state this is, of all that were ever begun: drawn when it was.
    pub(super) lineage: String,
    /// Which attempt wrote it, so that one whose answer was lost is known again.
    pub(super) attempt: String,
}

impl Keys {
    pub(super) fn under(prefix: &str) -> Keys {
        Keys { prefix: prefix.to_owned() }
    }

    /// The range of the state's keys: the first, and the first after them.
    pub(super) fn state(&self) -> (String, String) {
        // '0' follows '/'.
        (self.head(), format!("{}state0", self.prefix))
    }

    /// What the keys of nodes begin with.
    pub(super) fn cluster(&self) -> String {
        format!("{}cluster/", self.prefix)
    }

    /// Where a node says what it is.
    pub(super) fn record(&self, node: &str) -> String {
        format!("{}record/{node}", self.cluster())
    }

    /// Where a node says that it is there.
    pub(super) fn presence(&self, node: &str) -> String {
        format!("{}present/{node}", self.cluster())
    }

    pub(super) fn head(&self) -> String {
        format!("{}head", self.prefix)
    }

    pub(super) fn entry(&self, key: &str) -> String {
        format!("{}state/{key}", self.prefix)
    }

    /// The entry's key, if it is an entry's.
    pub(super) fn entry_of<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?.strip_prefix("state/")
    }
}

/// 16 random hexadecimal digits.
pub(super) fn random() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    format!("{:016x}", u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back() {
        let keys = Keys::under("/lb/");
        assert_eq!(
            keys.entry_of(keys.entry("last-vip/subnet-a/ipv4").as_bytes()),
            Some("last-vip/subnet-a/ipv4")
        );
        for other in [keys.head(), keys.record("lb1"), "/other/state/x".to_owned()] {
            assert_eq!(keys.entry_of(other.as_bytes()), None);
        }
    }
    #[test]
    fn the_range_of_the_state_has_the_state_alone() {
        let keys = Keys::under("/lb/");
        let (first, end) = keys.state();
        let is_in = |key: &String| (&first..&end).contains(&key);
        assert!(is_in(&keys.head()) && is_in(&keys.entry("last-vip/~")));
        assert!(!is_in(&keys.record("lb1")) && !is_in(&keys.presence("lb1")));
    }
}
