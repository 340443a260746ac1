//! Whom listeners serve, and how many new flows they take.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use lb_common::flow::{TCP, UDP};

use super::ListenerPort;

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The prefix that `address` is the first address of; none if it is longer than an address, or if a bit behind
    /// it is set.
    pub fn new(address: IpAddr, bits: u8) -> Option<Prefix> {
        let first = Prefix::around(address, bits)?;
        Some(first).filter(|prefix| prefix.address == address)
    }

    /// The prefix of that length that `address` is in; none if it is longer than an address.
    pub fn around(address: IpAddr, bits: u8) -> Option<Prefix> {
        let address = match address {
            IpAddr::V4(address) => {
                let behind = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
                IpAddr::V4((address.to_bits() & !behind).into())
            }
            IpAddr::V6(address) => {
                let behind = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !behind))
            }
        };
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Prefix { address, bits })
    }

    /// Its first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Its length: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub fn bits(self) -> u8 {
        self.bits
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Who may talk to a load balancer's listeners: whom any of the rules names. Every listener has such a rule, and every
/// rule a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowList(pub Vec<AllowRule>);

/// Some sources, for some listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// At least one.
    pub sources: Vec<Prefix>,
    /// Of which protocol's packets it speaks.
    pub protocol: RuleProtocol,
    /// Of which listeners'.
    pub ports: RulePorts,
}

/// Of which transport protocol's packets a rule speaks; QUIC is UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuleProtocol {
    /// All.
    #[default]
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl RuleProtocol {
    /// Whether it speaks of packets with this protocol number.
    pub fn has(self, protocol: u8) -> bool {
        match self {
            RuleProtocol::Any => true,
            RuleProtocol::Tcp => protocol == TCP,
            RuleProtocol::Udp => protocol == UDP,
        }
    }
}

/// Of which ports' packets a rule speaks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RulePorts {
    /// All.
    #[default]
    Any,
    /// Those in one of these ranges, both ends included.
    Ranges(Vec<(u16, u16)>),
}

impl AllowRule {
    /// Whether it speaks of a listener's packets with this protocol number. A listener of any port has one list for
    /// all of them, so of these only rules for any port speak.
    pub fn speaks_of(&self, protocol: u8, port: ListenerPort) -> bool {
        self.protocol.has(protocol)
            && match (&self.ports, port) {
                (RulePorts::Any, _) => true,
                (RulePorts::Ranges(ranges), ListenerPort::Port(port)) => {
                    ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
                }
                (RulePorts::Ranges(_), ListenerPort::Any) => false,
            }
    }
}

/// The sources that one listener's packets of one protocol may have, each with the first rule that names it: its place
/// in the load balancer's list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct AllowedSources(pub BTreeMap<Prefix, u32>);

/// How many TCP connections may begin; at once as many as in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NewFlowLimits {
    /// From all sources together, a second: 1 to 10,000,000.
    pub all: Option<u32>,
    /// From each.
    pub per_source: Option<SourceLimit>,
}

impl NewFlowLimits {
    /// Whether nothing is limited.
    pub fn is_empty(self) -> bool {
        self == NewFlowLimits::default()
    }
}

/// How many connections may begin from one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLimit {
    /// A second: 1 to 100,000.
    pub per_second: u32,
    /// What counts as one source of IPv4: addresses with the same first 24 to 32 bits.
    pub ipv4_bits: u8,
    /// The same for IPv6, 48 to 128 bits.
    pub ipv6_bits: u8,
}

/// What stands before a listener.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Policy {
    /// Whose TCP segments it takes; none is everybody's.
    pub tcp: Option<std::sync::Arc<AllowedSources>>,
    /// Whose UDP datagrams it takes, likewise.
    pub udp: Option<std::sync::Arc<AllowedSources>>,
    /// How many TCP connections may begin.
    pub limits: NewFlowLimits,
}

impl Policy {
    /// Whether it says something of packets with this protocol number.
    pub fn concerns(&self, protocol: u8) -> bool {
        if protocol == TCP { self.tcp.is_some() || !self.limits.is_empty() } else { self.udp.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str, bits: u8) -> Option<String> {
        Prefix::new(address.parse().unwrap(), bits).map(|prefix| prefix.to_string())
    }

    #[test]
    fn a_prefix_has_no_bits_behind_it() {
        assert_eq!(prefix("192.0.2.0", 24).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(prefix("192.0.2.1", 32).as_deref(), Some("192.0.2.1/32"));
        assert_eq!(prefix("0.0.0.0", 0).as_deref(), Some("0.0.0.0/0"));
        assert_eq!(prefix("2001:db8::", 32).as_deref(), Some("2001:db8::/32"));
        assert_eq!(prefix("::", 0).as_deref(), Some("::/0"));
        for (address, bits) in [("192.0.2.1", 24), ("192.0.2.0", 33), ("2001:db8::1", 64), ("::", 129)] {
            assert_eq!(prefix(address, bits), None, "{address}/{bits}");
        }
    }

    #[test]
    fn a_rule_speaks_of_its_protocol_and_ports() {
        let rule = |protocol, ports| AllowRule { sources: Vec::new(), protocol, ports };
        let web = rule(RuleProtocol::Tcp, RulePorts::Ranges(vec![(80, 90), (443, 443)]));
        assert!(web.speaks_of(TCP, ListenerPort::Port(90)) && web.speaks_of(TCP, ListenerPort::Port(443)));
        assert!(!web.speaks_of(UDP, ListenerPort::Port(443)) && !web.speaks_of(TCP, ListenerPort::Port(91)));
        assert!(!web.speaks_of(TCP, ListenerPort::Any));
        assert!(rule(RuleProtocol::Any, RulePorts::Any).speaks_of(UDP, ListenerPort::Any));
    }
}
