//! Load balancers: made, told, deleted.

use std::collections::BTreeMap;

use super::context::Context;
use super::load_balancer_attributes::LoadBalancerAttributes;
use super::names;
use super::pages::page;
use super::records::{LoadBalancer as Record, Scheme};
use super::subnets::{self, Owner, Wanted};
use super::tags;
use super::transaction::Transaction;
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    CreateLoadBalancerInput, CreateLoadBalancerOutput, CreatedTime, DeleteLoadBalancerInput,
    DeleteLoadBalancerOutput, DescribeLoadBalancersInput, DescribeLoadBalancersOutput,
    EnablePrefixForIpv6SourceNatEnum,
    EnforceSecurityGroupInboundRulesOnPrivateLinkTrafficEnum as PrivateLink, LoadBalancer, LoadBalancerState,
    LoadBalancerStateEnum, LoadBalancerTypeEnum, SecurityGroups, SetSecurityGroupsInput,
    SetSecurityGroupsOutput,
};

/// What clients take for the hosted zone of the DNS name; no client looks it up.
const HOSTED_ZONE: &str = "Z00000000000000000000";

/// How many load balancers one request may name.
const MAX_NAMED: usize = 20;

pub(super) fn create(
    state: &mut Transaction,
    input: &CreateLoadBalancerInput,
    context: &Context,
) -> Result<CreateLoadBalancerOutput, ApiError> {
    let wanted = check(input, context)?;
    let answer = |name: &str, record: &Record, code| CreateLoadBalancerOutput {
        load_balancers: Some([shape(name, record, context, code)].into_iter().collect()),
    };
    if let Some(existing) = state.load_balancers.get(&*input.name) {
        let code = LoadBalancerStateEnum::Active;
        return if is_same(input, &wanted, existing)? {
            Ok(answer(&input.name, existing, code))
        } else {
            let name = &*input.name;
            Err(Code::DuplicateLoadBalancerName.because(format!(
                "A load balancer with the same name '{name}' exists, but with different settings"
            )))
        };
    }
    let record = record(input, &wanted, state, context)?;
    state.put_load_balancer(&input.name, record.clone());
    Ok(answer(&input.name, &record, LoadBalancerStateEnum::Provisioning))
}

/// What is wrong with the request whatever there is already.
fn check(input: &CreateLoadBalancerInput, context: &Context) -> Result<Vec<Wanted>, ApiError> {
    names::check("Load balancer", &input.name)?;
    if input.name.starts_with("internal-") {
        let name = &*input.name;
        return Err(Code::ValidationError
            .because(format!("Load balancer name '{name}' cannot begin with 'internal-'")));
    }
    let kind = input.kind.unwrap_or(LoadBalancerTypeEnum::Application);
    if kind != LoadBalancerTypeEnum::Network {
        return Err(Code::InvalidConfigurationRequest.because(format!(
            "Load balancers of the type '{kind}' are not supported yet; specify the type 'network'"
        )));
    }
    if input.customer_owned_ipv4_pool.is_some() || input.ipam_pools.is_some() {
        return Err(Code::InvalidConfigurationRequest
            .because("Address pools are not supported for network load balancers"));
    }
    subnets::check_source_nat(input.enable_prefix_for_ipv6_source_nat)?;
    let wanted = subnets::wanted(input.subnets.as_ref(), input.subnet_mappings.as_ref())?;
    let vpc = subnets::vpc(&wanted, context)?;
    check_security_groups(input.security_groups.as_ref(), &vpc, context)?;
    tags::from_list(input.tags.as_ref(), context)?;
    Ok(wanted)
}

fn record(
    input: &CreateLoadBalancerInput,
    wanted: &[Wanted],
    state: &mut Transaction,
    context: &Context,
) -> Result<Record, ApiError> {
    let max = context.quotas.load_balancers;
    if state.load_balancers.len() >= max {
        return Err(
            Code::TooManyLoadBalancers.because(format!("The limit of {max} load balancers has been reached"))
        );
    }
    let (scheme, is_dualstack) = (Scheme::of(input.scheme), subnets::is_dualstack(input.ip_address_type)?);
    let owner = Owner { name: &input.name, scheme, is_dualstack, seats: &BTreeMap::new() };
    Ok(Record {
        id: (context.fresh_id)(),
        created: context.now,
        scheme,
        vpc: subnets::vpc(wanted, context)?,
        is_dualstack,
        zones: subnets::seats(wanted, &owner, state, context)?,
        security_groups: sorted(input.security_groups.as_ref()),
        guards_private_link: true,
        attributes: LoadBalancerAttributes::new(scheme == Scheme::Internal),
        tags: tags::from_list(input.tags.as_ref(), context)?,
        listeners: BTreeMap::new(),
    })
}

/// Whether a request for a load balancer that is there asks for just what it is.
fn is_same(input: &CreateLoadBalancerInput, wanted: &[Wanted], record: &Record) -> Result<bool, ApiError> {
    let has = |want: &Wanted| {
        record.zones.values().any(|seat| {
            seat.subnet == want.subnet
                && seat.allocation == want.allocation
                && want.ipv4.is_none_or(|address| address == std::net::IpAddr::V4(seat.ipv4))
                && want.ipv6.is_none_or(|address| seat.ipv6.map(std::net::IpAddr::V6) == Some(address))
        })
    };
    Ok(Scheme::of(input.scheme) == record.scheme
        && subnets::is_dualstack(input.ip_address_type)? == record.is_dualstack
        && wanted.len() == record.zones.len()
        && wanted.iter().all(has)
        && sorted(input.security_groups.as_ref()) == record.security_groups
        && tags::plain(input.tags.as_ref()) == record.tags)
}

fn sorted(groups: Option<&SecurityGroups>) -> Vec<String> {
    let mut ids: Vec<String> =
        groups.into_iter().flat_map(|groups| groups.iter().map(|id| id.0.clone())).collect();
    ids.sort();
    ids.dedup();
    ids
}

fn check_security_groups(
    groups: Option<&SecurityGroups>,
    vpc: &str,
    context: &Context,
) -> Result<(), ApiError> {
    for id in groups.into_iter().flat_map(|groups| groups.iter()) {
        let Some(group) = context.inventory.security_groups.get(&**id) else {
            return Err(
                Code::InvalidSecurityGroup.because(format!("Security group {} does not exist", &**id))
            );
        };
        if group.vpc != vpc {
            return Err(Code::InvalidConfigurationRequest
                .because(format!("The security group '{}' is not in the VPC '{vpc}'", &**id)));
        }
    }
    Ok(())
}

/// A load balancer as the API tells it.
fn shape(name: &str, record: &Record, context: &Context, code: LoadBalancerStateEnum) -> LoadBalancer {
    let groups: SecurityGroups = record.security_groups.iter().map(Into::into).collect();
    let is_guarded = !groups.is_empty();
    LoadBalancer {
        load_balancer_arn: Some(context.identity.load_balancer(name, record.id).into()),
        dns_name: Some(context.identity.dns_name(name, record.id).into()),
        canonical_hosted_zone_id: Some(HOSTED_ZONE.into()),
        created_time: Some(CreatedTime(record.created)),
        load_balancer_name: Some(name.into()),
        scheme: Some(record.scheme.shape()),
        vpc_id: Some((&record.vpc).into()),
        state: Some(LoadBalancerState { code: Some(code), reason: None }),
        kind: Some(LoadBalancerTypeEnum::Network),
        availability_zones: Some(subnets::availability_zones(record)),
        security_groups: is_guarded.then_some(groups),
        ip_address_type: Some(subnets::ip_address_type(record)),
        customer_owned_ipv4_pool: None,
        enforce_security_group_inbound_rules_on_private_link_traffic: is_guarded
            .then(|| private_link(record).wire().into()),
        enable_prefix_for_ipv6_source_nat: Some(EnablePrefixForIpv6SourceNatEnum::Off),
        ipam_pools: None,
    }
}

fn private_link(record: &Record) -> PrivateLink {
    if record.guards_private_link { PrivateLink::On } else { PrivateLink::Off }
}

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeLoadBalancersInput,
    context: &Context,
) -> Result<DescribeLoadBalancersOutput, ApiError> {
    let names = named(state, input, context)?;
    let chosen = state
        .load_balancers
        .iter()
        .filter(|(name, _)| names.as_ref().is_none_or(|names| names.contains(*name)));
    let (page, next_marker) = page(
        chosen.map(|(name, record)| (name.clone(), (name, record))),
        input.marker.as_ref(),
        input.page_size.as_ref(),
    );
    let shape = |(name, record): (&String, &std::sync::Arc<Record>)| {
        shape(name, record, context, LoadBalancerStateEnum::Active)
    };
    Ok(DescribeLoadBalancersOutput {
        load_balancers: Some(page.into_iter().map(shape).collect()),
        next_marker,
    })
}

/// The names of those that a request is about; all, if it names none.
fn named(
    state: &Transaction,
    input: &DescribeLoadBalancersInput,
    context: &Context,
) -> Result<Option<Vec<String>>, ApiError> {
    let arns = input.load_balancer_arns.as_deref().unwrap_or_default();
    let names = input.names.as_deref().unwrap_or_default();
    if !arns.is_empty() && !names.is_empty() {
        return Err(Code::ValidationError
            .because("Load balancer names and ARNs cannot be specified at the same time"));
    }
    if arns.len().max(names.len()) > MAX_NAMED {
        return Err(Code::ValidationError
            .because(format!("Up to {MAX_NAMED} load balancers can be described in a single call")));
    }
    let not_found = || Code::LoadBalancerNotFound.because("One or more load balancers not found");
    let mut found = Vec::new();
    for arn in arns {
        match state.load_balancer(context.identity, arn) {
            Ok((name, _)) => found.push(name.to_owned()),
            Err(error) if error.code == Code::LoadBalancerNotFound => return Err(not_found()),
            Err(error) => return Err(error),
        }
    }
    for name in names {
        let (name, _) = state.load_balancers.get_key_value(&**name).ok_or_else(not_found)?;
        found.push(name.clone());
    }
    Ok((!arns.is_empty() || !names.is_empty()).then_some(found))
}

pub(super) fn delete(
    state: &mut Transaction,
    input: &DeleteLoadBalancerInput,
    context: &Context,
) -> Result<DeleteLoadBalancerOutput, ApiError> {
    let arn = &*input.load_balancer_arn;
    let (name, record) = match state.load_balancer(context.identity, arn) {
        Ok(found) => found,
        // What is not there need not be deleted.
        Err(error) if error.code == Code::LoadBalancerNotFound => return Ok(DeleteLoadBalancerOutput {}),
        Err(error) => return Err(error),
    };
    if record.attributes.is_deletion_protected {
        return Err(Code::OperationNotPermitted.because(format!(
            "Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
        )));
    }
    let name = name.to_owned();
    state.remove_load_balancer(&name);
    Ok(DeleteLoadBalancerOutput {})
}

pub(super) fn set_security_groups(
    state: &mut Transaction,
    input: &SetSecurityGroupsInput,
    context: &Context,
) -> Result<SetSecurityGroupsOutput, ApiError> {
    let (name, record) = state.load_balancer(context.identity, &input.load_balancer_arn)?;
    let name = name.to_owned();
    if record.security_groups.is_empty() {
        return Err(Code::InvalidConfigurationRequest.because(
            "Security groups can be set only for a network load balancer that was created with security groups",
        ));
    }
    if input.security_groups.is_empty() {
        return Err(Code::InvalidConfigurationRequest
            .because("A network load balancer that has security groups must keep at least one"));
    }
    check_security_groups(Some(&input.security_groups), &record.vpc, context)?;
    let groups = sorted(Some(&input.security_groups));
    let wanted = input.enforce_security_group_inbound_rules_on_private_link_traffic;
    let guards = wanted.map_or(record.guards_private_link, |wanted| wanted == PrivateLink::On);
    if let Some(record) = state.load_balancer_mut(&name) {
        (record.security_groups, record.guards_private_link) = (groups.clone(), guards);
    }
    Ok(SetSecurityGroupsOutput {
        security_group_ids: Some(groups.iter().map(Into::into).collect()),
        enforce_security_group_inbound_rules_on_private_link_traffic: Some(if guards {
            PrivateLink::On
        } else {
            PrivateLink::Off
        }),
    })
}
