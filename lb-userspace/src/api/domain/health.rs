//! The health of targets as the API tells it.

use super::context::{Context, Health};
use super::records::{LoadBalancer, Override, Target, TargetGroup, TargetType};
use super::targets::{ALL_ZONES, address_of, meant, zone_of};
use super::transaction::Transaction;
use crate::api::protocol::ApiError;
use crate::api::shapes::{
    AdministrativeOverride, DescribeTargetHealthInput, DescribeTargetHealthOutput, Port,
    TargetAdministrativeOverrideReasonEnum, TargetAdministrativeOverrideStateEnum, TargetDescription,
    TargetHealth, TargetHealthDescription, TargetHealthReasonEnum as Reason, TargetHealthStateEnum as State,
};

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeTargetHealthInput,
    context: &Context,
) -> Result<DescribeTargetHealthOutput, ApiError> {
    let (name, group) = state.target_group(context.identity, &input.target_group_arn)?;
    let user = state.user_of(name).map(|(_, record)| &**record);
    let tell = |target: &Target| {
        shape(target_shape(target), group, health(name, target, group, user, context), context)
    };
    let targets = input.targets.as_deref().unwrap_or_default();
    let descriptions = if targets.is_empty() {
        group.targets.iter().filter(|target| target.is_there(context.now)).map(tell).collect()
    } else {
        let mut told = Vec::new();
        for description in targets {
            let (id, port) = meant(description, group)?;
            told.push(match group.target(&id, port).filter(|target| target.is_there(context.now)) {
                Some(target) => tell(target),
                None => {
                    let port = Some(Port(port.into()));
                    let target = TargetDescription {
                        id: id.into(),
                        port,
                        availability_zone: None,
                        quic_server_id: None,
                    };
                    shape(target, group, unregistered(), context)
                }
            });
        }
        told.into_iter().collect()
    };
    Ok(DescribeTargetHealthOutput { target_health_descriptions: Some(descriptions) })
}

/// What is known of a target. Only one that is registered, used and in an enabled zone is checked at all.
fn health(
    name: &str,
    target: &Target,
    group: &TargetGroup,
    user: Option<&LoadBalancer>,
    context: &Context,
) -> Health {
    if target.drains_until.is_some() {
        let reason = Reason::TargetDeregistrationInProgress;
        return because(State::Draining, reason, "Target deregistration is in progress");
    }
    let Some(user) = user else {
        let reason = Reason::TargetNotInUse;
        return because(
            State::Unused,
            reason,
            "Target group is not configured to receive traffic from the load balancer",
        );
    };
    let instance = context.inventory.instances.get(&target.id);
    if instance.is_some_and(|instance| !instance.is_running) {
        return because(State::Unused, Reason::TargetInvalidState, "Target is in the stopped state");
    }
    if zone_of(target, group, context.inventory)
        .is_some_and(|zone| zone != ALL_ZONES && !user.zones.contains_key(zone))
    {
        return because(
            State::Unused,
            Reason::TargetNotInUse,
            "Target is in an Availability Zone that is not enabled for the load balancer",
        );
    }
    let known =
        address_of(target, group, context.inventory).and_then(|address| context.health.health(name, address));
    let known = known.unwrap_or_else(|| {
        because(State::Initial, Reason::ElbRegistrationInProgress, "Target registration is in progress")
    });
    as_ordered(target, known)
}

/// A target that an operator has drained gets no new flows, however well it is; of one with another weight that is told.
fn as_ordered(target: &Target, known: Health) -> Health {
    match (known.state, target.operator) {
        (State::Healthy | State::Initial, Override { is_drained: true, .. }) => because(
            State::Draining,
            Reason::TargetDeregistrationInProgress,
            "An operator has drained the target: it keeps its flows and gets no new ones",
        ),
        (State::Healthy, Override { weight: Some(weight), .. }) => {
            let description = Some(format!("An operator has set the target's weight to {weight}"));
            Health { description, ..known }
        }
        _ => known,
    }
}

fn because(state: State, reason: Reason, description: &str) -> Health {
    Health { state, reason: Some(reason), description: Some(description.to_owned()) }
}

fn unregistered() -> Health {
    because(State::Unused, Reason::TargetNotRegistered, "Target is not registered to the target group")
}

fn target_shape(target: &Target) -> TargetDescription {
    TargetDescription {
        id: (&target.id).into(),
        port: Some(Port(target.port.into())),
        availability_zone: target.zone.as_ref().map(Into::into),
        quic_server_id: target.quic_server_id.map(|id| format!("0x{id:016x}").into()),
    }
}

fn shape(
    mut target: TargetDescription,
    group: &TargetGroup,
    health: Health,
    context: &Context,
) -> TargetHealthDescription {
    let port = group.health_check.port.map_or_else(|| target.port.map_or(0, |port| port.0), i32::from);
    if target.availability_zone.is_none() && group.target_type == TargetType::Ip {
        let zone = target.id.parse().ok().and_then(|address| context.inventory.zone_of(&group.vpc, address));
        target.availability_zone = zone.map(Into::into);
    }
    TargetHealthDescription {
        target: Some(target),
        health_check_port: Some(port.to_string().into()),
        target_health: Some(TargetHealth {
            state: Some(health.state),
            reason: health.reason,
            description: health.description.map(Into::into),
        }),
        anomaly_detection: None,
        administrative_override: Some(AdministrativeOverride {
            state: Some(TargetAdministrativeOverrideStateEnum::NoOverride),
            reason: Some(TargetAdministrativeOverrideReasonEnum::NoOverride),
            description: Some("No override is currently active on target".into()),
        }),
    }
}
