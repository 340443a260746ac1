//! How long things took, counted by how long.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The upper bounds of all buckets but the last, in seconds: from a check within a rack to the longest time-outs.
pub const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations since it was made; any thread may add one.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

/// The durations at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// How many there are in each bucket: at most its bound of [`BOUNDS`], and more than the one before it.
    pub buckets: [u64; BUCKETS],
    /// All of them together, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        self.buckets[bucket_of(took)].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The durations until now. One that comes at this moment may be in the buckets and not yet in the sum.
    pub fn durations(&self) -> Durations {
        Durations {
            buckets: std::array::from_fn(|at| self.buckets[at].load(Relaxed)),
            sum: Duration::from_nanos(self.nanoseconds.load(Relaxed)).as_secs_f64(),
        }
    }
}

impl Durations {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        self.buckets[bucket_of(took)] += 1;
        self.sum += took.as_secs_f64();
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

fn bucket_of(took: Duration) -> usize {
    let seconds = took.as_secs_f64();
    BOUNDS.partition_point(|bound| *bound < seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for milliseconds in [0, 1, 2, 10_000, 10_001, 3_600_000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let durations = histogram.durations();
        assert_eq!(durations.buckets, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(durations.count(), 6);
        assert!((durations.sum - 3620.004).abs() < 1e-6, "{}", durations.sum);
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS.is_sorted());
    }
}
