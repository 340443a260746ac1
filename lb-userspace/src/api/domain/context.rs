//! What operations know beside the state and the request: the time, the network, the limits, the targets' health.

use std::net::IpAddr;

use super::arn::{Identity, ResourceId};
use crate::api::calendar::Timestamp;
use crate::api::inventory::Inventory;
use crate::api::shapes::{TargetHealthReasonEnum, TargetHealthStateEnum};

/// The surroundings of a request.
pub struct Context<'a> {
    /// The time.
    pub now: Timestamp,
    /// Who this server is.
    pub identity: &'a Identity,
    /// The network that it speaks of.
    pub inventory: &'a Inventory,
    /// How much there may be of everything.
    pub quotas: &'a Quotas,
    /// What is known of targets' health.
    pub health: &'a dyn HealthSource,
    /// Gives numbers that no other resource has.
    pub fresh_id: &'a dyn Fn() -> ResourceId,
}

/// Tells the health of targets that are registered, used by a load balancer and in one of its zones.
pub trait HealthSource: Send {
    /// What is known of a target group's target at an address; nothing if nobody checks it.
    fn health(&self, target_group: &str, address: IpAddr) -> Option<Health>;
}

/// The health of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Its state.
    pub state: TargetHealthStateEnum,
    /// Why, unless it is healthy.
    pub reason: Option<TargetHealthReasonEnum>,
    /// The same for people.
    pub description: Option<String>,
}

/// Where nobody checks targets.
#[derive(Debug, Clone, Copy)]
pub struct NoHealthChecks;

impl HealthSource for NoHealthChecks {
    fn health(&self, _: &str, _: IpAddr) -> Option<Health> {
        None
    }
}

/// How much there may be; `DescribeAccountLimits` tells most of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// Load balancers.
    pub load_balancers: usize,
    /// Listeners of a load balancer.
    pub listeners: usize,
    /// Target groups.
    pub target_groups: usize,
    /// Targets of a target group.
    pub targets_of_group: usize,
    /// Targets of all target groups of a load balancer.
    pub targets_of_load_balancer: usize,
    /// Target groups of a forward action.
    pub groups_of_action: usize,
    /// Different target groups of all listeners of a load balancer.
    pub groups_of_load_balancer: usize,
    /// Tags of a resource.
    pub tags: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Quotas {
            load_balancers: 50,
            listeners: 50,
            target_groups: 3000,
            targets_of_group: 1000,
            targets_of_load_balancer: 3000,
            groups_of_action: 5,
            groups_of_load_balancer: 100,
            tags: 50,
        }
    }
}
