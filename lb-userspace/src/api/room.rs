//! What the data plane can't carry: asked before a change is kept, so that whatever is kept can be forwarded.
//!
//! The state is projected as the controller will do it, and held against the capacity of the maps. What a change did not
//! touch is not looked into, only counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::domain::records::TargetGroup as GroupRecord;
use super::domain::targets::address_of;
use super::domain::{Feasibility, State};
use super::inventory::Inventory;
use super::projection::differences::{self, Shared, changed};
use super::projection::{Ground, Projector};
use super::protocol::{ApiError, Code};
use crate::data_plane::Capacity;
use crate::model::{Desired, ForwardAction, LoadBalancer, Protocol, Stickiness};
use crate::reconcile::{Full, TooBig, check_room};
use crate::table::{GroupShare, TableSize, member};

/// The data plane's room.
#[derive(Debug)]
pub struct Room {
    projector: Projector,
    capacity: Capacity,
    /// What was found good last: what is the same in it need not be looked into again.
    good: Desired,
    /// How many slots the tables of its actions have.
    sizes: BTreeMap<ForwardAction, usize>,
    /// The records that it came from, and the inventory.
    good_groups: Shared<GroupRecord>,
    inventory: Arc<Inventory>,
    /// Whether the inventory is given whole: what an endpoint tells may lack what is merely not known yet.
    is_given: bool,
}

impl Room {
    /// The room of a data plane with this capacity.
    pub fn new(ground: Ground, inventory: Arc<Inventory>, capacity: Capacity) -> Room {
        let good = Desired {
            node: ground.node.clone(),
            metrics_address: ground.metrics_address,
            load_balancers: BTreeMap::new(),
            target_groups: BTreeMap::new(),
        };
        let projector = Projector::new(ground, Arc::clone(&inventory));
        let (sizes, good_groups) = (BTreeMap::new(), BTreeMap::new());
        Room { projector, capacity, good, sizes, good_groups, inventory, is_given: false }
    }

    /// With an inventory that a file gives: a security group that it lacks lets nobody in until the file has it.
    pub fn with_given_inventory(self) -> Room {
        Room { is_given: true, ..self }
    }

    /// Checks the load balancers and target groups that are others than before.
    fn check_changed(
        &self,
        desired: &Desired,
        state: &State,
        inventory: &Arc<Inventory>,
    ) -> Result<(), ApiError> {
        let none = BTreeMap::new();
        let is_same_inventory = Arc::ptr_eq(inventory, &self.inventory);
        let known = if is_same_inventory { &self.good_groups } else { &none };
        for (_, record) in changed(known, &state.target_groups) {
            refuse_shared_addresses(record, inventory)?;
        }
        let vips: BTreeSet<IpAddr> =
            desired.load_balancers.values().flat_map(|one| one.vips.iter().copied()).collect();
        for (_, group) in changed(&self.good.target_groups, &desired.target_groups) {
            group.targets.keys().filter(|target| vips.contains(target)).try_for_each(refuse_vip)?;
        }
        for (_, load_balancer) in changed(&self.good.load_balancers, &desired.load_balancers) {
            let is_target =
                |vip: &&IpAddr| desired.target_groups.values().any(|group| group.targets.contains_key(*vip));
            load_balancer.vips.iter().filter(is_target).try_for_each(refuse_vip)?;
        }
        Ok(())
    }

    fn check_number(&self, state: &State) -> Result<(), ApiError> {
        let count: usize = state.target_groups.values().map(|group| group.targets.len()).sum();
        let room = self.capacity.targets as usize - 1;
        if count > room {
            return Err(too_many(Code::TooManyTargets, "targets, with those that drain,", count, room));
        }
        Ok(())
    }

    /// What is in the maps besides targets and slots. Target groups alone change nothing of it, but for QUIC.
    fn check_maps(&self, desired: &Desired, is_same: bool) -> Result<(), ApiError> {
        let mut others = changed(&self.good.target_groups, &desired.target_groups);
        if is_same && others.all(|(_, group)| group.protocol != Protocol::Quic) {
            return Ok(());
        }
        check_room(desired, self.capacity).map_err(|problem| refusal(&problem))
    }

    /// The sizes of tables that may be others than those that are known, which are none of other load balancers.
    fn other_sizes(&self, desired: &Desired, is_same: bool) -> BTreeMap<ForwardAction, usize> {
        let size = |action: &ForwardAction| (action.clone(), table_size(action, desired).slots());
        if is_same {
            let others = changed(&self.good.target_groups, &desired.target_groups);
            let others: BTreeSet<String> = others.map(|(name, _)| name.clone()).collect();
            return self.sizes.keys().filter(|action| action.names_any(&others)).map(size).collect();
        }
        let listeners = desired.load_balancers.values().flat_map(|one| &one.listeners);
        listeners.map(|listener| size(&listener.forward)).collect()
    }

    /// All tables, and beside them the largest once more: a table is written beside the one that it replaces.
    fn check_slots(&self, sizes: impl Iterator<Item = usize>) -> Result<(), ApiError> {
        let (sum, largest) = sizes.fold((0, 0), |(sum, largest), size| (sum + size, size.max(largest)));
        let (count, room) = (sum + largest, 1 << self.capacity.slots_log2);
        if count > room {
            return Err(too_many(Code::TooManyTargets, "slots of tables", count, room));
        }
        Ok(())
    }
}

impl Feasibility for Room {
    fn check(&mut self, state: &State, inventory: &Arc<Inventory>) -> Result<(), ApiError> {
        self.check_number(state)?;
        self.projector.follow(state, inventory);
        let desired = self.projector.made();
        self.check_changed(desired, state, inventory)?;
        desired.load_balancers.values().try_for_each(|one| refuse_mixed_stickiness(one, desired))?;
        let is_same = differences::is_same(&self.good.load_balancers, &desired.load_balancers);
        self.check_maps(desired, is_same)?;
        let others = self.other_sizes(desired, is_same);
        let same = self.sizes.iter().filter(|(action, _)| is_same && !others.contains_key(action));
        self.check_slots(same.chain(&others).map(|(_, size)| *size))?;
        if !is_same {
            self.sizes.clear();
        }
        self.sizes.extend(others);
        differences::follow(&mut self.good.load_balancers, &desired.load_balancers);
        differences::follow(&mut self.good.target_groups, &desired.target_groups);
        differences::follow(&mut self.good_groups, &state.target_groups);
        self.inventory = Arc::clone(inventory);
        Ok(())
    }

    fn weigh(&mut self, state: &State, inventory: &Arc<Inventory>) -> Result<(), ApiError> {
        refuse_absent_groups(state)?;
        if self.is_given {
            refuse_absent_security_groups(state, inventory)?;
        }
        self.check(state, inventory)
    }
}

/// To be followed, a listener needs the target groups that it forwards to. A thousand look-ups take less than a
/// millisecond.
fn refuse_absent_groups(state: &State) -> Result<(), ApiError> {
    for (name, record) in &state.load_balancers {
        for listener in record.listeners.values() {
            let mut groups = listener.forward.iter().map(|forward| &forward.target_group);
            if let Some(absent) = groups.find(|group| !state.target_groups.contains_key(*group)) {
                return Err(Code::TargetGroupNotFound.because(format!(
                    "The listener on port {} of the load balancer '{name}' forwards to the target group '{absent}', \
                     which the state does not have: delete the listener, or restore the state from an export",
                    listener.port
                )));
            }
        }
    }
    Ok(())
}

/// Were they let pass, the load balancer would be announced and let nobody in.
fn refuse_absent_security_groups(state: &State, inventory: &Inventory) -> Result<(), ApiError> {
    for (name, record) in &state.load_balancers {
        let mut groups = record.security_groups.iter();
        if let Some(absent) = groups.find(|id| !inventory.security_groups.contains_key(*id)) {
            return Err(Code::InvalidSecurityGroup.because(format!(
                "The load balancer '{name}' has the security group '{absent}', which inventory.security_groups of this \
                 node's file does not have: nobody would be let in; add it there, or give the load balancer others \
                 with SetSecurityGroups first"
            )));
        }
    }
    Ok(())
}

/// A target is its address to the data plane: it has one port, and one share of the flows.
fn refuse_shared_addresses(group: &GroupRecord, inventory: &Inventory) -> Result<(), ApiError> {
    let mut first_of: BTreeMap<IpAddr, u16> = BTreeMap::new();
    for target in group.targets.iter().filter(|target| target.drains_until.is_none()) {
        let Some(address) = address_of(target, group, inventory) else { continue };
        if let Some(port) = first_of.insert(address, target.port) {
            return Err(Code::InvalidTarget.because(format!(
                "The target '{}' cannot be registered with the port {}: its address {address} is registered in this \
                 target group with the port {port}; use a target group for each port",
                target.id, target.port
            )));
        }
    }
    Ok(())
}

/// Packets for a target that is a VIP would come back to the node for ever.
fn refuse_vip(vip: &IpAddr) -> Result<(), ApiError> {
    Err(Code::InvalidConfigurationRequest.because(format!(
        "The address '{vip}' would be both a target's and a load balancer's; deregister the target, or specify another \
         address"
    )))
}

fn refuse_mixed_stickiness(load_balancer: &LoadBalancer, desired: &Desired) -> Result<(), ApiError> {
    for listener in load_balancer.listeners.iter().filter(|listener| listener.forward.0.len() > 1) {
        let groups =
            listener.forward.0.iter().filter_map(|part| desired.target_groups.get(&part.target_group));
        let kinds: Vec<Stickiness> = groups.map(|group| group.stickiness).collect();
        if kinds.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(Code::InvalidConfigurationRequest.because(format!(
                "The target groups of the listener on port {} must all have the same value of the attribute \
                 'stickiness.enabled': a flow's target group and target are chosen at once",
                listener.port
            )));
        }
    }
    Ok(())
}

fn table_size(action: &ForwardAction, desired: &Desired) -> TableSize {
    let share = |name: &str, weight| {
        let count = desired.target_groups.get(name).map_or(0, |group| group.targets.len());
        // How large a table is depends on the weights alone.
        GroupShare { weight, targets: vec![(0, 1); count] }
    };
    let shares: Vec<GroupShare> =
        action.0.iter().map(|part| share(&part.target_group, part.weight)).collect();
    TableSize::for_weights(member::members_of(&shares).iter().map(|member| member.weight))
}

fn refusal(problem: &TooBig) -> ApiError {
    let TooBig::Map { what, count, room } = problem else {
        return Code::TooManyTargets.because(problem.to_string());
    };
    let code = match what {
        Full::Vips => Code::TooManyLoadBalancers,
        Full::Listeners | Full::ForwardActions => Code::TooManyListeners,
        Full::AllowedPrefixes => Code::InvalidConfigurationRequest,
        Full::QuicServerIds => Code::TooManyTargets,
    };
    too_many(code, &what.to_string(), *count, *room)
}

fn too_many(code: Code, what: &str, count: usize, room: usize) -> ApiError {
    code.because(format!("The data plane has room for {room}, and {count} {what} would be needed"))
}
