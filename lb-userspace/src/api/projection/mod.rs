//! What the API's records mean for the data plane: pure, from the state and the inventory to [`Desired`].
//!
//! ```text
//!   load balancer ─► VIPs with their zones, listeners, allow-list of its security groups
//!   target group ──► attributes, check, targets: those that are registered, run, and are in an enabled zone
//! ```
//!
//! A [`Projector`] remembers what it made of which record: with a thousand target groups a change of one costs the
//! looking at a thousand pointers.

mod load_balancer;
mod target_group;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::domain::{State, records};
use super::inventory::Inventory;
use crate::model::{Desired, Encapsulation, LoadBalancer, Node, TargetGroup};

/// What of the data plane the API does not own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// This machine.
    pub node: Node,
    /// Where Prometheus metrics are served.
    pub metrics_address: Option<SocketAddr>,
    /// How packets travel to all targets.
    pub encapsulation: Encapsulation,
}

/// Projects states, one after the other.
#[derive(Debug)]
pub struct Projector {
    ground: Ground,
    inventory: Arc<Inventory>,
    load_balancers: BTreeMap<String, (Arc<records::LoadBalancer>, Arc<LoadBalancer>)>,
    target_groups: BTreeMap<String, MadeGroup>,
}

/// A target group with what it was made of. That these are held keeps their pointers from being other records'.
#[derive(Debug)]
struct MadeGroup {
    record: Arc<records::TargetGroup>,
    user: Option<Arc<records::LoadBalancer>>,
    made: Arc<TargetGroup>,
}

/// The load balancers by the target groups that their listeners forward to: a group has one at most.
type Users<'a> = BTreeMap<&'a str, &'a Arc<records::LoadBalancer>>;

impl Projector {
    /// One that has seen no state yet.
    pub fn new(ground: Ground, inventory: Arc<Inventory>) -> Projector {
        Projector { ground, inventory, load_balancers: BTreeMap::new(), target_groups: BTreeMap::new() }
    }

    /// What the data plane stands on.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// What `state` means with this inventory. What did not change since the last time has the same pointer.
    pub fn project(&mut self, state: &State, inventory: &Arc<Inventory>) -> Desired {
        if !Arc::ptr_eq(&self.inventory, inventory) {
            *self = Projector::new(self.ground.clone(), Arc::clone(inventory));
        }
        Desired {
            node: self.ground.node.clone(),
            metrics_address: self.ground.metrics_address,
            load_balancers: self.load_balancers(state),
            target_groups: self.target_groups(state),
        }
    }

    fn load_balancers(&mut self, state: &State) -> BTreeMap<String, Arc<LoadBalancer>> {
        self.load_balancers.retain(|name, _| state.load_balancers.contains_key(name));
        for (name, record) in &state.load_balancers {
            if self.load_balancers.get(name).is_some_and(|(of, _)| Arc::ptr_eq(of, record)) {
                continue;
            }
            let made = Arc::new(load_balancer::project(record, &self.inventory));
            self.load_balancers.insert(name.clone(), (Arc::clone(record), made));
        }
        self.load_balancers.iter().map(|(name, (_, made))| (name.clone(), Arc::clone(made))).collect()
    }

    fn target_groups(&mut self, state: &State) -> BTreeMap<String, Arc<TargetGroup>> {
        let users = users(state);
        self.target_groups.retain(|name, _| state.target_groups.contains_key(name));
        for (name, record) in &state.target_groups {
            let user = users.get(name.as_str()).copied();
            let before = self.target_groups.get(name);
            if before.is_some_and(|before| before.is_of(record, user)) {
                continue;
            }
            let mut made = Arc::new(target_group::project(record, user, &self.inventory, &self.ground));
            if let Some(before) = before.filter(|before| before.made == made) {
                made = Arc::clone(&before.made);
            }
            let group = MadeGroup { record: Arc::clone(record), user: user.cloned(), made };
            self.target_groups.insert(name.clone(), group);
        }
        self.target_groups.iter().map(|(name, group)| (name.clone(), Arc::clone(&group.made))).collect()
    }
}

impl MadeGroup {
    fn is_of(&self, record: &Arc<records::TargetGroup>, user: Option<&Arc<records::LoadBalancer>>) -> bool {
        let is_same_user = match (&self.user, user) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        is_same_user && Arc::ptr_eq(&self.record, record)
    }
}

fn users(state: &State) -> Users<'_> {
    let mut users = Users::new();
    for record in state.load_balancers.values() {
        for forward in record.listeners.values().flat_map(|listener| &listener.forward) {
            users.insert(&forward.target_group, record);
        }
    }
    users
}
