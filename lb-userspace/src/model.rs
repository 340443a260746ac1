//! The desired state: what the operator wants to be balanced, in types that can't be wrong.
//!
//! Every owner of the state (today the configuration file) parses its input into [`Desired`]; everything
//! behind it (health checks, tables, maps, status) reads only this. Nothing here does I/O, and nothing here
//! knows what is healthy or resolved: that is the observed state's business.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

mod policy;

pub use policy::{
    AllowList, AllowRule, AllowedSources, NewFlowLimits, Policy, Prefix, RulePorts, RuleProtocol, SourceLimit,
};

/// Everything the operator wants of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// This machine.
    pub node: Node,
    /// Where Prometheus metrics are served (`GET /metrics`), if anywhere.
    pub metrics_address: Option<SocketAddr>,
    /// The load balancers by name.
    pub load_balancers: BTreeMap<String, LoadBalancer>,
    /// The target groups by name; every `forward` of a listener names one of these.
    pub target_groups: BTreeMap<String, TargetGroup>,
}

/// The machine that runs the balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The node's name, as operators know it.
    pub name: String,
    /// The failure domain that this node is in.
    pub zone: String,
    /// The interfaces on which packets for the VIPs arrive (1 to 64 of them, no duplicates).
    pub interfaces: Vec<String>,
    /// What becomes of packets that are too big for the way to their target although they may be fragmented.
    pub oversized: Oversized,
}

/// What becomes of an IPv4 packet without "don't fragment" that is too big, with its encapsulation, for the way to
/// its target. XDP can't make fragments, so it can't be forwarded. Packets that may not be fragmented (IPv6, and
/// IPv4 with "don't fragment") are always answered with the size that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Oversized {
    /// Dropped and counted.
    #[default]
    Drop,
    /// Answered with 'fragmentation needed' too: senders that heed it send smaller packets or fragments.
    Answer,
}

/// A named set of listeners behind one or more VIPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    /// The addresses that clients connect to; each belongs to one load balancer only.
    pub vips: Vec<IpAddr>,
    /// What is served on every one of the VIPs; no two take packets of one transport protocol and port.
    pub listeners: Vec<Listener>,
    /// Whom the listeners serve; none is everybody.
    pub allow: Option<AllowList>,
}

/// (VIP, protocol, port) with its default action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What it serves; its target groups have the same.
    pub protocol: Protocol,
    /// The port, or every port that has no listener of its own.
    pub port: ListenerPort,
    /// The forward action.
    pub forward: ForwardAction,
    /// How many new flows it takes; limits are TCP listeners' only.
    pub limits: NewFlowLimits,
}

/// The port of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum ListenerPort {
    /// One port, 1 to 65535.
    Port(u16),
    /// `"any"`: all ports of the VIP that no other listener names.
    #[serde(serialize_with = "serialize_any")]
    Any,
}

fn serialize_any<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("any")
}

impl std::fmt::Display for ListenerPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListenerPort::Port(port) => write!(f, "{port}"),
            ListenerPort::Any => f.write_str("any"),
        }
    }
}

/// What a listener and its target groups serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// Both on one port: one listener, one table, one counter; what is UDP's counts for its UDP half.
    TcpUdp,
    /// QUIC (RFC 9000), UDP on the wire: packets that carry a target's server id in their connection id go to
    /// that target.
    Quic,
}

impl Protocol {
    /// Whether it takes TCP segments.
    pub const fn has_tcp(self) -> bool {
        matches!(self, Protocol::Tcp | Protocol::TcpUdp)
    }

    /// Whether it takes UDP datagrams.
    pub const fn has_udp(self) -> bool {
        !matches!(self, Protocol::Tcp)
    }

    /// Whether a packet could be for both.
    pub const fn overlaps(self, other: Protocol) -> bool {
        self.has_tcp() && other.has_tcp() || self.has_udp() && other.has_udp()
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::TcpUdp => "TCP_UDP",
            Protocol::Quic => "QUIC",
        })
    }
}

/// Where a listener's flows go: one or more target groups with weights. Two listeners with equal actions
/// share a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForwardAction(pub Vec<WeightedTargetGroup>);

/// One target group of a forward action.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct WeightedTargetGroup {
    /// The target group's name.
    pub target_group: String,
    /// Its share of the action's flows, relative to the others': 0 to 999.
    pub weight: u16,
}

/// Targets with one protocol and port, one health check, and attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGroup {
    /// The protocol that its listeners must have.
    pub protocol: Protocol,
    /// The port that its targets serve, 1 to 65535. Direct server return keeps the destination port, so this
    /// equals the port of every listener (but an `any` one) that forwards here.
    pub port: u16,
    /// How packets travel to the targets.
    pub encapsulation: Encapsulation,
    /// How targets are checked.
    pub health_check: HealthCheck,
    /// How long a removed target keeps its established flows: 0 to 3600 s.
    pub draining: Duration,
    /// How long a flow lives without a packet (of a TCP_UDP group a TCP one): 60 to 6000 s with TCP, 10 to
    /// 6000 s without.
    pub idle_timeout: Duration,
    /// How long a UDP flow of a TCP_UDP group lives without a packet: 10 to 6000 s; of other groups the same as
    /// `idle_timeout`.
    pub udp_idle_timeout: Duration,
    /// When UDP flows are remembered; has no meaning for TCP.
    pub udp_tracking: UdpTracking,
    /// Whether targets hand on packets of connections that are not theirs, where they can.
    pub second_chance: SecondChance,
    /// Which connections of a client stay together; the same in all groups of a listener.
    pub stickiness: Stickiness,
    /// Whether targets of all zones are used, or only those of the node's own.
    pub cross_zone: bool,
    /// The targets by address; no address twice, none of them a VIP.
    pub targets: BTreeMap<IpAddr, Target>,
}

impl TargetGroup {
    /// After how long without a packet none of its flows lives any more.
    pub fn longest_idle(&self) -> Duration {
        self.idle_timeout.max(self.udp_idle_timeout)
    }
}

/// An address that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its share of the group's flows, relative to the others': 0 (no new flows) to 1000.
    pub weight: u16,
    /// The failure domain it is in.
    pub zone: String,
    /// What it writes into the connection ids that it gives out: every target of a QUIC group has one, which no
    /// other target has that a listener of it can reach; others have none.
    pub quic_server_id: Option<QuicServerId>,
}

/// Eight bytes by which QUIC packets name a target, in the order of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuicServerId(pub [u8; 8]);

impl std::fmt::Display for QuicServerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Whether the targets keep the flows of changed slots where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondChance {
    /// Where all of them have an agent that can; the node's flow table elsewhere.
    Auto,
    /// The node's flow table does.
    Never,
}

/// Which connections go to one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stickiness {
    /// Each for itself.
    None,
    /// All of a client's address to a VIP, whatever their ports and protocol. New ones move when the table
    /// changes; established ones stay, as without stickiness.
    SourceIp,
}

/// How a packet travels from a node to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// IP in IP: RFC 2003 (IPv4 in IPv4), RFC 2473 (IPv6 in IPv6, and the mixed ones).
    Ipip,
    /// Generic UDP encapsulation, version 0 without options, UDP port 6080 (draft-ietf-intarea-gue).
    Gue,
}

/// In changed slots, what is known of a UDP flow. UDP has no SYN that would tell a new flow from an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UdpTracking {
    /// Flows are remembered in changed slots only; one unknown after the idle time-out is new.
    Changed,
    /// Every flow is remembered from its first packet on: it keeps its target, and each packet pays a look-up.
    Always,
    /// No flow is remembered: a change of the table moves flows at once.
    Never,
}

/// How a target group's targets are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is sent, and what must come back.
    pub probe: Probe,
    /// The port that is checked, 1 to 65535.
    pub port: u16,
    /// From the start of one check to the start of the next: 1 to 300 s.
    pub interval: Duration,
    /// How long an answer may take: 1 to 120 s, never longer than the interval.
    pub timeout: Duration,
    /// Passed checks in a row that make an unhealthy target healthy: 1 to 10.
    pub healthy_threshold: u8,
    /// Failed checks in a row that make a target unhealthy: 1 to 10.
    pub unhealthy_threshold: u8,
}

/// The question that a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A TCP connection that is established and closed again.
    Tcp,
    /// `GET path` over HTTP/1.1; the answer's status code must be one of `matcher`.
    Http {
        /// Origin-form request target, starts with `/`.
        path: String,
        /// Status codes that pass.
        matcher: StatusCodes,
    },
}

/// HTTP status codes as inclusive ranges: `200`, `200-399`, `200,202-204`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCodes(pub Vec<(u16, u16)>);

impl StatusCodes {
    /// Whether `code` is in one of the ranges.
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&code))
    }
}

impl std::fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

/// A target's name in the whole node: the same address in two target groups is two targets, with a health
/// state each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey {
    /// The target group's name.
    pub target_group: String,
    /// The target's address.
    pub address: IpAddr,
}

impl std::fmt::Display for TargetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.target_group, self.address)
    }
}
