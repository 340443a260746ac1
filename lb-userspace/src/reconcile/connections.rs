//! Which agents to ask for their connections, and what their answers say of slots.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use lb_common::TargetId;

use super::reconciler::Reconciler;
use super::{Action, second_chance};
use crate::model::{ForwardAction, ListenerPort, Protocol, Stickiness};
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
        self.actions().values().any(has_chains) || !self.untold.is_empty()
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
        for (forward, action) in self.actions() {
            let Some(slots) = action.slots() else { continue };
            let former = slots.questions(now);
            let records = former.iter().filter_map(|id| self.registry().by_id(*id));
            let mut addresses: BTreeSet<IpAddr> = records.map(|(key, _)| key.address).collect();
            if slots.regime() == Regime::SecondChance {
                addresses.extend(forward.0.iter().flat_map(|part| self.untold(&part.target_group)));
            }
            if addresses.is_empty() {
                continue;
            }
            let behind = self.listeners_of(forward);
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
        let forwards: Vec<ForwardAction> = self.actions().keys().cloned().collect();
        for forward in forwards {
            let behind = self.listeners_of(&forward);
            let Some((_, used)) = used.iter().find(|(listeners, _)| *listeners == behind) else { continue };
            let is_first = self.untold.has(address);
            for id in ids.iter().copied().filter(|id| self.is_of(&forward, *id)).collect::<Vec<_>>() {
                if is_first {
                    self.teach_action(&forward, id, used, asked, now);
                }
                if self.actions()[&forward].slots().is_some_and(|slots| slots.names(id)) {
                    self.tell_action(&forward, id, used, asked, now);
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
        self.actions().iter().any(|(forward, action)| action.serves(forward, target_group))
    }

    /// Whether the target is one of the action's, or of those that it succeeds.
    fn is_of(&self, forward: &ForwardAction, target: TargetId) -> bool {
        let key = self.registry().by_id(target).map(|(key, _)| key);
        key.is_some_and(|key| self.actions()[forward].serves(forward, &key.target_group))
    }

    /// The TCP listeners behind which the action's table is.
    fn listeners_of(&self, forward: &ForwardAction) -> Vec<ActionListener> {
        let groups = || forward.0.iter().map(|part| &self.desired().target_groups[&part.target_group]);
        let is_sticky = groups().any(|group| group.stickiness == Stickiness::SourceIp);
        let affinity = if is_sticky { Affinity::Client } else { Affinity::Flow };
        let balancers = self.desired().load_balancers.values();
        balancers
            .flat_map(|balancer| balancer.listeners.iter().map(move |listener| (balancer, listener)))
            .filter(|(_, listener)| listener.forward == *forward && listener.protocol == Protocol::Tcp)
            .map(|(balancer, listener)| {
                let port = match listener.port {
                    ListenerPort::Port(port) => Some(port),
                    ListenerPort::Any => None,
                };
                // An agent that translates ports tells of connections under the listener's.
                ActionListener { vips: balancer.vips.clone(), port, target_port: port, affinity }
            })
            .collect()
    }
}
