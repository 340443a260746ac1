//! Tags of load balancers, target groups and listeners.

use std::collections::BTreeSet;

use super::arn::{Resource, ResourceId, default_rule};
use super::context::Context;
use super::records::Tags;
use super::transaction::{State, Transaction};
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    AddTagsInput, AddTagsOutput, DescribeTagsInput, DescribeTagsOutput, RemoveTagsInput, RemoveTagsOutput,
    ResourceArn, Tag, TagDescription, TagList,
};

/// How many resources one request may name.
const MAX_NAMED: usize = 20;

/// The tags of a request, checked.
pub(super) fn from_list(list: Option<&TagList>, context: &Context) -> Result<Tags, ApiError> {
    let tags = plain(list);
    if tags.len() != list.map_or(0, |list| list.len()) {
        return Err(Code::DuplicateTagKeys.because("A tag key was specified more than once"));
    }
    if let Some(key) = tags.keys().find(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(
            Code::ValidationError.because(format!("The tag key '{key}' is reserved: it begins with 'aws:'"))
        );
    }
    check_number(&tags, context)?;
    Ok(tags)
}

/// The tags of a request as they are.
pub(super) fn plain(list: Option<&TagList>) -> Tags {
    let tags = list.into_iter().flat_map(|list| list.iter());
    tags.map(|tag| (tag.key.0.clone(), tag.value.as_deref().unwrap_or("").to_owned())).collect()
}

fn check_number(tags: &Tags, context: &Context) -> Result<(), ApiError> {
    let max = context.quotas.tags;
    if tags.len() <= max {
        return Ok(());
    }
    Err(Code::TooManyTags.because(format!("A resource can have at most {max} tags")))
}

/// What has tags.
enum Tagged {
    LoadBalancer(String),
    Listener(String, ResourceId),
    TargetGroup(String),
    /// A listener's default rule, which has none.
    DefaultRule,
}

fn find(state: &State, arn: &ResourceArn, context: &Context) -> Result<Tagged, ApiError> {
    let resource = context
        .identity
        .parse(arn)
        .ok_or_else(|| Code::ValidationError.because(format!("'{}' is not a valid resource ARN", &**arn)))?;
    let found = match &resource {
        Resource::LoadBalancer(load) => state
            .loaded(load)
            .map(|(name, _)| Tagged::LoadBalancer(name.to_owned()))
            .ok_or(Code::LoadBalancerNotFound),
        Resource::Listener(load, id) => state
            .listened(load, *id)
            .map(|(name, ..)| Tagged::Listener(name.to_owned(), *id))
            .ok_or(Code::ListenerNotFound),
        Resource::Rule(load, listener, rule) => state
            .listened(load, *listener)
            .filter(|_| *rule == default_rule(*listener))
            .map(|_| Tagged::DefaultRule)
            .ok_or(Code::RuleNotFound),
        Resource::TargetGroup(name, id) => {
            let group = state.target_groups.get(name).filter(|group| group.id == *id);
            group.map(|_| Tagged::TargetGroup(name.clone())).ok_or(Code::TargetGroupNotFound)
        }
        Resource::TrustStore => Err(Code::TrustStoreNotFound),
    };
    found.map_err(|code| {
        code.because(match code {
            Code::LoadBalancerNotFound => "One or more load balancers not found",
            Code::ListenerNotFound => "One or more listeners not found",
            Code::RuleNotFound => "One or more rules not found",
            Code::TargetGroupNotFound => "One or more target groups not found",
            _ => "One or more trust stores not found",
        })
    })
}

fn find_all(state: &State, arns: &[ResourceArn], context: &Context) -> Result<Vec<Tagged>, ApiError> {
    if arns.is_empty() {
        return Err(Code::ValidationError.because("At least one resource ARN must be specified"));
    }
    if arns.len() > MAX_NAMED {
        return Err(Code::ValidationError.because(format!("At most {MAX_NAMED} resources can be specified")));
    }
    arns.iter().map(|arn| find(state, arn, context)).collect()
}

fn tags_of<'a>(state: &'a State, tagged: &Tagged) -> Option<&'a Tags> {
    match tagged {
        Tagged::LoadBalancer(name) => state.load_balancers.get(name).map(|record| &record.tags),
        Tagged::Listener(name, id) => state
            .load_balancers
            .get(name)
            .and_then(|record| record.listeners.get(id))
            .map(|listener| &listener.tags),
        Tagged::TargetGroup(name) => state.target_groups.get(name).map(|record| &record.tags),
        Tagged::DefaultRule => None,
    }
}

fn set_tags(state: &mut Transaction, tagged: &Tagged, tags: Tags) -> Result<(), ApiError> {
    let place = match tagged {
        Tagged::LoadBalancer(name) => state.load_balancer_mut(name).map(|record| &mut record.tags),
        Tagged::Listener(name, id) => state
            .load_balancer_mut(name)
            .and_then(|record| record.listeners.get_mut(id))
            .map(|listener| &mut listener.tags),
        Tagged::TargetGroup(name) => state.target_group_mut(name).map(|record| &mut record.tags),
        Tagged::DefaultRule => None,
    };
    let no_place =
        || Code::ValidationError.because("The default rule of a listener cannot have tags; its listener can");
    *place.ok_or_else(no_place)? = tags;
    Ok(())
}

pub(super) fn add(
    state: &mut Transaction,
    input: &AddTagsInput,
    context: &Context,
) -> Result<AddTagsOutput, ApiError> {
    let added = from_list(Some(&input.tags), context)?;
    for tagged in find_all(state, &input.resource_arns, context)? {
        let mut tags = tags_of(state, &tagged).cloned().unwrap_or_default();
        tags.extend(added.clone());
        check_number(&tags, context)?;
        set_tags(state, &tagged, tags)?;
    }
    Ok(AddTagsOutput {})
}

pub(super) fn remove(
    state: &mut Transaction,
    input: &RemoveTagsInput,
    context: &Context,
) -> Result<RemoveTagsOutput, ApiError> {
    let keys: BTreeSet<&str> = input.tag_keys.iter().map(|key| &**key).collect();
    for tagged in find_all(state, &input.resource_arns, context)? {
        let mut tags = tags_of(state, &tagged).cloned().unwrap_or_default();
        tags.retain(|key, _| !keys.contains(key.as_str()));
        set_tags(state, &tagged, tags)?;
    }
    Ok(RemoveTagsOutput {})
}

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeTagsInput,
    context: &Context,
) -> Result<DescribeTagsOutput, ApiError> {
    let found = find_all(state, &input.resource_arns, context)?;
    let described = input.resource_arns.iter().zip(&found).map(|(arn, tagged)| TagDescription {
        resource_arn: Some(arn.clone()),
        tags: Some(shapes(tags_of(state, tagged))),
    });
    Ok(DescribeTagsOutput { tag_descriptions: Some(described.collect()) })
}

fn shapes(tags: Option<&Tags>) -> TagList {
    let tag = |(key, value): (&String, &String)| Tag { key: key.into(), value: Some(value.into()) };
    tags.into_iter().flatten().map(tag).collect()
}
