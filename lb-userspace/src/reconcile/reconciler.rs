//! The whole: takes in each change, and says what the maps must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_common::encapsulation::{Ends, Tunnel};
use lb_common::flow::{TCP, UDP};
use lb_common::flow_table::Tick;
use lb_common::gue::Carrier;
use lb_common::listener::Listener as ListenerValue;
use lb_common::packet::{Ipv4, Ipv6};
use lb_common::{Target, TargetId};

use super::action::{Action, Usable, is_in_scope, usable};
use super::adopt::{self, ForwardName, TargetName};
use super::contents::{Contents, Names};
use super::counters::Numbers;
use super::policies;
use super::quic_servers::{self, QuicServerIdInUse};
use super::registry::{Record, Registry};
use super::second_chance::{self, Agents, Keeper};
use super::succession::{self, ListenerValues};
use super::untold::Untold;
use crate::data_plane::Capacity;
use crate::health::{HealthStatus, TargetCheck};
use crate::model::{
    Desired, Encapsulation, ForwardAction, Listener, ListenerPort, LoadBalancer, Policy, Protocol,
    Stickiness, TargetGroup, TargetKey, UdpTracking,
};
use crate::next_hop::{NextHop, Resolutions, Unresolved};
use crate::presence::AgentState;
use crate::presence::slots::UsedSlots;

/// Between two looks whether flows of a target that has left still live.
const LINGER_PAUSE: Duration = Duration::from_secs(10);

/// A listener's name: its load balancer, protocol and port.
pub(super) type ListenerName = (String, Protocol, ListenerPort);

/// Desired and observed state, and what follows from them.
#[derive(Debug)]
pub struct Reconciler {
    desired: Desired,
    registry: Registry,
    next_hops: Arc<Resolutions>,
    /// What is known of the targets' agents.
    agents: Agents,
    /// Targets that were there at the start and have not told their connections yet.
    pub(super) untold: Untold,
    /// Target groups of which something was observed since their tables were computed.
    unsettled: BTreeSet<String>,
    actions: BTreeMap<ForwardAction, Action>,
    forwards: Numbers<ForwardAction>,
    counters: Numbers<ListenerName>,
    /// Of the listeners that have one.
    policies: BTreeMap<ListenerName, Policy>,
    /// What `LISTENERS` must hold, renewed where something changed: there may be thousands.
    listener_values: ListenerValues,
    /// What `TARGETS` must hold, likewise.
    target_entries: BTreeMap<TargetId, Target>,
    /// Whose the ids are, likewise.
    target_names: BTreeMap<TargetId, TargetName>,
    /// How an earlier controller reached targets of which it is not known yet how they are reached now.
    held_ways: BTreeMap<TargetId, Target>,
    capacity: Capacity,
}

/// A desired state that can't follow the present one.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is bigger than the data plane.
    #[error(transparent)]
    TooBig(#[from] TooBig),
    /// It gives QUIC connections of one target to another.
    #[error(transparent)]
    QuicServerId(#[from] QuicServerIdInUse),
}

/// A desired state that is bigger than the data plane.
#[derive(Debug, thiserror::Error)]
pub enum TooBig {
    /// More targets than ids.
    #[error(transparent)]
    Targets(#[from] super::registry::TooManyTargets),
    /// More of something than its map has room for.
    #[error("{count} {what} are more than the {room} that the balancer was loaded for")]
    Map {
        /// What there is too much of.
        what: Full,
        /// How many.
        count: usize,
        /// How many there may be.
        room: usize,
    },
}

/// What a map may have no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The prefixes of all allow-lists.
    AllowedPrefixes,
    /// VIPs.
    Vips,
    /// Listeners, on each VIP and for each transport protocol.
    Listeners,
    /// Different forward actions.
    ForwardActions,
    /// QUIC server ids of registered targets.
    QuicServerIds,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Full::AllowedPrefixes => "prefixes of allow-lists",
            Full::Vips => "VIPs",
            Full::Listeners => "listeners (on each VIP)",
            Full::ForwardActions => "forward actions",
            Full::QuicServerIds => "QUIC server ids (of each forward action)",
        })
    }
}

impl Reconciler {
    /// Begins with the desired state `desired`.
    ///
    /// # Errors
    /// If it is bigger than `capacity`.
    pub fn new(desired: Desired, capacity: Capacity, now: Instant) -> Result<Reconciler, Refused> {
        Reconciler::adopt(desired, capacity, &Contents::default(), now)
    }

    /// Begins with the desired state `desired` where an earlier controller has left `held` in the maps: targets,
    /// actions and listeners that are still wanted keep their numbers, slots their targets, draining targets the rest
    /// of their time. An equal desired state then needs [`Contents`] equal to `held`.
    ///
    /// # Errors
    /// As [`Reconciler::apply`], to which the earlier state is the present one.
    pub fn adopt(
        desired: Desired,
        capacity: Capacity,
        held: &Contents,
        now: Instant,
    ) -> Result<Reconciler, Refused> {
        let mut reconciler = Reconciler::empty(&desired, capacity);
        adopt::registry(&mut reconciler.registry, &desired, held, now);
        for (name, number) in adopt::counters(&desired, held) {
            reconciler.counters.adopt(name, number);
        }
        for (forward, index) in adopt::forwards(&desired, held) {
            if let Some(action) = adopt::action(&forward, index, &desired, held, &reconciler.registry, now) {
                reconciler.forwards.adopt(forward.clone(), index);
                reconciler.actions.insert(forward, action);
            }
        }
        reconciler.held_ways = held.targets.clone();
        reconciler.apply(desired, now)?;
        if held.names.targets.is_empty() {
            // Former owners are in the maps that were left; in new ones nobody is.
            reconciler.untold = Untold::of(reconciler.agent_addresses());
        }
        Ok(reconciler)
    }

    fn empty(desired: &Desired, capacity: Capacity) -> Reconciler {
        Reconciler {
            desired: Desired {
                node: desired.node.clone(),
                metrics_address: None,
                load_balancers: BTreeMap::new(),
                target_groups: BTreeMap::new(),
            },
            registry: Registry::new(capacity.targets),
            next_hops: Arc::default(),
            agents: Agents::new(),
            untold: Untold::default(),
            unsettled: BTreeSet::new(),
            actions: BTreeMap::new(),
            forwards: Numbers::below(capacity.forwards),
            counters: Numbers::below(capacity.listeners),
            policies: BTreeMap::new(),
            listener_values: BTreeMap::new(),
            target_entries: BTreeMap::new(),
            target_names: BTreeMap::new(),
            held_ways: BTreeMap::new(),
            capacity,
        }
    }

    /// Takes over another desired state, whole or not at all.
    ///
    /// # Errors
    /// If it is bigger than the data plane, or takes the QUIC server id of a target that still needs it; the
    /// state is as before then.
    pub fn apply(&mut self, desired: Desired, now: Instant) -> Result<(), Refused> {
        check_room(&desired, self.capacity)?;
        quic_servers::check(&desired, &self.registry)?;
        let changed = changed_groups(&self.desired, &desired);
        self.registry.register(&desired, &changed, now).map_err(TooBig::from)?;
        let zone_changed = self.desired.node.zone != desired.node.zone;
        let listeners_changed = self.desired.load_balancers != desired.load_balancers;
        self.desired = desired;
        let heirs = if listeners_changed { self.follow_listeners(now) } else { BTreeSet::new() };
        let stale = self.renew_idles(|forward, action| {
            zone_changed || heirs.contains(forward) || action.serves_any(forward, &changed)
        });
        self.renew_listeners(|forward| listeners_changed || forward.names_any(&changed));
        self.refresh(|forward, _| stale.contains(forward), now);
        if zone_changed {
            self.renew_targets(&self.desired.target_groups.keys().cloned().collect());
        } else {
            self.renew_targets(&changed);
        }
        Ok(())
    }

    /// Gives the forward actions and listeners that are there now their numbers and policies; the actions that go on
    /// with the slots of others.
    fn follow_listeners(&mut self, now: Instant) -> BTreeSet<ForwardAction> {
        let wanted: BTreeSet<ForwardAction> =
            self.listeners().map(|(_, _, listener)| listener.forward.clone()).collect();
        let named: BTreeSet<ListenerName> =
            self.listeners().map(|(name, _, listener)| listener_name(name, listener)).collect();
        self.counters.retain(|name| named.contains(name));
        let heirs = self.follow_actions(wanted, now);
        for name in named {
            self.counters.of(&name).expect("`check_room` has counted the listeners");
        }
        self.policies = policies_of(&self.desired);
        self.listener_values.clear();
        heirs
    }

    /// Makes the actions those that are `wanted`; new ones that go on with the slots of others are told. The first heir
    /// of an action that goes has its index: what is known of the slots in the data plane is its own then, and until
    /// its listener is written that finds its table, not a stranger's.
    fn follow_actions(&mut self, wanted: BTreeSet<ForwardAction>, now: Instant) -> BTreeSet<ForwardAction> {
        let heirs = self.heirs();
        for (heir, old) in heirs.iter().filter(|(_, old)| !wanted.contains(old)) {
            self.forwards.bequeath(old, heir);
        }
        self.forwards.retain(|forward| wanted.contains(forward));
        let mut newcomers = Vec::new();
        for forward in wanted.iter().filter(|forward| !self.actions.contains_key(forward)) {
            let index = self.forwards.of(forward).expect("`check_room` has counted the actions");
            let old = heirs.get(forward);
            let action = match old.and_then(|old| Some((old, self.actions.get(old)?))) {
                Some((old, action)) => action.succeeded(old, index, now),
                None => Action::new(index),
            };
            newcomers.push((forward.clone(), action));
        }
        self.actions.retain(|forward, _| wanted.contains(forward));
        self.actions.extend(newcomers);
        heirs.into_keys().collect()
    }

    /// The wanted actions that are new and have a predecessor, with that.
    fn heirs(&self) -> BTreeMap<ForwardAction, ForwardAction> {
        let is_new = |listener: &Listener| !self.actions.contains_key(&listener.forward);
        let listeners = self.listeners().filter(|(_, _, listener)| is_new(listener));
        let wanted = listeners.flat_map(|(_, vips, listener)| {
            let names = protocol_numbers(listener.protocol).iter().flat_map(move |protocol| {
                vips.iter().map(move |vip| (*vip, port_number(listener.port), *protocol))
            });
            names.map(|name| (name, &listener.forward))
        });
        let predecessors = succession::predecessors(wanted, &self.listener_values);
        if predecessors.is_empty() {
            return BTreeMap::new();
        }
        let by_index: BTreeMap<u32, &ForwardAction> =
            self.actions.iter().map(|(forward, action)| (action.index, forward)).collect();
        let heir = |(heir, index): (&ForwardAction, u32)| {
            Some((heir.clone(), by_index.get(&index).copied()?.clone()))
        };
        predecessors.into_iter().filter_map(heir).collect()
    }

    /// Takes over the idle time-outs; the actions that must be refreshed: new ones, those with another time-out, and
    /// those that are `concerned` by something else.
    fn renew_idles(
        &mut self,
        concerned: impl Fn(&ForwardAction, &Action) -> bool,
    ) -> BTreeSet<ForwardAction> {
        let idles = self.idles();
        let idle_of = |forward| idles.get(forward).copied().unwrap_or_default();
        let stale: BTreeMap<ForwardAction, Duration> = self
            .actions
            .iter()
            .map(|(forward, action)| (forward, action, idle_of(forward)))
            .filter(|(forward, action, idle)| {
                action.slots().is_none() || action.idle != *idle || concerned(forward, action)
            })
            .map(|(forward, _, idle)| (forward.clone(), idle))
            .collect();
        for (forward, idle) in &stale {
            self.actions.get_mut(forward).expect("the key was just seen").idle = *idle;
        }
        stale.into_keys().collect()
    }

    /// Renews the values of the listeners with a `concerned` action.
    fn renew_listeners(&mut self, concerned: impl Fn(&ForwardAction) -> bool) {
        let mut renewed = Vec::new();
        for (name, vips, listener) in self.listeners().filter(|(_, _, listener)| concerned(&listener.forward))
        {
            let port = port_number(listener.port);
            for protocol in protocol_numbers(listener.protocol) {
                let value = self.listener_value(name, listener, *protocol);
                renewed.extend(vips.iter().map(|vip| ((*vip, port, *protocol), value)));
            }
        }
        self.listener_values.extend(renewed);
    }

    /// Renews the entries of the targets of these groups; those of targets that have gone go.
    fn renew_targets(&mut self, groups: &BTreeSet<String>) {
        let mut renewed = Vec::new();
        for group in groups {
            for (address, record) in self.registry.group(group) {
                let key = TargetKey { target_group: group.clone(), address };
                renewed.push((record.id, self.target_entry(&key, record)));
                self.target_names.insert(record.id, TargetName::of(&key, record));
            }
        }
        self.target_entries.extend(renewed);
        for id in self.registry.leaving() {
            self.target_entries.remove(id);
            self.target_names.remove(id);
        }
    }

    /// Takes over what a check found that ended at `now`; it counts from the next [`Reconciler::settle`] on.
    pub fn observe(&mut self, target: &TargetKey, health: HealthStatus, now: Instant) {
        if self.registry.observe(target, health, now) {
            self.unsettled.insert(target.target_group.clone());
        }
    }

    /// Takes over what is known of a target's agent; it counts from the next [`Reconciler::settle`] on.
    pub fn observe_agent(&mut self, address: IpAddr, state: AgentState) {
        self.agents.insert(address, state);
        let groups = self.registry.iter().filter(|(key, _)| key.address == address);
        self.unsettled.extend(groups.map(|(key, _)| key.target_group.clone()));
    }

    /// Forgets the agents of all but these targets.
    pub fn retain_agents(&mut self, addresses: &BTreeSet<IpAddr>) {
        self.agents.retain(|address, _| addresses.contains(address));
    }

    /// What is known of a target's agent.
    pub fn agent(&self, address: IpAddr) -> AgentState {
        self.agents.get(&address).copied().unwrap_or_default()
    }

    /// Who keeps the flows of a target group where they are.
    pub fn keeper(&self, target_group: &str) -> Option<Keeper> {
        let group = self.desired.target_groups.get(target_group)?;
        Some(second_chance::keeper(group, self.registry.group(target_group), &self.agents))
    }

    /// Computes the tables of the target groups anew of which something was observed: once for any number of
    /// observations.
    pub fn settle(&mut self, now: Instant) {
        let groups = std::mem::take(&mut self.unsettled);
        if !groups.is_empty() {
            self.refresh(|forward, action| action.serves_any(forward, &groups), now);
            self.renew_targets(&groups);
        }
    }

    /// Takes over how the targets are reached.
    pub fn set_next_hops(&mut self, next_hops: impl Into<Arc<Resolutions>>) {
        let old = std::mem::replace(&mut self.next_hops, next_hops.into());
        let differences = crate::next_hop::differences(&old, &self.next_hops);
        let is_gone = |address: &IpAddr| old.contains_key(address) && !self.next_hops.contains_key(address);
        let is_new = |key: &TargetKey| differences.contains(&key.address) || is_gone(&key.address);
        let renewed: Vec<(TargetId, Target)> = self
            .registry
            .iter()
            .filter(|(key, _)| is_new(key))
            .map(|(key, record)| (record.id, self.target_entry(key, record)))
            .collect();
        self.target_entries.extend(renewed);
        let (registry, next_hops) = (&self.registry, &self.next_hops);
        self.held_ways.retain(|id, _| {
            registry.by_id(*id).is_some_and(|(key, _)| is_unknown(next_hops.get(&key.address)))
        });
    }

    /// Ends what time has ended. `last_exception` says of a forward action's slot when a packet of it last went
    /// elsewhere.
    pub fn tick(&mut self, now: Instant, last_exception: &dyn Fn(u32, usize) -> Option<Instant>) {
        let left = self.registry.end_draining(now);
        if !left.is_empty() {
            self.refresh(|forward, action| action.serves_any(forward, &left), now);
        }
        for action in self.actions.values_mut() {
            if action.next_deadline().is_some_and(|deadline| deadline <= now) {
                let index = action.index;
                action.tick(&self.registry, now, &|slot| last_exception(index, slot));
            }
        }
        let actions = &self.actions;
        self.registry.end_lingering(now, LINGER_PAUSE, |key, record| {
            let mut concerned =
                actions.iter().filter(|(forward, action)| action.serves(forward, &key.target_group));
            concerned.any(|(_, action)| action.may_have_flows_of(record.id))
        });
        self.renew_targets(&left);
    }

    /// When [`Reconciler::tick`] may change something.
    pub fn next_deadline(&self) -> Option<Instant> {
        let actions = self.actions.values().filter_map(Action::next_deadline);
        actions.chain(self.registry.next_deadline()).min()
    }

    fn refresh(&mut self, concerned: impl Fn(&ForwardAction, &Action) -> bool, now: Instant) {
        for (forward, action) in &mut self.actions {
            if concerned(forward, action) {
                action.refresh(forward, &self.desired, &self.registry, &self.agents, now);
            }
        }
    }

    /// Takes over which slots of an action a target has connections in.
    pub(super) fn tell_action(
        &mut self,
        forward: &ForwardAction,
        target: TargetId,
        used: &UsedSlots,
        asked: Instant,
        now: Instant,
    ) {
        if let Some(action) = self.actions.get_mut(forward) {
            action.told(&self.registry, target, used, asked, now);
        }
    }

    /// The same for a target that tells for the first time since the node started.
    pub(super) fn teach_action(
        &mut self,
        forward: &ForwardAction,
        target: TargetId,
        used: &UsedSlots,
        asked: Instant,
        now: Instant,
    ) {
        if let Some(action) = self.actions.get_mut(forward) {
            action.learn(&self.registry, target, used, asked, now);
        }
    }

    /// What the maps must hold.
    pub fn contents(&self) -> Contents {
        let quic_servers = self
            .actions
            .iter()
            .filter(|(forward, _)| quic_servers::may_have(forward, &self.desired))
            .flat_map(|(forward, action)| {
                quic_servers::of(forward, &self.registry)
                    .map(|(server_id, id)| ((action.index, server_id), id))
            });
        let policies = self.policies.iter().filter_map(|(name, policy)| {
            let counter = u16::try_from(self.counters.get(name)?).ok()?;
            Some((counter, policy.clone()))
        });
        let tables = self.actions.values().filter_map(|action| Some((action.index, action.table()?.clone())));
        let load_balancers = self.desired.load_balancers.values();
        Contents {
            listeners: self.listener_values.clone(),
            policies: policies.collect(),
            vips: load_balancers.flat_map(|load_balancer| load_balancer.vips.iter().copied()).collect(),
            quic_servers: quic_servers.collect(),
            tables: tables.collect(),
            targets: self.target_entries.clone(),
            names: self.names(),
        }
    }

    fn names(&self) -> Names {
        let forward = |(forward, action): (&ForwardAction, &Action)| {
            (
                action.index,
                ForwardName { identity: adopt::action_identity(forward), base: action.base_size() },
            )
        };
        let listener = |(name, _, listener): (&str, _, &Listener)| {
            let identity = adopt::listener_identity(&listener_name(name, listener));
            Some((self.counter(name, listener)?, identity))
        };
        Names {
            targets: self.target_names.clone(),
            forwards: self.actions.iter().map(forward).collect(),
            listeners: self.listeners().filter_map(listener).collect(),
        }
    }

    fn listeners(&self) -> impl Iterator<Item = (&str, &[IpAddr], &Listener)> {
        self.desired.load_balancers.iter().flat_map(|(name, load_balancer)| {
            let vips = load_balancer.vips.as_slice();
            load_balancer.listeners.iter().map(move |listener| (name.as_str(), vips, listener))
        })
    }

    /// What the data plane must know of a listener for one transport protocol of it.
    fn listener_value(&self, load_balancer: &str, listener: &Listener, protocol: u8) -> ListenerValue {
        let groups = self.groups_of(listener);
        let tracking = groups.clone().map(|group| group.udp_tracking).next().unwrap_or(UdpTracking::Changed);
        ListenerValue {
            forward: self.actions[&listener.forward].index,
            counter: self.counter(load_balancer, listener).unwrap_or_default(),
            idle: Tick::covering_seconds(self.idle_of(listener, protocol).as_secs()),
            tracking: match tracking {
                _ if protocol == TCP => ListenerValue::TRACK_CHANGED,
                UdpTracking::Changed => ListenerValue::TRACK_CHANGED,
                UdpTracking::Always => ListenerValue::TRACK_ALWAYS,
                UdpTracking::Never => ListenerValue::TRACK_NEVER,
            },
            flags: flags(listener, groups, protocol) | self.policy_flag(load_balancer, listener, protocol),
        }
    }

    fn groups_of<'a>(&'a self, listener: &'a Listener) -> impl Iterator<Item = &'a TargetGroup> + Clone {
        listener.forward.0.iter().map(|part| &*self.desired.target_groups[&part.target_group])
    }

    /// How long a flow of the listener lives without a packet, of this transport protocol.
    fn idle_of(&self, listener: &Listener, protocol: u8) -> Duration {
        let of_groups =
            |idle: fn(&TargetGroup) -> Duration| self.groups_of(listener).map(idle).max().unwrap_or_default();
        match listener.idle_timeout {
            _ if protocol != TCP => of_groups(|group| group.udp_idle_timeout),
            Some(own) => own,
            None => of_groups(|group| group.idle_timeout),
        }
    }

    /// How long a flow lives without a packet, by forward action: the longest of its listeners'.
    fn idles(&self) -> BTreeMap<&ForwardAction, Duration> {
        let mut idles: BTreeMap<&ForwardAction, Duration> = BTreeMap::new();
        for (_, _, listener) in self.listeners() {
            let protocols = protocol_numbers(listener.protocol).iter();
            let idle = protocols.map(|protocol| self.idle_of(listener, *protocol)).max().unwrap_or_default();
            let longest = idles.entry(&listener.forward).or_default();
            *longest = idle.max(*longest);
        }
        idles
    }

    /// How long a flow to a target of the group lives without a packet: the longest of the listeners' that forward to
    /// it.
    pub fn longest_idle(&self, target_group: &str) -> Duration {
        let actions = self.actions.iter().filter(|(forward, _)| forward.has(target_group));
        actions.map(|(_, action)| action.idle).max().unwrap_or_default()
    }

    fn policy_flag(&self, load_balancer: &str, listener: &Listener, protocol: u8) -> u32 {
        let policy = self.policies.get(&listener_name(load_balancer, listener));
        if policy.is_some_and(|policy| policy.concerns(protocol)) { ListenerValue::FLAG_POLICY } else { 0 }
    }

    fn target_entry(&self, key: &TargetKey, record: &Record) -> Target {
        let room = self.room_for_chains(key);
        let mut target = match self.next_hops.get(&key.address) {
            Some(Ok(next_hop)) => tunnel(next_hop, key.address, record.encapsulation, room)
                .map_or(Target::NONE, |tunnel| tunnel.target()),
            unknown if is_unknown(unknown) => self.held_way(key, record.id).unwrap_or(Target::NONE),
            _ => Target::NONE,
        }
        .at(key.address);
        if self.keeps_flows(key, record) {
            target.way = target.way.keeping_flows();
        } else {
            target.way = target.way.losing_flows();
        }
        target
    }

    /// How an earlier controller reached the target, which had this id then.
    fn held_way(&self, key: &TargetKey, id: TargetId) -> Option<Target> {
        let held = self.held_ways.get(&id)?;
        (adopt::address_of(held) == Some(key.address)).then_some(*held)
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

    /// A dead target's flows are lost, unless its group has nothing better.
    fn keeps_flows(&self, key: &TargetKey, record: &Record) -> bool {
        !record.is_dead() || self.fails_open(&key.target_group)
    }

    /// Whether too few targets of the group are healthy, so that all are used.
    pub fn fails_open(&self, target_group: &str) -> bool {
        let Some(group) = self.desired.target_groups.get(target_group) else { return false };
        let mut used = self.used_targets(target_group).peekable();
        used.peek().is_some()
            && usable(self.used_targets(target_group), group.minimum_healthy.routing) == Usable::All
    }

    /// The targets of the group that this node uses.
    pub(super) fn used_targets<'a>(
        &'a self,
        target_group: &'a str,
    ) -> impl Iterator<Item = &'a Record> + Clone {
        let group = self.desired.target_groups.get(target_group);
        let is_used =
            |record: &&Record| group.is_none_or(|group| is_in_scope(group, record, &self.desired.node.zone));
        let records: Vec<&Record> =
            self.registry.group(target_group).map(|(_, record)| record).filter(is_used).collect();
        records.into_iter()
    }

    /// The targets to check, each with its check: those of groups that a listener forwards to.
    pub fn health_checks(&self) -> BTreeMap<TargetKey, TargetCheck> {
        let named = self.actions.keys().flat_map(|forward| &forward.0);
        let in_use: BTreeSet<&str> = named.map(|part| part.target_group.as_str()).collect();
        let groups = in_use.into_iter().filter_map(|name| self.desired.target_groups.get_key_value(name));
        groups
            .flat_map(|(name, group)| self.registry.group(name).map(move |member| (name, group, member)))
            .map(|(name, group, (address, record))| {
                let health_check = Arc::clone(&group.health_check);
                let check = TargetCheck { port: health_check.port.of(record.port), health_check };
                (TargetKey { target_group: name.clone(), address }, check)
            })
            .collect()
    }

    /// Whether a listener forwards to the group.
    pub fn is_in_use(&self, target_group: &str) -> bool {
        self.actions.keys().any(|forward| forward.has(target_group))
    }

    /// The addresses whose next hops are needed.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.registry.iter().map(|(key, _)| key.address).collect()
    }

    /// Ids that were a target's, and that the data plane must forget.
    pub fn leaving(&self) -> &BTreeSet<TargetId> {
        self.registry.leaving()
    }

    /// The data plane has forgotten these ids.
    pub fn released(&mut self, ids: &BTreeSet<TargetId>) {
        self.registry.released(ids);
    }

    /// The desired state in force.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// The targets.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// How the targets are reached.
    pub fn next_hops(&self) -> &Resolutions {
        &self.next_hops
    }

    /// The forward actions with their tables.
    pub fn actions(&self) -> &BTreeMap<ForwardAction, Action> {
        &self.actions
    }

    /// A listener's index in `LISTENER_COUNTERS`.
    pub fn counter(&self, load_balancer: &str, listener: &Listener) -> Option<u16> {
        let number = self.counters.get(&listener_name(load_balancer, listener))?;
        u16::try_from(number).ok()
    }
}

/// The names of the target groups that are not in both, or not the same.
fn changed_groups(old: &Desired, new: &Desired) -> BTreeSet<String> {
    let changed =
        new.target_groups.iter().filter(|(name, group)| old.target_groups.get(*name) != Some(group));
    let gone = old.target_groups.keys().filter(|name| !new.target_groups.contains_key(*name));
    changed.map(|(name, _)| name).chain(gone).cloned().collect()
}

/// Whether it is not known yet how an address is reached.
fn is_unknown(resolution: Option<&Result<NextHop, Unresolved>>) -> bool {
    matches!(resolution, None | Some(Err(Unresolved::NeighbourPending { .. })))
}

fn policies_of(desired: &Desired) -> BTreeMap<ListenerName, Policy> {
    let named = desired.load_balancers.iter().flat_map(|(name, load_balancer)| {
        let names = load_balancer.listeners.iter().map(|listener| listener_name(name, listener));
        names.zip(policies::of(load_balancer))
    });
    named.filter(|(_, policy)| *policy != Policy::default()).collect()
}

pub(super) fn listener_name(load_balancer: &str, listener: &Listener) -> ListenerName {
    (load_balancer.to_owned(), listener.protocol, listener.port)
}

/// The port of a listener in `LISTENERS`.
fn port_number(port: ListenerPort) -> u16 {
    match port {
        ListenerPort::Port(port) => port,
        ListenerPort::Any => 0,
    }
}

/// The transport protocols of a listener: an entry of `LISTENERS` each, with one action and one counter.
fn protocol_numbers(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Tcp => &[TCP],
        Protocol::Udp | Protocol::Quic => &[UDP],
        Protocol::TcpUdp => &[TCP, UDP],
    }
}

fn flags<'a>(listener: &Listener, mut groups: impl Iterator<Item = &'a TargetGroup>, protocol: u8) -> u32 {
    let when = |condition: bool, flag: u32| if condition { flag } else { 0 };
    when(groups.any(|group| group.stickiness == Stickiness::SourceIp), ListenerValue::FLAG_SOURCE_AFFINITY)
        | when(listener.protocol == Protocol::Quic, ListenerValue::FLAG_QUIC)
        | when(listener.port == ListenerPort::Any && protocol == UDP, ListenerValue::FLAG_LEAVES_TUNNELS)
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

/// Whether the maps have room for a desired state; whether there are ids for its targets is the registry's to say.
///
/// # Errors
/// With the first map that has not.
pub fn check_room(desired: &Desired, capacity: Capacity) -> Result<(), TooBig> {
    let load_balancers = || desired.load_balancers.values();
    let actions: BTreeSet<&ForwardAction> =
        load_balancers().flat_map(|lb| lb.listeners.iter().map(|listener| &listener.forward)).collect();
    let quic_server_ids = actions.iter().map(|action| quic_servers::count(action, desired)).sum();
    let allowed_prefixes = policies::count(desired);
    let rows = [
        (Full::AllowedPrefixes, allowed_prefixes, capacity.allowed_prefixes as usize),
        (Full::Vips, load_balancers().map(|lb| lb.vips.len()).sum(), capacity.vips as usize),
        (
            Full::Listeners,
            load_balancers().map(|lb| lb.vips.len() * listener_entries(lb)).sum(),
            capacity.listeners as usize - 1,
        ),
        (Full::ForwardActions, actions.len(), capacity.forwards as usize - 1),
        (Full::QuicServerIds, quic_server_ids, capacity.quic_servers() as usize / 2),
    ];
    for (what, count, room) in rows {
        if count > room {
            return Err(TooBig::Map { what, count, room });
        }
    }
    Ok(())
}

fn listener_entries(load_balancer: &LoadBalancer) -> usize {
    load_balancer.listeners.iter().map(|listener| protocol_numbers(listener.protocol).len()).sum()
}
