//! What the API's records mean for the data plane: pure, from the state and the inventory to [`Desired`].
//!
//! ```text
//!   load balancer ─► VIPs with their zones, listeners, allow-list of its security groups
//!   target group ──► attributes, check, targets: those that are registered, run, and are in an enabled zone
//! ```
//!
//! A [`Projector`] remembers what it made of which record: with a thousand target groups a change of one costs the
//! looking at a thousand pointers.

mod absent;
pub(super) mod differences;
mod load_balancer;
mod target_group;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::domain::{State, records};
use super::inventory::Inventory;
use crate::model::{Desired, Encapsulation, Node};
use differences::Shared;

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
    /// The records that `made` was made of: that they are held keeps their pointers from being other records'.
    load_balancers: Shared<records::LoadBalancer>,
    target_groups: Shared<records::TargetGroup>,
    /// The load balancers by the target groups that their listeners forward to: a group has one at most.
    users: Users,
    made: Desired,
}

type Users = Shared<records::LoadBalancer>;

impl Projector {
    /// One that has seen no state yet.
    pub fn new(ground: Ground, inventory: Arc<Inventory>) -> Projector {
        let made = Desired {
            node: ground.node.clone(),
            metrics_address: ground.metrics_address,
            load_balancers: BTreeMap::new(),
            target_groups: BTreeMap::new(),
        };
        Projector {
            ground,
            inventory,
            load_balancers: BTreeMap::new(),
            target_groups: BTreeMap::new(),
            users: Users::new(),
            made,
        }
    }

    /// What the data plane stands on.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// What `state` means with this inventory. What did not change since the last time has the same pointer.
    pub fn project(&mut self, state: &State, inventory: &Arc<Inventory>) -> Desired {
        self.follow(state, inventory);
        self.made.clone()
    }

    /// Takes over `state` with this inventory; [`Projector::made`] is what it means.
    pub fn follow(&mut self, state: &State, inventory: &Arc<Inventory>) {
        if !Arc::ptr_eq(&self.inventory, inventory) {
            *self = Projector::new(self.ground.clone(), Arc::clone(inventory));
        }
        let users = self.follow_load_balancers(state);
        self.follow_target_groups(state, users);
        self.stand_in_for_absent();
    }

    /// What the state that was followed last means.
    pub fn made(&self) -> &Desired {
        &self.made
    }

    /// The users of target groups, if they may be others now.
    fn follow_load_balancers(&mut self, state: &State) -> Option<Users> {
        if differences::is_same(&self.load_balancers, &state.load_balancers) {
            return None;
        }
        for (name, record) in differences::changed(&self.load_balancers, &state.load_balancers) {
            let made = Arc::new(load_balancer::project(record, &self.inventory));
            self.made.load_balancers.insert(name.clone(), made);
        }
        differences::follow(&mut self.load_balancers, &state.load_balancers);
        differences::forget_others(&mut self.made.load_balancers, &self.load_balancers);
        Some(users(state))
    }

    fn follow_target_groups(&mut self, state: &State, users: Option<Users>) {
        let mut concerned: BTreeSet<String> = differences::changed(&self.target_groups, &state.target_groups)
            .map(|(name, _)| name.clone())
            .collect();
        if let Some(users) = users {
            let came = differences::changed(&self.users, &users);
            let gone = self.users.keys().filter(|name| !users.contains_key(*name));
            concerned.extend(came.map(|(name, _)| name).chain(gone).cloned());
            self.users = users;
        }
        for name in concerned {
            if let Some(record) = state.target_groups.get(&name) {
                self.make_group(name, record);
            }
        }
        differences::follow(&mut self.target_groups, &state.target_groups);
        differences::forget_others(&mut self.made.target_groups, &self.target_groups);
    }

    /// Every group that a listener forwards to is there then.
    fn stand_in_for_absent(&mut self) {
        let stand_in = |(name, user): (&String, &records::LoadBalancer)| {
            Some((name.clone(), absent::stand_in(name, user, &self.target_groups)?))
        };
        let absent: Vec<_> = absent::absent(&self.users, &self.target_groups).filter_map(stand_in).collect();
        for (name, record) in absent {
            self.make_group(name, &record);
        }
    }

    /// One that is equal to the one before keeps its pointer.
    fn make_group(&mut self, name: String, record: &records::TargetGroup) {
        let user = self.users.get(&name);
        let made = target_group::project(record, user, &self.inventory, &self.ground);
        let is_same = self.made.target_groups.get(&name).is_some_and(|before| **before == made);
        if !is_same {
            self.made.target_groups.insert(name, Arc::new(made));
        }
    }
}

fn users(state: &State) -> Users {
    let mut users = Users::new();
    for record in state.load_balancers.values() {
        for forward in record.listeners.values().flat_map(|listener| &listener.forward) {
            users.insert(forward.target_group.clone(), Arc::clone(record));
        }
    }
    users
}
