//! Allotting VIPs: from the subnet's pools, one of each family in a zone, never one that anybody has.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::context::Context;
use super::transaction::{State, Transaction};
use crate::api::inventory::Network;
use crate::api::protocol::{ApiError, Code};

/// Where a VIP comes from.
pub(super) struct Pool<'a> {
    /// The subnet's id.
    pub(super) subnet: &'a str,
    /// Its addresses.
    pub(super) network: Network,
}

impl Pool<'_> {
    /// The key under which its last VIP is noted.
    fn key(&self) -> String {
        format!("{}/{}", self.subnet, if self.network.is_ipv6() { "ipv6" } else { "ipv4" })
    }

    /// The VIP after the last one that it gave out that nobody has.
    pub(super) fn allot(&self, state: &mut Transaction, context: &Context) -> Result<IpAddr, ApiError> {
        let mut taken = taken(state, None);
        taken.extend(targets(state));
        let key = self.key();
        let last = state.last_vips.get(&key).and_then(|last| self.network.number(*last));
        let (hosts, first) = (self.network.hosts(), last.map_or(0, |last| last + 1));
        // One more than are taken or named: among so many, one is free, if there are so many.
        let named = context.inventory.allocations.len() + 2 * context.inventory.instances.len();
        let tries = (taken.len() + named + 1) as u128;
        let vip = (0..tries.min(hosts))
            .map(|step| self.network.host((first + step) % hosts))
            .find(|vip| !taken.contains(vip) && !context.inventory.is_named(*vip))
            .ok_or_else(|| {
                let subnet = self.subnet;
                Code::InvalidSubnet.because(format!(
                    "The subnet '{subnet}' is out of available addresses: its pool is {}",
                    self.network
                ))
            })?;
        state.set_last_vip(&key, vip);
        Ok(vip)
    }

    /// That address, if it is the pool's and nobody else has it.
    pub(super) fn take(
        &self,
        address: IpAddr,
        state: &State,
        context: &Context,
        but_of: &str,
    ) -> Result<IpAddr, ApiError> {
        if self.network.number(address).is_none() {
            return Err(Code::InvalidConfigurationRequest.because(format!(
                "The address '{address}' is not in the pool of the subnet '{}': {}",
                self.subnet, self.network
            )));
        }
        if context.inventory.is_named(address) || taken(state, Some(but_of)).contains(&address) {
            return Err(Code::ResourceInUse.because(format!("The address '{address}' is already in use")));
        }
        Ok(address)
    }
}

/// The VIPs of all load balancers but one.
pub(super) fn taken(state: &State, but_of: Option<&str>) -> BTreeSet<IpAddr> {
    let others = state.load_balancers.iter().filter(|(name, _)| Some(name.as_str()) != but_of);
    let seats = others.flat_map(|(_, record)| record.zones.values());
    seats.flat_map(|seat| [Some(IpAddr::V4(seat.ipv4)), seat.ipv6.map(IpAddr::V6)]).flatten().collect()
}

/// The addresses that are registered as targets: packets for a VIP that is one would go round for ever.
fn targets(state: &State) -> impl Iterator<Item = IpAddr> {
    let targets = state.target_groups.values().flat_map(|group| &group.targets);
    targets.filter_map(|target| target.id.parse().ok())
}

/// An IPv4 VIP of a pool.
pub(super) fn v4(address: IpAddr) -> Result<Ipv4Addr, ApiError> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(Code::InternalFailure.because("An IPv4 pool gave out an IPv6 address")),
    }
}

/// An IPv6 VIP of a pool.
pub(super) fn v6(address: IpAddr) -> Result<Ipv6Addr, ApiError> {
    match address {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(_) => Err(Code::InternalFailure.because("An IPv6 pool gave out an IPv4 address")),
    }
}
