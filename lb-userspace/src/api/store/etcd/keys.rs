//! The keys in etcd, and the one about all others.

use serde::{Deserialize, Serialize};

/// Keys under a prefix.
///
/// ```text
///   /sluice/head                       the Head
///   /sluice/state/load-balancer/web    an entry
/// ```
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

    /// What all keys begin with.
    pub(super) fn all(&self) -> &str {
        &self.prefix
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
        for other in [keys.head(), "/other/state/x".to_owned()] {
            assert_eq!(keys.entry_of(other.as_bytes()), None);
        }
    }
}
