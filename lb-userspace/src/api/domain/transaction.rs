//! The state, and changes of it that are made as a whole or not at all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use super::arn::{Identity, Load, Resource, ResourceId};
use super::records::{Listener, LoadBalancer, TargetGroup};
use crate::api::protocol::{ApiError, Code};

/// Everything that the API keeps. Records are shared, so that a copy of one is made only when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// How many changes made it: every change is one more.
    pub generation: u64,
    /// The load balancers by name.
    pub load_balancers: BTreeMap<String, Arc<LoadBalancer>>,
    /// The target groups by name.
    pub target_groups: BTreeMap<String, Arc<TargetGroup>>,
    /// The VIP that each pool gave out last, by subnet id and family (`subnet-a/ipv4`): the next one is after it, so
    /// that a released VIP comes back as late as it can.
    pub last_vips: BTreeMap<String, IpAddr>,
}

/// What was changed, with what was there before: for stores, audits and the way back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Load balancers as they were, none where there was none.
    pub load_balancers: BTreeMap<String, Option<Arc<LoadBalancer>>>,
    /// Target groups as they were, none where there was none.
    pub target_groups: BTreeMap<String, Option<Arc<TargetGroup>>>,
    /// The pools' last VIPs as they were.
    pub last_vips: BTreeMap<String, Option<IpAddr>>,
}

impl Changes {
    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.load_balancers.is_empty() && self.target_groups.is_empty() && self.last_vips.is_empty()
    }

    fn undo(self, state: &mut State) {
        restore(&mut state.load_balancers, self.load_balancers);
        restore(&mut state.target_groups, self.target_groups);
        restore(&mut state.last_vips, self.last_vips);
    }
}

/// A change in the making. Dropped without [`Transaction::commit`], it leaves the state as it was.
#[derive(Debug)]
pub struct Transaction<'s> {
    state: &'s mut State,
    changes: Changes,
}

impl<'s> Transaction<'s> {
    /// Begins one.
    pub fn begin(state: &'s mut State) -> Transaction<'s> {
        Transaction { state, changes: Changes::default() }
    }

    /// What was changed so far.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Leaves the state changed, as one more generation, and tells the changes. A change of nothing makes none.
    pub fn commit(mut self) -> Changes {
        let changes = std::mem::take(&mut self.changes);
        self.state.generation += u64::from(!changes.is_empty());
        changes
    }

    /// Adds a load balancer or replaces it.
    pub fn put_load_balancer(&mut self, name: &str, record: LoadBalancer) {
        let before = self.state.load_balancers.insert(name.to_owned(), Arc::new(record));
        self.changes.load_balancers.entry(name.to_owned()).or_insert(before);
    }

    /// Removes a load balancer.
    pub fn remove_load_balancer(&mut self, name: &str) {
        let before = self.state.load_balancers.remove(name);
        self.changes.load_balancers.entry(name.to_owned()).or_insert(before);
    }

    /// A load balancer, to be changed.
    pub fn load_balancer_mut(&mut self, name: &str) -> Option<&mut LoadBalancer> {
        let record = self.state.load_balancers.get_mut(name)?;
        self.changes.load_balancers.entry(name.to_owned()).or_insert_with(|| Some(record.clone()));
        Some(Arc::make_mut(record))
    }

    /// Adds a target group or replaces it.
    pub fn put_target_group(&mut self, name: &str, record: TargetGroup) {
        let before = self.state.target_groups.insert(name.to_owned(), Arc::new(record));
        self.changes.target_groups.entry(name.to_owned()).or_insert(before);
    }

    /// Removes a target group.
    pub fn remove_target_group(&mut self, name: &str) {
        let before = self.state.target_groups.remove(name);
        self.changes.target_groups.entry(name.to_owned()).or_insert(before);
    }

    /// A target group, to be changed.
    pub fn target_group_mut(&mut self, name: &str) -> Option<&mut TargetGroup> {
        let record = self.state.target_groups.get_mut(name)?;
        self.changes.target_groups.entry(name.to_owned()).or_insert_with(|| Some(record.clone()));
        Some(Arc::make_mut(record))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for (name, before) in std::mem::take(&mut self.state.load_balancers) {
            self.changes.load_balancers.entry(name).or_insert(Some(before));
        }
        for (name, before) in std::mem::take(&mut self.state.target_groups) {
            self.changes.target_groups.entry(name).or_insert(Some(before));
        }
        for (pool, before) in std::mem::take(&mut self.state.last_vips) {
            self.changes.last_vips.entry(pool).or_insert(Some(before));
        }
    }

    /// Notes the VIP that a pool gave out last.
    pub fn set_last_vip(&mut self, pool: &str, vip: IpAddr) {
        let before = self.state.last_vips.insert(pool.to_owned(), vip);
        self.changes.last_vips.entry(pool.to_owned()).or_insert(before);
    }
}

impl Deref for Transaction<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        std::mem::take(&mut self.changes).undo(self.state);
    }
}

/// Several changes, one after the other, that are kept together. Dropped without [`Batch::commit`], it leaves the state
/// as it was before all of them.
#[derive(Debug)]
pub struct Batch<'s> {
    state: &'s mut State,
    base: u64,
    changes: Changes,
}

impl<'s> Batch<'s> {
    /// Begins one.
    pub fn begin(state: &'s mut State) -> Batch<'s> {
        let base = state.generation;
        Batch { state, base, changes: Changes::default() }
    }

    /// Begins the next change. When it was committed, [`Batch::add`] its changes.
    pub fn transaction(&mut self) -> Transaction<'_> {
        Transaction::begin(self.state)
    }

    /// Adds what a transaction changed.
    pub fn add(&mut self, changes: &Changes) {
        let Changes { load_balancers, target_groups, last_vips } = changes;
        add(&mut self.changes.load_balancers, load_balancers);
        add(&mut self.changes.target_groups, target_groups);
        add(&mut self.changes.last_vips, last_vips);
    }

    /// What was changed so far.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The state that it began with.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The state as it is to be.
    pub fn state(&self) -> &State {
        self.state
    }

    /// Leaves the state changed.
    pub fn commit(mut self) {
        self.base = self.state.generation;
        self.changes = Changes::default();
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        std::mem::take(&mut self.changes).undo(self.state);
        self.state.generation = self.base;
    }
}

/// What was there first is what was there before.
fn add<T: Clone>(all: &mut BTreeMap<String, T>, changes: &BTreeMap<String, T>) {
    for (key, before) in changes {
        all.entry(key.clone()).or_insert_with(|| before.clone());
    }
}

fn restore<T>(table: &mut BTreeMap<String, T>, before: BTreeMap<String, Option<T>>) {
    for (key, before) in before {
        match before {
            Some(record) => table.insert(key, record),
            None => table.remove(&key),
        };
    }
}

impl State {
    /// The load balancer of an ARN.
    ///
    /// # Errors
    /// `ValidationError` for what is no such ARN, `LoadBalancerNotFound`.
    pub fn load_balancer<'a>(
        &'a self,
        identity: &Identity,
        arn: &str,
    ) -> Result<(&'a str, &'a Arc<LoadBalancer>), ApiError> {
        match identity.parse(arn) {
            Some(Resource::LoadBalancer(load)) => self.loaded(&load),
            _ => return Err(no_arn(arn, "load balancer")),
        }
        .ok_or_else(|| Code::LoadBalancerNotFound.because(format!("Load balancer '{arn}' not found")))
    }

    /// The listener of an ARN, with its load balancer's name and record.
    ///
    /// # Errors
    /// `ValidationError` for what is no such ARN, `ListenerNotFound`.
    pub fn listener<'a>(
        &'a self,
        identity: &Identity,
        arn: &str,
    ) -> Result<(&'a str, &'a LoadBalancer, ResourceId, &'a Listener), ApiError> {
        match identity.parse(arn) {
            Some(Resource::Listener(load, id)) => self.listened(&load, id),
            _ => return Err(no_arn(arn, "listener")),
        }
        .ok_or_else(|| Code::ListenerNotFound.because("The specified listener does not exist."))
    }

    /// The target group of an ARN.
    ///
    /// # Errors
    /// `ValidationError` for what is no such ARN, `TargetGroupNotFound`.
    pub fn target_group<'a>(
        &'a self,
        identity: &Identity,
        arn: &str,
    ) -> Result<(&'a str, &'a Arc<TargetGroup>), ApiError> {
        let Some(Resource::TargetGroup(name, id)) = identity.parse(arn) else {
            return Err(no_arn(arn, "target group"));
        };
        let found = self.target_groups.get_key_value(&name).filter(|(_, group)| group.id == id);
        found
            .map(|(name, group)| (name.as_str(), group))
            .ok_or_else(|| Code::TargetGroupNotFound.because(format!("Target group '{arn}' not found")))
    }

    /// The load balancer that a name's part names.
    pub fn loaded<'a>(&'a self, load: &Load) -> Option<(&'a str, &'a Arc<LoadBalancer>)> {
        let (name, record) = self.load_balancers.get_key_value(load.name.as_ref()?)?;
        (record.id == load.id).then_some((name.as_str(), record))
    }

    /// The listener that a name's parts name.
    pub fn listened<'a>(
        &'a self,
        load: &Load,
        id: ResourceId,
    ) -> Option<(&'a str, &'a LoadBalancer, ResourceId, &'a Listener)> {
        let (name, record) = self.loaded(load)?;
        record.listeners.get(&id).map(|listener| (name, &**record, id, listener))
    }

    /// The load balancer whose listeners forward to a target group; there is at most one.
    pub fn user_of(&self, target_group: &str) -> Option<(&str, &Arc<LoadBalancer>)> {
        let uses = |record: &LoadBalancer| {
            let mut forwards = record.listeners.values().flat_map(|listener| &listener.forward);
            forwards.any(|forward| forward.target_group == target_group)
        };
        self.load_balancers
            .iter()
            .find(|(_, record)| uses(record))
            .map(|(name, record)| (name.as_str(), record))
    }
}

fn no_arn(arn: &str, what: &str) -> ApiError {
    Code::ValidationError.because(format!("'{arn}' is not a valid {what} ARN"))
}
