//! From the outcomes of checks to a target's state.
//!
//! Pure: it is told outcomes and never asks for one. Only three of the states are decided here:
//!
//! ```text
//!              one passed                 unhealthy_threshold failed in a row
//!   initial ----------------> healthy ----------------------------------------> unhealthy
//!      |                         ^                                               |    ^
//!      |                         +-----------------------------------------------+    |
//!      |                                healthy_threshold passed in a row             |
//!      +------------------------------------------------------------------------------+
//!                               unhealthy_threshold failed in a row
//! ```
//!
//! One passed check puts a new target into service, as ELBv2 does: the healthy threshold is what a target has
//! to show that was seen failing.

use std::time::Duration;

use thiserror::Error;

use super::status::{HealthState, HealthStatus, Reason};
use crate::model::{HealthCheck, StatusCodes};

/// How many outcomes in a row change a state; zero counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Passed checks in a row that make an unhealthy target healthy.
    pub healthy: u8,
    /// Failed checks in a row that make a target unhealthy.
    pub unhealthy: u8,
}

impl From<&HealthCheck> for Thresholds {
    fn from(check: &HealthCheck) -> Thresholds {
        Thresholds { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold }
    }
}

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered as expected.
    Passed {
        /// From the first packet to the answer (TCP: the connection, HTTP: the status line).
        latency: Duration,
    },
    /// The target did not.
    Failed(Failure),
    /// The node could not ask, with the reason: it ran out of sockets or memory. This says nothing of the
    /// target, so it changes no state and no counter.
    NotMade(String),
}

/// Why a check failed; its `Display` is the description that operators read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// The time-out passed before there was a connection.
    #[error("no connection within {} s", .0.as_secs_f64())]
    NoConnection(Duration),
    /// There was a connection, but the time-out passed before an answer.
    #[error("no answer within {} s", .0.as_secs_f64())]
    NoAnswer(Duration),
    /// The connection was refused, reset, or closed early: what the kernel said.
    #[error("{0}")]
    Connection(String),
    /// The answer's status code is not one that passes.
    #[error("HTTP status {code} is not one of {matcher}")]
    ResponseCode {
        /// The code that came.
        code: u16,
        /// The codes that pass.
        matcher: StatusCodes,
    },
    /// The answer is not HTTP.
    #[error("not a valid HTTP answer: {0}")]
    Malformed(String),
    /// There is no TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The answer is not gRPC's word that the service is well.
    #[error("gRPC: {0}")]
    Grpc(String),
}

impl Failure {
    /// The ELBv2 reason of a target that is unhealthy because of this.
    pub fn reason(&self) -> Reason {
        match self {
            Failure::NoConnection(_) | Failure::NoAnswer(_) => Reason::Timeout,
            Failure::ResponseCode { .. } | Failure::Grpc(_) => Reason::ResponseCodeMismatch,
            Failure::Connection(_) | Failure::Malformed(_) | Failure::Tls(_) => Reason::FailedHealthChecks,
        }
    }
}

/// A change of a target's status: of the state, or of the reason or description within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The state before; equals the new one where only the reason or the description changed.
    pub from: HealthState,
    /// The status from now on.
    pub status: HealthStatus,
}

/// What the checks so far say of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetHealth {
    verdict: Verdict,
    /// Outcomes in a row, the last included, that speak against the verdict; always under its threshold.
    streak: u8,
}

/// The state with the failure that explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Initial { last: Option<Failure> },
    Healthy,
    Unhealthy { last: Failure },
}

impl TargetHealth {
    /// A target that was never checked.
    pub const fn new() -> TargetHealth {
        TargetHealth { verdict: Verdict::Initial { last: None }, streak: 0 }
    }

    /// Takes in a check's outcome; the transition, if the status changed.
    pub fn observe(&mut self, outcome: &Outcome, thresholds: Thresholds) -> Option<Transition> {
        let verdict = match outcome {
            Outcome::Passed { .. } => self.after_pass(thresholds.healthy),
            Outcome::Failed(failure) => self.after_failure(failure, thresholds.unhealthy),
            Outcome::NotMade(_) => return None,
        };
        if verdict == self.verdict {
            return None;
        }
        let from = self.state();
        self.verdict = verdict;
        Some(Transition { from, status: self.status() })
    }

    /// Forgets the outcomes that have not yet changed the state, and keeps the state: for a changed check.
    pub fn restart_counting(&mut self) {
        self.streak = 0;
    }

    /// The state: initial, healthy or unhealthy.
    pub fn state(&self) -> HealthState {
        match self.verdict {
            Verdict::Initial { .. } => HealthState::Initial,
            Verdict::Healthy => HealthState::Healthy,
            Verdict::Unhealthy { .. } => HealthState::Unhealthy,
        }
    }

    /// The state with reason and description.
    pub fn status(&self) -> HealthStatus {
        match &self.verdict {
            Verdict::Initial { last: None } => {
                HealthStatus::because(HealthState::Initial, Reason::InitialHealthChecking)
            }
            Verdict::Initial { last: Some(failure) } => HealthStatus::described(
                HealthState::Initial,
                Reason::InitialHealthChecking,
                format!("{}; the last one failed: {failure}", Reason::InitialHealthChecking.description()),
            ),
            Verdict::Healthy => HealthStatus::healthy(),
            Verdict::Unhealthy { last } => {
                HealthStatus::described(HealthState::Unhealthy, last.reason(), last.to_string())
            }
        }
    }

    fn after_pass(&mut self, threshold: u8) -> Verdict {
        match &self.verdict {
            Verdict::Unhealthy { last } => {
                let stays = Verdict::Unhealthy { last: last.clone() };
                if self.streak_reaches(threshold) { Verdict::Healthy } else { stays }
            }
            Verdict::Initial { .. } | Verdict::Healthy => {
                self.streak = 0;
                Verdict::Healthy
            }
        }
    }

    fn after_failure(&mut self, failure: &Failure, threshold: u8) -> Verdict {
        if matches!(self.verdict, Verdict::Unhealthy { .. }) {
            self.streak = 0;
            return Verdict::Unhealthy { last: failure.clone() };
        }
        if self.streak_reaches(threshold) {
            return Verdict::Unhealthy { last: failure.clone() };
        }
        match self.verdict {
            Verdict::Initial { .. } => Verdict::Initial { last: Some(failure.clone()) },
            _ => Verdict::Healthy,
        }
    }

    /// Counts an outcome against the verdict; true, and the count starts anew, if it was the deciding one.
    fn streak_reaches(&mut self, threshold: u8) -> bool {
        self.streak = self.streak.saturating_add(1);
        let reached = self.streak >= threshold;
        if reached {
            self.streak = 0;
        }
        reached
    }
}

impl Default for TargetHealth {
    fn default() -> TargetHealth {
        TargetHealth::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const THRESHOLDS: Thresholds = Thresholds { healthy: 3, unhealthy: 2 };

    fn passed() -> Outcome {
        Outcome::Passed { latency: Duration::from_millis(1) }
    }

    fn refused() -> Outcome {
        Outcome::Failed(Failure::Connection("connection refused".to_owned()))
    }

    /// `p` passed, `f` failed, `n` not made; the states after each as their initials.
    fn states_after(outcomes: &str) -> String {
        let mut health = TargetHealth::new();
        let observe = |letter| {
            let outcome = match letter {
                'p' => passed(),
                'f' => refused(),
                _ => Outcome::NotMade("too many open files".to_owned()),
            };
            health.observe(&outcome, THRESHOLDS);
            health.state().as_str().chars().next().unwrap()
        };
        outcomes.chars().map(observe).collect()
    }

    #[test]
    fn states_follow_the_thresholds() {
        for (name, outcomes, states) in [
            ("one passed check ends initial", "p", "h"),
            ("initial ends after enough failures", "ff", "iu"),
            ("a single failure in initial is forgiven by a pass", "fpf", "ihh"),
            ("a healthy target survives a single failure", "pfp", "hhh"),
            ("failures must be in a row", "pfpfpf", "hhhhhh"),
            ("enough failures in a row make it unhealthy", "pff", "hhu"),
            ("an unhealthy target needs the whole healthy threshold", "ffppp", "iuuuh"),
            ("a failure on the way back starts the count anew", "ffppfppp", "iuuuuuuh"),
            ("after coming back failures count from zero", "ffpppff", "iuuuhhu"),
            ("a check that was not made counts for nothing", "pfnfn", "hhhuu"),
            ("a check that was not made keeps initial", "nnn", "iii"),
        ] {
            assert_eq!(states_after(outcomes), states, "{name}");
        }
    }

    #[test]
    fn a_target_that_turns_unhealthy_has_the_reason_of_its_last_failure() {
        let mut health = TargetHealth::new();
        health.observe(&passed(), THRESHOLDS);
        assert_eq!(health.observe(&refused(), THRESHOLDS), None);
        let matcher = StatusCodes(vec![(200, 399)]);
        let unavailable = Outcome::Failed(Failure::ResponseCode { code: 503, matcher });
        let transition = health.observe(&unavailable, THRESHOLDS).unwrap();
        assert_eq!(transition.from, HealthState::Healthy);
        assert_eq!(
            transition.status.to_string(),
            "unhealthy (Target.ResponseCodeMismatch): HTTP status 503 is not one of 200-399"
        );
    }

    #[test]
    fn a_new_reason_of_an_unhealthy_target_is_a_transition_and_a_repeated_one_is_not() {
        let mut health = TargetHealth::new();
        health.observe(&refused(), THRESHOLDS);
        assert!(health.observe(&refused(), THRESHOLDS).is_some());
        assert_eq!(health.observe(&refused(), THRESHOLDS), None);
        let late = Outcome::Failed(Failure::NoAnswer(Duration::from_secs(5)));
        let transition = health.observe(&late, THRESHOLDS).unwrap();
        assert_eq!(transition.from, HealthState::Unhealthy);
        assert_eq!(transition.status.reason, Some(Reason::Timeout));
        assert_eq!(transition.status.description.as_deref(), Some("no answer within 5 s"));
    }

    #[test]
    fn an_initial_target_tells_of_its_failed_check() {
        let mut health = TargetHealth::new();
        assert_eq!(health.status().reason, Some(Reason::InitialHealthChecking));
        let transition = health.observe(&refused(), THRESHOLDS).unwrap();
        assert_eq!(transition.status.state, HealthState::Initial);
        assert!(transition.status.description.unwrap().ends_with("connection refused"));
    }

    #[test]
    fn restarting_the_count_keeps_the_state() {
        let mut health = TargetHealth::new();
        health.observe(&passed(), THRESHOLDS);
        health.observe(&refused(), THRESHOLDS);
        health.restart_counting();
        assert_eq!(health.state(), HealthState::Healthy);
        assert_eq!(health.observe(&refused(), THRESHOLDS), None);
        assert!(health.observe(&refused(), THRESHOLDS).is_some());
    }

    proptest! {
        #[test]
        fn a_state_flips_exactly_when_its_threshold_is_met(
            healthy in 1u8..=10,
            unhealthy in 1u8..=10,
            outcomes in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut health = TargetHealth::new();
            let (mut failed_in_row, mut passed_in_row) = (0u8, 0u8);
            for pass in outcomes {
                let before = health.state();
                (passed_in_row, failed_in_row) = if pass { (passed_in_row + 1, 0) } else { (0, failed_in_row + 1) };
                let outcome = if pass { passed() } else { refused() };
                let transition = health.observe(&outcome, Thresholds { healthy, unhealthy });
                let after = health.state();
                let expected = match before {
                    HealthState::Unhealthy if passed_in_row >= healthy => HealthState::Healthy,
                    HealthState::Initial if pass => HealthState::Healthy,
                    HealthState::Initial | HealthState::Healthy if failed_in_row >= unhealthy => HealthState::Unhealthy,
                    unchanged => unchanged,
                };
                prop_assert_eq!(after, expected);
                prop_assert!(before == after || transition.is_some());
                prop_assert_eq!(health.status().reason.is_none(), after == HealthState::Healthy);
                // Rows are at most 200 long and thresholds at most 10: the counts here can't overflow.
                passed_in_row = passed_in_row.min(20);
                failed_in_row = failed_in_row.min(20);
            }
        }
    }
}
