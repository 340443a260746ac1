//! What of a node's life is an event: noted where it becomes known, with what was before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::node::Node;
use crate::announce::fitness::{Fitness, State};
use crate::config;
use crate::events::{Journal, Kind, Note, Object};
use crate::health::{HealthState, HealthStatus};
use crate::model::{Desired, TargetKey};
use crate::next_hop::{self, Resolution, Resolutions, Unresolved};
use crate::presence::{AgentEvent, AgentState};

mod differences;

/// What the journal was told of things that last.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    /// The groups that use all targets because too few are healthy.
    open: BTreeSet<String>,
    /// The groups in which something changed since they were looked at.
    touched: BTreeSet<String>,
    /// The targets that drain, and whether their time is over.
    leaving: BTreeMap<TargetKey, bool>,
}

impl Node {
    /// The controller is ready.
    pub(super) fn note_start(&self) {
        let words = format!("started: {}", config::summary(self.desired()));
        self.note(Kind::Controller, "sluice", Object::node(), words, None);
    }

    /// Another desired state is in force, in which these target groups changed or are missing; who ordered it is told by
    /// whoever took it over.
    pub(super) fn note_desired(&mut self, changed: Vec<String>) {
        for name in &changed {
            let records = self.reconciler.registry().group(name);
            for (address, _) in records.filter(|(_, record)| record.is_draining()) {
                let key = TargetKey { target_group: name.clone(), address };
                self.chronicle.leaving.entry(key).or_insert(false);
            }
        }
        self.chronicle.touched.extend(changed);
    }

    /// The file was taken over, in place of what was wanted before.
    pub(super) fn note_applied(&self, before: &Desired) {
        let file = &self.configuration.file;
        let words = format!("configuration applied, generation {}", self.configuration.generation);
        self.note(Kind::Configuration, file, Object::node(), words, None);
        for (object, words) in differences::between(before, self.desired()) {
            self.note(Kind::Configuration, file, object, words, None);
        }
    }

    /// The file was refused.
    pub(super) fn note_refused(&self, why: &str) {
        let words = "configuration refused, the earlier one stays".to_owned();
        self.note(Kind::Configuration, &self.configuration.file, Object::node(), words, Some(why.to_owned()));
    }

    /// The API's state can't be taken over.
    pub(super) fn note_not_followed(&self, why: &str) {
        let words = "the API's state can't be taken over, the earlier one stays".to_owned();
        self.note(Kind::Api, "sluice", Object::node(), words, Some(why.to_owned()));
    }

    /// A check has decided: `before` is what its target was.
    pub(super) fn note_health(&mut self, target: &TargetKey, before: Option<HealthState>) {
        let Some(record) = self.reconciler.registry().record(target) else { return };
        let now = record.health.clone();
        if before != Some(now.state) {
            let before = before.map_or("unknown", HealthState::as_str);
            let words = format!("{before} → {}", now.state);
            self.note(Kind::Health, "health check", Object::target(target), words, reason(&now));
        }
        self.chronicle.touched.insert(target.target_group.clone());
    }

    /// What a target's health is in the registry's words.
    pub(super) fn health_state(&self, target: &TargetKey) -> Option<HealthState> {
        self.reconciler.registry().record(target).map(|record| record.health.state)
    }

    /// The ways to targets are about to be `now`.
    pub(super) fn note_next_hops(&self, now: &Resolutions) {
        let known = self.reconciler.next_hops();
        for address in next_hop::differences(known, now) {
            if let Some((words, why)) = way_changed(known.get(&address), now.get(&address)) {
                self.note(Kind::NextHop, "kernel's routes", Object::address(address), words, why);
            }
        }
    }

    /// What is known of a target's agent is about to be what `event` says.
    pub(super) fn note_agent(&self, event: &AgentEvent) {
        let before = self.reconciler.agent(event.address);
        if before == event.state {
            return;
        }
        let words = format!("agent {} → {}", agent_word(before), agent_word(event.state));
        self.note(Kind::Agent, "agent's answers", Object::address(event.address), words, None);
    }

    /// An operator's order of what routers are told was taken.
    pub(super) fn note_order(&self, done: &str) {
        self.note(Kind::Operator, "operator", Object::node(), done.to_owned(), None);
    }

    /// After the maps were made: what began or ended by that.
    pub(super) fn note_progress(&mut self) {
        self.note_fail_open();
        self.note_drained();
    }

    fn note_fail_open(&mut self) {
        for name in std::mem::take(&mut self.chronicle.touched) {
            let is_open = self.reconciler.is_in_use(&name) && self.reconciler.fails_open(&name);
            if is_open == self.chronicle.open.contains(&name) {
                continue;
            }
            let words = if is_open {
                self.chronicle.open.insert(name.clone());
                "fail open begins: too few targets are healthy, so all are used"
            } else {
                self.chronicle.open.remove(&name);
                "fail open ends"
            };
            self.note(Kind::FailOpen, "health checks", Object::target_group(&name), words.to_owned(), None);
        }
    }

    fn note_drained(&mut self) {
        let mut leaving = std::mem::take(&mut self.chronicle.leaving);
        leaving.retain(|key, is_over| {
            let record = self.reconciler.registry().record(key);
            let words = match record {
                None => "gone: none of its flows is left, or they were cut",
                Some(record) if record.is_lingering() && !*is_over => {
                    *is_over = true;
                    "draining time over: flows that it has left live on until they are idle"
                }
                Some(record) => return record.is_draining() || record.is_lingering(),
            };
            self.note(Kind::Draining, "draining time", Object::target(key), words.to_owned(), None);
            record.is_some()
        });
        self.chronicle.leaving = leaving;
    }

    fn note(&self, kind: Kind, who: &str, object: Object, what: String, why: Option<String>) {
        self.journal.note(Note { kind, who: who.to_owned(), object, what, why });
    }
}

/// Routers are told something else of VIPs than `before`.
pub(super) fn note_vips(journal: &Journal, before: &BTreeMap<IpAddr, State>, fitness: &Fitness) {
    for (vip, standing) in fitness.standings().filter(|(vip, now)| before.get(vip) != Some(&now.state)) {
        let was = before.get(&vip).map_or("unknown", |state| state.as_str());
        journal.note(Note {
            kind: Kind::Announcement,
            who: "sluice".to_owned(),
            object: Object::vip(vip),
            what: format!("{was} → {}", standing.state.as_str()),
            why: standing.why.clone(),
        });
    }
}

/// The target groups that are other ones now, or none any more.
pub(super) fn changed_groups(before: &Desired, now: &Desired) -> Vec<String> {
    let (before, now) = (&before.target_groups, &now.target_groups);
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    let other = now.iter().filter(|(name, group)| before.get(*name) != Some(*group));
    gone.chain(other.map(|(name, _)| name)).cloned().collect()
}

/// Why a target is not healthy, as exactly as it is known.
fn reason(status: &HealthStatus) -> Option<String> {
    let code = status.reason.map(|reason| reason.code().to_owned());
    match (code, &status.description) {
        (Some(code), Some(text)) => Some(format!("{code}: {text}")),
        (code, text) => code.or_else(|| text.clone()),
    }
}

/// How a way changed, and why. That a new target's way is found, or looked for, is no change.
fn way_changed(before: Option<&Resolution>, now: Option<&Resolution>) -> Option<(String, Option<String>)> {
    match (before, now) {
        (_, None)
        | (None, Some(Ok(_)))
        | (None | Some(Err(_)), Some(Err(Unresolved::NeighbourPending { .. }))) => None,
        (_, Some(Err(problem))) => {
            Some(("packets can't be sent to it".to_owned(), Some(problem.to_string())))
        }
        (Some(_), Some(Ok(way))) => {
            let mac = way.destination_mac.map(|byte| format!("{byte:02x}")).join(":");
            Some((format!("reached by {} {mac}, {} bytes fit", way.interface_name, way.mtu), None))
        }
    }
}

fn agent_word(state: AgentState) -> String {
    match state {
        AgentState::Present(agent) => {
            let hands_on = if agent.hands_on() { ", gives second chances" } else { "" };
            format!("present ({}{hands_on})", agent.version())
        }
        AgentState::Unknown | AgentState::Absent => state.as_str().to_owned(),
    }
}
