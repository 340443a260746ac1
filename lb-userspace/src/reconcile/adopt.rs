//! What an earlier controller has left in the maps, taken over by the next one.
//!
//! Numbers of the data plane (target ids, indices of forward actions, listeners' counters) are given by each controller
//! anew; the maps of names say whose they were, by identities that are equal in every run. What a name does not say is
//! in the maps that packets use: a target's address, a slot's targets, whose QUIC server ids are.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use lb_common::{Target, TargetId};
use siphasher::sip::SipHasher24;

use super::action::Action;
use super::contents::Contents;
use super::listeners::{ListenerName, listener_name};
use super::registry::{Record, Registry};
use crate::health::{HealthState, HealthStatus, Reason};
use crate::model::{
    Desired, Encapsulation, ForwardAction, ListenerPort, Protocol, QuicServerId, TargetKey, UnhealthyFlows,
};
use crate::table::{TableSize, member};

/// Whose a target id is, and what of the target no other map says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetName {
    /// Of its group and address.
    pub identity: u64,
    /// Since when it drains, if it does: it keeps its flows until then.
    pub draining_until: Option<Instant>,
    /// Until when it keeps its flows although its checks fail.
    pub unhealthy_until: Option<Instant>,
    /// Its weight in its group, which a draining target still has.
    pub weight: u16,
    /// The port that it serves, by which it is checked as long as it drains.
    pub port: u16,
    /// How packets travel to it.
    pub encapsulation: Encapsulation,
    /// What its checks said.
    pub state: HealthState,
    /// Why, if it is not healthy.
    pub reason: Option<Reason>,
    /// [`Record::assumed`].
    pub assumed: bool,
    /// Whether it came while the controller ran, and has not served yet.
    pub is_newcomer: bool,
    /// A hash of its zone's name.
    pub zone: u64,
}

/// Whose an index in `FORWARDS` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardName {
    /// Of its action.
    pub identity: u64,
    /// The size that the owners of its slots are computed for.
    pub base: TableSize,
}

impl TargetName {
    /// The name of a target that is known.
    pub(super) fn of(key: &TargetKey, record: &Record) -> TargetName {
        TargetName {
            identity: target_identity(&key.target_group, key.address),
            draining_until: record.draining_until,
            unhealthy_until: record.unhealthy_until,
            weight: record.weight,
            port: record.port,
            encapsulation: record.encapsulation,
            state: record.health.state,
            reason: record.health.reason,
            assumed: record.assumed,
            is_newcomer: record.is_newcomer && !record.assumed && record.health.state == HealthState::Initial,
            zone: zone_identity(&record.zone),
        }
    }

    fn health(&self) -> HealthStatus {
        match (self.state, self.reason) {
            (state, Some(reason)) => HealthStatus::because(state, reason),
            (HealthState::Healthy, None) => HealthStatus::healthy(),
            (_, None) => HealthStatus::because(HealthState::Initial, Reason::InitialHealthChecking),
        }
    }
}

/// Takes over the targets. Those that are neither wanted nor of a wanted group have nobody who could check them.
pub(super) fn registry(registry: &mut Registry, desired: &Desired, held: &Contents, now: Instant) {
    let wanted = wanted_targets(desired);
    let zones = zones(desired);
    let server_ids: BTreeMap<TargetId, QuicServerId> =
        held.quic_servers.iter().map(|((_, server_id), id)| (*id, *server_id)).collect();
    let mut taken = BTreeSet::new();
    for (id, name) in held.names.targets.iter() {
        let address = held.targets.get(id).and_then(|target| address_of(target));
        let known = wanted.get(&name.identity).cloned();
        let key = known.or_else(|| drained(name.identity, address?, desired));
        match key.filter(|key| taken.insert(key.clone())) {
            Some(key) => {
                let mut record = record(*id, name, &zones, server_ids.get(id).copied());
                if let Some(group) = desired.target_groups.get(&key.target_group) {
                    record.follow(group);
                }
                // One whose draining is over is no member any more.
                let is_over = record.draining_until.is_some_and(|until| until <= now);
                record.lingers_until = (is_over && !record.terminates).then_some(now);
                registry.adopt(key, record);
            }
            None => registry.adopt_leaving(*id),
        }
    }
    for id in named(held).filter(|id| !held.names.targets.contains_key(id)) {
        registry.adopt_leaving(id);
    }
}

/// The ids that entries and slots name. Each has a name: it is written before them, and goes after them.
fn named(held: &Contents) -> impl Iterator<Item = TargetId> {
    let slots = held.tables.values().flat_map(|table| table.slots.iter());
    let ids: BTreeSet<TargetId> = slots.flat_map(|slot| [slot.current(), slot.previous()]).collect();
    ids.into_iter().chain(held.targets.keys().copied()).filter(|id| !id.is_none())
}

fn record(
    id: TargetId,
    name: &TargetName,
    zones: &BTreeMap<u64, &str>,
    quic_server_id: Option<QuicServerId>,
) -> Record {
    Record {
        id,
        weight: name.weight,
        zone: zones.get(&name.zone).copied().unwrap_or_default().to_owned(),
        encapsulation: name.encapsulation,
        port: name.port,
        quic_server_id,
        draining: Duration::ZERO,
        draining_until: name.draining_until,
        terminates: true,
        lingers_until: None,
        unhealthy_flows: UnhealthyFlows::Drain(Duration::ZERO),
        unhealthy_until: name.unhealthy_until,
        health: name.health(),
        assumed: name.assumed,
        is_newcomer: name.is_newcomer,
        is_adopted: true,
    }
}

fn wanted_targets(desired: &Desired) -> BTreeMap<u64, TargetKey> {
    let keys = desired.target_groups.iter().flat_map(|(name, group)| {
        group.targets.keys().map(|address| TargetKey { target_group: name.clone(), address: *address })
    });
    keys.map(|key| (target_identity(&key.target_group, key.address), key)).collect()
}

/// The target of this identity and address that is not registered any more, if its group is still there.
fn drained(identity: u64, address: IpAddr, desired: &Desired) -> Option<TargetKey> {
    let mut groups = desired.target_groups.keys();
    let target_group = groups.find(|group| target_identity(group, address) == identity)?;
    Some(TargetKey { target_group: target_group.clone(), address })
}

/// The names of all zones by their hashes.
fn zones(desired: &Desired) -> BTreeMap<u64, &str> {
    let targets = desired.target_groups.values().flat_map(|group| group.targets.values());
    let names = targets.map(|target| target.zone.as_str()).chain([desired.node.zone.as_str()]);
    names.map(|zone| (zone_identity(zone), zone)).collect()
}

/// The address in an entry; none where no target ever was.
pub(super) fn address_of(target: &Target) -> Option<IpAddr> {
    (target.address != [0; 4]).then(|| address(target.address))
}

/// The address of which the maps have these bytes, as on the wire, IPv4 mapped into IPv6.
pub(crate) fn address(words: [u32; 4]) -> IpAddr {
    let mut octets = [0; 16];
    for (octets, word) in octets.chunks_mut(4).zip(words) {
        octets.copy_from_slice(&word.to_ne_bytes());
    }
    let address = Ipv6Addr::from(octets);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

/// The listeners that are still wanted with their counters.
pub(super) fn counters(desired: &Desired, held: &Contents) -> Vec<(ListenerName, u32)> {
    let numbers: BTreeMap<u64, u16> =
        held.names.listeners.iter().map(|(number, identity)| (*identity, *number)).collect();
    let names = desired.load_balancers.iter().flat_map(|(name, balancer)| {
        balancer.listeners.iter().map(move |listener| listener_name(name, listener))
    });
    names
        .filter_map(|name| {
            let number = numbers.get(&listener_identity(&name))?;
            Some((name, u32::from(*number)))
        })
        .collect()
}

/// The forward actions that have a whole table, by their indices.
pub(super) fn actions(
    desired: &Desired,
    held: &Contents,
    registry: &Registry,
    now: Instant,
) -> BTreeMap<u32, Action> {
    let listeners = desired.load_balancers.values().flat_map(|balancer| &balancer.listeners);
    let wanted: BTreeMap<u64, &ForwardAction> =
        listeners.map(|listener| (action_identity(&listener.forward), &listener.forward)).collect();
    let action = |(index, name): (&u32, &ForwardName)| {
        let table = held.tables.get(index)?;
        // The base may be larger than the table, if nothing was told yet when it grew.
        TableSize::from_slots(table.slots.len())?;
        // What is not wanted any more may have an heir, for which its table says all.
        let forward =
            wanted.get(&name.identity).map_or(ForwardAction(Vec::new()), |&forward| forward.clone());
        let idle = idle(*index, &forward, desired, held);
        Some((*index, Action::adopted(*index, forward, name.base, table.clone(), idle, registry, now)))
    };
    held.names.forwards.iter().filter_map(action).collect()
}

/// How long flows of an action may be silent; where it is not wanted any more, as the data plane was told.
fn idle(index: u32, forward: &ForwardAction, desired: &Desired, held: &Contents) -> Duration {
    let groups = forward.0.iter().filter_map(|part| desired.target_groups.get(&part.target_group));
    let listeners = desired.load_balancers.values().flat_map(|balancer| &balancer.listeners);
    let own = listeners.filter(|listener| listener.forward == *forward).filter_map(|one| one.idle_timeout);
    let of_groups = groups.map(|group| group.idle_timeout.max(group.udp_idle_timeout));
    let of_entries = held.listeners.values().filter(|entry| entry.forward == index);
    let told = of_entries.map(|entry| Duration::from_nanos(u64::from(entry.idle) << 30));
    of_groups.chain(own).max().or(told.max()).unwrap_or_default()
}

/// Names a target in every run.
fn target_identity(target_group: &str, address: IpAddr) -> u64 {
    real(member::identity(target_group, address))
}

/// Names an action in every run.
pub(super) fn action_identity(forward: &ForwardAction) -> u64 {
    let mut hasher = hasher(b"action");
    for part in &forward.0 {
        write_text(&mut hasher, &part.target_group);
        hasher.write(&part.weight.to_le_bytes());
    }
    real(hasher.finish())
}

/// Names a listener in every run.
pub(super) fn listener_identity((load_balancer, protocol, port): &ListenerName) -> u64 {
    let mut hasher = hasher(b"listener");
    write_text(&mut hasher, load_balancer);
    let protocol = match protocol {
        Protocol::Tcp => 1,
        Protocol::Udp => 2,
        Protocol::TcpUdp => 3,
        Protocol::Quic => 4,
    };
    let port = match port {
        ListenerPort::Port(port) => *port,
        ListenerPort::Any => 0,
    };
    hasher.write(&[protocol]);
    hasher.write(&port.to_le_bytes());
    real(hasher.finish())
}

fn zone_identity(zone: &str) -> u64 {
    let mut hasher = hasher(b"zone");
    write_text(&mut hasher, zone);
    hasher.finish()
}

fn hasher(kind: &[u8]) -> SipHasher24 {
    let mut hasher = SipHasher24::new_with_keys(0x536c_7569_6365_3a6e, 0x616d_6573_2d6b_6570);
    hasher.write(&(kind.len() as u64).to_le_bytes());
    hasher.write(kind);
    hasher
}

fn write_text(hasher: &mut SipHasher24, text: &str) {
    hasher.write(&(text.len() as u64).to_le_bytes());
    hasher.write(text.as_bytes());
}

/// An identity that is not one of the numbers that say that there is none.
fn real(identity: u64) -> u64 {
    identity.max(2)
}

#[cfg(test)]
mod tests;
