//! What differs between the present state and a document, in words, and the steps from one to the other.
//!
//! The document is known twice: as it is written, and as the state that it would make out of nothing (`normal`), in
//! which the API has put its defaults. States are compared; words and steps are made of what differs.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Document, Texts};
use super::making::KEY_AND_VALUE;
use super::order::{Phase, Schedule};
use super::step::Step;
use super::{listeners, load_balancers, target_groups};
use crate::api::domain::State;
use crate::api::inventory::Inventory;
use crate::config::Problem;
use crate::plan::report::{Action, Difference, Resource};

/// What becomes of what the document does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unnamed {
    /// It stays, and so does what can't be changed without being made anew.
    Stays,
    /// It is deleted.
    Goes,
}

/// What is compared.
pub(super) struct Sides<'a> {
    /// The state as it is.
    pub(super) present: &'a State,
    /// What is wanted, as it is written.
    pub(super) document: &'a Document,
    /// What is wanted, with the defaults.
    pub(super) normal: &'a State,
    /// The network.
    pub(super) inventory: &'a Inventory,
    /// What becomes of the rest.
    pub(super) unnamed: Unnamed,
}

/// The differences, and how to get rid of them.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// In the order of load balancers, their listeners, target groups.
    pub(super) differences: Vec<Difference>,
    /// The steps.
    pub(super) schedule: Schedule,
    /// What can't be done as it is asked for.
    pub(super) problems: Vec<Problem>,
    /// The target groups that are made anew.
    pub(super) remade_groups: BTreeSet<String>,
    /// The load balancers that go, or are made anew.
    pub(super) ended: BTreeSet<String>,
}

/// Compares both sides.
pub(super) fn find(sides: &Sides) -> Findings {
    let mut findings = Findings::default();
    // Which groups are made anew says which listeners must be.
    let mut groups = Findings::default();
    target_groups::find(sides, &mut groups);
    findings.remade_groups.clone_from(&groups.remade_groups);
    load_balancers::find(sides, &mut findings);
    listeners::find(sides, &mut findings);
    findings.differences.append(&mut groups.differences);
    findings.schedule.append(groups.schedule);
    findings.problems.append(&mut groups.problems);
    findings
}

impl Findings {
    /// Notes a difference; one of nothing is none.
    pub(super) fn tell(&mut self, action: Action, resource: Resource, name: &str, details: Vec<String>) {
        if action != Action::Change || !details.is_empty() {
            self.differences.push(Difference { action, resource, name: name.to_owned(), details });
        }
    }

    /// Schedules steps.
    pub(super) fn add(&mut self, phase: Phase, steps: impl IntoIterator<Item = Step>) {
        for step in steps {
            self.schedule.add(phase, step);
        }
    }

    /// Notes that something would have to be deleted and made anew, which was not asked for.
    pub(super) fn refuse_remaking(&mut self, place: &str, name: &str, why: &str) {
        let message = format!(
            "{name} would have to be deleted and made anew: {why}; leave that as it is, or say --delete"
        );
        self.problems.push(Problem { path: place.to_owned(), message });
    }
}

/// The values of `wanted` that are others in `present`, with their words.
pub(super) fn changed_pairs<P>(present: P, wanted: P) -> (Texts, Vec<String>)
where
    P: IntoIterator<Item = (&'static str, String)>,
{
    let present: BTreeMap<&str, String> = present.into_iter().collect();
    let mut texts = Texts::new();
    let mut words = Vec::new();
    for (key, value) in wanted {
        let before = present.get(key);
        if before != Some(&value) {
            words.push(format!("{key}: {} → {}", before.map_or("", |before| shown(before)), shown(&value)));
            texts.insert(key.to_owned(), value);
        }
    }
    (texts, words)
}

/// A value in words, where an empty one would not be seen.
pub(super) fn shown(value: &str) -> &str {
    if value.is_empty() { "(empty)" } else { value }
}

/// The steps that make the tags of something others, with their words; `name` puts its ARN into a step.
pub(super) fn change_tags(
    present: &Texts,
    wanted: &Texts,
    place: &str,
    name: impl Fn(Step, &str) -> Step,
) -> (Vec<Step>, Vec<String>) {
    let gone: Vec<&String> = present.keys().filter(|key| !wanted.contains_key(*key)).collect();
    let set: Texts = wanted
        .iter()
        .filter(|(key, value)| present.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut words: Vec<String> = gone.iter().map(|key| format!("tag {key}: goes")).collect();
    words.extend(set.iter().map(|(key, value)| match present.get(key) {
        Some(before) => format!("tag {key}: {} → {}", shown(before), shown(value)),
        None => format!("tag {key}: {} is new", shown(value)),
    }));
    let mut steps = Vec::new();
    if !gone.is_empty() {
        let step = name(Step::new("RemoveTags", place), "ResourceArns.member.1");
        steps.push(step.with_list("TagKeys", gone));
    }
    if !set.is_empty() {
        let step = name(Step::new("AddTags", place), "ResourceArns.member.1");
        steps.push(step.with_pairs("Tags", KEY_AND_VALUE, &set));
    }
    (steps, words)
}

/// Names in words.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
