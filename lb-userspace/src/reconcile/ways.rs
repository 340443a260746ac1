//! How targets are reached: what the data plane must know of each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::encapsulation::{Ends, Tunnel};
use lb_common::gue::Carrier;
use lb_common::packet::{Ipv4, Ipv6};
use lb_common::{Target, TargetId};

use super::adopt::{self, TargetName};
use super::reconciler::Reconciler;
use super::registry::Record;
use super::second_chance;
use crate::model::{Encapsulation, TargetKey};
use crate::next_hop::{NextHop, Resolutions, Unresolved};

impl Reconciler {
    /// Renews the entries of the targets of these groups; those of targets that have gone go.
    pub(super) fn renew_targets(&mut self, groups: &BTreeSet<String>) {
        let mut renewed = Vec::new();
        for group in groups {
            let flows = self.flows_of_dead(group);
            for (address, record) in self.registry.group(group) {
                let key = TargetKey { target_group: group.clone(), address };
                renewed.push((
                    record.id,
                    self.target_entry(&key, record, flows),
                    TargetName::of(&key, record),
                ));
            }
        }
        let entries = Arc::make_mut(&mut self.target_entries);
        let names = Arc::make_mut(&mut self.target_names);
        for (id, entry, name) in renewed {
            set(entries, id, entry);
            set(names, id, name);
        }
        for id in self.registry.leaving() {
            entries.remove(id);
            names.remove(id);
        }
    }

    /// Takes over how the targets are reached.
    pub fn set_next_hops(&mut self, next_hops: impl Into<Arc<Resolutions>>) {
        let old = std::mem::replace(&mut self.next_hops, next_hops.into());
        let differences = crate::next_hop::differences(&old, &self.next_hops);
        let is_gone = |address: &IpAddr| old.contains_key(address) && !self.next_hops.contains_key(address);
        let is_new = |key: &TargetKey| differences.contains(&key.address) || is_gone(&key.address);
        let mut flows: BTreeMap<&str, FlowsOfDead> = BTreeMap::new();
        let mut renewed = Vec::new();
        for (key, record) in self.registry.iter().filter(|(key, _)| is_new(key)) {
            let group = key.target_group.as_str();
            let flows = *flows.entry(group).or_insert_with(|| self.flows_of_dead(group));
            renewed.push((record.id, self.target_entry(key, record, flows)));
        }
        let entries = Arc::make_mut(&mut self.target_entries);
        renewed.into_iter().for_each(|(id, entry)| set(entries, id, entry));
        let (registry, next_hops) = (&self.registry, &self.next_hops);
        self.held_ways.retain(|id, _| {
            registry.by_id(*id).is_some_and(|(key, _)| is_unknown(next_hops.get(&key.address)))
        });
    }

    /// All targets of the group have a say in it: to be asked once a group, not of each target.
    fn flows_of_dead(&self, target_group: &str) -> FlowsOfDead {
        if self.fails_open(target_group) { FlowsOfDead::Kept } else { FlowsOfDead::Lost }
    }

    fn target_entry(&self, key: &TargetKey, record: &Record, flows_of_dead: FlowsOfDead) -> Target {
        let room = self.room_for_chains(key);
        let mut target = match self.next_hops.get(&key.address) {
            Some(Ok(next_hop)) => tunnel(next_hop, key.address, record.encapsulation, room)
                .map_or(Target::NONE, |tunnel| tunnel.target()),
            unknown if is_unknown(unknown) => self.held_way(key, record.id).unwrap_or(Target::NONE),
            _ => Target::NONE,
        }
        .at(key.address);
        if !record.is_dead() || flows_of_dead == FlowsOfDead::Kept {
            target.way = target.way.keeping_flows();
        } else {
            target.way = target.way.losing_flows();
        }
        target
    }

    /// How an earlier controller reached the target, which had this id then.
    fn held_way(&self, key: &TargetKey, id: TargetId) -> Option<Target> {
        let held = self.held_ways.get(&id)?;
        (adopt::address_of(held) == Some(key.address)).then_some(**held)
    }

    /// Bytes that packets for the target must leave free: those of a chain (with the GUE header that only such packets
    /// have) wherever one may come, so that what fits does not change with the slots.
    fn room_for_chains(&self, key: &TargetKey) -> u16 {
        let group = self.desired.target_groups.get(&key.target_group);
        match key.address {
            _ if !group.is_some_and(|group| second_chance::may_have_chains(group)) => 0,
            IpAddr::V4(_) => Ipv4::HEADER_AND_CHAIN as u16,
            IpAddr::V6(_) => Ipv6::HEADER_AND_CHAIN as u16,
        }
    }
}

/// Sets the value of a target; an equal one stays the same allocation, which others share.
fn set<T: PartialEq>(values: &mut BTreeMap<TargetId, Arc<T>>, id: TargetId, value: T) {
    if values.get(&id).is_none_or(|known| **known != value) {
        values.insert(id, Arc::new(value));
    }
}

/// What becomes of the flows of a target group's dead targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlowsOfDead {
    /// The group has nothing better: it fails open.
    Kept,
    Lost,
}

/// Whether it is not known yet how an address is reached.
fn is_unknown(resolution: Option<&Result<NextHop, Unresolved>>) -> bool {
    matches!(resolution, None | Some(Err(Unresolved::NeighbourPending { .. })))
}

fn tunnel(next_hop: &NextHop, target: IpAddr, encapsulation: Encapsulation, room: u16) -> Option<Tunnel> {
    let ends = match (next_hop.source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => Ends::V4(source, target),
        (IpAddr::V6(source), IpAddr::V6(target)) => Ends::V6(source, target),
        _ => return None,
    };
    Some(Tunnel {
        interface: next_hop.interface,
        source_mac: next_hop.source_mac,
        destination_mac: next_hop.destination_mac,
        ends,
        gue: encapsulation == Encapsulation::Gue,
        mtu: next_hop.mtu.saturating_sub(room),
    })
}
