//! The forward action of a listener: read from a request, and told.

use std::collections::BTreeSet;

use super::context::Context;
use super::records::{Forward, Listener, LoadBalancer, Protocol, TargetGroup};
use super::targets::unique_server_ids;
use super::transaction::{State, Transaction};
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    Action, ActionOrder, ActionTypeEnum, Actions, ForwardActionConfig, TargetGroupList,
    TargetGroupStickinessConfig, TargetGroupStickinessEnabled, TargetGroupTuple, TargetGroupWeight,
};

/// What a request's actions come to: the target groups with their weights, and the action's number.
pub(super) struct Wanted {
    pub(super) forward: Vec<Forward>,
    pub(super) order: Option<i32>,
}

/// Reads the actions of a request.
pub(super) fn read(actions: &Actions, state: &State, context: &Context) -> Result<Wanted, ApiError> {
    let [action] = &**actions else {
        return Err(if actions.is_empty() {
            Code::ValidationError.because("At least one action must be specified")
        } else {
            Code::TooManyActions.because("A listener of a network load balancer has one action")
        });
    };
    if action.kind != ActionTypeEnum::Forward {
        let kind = action.kind;
        return Err(Code::InvalidLoadBalancerAction.because(format!(
            "Actions of the type '{kind}' are not supported for network load balancers; use 'forward'"
        )));
    }
    let mut forward: Vec<Forward> = Vec::new();
    for (arn, weight) in tuples(action)? {
        let target_group = match state.target_group(context.identity, &arn) {
            Ok((name, _)) => name.to_owned(),
            Err(error) if error.code == Code::TargetGroupNotFound => {
                return Err(Code::TargetGroupNotFound.because("One or more target groups not found"));
            }
            Err(error) => return Err(error),
        };
        if forward.iter().any(|other| other.target_group == target_group) {
            return Err(Code::InvalidLoadBalancerAction
                .because(format!("The target group '{arn}' is specified more than once in one action")));
        }
        forward.push(Forward { target_group, weight });
    }
    let max = context.quotas.groups_of_action;
    if forward.len() > max {
        return Err(Code::InvalidLoadBalancerAction
            .because(format!("A forward action can have at most {max} target groups")));
    }
    Ok(Wanted { forward, order: action.order.map(|order| order.0) })
}

/// The ARNs and weights of an action, which names a single target group in either of two ways.
fn tuples(action: &Action) -> Result<Vec<(String, u16)>, ApiError> {
    let refuse = |why: &str| Err(Code::InvalidLoadBalancerAction.because(why));
    let config = action.forward_config.as_ref();
    let is_sticky = config
        .and_then(|config| config.target_group_stickiness_config.as_ref()?.enabled)
        .is_some_and(|enabled| enabled.0);
    if is_sticky {
        return refuse("Target group stickiness is not supported for network load balancers");
    }
    let listed = config.and_then(|config| config.target_groups.as_deref()).unwrap_or_default();
    let listed = listed.iter().map(tuple).collect::<Result<Vec<_>, _>>()?;
    match (action.target_group_arn.as_deref(), listed.as_slice()) {
        (None, []) => Err(Code::ValidationError.because("A target group ARN must be specified")),
        (Some(arn), []) => Ok(vec![(arn.to_owned(), 1)]),
        (Some(arn), [(only, _)]) if arn == only => Ok(listed),
        (Some(_), _) => {
            refuse("A target group ARN and a forward configuration must name one and the same target group")
        }
        (None, _) => Ok(listed),
    }
}

fn tuple(tuple: &TargetGroupTuple) -> Result<(String, u16), ApiError> {
    let Some(arn) = tuple.target_group_arn.as_deref() else {
        return Err(Code::ValidationError.because("A target group ARN must be specified"));
    };
    let weight = tuple.weight.map_or(1, |weight| weight.0);
    match u16::try_from(weight).ok().filter(|weight| *weight <= 999) {
        Some(weight) => Ok((arn.to_owned(), weight)),
        None => Err(Code::ValidationError
            .because(format!("The weight '{weight}' of the target group '{arn}' must be from 0 to 999"))),
    }
}

/// Checks a listener, old or new, against its load balancer and target groups.
pub(super) fn check(
    load_balancer: &str,
    record: &LoadBalancer,
    listener: &Listener,
    state: &State,
    context: &Context,
) -> Result<(), ApiError> {
    for forward in &listener.forward {
        let Some(group) = state.target_groups.get(&forward.target_group) else { continue };
        let arn = context.identity.target_group(&forward.target_group, group.id);
        check_group(record, listener, group, &arn)?;
        if state.user_of(&forward.target_group).is_some_and(|(user, _)| user != load_balancer) {
            return Err(Code::TargetGroupAssociationLimit.because(format!(
                "The following target groups cannot be associated with more than one load balancer: {arn}"
            )));
        }
    }
    let groups = listener.forward.iter().filter_map(|forward| state.target_groups.get(&forward.target_group));
    unique_server_ids(groups.map(|group| &**group))
}

fn check_group(
    record: &LoadBalancer,
    listener: &Listener,
    group: &TargetGroup,
    arn: &str,
) -> Result<(), ApiError> {
    let invalid = |why: String| Err(Code::InvalidConfigurationRequest.because(why));
    let (listens, serves) = (listener.protocol, group.protocol);
    let fits =
        listens == serves || serves == Protocol::TcpUdp && matches!(listens, Protocol::Tcp | Protocol::Udp);
    if !fits {
        return Err(Code::IncompatibleProtocols.because(format!(
            "Listeners with the {} protocol cannot forward to target groups with the {} protocol: '{arn}'",
            listens.shape(),
            serves.shape()
        )));
    }
    if group.vpc != record.vpc {
        return invalid(format!(
            "The target group '{arn}' is in the VPC '{}', the load balancer in '{}'",
            group.vpc, record.vpc
        ));
    }
    if group.is_ipv6 && !record.is_dualstack {
        return invalid(format!(
            "The target group '{arn}' has IPv6 targets, which only dualstack load balancers have"
        ));
    }
    Ok(())
}

/// Checks the number of target groups and targets that all listeners of a load balancer have together.
pub(super) fn check_numbers(name: &str, state: &Transaction, context: &Context) -> Result<(), ApiError> {
    let Some(record) = state.load_balancers.get(name) else { return Ok(()) };
    let forwards = record.listeners.values().flat_map(|listener| &listener.forward);
    let names: BTreeSet<&str> = forwards.map(|forward| forward.target_group.as_str()).collect();
    let max = context.quotas.groups_of_load_balancer;
    if names.len() > max {
        return Err(Code::TooManyUniqueTargetGroupsPerLoadBalancer
            .because(format!("A load balancer can have at most {max} different target groups")));
    }
    let groups = names.into_iter().filter_map(|name| state.target_groups.get(name));
    let targets: usize = groups.map(|group| group.targets.len()).sum();
    let max = context.quotas.targets_of_load_balancer;
    if targets > max {
        return Err(Code::TooManyTargets.because(format!("A load balancer can have at most {max} targets")));
    }
    Ok(())
}

/// A listener's action as the API tells it.
pub(super) fn shape(listener: &Listener, state: &State, context: &Context) -> Actions {
    let arn = |forward: &Forward| {
        let id = state.target_groups.get(&forward.target_group).map(|group| group.id);
        id.map(|id| context.identity.target_group(&forward.target_group, id).into())
    };
    let tuple = |forward: &Forward| TargetGroupTuple {
        target_group_arn: arn(forward),
        weight: Some(TargetGroupWeight(forward.weight.into())),
    };
    let target_groups: TargetGroupList = listener.forward.iter().map(tuple).collect();
    let action = Action {
        kind: ActionTypeEnum::Forward,
        target_group_arn: match &*listener.forward {
            [only] => arn(only),
            _ => None,
        },
        authenticate_oidc_config: None,
        authenticate_cognito_config: None,
        order: listener.order.map(ActionOrder),
        redirect_config: None,
        fixed_response_config: None,
        forward_config: Some(ForwardActionConfig {
            target_groups: Some(target_groups),
            target_group_stickiness_config: Some(TargetGroupStickinessConfig {
                enabled: Some(TargetGroupStickinessEnabled(false)),
                duration_seconds: None,
            }),
        }),
        jwt_validation_config: None,
    };
    [action].into_iter().collect()
}
