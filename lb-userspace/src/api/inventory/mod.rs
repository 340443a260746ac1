//! The network that the API speaks of: VPCs, subnets, allocation ids, security groups and instances. It is given by
//! a section of the configuration file, or told by an EC2-compatible endpoint; the API reads it and never changes it.
//!
//! | in the API | here |
//! | --- | --- |
//! | VPC | networks that targets are in |
//! | subnet | a zone, its nodes, and the pools that its VIPs come from |
//! | allocation id | a VIP with a name |
//! | security group | whom to let in |
//! | instance | addresses with a name, in a zone |

pub mod ec2;
mod network;
mod read;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

pub use network::Network;
pub use read::{InventoryError, RawInventory, Source};

/// All of it, checked: whatever names something names what is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// VPCs by id.
    pub vpcs: BTreeMap<String, Vpc>,
    /// Subnets by id; the pools of no two overlap.
    pub subnets: BTreeMap<String, Subnet>,
    /// VIPs by allocation id.
    pub allocations: BTreeMap<String, Ipv4Addr>,
    /// Security groups by id.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Instances by id.
    pub instances: BTreeMap<String, Instance>,
    /// Their ids by their addresses.
    instances_by_address: BTreeMap<IpAddr, String>,
}

/// Networks that targets are in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vpc {
    /// Its networks.
    pub networks: Vec<Network>,
}

/// A zone as a load balancer joins it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// The VPC that it is in.
    pub vpc: String,
    /// The failure domain.
    pub zone: String,
    /// The nodes that serve the zone; without any it can't be used.
    pub nodes: Vec<String>,
    /// Where its targets are: the zone of an address target that is registered without one.
    pub networks: Vec<Network>,
    /// Where its IPv4 VIPs come from.
    pub ipv4_pool: Option<Network>,
    /// Where its IPv6 VIPs come from.
    pub ipv6_pool: Option<Network>,
}

/// Whom to let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroup {
    /// The VPC that it is in.
    pub vpc: String,
    /// What is let in; without any rule, nothing is.
    pub allow: Vec<AllowRule>,
}

/// One entry of an allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// Of which protocol.
    pub protocol: AllowedProtocol,
    /// The first and the last port of the VIP.
    pub ports: (u16, u16),
    /// From where.
    pub source: Network,
}

/// The protocol of an allow-list's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AllowedProtocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768, QUIC too.
    Udp,
    /// Every one.
    All,
}

/// Addresses with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The VPC that it is in.
    pub vpc: String,
    /// The failure domain.
    pub zone: String,
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Whether it can serve; one that does not run can't be registered.
    pub is_running: bool,
}

impl Instance {
    /// Its address of a family.
    pub fn address(&self, is_ipv6: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv6() == is_ipv6)
    }
}

impl Inventory {
    /// The zones that any subnet of a VPC is in.
    pub fn zones_of<'a>(&'a self, vpc: &'a str) -> impl Iterator<Item = &'a str> {
        self.subnets.values().filter(move |subnet| subnet.vpc == vpc).map(|subnet| subnet.zone.as_str())
    }

    /// Whether a pool must never give out this address because it has an owner.
    pub fn is_named(&self, address: IpAddr) -> bool {
        self.allocations.values().any(|named| IpAddr::V4(*named) == address)
            || self.instances_by_address.contains_key(&address)
    }

    /// The zone that an address of a VPC is in, if that is known.
    pub fn zone_of(&self, vpc: &str, address: IpAddr) -> Option<&str> {
        let named = self.instances_by_address.get(&address).and_then(|id| self.instances.get(id));
        let named = named.filter(|instance| instance.vpc == vpc).map(|instance| &instance.zone);
        let subnets = self.subnets.values().filter(|subnet| subnet.vpc == vpc);
        let inside = subnets.filter(|subnet| subnet.networks.iter().any(|network| network.contains(address)));
        named.into_iter().chain(inside.map(|subnet| &subnet.zone)).next().map(String::as_str)
    }

    /// One to try things out with: a VPC with zones a, b, c and d (which has no node), two allocation ids, two security groups and three
    /// instances. Its addresses are private ones.
    pub fn sample() -> Inventory {
        let raw: RawInventory = serde_json::from_str(SAMPLE).expect("the sample is an inventory");
        raw.check().expect("the sample is a good inventory")
    }
}

/// What [`Inventory::sample`] is made of; the documentation shows it.
pub const SAMPLE: &str = include_str!("sample.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_good() {
        let sample = Inventory::sample();
        assert_eq!(sample.zones_of("vpc-1").collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert!(sample.is_named("198.51.100.10".parse().unwrap()));
        assert!(!sample.is_named("10.200.1.1".parse().unwrap()));
    }
}
