//! What a change would do to the tables: the change itself, made to a copy.

use std::net::IpAddr;
use std::time::Instant;

use lb_common::TargetId;

use super::action::Action;
use super::reconciler::Reconciler;
use super::room::Refused;
use crate::health::HealthStatus;
use crate::model::{Desired, ListenerPort, Protocol, TargetKey};
use crate::presence::AgentState;

/// A listener whose table changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// Its load balancer.
    pub load_balancer: String,
    /// What it serves.
    pub protocol: Protocol,
    /// Its port.
    pub port: ListenerPort,
    /// How many slots its table has then; none if it goes.
    pub slots: usize,
    /// How many of them have another owner then than now. A listener that comes had none before.
    pub moved: usize,
}

impl Reconciler {
    /// How tables change when `desired` is in force and all targets that come with it are healthy. Nothing here is
    /// changed.
    ///
    /// # Errors
    /// As [`Reconciler::apply`].
    pub fn rehearse(&self, desired: Desired, now: Instant) -> Result<Vec<TableChange>, Refused> {
        let mut future = self.clone();
        future.apply(desired, now)?;
        for key in future.newcomers_beside(self) {
            future.welcome(&key, now);
        }
        future.settle(now);
        let mut changes: Vec<TableChange> = future.came_or_changed(self);
        changes.extend(future.gone(self));
        Ok(changes)
    }

    /// The targets that another reconciler does not have.
    fn newcomers_beside(&self, other: &Reconciler) -> Vec<TargetKey> {
        let is_known =
            |key: &TargetKey| other.registry().record(key).is_some_and(|record| !record.is_draining());
        let all = self.registry().iter().filter(|(_, record)| !record.is_draining());
        all.map(|(key, _)| key).filter(|key| !is_known(key)).cloned().collect()
    }

    /// Takes a target for healthy, and for one with such an agent as others have.
    fn welcome(&mut self, target: &TargetKey, now: Instant) {
        let others: Vec<IpAddr> =
            self.registry().group(&target.target_group).map(|(address, _)| address).collect();
        let agents = others.into_iter().map(|address| self.agent(address));
        let able =
            agents.into_iter().find(|state| matches!(state, AgentState::Present(agent) if agent.hands_on()));
        if let Some(state) = able
            && self.agent(target.address) == AgentState::Unknown
        {
            self.observe_agent(target.address, state);
        }
        self.observe(target, HealthStatus::healthy(), now);
    }

    fn came_or_changed(&self, before: &Reconciler) -> Vec<TableChange> {
        let change = |(key, action): (ListenerKey, Option<&Action>)| {
            let (load_balancer, protocol, port) = key;
            let slots = action.map_or(0, slots);
            let earlier = before.action_of(&load_balancer, protocol, port);
            let moved = match (earlier, action) {
                (Some(earlier), Some(action)) => moved(earlier, action),
                _ => 0,
            };
            (earlier.is_none() || moved > 0).then_some(TableChange {
                load_balancer,
                protocol,
                port,
                slots,
                moved,
            })
        };
        self.listener_actions().filter_map(change).collect()
    }

    fn gone(&self, before: &Reconciler) -> Vec<TableChange> {
        let is_gone = |(name, protocol, port): &ListenerKey| self.action_of(name, *protocol, *port).is_none();
        let keys = before.listener_actions().map(|(key, _)| key).filter(is_gone);
        keys.map(|(load_balancer, protocol, port)| TableChange {
            load_balancer,
            protocol,
            port,
            slots: 0,
            moved: 0,
        })
        .collect()
    }

    fn listener_actions(&self) -> impl Iterator<Item = (ListenerKey, Option<&Action>)> {
        self.desired().load_balancers.iter().flat_map(|(name, load_balancer)| {
            load_balancer.listeners.iter().map(|listener| {
                (
                    (name.clone(), listener.protocol, listener.port),
                    self.actions_of(&load_balancer.vips, listener).first().copied(),
                )
            })
        })
    }

    fn action_of(&self, load_balancer: &str, protocol: Protocol, port: ListenerPort) -> Option<&Action> {
        let load_balancer = self.desired().load_balancers.get(load_balancer)?;
        let listener =
            load_balancer.listeners.iter().find(|one| (one.protocol, one.port) == (protocol, port))?;
        self.actions_of(&load_balancer.vips, listener).first().copied()
    }
}

type ListenerKey = (String, Protocol, ListenerPort);

fn slots(action: &Action) -> usize {
    action.slots().map_or(0, |table| table.size().slots())
}

/// How many slots have another owner; of tables of two sizes the slots of the larger are counted. Slots that wait with
/// their change for what agents tell count as changed.
fn moved(before: &Action, after: &Action) -> usize {
    let (Some(earlier), Some(later)) = (before.slots(), after.slots()) else { return slots(after) };
    let owners = |table: &crate::table::SlotTable| -> Vec<TargetId> {
        table.encoded().map(|slot| slot.current()).collect()
    };
    let waiting = later.waiting().deferred.saturating_sub(earlier.waiting().deferred);
    let (earlier, later) = (owners(earlier), owners(later));
    let count = earlier.len().max(later.len());
    let differs = |slot: &usize| earlier[slot * earlier.len() / count] != later[slot * later.len() / count];
    (0..count).filter(differs).count() + waiting
}
