//! Targets that were there when the node started, until their agents have told their connections.
//!
//! Other nodes have changed slots while this one was away, and know who had them. This one learns it from the targets'
//! connections, once; until then it should get no packets, because it would send those of former owners' connections
//! to the current ones alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// An agent that failed to answer so often is not waited for any longer.
const TRIES: u8 = 3;

/// Who has not told yet, with the questions that had no answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Untold {
    failures: BTreeMap<IpAddr, u8>,
}

impl Untold {
    /// None of these has told.
    pub(super) fn of(addresses: BTreeSet<IpAddr>) -> Untold {
        Untold { failures: addresses.into_iter().map(|address| (address, 0)).collect() }
    }

    /// Whether it has not told, and is waited for.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.failures.contains_key(&address)
    }

    /// Whether all have told.
    pub(super) fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }

    /// It has told.
    pub(super) fn told(&mut self, address: IpAddr) {
        self.failures.remove(&address);
    }

    /// It did not answer.
    pub(super) fn failed(&mut self, address: IpAddr) {
        if let Some(failures) = self.failures.get_mut(&address) {
            *failures += 1;
            if *failures >= TRIES {
                self.failures.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_three_times_is_not_waited_for() {
        let [one, other]: [IpAddr; 2] = ["10.0.0.3", "10.0.0.4"].map(|address| address.parse().unwrap());
        let mut untold = Untold::of(BTreeSet::from([one, other]));
        untold.told(other);
        assert!(untold.has(one) && !untold.has(other));
        untold.failed(one);
        untold.failed(one);
        assert!(untold.has(one));
        untold.failed(one);
        untold.failed(one);
        assert!(untold.is_empty());
    }
}
