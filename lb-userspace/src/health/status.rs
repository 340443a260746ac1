//! The words for a target's health: the states, reason codes and descriptions of the ELBv2 API.
//!
//! Only vocabulary, spelled as that API's clients expect it. Who is in which state is decided elsewhere.

use std::fmt;

/// A target's health state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthState {
    /// Being registered, or not checked often enough to know.
    Initial,
    /// Its checks pass.
    Healthy,
    /// Its checks fail.
    Unhealthy,
    /// Not in use: not registered, in no listener's target group, or in a zone that is not served.
    Unused,
    /// Being deregistered: keeps its flows, gets no new ones.
    Draining,
    /// Its checks fail, and it keeps its established flows for a while.
    UnhealthyDraining,
    /// Its health is not known: checks are disabled, or could not be made.
    Unavailable,
}

impl HealthState {
    /// Every state, in the order of the declaration.
    pub const ALL: [HealthState; 7] = [
        HealthState::Initial,
        HealthState::Healthy,
        HealthState::Unhealthy,
        HealthState::Unused,
        HealthState::Draining,
        HealthState::UnhealthyDraining,
        HealthState::Unavailable,
    ];

    /// ELBv2's spelling, such as `unhealthy.draining`.
    pub const fn as_str(self) -> &'static str {
        match self {
            HealthState::Initial => "initial",
            HealthState::Healthy => "healthy",
            HealthState::Unhealthy => "unhealthy",
            HealthState::Unused => "unused",
            HealthState::Draining => "draining",
            HealthState::UnhealthyDraining => "unhealthy.draining",
            HealthState::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a target is in a state other than healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Initial: the target is being registered.
    RegistrationInProgress,
    /// Initial: no check has passed yet, and too few have failed.
    InitialHealthChecking,
    /// Unhealthy: the answer's status code is none of the expected ones.
    ResponseCodeMismatch,
    /// Unhealthy: no answer in time.
    Timeout,
    /// Unhealthy: the checks failed in another way.
    FailedHealthChecks,
    /// Unused: the target is not in the target group.
    NotRegistered,
    /// Unused: no listener forwards to the target group, or the target's zone is not served.
    NotInUse,
    /// Draining: the target is leaving.
    DeregistrationInProgress,
    /// Unused: the target is stopped.
    InvalidState,
    /// Unused: the target's address can't be used, such as a load balancer's own.
    IpUnusable,
    /// Unavailable: the target group has no health check.
    HealthCheckDisabled,
    /// Unavailable or unhealthy because of a fault of the balancer itself.
    InternalError,
}

impl Reason {
    /// Every reason, in the order of the declaration.
    pub const ALL: [Reason; 12] = [
        Reason::RegistrationInProgress,
        Reason::InitialHealthChecking,
        Reason::ResponseCodeMismatch,
        Reason::Timeout,
        Reason::FailedHealthChecks,
        Reason::NotRegistered,
        Reason::NotInUse,
        Reason::DeregistrationInProgress,
        Reason::InvalidState,
        Reason::IpUnusable,
        Reason::HealthCheckDisabled,
        Reason::InternalError,
    ];

    /// ELBv2's reason code, such as `Target.FailedHealthChecks`.
    pub const fn code(self) -> &'static str {
        match self {
            Reason::RegistrationInProgress => "Elb.RegistrationInProgress",
            Reason::InitialHealthChecking => "Elb.InitialHealthChecking",
            Reason::ResponseCodeMismatch => "Target.ResponseCodeMismatch",
            Reason::Timeout => "Target.Timeout",
            Reason::FailedHealthChecks => "Target.FailedHealthChecks",
            Reason::NotRegistered => "Target.NotRegistered",
            Reason::NotInUse => "Target.NotInUse",
            Reason::DeregistrationInProgress => "Target.DeregistrationInProgress",
            Reason::InvalidState => "Target.InvalidState",
            Reason::IpUnusable => "Target.IpUnusable",
            Reason::HealthCheckDisabled => "Target.HealthCheckDisabled",
            Reason::InternalError => "Elb.InternalError",
        }
    }

    /// A sentence for people, where nothing more exact is known.
    pub const fn description(self) -> &'static str {
        match self {
            Reason::RegistrationInProgress => "Target registration is in progress",
            Reason::InitialHealthChecking => "Initial health checks in progress",
            Reason::ResponseCodeMismatch => "Health checks failed with an unexpected status code",
            Reason::Timeout => "Request timed out",
            Reason::FailedHealthChecks => "Health checks failed",
            Reason::NotRegistered => "Target is not registered to the target group",
            Reason::NotInUse => {
                "Target group is not configured to receive traffic from the load balancer, or the target's \
                 zone is not enabled for it"
            }
            Reason::DeregistrationInProgress => "Target deregistration is in progress",
            Reason::InvalidState => "Target is in the stopped state",
            Reason::IpUnusable => "The IP address cannot be used as a target",
            Reason::HealthCheckDisabled => "Health checks are disabled",
            Reason::InternalError => "Health checks failed due to an internal error",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// What is known of a target's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthStatus {
    /// The state.
    pub state: HealthState,
    /// Why; none if and only if the target is healthy.
    pub reason: Option<Reason>,
    /// What happened, in words; none for a healthy target.
    pub description: Option<String>,
}

impl HealthStatus {
    /// A target whose checks pass: no reason, no description.
    pub const fn healthy() -> HealthStatus {
        HealthStatus { state: HealthState::Healthy, reason: None, description: None }
    }

    /// A target that is in `state` because of `reason`, described by the reason's own sentence.
    pub fn because(state: HealthState, reason: Reason) -> HealthStatus {
        HealthStatus::described(state, reason, reason.description())
    }

    /// A target that is in `state` because of `reason`, with words of its own.
    pub fn described(state: HealthState, reason: Reason, description: impl Into<String>) -> HealthStatus {
        HealthStatus { state, reason: Some(reason), description: Some(description.into()) }
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        if let Some(reason) = self.reason {
            write!(f, " ({reason})")?;
        }
        if let Some(description) = &self.description {
            write!(f, ": {description}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn states_are_spelled_as_in_elbv2() {
        let spelled: Vec<_> = HealthState::ALL.iter().map(|state| state.to_string()).collect();
        let expected =
            ["initial", "healthy", "unhealthy", "unused", "draining", "unhealthy.draining", "unavailable"];
        assert_eq!(spelled, expected);
    }

    #[test]
    fn every_reason_has_its_own_code_and_description() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        let descriptions: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.description()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert_eq!(descriptions.len(), Reason::ALL.len());
        assert!(codes.iter().all(|code| code.starts_with("Elb.") || code.starts_with("Target.")));
    }

    #[test]
    fn a_status_reads_as_state_reason_and_words() {
        let status = HealthStatus::described(HealthState::Unhealthy, Reason::Timeout, "no answer within 5 s");
        assert_eq!(status.to_string(), "unhealthy (Target.Timeout): no answer within 5 s");
        assert_eq!(HealthStatus::healthy().to_string(), "healthy");
    }
}
