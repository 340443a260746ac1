//! The targets that the node knows: registered ones, draining ones, and those whose id is not free yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_common::TargetId;

use crate::health::{HealthState, HealthStatus, Reason};
use crate::model::{
    Desired, Encapsulation, Protocol, QuicServerId, Target, TargetGroup, TargetKey, UnhealthyFlows,
};

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
    /// How long it will drain, or drains.
    pub draining: Duration,
    /// Until when it drains, if it does: it keeps its flows until then.
    pub draining_until: Option<Instant>,
    /// Whether the flows that it then still has are cut.
    pub terminates: bool,
    /// Its draining time is over, and it may have flows that live on: when that is looked at again.
    pub lingers_until: Option<Instant>,
    /// What its health checks say; `unhealthy.draining` is the registry's word.
    pub health: HealthStatus,
    /// What becomes of its flows when its checks fail.
    pub unhealthy_flows: UnhealthyFlows,
    /// Its checks fail, and it keeps its flows until then.
    pub unhealthy_until: Option<Instant>,
    /// Whether it was there when the controller started: such a target gets flows until its first check has
    /// ended, or a restart would look like all targets but the first checked one being down.
    pub assumed: bool,
    /// Whether it came while the controller ran.
    pub is_newcomer: bool,
    /// Whether its health is what an earlier controller has found, and no check of this one has decided yet.
    pub is_adopted: bool,
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

    /// Whether nothing is known of its health, so that it gets no flows yet.
    pub fn is_unknown(&self) -> bool {
        self.health.state == HealthState::Initial && !self.assumed
    }

    /// Whether its checks took it out: its flows are lost.
    pub fn is_dead(&self) -> bool {
        self.health.state == HealthState::Unhealthy
    }

    /// Whether it is leaving.
    pub fn is_draining(&self) -> bool {
        self.draining_until.is_some()
    }

    /// Whether it has left, and only flows that it had live on.
    pub fn is_lingering(&self) -> bool {
        self.lingers_until.is_some()
    }

    /// Takes over what is wanted of it.
    fn serve(&mut self, target: &Target, group: &TargetGroup) {
        self.weight = target.weight;
        self.zone.clone_from(&target.zone);
        self.port = target.port;
        self.encapsulation = group.encapsulation;
        self.quic_server_id = target.quic_server_id;
        self.draining_until = None;
        self.lingers_until = None;
        self.follow(group);
    }

    /// Takes over what its group says of flows. Those of QUIC find the target by its server id, whatever the slots
    /// say, so nobody could tell when the last has ended: they end with the draining time.
    pub(super) fn follow(&mut self, group: &TargetGroup) {
        self.draining = group.draining;
        self.terminates = group.terminates_on_deregistration || group.protocol == Protocol::Quic;
        self.unhealthy_flows = group.unhealthy_flows;
        if self.unhealthy_flows == UnhealthyFlows::Terminate {
            self.end_unhealthy_draining();
        }
    }

    /// Takes over what a check found at `now`.
    fn observe(&mut self, health: HealthStatus, now: Instant) {
        if self.is_adopted && health.state == HealthState::Initial {
            // Checks begin anew with the controller: that they have not decided yet changes nothing.
            return;
        }
        self.is_adopted = false;
        let may_have_flows = self.is_healthy();
        self.assumed &= health.state == HealthState::Initial;
        self.health = health;
        if self.health.state != HealthState::Unhealthy {
            self.unhealthy_until = None;
            return;
        }
        if let UnhealthyFlows::Drain(time) = self.unhealthy_flows
            && may_have_flows
            && !time.is_zero()
        {
            self.unhealthy_until.get_or_insert(now + time);
        }
        if self.unhealthy_until.is_some() {
            self.health.state = HealthState::UnhealthyDraining;
        }
    }

    fn end_unhealthy_draining(&mut self) {
        if self.unhealthy_until.take().is_some() {
            self.health.state = HealthState::Unhealthy;
        }
    }
}

/// All targets by their key.
#[derive(Debug, Clone)]
pub struct Registry {
    records: BTreeMap<TargetKey, Record>,
    by_id: BTreeMap<TargetId, TargetKey>,
    /// Ids that packets or the flow table may still name.
    leaving: BTreeSet<TargetId>,
    limit: u32,
    /// No id below is free.
    lowest_free: u32,
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
            lowest_free: 1,
            started: false,
            membership: 0,
        }
    }

    /// Takes over the targets of `desired`: new ones are `initial`, missing ones drain or go. Only the target groups
    /// `changed`, which has those that are gone too, are looked at. `is_served` says of a group whether any slot may have
    /// flows of its targets: without, there is nothing to drain.
    ///
    /// # Errors
    /// If there are more targets than ids; nothing is changed then.
    pub fn register(
        &mut self,
        desired: &Desired,
        changed: &BTreeSet<String>,
        is_served: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Result<(), TooManyTargets> {
        self.check_room(desired, changed)?;
        for name in changed {
            let group = desired.target_groups.get(name);
            let missing = self.missing(name, group.map(|group| &**group));
            let may_have_flows = !missing.is_empty() && is_served(name);
            missing.iter().for_each(|key| self.take_leave(key, may_have_flows, now));
            for (address, target) in group.iter().flat_map(|group| &group.targets) {
                let key = TargetKey { target_group: name.clone(), address: *address };
                let group = group.expect("it has this target");
                self.record_or_new(key).serve(target, group);
            }
        }
        self.started = true;
        Ok(())
    }

    fn check_room(&self, desired: &Desired, changed: &BTreeSet<String>) -> Result<(), TooManyTargets> {
        let wanted: usize = desired.target_groups.values().map(|group| group.targets.len()).sum();
        let is_kept = |(key, record): &(&TargetKey, &Record)| {
            if changed.contains(&key.target_group) { !is_wanted(desired, key) } else { record.is_draining() }
        };
        let kept = self.records.iter().filter(is_kept).count();
        let needed = wanted + kept + self.leaving.len();
        let room = self.limit as usize - 1;
        if needed > room { Err(TooManyTargets { needed, room }) } else { Ok(()) }
    }

    /// The known targets that the group `name` has no longer; all, if it has gone itself. They take over what it says of
    /// draining: what it said last, if it has gone.
    fn missing(&mut self, name: &str, group: Option<&TargetGroup>) -> Vec<TargetKey> {
        let is_missing =
            |key: &TargetKey| !group.is_some_and(|group| group.targets.contains_key(&key.address));
        let members =
            self.records.range_mut(first_of(name)..).take_while(|(key, _)| key.target_group == name);
        let mut missing = Vec::new();
        for (key, record) in members.filter(|(key, _)| is_missing(key)) {
            if let Some(group) = group {
                record.follow(group);
            }
            missing.push(key.clone());
        }
        missing
    }

    /// Lets a target drain that may have flows to keep, and any other go.
    fn take_leave(&mut self, key: &TargetKey, may_have_flows: bool, now: Instant) {
        let record = self.records.get_mut(key).expect("the key was just seen");
        let keeps_flows = !record.is_dead() && (!record.draining.is_zero() || !record.terminates);
        if may_have_flows && keeps_flows {
            record.draining_until.get_or_insert(now + record.draining);
        } else {
            self.remove(key);
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
                draining: Duration::ZERO,
                draining_until: None,
                terminates: true,
                lingers_until: None,
                health: HealthStatus::because(HealthState::Initial, Reason::InitialHealthChecking),
                unhealthy_flows: UnhealthyFlows::Terminate,
                unhealthy_until: None,
                assumed: !self.started,
                is_newcomer: self.started,
                is_adopted: false,
            };
            self.records.insert(key.clone(), record);
        }
        self.records.get_mut(&key).expect("it is there now")
    }

    /// Takes over a target that an earlier controller had given an id, before the first call of
    /// [`Registry::register`]: what is registered then and was not adopted has come since.
    pub(super) fn adopt(&mut self, key: TargetKey, record: Record) {
        self.started = true;
        self.by_id.insert(record.id, key.clone());
        self.records.insert(key, record);
    }

    /// Takes over an id that is no known target's any more, but that packets or the flow table may still name.
    pub(super) fn adopt_leaving(&mut self, id: TargetId) {
        self.started = true;
        self.leaving.insert(id);
    }

    fn free_id(&mut self) -> Option<TargetId> {
        let free = (self.lowest_free..self.limit)
            .map(|id| TargetId(id as u16))
            .find(|id| !self.by_id.contains_key(id) && !self.leaving.contains(id))?;
        self.lowest_free = u32::from(free.0);
        Some(free)
    }

    fn remove(&mut self, key: &TargetKey) {
        if let Some(record) = self.records.remove(key) {
            self.by_id.remove(&record.id);
            self.membership += 1;
            self.leaving.insert(record.id);
        }
    }

    /// Ends what time has ended: targets whose draining is over, or that died while draining, go or linger, and
    /// unhealthy ones lose their flows. The groups of all of them.
    pub fn end_draining(&mut self, now: Instant) -> BTreeSet<String> {
        let (mut concerned, mut gone) = (BTreeSet::new(), Vec::new());
        for (key, record) in &mut self.records {
            let unhealthy_is_over = record.unhealthy_until.is_some_and(|until| until <= now);
            if unhealthy_is_over {
                record.end_unhealthy_draining();
            }
            let is_over = record.draining_until.is_some_and(|until| until <= now || record.is_dead());
            let goes = is_over && (record.is_dead() || record.terminates);
            let begins_to_linger = is_over && !goes && !record.is_lingering();
            if begins_to_linger {
                record.lingers_until = Some(now);
            }
            if goes {
                gone.push(key.clone());
            }
            if goes || begins_to_linger || unhealthy_is_over {
                concerned.insert(key.target_group.clone());
            }
        }
        gone.iter().for_each(|key| self.remove(key));
        concerned
    }

    /// Removes the lingering targets that `has_flows` denies, and looks at the others again after `pause`. No slot
    /// names those that go.
    pub fn end_lingering(
        &mut self,
        now: Instant,
        pause: Duration,
        has_flows: impl Fn(&TargetKey, &Record) -> bool,
    ) {
        let mut gone = Vec::new();
        for (key, record) in &mut self.records {
            if record.lingers_until.is_some_and(|until| until <= now) {
                if has_flows(key, record) {
                    record.lingers_until = Some(now + pause);
                } else {
                    gone.push(key.clone());
                }
            }
        }
        gone.iter().for_each(|key| self.remove(key));
    }

    /// Removes the draining targets of groups that are not among those of which a slot may have flows; `served` has these,
    /// and is asked only if any target drains.
    pub fn end_unserved<'a>(&mut self, served: impl FnOnce() -> BTreeSet<&'a str>) {
        let mut draining = self.records.iter().filter(|(_, record)| record.is_draining()).peekable();
        if draining.peek().is_none() {
            return;
        }
        let served = served();
        let over: Vec<TargetKey> = draining
            .filter(|(key, _)| !served.contains(key.target_group.as_str()))
            .map(|(key, _)| key.clone())
            .collect();
        over.iter().for_each(|key| self.remove(key));
    }

    /// The ids that no slot names any more: what the data plane must forget before they are used again.
    pub fn leaving(&self) -> &BTreeSet<TargetId> {
        &self.leaving
    }

    /// These ids are named by nothing any more.
    pub fn released(&mut self, ids: &BTreeSet<TargetId>) {
        self.leaving.retain(|id| !ids.contains(id));
        let lowest = ids.first().map_or(self.limit, |id| u32::from(id.0));
        self.lowest_free = self.lowest_free.min(lowest);
    }

    /// Takes over what a check found; whether that target is known.
    pub fn observe(&mut self, key: &TargetKey, health: HealthStatus, now: Instant) -> bool {
        let record = self.records.get_mut(key);
        record.map(|record| record.observe(health, now)).is_some()
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

    /// When the next draining ends, or a lingering target is looked at.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines =
            |record: &Record| [record.lingers_until.or(record.draining_until), record.unhealthy_until];
        self.records.values().flat_map(deadlines).flatten().min()
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
