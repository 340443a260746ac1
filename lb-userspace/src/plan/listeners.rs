//! What differs in listeners. One is known by its load balancer, protocol and port.

use std::collections::{BTreeMap, BTreeSet};

use super::difference::{Findings, Sides, Unnamed, change_tags, changed_pairs};
use super::document::Listener;
use super::making;
use super::order::Phase;
use super::report::{Action, Resource};
use super::step::{ListenerName, Step};
use crate::api::domain::records;

/// A listener of both sides whose forward action differs.
struct Move<'a> {
    name: ListenerName,
    wanted: &'a Listener,
    details: Vec<String>,
    /// What else of it is to be changed.
    steps: Vec<Step>,
}

/// Finds it.
pub(super) fn find(sides: &Sides, findings: &mut Findings) {
    let mut uses = Uses::of(sides, findings);
    let mut moves = Vec::new();
    for load_balancer in &sides.document.load_balancers {
        for wanted in &load_balancer.listeners {
            let name = making::listener_name(&load_balancer.name, wanted);
            match present(sides, &name).filter(|_| !findings.ended.contains(&name.load_balancer)) {
                None => {
                    findings.add(Phase::MakeListeners, making::listener(&name.load_balancer, wanted));
                    findings.tell(
                        Action::Create,
                        Resource::Listener,
                        &shown(&name),
                        vec![forwards(
                            wanted.forward.iter().map(|part| (part.target_group.as_str(), part.weight)),
                        )],
                    );
                }
                Some(before) => moves.extend(change(sides, before, name, wanted, findings)),
            }
        }
        unnamed(sides, &load_balancer.name, &mut uses, findings);
    }
    make_moves(moves, &mut uses, findings);
}

fn present<'a>(sides: &Sides<'a>, name: &ListenerName) -> Option<&'a records::Listener> {
    let record = sides.present.load_balancers.get(&name.load_balancer)?;
    record.listeners.get(&name.find(sides.present)?)
}

fn shown(name: &ListenerName) -> String {
    format!("{} {} {}", name.load_balancer, name.protocol.shape(), name.port)
}

fn forwards<'a>(parts: impl Iterator<Item = (&'a str, u16)>) -> String {
    format!("forwards to {}", groups(parts))
}

/// Target groups with their weights, where there are several.
fn groups<'a>(parts: impl Iterator<Item = (&'a str, u16)>) -> String {
    let parts: Vec<(&str, u16)> = parts.collect();
    match parts[..] {
        [(only, 1)] => only.to_owned(),
        _ => {
            let words: Vec<String> =
                parts.iter().map(|(group, weight)| format!("{group} (weight {weight})")).collect();
            words.join(", ")
        }
    }
}

/// Listeners of a named load balancer that the document does not name.
fn unnamed(sides: &Sides, load_balancer: &str, uses: &mut Uses, findings: &mut Findings) {
    let Some(record) = sides.present.load_balancers.get(load_balancer) else { return };
    let Some(normal) = sides.normal.load_balancers.get(load_balancer) else { return };
    if findings.ended.contains(load_balancer) {
        return;
    }
    for listener in record.listeners.values() {
        let key = (listener.protocol, listener.port);
        if normal.listeners.values().any(|other| (other.protocol, other.port) == key) {
            continue;
        }
        let name = ListenerName {
            load_balancer: load_balancer.to_owned(),
            protocol: listener.protocol,
            port: listener.port,
        };
        let details = vec![forwards(parts(listener))];
        if sides.unnamed == Unnamed::Goes {
            uses.forget(&name);
            findings.add(Phase::DeleteListeners, [delete(&name)]);
            findings.tell(Action::Delete, Resource::Listener, &shown(&name), details);
        } else {
            findings.tell(Action::Leave, Resource::Listener, &shown(&name), details);
        }
    }
}

fn parts(record: &records::Listener) -> impl Iterator<Item = (&str, u16)> {
    record.forward.iter().map(|part| (part.target_group.as_str(), part.weight))
}

fn delete(name: &ListenerName) -> Step {
    Step::new("DeleteListener", "").with_listener("ListenerArn", name)
}

/// Changes all but the forward action; if that differs, it is returned.
fn change<'a>(
    sides: &Sides,
    before: &records::Listener,
    name: ListenerName,
    wanted: &'a Listener,
    findings: &mut Findings,
) -> Option<Move<'a>> {
    let normal = sides.normal.load_balancers.get(&name.load_balancer)?;
    let normal = normal.listeners.get(&name.find(sides.normal)?)?;
    let mut details = Vec::new();
    let is_moved = before.forward != normal.forward || before.order != normal.order;
    if before.forward != normal.forward {
        details.push(format!("forward: {} → {}", groups(parts(before)), groups(parts(normal))));
    } else if is_moved {
        details.push("order: another number of its action".to_owned());
    }
    let (attributes, words) = changed_pairs(before.pairs(), normal.pairs());
    details.extend(words);
    let (mut steps, words) = change_tags(&before.tags, &normal.tags, &wanted.place, |step, parameter| {
        step.with_listener(parameter, &name)
    });
    details.extend(words);
    if !attributes.is_empty() {
        steps.push(making::listener_attributes(&name.load_balancer, wanted, &attributes));
    }
    let is_remade = wanted.forward.iter().any(|part| findings.remade_groups.contains(&part.target_group));
    if is_moved || is_remade {
        return Some(Move { name, wanted, details, steps });
    }
    findings.add(Phase::ChangeListeners, steps);
    findings.tell(Action::Change, Resource::Listener, &shown(&name), details);
    None
}

/// Which listeners forward to which target groups, while the steps are carried out.
struct Uses(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Uses {
    /// As it is after the load balancers have gone that go.
    fn of(sides: &Sides, findings: &Findings) -> Uses {
        let mut uses = Uses(BTreeMap::new());
        let staying = sides.present.load_balancers.iter().filter(|(name, _)| !findings.ended.contains(*name));
        for (load_balancer, record) in staying {
            for listener in record.listeners.values() {
                let name = ListenerName {
                    load_balancer: load_balancer.clone(),
                    protocol: listener.protocol,
                    port: listener.port,
                };
                uses.set(&name, parts(listener).map(|(group, _)| group.to_owned()).collect());
            }
        }
        uses
    }

    fn set(&mut self, name: &ListenerName, groups: BTreeSet<String>) {
        self.0.entry(name.load_balancer.clone()).or_default().insert(shown(name), groups);
    }

    fn forget(&mut self, name: &ListenerName) {
        if let Some(listeners) = self.0.get_mut(&name.load_balancer) {
            listeners.remove(&shown(name));
        }
    }

    /// Whether another load balancer forwards to one of these groups: a group has one at most.
    fn are_others(&self, load_balancer: &str, groups: &BTreeSet<String>) -> bool {
        let others = self.0.iter().filter(|(name, _)| *name != load_balancer);
        let mut used = others.flat_map(|(_, listeners)| listeners.values());
        used.any(|used| !used.is_disjoint(groups))
    }
}

/// Changes forward actions in an order in which no group ever has two load balancers. Where groups change places there
/// is none: then a listener is made anew. So is one that goes on with a group that is made anew.
fn make_moves(mut moves: Vec<Move>, uses: &mut Uses, findings: &mut Findings) {
    let wanted = |one: &Move| -> BTreeSet<String> {
        one.wanted.forward.iter().map(|part| part.target_group.clone()).collect()
    };
    for one in
        moves.extract_if(.., |one| !wanted(one).is_disjoint(&findings.remade_groups)).collect::<Vec<_>>()
    {
        uses.forget(&one.name);
        remake(one, findings);
    }
    while !moves.is_empty() {
        let free = moves.iter().position(|one| !uses.are_others(&one.name.load_balancer, &wanted(one)));
        let one = moves.remove(free.unwrap_or(0));
        if free.is_none() {
            uses.forget(&one.name);
            remake(one, findings);
            continue;
        }
        uses.set(&one.name, wanted(&one));
        let step = Step::new("ModifyListener", &one.wanted.place).with_listener("ListenerArn", &one.name);
        findings.add(Phase::ChangeListeners, [making::with_action(step, one.wanted)]);
        findings.add(Phase::ChangeListeners, one.steps);
        findings.tell(Action::Change, Resource::Listener, &shown(&one.name), one.details);
    }
}

fn remake(one: Move, findings: &mut Findings) {
    findings.add(Phase::DeleteListeners, [delete(&one.name)]);
    findings.add(Phase::MakeListeners, making::listener(&one.name.load_balancer, one.wanted));
    let mut details = one.details;
    details.push("made anew (with another ARN): its target groups change places or are made anew".to_owned());
    findings.tell(Action::Remake, Resource::Listener, &shown(&one.name), details);
}
