//! What the data plane's checks say of the targets, where requests can read it. The controller writes it when what it
//! says is in force.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use super::domain::{Health, HealthSource};
use super::shapes::{TargetHealthReasonEnum, TargetHealthStateEnum};
use crate::health::{HealthState, HealthStatus, Reason};

/// The health of all targets that are checked.
#[derive(Debug, Default)]
pub struct HealthBoard(RwLock<Posted>);

#[derive(Debug, Default)]
struct Posted {
    groups: HashMap<String, HashMap<IpAddr, HealthStatus>>,
    /// The targets that packets can't be sent to, and why.
    cut_off: HashMap<IpAddr, String>,
}

impl HealthBoard {
    /// Tells the health of one target.
    pub fn post(&self, target_group: &str, address: IpAddr, status: HealthStatus) {
        self.change(|posted| {
            if let Some(group) = posted.groups.get_mut(target_group) {
                group.insert(address, status);
            }
        });
    }

    /// Tells the health of all targets of a group; of others of it nothing is known any more. Groups come by this.
    pub fn post_group(&self, target_group: &str, statuses: HashMap<IpAddr, HealthStatus>) {
        self.change(|posted| drop(posted.groups.insert(target_group.to_owned(), statuses)));
    }

    /// Nothing is known of a group's targets any more.
    pub fn remove_group(&self, target_group: &str) {
        self.change(|posted| drop(posted.groups.remove(target_group)));
    }

    /// Tells which targets packets can't be sent to, and why.
    pub fn post_cut_off(&self, cut_off: HashMap<IpAddr, String>) {
        self.change(|posted| posted.cut_off = cut_off);
    }

    fn change(&self, change: impl FnOnce(&mut Posted)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl HealthSource for Arc<HealthBoard> {
    fn health(&self, target_group: &str, address: IpAddr) -> Option<Health> {
        let posted = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let status = posted.groups.get(target_group)?.get(&address)?;
        Some(told(status, posted.cut_off.get(&address).map(String::as_str)))
    }
}

/// As the API tells it. A target that packets can't be sent to serves nobody, whatever its checks say, which go
/// another way perhaps.
fn told(status: &HealthStatus, cut_off: Option<&str>) -> Health {
    let (mut state, mut reason) = (state(status.state), status.reason.map(self::reason));
    let mut description = status.description.clone();
    if let Some(why) = cut_off {
        if status.state == HealthState::Healthy {
            state = TargetHealthStateEnum::Unhealthy;
            reason = Some(TargetHealthReasonEnum::ElbInternalError);
        }
        let before = description.map_or(String::new(), |text| text + "; ");
        description = Some(format!("{before}packets cannot be sent to the target: {why}"));
    }
    Health { state, reason, description }
}

fn state(state: HealthState) -> TargetHealthStateEnum {
    match state {
        HealthState::Initial => TargetHealthStateEnum::Initial,
        HealthState::Healthy => TargetHealthStateEnum::Healthy,
        HealthState::Unhealthy => TargetHealthStateEnum::Unhealthy,
        HealthState::Unused => TargetHealthStateEnum::Unused,
        HealthState::Draining => TargetHealthStateEnum::Draining,
        HealthState::UnhealthyDraining => TargetHealthStateEnum::UnhealthyDraining,
        HealthState::Unavailable => TargetHealthStateEnum::Unavailable,
    }
}

fn reason(reason: Reason) -> TargetHealthReasonEnum {
    use TargetHealthReasonEnum as Told;
    match reason {
        Reason::RegistrationInProgress => Told::ElbRegistrationInProgress,
        Reason::InitialHealthChecking => Told::ElbInitialHealthChecking,
        Reason::ResponseCodeMismatch => Told::TargetResponseCodeMismatch,
        Reason::Timeout => Told::TargetTimeout,
        Reason::FailedHealthChecks => Told::TargetFailedHealthChecks,
        Reason::NotRegistered => Told::TargetNotRegistered,
        Reason::NotInUse => Told::TargetNotInUse,
        Reason::DeregistrationInProgress => Told::TargetDeregistrationInProgress,
        Reason::InvalidState => Told::TargetInvalidState,
        Reason::IpUnusable => Told::TargetIpUnusable,
        Reason::HealthCheckDisabled => Told::TargetHealthCheckDisabled,
        Reason::InternalError => Told::ElbInternalError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_cut_off_serves_nobody() {
        let board = Arc::new(HealthBoard::default());
        let address = IpAddr::from([10, 0, 1, 1]);
        board.post("web", address, HealthStatus::healthy());
        assert_eq!(board.health("web", address), None, "a group that nobody posted");
        board.post_group("web", HashMap::from([(address, HealthStatus::healthy())]));
        assert_eq!(board.health("web", address).unwrap().state, TargetHealthStateEnum::Healthy);
        board.post_cut_off(HashMap::from([(address, "no route".to_owned())]));
        let health = board.health("web", address).unwrap();
        assert_eq!(health.state, TargetHealthStateEnum::Unhealthy);
        assert_eq!(health.reason, Some(TargetHealthReasonEnum::ElbInternalError));
        assert_eq!(health.description.as_deref(), Some("packets cannot be sent to the target: no route"));
        board.post("web", address, HealthStatus::described(HealthState::Unhealthy, Reason::Timeout, "late"));
        let health = board.health("web", address).unwrap();
        assert_eq!(health.reason, Some(TargetHealthReasonEnum::TargetTimeout));
        assert_eq!(
            health.description.as_deref(),
            Some("late; packets cannot be sent to the target: no route")
        );
        board.remove_group("web");
        assert_eq!(board.health("web", address), None);
    }

    #[test]
    fn words_are_the_same_on_both_sides() {
        for known in HealthState::ALL {
            assert_eq!(state(known).to_string(), known.as_str());
        }
        for known in Reason::ALL {
            assert_eq!(reason(known).to_string(), known.code());
        }
    }
}
