//! Which agents to ask for their connections, and what their answers say of slots.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use lb_common::TargetId;

use super::reconciler::Reconciler;
use super::second_chance;
use crate::model::{ForwardAction, ListenerPort, Protocol, Stickiness};
use crate::presence::asker::Tables;
use crate::presence::slots::{ActionListener, Affinity, UsedSlots};

impl Reconciler {
    /// The addresses whose agents are to be known: the targets of groups that could leave flows to them.
    pub fn agent_addresses(&self) -> BTreeSet<IpAddr> {
        let groups = self.desired().target_groups.iter();
        groups
            .filter(|(name, group)| second_chance::may_have_chains(group) && self.is_in_use(name))
            .flat_map(|(name, _)| self.registry().group(name))
            .map(|(address, _)| address)
            .collect()
    }

    /// Whether a slot has a chain, so that there may be something to ask.
    pub fn has_chains(&self) -> bool {
        self.actions().values().any(|action| action.table().is_some_and(|table| !table.chains.is_empty()))
    }

    /// The agents to ask now, and for the connections of which listeners: those of former owners whose window is
    /// about to end, or whose place is needed.
    pub fn questions(&self, now: Instant) -> BTreeMap<IpAddr, Tables> {
        let mut questions: BTreeMap<IpAddr, Tables> = BTreeMap::new();
        for (forward, action) in self.actions() {
            let targets = action.slots().map(|slots| slots.questions(now)).unwrap_or_default();
            if targets.is_empty() {
                continue;
            }
            let behind = self.listeners_of(forward);
            let records = targets.iter().filter_map(|id| self.registry().by_id(*id));
            let addresses: BTreeSet<IpAddr> = records.map(|(key, _)| key.address).collect();
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
            let slots = self.actions()[&forward].slots();
            if slots.is_some_and(|slots| ids.iter().any(|id| slots.names(*id))) {
                ids.iter().for_each(|id| self.tell_action(&forward, *id, used, asked, now));
            }
        }
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
