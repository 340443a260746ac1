//! Targets: registered and deregistered.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::context::Context;
use super::records::{Listener, Override, Protocol, Target, TargetGroup, TargetType};
use super::transaction::{State, Transaction};
use super::vips;
use crate::api::inventory::{Inventory, Network};
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    DeregisterTargetsInput, DeregisterTargetsOutput, RegisterTargetsInput, RegisterTargetsOutput,
    TargetDescription, TargetDescriptions,
};

/// The zone of a target that is in every zone.
pub(in crate::api) const ALL_ZONES: &str = "all";

/// Networks that targets outside the VPC may be in: RFC 1918, RFC 6598, RFC 4193.
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

pub(super) fn register(
    state: &mut Transaction,
    input: &RegisterTargetsInput,
    context: &Context,
) -> Result<RegisterTargetsOutput, ApiError> {
    let (name, group) = state.target_group(context.identity, &input.target_group_arn)?;
    let (name, mut group) = (name.to_owned(), TargetGroup::clone(group));
    check_not_empty(&input.targets)?;
    group.targets.retain(|target| target.is_there(context.now));
    let vips = vips::taken(state, None);
    for description in input.targets.iter() {
        let target = target(description, &group, context)?;
        refuse_vip(&target, &vips, context)?;
        put(&mut group, target)?;
    }
    check_number(&name, &group, state, context)?;
    if group.protocol == Protocol::Quic {
        check_server_ids(&name, &group, state)?;
    }
    if let Some(record) = state.target_group_mut(&name) {
        *record = group;
    }
    Ok(RegisterTargetsOutput {})
}

fn check_not_empty(targets: &TargetDescriptions) -> Result<(), ApiError> {
    if targets.is_empty() {
        return Err(Code::ValidationError.because("At least one target must be specified"));
    }
    Ok(())
}

/// The target that a description means, checked by itself.
fn target(
    description: &TargetDescription,
    group: &TargetGroup,
    context: &Context,
) -> Result<Target, ApiError> {
    let zone = description.availability_zone.as_deref();
    let id = match group.target_type {
        TargetType::Instance => instance(&description.id, zone, group, context)?,
        TargetType::Ip => address(&description.id, zone, group, context)?,
    };
    let port = port(description, group)?;
    let quic_server_id = server_id(description, group)?;
    let zone = zone.map(str::to_owned);
    let operator = Override::default();
    Ok(Target { id, port, zone, quic_server_id, registered: context.now, drains_until: None, operator })
}

/// The port that a target serves on: the agent there translates it, where it is another than the listener's.
fn port(description: &TargetDescription, group: &TargetGroup) -> Result<u16, ApiError> {
    let Some(port) = description.port else { return Ok(group.port) };
    u16::try_from(port.0).map_err(|_| Code::InternalFailure.because("A port passed its range check"))
}

fn instance(
    id: &str,
    zone: Option<&str>,
    group: &TargetGroup,
    context: &Context,
) -> Result<String, ApiError> {
    let refuse = |why: String| Err(Code::InvalidTarget.because(why));
    let Some(instance) = context.inventory.instances.get(id) else {
        return refuse(format!("The following targets do not exist: '{id}'"));
    };
    if instance.vpc != group.vpc {
        return refuse(format!(
            "The following targets are not in the target group VPC '{}': '{id}'",
            group.vpc
        ));
    }
    if !instance.is_running {
        return refuse(format!(
            "The following targets are not in a running state and cannot be registered: '{id}'"
        ));
    }
    if instance.address(group.is_ipv6).is_none() {
        let family = group.ip_address_type();
        return refuse(format!("The following targets do not have an address of the type {family}: '{id}'"));
    }
    if zone.is_some() {
        return Err(Code::ValidationError.because(
            "An Availability Zone cannot be specified for targets of target groups with the target type instance",
        ));
    }
    Ok(id.to_owned())
}

fn address(
    text: &str,
    zone: Option<&str>,
    group: &TargetGroup,
    context: &Context,
) -> Result<String, ApiError> {
    let refuse = |why: String| Err(Code::ValidationError.because(why));
    let address = parse(text, group)?;
    let is_in_vpc = context
        .inventory
        .vpcs
        .get(&group.vpc)
        .is_some_and(|vpc| vpc.networks.iter().any(|network| network.contains(address)));
    let is_private = PRIVATE.iter().filter_map(|network| network.parse::<Network>().ok());
    if !is_in_vpc && !is_private.into_iter().any(|network| network.contains(address)) {
        return refuse(format!(
            "The IP address '{text}' is neither in the VPC '{}' nor a private address",
            group.vpc
        ));
    }
    match zone {
        None if !is_in_vpc => refuse(format!(
            "An Availability Zone or 'all' must be specified for the IP address '{text}', which is outside the VPC"
        )),
        Some(zone)
            if zone != ALL_ZONES && !context.inventory.zones_of(&group.vpc).any(|known| known == zone) =>
        {
            refuse(format!("The Availability Zone '{zone}' is not one of the VPC '{}'", group.vpc))
        }
        _ => Ok(address.to_string()),
    }
}

fn parse(text: &str, group: &TargetGroup) -> Result<IpAddr, ApiError> {
    let family = if group.is_ipv6 { "IPv6" } else { "IPv4" };
    let address = text.parse::<IpAddr>().ok().filter(|address| {
        let is_unicast = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
        address.is_ipv6() == group.is_ipv6 && is_unicast
    });
    address.ok_or_else(|| {
        Code::ValidationError.because(format!("The IP address '{text}' is not a valid {family} address"))
    })
}

/// `0x` and 16 lower-case hexadecimal digits; QUIC groups' targets have one, others none.
fn server_id(description: &TargetDescription, group: &TargetGroup) -> Result<Option<u64>, ApiError> {
    let id = &*description.id;
    let refuse = |why: String| Err(Code::ValidationError.because(why));
    match (&description.quic_server_id, group.protocol) {
        (None, Protocol::Quic) => refuse(format!("A QUIC server ID must be specified for the target '{id}'")),
        (Some(_), protocol) if protocol != Protocol::Quic => refuse(format!(
            "A QUIC server ID cannot be specified for targets of target groups with the {} protocol",
            protocol.shape()
        )),
        (None, _) => Ok(None),
        (Some(text), _) => {
            let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 16);
            let digits = digits
                .filter(|digits| digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
            match digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
                Some(number) => Ok(Some(number)),
                None => refuse(format!(
                    "The QUIC server ID '{}' must be 0x and 16 lower-case hexadecimal characters",
                    &**text
                )),
            }
        }
    }
}

fn refuse_vip(target: &Target, vips: &BTreeSet<IpAddr>, context: &Context) -> Result<(), ApiError> {
    let addresses = addresses(target, context);
    match addresses.iter().find(|address| vips.contains(address)) {
        Some(vip) => Err(Code::InvalidTarget.because(format!(
            "The target '{}' is a load balancer itself: {vip} is one of its addresses",
            target.id
        ))),
        None => Ok(()),
    }
}

/// The addresses that a target has.
fn addresses(target: &Target, context: &Context) -> Vec<IpAddr> {
    match context.inventory.instances.get(&target.id) {
        Some(instance) => instance.addresses.clone(),
        None => target.id.parse().into_iter().collect(),
    }
}

/// Where a target of a group is reached, if its instance has an address and runs.
pub(in crate::api) fn address_of(
    target: &Target,
    group: &TargetGroup,
    inventory: &Inventory,
) -> Option<IpAddr> {
    match group.target_type {
        TargetType::Ip => target.id.parse().ok(),
        TargetType::Instance => {
            let instance = inventory.instances.get(&target.id).filter(|instance| instance.is_running)?;
            instance.address(group.is_ipv6)
        }
    }
}

/// The zone that a target is in, [`ALL_ZONES`] for one that is in every zone; none if nobody knows.
pub(in crate::api) fn zone_of<'a>(
    target: &'a Target,
    group: &TargetGroup,
    inventory: &'a Inventory,
) -> Option<&'a str> {
    match group.target_type {
        TargetType::Instance => inventory.instances.get(&target.id).map(|instance| instance.zone.as_str()),
        TargetType::Ip => {
            target.zone.as_deref().or_else(|| inventory.zone_of(&group.vpc, target.id.parse().ok()?))
        }
    }
}

/// Adds a target, or takes back one that drains.
fn put(group: &mut TargetGroup, target: Target) -> Result<(), ApiError> {
    match group.find(&target.id, target.port) {
        Err(at) => group.targets.insert(at, target),
        Ok(at) => {
            let there = &mut group.targets[at];
            if there.quic_server_id != target.quic_server_id {
                return Err(Code::ValidationError.because(format!(
                    "The QUIC server ID of the target '{}' cannot be changed; deregister the target first",
                    target.id
                )));
            }
            let (registered, operator) = match there.drains_until {
                Some(_) => (target.registered, Override::default()),
                None => (there.registered, there.operator),
            };
            *there = Target { registered, operator, ..target };
        }
    }
    Ok(())
}

fn check_number(name: &str, group: &TargetGroup, state: &State, context: &Context) -> Result<(), ApiError> {
    let registered =
        |group: &TargetGroup| group.targets.iter().filter(|target| target.drains_until.is_none()).count();
    let (count, max) = (registered(group), context.quotas.targets_of_group);
    if count > max {
        return Err(Code::TooManyTargets.because(format!("A target group can have at most {max} targets")));
    }
    let Some((_, user)) = state.user_of(name) else { return Ok(()) };
    let others: BTreeSet<&str> =
        user.listeners.values().flat_map(groups_of).filter(|other| *other != name).collect();
    let others = others.into_iter().filter_map(|other| state.target_groups.get(other));
    let max = context.quotas.targets_of_load_balancer;
    if count + others.map(|other| registered(other)).sum::<usize>() > max {
        return Err(Code::TooManyTargets.because(format!("A load balancer can have at most {max} targets")));
    }
    Ok(())
}

fn groups_of(listener: &Listener) -> impl Iterator<Item = &str> {
    listener.forward.iter().map(|forward| forward.target_group.as_str())
}

/// A server id names one target of all that a listener can reach.
fn check_server_ids(name: &str, group: &TargetGroup, state: &State) -> Result<(), ApiError> {
    let listeners = state.load_balancers.values().flat_map(|record| record.listeners.values());
    let mut together: BTreeSet<&str> = listeners
        .filter(|listener| groups_of(listener).any(|other| other == name))
        .flat_map(groups_of)
        .collect();
    together.remove(name);
    let others = together.into_iter().filter_map(|other| state.target_groups.get(other));
    unique_server_ids(std::iter::once(group).chain(others.map(|other| &**other)))
}

/// Refuses target groups of one listener whose targets share a server id.
pub(super) fn unique_server_ids<'a>(groups: impl Iterator<Item = &'a TargetGroup>) -> Result<(), ApiError> {
    let mut seen = std::collections::BTreeMap::new();
    for target in groups.flat_map(|group| &group.targets) {
        let Some(id) = target.quic_server_id else { continue };
        if seen.insert(id, &target.id).is_some_and(|other| *other != target.id) {
            return Err(Code::ValidationError
                .because(format!("The QUIC server ID '0x{id:016x}' must be unique at the listener level")));
        }
    }
    Ok(())
}

pub(super) fn deregister(
    state: &mut Transaction,
    input: &DeregisterTargetsInput,
    context: &Context,
) -> Result<DeregisterTargetsOutput, ApiError> {
    let (name, group) = state.target_group(context.identity, &input.target_group_arn)?;
    let (name, mut group) = (name.to_owned(), TargetGroup::clone(group));
    check_not_empty(&input.targets)?;
    group.targets.retain(|target| target.is_there(context.now));
    let delay = Duration::from_secs(group.attributes.deregistration_delay.into());
    // Where nothing forwards to the group, there are no flows to wait for.
    let drains_until = (state.user_of(&name).is_some() && !delay.is_zero()).then(|| context.now.after(delay));
    for description in input.targets.iter() {
        let (id, port) = meant(description, &group)?;
        let Ok(at) = group.find(&id, port) else { continue };
        match drains_until {
            Some(_) if group.targets[at].drains_until.is_some() => {}
            Some(end) => group.targets[at].drains_until = Some(end),
            None => drop(group.targets.remove(at)),
        }
    }
    if let Some(record) = state.target_group_mut(&name) {
        *record = group;
    }
    Ok(DeregisterTargetsOutput {})
}

/// The id and port of the target that a description means, there or not.
pub(super) fn meant(description: &TargetDescription, group: &TargetGroup) -> Result<(String, u16), ApiError> {
    let id = match group.target_type {
        TargetType::Instance => description.id.0.clone(),
        TargetType::Ip => parse(&description.id, group)?.to_string(),
    };
    let port = description.port.and_then(|port| u16::try_from(port.0).ok()).unwrap_or(group.port);
    Ok((id, port))
}
