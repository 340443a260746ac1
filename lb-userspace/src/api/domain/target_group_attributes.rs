//! Attributes of target groups.

use serde::{Deserialize, Serialize};

use super::attributes::{Given, Threshold};
use super::context::Context;
use super::records::Protocol;
use super::transaction::Transaction;
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    DescribeTargetGroupAttributesInput, DescribeTargetGroupAttributesOutput,
    ModifyTargetGroupAttributesInput, ModifyTargetGroupAttributesOutput, TargetGroupAttribute,
    TargetGroupAttributes as Shapes,
};

/// The attributes of a target group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupAttributes {
    /// How long a deregistered target keeps its flows: 0 to 3600 s.
    pub deregistration_delay: u32,
    /// Whether its flows end then.
    pub ends_flows_of_deregistered: bool,
    /// Whether connections of one client address go to one target.
    pub is_sticky: bool,
    /// Whether targets of all zones are used.
    pub cross_zone: CrossZone,
    /// Fewer healthy targets take a zone's VIP out of service.
    pub dns_failover_count: Threshold,
    /// The same in percent.
    pub dns_failover_percentage: Threshold,
    /// Fewer healthy targets make a node use all of them; at least 1.
    pub routing_failover_count: u32,
    /// The same in percent.
    pub routing_failover_percentage: Threshold,
    /// Whether the flows of an unhealthy target end at once.
    pub ends_flows_of_unhealthy: bool,
    /// How long an unhealthy target keeps its flows otherwise: 0 to 360,000 s.
    pub unhealthy_draining_interval: u32,
}

/// Whether targets of all zones are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CrossZone {
    /// They are.
    On,
    /// Only those of the node's own zone.
    Off,
    /// As the load balancer says.
    AsLoadBalancer,
}

const CROSS_ZONE: [(&str, CrossZone); 3] = [
    ("true", CrossZone::On),
    ("false", CrossZone::Off),
    ("use_load_balancer_configuration", CrossZone::AsLoadBalancer),
];

const STICKINESS_TYPES: [&str; 3] = ["app_cookie", "lb_cookie", "source_ip"];

impl TargetGroupAttributes {
    /// Those of a new target group. Where UDP flows are, they end with their target: they have no other end.
    pub fn new(protocol: Protocol) -> TargetGroupAttributes {
        let ends_udp = protocol.has_udp();
        TargetGroupAttributes {
            deregistration_delay: 300,
            ends_flows_of_deregistered: ends_udp,
            is_sticky: false,
            cross_zone: CrossZone::AsLoadBalancer,
            dns_failover_count: Threshold(Some(1)),
            dns_failover_percentage: Threshold(None),
            routing_failover_count: 1,
            routing_failover_percentage: Threshold(None),
            ends_flows_of_unhealthy: !ends_udp,
            unhealthy_draining_interval: 0,
        }
    }

    /// All of them, as the API tells them.
    pub fn pairs(&self) -> [(&'static str, String); 13] {
        let cross_zone = CROSS_ZONE.iter().find(|(_, value)| *value == self.cross_zone);
        [
            ("deregistration_delay.timeout_seconds", self.deregistration_delay.to_string()),
            (
                "deregistration_delay.connection_termination.enabled",
                self.ends_flows_of_deregistered.to_string(),
            ),
            ("stickiness.enabled", self.is_sticky.to_string()),
            ("stickiness.type", "source_ip".to_owned()),
            ("load_balancing.cross_zone.enabled", cross_zone.map_or("", |(name, _)| name).to_owned()),
            (
                "target_group_health.dns_failover.minimum_healthy_targets.count",
                self.dns_failover_count.to_string(),
            ),
            (
                "target_group_health.dns_failover.minimum_healthy_targets.percentage",
                self.dns_failover_percentage.to_string(),
            ),
            (
                "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
                self.routing_failover_count.to_string(),
            ),
            (
                "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
                self.routing_failover_percentage.to_string(),
            ),
            ("preserve_client_ip.enabled", "true".to_owned()),
            ("proxy_protocol_v2.enabled", "false".to_owned()),
            (
                "target_health_state.unhealthy.connection_termination.enabled",
                self.ends_flows_of_unhealthy.to_string(),
            ),
            (
                "target_health_state.unhealthy.draining_interval_seconds",
                self.unhealthy_draining_interval.to_string(),
            ),
        ]
    }

    fn set(&mut self, given: &Given, protocol: Protocol) -> Result<(), ApiError> {
        match given.key {
            "deregistration_delay.timeout_seconds" => self.deregistration_delay = given.number(0..=3600)?,
            "deregistration_delay.connection_termination.enabled" => {
                self.ends_flows_of_deregistered = given.flag()?;
            }
            "stickiness.enabled" => self.is_sticky = given.flag()?,
            "stickiness.type" => check_stickiness_type(given, protocol)?,
            "load_balancing.cross_zone.enabled" => {
                let found = CROSS_ZONE.iter().find(|(name, _)| *name == given.value);
                let expected = || given.refuse(&CROSS_ZONE.map(|(name, _)| name).join(", "));
                self.cross_zone = found.ok_or_else(expected)?.1;
            }
            "preserve_client_ip.enabled" => {
                given.only(true, "targets answer the client directly, so they always see its address")?;
            }
            "proxy_protocol_v2.enabled" => {
                given.only(false, "packets are forwarded as they are; targets see the client's address")?;
            }
            key if key.starts_with("target_group_health.") => self.set_failover(given)?,
            key if key.starts_with("target_health_state.") => self.set_unhealthy(given, protocol)?,
            key if is_elsewhere(key) => return Err(given.elsewhere()),
            _ => return Err(given.unknown()),
        }
        Ok(())
    }

    fn set_failover(&mut self, given: &Given) -> Result<(), ApiError> {
        let (action, threshold) = given
            .key
            .strip_prefix("target_group_health.")
            .and_then(|rest| rest.split_once(".minimum_healthy_targets."))
            .ok_or_else(|| given.unknown())?;
        match (action, threshold) {
            ("dns_failover", "count") => self.dns_failover_count = given.threshold(1..=1000)?,
            ("dns_failover", "percentage") => self.dns_failover_percentage = given.threshold(1..=100)?,
            ("unhealthy_state_routing", "count") => self.routing_failover_count = given.number(1..=1000)?,
            ("unhealthy_state_routing", "percentage") => {
                self.routing_failover_percentage = given.threshold(1..=100)?;
            }
            _ => return Err(given.unknown()),
        }
        Ok(())
    }

    fn set_unhealthy(&mut self, given: &Given, protocol: Protocol) -> Result<(), ApiError> {
        match given.key {
            "target_health_state.unhealthy.connection_termination.enabled" => {
                self.ends_flows_of_unhealthy = given.flag()?;
                if self.ends_flows_of_unhealthy && protocol.has_udp() {
                    return Err(given.refuse("false: UDP has no way to end a flow"));
                }
            }
            "target_health_state.unhealthy.draining_interval_seconds" => {
                self.unhealthy_draining_interval = given.number(0..=360_000)?;
            }
            _ => return Err(given.unknown()),
        }
        Ok(())
    }

    /// What attributes must be like together.
    fn check(&self) -> Result<(), ApiError> {
        let refuse = |why: &str| Err(Code::InvalidConfigurationRequest.because(why));
        if self.ends_flows_of_unhealthy && self.unhealthy_draining_interval != 0 {
            return refuse(
                "'target_health_state.unhealthy.draining_interval_seconds' needs \
                 'target_health_state.unhealthy.connection_termination.enabled' to be false",
            );
        }
        if self.dns_failover_count.0.is_some_and(|count| count < self.routing_failover_count) {
            return refuse(
                "'target_group_health.dns_failover.minimum_healthy_targets.count' must not be less than \
                 'target_group_health.unhealthy_state_routing.minimum_healthy_targets.count'",
            );
        }
        match (self.dns_failover_percentage.0, self.routing_failover_percentage.0) {
            (Some(dns), Some(routing)) if dns < routing => refuse(
                "'target_group_health.dns_failover.minimum_healthy_targets.percentage' must not be less than \
                 'target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage'",
            ),
            _ => Ok(()),
        }
    }

    fn shapes(&self) -> Shapes {
        let pairs = self.pairs().into_iter();
        pairs
            .map(|(key, value)| TargetGroupAttribute { key: Some(key.into()), value: Some(value.into()) })
            .collect()
    }
}

fn check_stickiness_type(given: &Given, protocol: Protocol) -> Result<(), ApiError> {
    if !STICKINESS_TYPES.contains(&given.value) {
        let expected = STICKINESS_TYPES.join(", ");
        return Err(Code::ValidationError.because(format!("'Stickiness type' must be one of [{expected}]")));
    }
    if given.value == "source_ip" {
        return Ok(());
    }
    Err(Code::InvalidConfigurationRequest.because(format!(
        "Stickiness type '{}' is not supported for target groups with the {} protocol",
        given.value,
        protocol.shape()
    )))
}

/// Keys of application and gateway load balancers.
fn is_elsewhere(key: &str) -> bool {
    let prefixes = [
        "load_balancing.algorithm.",
        "slow_start.",
        "stickiness.lb_cookie.",
        "stickiness.app_cookie.",
        "lambda.",
        "target_failover.",
        "send_tcp_reset.",
    ];
    prefixes.iter().any(|prefix| key.starts_with(prefix))
}

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeTargetGroupAttributesInput,
    context: &Context,
) -> Result<DescribeTargetGroupAttributesOutput, ApiError> {
    let (_, record) = state.target_group(context.identity, &input.target_group_arn)?;
    Ok(DescribeTargetGroupAttributesOutput { attributes: Some(record.attributes.shapes()) })
}

pub(super) fn modify(
    state: &mut Transaction,
    input: &ModifyTargetGroupAttributesInput,
    context: &Context,
) -> Result<ModifyTargetGroupAttributesOutput, ApiError> {
    let (name, record) = state.target_group(context.identity, &input.target_group_arn)?;
    let (name, protocol, mut attributes) = (name.to_owned(), record.protocol, record.attributes.clone());
    for attribute in input.attributes.iter() {
        let (key, value) = (attribute.key.as_deref().unwrap_or(""), attribute.value.as_deref().unwrap_or(""));
        attributes.set(&Given { owner: "Target group", key, value }, protocol)?;
    }
    attributes.check()?;
    let output = ModifyTargetGroupAttributesOutput { attributes: Some(attributes.shapes()) };
    if let Some(record) = state.target_group_mut(&name) {
        record.attributes = attributes;
    }
    Ok(output)
}
