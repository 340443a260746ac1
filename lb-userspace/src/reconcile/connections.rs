//! Which agents to ask for their connections, and what their answers say of slots.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use lb_common::TargetId;

use super::listeners::entries;
use super::reconciler::Reconciler;
use super::succession::Entry;
use super::{Action, second_chance};
use crate::model::{ListenerPort, Protocol, Stickiness};
use crate::presence::AgentState;
use crate::presence::asker::Tables;
use crate::presence::slots::{ActionListener, Affinity, UsedSlots};
use crate::table::Regime;

impl Reconciler {
    /// The addresses whose agents are to be known: the targets of groups that could leave flows to them.
    pub fn agent_addresses(&self) -> BTreeSet<IpAddr> {
        let groups = self.desired().target_groups.iter();
        groups
            .filter(|(name, group)| second_chance::may_have_chains(group) && self.may_have_flows(name))
            .flat_map(|(name, _)| self.registry().group(name))
            .map(|(address, _)| address)
            .collect()
    }

    /// Whether a slot has a chain or may get one by what is learnt, so that there may be something to ask.
    pub fn may_have_questions(&self) -> bool {
        let has_chains = |action: &Action| action.table().is_some_and(|table| !table.chains.is_empty());
        self.actions().iter().any(has_chains) || !self.untold.is_empty()
    }

    /// The targets of a group that were there at the start, and have not told their connections yet: until they have,
    /// packets of connections on former owners do not find them.
    pub fn untold(&self, target_group: &str) -> BTreeSet<IpAddr> {
        let hands_on =
            |at: &IpAddr| matches!(self.agent(*at), AgentState::Present(agent) if agent.hands_on());
        let members = self.registry().group(target_group).filter(|(_, record)| !record.is_dead());
        members.map(|(at, _)| at).filter(|at| self.untold.has(*at) && hands_on(at)).collect()
    }

    /// The agents to ask now, and for the connections of which listeners: those of former owners whose window is
    /// about to end, or whose place is needed; after the start, those of all.
    pub fn questions(&self, now: Instant) -> BTreeMap<IpAddr, Tables> {
        let mut questions: BTreeMap<IpAddr, Tables> = BTreeMap::new();
        for action in self.actions().iter() {
            let Some(slots) = action.slots() else { continue };
            let former = slots.questions(now);
            let records = former.iter().filter_map(|id| self.registry().by_id(*id));
            let mut addresses: BTreeSet<IpAddr> = records.map(|(key, _)| key.address).collect();
            if slots.regime() == Regime::SecondChance {
                addresses.extend(action.forward.0.iter().flat_map(|part| self.untold(&part.target_group)));
            }
            if addresses.is_empty() {
                continue;
            }
            let behind = self.listeners_of(action);
            for address in addresses {
                questions.entry(address).or_default().push(behind.clone());
            }
        }
        questions
    }

    /// Takes over behind which listeners a target has connections in which slots, asked at `asked`. What was asked for
    /// listeners that have changed since is of no use.
    pub fn told(
        &mut self,
        address: IpAddr,
        used: &[(Vec<ActionListener>, UsedSlots)],
        asked: Instant,
        now: Instant,
    ) {
        let ids: Vec<TargetId> = self
            .registry()
            .iter()
            .filter(|(target, _)| target.address == address)
            .map(|(_, record)| record.id)
            .collect();
        let is_first = self.untold.has(address);
        for (index, behind) in self.actions_with_listeners() {
            let Some((_, used)) = used.iter().find(|(listeners, _)| *listeners == behind) else { continue };
            for id in ids.iter().copied().filter(|id| self.is_of(index, *id)).collect::<Vec<_>>() {
                if is_first {
                    self.teach_action(index, id, used, asked, now);
                }
                let slots = self.actions().at(index).and_then(Action::slots);
                if slots.is_some_and(|slots| slots.names(id)) {
                    self.tell_action(index, id, used, asked, now);
                }
            }
        }
        self.untold.told(address);
    }

    /// Takes note that a target did not tell its connections.
    pub fn not_told(&mut self, address: IpAddr) {
        self.untold.failed(address);
    }

    /// Whether a listener forwards to the group, or did, and its flows may live.
    fn may_have_flows(&self, target_group: &str) -> bool {
        self.actions().serve(target_group)
    }

    /// Whether the target is one of the action's, or of those that it succeeds.
    fn is_of(&self, index: u32, target: TargetId) -> bool {
        let key = self.registry().by_id(target).map(|(key, _)| key);
        let action = self.actions().at(index);
        key.zip(action).is_some_and(|(key, action)| action.serves(&key.target_group))
    }

    fn actions_with_listeners(&self) -> Vec<(u32, Vec<ActionListener>)> {
        self.actions().iter().map(|action| (action.index, self.listeners_of(action))).collect()
    }

    /// The TCP listeners behind which the action's table is.
    fn listeners_of(&self, action: &Action) -> Vec<ActionListener> {
        let groups = || action.forward.0.iter().map(|part| &self.desired().target_groups[&part.target_group]);
        let is_sticky = groups().any(|group| group.stickiness == Stickiness::SourceIp);
        let affinity = if is_sticky { Affinity::Client } else { Affinity::Flow };
        self.listeners()
            .filter(|(_, _, listener)| {
                listener.forward == action.forward && listener.protocol == Protocol::Tcp
            })
            .filter_map(|(_, vips, listener)| {
                let is_behind =
                    |entry: &Entry| self.actions().of(entry).is_some_and(|other| other.index == action.index);
                let vips: Vec<_> = entries(vips, listener).filter(is_behind).map(|(vip, _, _)| vip).collect();
                let port = match listener.port {
                    ListenerPort::Port(port) => Some(port),
                    ListenerPort::Any => None,
                };
                // An agent that translates ports tells of connections under the listener's.
                (!vips.is_empty()).then_some(ActionListener { vips, port, target_port: port, affinity })
            })
            .collect()
    }
}
