//! Listener rules: every listener has its default rule; others are not supported yet.

use super::actions;
use super::arn::{Resource, default_rule};
use super::context::Context;
use super::pages::page;
use super::records::{Listener, LoadBalancer};
use super::transaction::{State, Transaction};
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    CreateRuleInput, CreateRuleOutput, DeleteRuleInput, DeleteRuleOutput, DescribeRulesInput,
    DescribeRulesOutput, IsDefault, ModifyRuleInput, ModifyRuleOutput, Rule, RuleArn, SetRulePrioritiesInput,
    SetRulePrioritiesOutput,
};

pub(super) fn create(
    state: &mut Transaction,
    input: &CreateRuleInput,
    context: &Context,
) -> Result<CreateRuleOutput, ApiError> {
    state.listener(context.identity, &input.listener_arn)?;
    actions::read(&input.actions, state, context)?;
    Err(Code::InvalidConfigurationRequest
        .because("Rules are not supported yet: a listener has its default action alone"))
}

pub(super) fn delete(
    state: &mut Transaction,
    input: &DeleteRuleInput,
    context: &Context,
) -> Result<DeleteRuleOutput, ApiError> {
    default_of(&input.rule_arn, state, context)?;
    let arn = &*input.rule_arn;
    Err(Code::OperationNotPermitted.because(format!("Default rule '{arn}' cannot be deleted")))
}

pub(super) fn modify(
    state: &mut Transaction,
    input: &ModifyRuleInput,
    context: &Context,
) -> Result<ModifyRuleOutput, ApiError> {
    default_of(&input.rule_arn, state, context)?;
    let arn = &*input.rule_arn;
    Err(Code::OperationNotPermitted.because(format!(
        "Default rule '{arn}' cannot be modified; modify the default action of its listener"
    )))
}

pub(super) fn set_priorities(
    state: &mut Transaction,
    input: &SetRulePrioritiesInput,
    context: &Context,
) -> Result<SetRulePrioritiesOutput, ApiError> {
    for pair in input.rule_priorities.iter() {
        let Some(arn) = &pair.rule_arn else {
            return Err(Code::ValidationError.because("A rule ARN must be specified"));
        };
        default_of(arn, state, context)?;
    }
    if input.rule_priorities.is_empty() {
        return Err(Code::ValidationError.because("At least one rule priority must be specified"));
    }
    Err(Code::OperationNotPermitted.because("The priority of a default rule cannot be changed"))
}

/// What a default rule is part of: load balancer, record, listener.
type Place<'a> = (&'a str, &'a LoadBalancer, crate::api::domain::arn::ResourceId, &'a Listener);

fn default_of<'a>(arn: &RuleArn, state: &'a State, context: &Context) -> Result<Place<'a>, ApiError> {
    let Some(Resource::Rule(load, listener, rule)) = context.identity.parse(arn) else {
        return Err(Code::ValidationError.because(format!("'{}' is not a valid listener rule ARN", &**arn)));
    };
    let place = state.listened(&load, listener).filter(|_| rule == default_rule(listener));
    place.ok_or_else(|| Code::RuleNotFound.because("One or more rules not found"))
}

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeRulesInput,
    context: &Context,
) -> Result<DescribeRulesOutput, ApiError> {
    let arns = input.rule_arns.as_deref().unwrap_or_default();
    let places = match (&input.listener_arn, arns) {
        (Some(arn), []) => vec![state.listener(context.identity, arn)?],
        (None, [_, ..]) => {
            arns.iter().map(|arn| default_of(arn, state, context)).collect::<Result<_, _>>()?
        }
        (None, []) => {
            return Err(
                Code::ValidationError.because("You must specify either listener rule ARNs or a listener ARN")
            );
        }
        (Some(_), [_, ..]) => {
            return Err(Code::ValidationError
                .because("Listener rule ARNs and a listener ARN cannot be specified at the same time"));
        }
    };
    let keyed = places.into_iter().map(|place| (place.2.to_string(), place));
    let (page, next_marker) = page(keyed, input.marker.as_ref(), input.page_size.as_ref());
    let rules = page.into_iter().map(|(name, record, id, listener)| Rule {
        rule_arn: Some(context.identity.default_rule(name, record.id, id).into()),
        priority: Some("default".into()),
        conditions: Some([].into_iter().collect()),
        actions: Some(actions::shape(listener, state, context)),
        is_default: Some(IsDefault(true)),
        transforms: None,
    });
    Ok(DescribeRulesOutput { rules: Some(rules.collect()), next_marker })
}
