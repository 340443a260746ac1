//! Attributes of load balancers.

use serde::{Deserialize, Serialize};

use super::attributes::Given;
use super::context::Context;
use super::records::Scheme;
use super::transaction::Transaction;
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    DescribeLoadBalancerAttributesInput, DescribeLoadBalancerAttributesOutput, LoadBalancerAttribute,
    LoadBalancerAttributes as Shapes, ModifyLoadBalancerAttributesInput, ModifyLoadBalancerAttributesOutput,
};
use crate::model::LogPlace;

/// The attributes of a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerAttributes {
    /// Whether it can't be deleted.
    pub is_deletion_protected: bool,
    /// Whether a node uses targets of all zones, where their target group does not say otherwise.
    pub cross_zone: bool,
    /// Whether flows are logged.
    pub logs_access: bool,
    /// Where to: a directory below the node's for flow logs.
    pub log_bucket: String,
    /// Which directories below that.
    pub log_prefix: String,
    /// Whether nothing is let in from an internet gateway; there is none here.
    pub denies_internet_gateways: bool,
    /// Whether zones may be shifted away from.
    pub allows_zonal_shift: bool,
    /// Which zones' VIPs a client is told.
    pub client_routing_policy: ClientRoutingPolicy,
}

/// Which zones' VIPs a client's DNS resolver is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientRoutingPolicy {
    /// Its own zone's.
    Affinity,
    /// Mostly its own zone's.
    PartialAffinity,
    /// Every zone's.
    Any,
}

const POLICIES: [(&str, ClientRoutingPolicy); 3] = [
    ("availability_zone_affinity", ClientRoutingPolicy::Affinity),
    ("partial_availability_zone_affinity", ClientRoutingPolicy::PartialAffinity),
    ("any_availability_zone", ClientRoutingPolicy::Any),
];

impl LoadBalancerAttributes {
    /// Those of a new load balancer.
    pub(super) fn new(is_internal: bool) -> LoadBalancerAttributes {
        LoadBalancerAttributes {
            is_deletion_protected: false,
            cross_zone: false,
            logs_access: false,
            log_bucket: String::new(),
            log_prefix: String::new(),
            denies_internet_gateways: is_internal,
            allows_zonal_shift: false,
            client_routing_policy: ClientRoutingPolicy::Any,
        }
    }

    /// Those of a load balancer of that scheme to which nobody has said anything.
    pub fn usual(scheme: Scheme) -> LoadBalancerAttributes {
        LoadBalancerAttributes::new(scheme == Scheme::Internal)
    }

    /// All of them, as the API tells them.
    pub fn pairs(&self) -> [(&'static str, String); 9] {
        let policy = POLICIES.iter().find(|(_, policy)| *policy == self.client_routing_policy);
        [
            ("deletion_protection.enabled", self.is_deletion_protected.to_string()),
            ("load_balancing.cross_zone.enabled", self.cross_zone.to_string()),
            ("access_logs.s3.enabled", self.logs_access.to_string()),
            ("access_logs.s3.bucket", self.log_bucket.clone()),
            ("access_logs.s3.prefix", self.log_prefix.clone()),
            ("ipv6.deny_all_igw_traffic", self.denies_internet_gateways.to_string()),
            ("zonal_shift.config.enabled", self.allows_zonal_shift.to_string()),
            ("dns_record.client_routing_policy", policy.map_or("", |(name, _)| name).to_owned()),
            ("secondary_ips.auto_assigned.per_subnet", "0".to_owned()),
        ]
    }

    fn set(&mut self, given: &Given) -> Result<(), ApiError> {
        match given.key {
            "deletion_protection.enabled" => self.is_deletion_protected = given.flag()?,
            "load_balancing.cross_zone.enabled" => self.cross_zone = given.flag()?,
            "access_logs.s3.enabled" => self.logs_access = given.flag()?,
            "access_logs.s3.bucket" => {
                LogPlace::new(given.value, "").map_err(|rule| given.refuse(&rule.to_string()))?;
                self.log_bucket = given.value.to_owned();
            }
            "access_logs.s3.prefix" => {
                LogPlace::new("", given.value).map_err(|rule| given.refuse(&rule.to_string()))?;
                self.log_prefix = given.value.to_owned();
            }
            "ipv6.deny_all_igw_traffic" => self.denies_internet_gateways = given.flag()?,
            "zonal_shift.config.enabled" => self.allows_zonal_shift = given.flag()?,
            "dns_record.client_routing_policy" => {
                let policy = POLICIES.iter().find(|(name, _)| *name == given.value);
                let expected = || given.refuse(&POLICIES.map(|(name, _)| name).join(", "));
                self.client_routing_policy = policy.ok_or_else(expected)?.1;
            }
            "secondary_ips.auto_assigned.per_subnet" => {
                if given.number(0..=7)? != 0 {
                    return Err(given.refuse("0: a load balancer has one VIP of each family in a zone"));
                }
            }
            key if is_elsewhere(key) => return Err(given.elsewhere()),
            _ => return Err(given.unknown()),
        }
        Ok(())
    }

    fn shapes(&self) -> Shapes {
        let pairs = self.pairs().into_iter();
        pairs
            .map(|(key, value)| LoadBalancerAttribute { key: Some(key.into()), value: Some(value.into()) })
            .collect()
    }
}

/// Keys of application load balancers.
fn is_elsewhere(key: &str) -> bool {
    ["routing.http", "connection_logs.s3.", "health_check_logs.s3.", "waf."]
        .iter()
        .any(|p| key.starts_with(p))
        || matches!(key, "idle_timeout.timeout_seconds" | "client_keep_alive.seconds")
}

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeLoadBalancerAttributesInput,
    context: &Context,
) -> Result<DescribeLoadBalancerAttributesOutput, ApiError> {
    let (_, record) = state.load_balancer(context.identity, &input.load_balancer_arn)?;
    Ok(DescribeLoadBalancerAttributesOutput { attributes: Some(record.attributes.shapes()) })
}

pub(super) fn modify(
    state: &mut Transaction,
    input: &ModifyLoadBalancerAttributesInput,
    context: &Context,
) -> Result<ModifyLoadBalancerAttributesOutput, ApiError> {
    let (name, record) = state.load_balancer(context.identity, &input.load_balancer_arn)?;
    let (name, mut attributes) = (name.to_owned(), record.attributes.clone());
    for attribute in input.attributes.iter() {
        let (key, value) = (attribute.key.as_deref().unwrap_or(""), attribute.value.as_deref().unwrap_or(""));
        attributes.set(&Given { owner: "Load balancer", key, value })?;
    }
    if attributes.logs_access && attributes.log_bucket.is_empty() {
        return Err(Code::InvalidConfigurationRequest
            .because("Access logs need a place: set 'access_logs.s3.bucket' to a directory's name"));
    }
    let output = ModifyLoadBalancerAttributesOutput { attributes: Some(attributes.shapes()) };
    if let Some(record) = state.load_balancer_mut(&name) {
        record.attributes = attributes;
    }
    Ok(output)
}
