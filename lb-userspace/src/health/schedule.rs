//! When a target is checked.
//!
//! Pure: it is given the time and a source of random numbers. Checks of one target never overlap, for the next
//! is planned when the last has ended; checks of many targets spread, for every one is moved at random.

use std::time::{Duration, Instant};

/// The longest wait before a new target's first check: soon enough to serve soon.
const FIRST_CHECK_WITHIN: Duration = Duration::from_secs(1);

/// What each of several targets that come at once adds to that wait: 1,000 of them are not asked in the same
/// millisecond, and one that comes alone is asked at once.
const PER_NEWCOMER: Duration = Duration::from_millis(1);

/// How far a check moves from its interval, as a share of it. So the nodes' checks of a target, and one node's
/// checks of targets that were added together, do not march in step.
const JITTER: f64 = 0.1;

/// The wait before the first check of one of `newcomers` targets: anywhere from now to as many milliseconds as there
/// are of them, but not beyond the interval's end, and at most one second.
pub fn first_delay(interval: Duration, newcomers: usize, random: &mut fastrand::Rng) -> Duration {
    let others = u32::try_from(newcomers.saturating_sub(1)).unwrap_or(u32::MAX);
    interval.min(FIRST_CHECK_WITHIN).min(PER_NEWCOMER.saturating_mul(others)).mul_f64(random.f64())
}

/// When the next check starts, if the last one `started` then and ended `now`: an interval after that start,
/// ±10 %, but at once if that has passed. Checks that were missed are not made up for.
pub fn next_start(started: Instant, now: Instant, interval: Duration, random: &mut fastrand::Rng) -> Instant {
    let stretch = 1.0 - JITTER + 2.0 * JITTER * random.f64();
    now.max(started + interval.mul_f64(stretch))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn first_checks_of_many_targets_spread_over_a_second() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut tenths = [0u32; 10];
        for _ in 0..10_000 {
            let delay = first_delay(INTERVAL, 16_000, &mut random);
            tenths[(delay.as_millis() / 100) as usize] += 1;
        }
        // 1,000 expected in each; 120 is four standard deviations.
        assert!(tenths.iter().all(|count| count.abs_diff(1_000) < 120), "{tenths:?}");
    }

    #[test]
    fn a_first_check_does_not_wait_longer_than_the_interval() {
        let mut random = fastrand::Rng::with_seed(2);
        let interval = Duration::from_millis(50);
        assert!((0..1_000).all(|_| first_delay(interval, 1_000, &mut random) <= interval));
    }

    #[test]
    fn a_target_that_comes_alone_is_checked_at_once() {
        let mut random = fastrand::Rng::with_seed(4);
        assert_eq!(first_delay(INTERVAL, 1, &mut random), Duration::ZERO);
        assert!((0..1_000).all(|_| first_delay(INTERVAL, 11, &mut random) <= Duration::from_millis(10)));
    }

    #[test]
    fn later_checks_come_after_an_interval_within_a_tenth() {
        let mut random = fastrand::Rng::with_seed(3);
        let started = Instant::now();
        let now = started + Duration::from_millis(5);
        let waits: Vec<_> =
            (0..1_000).map(|_| next_start(started, now, INTERVAL, &mut random) - started).collect();
        let (shortest, longest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*shortest >= Duration::from_secs(9) && *shortest < Duration::from_millis(9_100));
        assert!(*longest <= Duration::from_secs(11) && *longest > Duration::from_millis(10_900));
    }

    #[test]
    fn a_check_longer_than_its_interval_is_followed_at_once_by_one_check() {
        let mut random = fastrand::Rng::with_seed(4);
        let started = Instant::now();
        let now = started + 5 * INTERVAL;
        assert_eq!(next_start(started, now, INTERVAL, &mut random), now);
    }
}
