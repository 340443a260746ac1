//! The steps that make what a document names: each of them as if there were nothing yet.

use super::document::{HealthCheck, Listener, LoadBalancer, Subnet, Target, TargetGroup, Texts};
use super::step::{ListenerName, Step};
use crate::api::domain::records::{self, TargetType};
use crate::api::inventory::Inventory;

/// What pairs are called in requests.
pub(super) const KEY_AND_VALUE: (&str, &str) = ("Key", "Value");

/// Makes a load balancer, without its listeners.
pub(super) fn load_balancer(wanted: &LoadBalancer) -> Vec<Step> {
    let step = Step::new("CreateLoadBalancer", &wanted.place)
        .with("Name", &wanted.name)
        .with("Type", "network")
        .with("Scheme", wanted.scheme.shape().wire())
        .with("IpAddressType", address_type(wanted.is_dualstack))
        .with_list("SecurityGroups", &wanted.security_groups)
        .with_pairs("Tags", KEY_AND_VALUE, &wanted.tags);
    let mut steps = vec![with_subnets(step, &wanted.subnets)];
    if !wanted.guards_private_link {
        steps.push(security_groups(wanted));
    }
    if !wanted.attributes.is_empty() {
        steps.push(load_balancer_attributes(wanted, &wanted.attributes));
    }
    steps
}

/// As the API names the families of a load balancer's VIPs.
pub(super) fn address_type(is_dualstack: bool) -> &'static str {
    if is_dualstack { "dualstack" } else { "ipv4" }
}

/// With subnet mappings, which say the same as subnets where nothing is said of addresses.
pub(super) fn with_subnets(mut step: Step, subnets: &[Subnet]) -> Step {
    for (at, subnet) in (1..).zip(subnets) {
        let member = |field: &str| format!("SubnetMappings.member.{at}.{field}");
        step = step
            .with(&member("SubnetId"), &subnet.id)
            .with_some(&member("AllocationId"), subnet.allocation.as_ref())
            .with_some(&member("PrivateIPv4Address"), subnet.ipv4.as_ref())
            .with_some(&member("IPv6Address"), subnet.ipv6.as_ref());
    }
    step
}

/// Sets a load balancer's security groups.
pub(super) fn security_groups(wanted: &LoadBalancer) -> Step {
    Step::new("SetSecurityGroups", &wanted.place)
        .with_load_balancer("LoadBalancerArn", &wanted.name)
        .with_list("SecurityGroups", &wanted.security_groups)
        .with(
            "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic",
            if wanted.guards_private_link { "on" } else { "off" },
        )
}

/// Sets attributes of a load balancer.
pub(super) fn load_balancer_attributes(wanted: &LoadBalancer, attributes: &Texts) -> Step {
    Step::new("ModifyLoadBalancerAttributes", &wanted.place)
        .with_load_balancer("LoadBalancerArn", &wanted.name)
        .with_pairs("Attributes", KEY_AND_VALUE, attributes)
}

/// The name of a listener.
pub(super) fn listener_name(load_balancer: &str, wanted: &Listener) -> ListenerName {
    ListenerName { load_balancer: load_balancer.to_owned(), protocol: wanted.protocol, port: wanted.port }
}

/// Makes a listener.
pub(super) fn listener(load_balancer: &str, wanted: &Listener) -> Vec<Step> {
    let step = Step::new("CreateListener", &wanted.place)
        .with_load_balancer("LoadBalancerArn", load_balancer)
        .with("Protocol", wanted.protocol.shape().wire())
        .with("Port", wanted.port)
        .with_pairs("Tags", KEY_AND_VALUE, &wanted.tags);
    let mut steps = vec![with_action(step, wanted)];
    if !wanted.attributes.is_empty() {
        steps.push(listener_attributes(load_balancer, wanted, &wanted.attributes));
    }
    steps
}

/// With a listener's forward action.
pub(super) fn with_action(step: Step, wanted: &Listener) -> Step {
    let action = "DefaultActions.member.1";
    let mut step =
        step.with(&format!("{action}.Type"), "forward").with_some(&format!("{action}.Order"), wanted.order);
    for (at, part) in (1..).zip(&wanted.forward) {
        let member = format!("{action}.ForwardConfig.TargetGroups.member.{at}");
        step = step
            .with_target_group(&format!("{member}.TargetGroupArn"), &part.target_group)
            .with(&format!("{member}.Weight"), part.weight);
    }
    step
}

/// Sets attributes of a listener.
pub(super) fn listener_attributes(load_balancer: &str, wanted: &Listener, attributes: &Texts) -> Step {
    Step::new("ModifyListenerAttributes", &wanted.place)
        .with_listener("ListenerArn", &listener_name(load_balancer, wanted))
        .with_pairs("Attributes", KEY_AND_VALUE, attributes)
}

/// Makes a target group with its targets.
pub(super) fn target_group(wanted: &TargetGroup, inventory: &Inventory) -> Vec<Step> {
    let step = Step::new("CreateTargetGroup", &wanted.place)
        .with("Name", &wanted.name)
        .with("Protocol", wanted.protocol.shape().wire())
        .with("Port", wanted.port)
        .with_some("VpcId", vpc(wanted, inventory))
        .with("TargetType", target_type(wanted.target_type))
        .with("IpAddressType", if wanted.is_ipv6 { "ipv6" } else { "ipv4" })
        .with_pairs("Tags", KEY_AND_VALUE, &wanted.tags);
    let mut steps = vec![with_health_check(step, &wanted.health_check)];
    if !wanted.attributes.is_empty() {
        steps.push(target_group_attributes(wanted, &wanted.attributes));
    }
    let targets = wanted.targets.as_deref().unwrap_or_default();
    steps.extend(targets_step("RegisterTargets", wanted, targets));
    steps
}

/// The VPC of a target group: the only one, if the document leaves it out.
fn vpc<'a>(wanted: &'a TargetGroup, inventory: &'a Inventory) -> Option<&'a String> {
    let mut known = inventory.vpcs.keys();
    let only = known.next().filter(|_| known.next().is_none());
    wanted.vpc.as_ref().or(only)
}

fn target_type(kind: TargetType) -> &'static str {
    match kind {
        TargetType::Instance => "instance",
        TargetType::Ip => "ip",
    }
}

fn with_health_check(step: Step, check: &HealthCheck) -> Step {
    step.with_some("HealthCheckProtocol", check.protocol.as_ref())
        .with_some("HealthCheckPort", check.port.as_ref())
        .with_some("HealthCheckPath", check.path.as_ref())
        .with_some("Matcher.HttpCode", check.matcher.as_ref())
        .with_some("HealthCheckIntervalSeconds", check.interval_seconds)
        .with_some("HealthCheckTimeoutSeconds", check.timeout_seconds)
        .with_some("HealthyThresholdCount", check.healthy_threshold_count)
        .with_some("UnhealthyThresholdCount", check.unhealthy_threshold_count)
}

/// Sets all of a target group's health check.
pub(super) fn health_check(wanted: &TargetGroup, check: &records::HealthCheck) -> Step {
    let step =
        Step::new("ModifyTargetGroup", &wanted.place).with_target_group("TargetGroupArn", &wanted.name);
    with_health_check(step, &HealthCheck::whole(check))
}

/// Sets attributes of a target group.
pub(super) fn target_group_attributes(wanted: &TargetGroup, attributes: &Texts) -> Step {
    Step::new("ModifyTargetGroupAttributes", &wanted.place)
        .with_target_group("TargetGroupArn", &wanted.name)
        .with_pairs("Attributes", KEY_AND_VALUE, attributes)
}

/// Registers or deregisters targets; nothing for none.
pub(super) fn targets_step(operation: &str, wanted: &TargetGroup, targets: &[Target]) -> Option<Step> {
    let mut step = Step::new(operation, &wanted.place).with_target_group("TargetGroupArn", &wanted.name);
    for (at, target) in (1..).zip(targets) {
        let member = |field: &str| format!("Targets.member.{at}.{field}");
        step = step
            .with(&member("Id"), &target.id)
            .with_some(&member("Port"), target.port)
            .with_some(&member("AvailabilityZone"), target.zone.as_ref())
            .with_some(&member("QuicServerId"), target.quic_server_id.as_ref());
    }
    (!targets.is_empty()).then_some(step)
}
