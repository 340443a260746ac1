//! Signatures that were used, as long as they would be accepted by their time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::api::calendar::Timestamp;
use crate::api::protocol::{ApiError, Code};

/// How long the same may be asked again by who asked it: signatures have a resolution of one second.
const SAME_SECOND: Duration = Duration::from_secs(2);

/// How many are remembered: more than 1,000 changes a second for as long as signatures are good. About 60 MiB.
const CAPACITY: usize = 1 << 20;

/// Used signatures. Half a signature tells it from all others.
#[derive(Debug, Default)]
pub(super) struct Seen {
    first_use: HashMap<u128, Use>,
    /// Those that expire with a second, by that second.
    expiring: BTreeMap<u64, Vec<u128>>,
}

/// A signature's use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    /// When.
    pub(super) time: Timestamp,
    /// On which connection.
    pub(super) connection: u64,
}

impl Seen {
    /// Notes the use of a signature, and keeps it in mind while it is good. A second use is let through at once after the first: for a read, and for a change
    /// on the same connection, on which nobody but its client can send.
    pub(super) fn check(
        &mut self,
        signature: [u8; 32],
        good_until: Timestamp,
        changes: bool,
        Use { time: now, connection }: Use,
    ) -> Result<(), ApiError> {
        self.forget(now);
        let half: [u8; 16] = signature[..16].try_into().expect("a signature has 32 bytes");
        let key = u128::from_be_bytes(half);
        if let Some(first) = self.first_use.get(&key) {
            let is_theirs = !changes || first.connection == connection;
            if is_theirs && first.time.distance(now) <= SAME_SECOND {
                return Ok(());
            }
            return Err(Code::RequestExpired.because(
                "This signed request was received before; sign it anew (signatures have a resolution of one second)",
            ));
        }
        if self.first_use.len() >= CAPACITY {
            return Err(Code::Throttling.because("Too many requests: no more signatures can be remembered"));
        }
        self.first_use.insert(key, Use { time: now, connection });
        self.expiring.entry(good_until.0 / 1000 + 1).or_default().push(key);
        Ok(())
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(entry) = self.expiring.first_entry().filter(|entry| *entry.key() < now.0 / 1000) {
            for key in entry.remove() {
                self.first_use.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::signature::SKEW;

    const START: Timestamp = Timestamp(1_000_000_000_000);

    fn until(signed: Timestamp) -> Timestamp {
        signed.after(SKEW)
    }

    fn at(seconds: u64, connection: u64) -> Use {
        Use { time: START.after(Duration::from_secs(seconds)), connection }
    }

    #[test]
    fn a_change_is_made_once() {
        let mut seen = Seen::default();
        seen.check([1; 32], until(START), true, at(0, 1)).unwrap();
        for seconds in [0, 1, 299, 300] {
            let error = seen.check([1; 32], until(START), true, at(seconds, 2)).unwrap_err();
            assert_eq!(error.code, Code::RequestExpired);
        }
        seen.check([2; 32], until(START), true, at(1, 2)).unwrap();
    }

    #[test]
    fn a_client_may_say_the_same_twice_in_a_second() {
        let mut seen = Seen::default();
        seen.check([1; 32], until(START), true, at(0, 1)).unwrap();
        seen.check([1; 32], until(START), true, at(2, 1)).unwrap();
        assert!(seen.check([1; 32], until(START), true, at(3, 1)).is_err());
    }

    #[test]
    fn a_read_is_repeated_for_seconds_only() {
        let mut seen = Seen::default();
        seen.check([1; 32], until(START), false, at(0, 1)).unwrap();
        seen.check([1; 32], until(START), false, at(2, 2)).unwrap();
        assert!(seen.check([1; 32], until(START), false, at(3, 2)).is_err());
        assert!(seen.check([1; 32], until(START), true, at(1, 2)).is_err());
    }

    #[test]
    fn what_has_expired_is_forgotten() {
        let mut seen = Seen::default();
        for number in 0..100 {
            seen.check([number; 32], until(START), true, at(0, 1)).unwrap();
        }
        let late = at(400, 1);
        seen.check([200; 32], until(late.time), true, late).unwrap();
        assert_eq!((seen.first_use.len(), seen.expiring.len()), (1, 1));
    }
}
