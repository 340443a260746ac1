//! One forward action: its members, their owners, and the life of its slots.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_common::{SlotState, TargetId};

use super::contents::Table;
use super::registry::{Record, Registry};
use super::second_chance::{self, Agents, Keeper};
use crate::model::{Desired, ForwardAction, TargetGroup, Threshold};
use crate::presence::slots::UsedSlots;
use crate::table::{
    Fate, GroupShare, Member, MemberIndex, OncePerTarget, Regime, SlotTable, TableSize, maglev, member,
    overlay,
};

/// A forward action with its table.
#[derive(Debug, Clone)]
pub struct Action {
    /// Its index in `FORWARDS`.
    pub index: u32,
    /// What it is; without a part where an earlier controller knew.
    pub forward: ForwardAction,
    members: Vec<Member>,
    base: Vec<Option<MemberIndex>>,
    size: TableSize,
    slots: Option<SlotTable>,
    table: Option<Table>,
    /// How long a flow of one of its listeners lives without a packet.
    pub(super) idle: Duration,
    /// When [`Action::tick`] may change something; renewed with the slots, of which there are many.
    deadline: Option<Instant>,
    /// The target groups of the actions that it succeeds, until no slot has flows that began on their targets.
    inherited: BTreeSet<String>,
    /// Whether it succeeds another. Its slots change anyway, so its table gets the size that a new one would have: then
    /// those that forward alike come to say the same.
    is_heir: bool,
}

/// A target's part in an action, group by group.
struct Candidate<'a> {
    record: &'a Record,
    available: bool,
}

impl Action {
    /// An action without a table yet.
    pub fn new(index: u32, forward: ForwardAction) -> Action {
        Action {
            index,
            forward,
            members: Vec::new(),
            base: Vec::new(),
            size: TableSize::SMALLEST,
            slots: None,
            table: None,
            idle: Duration::ZERO,
            deadline: None,
            inherited: BTreeSet::new(),
            is_heir: false,
        }
    }

    /// An action whose table is in the maps already: `base` is the size that its owners were computed for. The table is
    /// another one only when the action's owners are others.
    pub(super) fn adopted(
        index: u32,
        forward: ForwardAction,
        base: TableSize,
        table: Table,
        idle: Duration,
        registry: &Registry,
        now: Instant,
    ) -> Action {
        let fate = fates(registry, idle, now);
        let slots = SlotTable::adopted(&table.slots, &table.chains, now, &fate);
        let mut action = Action::new(index, forward);
        action.inherited = groups_in(&table, registry);
        (action.size, action.slots, action.table, action.idle) = (base, Some(slots), Some(table), idle);
        action
    }

    /// The size that its owners are computed for; the table may not have shrunk to it yet.
    pub(super) fn base_size(&self) -> TableSize {
        self.size
    }

    /// An action with the index `index` that goes on with the flows of this one; to be refreshed.
    pub fn succeeded(&self, forward: &ForwardAction, index: u32, now: Instant) -> Action {
        let groups = self.forward.0.iter().map(|part| part.target_group.clone());
        Action {
            index,
            forward: forward.clone(),
            members: self.members.clone(),
            base: self.base.clone(),
            size: self.size,
            slots: self.slots.as_ref().map(|slots| slots.succeeded(now)),
            table: self.table.clone(),
            idle: self.idle,
            deadline: self.deadline,
            inherited: groups.chain(self.inherited.iter().cloned()).collect(),
            is_heir: true,
        }
    }

    /// Whether flows may live that began on targets of the group, by this action or one that it succeeds.
    pub fn serves(&self, target_group: &str) -> bool {
        self.forward.has(target_group) || self.inherited.contains(target_group)
    }

    /// The target groups on whose targets such flows may have begun.
    pub(super) fn served(&self) -> impl Iterator<Item = &str> {
        let own = self.forward.0.iter().map(|part| part.target_group.as_str());
        own.chain(self.inherited.iter().map(String::as_str))
    }

    /// Whether one of these target groups is one of those.
    pub fn serves_any(&self, target_groups: &BTreeSet<String>) -> bool {
        self.forward.names_any(target_groups) || !self.inherited.is_disjoint(target_groups)
    }

    /// Whether all flows are where its slots say, and nothing is known that they do not.
    pub(super) fn is_at_rest(&self) -> bool {
        self.inherited.is_empty() && self.slots.as_ref().is_some_and(SlotTable::is_stable)
    }

    /// Whether an action that forwards alike sends every flow where this one does.
    pub(super) fn says_the_same(&self, other: &Action) -> bool {
        let words = |action: &Action| action.slots.as_ref().map(|slots| Arc::clone(slots.words()));
        self.size == other.size && words(self) == words(other)
    }

    /// Computes members, owners and slots anew.
    pub fn refresh(&mut self, desired: &Desired, registry: &Registry, agents: &Agents, now: Instant) {
        let forward = self.forward.clone();
        let groups = groups_of(&forward, desired);
        let regime = regime(&groups, registry, agents);
        let mut candidates = Vec::new();
        let mut shares = Vec::new();
        for (name, group, weight) in groups {
            let (share, mut members) = group_share(name, group, weight, desired, registry, agents);
            shares.push(share);
            candidates.append(&mut members);
        }
        self.rebuild_base(member::members_of(&shares));
        let available: Vec<bool> = candidates.iter().map(|candidate| candidate.available).collect();
        let owners: Vec<TargetId> = overlay::assign(&self.base, &self.members, &available)
            .into_iter()
            .map(|owner| owner.map_or(TargetId::NONE, |owner| candidates[owner.at()].record.id))
            .collect();
        let idle = self.idle;
        let changed = match &mut self.slots {
            None => {
                let mut slots = SlotTable::new(&owners, now);
                slots.enter(regime);
                self.slots = Some(slots);
                1
            }
            Some(slots) => {
                slots.enter(regime);
                slots.reassign(&owners, now, &fates(registry, idle, now))
            }
        };
        self.settle(changed > 0);
    }

    fn rebuild_base(&mut self, members: Vec<Member>) {
        let wanted = TableSize::for_weights(members.iter().map(|member| member.weight));
        let is_new = self.slots.is_none() || self.is_heir;
        let size = if is_new { wanted } else { self.size.kept_for(wanted) };
        if members != self.members || size != self.size || self.base.is_empty() {
            self.base = maglev::build(&members, size.slots());
            self.members = members;
            self.size = size;
        }
    }

    /// Takes note of what became of the slots.
    fn settle(&mut self, changed: bool) {
        if changed {
            self.publish();
        }
        let slots = self.slots.as_ref();
        self.deadline = slots.and_then(|slots| slots.next_deadline(self.idle));
        if !self.inherited.is_empty() && slots.is_none_or(SlotTable::is_stable) {
            self.inherited.clear();
            self.is_heir = false;
        }
    }

    fn publish(&mut self) {
        if let Some(slots) = &self.slots {
            let (words, chains) = (Arc::clone(slots.words()), Arc::clone(slots.chain_words()));
            self.table = Some(Table { log2: slots.size().log2(), slots: words, chains });
        }
    }

    /// Ends what time has ended; `last_exception` is what the data plane marked.
    pub fn tick(
        &mut self,
        registry: &Registry,
        now: Instant,
        last_exception: &dyn Fn(usize) -> Option<Instant>,
    ) {
        let idle = self.idle;
        let Some(slots) = &mut self.slots else { return };
        let before = slots.size();
        let changed = slots.tick(now, last_exception, idle, &fates(registry, idle, now));
        if self.size < before {
            slots.resize(self.size);
        }
        let resized = slots.size() != before;
        self.settle(changed > 0 || resized);
    }

    /// Takes over what a target told of its connections when it was asked at `asked`.
    pub fn told(
        &mut self,
        registry: &Registry,
        target: TargetId,
        used: &UsedSlots,
        asked: Instant,
        now: Instant,
    ) {
        let idle = self.idle;
        let Some(slots) = &mut self.slots else { return };
        let fate = fates(registry, idle, now);
        let log2 = slots.size().log2();
        let changed = slots.told(target, &|slot| used.contain(slot, log2), asked, now, &fate);
        self.settle(changed > 0);
    }

    /// Takes over which slots a target had connections in when it was asked at `asked`, just after the node started.
    pub fn learn(
        &mut self,
        registry: &Registry,
        target: TargetId,
        used: &UsedSlots,
        asked: Instant,
        now: Instant,
    ) {
        let idle = self.idle;
        let Some(slots) = &mut self.slots else { return };
        let fate = fates(registry, idle, now);
        let log2 = slots.size().log2();
        let changed = slots.learn(target, &|slot| used.contain(slot, log2), asked, &fate);
        self.settle(changed > 0);
    }

    /// Whether a flow may live that began on `target`: a slot still names it, or has exceptions, whosever they are.
    /// Flows that the data plane remembers without a change are exceptions too once the target has lost their slot.
    pub fn may_have_flows_of(&self, target: TargetId) -> bool {
        self.slots.as_ref().is_some_and(|slots| slots.names(target) || slots.count(SlotState::Exceptions) > 0)
    }

    /// When [`Action::tick`] may change something.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The table as the data plane must have it.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// The life of its slots.
    pub fn slots(&self) -> Option<&SlotTable> {
        self.slots.as_ref()
    }
}

/// The target groups of the targets that a table names.
fn groups_in(table: &Table, registry: &Registry) -> BTreeSet<String> {
    let in_slots = table.slots.iter().flat_map(|slot| [slot.current(), slot.previous()]);
    let in_chains = table.slots.iter().zip(table.chains.iter()).map(|(slot, chain)| chain.oldest(*slot));
    let named: BTreeSet<TargetId> = in_slots.chain(in_chains).collect();
    let keys = named.into_iter().filter_map(|id| registry.by_id(id));
    keys.map(|(key, _)| key.target_group.clone()).collect()
}

/// How many slots a new table for `forward` has.
pub(super) fn new_size(forward: &ForwardAction, desired: &Desired, registry: &Registry) -> TableSize {
    let shares: Vec<GroupShare> = groups_of(forward, desired)
        .into_iter()
        .map(|(name, group, weight)| group_share(name, group, weight, desired, registry, &Agents::new()).0)
        .collect();
    TableSize::for_weights(member::members_of(&shares).iter().map(|member| member.weight))
}

fn groups_of<'a>(forward: &'a ForwardAction, desired: &'a Desired) -> Vec<(&'a str, &'a TargetGroup, u16)> {
    let group = |name: &'a str| -> &'a TargetGroup {
        desired.target_groups.get(name).expect("a parsed action names existing groups")
    };
    forward
        .0
        .iter()
        .map(|part| (part.target_group.as_str(), group(&part.target_group), part.weight))
        .collect()
}

/// Who keeps the flows of an action where they are: the targets, if they can in all of its groups.
fn regime(groups: &[(&str, &TargetGroup, u16)], registry: &Registry, agents: &Agents) -> Regime {
    let mut versions =
        groups.iter().flat_map(|(name, _, _)| registry.group(name)).map(|(at, _)| at.is_ipv4());
    let first = versions.next();
    let is_one_version = versions.all(|version| Some(version) == first);
    let keeps = |(name, group, _): &(&str, &TargetGroup, u16)| {
        second_chance::keeper(group, registry.group(name), agents) == Keeper::Targets
    };
    if is_one_version && groups.iter().all(keeps) { Regime::SecondChance } else { Regime::FlowTable }
}

/// The members of one group and whether each may get new flows: see [`Usable`].
fn group_share<'a>(
    name: &'a str,
    group: &TargetGroup,
    weight: u16,
    desired: &Desired,
    registry: &'a Registry,
    agents: &Agents,
) -> (GroupShare, Vec<Candidate<'a>>) {
    let members: Vec<_> = registry
        .group(name)
        .filter(|(_, record)| !record.is_lingering() && is_in_scope(group, record, &desired.node.zone))
        .collect();
    let targets =
        members.iter().map(|(address, record)| (member::identity(name, *address), record.weight)).collect();
    let usable = usable(members.iter().map(|(_, record)| *record), group.minimum_healthy.routing);
    let newcomers_wait =
        second_chance::may_have_chains(group) && second_chance::knows_agents(members.iter().copied(), agents);
    let waits = |address: &IpAddr, record: &Record| {
        newcomers_wait && second_chance::awaits_agent(*address, record, agents)
    };
    let candidate = |(address, record): &(IpAddr, &'a Record)| Candidate {
        record,
        available: usable.admits(record) && !waits(address, record),
    };
    let candidates = members.iter().map(candidate).collect();
    (GroupShare { weight, targets }, candidates)
}

/// Whether a node in `zone` uses the target at all.
pub(super) fn is_in_scope(group: &TargetGroup, record: &Record, zone: &str) -> bool {
    group.cross_zone || record.zone == zone
}

/// Which targets of a group get new flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usable {
    /// Healthy ones that do not drain.
    Healthy,
    /// Draining ones that are alive: there is no other.
    Draining,
    /// All that are registered: too few are healthy (fail open).
    All,
}

/// How many targets of a group count, how many of them are healthy, and how many will count when they were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) healthy: usize,
    pub(super) all: usize,
    pub(super) unknown: usize,
}

/// A target of weight 0 gets nothing, and one that is leaving is not registered, so they do not count; nor does one
/// that came and was not checked yet, or adding targets would look like others failing.
pub(super) fn census<'a>(records: impl Iterator<Item = &'a Record>) -> Census {
    let registered = records.filter(|record| record.weight > 0 && !record.is_draining());
    registered.fold(Census { healthy: 0, all: 0, unknown: 0 }, |sum, record| Census {
        healthy: sum.healthy + usize::from(record.is_healthy()),
        all: sum.all + usize::from(!record.is_unknown()),
        unknown: sum.unknown + usize::from(record.is_unknown()),
    })
}

/// What of a group with these targets is usable.
pub(super) fn usable<'a>(records: impl Iterator<Item = &'a Record> + Clone, minimum: Threshold) -> Usable {
    let Census { healthy, all, .. } = census(records.clone());
    let mut draining = records.filter(|record| record.weight > 0 && record.is_draining());
    if !minimum.is_breached(healthy, all) {
        Usable::Healthy
    } else if healthy == 0 && draining.any(|record| record.is_healthy() && !record.is_lingering()) {
        Usable::Draining
    } else {
        Usable::All
    }
}

impl Usable {
    pub(super) fn admits(self, record: &Record) -> bool {
        match self {
            Usable::Healthy => record.is_healthy() && !record.is_draining(),
            Usable::Draining => record.is_healthy(),
            Usable::All => !record.is_draining(),
        }
    }
}

/// What becomes of the flows of targets that lose slots; each is looked up once, for thousands of slots ask of few.
fn fates(registry: &Registry, idle: Duration, now: Instant) -> impl Fn(TargetId) -> Fate {
    let known = OncePerTarget::default();
    move |id| known.of(id, || fate(registry, id, idle, now))
}

/// What becomes of the flows of a target that loses a slot.
fn fate(registry: &Registry, id: TargetId, idle: Duration, now: Instant) -> Fate {
    let Some((_, record)) = registry.by_id(id).filter(|(_, record)| !record.is_dead()) else {
        return Fate::Dead;
    };
    let draining = record.draining_until.map(|until| until.saturating_duration_since(now));
    let unhealthy = record.unhealthy_until.map(|until| until.saturating_duration_since(now));
    match (unhealthy, draining) {
        (Some(unhealthy), Some(draining)) if record.terminates => {
            Fate::Leaves { window: unhealthy.min(draining) }
        }
        (Some(window), _) => Fate::Leaves { window },
        (None, Some(window)) if record.terminates => Fate::Leaves { window },
        // A flow that lives on may be silent for as long as it may be idle.
        (None, Some(draining)) => Fate::Stays { window: draining.max(idle) },
        (None, None) => Fate::Stays { window: idle },
    }
}
