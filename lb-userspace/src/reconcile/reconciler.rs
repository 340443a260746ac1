//! The whole: takes in each change, and says what the maps must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_common::{Target, TargetId};

use super::action::{Action, Usable, is_in_scope, usable};
use super::actions::Actions;
use super::adopt::{self, ForwardName, TargetName};
use super::contents::{Contents, Names};
use super::counters::Numbers;
use super::listeners::{ListenerName, ListenerValues, listener_name};
use super::quic_servers::{self, QuicServerIdInUse};
use super::registry::{Record, Registry};
use super::room::{Refused, TooBig, check_room};
use super::second_chance::{self, Agents, Keeper};
use super::untold::Untold;
use crate::data_plane::Capacity;
use crate::health::{HealthStatus, TargetCheck};
use crate::model::{Desired, Listener, Policy, TargetKey};
use crate::next_hop::Resolutions;
use crate::presence::AgentState;
use crate::presence::slots::UsedSlots;

/// Between two looks whether flows of a target that has left still live.
const LINGER_PAUSE: Duration = Duration::from_secs(10);

/// Desired and observed state, and what follows from them.
#[derive(Debug, Clone)]
pub struct Reconciler {
    pub(super) desired: Desired,
    pub(super) registry: Registry,
    pub(super) next_hops: Arc<Resolutions>,
    /// What is known of the targets' agents.
    agents: Agents,
    /// Targets that were there at the start and have not told their connections yet.
    pub(super) untold: Untold,
    /// Target groups of which something was observed since their tables were computed.
    unsettled: BTreeSet<String>,
    pub(super) actions: Actions,
    pub(super) counters: Numbers<ListenerName>,
    /// Of the listeners that have one.
    pub(super) policies: BTreeMap<ListenerName, Policy>,
    /// What `LISTENERS` must hold, renewed where something changed: there may be thousands.
    pub(super) listener_values: ListenerValues,
    /// What `TARGETS` must hold, likewise.
    pub(super) target_entries: Arc<BTreeMap<TargetId, Arc<Target>>>,
    /// Whose the ids are, likewise.
    pub(super) target_names: Arc<BTreeMap<TargetId, Arc<TargetName>>>,
    /// How an earlier controller reached targets of which it is not known yet how they are reached now.
    pub(super) held_ways: BTreeMap<TargetId, Arc<Target>>,
    /// What was to be adopted, where server ids of it were still somebody else's, and why it is not whole in force.
    awaited: Option<(Desired, QuicServerIdInUse)>,
    capacity: Capacity,
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
    /// of their time. An equal desired state then needs [`Contents`] equal to `held`. Targets whose QUIC server ids are
    /// still those of others come later: see [`Reconciler::take_awaited`].
    ///
    /// # Errors
    /// If it is bigger than `capacity`, together with what is still there.
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
        if !desired.load_balancers.is_empty() {
            let actions = adopt::actions(&desired, held, &reconciler.registry, now);
            let serving = held.listeners.iter().map(|(entry, value)| (*entry, value.forward));
            reconciler.actions = Actions::adopted(actions, serving, capacity);
        }
        reconciler.held_ways = BTreeMap::clone(&held.targets);
        let why = quic_servers::apply_in_turn(desired.clone(), |desired| reconciler.apply(desired, now))?;
        reconciler.awaited = why.map(|why| (desired, why));
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
            actions: Actions::none(capacity),
            counters: Numbers::below(capacity.listeners),
            policies: BTreeMap::new(),
            listener_values: BTreeMap::new(),
            target_entries: Arc::default(),
            target_names: Arc::default(),
            held_ways: BTreeMap::new(),
            awaited: None,
            capacity,
        }
    }

    /// What could not be adopted whole, and why: to be applied by [`quic_servers::apply_in_turn`] until it is.
    pub fn take_awaited(&mut self) -> Option<(Desired, QuicServerIdInUse)> {
        self.awaited.take()
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
        let is_served = |group: &str| self.actions.serve(group);
        self.registry.register(&desired, &changed, is_served, now).map_err(TooBig::from)?;
        let zone_changed = self.desired.node.zone != desired.node.zone;
        let listeners_changed = self.desired.load_balancers != desired.load_balancers;
        let logs_changed = self.desired.node.flow_log.is_some() != desired.node.flow_log.is_some();
        self.desired = desired;
        let heirs = if listeners_changed { self.follow_listeners(now) } else { BTreeSet::new() };
        self.registry.end_unserved(|| self.actions.served());
        let stale = self.renew_idles(|action| {
            zone_changed || heirs.contains(&action.index) || action.serves_any(&changed)
        });
        self.renew_listeners(|listener| {
            listeners_changed || logs_changed || listener.forward.names_any(&changed)
        });
        self.refresh(|action| stale.contains(&action.index), now);
        if zone_changed {
            self.renew_targets(&self.desired.target_groups.keys().cloned().chain(changed).collect());
        } else {
            self.renew_targets(&changed);
        }
        Ok(())
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
            self.refresh(|action| action.serves_any(&groups), now);
            self.renew_targets(&groups);
        }
    }

    /// Ends what time has ended. `last_exception` says of a forward action's slot when a packet of it last went
    /// elsewhere.
    pub fn tick(&mut self, now: Instant, last_exception: &dyn Fn(u32, usize) -> Option<Instant>) {
        let left = self.registry.end_draining(now);
        if !left.is_empty() {
            self.refresh(|action| action.serves_any(&left), now);
        }
        for action in self.actions.iter_mut() {
            if action.next_deadline().is_some_and(|deadline| deadline <= now) {
                let index = action.index;
                action.tick(&self.registry, now, &|slot| last_exception(index, slot));
            }
        }
        let actions = &self.actions;
        self.registry.end_lingering(now, LINGER_PAUSE, |key, record| {
            let mut concerned = actions.iter().filter(|action| action.serves(&key.target_group));
            concerned.any(|action| action.may_have_flows_of(record.id))
        });
        if self.actions.join_twins() {
            self.renew_listeners(|_| true);
        }
        self.registry.end_unserved(|| self.actions.served());
        self.renew_targets(&left);
    }

    /// When [`Reconciler::tick`] may change something.
    pub fn next_deadline(&self) -> Option<Instant> {
        let actions = self.actions.iter().filter_map(Action::next_deadline);
        actions.chain(self.registry.next_deadline()).min()
    }

    fn refresh(&mut self, concerned: impl Fn(&Action) -> bool, now: Instant) {
        for action in self.actions.iter_mut() {
            if concerned(action) {
                action.refresh(&self.desired, &self.registry, &self.agents, now);
            }
        }
    }

    /// Takes over which slots of an action a target has connections in.
    pub(super) fn tell_action(
        &mut self,
        index: u32,
        target: TargetId,
        used: &UsedSlots,
        asked: Instant,
        now: Instant,
    ) {
        if let Some(action) = self.actions.at_mut(index) {
            action.told(&self.registry, target, used, asked, now);
        }
    }

    /// The same for a target that tells for the first time since the node started.
    pub(super) fn teach_action(
        &mut self,
        index: u32,
        target: TargetId,
        used: &UsedSlots,
        asked: Instant,
        now: Instant,
    ) {
        if let Some(action) = self.actions.at_mut(index) {
            action.learn(&self.registry, target, used, asked, now);
        }
    }

    /// What the maps must hold.
    pub fn contents(&self) -> Contents {
        let quic_servers = self
            .actions
            .iter()
            .filter(|action| quic_servers::may_have(&action.forward, &self.desired))
            .flat_map(|action| {
                quic_servers::of(&action.forward, &self.registry)
                    .map(|(server_id, id)| ((action.index, server_id), id))
            });
        let policies = self.policies.iter().filter_map(|(name, policy)| {
            let counter = u16::try_from(self.counters.get(name)?).ok()?;
            Some((counter, policy.clone()))
        });
        let tables = self.actions.iter().filter_map(|action| Some((action.index, action.table()?.clone())));
        let load_balancers = self.desired.load_balancers.values();
        Contents {
            listeners: self.listener_values.clone(),
            policies: policies.collect(),
            vips: load_balancers.flat_map(|load_balancer| load_balancer.vips.iter().copied()).collect(),
            quic_servers: quic_servers.collect(),
            tables: tables.collect(),
            targets: Arc::clone(&self.target_entries),
            names: self.names(),
        }
    }

    fn names(&self) -> Names {
        let forward = |action: &Action| {
            let identity = adopt::action_identity(&action.forward);
            (action.index, ForwardName { identity, base: action.base_size() })
        };
        let listener = |(name, _, listener): (&str, _, &Listener)| {
            let identity = adopt::listener_identity(&listener_name(name, listener));
            Some((self.counter(name, listener)?, identity))
        };
        Names {
            targets: Arc::clone(&self.target_names),
            forwards: self.actions.iter().map(forward).collect(),
            listeners: self.listeners().filter_map(listener).collect(),
        }
    }

    /// How long a flow to a target of the group lives without a packet: the longest of the listeners' that forward to
    /// it.
    pub fn longest_idle(&self, target_group: &str) -> Duration {
        let actions = self.actions.iter().filter(|action| action.forward.has(target_group));
        actions.map(|action| action.idle).max().unwrap_or_default()
    }

    /// Whether too few targets of the group are healthy, so that all are used.
    pub fn fails_open(&self, target_group: &str) -> bool {
        let Some(group) = self.desired.target_groups.get(target_group) else { return false };
        let used = self.used_targets(target_group);
        used.clone().next().is_some() && usable(used, group.minimum_healthy.routing) == Usable::All
    }

    /// The targets of the group that this node uses.
    pub(super) fn used_targets<'a>(
        &'a self,
        target_group: &'a str,
    ) -> impl Iterator<Item = &'a Record> + Clone {
        let group = self.desired.target_groups.get(target_group);
        let zone = self.desired.node.zone.as_str();
        let is_used = move |record: &&Record| group.is_none_or(|group| is_in_scope(group, record, zone));
        self.registry.group(target_group).map(|(_, record)| record).filter(is_used)
    }

    /// The targets to check, each with its check: those of groups that a listener forwards to.
    pub fn health_checks(&self) -> BTreeMap<TargetKey, TargetCheck> {
        let named = self.actions.iter().flat_map(|action| &action.forward.0);
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
        self.actions.iter().any(|action| action.forward.has(target_group))
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
    pub fn actions(&self) -> &Actions {
        &self.actions
    }
}

/// The names of the target groups that are not in both, or not the same.
fn changed_groups(old: &Desired, new: &Desired) -> BTreeSet<String> {
    let changed =
        new.target_groups.iter().filter(|(name, group)| old.target_groups.get(*name) != Some(group));
    let gone = old.target_groups.keys().filter(|name| !new.target_groups.contains_key(*name));
    changed.map(|(name, _)| name).chain(gone).cloned().collect()
}
