//! The inventory as it is written in the file, and its check.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::ec2;
use super::{AllowRule, AllowedProtocol, Instance, Inventory, Network, SecurityGroup, Subnet, Vpc};

/// As it is written: lists of things with ids.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawInventory {
    #[serde(default)]
    pub(super) vpcs: Vec<RawVpc>,
    #[serde(default)]
    pub(super) subnets: Vec<RawSubnet>,
    #[serde(default)]
    pub(super) allocations: Vec<RawAllocation>,
    #[serde(default)]
    pub(super) security_groups: Vec<RawSecurityGroup>,
    #[serde(default)]
    pub(super) instances: Vec<RawInstance>,
    /// Where the rest comes from, if it is not here.
    #[serde(skip_serializing)]
    pub(super) ec2: Option<ec2::Written>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVpc {
    pub(super) id: String,
    pub(super) networks: Vec<Network>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSubnet {
    pub(super) id: String,
    pub(super) vpc: String,
    pub(super) zone: String,
    pub(super) nodes: Vec<String>,
    #[serde(default)]
    pub(super) networks: Vec<Network>,
    pub(super) ipv4_pool: Option<Network>,
    pub(super) ipv6_pool: Option<Network>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAllocation {
    pub(super) id: String,
    pub(super) address: Ipv4Addr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecurityGroup {
    pub(super) id: String,
    pub(super) vpc: String,
    pub(super) allow: Vec<RawAllowRule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAllowRule {
    pub(super) protocol: Option<AllowedProtocol>,
    pub(super) ports: Option<String>,
    pub(super) source: Network,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInstance {
    pub(super) id: String,
    pub(super) vpc: String,
    pub(super) zone: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) running: Option<bool>,
}

/// Everything that is wrong with an inventory, each with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct InventoryError(pub Vec<String>);

/// Where an inventory comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is given.
    File(Inventory),
    /// An EC2-compatible endpoint tells it.
    Ec2(Box<ec2::Configuration>),
}

impl RawInventory {
    /// Checks what is written: the inventory itself, or where it comes from.
    ///
    /// # Errors
    /// With every problem.
    pub fn source(mut self) -> Result<Source, InventoryError> {
        let Some(written) = self.ec2.take() else { return self.check().map(Source::File) };
        let is_told_twice = !(self.vpcs.is_empty()
            && self.subnets.is_empty()
            && self.allocations.is_empty()
            && self.security_groups.is_empty()
            && self.instances.is_empty());
        if is_told_twice {
            return Err(InventoryError(vec![
                "inventory: beside \"ec2\" there is nothing else; what the endpoint can't say is in \
                 inventory.ec2.subnets and inventory.ec2.allocations"
                    .to_owned(),
            ]));
        }
        written.check().map(|checked| Source::Ec2(Box::new(checked)))
    }

    /// Checks that ids are unique, that what is named is there, and that no address has two owners.
    ///
    /// # Errors
    /// With every problem.
    pub fn check(self) -> Result<Inventory, InventoryError> {
        let mut problems = Problems(Vec::new());
        let vpcs = problems.keyed("vpcs", self.vpcs, |vpc| (vpc.id, Vpc { networks: vpc.networks }));
        let subnets = problems.keyed("subnets", self.subnets, subnet);
        let allocations = problems.keyed("allocations", self.allocations, |raw| (raw.id, raw.address));
        let groups = self.security_groups.into_iter().map(|raw| problems.security_group(raw)).collect();
        let security_groups = problems.keyed("security_groups", groups, |group| group);
        let instances = problems.keyed("instances", self.instances, instance);
        let instances_by_address = by_address(&instances);
        let inventory =
            Inventory { vpcs, subnets, allocations, security_groups, instances, instances_by_address };
        problems.references(&inventory);
        problems.addresses(&inventory);
        if problems.0.is_empty() { Ok(inventory) } else { Err(InventoryError(problems.0)) }
    }
}

fn subnet(raw: RawSubnet) -> (String, Subnet) {
    let RawSubnet { id, vpc, zone, nodes, networks, ipv4_pool, ipv6_pool } = raw;
    (id, Subnet { vpc, zone, nodes, networks, ipv4_pool, ipv6_pool })
}

fn instance(raw: RawInstance) -> (String, Instance) {
    let RawInstance { id, vpc, zone, addresses, running } = raw;
    (id, Instance { vpc, zone, addresses, is_running: running.unwrap_or(true) })
}

fn by_address(instances: &BTreeMap<String, Instance>) -> BTreeMap<IpAddr, String> {
    let owned = |(id, instance)| {
        let Instance { addresses, .. }: &Instance = instance;
        addresses.iter().map(move |address| (*address, String::clone(id)))
    };
    instances.iter().flat_map(owned).collect()
}

struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, place: impl std::fmt::Display, problem: impl std::fmt::Display) {
        self.0.push(format!("inventory.{place}: {problem}"));
    }

    fn keyed<R, T>(
        &mut self,
        section: &str,
        raw: Vec<R>,
        split: impl Fn(R) -> (String, T),
    ) -> BTreeMap<String, T> {
        let mut keyed = BTreeMap::new();
        for (id, item) in raw.into_iter().map(split) {
            if id.is_empty() {
                self.add(section, "an id is empty");
            }
            if keyed.insert(id.clone(), item).is_some() {
                self.add(section, format!("the id {id:?} is given twice"));
            }
        }
        keyed
    }

    fn security_group(&mut self, raw: RawSecurityGroup) -> (String, SecurityGroup) {
        let mut allow = Vec::new();
        for (at, rule) in raw.allow.into_iter().enumerate() {
            match ports(rule.ports.as_deref()) {
                Some(ports) => allow.push(AllowRule {
                    protocol: rule.protocol.unwrap_or(AllowedProtocol::All),
                    ports,
                    source: rule.source,
                }),
                None => self.add(
                    format!("security_groups.{}.allow[{at}].ports", raw.id),
                    "expected one port or the first and the last: \"443\" or \"80-443\"",
                ),
            }
        }
        (raw.id, SecurityGroup { vpc: raw.vpc, allow })
    }

    fn references(&mut self, inventory: &Inventory) {
        let of_subnets = inventory.subnets.iter().map(|(id, subnet)| ("subnets", id, &subnet.vpc));
        let of_groups =
            inventory.security_groups.iter().map(|(id, group)| ("security_groups", id, &group.vpc));
        let of_instances = inventory.instances.iter().map(|(id, instance)| ("instances", id, &instance.vpc));
        for (section, id, vpc) in of_subnets.chain(of_groups).chain(of_instances) {
            if !inventory.vpcs.contains_key(vpc) {
                let known = inventory.vpcs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                self.add(
                    format!("{section}.{id}.vpc"),
                    format!("there is no VPC {vpc:?}; there are: {known}"),
                );
            }
        }
    }

    fn addresses(&mut self, inventory: &Inventory) {
        let mut pools: Vec<(&String, Network)> = Vec::new();
        for (id, subnet) in &inventory.subnets {
            for (pool, field, is_ipv6) in
                [(subnet.ipv4_pool, "ipv4_pool", false), (subnet.ipv6_pool, "ipv6_pool", true)]
            {
                let Some(pool) = pool else { continue };
                if pool.is_ipv6() != is_ipv6 {
                    self.add(format!("subnets.{id}.{field}"), format!("{pool} is of the other family"));
                }
                if let Some((other, _)) = pools.iter().find(|(_, other)| other.overlaps(&pool)) {
                    self.add(format!("subnets.{id}.{field}"), format!("{pool} overlaps a pool of {other}"));
                }
                pools.push((id, pool));
            }
        }
        let mut owned = BTreeSet::new();
        let allocated = inventory.allocations.iter().map(|(id, address)| (id, IpAddr::V4(*address)));
        let of_instances = inventory.instances.iter();
        let of_instances =
            of_instances.flat_map(|(id, i)| i.addresses.iter().map(move |address| (id, *address)));
        for (id, address) in allocated.chain(of_instances) {
            if !owned.insert(address) {
                self.add(id, format!("{address} has another owner already"));
            }
        }
        for (id, instance) in &inventory.instances {
            let families: BTreeSet<bool> = instance.addresses.iter().map(IpAddr::is_ipv6).collect();
            if instance.addresses.is_empty() || families.len() != instance.addresses.len() {
                self.add(format!("instances.{id}.addresses"), "expected one address, or one of each family");
            }
        }
    }
}

fn ports(text: Option<&str>) -> Option<(u16, u16)> {
    let Some(text) = text else { return Some((1, u16::MAX)) };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (1 <= first && first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(json: &str) -> Vec<String> {
        serde_json::from_str::<RawInventory>(json).unwrap().check().unwrap_err().0
    }

    #[test]
    fn every_problem_is_told() {
        let found = problems(
            r#"{ "vpcs": [ { "id": "v", "networks": [] } ],
                 "subnets": [
                   { "id": "s", "vpc": "w", "zone": "a", "nodes": [], "ipv4_pool": "10.0.0.0/24" },
                   { "id": "t", "vpc": "v", "zone": "a", "nodes": [], "ipv4_pool": "10.0.0.0/25" } ],
                 "allocations": [ { "id": "e", "address": "10.9.0.1" }, { "id": "e", "address": "10.9.0.1" } ],
                 "security_groups": [ { "id": "g", "vpc": "v", "allow": [
                   { "ports": "9-1", "source": "10.0.0.0/8" } ] } ],
                 "instances": [ { "id": "i", "vpc": "v", "zone": "a", "addresses": ["10.9.0.1"] } ] }"#,
        );
        assert_eq!(
            found,
            [
                "inventory.allocations: the id \"e\" is given twice",
                "inventory.security_groups.g.allow[0].ports: expected one port or the first and the last: \"443\" or \
                 \"80-443\"",
                "inventory.subnets.s.vpc: there is no VPC \"w\"; there are: v",
                "inventory.subnets.t.ipv4_pool: 10.0.0.0/25 overlaps a pool of s",
                "inventory.i: 10.9.0.1 has another owner already",
            ]
        );
    }

    #[test]
    fn ports_are_one_or_a_range() {
        assert_eq!(ports(None), Some((1, 65535)));
        assert_eq!(ports(Some("443")), Some((443, 443)));
        assert_eq!(ports(Some("80-443")), Some((80, 443)));
        for text in ["", "0", "443-80", "1-65536", "x"] {
            assert_eq!(ports(Some(text)), None, "{text}");
        }
    }
}
