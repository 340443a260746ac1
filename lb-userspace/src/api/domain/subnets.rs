//! A load balancer's subnets: which zones it is in, and the VIP of each family that it has in every one of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::context::Context;
use super::records::{LoadBalancer, Scheme, Seat};
use super::transaction::Transaction;
use super::vips::{self, Pool};
use crate::api::inventory::{Network, Subnet};
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    AvailabilityZone, AvailabilityZones, EnablePrefixForIpv6SourceNatEnum, IpAddressType,
    LoadBalancerAddress, SetIpAddressTypeInput, SetIpAddressTypeOutput, SetSubnetsInput, SetSubnetsOutput,
    SubnetMapping, SubnetMappings, Subnets,
};

/// A subnet that a request names, with what it says of its VIPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) subnet: String,
    pub(super) allocation: Option<String>,
    pub(super) ipv4: Option<IpAddr>,
    pub(super) ipv6: Option<IpAddr>,
}

/// What the load balancer is whose seats are made.
pub(super) struct Owner<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its scheme.
    pub(super) scheme: Scheme,
    /// Whether it has IPv6 VIPs.
    pub(super) is_dualstack: bool,
    /// The seats that it has.
    pub(super) seats: &'a BTreeMap<String, Seat>,
}

/// The subnets of a request, which names them in one of two ways.
pub(super) fn wanted(
    subnets: Option<&Subnets>,
    mappings: Option<&SubnetMappings>,
) -> Result<Vec<Wanted>, ApiError> {
    let refuse = |why: &str| Err(Code::ValidationError.because(why));
    let subnets = subnets.filter(|subnets| !subnets.is_empty());
    match (subnets, mappings.filter(|mappings| !mappings.is_empty())) {
        (Some(_), Some(_)) => refuse("You must specify either subnets or subnet mappings, but not both"),
        (None, None) => refuse("At least one subnet must be specified"),
        (Some(subnets), None) => {
            let plain = |id: &crate::api::shapes::SubnetId| Wanted {
                subnet: id.0.clone(),
                allocation: None,
                ipv4: None,
                ipv6: None,
            };
            Ok(subnets.iter().map(plain).collect())
        }
        (None, Some(mappings)) => mappings.iter().map(mapped).collect(),
    }
}

fn mapped(mapping: &SubnetMapping) -> Result<Wanted, ApiError> {
    let Some(subnet) = mapping.subnet_id.as_deref() else {
        return Err(Code::ValidationError.because("A subnet ID must be specified in each subnet mapping"));
    };
    if mapping.source_nat_ipv6_prefix.as_deref().is_some_and(|prefix| prefix != "auto_assigned") {
        return Err(Code::InvalidConfigurationRequest
            .because("Source NAT prefixes are not supported: targets see the client's address"));
    }
    Ok(Wanted {
        subnet: subnet.to_owned(),
        allocation: mapping.allocation_id.as_deref().map(str::to_owned),
        ipv4: address(mapping.private_ipv4_address.as_deref(), false)?,
        ipv6: address(mapping.ipv6_address.as_deref(), true)?,
    })
}

fn address(text: Option<&str>, is_ipv6: bool) -> Result<Option<IpAddr>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let family = if is_ipv6 { "IPv6" } else { "IPv4" };
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_ipv6() == is_ipv6 => Ok(Some(address)),
        _ => {
            Err(Code::ValidationError
                .because(format!("The address '{text}' is not a valid {family} address")))
        }
    }
}

/// The VPC of the subnets, which are in one VPC and in different zones.
pub(super) fn vpc(wanted: &[Wanted], context: &Context) -> Result<String, ApiError> {
    let mut zones = BTreeMap::new();
    let mut vpc: Option<&str> = None;
    for Wanted { subnet: id, .. } in wanted {
        let subnet = subnet(id, context)?;
        if vpc.is_some_and(|vpc| vpc != subnet.vpc) {
            return Err(Code::InvalidConfigurationRequest.because("All subnets must be in the same VPC"));
        }
        vpc = Some(&subnet.vpc);
        if zones.insert(&subnet.zone, id).is_some() {
            return Err(Code::InvalidConfigurationRequest.because(format!(
                "A load balancer cannot be attached to multiple subnets in the same Availability Zone: '{}'",
                subnet.zone
            )));
        }
        if subnet.nodes.is_empty() {
            return Err(Code::AvailabilityZoneNotSupported.because(format!(
                "The Availability Zone '{}' of the subnet '{id}' has no nodes",
                subnet.zone
            )));
        }
    }
    Ok(vpc.unwrap_or_default().to_owned())
}

fn subnet<'a>(id: &str, context: &Context<'a>) -> Result<&'a Subnet, ApiError> {
    let found = context.inventory.subnets.get(id);
    found.ok_or_else(|| Code::SubnetNotFound.because(format!("The subnet ID '{id}' does not exist")))
}

/// The seats in the wanted subnets. A seat that the load balancer has already stays as it is.
pub(super) fn seats(
    wanted: &[Wanted],
    owner: &Owner,
    state: &mut Transaction,
    context: &Context,
) -> Result<BTreeMap<String, Seat>, ApiError> {
    let mut seats = BTreeMap::new();
    for want in wanted {
        let zone = subnet(&want.subnet, context)?.zone.clone();
        let kept = owner.seats.get(&zone).filter(|seat| seat.subnet == want.subnet);
        let seat = seat(want, kept, owner, state, context)?;
        check_apart(&seat, &seats)?;
        seats.insert(zone, seat);
    }
    Ok(seats)
}

/// Two mappings of one request can't have one address.
fn check_apart(seat: &Seat, others: &BTreeMap<String, Seat>) -> Result<(), ApiError> {
    match others.values().find(|other| other.ipv4 == seat.ipv4) {
        Some(other) => {
            Err(Code::ResourceInUse.because(format!("The address '{}' is already in use", other.ipv4)))
        }
        None => Ok(()),
    }
}

fn seat(
    want: &Wanted,
    kept: Option<&Seat>,
    owner: &Owner,
    state: &mut Transaction,
    context: &Context,
) -> Result<Seat, ApiError> {
    check_change(want, kept)?;
    let ipv4 = match (&want.allocation, kept) {
        (_, Some(seat)) => seat.ipv4,
        (Some(allocation), None) => allocated(allocation, want, owner, state, context)?,
        (None, None) => vips::v4(vip(want, false, owner, state, context)?)?,
    };
    let ipv6 = match kept.and_then(|seat| seat.ipv6) {
        _ if !owner.is_dualstack && want.ipv6.is_some() => {
            return Err(Code::InvalidConfigurationRequest
                .because("An IPv6 address can be specified for dualstack load balancers only"));
        }
        _ if !owner.is_dualstack => None,
        Some(ipv6) => Some(ipv6),
        None => Some(vips::v6(vip(want, true, owner, state, context)?)?),
    };
    let allocation = kept.map_or(want.allocation.clone(), |seat| seat.allocation.clone());
    Ok(Seat { subnet: want.subnet.clone(), ipv4, ipv6, allocation })
}

/// VIPs are for life: a request may repeat them, not change them.
fn check_change(want: &Wanted, kept: Option<&Seat>) -> Result<(), ApiError> {
    let Some(seat) = kept else { return Ok(()) };
    let changes = want.allocation.is_some() && want.allocation != seat.allocation
        || want.ipv4.is_some_and(|address| address != IpAddr::V4(seat.ipv4))
        || want.ipv6.is_some_and(|address| seat.ipv6.is_some_and(|ipv6| address != IpAddr::V6(ipv6)));
    if !changes {
        return Ok(());
    }
    Err(Code::InvalidConfigurationRequest.because(format!(
        "The addresses of the load balancer in the subnet '{}' cannot be changed",
        want.subnet
    )))
}

fn allocated(
    id: &str,
    want: &Wanted,
    owner: &Owner,
    state: &Transaction,
    context: &Context,
) -> Result<std::net::Ipv4Addr, ApiError> {
    if owner.scheme == Scheme::Internal {
        return Err(Code::InvalidScheme.because("Allocation IDs are for internet-facing load balancers only"));
    }
    if want.ipv4.is_some() {
        return Err(Code::InvalidConfigurationRequest
            .because("Specify either an allocation ID or a private IPv4 address for a subnet, not both"));
    }
    let not_found = || Code::AllocationIdNotFound.because(format!("The allocation ID '{id}' does not exist"));
    let vip = *context.inventory.allocations.get(id).ok_or_else(not_found)?;
    if vips::taken(state, Some(owner.name)).contains(&IpAddr::V4(vip)) {
        return Err(Code::ResourceInUse.because(format!("The allocation ID '{id}' is already in use")));
    }
    Ok(vip)
}

fn vip(
    want: &Wanted,
    is_ipv6: bool,
    owner: &Owner,
    state: &mut Transaction,
    context: &Context,
) -> Result<IpAddr, ApiError> {
    let subnet = subnet(&want.subnet, context)?;
    let (network, named, family): (Option<Network>, _, _) = match is_ipv6 {
        false => (subnet.ipv4_pool, want.ipv4, "IPv4"),
        true => (subnet.ipv6_pool, want.ipv6, "IPv6"),
    };
    let no_pool =
        || Code::InvalidSubnet.because(format!("The subnet '{}' has no {family} pool", want.subnet));
    let pool = Pool { subnet: &want.subnet, network: network.ok_or_else(no_pool)? };
    match named {
        Some(_) if !is_ipv6 && owner.scheme == Scheme::InternetFacing => {
            Err(Code::InvalidScheme.because("Private IPv4 addresses are for internal load balancers only"))
        }
        Some(address) => pool.take(address, state, context, owner.name),
        None => pool.allot(state, context),
    }
}

/// Whether a load balancer is to have IPv6 VIPs.
pub(super) fn is_dualstack(kind: Option<IpAddressType>) -> Result<bool, ApiError> {
    match kind {
        None | Some(IpAddressType::Ipv4) => Ok(false),
        Some(IpAddressType::Dualstack) => Ok(true),
        Some(kind @ IpAddressType::DualstackWithoutPublicIpv4) => Err(Code::InvalidConfigurationRequest
            .because(format!("The IP address type '{kind}' is not supported for network load balancers"))),
    }
}

/// How the API names the families of a load balancer's VIPs.
pub(super) fn ip_address_type(record: &LoadBalancer) -> IpAddressType {
    if record.is_dualstack { IpAddressType::Dualstack } else { IpAddressType::Ipv4 }
}

/// Refuses what translates client addresses.
pub(super) fn check_source_nat(wanted: Option<EnablePrefixForIpv6SourceNatEnum>) -> Result<(), ApiError> {
    match wanted {
        Some(EnablePrefixForIpv6SourceNatEnum::On) => Err(Code::InvalidConfigurationRequest.because(
            "Source NAT prefixes are not supported: UDP over IPv6 works without, targets see the client",
        )),
        Some(EnablePrefixForIpv6SourceNatEnum::Off) | None => Ok(()),
    }
}

/// The zones of a load balancer as the API tells them.
pub(super) fn availability_zones(record: &LoadBalancer) -> AvailabilityZones {
    let zone = |(zone, seat): (&String, &Seat)| AvailabilityZone {
        zone_name: Some(zone.into()),
        subnet_id: Some((&seat.subnet).into()),
        load_balancer_addresses: Some([addresses(seat, record.scheme)].into_iter().collect()),
        ..AvailabilityZone::default()
    };
    record.zones.iter().map(zone).collect()
}

fn addresses(seat: &Seat, scheme: Scheme) -> LoadBalancerAddress {
    let ipv4 = seat.ipv4.to_string();
    let is_internal = scheme == Scheme::Internal;
    LoadBalancerAddress {
        ip_address: (!is_internal).then(|| (&ipv4).into()),
        allocation_id: seat.allocation.as_ref().map(Into::into),
        private_ipv4_address: is_internal.then(|| (&ipv4).into()),
        ipv6_address: seat.ipv6.map(|ipv6| ipv6.to_string().into()),
    }
}

pub(super) fn set(
    state: &mut Transaction,
    input: &SetSubnetsInput,
    context: &Context,
) -> Result<SetSubnetsOutput, ApiError> {
    let (name, before) = state.load_balancer(context.identity, &input.load_balancer_arn)?;
    let (name, before) = (name.to_owned(), before.clone());
    check_source_nat(input.enable_prefix_for_ipv6_source_nat)?;
    let wanted = wanted(input.subnets.as_ref(), input.subnet_mappings.as_ref())?;
    if vpc(&wanted, context)? != before.vpc {
        return Err(Code::InvalidConfigurationRequest
            .because(format!("All subnets must be in the load balancer's VPC '{}'", before.vpc)));
    }
    let is_dualstack = match input.ip_address_type {
        Some(kind) => is_dualstack(Some(kind))?,
        None => before.is_dualstack,
    };
    change(&name, &before, &wanted, is_dualstack, state, context)?;
    let (_, record) = state.load_balancer(context.identity, &input.load_balancer_arn)?;
    Ok(SetSubnetsOutput {
        availability_zones: Some(availability_zones(record)),
        ip_address_type: Some(ip_address_type(record)),
        enable_prefix_for_ipv6_source_nat: Some(EnablePrefixForIpv6SourceNatEnum::Off),
    })
}

fn change(
    name: &str,
    before: &LoadBalancer,
    wanted: &[Wanted],
    is_dualstack: bool,
    state: &mut Transaction,
    context: &Context,
) -> Result<(), ApiError> {
    if !is_dualstack && has_ipv6_targets(before, state) {
        return Err(Code::InvalidConfigurationRequest
            .because("A load balancer with IPv6 target groups must stay dualstack"));
    }
    let owner = Owner { name, scheme: before.scheme, is_dualstack, seats: &before.zones };
    let zones = seats(wanted, &owner, state, context)?;
    if let Some(record) = state.load_balancer_mut(name) {
        (record.zones, record.is_dualstack) = (zones, is_dualstack);
    }
    Ok(())
}

fn has_ipv6_targets(record: &LoadBalancer, state: &Transaction) -> bool {
    let mut forwards = record.listeners.values().flat_map(|listener| &listener.forward);
    forwards.any(|forward| state.target_groups.get(&forward.target_group).is_some_and(|group| group.is_ipv6))
}

pub(super) fn set_ip_address_type(
    state: &mut Transaction,
    input: &SetIpAddressTypeInput,
    context: &Context,
) -> Result<SetIpAddressTypeOutput, ApiError> {
    let (name, before) = state.load_balancer(context.identity, &input.load_balancer_arn)?;
    let (name, before) = (name.to_owned(), before.clone());
    let is_dualstack = is_dualstack(Some(input.ip_address_type))?;
    let same = |seat: &Seat| Wanted { subnet: seat.subnet.clone(), allocation: None, ipv4: None, ipv6: None };
    let wanted: Vec<Wanted> = before.zones.values().map(same).collect();
    change(&name, &before, &wanted, is_dualstack, state, context)?;
    Ok(SetIpAddressTypeOutput { ip_address_type: Some(input.ip_address_type) })
}
