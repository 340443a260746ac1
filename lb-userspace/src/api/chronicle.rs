//! What calls changed, as events: pure, from the records before and after to words.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::domain::records::{Target, TargetGroup};
use super::domain::{Changes, State};
use crate::events::{Kind, Note, Object};
use crate::model::TargetKey;

/// More targets of a group than that are told by their number.
const TOLD: usize = 32;

/// Who changed something, and by what.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    /// Whether a client of the API did, or an operator on the node.
    pub(super) kind: Kind,
    /// Who.
    pub(super) who: String,
    /// The call, or the command.
    pub(super) why: String,
}

/// The events of `changes`, which led to `state`.
pub(super) fn notes(cause: &Cause, changes: &Changes, state: &State) -> Vec<Note> {
    let note = |(object, what)| Note {
        kind: cause.kind,
        who: cause.who.clone(),
        object,
        what,
        why: Some(cause.why.clone()),
    };
    let mut told = Vec::new();
    for (name, before) in &changes.load_balancers {
        let words = record_words(before.as_deref(), state.load_balancers.get(name).map(|now| &**now));
        told.extend(words.map(|words| (Object::load_balancer(name), words)));
    }
    for (name, before) in &changes.target_groups {
        target_group(name, before.as_deref(), state.target_groups.get(name).map(|now| &**now), &mut told);
    }
    told.into_iter().map(note).collect()
}

/// The events of another node's changes, from one state to a newer one.
pub(super) fn notes_of_others(before: &State, now: &State) -> Vec<Note> {
    let cause = Cause {
        kind: Kind::Api,
        who: "another node".to_owned(),
        why: "the state that nodes share has changed".to_owned(),
    };
    let changes = Changes {
        load_balancers: differing(&before.load_balancers, &now.load_balancers),
        target_groups: differing(&before.target_groups, &now.target_groups),
        last_vips: BTreeMap::new(),
    };
    notes(&cause, &changes, now)
}

/// What is not the same on both sides, as it was before.
fn differing<T: PartialEq>(
    before: &BTreeMap<String, Arc<T>>,
    now: &BTreeMap<String, Arc<T>>,
) -> BTreeMap<String, Option<Arc<T>>> {
    let gone = before.iter().filter(|(name, _)| !now.contains_key(*name));
    let gone = gone.map(|(name, before)| (name.clone(), Some(Arc::clone(before))));
    let other = now.iter().filter(|(name, now)| before.get(*name) != Some(*now));
    gone.chain(other.map(|(name, _)| (name.clone(), before.get(name).cloned()))).collect()
}

fn target_group(
    name: &str,
    before: Option<&TargetGroup>,
    now: Option<&TargetGroup>,
    told: &mut Vec<(Object, String)>,
) {
    if let (Some(before), Some(now)) = (before, now) {
        let targets = targets(before, now);
        if targets.len() > TOLD {
            told.push((Object::target_group(name), format!("{} targets changed", targets.len())));
        } else {
            told.extend(targets.into_iter().map(|(target, words)| target_words(name, target, words)));
        }
    }
    let words = record_words(before, now);
    told.extend(words.map(|words| (Object::target_group(name), words)));
}

/// An instance has no address here: it is told by its id.
fn target_words(group: &str, target: &Target, words: String) -> (Object, String) {
    match target.id.parse() {
        Ok(address) => (Object::target(&TargetKey { target_group: group.to_owned(), address }), words),
        Err(_) => (Object::target_group(group), format!("target {}: {words}", target.id)),
    }
}

fn targets<'r>(before: &'r TargetGroup, now: &'r TargetGroup) -> Vec<(&'r Target, String)> {
    let there = now
        .targets
        .iter()
        .filter_map(|target| Some((target, target_changed(before.target(&target.id, target.port), target)?)));
    let is_gone = |target: &&Target| now.target(&target.id, target.port).is_none();
    let gone = before.targets.iter().filter(is_gone).map(|target| {
        let words = if target.drains_until.is_some() { "forgotten, it has drained" } else { "deregistered" };
        (target, words.to_owned())
    });
    there.chain(gone).collect()
}

fn target_changed(before: Option<&Target>, now: &Target) -> Option<String> {
    let is_registered = |target: &Target| target.drains_until.is_none();
    match before {
        None => Some(format!("registered on port {}", now.port)),
        Some(before) if before == now => None,
        Some(before) if is_registered(before) && !is_registered(now) => {
            let until = now.drains_until.map_or(String::new(), |end| format!(", drains until {end}"));
            Some(format!("deregistered{until}"))
        }
        Some(before) if !is_registered(before) && is_registered(now) => Some("registered again".to_owned()),
        Some(before) if before.operator != now.operator => Some(ordered(before, now)),
        Some(_) => Some("changed".to_owned()),
    }
}

fn ordered(before: &Target, now: &Target) -> String {
    let (before, now) = (before.operator, now.operator);
    let mut words = Vec::new();
    match (before.is_drained, now.is_drained) {
        (false, true) => words.push("drained: it gets no new flows".to_owned()),
        (true, false) => words.push("enabled: it gets new flows again".to_owned()),
        _ => {}
    }
    if before.weight != now.weight {
        words.push(match now.weight {
            Some(weight) => format!("weight {weight}"),
            None => "weight as registered".to_owned(),
        });
    }
    words.join(", ")
}

/// That a record came or went, or which of its fields changed; a group's targets are told apart.
fn record_words<T: Serialize>(before: Option<&T>, now: Option<&T>) -> Option<String> {
    let (before, now) = match (before, now) {
        (None, None) => return None,
        (None, Some(_)) => return Some("created".to_owned()),
        (Some(_), None) => return Some("deleted".to_owned()),
        (Some(before), Some(now)) => (fields(before), fields(now)),
    };
    let is_other =
        |(name, value): &(&String, &Value)| *name != "targets" && before.get(*name) != Some(*value);
    let names: Vec<String> = now.iter().filter(is_other).map(|(name, _)| name.replace('_', " ")).collect();
    (!names.is_empty()).then(|| format!("{} changed", names.join(", ")))
}

fn fields<T: Serialize>(record: &T) -> Map<String, Value> {
    match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests;
