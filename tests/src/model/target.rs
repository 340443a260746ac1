//! A target as the design describes it: tunnel ends, the way there, and whether its flows are kept.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The outer addresses.
    pub ends: Ends,
    /// Whether packets go in GUE over UDP, not directly in IP.
    pub gue: bool,
    /// The way there, if it is known.
    pub next_hop: Option<NextHop>,
    /// Bytes of an IP packet, encapsulation included, that fit the way.
    pub mtu: u16,
    /// Whether it lives: the flows that are known on it stay there.
    pub keeps_flows: bool,
    /// The bits of the outer source address's last four bytes that vary with the flow.
    pub spread: [u8; 4],
}

/// The outer source and destination address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Outer IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// Outer IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

/// Where a target's packets leave, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The interface's index.
    pub interface: u32,
    /// The interface's MAC address.
    pub source: [u8; 6],
    /// The next hop's MAC address.
    pub destination: [u8; 6],
}

impl Target {
    /// Bytes that its encapsulation adds to an IP packet. For a chain the way's MTU leaves room.
    pub fn overhead(&self) -> usize {
        let outer = if matches!(self.ends, Ends::V4(..)) { 20 } else { 40 };
        outer + if self.gue { 8 } else { 0 }
    }
}
