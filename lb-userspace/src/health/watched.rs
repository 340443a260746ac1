//! What is known of one target while it is checked: its health and the counts of its checks.
//!
//! Shared by the target's task, which writes, and the checker, which reads and changes the check. An *era* is
//! the time of one task with one check; what a task of a past era finds out is ignored, so that after a target
//! was removed or its check changed nothing of before is taken in, nor told.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::state::{Outcome, TargetHealth, Thresholds, Transition};
use super::status::HealthStatus;

/// Counts of a target's checks since it was first wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckStatistics {
    /// Checks that passed.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
    /// Checks that the node could not make, because it had no sockets or memory left.
    pub not_made: u64,
    /// How long the last passed check took.
    pub last_latency: Option<Duration>,
    /// How long all passed checks took together; over `passed` it is the mean.
    pub total_latency: Duration,
    /// When the last check ended, however it did; none before the first.
    pub last_end: Option<Instant>,
}

impl CheckStatistics {
    fn count(&mut self, outcome: &Outcome, end: Instant) {
        self.last_end = Some(end);
        match outcome {
            Outcome::Passed { latency } => {
                self.passed += 1;
                self.last_latency = Some(*latency);
                self.total_latency += *latency;
            }
            Outcome::Failed(_) => self.failed += 1,
            Outcome::NotMade(_) => self.not_made += 1,
        }
    }
}

/// Which task may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era(u64);

impl Era {
    const fn next(self) -> Era {
        Era(self.0 + 1)
    }
}

/// One target's record.
#[derive(Debug)]
pub(super) struct Watched(Mutex<Record>);

#[derive(Debug)]
struct Record {
    era: Era,
    health: TargetHealth,
    statistics: CheckStatistics,
}

impl Watched {
    /// A target that was never checked.
    pub(super) fn new() -> Watched {
        Watched(Mutex::new(Record {
            era: Era(0),
            health: TargetHealth::new(),
            statistics: CheckStatistics::default(),
        }))
    }

    /// Ends the present era: the state stays, and the outcomes that have not changed it yet are forgotten.
    pub(super) fn begin_era(&self) -> Era {
        let mut record = self.lock();
        record.era = record.era.next();
        record.health.restart_counting();
        record.era
    }

    /// Ends `era`, if it is the present one: nothing is taken in until the next begins.
    pub(super) fn end_era(&self, era: Era) {
        let mut record = self.lock();
        if record.era == era {
            record.era = era.next();
        }
    }

    /// Takes in an outcome of `era` that was there at `end`, unless the era has ended. A transition is published under the lock, so that
    /// a target's transitions are told in their order and none after its era.
    pub(super) fn record(
        &self,
        era: Era,
        outcome: &Outcome,
        end: Instant,
        thresholds: Thresholds,
        publish: impl FnOnce(Transition),
    ) {
        let mut record = self.lock();
        if record.era != era {
            return;
        }
        record.statistics.count(outcome, end);
        if let Some(transition) = record.health.observe(outcome, thresholds) {
            publish(transition);
        }
    }

    /// The present status and counts.
    pub(super) fn read(&self) -> (HealthStatus, CheckStatistics) {
        let record = self.lock();
        (record.health.status(), record.statistics)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().expect("nothing panics while it holds a target's record")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Failure, HealthState};

    const THRESHOLDS: Thresholds = Thresholds { healthy: 1, unhealthy: 2 };
    const PASSED: Outcome = Outcome::Passed { latency: Duration::from_millis(2) };

    fn failed() -> Outcome {
        Outcome::Failed(Failure::Connection("connection refused".to_owned()))
    }

    #[test]
    fn nothing_of_a_past_era_is_taken_in() {
        let (watched, end) = (Watched::new(), Instant::now());
        let past = watched.begin_era();
        watched.begin_era();
        watched.record(past, &PASSED, end, THRESHOLDS, |transition| panic!("published {transition:?}"));
        let (status, statistics) = watched.read();
        assert_eq!(status.state, HealthState::Initial);
        assert_eq!(statistics, CheckStatistics::default());
    }

    #[test]
    fn a_new_era_keeps_state_and_counts_and_restarts_the_thresholds() {
        let (watched, end) = (Watched::new(), Instant::now());
        let first = watched.begin_era();
        watched.record(first, &PASSED, end, THRESHOLDS, |_| ());
        watched.record(first, &failed(), end, THRESHOLDS, |_| ());
        let second = watched.begin_era();
        watched.record(second, &failed(), end, THRESHOLDS, |transition| panic!("published {transition:?}"));
        let (status, statistics) = watched.read();
        assert_eq!(status, HealthStatus::healthy());
        assert_eq!((statistics.passed, statistics.failed), (1, 2));
    }

    #[test]
    fn outcomes_are_counted_by_kind() {
        let (watched, end) = (Watched::new(), Instant::now());
        let era = watched.begin_era();
        for outcome in [PASSED, PASSED, failed(), Outcome::NotMade("too many open files".to_owned())] {
            watched.record(era, &outcome, end, THRESHOLDS, |_| ());
        }
        let expected = CheckStatistics {
            passed: 2,
            failed: 1,
            not_made: 1,
            last_latency: Some(Duration::from_millis(2)),
            total_latency: Duration::from_millis(4),
            last_end: Some(end),
        };
        assert_eq!(watched.read().1, expected);
    }
}
