//! A rate limit whose whole state is one moment: the generic cell rate algorithm (ITU-T I.371, annex A), which
//! admits the same events as a token bucket and needs no refill.

/// So many events a second in the long run, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Nanoseconds that one event takes up.
    interval: u64,
    /// Nanoseconds by which events may be ahead of their time.
    ahead: u64,
}

impl RateLimit {
    /// `per_second` events in the long run (1 to 1,000,000,000), of which `burst` (at least 1) may come at once.
    pub const fn new(per_second: u64, burst: u64) -> RateLimit {
        let interval = 1_000_000_000 / per_second;
        RateLimit { interval, ahead: interval * (burst - 1) }
    }

    /// Nanoseconds that one event takes up.
    #[inline(always)]
    pub const fn interval(self) -> u64 {
        self.interval
    }

    /// Nanoseconds by which events may be ahead of their time.
    #[inline(always)]
    pub const fn ahead(self) -> u64 {
        self.ahead
    }

    /// The limit as one word, which is not zero: bits 0–31 the interval, 32–63 how far ahead. It holds limits whose
    /// burst takes up at most 4 seconds.
    pub const fn word(self) -> u64 {
        self.interval | self.ahead << 32
    }

    /// What [`RateLimit::word`] gave; zero is none.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Option<RateLimit> {
        if word == 0 { None } else { Some(RateLimit { interval: word & 0xffff_ffff, ahead: word >> 32 }) }
    }

    /// Whether an event at `now` (monotonic, in nanoseconds) is admitted: what the state becomes if it is. The
    /// state before the first event is zero.
    #[inline(always)]
    pub const fn admit(self, state: u64, now: u64) -> Option<u64> {
        let due = if state > now { state } else { now };
        if due - now > self.ahead { None } else { Some(due + self.interval) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the events at these moments are admitted.
    fn admitted(limit: RateLimit, moments: impl Iterator<Item = u64>) -> usize {
        let mut state = 0;
        moments.filter(|now| limit.admit(state, *now).inspect(|next| state = *next).is_some()).count()
    }

    #[test]
    fn a_burst_passes_at_once_and_no_more() {
        let limit = RateLimit::new(1000, 50);
        assert_eq!(admitted(limit, std::iter::repeat_n(0, 1000)), 50);
        assert_eq!(admitted(limit, std::iter::repeat_n(123_456_789, 1000)), 50);
    }

    #[test]
    fn in_the_long_run_the_rate_is_kept() {
        let limit = RateLimit::new(1000, 50);
        let ten_seconds = (0..100_000).map(|at| 1_000_000_000 + at * 100_000);
        assert!((10_000..=10_050).contains(&admitted(limit, ten_seconds)));
    }

    #[test]
    fn a_limit_is_one_word() {
        for limit in [RateLimit::new(1, 1), RateLimit::new(10, 10), RateLimit::new(10_000_000, 10_000_000)] {
            assert_eq!(RateLimit::from_word(limit.word()), Some(limit));
        }
        assert_eq!(RateLimit::from_word(0), None);
    }

    #[test]
    fn events_at_the_rate_all_pass() {
        let limit = RateLimit::new(1000, 1);
        assert_eq!(admitted(limit, (0..1000).map(|at| at * 1_000_000)), 1000);
    }

    #[test]
    fn a_clock_of_four_milliseconds_loses_nothing_of_the_rate() {
        let limit = RateLimit::new(1000, 50);
        let second = (0..10_000).map(|at| 1_000_000_000 + at * 100_000 / 4_000_000 * 4_000_000);
        assert!((1000..=1050).contains(&admitted(limit, second)));
    }
}
