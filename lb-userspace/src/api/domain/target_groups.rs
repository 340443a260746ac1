//! Target groups: made, told, changed, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::context::Context;
use super::health_check::{HealthCheck, Settings};
use super::pages::page;
use super::records::{Protocol, TargetGroup as Record, TargetType};
use super::target_group_attributes::TargetGroupAttributes;
use super::transaction::{State, Transaction};
use super::{names, tags};
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    CreateTargetGroupInput, CreateTargetGroupOutput, DeleteTargetGroupInput, DeleteTargetGroupOutput,
    DescribeTargetGroupsInput, DescribeTargetGroupsOutput, HealthCheckEnabled, HealthCheckIntervalSeconds,
    HealthCheckThresholdCount, HealthCheckTimeoutSeconds, LoadBalancerArns, Matcher, ModifyTargetGroupInput,
    ModifyTargetGroupOutput, Port, ProtocolEnum, TargetGroup, TargetGroupIpAddressTypeEnum, TargetTypeEnum,
};

pub(super) fn create(
    state: &mut Transaction,
    input: &CreateTargetGroupInput,
    context: &Context,
) -> Result<CreateTargetGroupOutput, ApiError> {
    let name = &*input.name;
    names::check("Target group", name)?;
    let wanted = record(input, context)?;
    if let Some(existing) = state.target_groups.get(name) {
        return if is_same(&wanted, existing) {
            let users = users(state, context);
            let target_groups = Some([shape(name, existing, &users, context)].into_iter().collect());
            Ok(CreateTargetGroupOutput { target_groups })
        } else {
            Err(Code::DuplicateTargetGroupName.because(format!(
                "A target group with the same name '{name}' exists, but with different settings"
            )))
        };
    }
    let max = context.quotas.target_groups;
    if state.target_groups.len() >= max {
        return Err(
            Code::TooManyTargetGroups.because(format!("The limit of {max} target groups has been reached"))
        );
    }
    let target_groups = Some([shape(name, &wanted, &BTreeMap::new(), context)].into_iter().collect());
    state.put_target_group(name, wanted);
    Ok(CreateTargetGroupOutput { target_groups })
}

fn record(input: &CreateTargetGroupInput, context: &Context) -> Result<Record, ApiError> {
    let target_type = target_type(input.target_type)?;
    let protocol = protocol(input)?;
    let Some(Port(port)) = input.port else {
        return Err(Code::ValidationError.because("A port must be specified"));
    };
    let port =
        u16::try_from(port).map_err(|_| Code::InternalFailure.because("A port passed its range check"))?;
    if input.protocol_version.is_some() || input.target_control_port.is_some() {
        return Err(Code::InvalidConfigurationRequest.because(format!(
            "Protocol versions and target control ports cannot be specified for target groups with the {} protocol",
            protocol.shape()
        )));
    }
    let Some(vpc) = input.vpc_id.as_deref() else {
        return Err(Code::ValidationError.because("A VPC ID must be specified"));
    };
    if !context.inventory.vpcs.contains_key(vpc) {
        return Err(Code::ValidationError.because(format!("The VPC ID '{vpc}' is not found")));
    }
    Ok(Record {
        id: (context.fresh_id)(),
        protocol,
        port,
        vpc: vpc.to_owned(),
        target_type,
        is_ipv6: input.ip_address_type == Some(TargetGroupIpAddressTypeEnum::Ipv6),
        health_check: HealthCheck::new(&Settings::from(input), protocol)?,
        attributes: TargetGroupAttributes::new(protocol),
        tags: tags::from_list(input.tags.as_ref(), context)?,
        targets: Vec::new(),
    })
}

fn target_type(kind: Option<TargetTypeEnum>) -> Result<TargetType, ApiError> {
    match kind {
        None | Some(TargetTypeEnum::Instance) => Ok(TargetType::Instance),
        Some(TargetTypeEnum::Ip) => Ok(TargetType::Ip),
        Some(kind @ (TargetTypeEnum::Alb | TargetTypeEnum::Lambda)) => Err(Code::InvalidConfigurationRequest
            .because(format!(
                "Target groups with the target type '{kind}' are not supported; use 'instance' or 'ip'"
            ))),
    }
}

fn protocol(input: &CreateTargetGroupInput) -> Result<Protocol, ApiError> {
    let Some(protocol) = input.protocol else {
        return Err(Code::ValidationError.because("A protocol must be specified"));
    };
    Protocol::of(protocol).ok_or_else(|| {
        let whose = match protocol {
            ProtocolEnum::Http | ProtocolEnum::Https => ": they are those of application load balancers",
            ProtocolEnum::Geneve => ": they are those of gateway load balancers",
            _ => "",
        };
        Code::InvalidConfigurationRequest
            .because(format!("Target groups with the {protocol} protocol are not supported yet{whose}"))
    })
}

/// Whether a wanted target group is just what there is. What other operations change (attributes, targets) does not
/// count.
fn is_same(wanted: &Record, existing: &Record) -> bool {
    let settings = |record: &Record| Record {
        id: wanted.id,
        attributes: wanted.attributes.clone(),
        targets: Vec::new(),
        ..record.clone()
    };
    settings(wanted) == settings(existing)
}

/// The load balancers' ARNs by the target groups that they use.
type Users = BTreeMap<String, String>;

fn users(state: &State, context: &Context) -> Users {
    let mut users = Users::new();
    for (name, record) in &state.load_balancers {
        let arn = context.identity.load_balancer(name, record.id);
        for forward in record.listeners.values().flat_map(|listener| &listener.forward) {
            users.insert(forward.target_group.clone(), arn.clone());
        }
    }
    users
}

fn shape(name: &str, record: &Record, users: &Users, context: &Context) -> TargetGroup {
    let check = &record.health_check;
    let (path, codes) = check.protocol.request().unzip();
    let matcher = |codes: &str| Matcher { http_code: Some(codes.into()), grpc_code: None };
    let load_balancers: LoadBalancerArns = users.get(name).into_iter().map(Into::into).collect();
    TargetGroup {
        target_group_arn: Some(context.identity.target_group(name, record.id).into()),
        target_group_name: Some(name.into()),
        protocol: Some(record.protocol.shape()),
        port: Some(Port(record.port.into())),
        vpc_id: Some((&record.vpc).into()),
        health_check_protocol: Some(check.protocol.shape()),
        health_check_port: Some(check.port.map_or("traffic-port".to_owned(), |port| port.to_string()).into()),
        health_check_enabled: Some(HealthCheckEnabled(true)),
        health_check_interval_seconds: Some(HealthCheckIntervalSeconds(check.interval.into())),
        health_check_timeout_seconds: Some(HealthCheckTimeoutSeconds(check.timeout.into())),
        healthy_threshold_count: Some(HealthCheckThresholdCount(check.healthy_threshold.into())),
        unhealthy_threshold_count: Some(HealthCheckThresholdCount(check.unhealthy_threshold.into())),
        health_check_path: path.map(Into::into),
        matcher: codes.map(matcher),
        load_balancer_arns: Some(load_balancers),
        target_type: Some(record.target_type()),
        protocol_version: None,
        ip_address_type: Some(record.ip_address_type()),
        target_control_port: None,
    }
}

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeTargetGroupsInput,
    context: &Context,
) -> Result<DescribeTargetGroupsOutput, ApiError> {
    let users = users(state, context);
    let names = named(state, input, context)?;
    let all = state.target_groups.iter();
    let chosen: Vec<(&String, &Arc<Record>)> = match &names {
        Some(names) => names.iter().filter_map(|name| state.target_groups.get_key_value(name)).collect(),
        None => match &input.load_balancer_arn {
            Some(arn) => {
                state.load_balancer(context.identity, arn)?;
                all.filter(|(name, _)| users.get(*name).is_some_and(|user| **user == **arn)).collect()
            }
            None => all.collect(),
        },
    };
    let keyed = chosen.into_iter().map(|(name, record)| (name.clone(), (name, record)));
    let (page, next_marker) = page(keyed, input.marker.as_ref(), input.page_size.as_ref());
    let shapes = page.into_iter().map(|(name, record)| shape(name, record, &users, context));
    Ok(DescribeTargetGroupsOutput { target_groups: Some(shapes.collect()), next_marker })
}

/// The names of those that a request is about, in their order; all, if it names none.
fn named(
    state: &Transaction,
    input: &DescribeTargetGroupsInput,
    context: &Context,
) -> Result<Option<Vec<String>>, ApiError> {
    let arns = input.target_group_arns.as_deref().unwrap_or_default();
    let names = input.names.as_deref().unwrap_or_default();
    let kinds = [!arns.is_empty(), !names.is_empty(), input.load_balancer_arn.is_some()];
    match kinds.into_iter().filter(|is_given| *is_given).count() {
        0 => return Ok(None),
        1 if input.load_balancer_arn.is_some() => return Ok(None),
        1 => {}
        _ => {
            return Err(Code::ValidationError.because(
                "Target group ARNs, target group names and a load balancer ARN cannot be specified together",
            ));
        }
    }
    let not_found = || Code::TargetGroupNotFound.because("One or more target groups not found");
    let mut found = Vec::new();
    for arn in arns {
        match state.target_group(context.identity, arn) {
            Ok((name, _)) => found.push(name.to_owned()),
            Err(error) if error.code == Code::TargetGroupNotFound => return Err(not_found()),
            Err(error) => return Err(error),
        }
    }
    for name in names {
        let (name, _) = state.target_groups.get_key_value(&**name).ok_or_else(not_found)?;
        found.push(name.clone());
    }
    found.sort();
    found.dedup();
    Ok(Some(found))
}

pub(super) fn modify(
    state: &mut Transaction,
    input: &ModifyTargetGroupInput,
    context: &Context,
) -> Result<ModifyTargetGroupOutput, ApiError> {
    let (name, record) = state.target_group(context.identity, &input.target_group_arn)?;
    let (name, check) = (name.to_owned(), record.health_check.with(&Settings::from(input), record.protocol)?);
    if let Some(record) = state.target_group_mut(&name) {
        record.health_check = check;
    }
    let (_, record) = state.target_group(context.identity, &input.target_group_arn)?;
    let shape = shape(&name, record, &users(state, context), context);
    Ok(ModifyTargetGroupOutput { target_groups: Some([shape].into_iter().collect()) })
}

pub(super) fn delete(
    state: &mut Transaction,
    input: &DeleteTargetGroupInput,
    context: &Context,
) -> Result<DeleteTargetGroupOutput, ApiError> {
    let arn = &*input.target_group_arn;
    let name = match state.target_group(context.identity, arn) {
        Ok((name, _)) => name.to_owned(),
        // What is not there need not be deleted.
        Err(error) if error.code == Code::TargetGroupNotFound => return Ok(DeleteTargetGroupOutput {}),
        Err(error) => return Err(error),
    };
    if state.user_of(&name).is_some() {
        return Err(Code::ResourceInUse
            .because(format!("The target group '{arn}' is currently in use by a listener or a rule")));
    }
    state.remove_target_group(&name);
    Ok(DeleteTargetGroupOutput {})
}
