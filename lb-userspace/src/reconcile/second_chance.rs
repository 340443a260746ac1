//! Which target groups leave their flows to the targets' second chances, and why others can't.
//!
//! Pure: agents are what the prober has found. A target that can't have flows of the group's slots (a dead one, or
//! one that was never healthy) needs no agent.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::registry::Record;
use crate::health::HealthState;
use crate::model::{Encapsulation, Protocol, SecondChance, TargetGroup};
use crate::presence::AgentState;

/// What is known of agents, by target address.
pub type Agents = BTreeMap<IpAddr, AgentState>;

/// Who keeps a target group's flows where they are when its tables change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// The targets: what is not a target's own it hands on to those who had the slot before.
    Targets,
    /// The node's flow table, and why.
    FlowTable(Why),
}

/// Why a target group's flows are kept by the node's flow table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The configuration says so.
    #[error("second_chance is \"never\"")]
    Never,
    /// Not TCP alone.
    #[error("its protocol is {0}, and only TCP has sockets that tell flows apart")]
    Protocol(Protocol),
    /// Not GUE.
    #[error("its encapsulation is ipip; a chain of targets needs gue")]
    Encapsulation,
    /// A target has no agent.
    #[error("{0} has no agent")]
    NoAgent(IpAddr),
    /// A target's agent was not asked often enough yet.
    #[error("{0} was not heard yet")]
    NotHeard(IpAddr),
    /// A target's agent can't hand on.
    #[error("the agent of {0} hands nothing on: it knows no peers, or another format of chain")]
    NoPeers(IpAddr),
    /// A chain holds addresses of one version of IP.
    #[error("{0} and {1} are of different versions of IP")]
    Versions(IpAddr, IpAddr),
    /// Nobody could.
    #[error("no target is in service")]
    NoTarget,
}

/// Who keeps the flows of a group with these targets.
pub(super) fn keeper<'a>(
    group: &TargetGroup,
    targets: impl Iterator<Item = (IpAddr, &'a Record)> + Clone,
    agents: &Agents,
) -> Keeper {
    match of_configuration(group).and_then(|()| of_targets(targets, agents)) {
        Ok(()) => Keeper::Targets,
        Err(why) => Keeper::FlowTable(why),
    }
}

/// Whether the group's targets are asked for agents, and its packets leave room for chains.
pub fn may_have_chains(group: &TargetGroup) -> bool {
    of_configuration(group).is_ok()
}

fn of_configuration(group: &TargetGroup) -> Result<(), Why> {
    if group.second_chance == SecondChance::Never {
        return Err(Why::Never);
    }
    if group.protocol != Protocol::Tcp {
        return Err(Why::Protocol(group.protocol));
    }
    if group.encapsulation != Encapsulation::Gue { Err(Why::Encapsulation) } else { Ok(()) }
}

fn of_targets<'a>(
    targets: impl Iterator<Item = (IpAddr, &'a Record)> + Clone,
    agents: &Agents,
) -> Result<(), Why> {
    let newcomers_wait = knows_agents(targets.clone(), agents);
    let mut concerned = targets
        .filter(|(address, record)| {
            may_have_flows(record) && !(newcomers_wait && awaits_agent(*address, record, agents))
        })
        .map(|(address, _)| address);
    let Some(first) = concerned.next() else { return Err(Why::NoTarget) };
    hands_on(first, agents)?;
    for address in concerned {
        hands_on(address, agents)?;
        if address.is_ipv4() != first.is_ipv4() {
            return Err(Why::Versions(first, address));
        }
    }
    Ok(())
}

fn hands_on(address: IpAddr, agents: &Agents) -> Result<(), Why> {
    match agents.get(&address).copied().unwrap_or_default() {
        AgentState::Present(agent) if agent.hands_on() => Ok(()),
        AgentState::Present(_) => Err(Why::NoPeers(address)),
        AgentState::Absent => Err(Why::NoAgent(address)),
        AgentState::Unknown => Err(Why::NotHeard(address)),
    }
}

fn may_have_flows(record: &Record) -> bool {
    !record.is_dead() && (record.assumed || record.health.state != HealthState::Initial)
}

/// Whether the group's other targets have agents, so that a new target gets slots only after it is known whether it
/// has one: its first slots would else go by the flow table, for a moment's ignorance.
pub(super) fn knows_agents<'a>(
    mut targets: impl Iterator<Item = (IpAddr, &'a Record)>,
    agents: &Agents,
) -> bool {
    targets.any(|(address, record)| may_have_flows(record) && hands_on(address, agents).is_ok())
}

/// Whether the target came while the node ran, and it is not known yet whether it has an agent.
pub(super) fn awaits_agent(address: IpAddr, record: &Record, agents: &Agents) -> bool {
    record.is_newcomer && agents.get(&address).copied().unwrap_or_default() == AgentState::Unknown
}

#[cfg(test)]
mod tests;
