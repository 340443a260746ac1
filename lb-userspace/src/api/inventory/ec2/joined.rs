//! What the endpoint says and what the file says, joined; and what is kept although the endpoint no longer says it.

use std::collections::BTreeMap;

use anyhow::bail;

use super::super::Inventory;
use super::super::read::{InventoryError, RawInventory};
use super::configuration::Configuration;
use super::discovery::Discovered;
use crate::api::domain::State;
use crate::api::domain::records::TargetType;

/// What load balancers use, with their names; and the instances that are targets, with their groups' names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    subnets: BTreeMap<String, Vec<String>>,
    security_groups: BTreeMap<String, Vec<String>>,
    instances: BTreeMap<String, Vec<String>>,
}

impl Used {
    /// What is used in a state.
    pub fn of(state: &State) -> Used {
        let mut used = Used::default();
        for (name, record) in &state.load_balancers {
            for seat in record.zones.values() {
                used.subnets.entry(seat.subnet.clone()).or_default().push(name.clone());
            }
            for group in &record.security_groups {
                used.security_groups.entry(group.clone()).or_default().push(name.clone());
            }
        }
        for (name, record) in &state.target_groups {
            if record.target_type == TargetType::Instance {
                for target in record.targets.iter().filter(|target| target.drains_until.is_none()) {
                    used.instances.entry(target.id.clone()).or_default().push(name.clone());
                }
            }
        }
        used
    }

    #[cfg(test)]
    pub(super) fn sample(subnet: &str, group: &str, instance: &str, user: &str) -> Used {
        let of = |id: &str| [(id.to_owned(), vec![user.to_owned()])].into();
        Used { subnets: of(subnet), security_groups: of(group), instances: of(instance) }
    }
}

/// The inventory.
///
/// # Errors
/// With every problem.
pub(super) fn joined(
    network: &RawInventory,
    configuration: &Configuration,
) -> Result<Inventory, InventoryError> {
    let mut network = network.clone();
    network.subnets.retain(|subnet| configuration.subnets.contains_key(&subnet.id));
    for subnet in &mut network.subnets {
        let local = &configuration.subnets[&subnet.id];
        (subnet.ipv4_pool, subnet.ipv6_pool) = (local.ipv4_pool, local.ipv6_pool);
        subnet.nodes.clone_from(&local.nodes);
    }
    network.allocations.clone_from(&configuration.allocations);
    network.check()
}

/// Refuses an answer without any instance where instances are targets: an empty list is also what a key is told that may
/// not see them, and what an endpoint tells that was emptied. All target groups would be empty at once.
///
/// # Errors
/// In words that have the remedy.
pub(super) fn refuse_none(found: &Discovered, used: &Used) -> anyhow::Result<()> {
    let Some((id, groups)) = used.instances.first_key_value() else { return Ok(()) };
    if found.network.instances.is_empty() {
        bail!(
            "it has not a single instance, but {} of them are targets ({id} of the target group {}, for one): let \
             inventory.ec2.credentials list them, or deregister these targets if their instances are gone for good",
            used.instances.len(),
            groups.join(", ")
        );
    }
    Ok(())
}

/// Keeps subnets and security groups that load balancers use and the endpoint no longer knows as they were `before`,
/// and says so.
pub(super) fn keep_used(
    found: &mut Discovered,
    before: Option<&RawInventory>,
    used: &Used,
    configuration: &Configuration,
) {
    let none = RawInventory::default();
    let before = before.unwrap_or(&none);
    let Discovered { network, remarks } = found;
    for id in configuration.subnets.keys() {
        if network.subnets.iter().any(|subnet| subnet.id == *id) {
            continue;
        }
        let earlier = before.subnets.iter().find(|subnet| subnet.id == *id);
        match (earlier, used.subnets.get(id)) {
            (Some(earlier), Some(users)) => {
                remarks.push(format!(
                    "the subnet {id} is not at the endpoint any more; it is kept as it was, because it has VIPs of {}",
                    users.join(", ")
                ));
                network.subnets.push(earlier.clone());
            }
            _ => remarks.push(format!("the subnet {id} of inventory.ec2.subnets is not at the endpoint")),
        }
    }
    for (id, users) in &used.security_groups {
        let earlier = before.security_groups.iter().find(|group| group.id == *id);
        if let Some(earlier) =
            earlier.filter(|_| !network.security_groups.iter().any(|group| group.id == *id))
        {
            remarks.push(format!(
                "the security group {id} is not at the endpoint any more; it is kept as it was, because {} have it",
                users.join(", ")
            ));
            network.security_groups.push(earlier.clone());
        }
    }
    keep_vpcs(network, before);
}

/// The VPCs of what was kept.
fn keep_vpcs(network: &mut RawInventory, before: &RawInventory) {
    let subnets = network.subnets.iter().map(|subnet| &subnet.vpc);
    let named: Vec<String> =
        subnets.chain(network.security_groups.iter().map(|group| &group.vpc)).cloned().collect();
    for vpc in &before.vpcs {
        if named.contains(&vpc.id) && !network.vpcs.iter().any(|one| one.id == vpc.id) {
            network.vpcs.push(vpc.clone());
        }
    }
}
