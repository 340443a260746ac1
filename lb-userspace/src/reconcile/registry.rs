//! The targets that the node knows: registered ones, draining ones, and those whose id is not free yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use lb_common::TargetId;

use crate::health::{HealthState, HealthStatus, Reason};
use crate::model::{Desired, Encapsulation, QuicServerId, TargetKey};

/// What is known of one target.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number in the data plane.
    pub id: TargetId,
    /// Its weight in its group.
    pub weight: u16,
    /// Its zone.
    pub zone: String,
    /// The port that it serves.
    pub port: u16,
    /// How packets travel to it.
    pub encapsulation: Encapsulation,
    /// By what QUIC packets name it; a draining target keeps its own.
    pub quic_server_id: Option<QuicServerId>,
    /// Since when it drains, if it does: it keeps its flows until then.
    pub draining_until: Option<Instant>,
    /// What its health checks say.
    pub health: HealthStatus,
    /// Whether it was there when the controller started: such a target gets flows until its first check has
    /// ended, or a restart would look like all targets but the first checked one being down.
    pub assumed: bool,
    /// Whether it came while the controller ran.
    pub is_newcomer: bool,
}

impl Record {
    /// Whether its checks give it flows.
    pub fn is_healthy(&self) -> bool {
        match self.health.state {
            HealthState::Healthy => true,
            HealthState::Initial => self.assumed,
            _ => false,
        }
    }

    /// Whether its checks took it out: its flows are lost.
    pub fn is_dead(&self) -> bool {
        self.health.state == HealthState::Unhealthy
    }

    /// Whether it is leaving.
    pub fn is_draining(&self) -> bool {
        self.draining_until.is_some()
    }
}

/// All targets by their key.
#[derive(Debug)]
pub struct Registry {
    records: BTreeMap<TargetKey, Record>,
    by_id: BTreeMap<TargetId, TargetKey>,
    /// Ids that packets or the flow table may still name.
    leaving: BTreeSet<TargetId>,
    limit: u32,
    started: bool,
    membership: u64,
}

impl Registry {
    /// An empty registry with the ids 1 to `limit` - 1.
    pub fn new(limit: u32) -> Registry {
        Registry {
            records: BTreeMap::new(),
            by_id: BTreeMap::new(),
            leaving: BTreeSet::new(),
            limit: limit.min(u32::from(u16::MAX) + 1),
            started: false,
            membership: 0,
        }
    }

    /// Takes over the targets of `desired`: new ones are `initial`, missing ones drain or go.
    ///
    /// # Errors
    /// If there are more targets than ids; nothing is changed then.
    pub fn register(&mut self, desired: &Desired, now: Instant) -> Result<(), TooManyTargets> {
        self.check_room(desired)?;
        self.take_leave(desired, now);
        for (group_name, group) in &desired.target_groups {
            for (address, target) in &group.targets {
                let key = TargetKey { target_group: group_name.clone(), address: *address };
                let record = self.record_or_new(key);
                record.weight = target.weight;
                record.zone.clone_from(&target.zone);
                record.port = target.port;
                record.encapsulation = group.encapsulation;
                record.quic_server_id = target.quic_server_id;
                record.draining_until = None;
            }
        }
        self.started = true;
        Ok(())
    }

    fn check_room(&self, desired: &Desired) -> Result<(), TooManyTargets> {
        let wanted: usize = desired.target_groups.values().map(|group| group.targets.len()).sum();
        let kept = self.records.keys().filter(|key| !is_wanted(desired, key)).count();
        let needed = wanted + kept + self.leaving.len();
        let room = self.limit as usize - 1;
        if needed > room { Err(TooManyTargets { needed, room }) } else { Ok(()) }
    }

    fn take_leave(&mut self, desired: &Desired, now: Instant) {
        let missing: Vec<TargetKey> =
            self.records.keys().filter(|key| !is_wanted(desired, key)).cloned().collect();
        for key in missing {
            let draining = desired.target_groups.get(&key.target_group).map(|group| group.draining);
            let record = self.records.get_mut(&key).expect("the key was just seen");
            match draining {
                Some(time) if !time.is_zero() && !record.is_dead() => {
                    record.draining_until.get_or_insert(now + time);
                }
                _ => self.remove(&key),
            }
        }
    }

    fn record_or_new(&mut self, key: TargetKey) -> &mut Record {
        if !self.records.contains_key(&key) {
            let id = self.free_id().expect("`check_room` has counted the ids");
            self.by_id.insert(id, key.clone());
            self.membership += 1;
            let record = Record {
                id,
                weight: 0,
                zone: String::new(),
                port: 0,
                encapsulation: Encapsulation::Ipip,
                quic_server_id: None,
                draining_until: None,
                health: HealthStatus::because(HealthState::Initial, Reason::InitialHealthChecking),
                assumed: !self.started,
                is_newcomer: self.started,
            };
            self.records.insert(key.clone(), record);
        }
        self.records.get_mut(&key).expect("it is there now")
    }

    fn free_id(&self) -> Option<TargetId> {
        (1..self.limit)
            .map(|id| TargetId(id as u16))
            .find(|id| !self.by_id.contains_key(id) && !self.leaving.contains(id))
    }

    fn remove(&mut self, key: &TargetKey) {
        if let Some(record) = self.records.remove(key) {
            self.by_id.remove(&record.id);
            self.membership += 1;
            self.leaving.insert(record.id);
        }
    }

    /// Removes targets whose draining has ended, or that died while draining; their groups.
    pub fn end_draining(&mut self, now: Instant) -> BTreeSet<String> {
        let over: Vec<TargetKey> = self
            .records
            .iter()
            .filter(|(_, record)| record.draining_until.is_some_and(|until| until <= now || record.is_dead()))
            .map(|(key, _)| key.clone())
            .collect();
        over.iter().for_each(|key| self.remove(key));
        over.into_iter().map(|key| key.target_group).collect()
    }

    /// The ids that no slot names any more: what the data plane must forget before they are used again.
    pub fn leaving(&self) -> &BTreeSet<TargetId> {
        &self.leaving
    }

    /// These ids are named by nothing any more.
    pub fn released(&mut self, ids: &BTreeSet<TargetId>) {
        self.leaving.retain(|id| !ids.contains(id));
    }

    /// Takes over what a check found; whether that target is known.
    pub fn observe(&mut self, key: &TargetKey, health: HealthStatus) -> bool {
        match self.records.get_mut(key) {
            Some(record) => {
                record.assumed &= health.state == HealthState::Initial;
                record.health = health;
                true
            }
            None => false,
        }
    }

    /// A number that grows whenever a target comes or goes.
    pub fn membership(&self) -> u64 {
        self.membership
    }

    /// All targets in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&TargetKey, &Record)> {
        self.records.iter()
    }

    /// The targets of one group in the order of their addresses.
    pub fn group<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (IpAddr, &'a Record)> + Clone {
        self.records
            .range(first_of(name)..)
            .take_while(move |(key, _)| key.target_group == name)
            .map(|(key, record)| (key.address, record))
    }

    /// What is known of a target.
    pub fn record(&self, key: &TargetKey) -> Option<&Record> {
        self.records.get(key)
    }

    /// The target with this id.
    pub fn by_id(&self, id: TargetId) -> Option<(&TargetKey, &Record)> {
        let key = self.by_id.get(&id)?;
        self.records.get_key_value(key)
    }

    /// When the next draining ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.records.values().filter_map(|record| record.draining_until).min()
    }
}

fn is_wanted(desired: &Desired, key: &TargetKey) -> bool {
    desired.target_groups.get(&key.target_group).is_some_and(|group| group.targets.contains_key(&key.address))
}

fn first_of(group: &str) -> TargetKey {
    TargetKey { target_group: group.to_owned(), address: IpAddr::from([0, 0, 0, 0]) }
}

/// More targets than the data plane was loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} targets (draining ones and those that left a moment ago included) are more than the {room} that \
     the balancer was loaded for"
)]
pub struct TooManyTargets {
    needed: usize,
    room: usize,
}
