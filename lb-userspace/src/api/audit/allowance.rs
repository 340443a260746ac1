//! How many lines strangers get: requests without a valid signature must not push everybody else's lines out of the
//! files that are kept.

use crate::api::calendar::Timestamp;

/// Lines that may come at once.
const BURST: u64 = 20;

/// Milliseconds until there is one more.
const INTERVAL: u64 = 500;

/// A bucket of lines that fills at two a second.
#[derive(Debug)]
pub(super) struct Allowance {
    lines: u64,
    filled: Timestamp,
    unlogged: u64,
}

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance { lines: BURST, filled: Timestamp(0), unlogged: 0 }
    }
}

impl Allowance {
    /// Takes a line: how many there were since the last one that was given that got none. None if there is no line.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<u64> {
        // A clock that was set back fills from there.
        let more = now.0.saturating_sub(self.filled.0) / INTERVAL;
        if more > 0 || now < self.filled {
            self.lines = (self.lines + more).min(BURST);
            self.filled = now;
        }
        if self.lines == 0 {
            self.unlogged += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_burst_and_then_two_lines_a_second() {
        let mut allowance = Allowance::default();
        let start = 1_000_000;
        let given =
            (0..10_000u64).filter(|at| allowance.take(Timestamp(start + at)).is_some()).count() as u64;
        assert!((BURST..=BURST + 20).contains(&given), "{given}");
        let unlogged = allowance.take(Timestamp(start + 11_000)).unwrap();
        assert!(unlogged > 0 && unlogged + given <= 10_000, "{unlogged}");
        assert_eq!(allowance.take(Timestamp(start + 11_000)), Some(0));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_the_log() {
        let mut allowance = Allowance::default();
        while allowance.take(Timestamp(1_000_000)).is_some() {}
        assert_eq!(allowance.take(Timestamp(1000)), None);
        assert!(allowance.take(Timestamp(2000)).is_some());
    }
}
