//! The neighbour entries that another process of Sluice asks for: which of them the kernel is asked for on its behalf.
//!
//! An entry says that the kernel is to resolve an address and keep it so; nobody can give an address a MAC address by it.
//! What the operator or another program has entered is not touched.

use std::net::IpAddr;

use anyhow::Context;

use super::links::Links;
use super::neighbours::{Hop, Neighbours};
use super::requests::Requests;
use crate::netlink::RequestError;

/// So many entries at most: what the kernel keeps resolved, it asks for on the wire for good.
const MOST: usize = 1 << 15;

/// What is known for one message's worth of requests.
pub(crate) struct Entries {
    requests: Requests,
    links: Links,
    neighbours: Neighbours,
    ours: usize,
}

impl Entries {
    /// Asks the kernel what there is, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn read() -> anyhow::Result<Entries> {
        let requests = Requests::open()?;
        let links = requests.links().await.context("listing the interfaces (RTM_GETLINK)")?;
        let listed = requests.neighbours().await.context("listing the neighbours (RTM_GETNEIGH)")?;
        let mut neighbours = Neighbours::default();
        neighbours.resynchronize(&listed);
        let ours = neighbours.count_of_ours();
        Ok(Entries { requests, links: Links::from_dump(&links), neighbours, ours })
    }

    /// Has the kernel keep a neighbour resolved; one that it keeps already needs nothing.
    ///
    /// # Errors
    /// The kernel's, or with the reason why it is not asked.
    pub(crate) async fn keep(&mut self, hop: Hop) -> Result<Result<(), RequestError>, &'static str> {
        self.expect_keepable(hop)?;
        if self.neighbours.is_ours(hop) {
            return Ok(Ok(()));
        }
        self.ours += 1;
        Ok(self.requests.keep_resolved(hop).await)
    }

    /// Has the kernel forget a neighbour when it pleases.
    ///
    /// # Errors
    /// As [`Entries::keep`].
    pub(crate) async fn release(&mut self, hop: Hop) -> Result<Result<(), RequestError>, &'static str> {
        if !self.neighbours.is_ours(hop) {
            return Err("it is no entry that Sluice has asked for");
        }
        Ok(self.requests.release(hop).await)
    }

    fn expect_keepable(&self, hop: Hop) -> Result<(), &'static str> {
        let interface = self.links.by_index(hop.interface).ok_or("there is no such interface")?;
        if interface.mac.is_none() {
            return Err("the interface is no Ethernet");
        }
        if !is_a_hosts(hop.address) {
            return Err("it is not the address of one host");
        }
        if !self.neighbours.is_ours(hop) && !self.neighbours.of(hop).needs_request() {
            return Err("the operator or another program has entered it");
        }
        if self.ours >= MOST {
            return Err("Sluice has asked for too many entries already");
        }
        Ok(())
    }
}

fn is_a_hosts(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hosts_address_is_one() {
        for text in ["0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255", "::", "::1", "ff02::1"] {
            assert!(!is_a_hosts(text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1", "169.254.1.1", "fe80::1", "fd00::7"] {
            assert!(is_a_hosts(text.parse().unwrap()), "{text}");
        }
    }
}
