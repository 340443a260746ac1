//! The desired state: what the operator wants to be balanced, in types that can't be wrong.
//!
//! Every owner of the state (today the configuration file) parses its input into [`Desired`]; everything
//! behind it (health checks, tables, maps, status) reads only this. Nothing here does I/O, and nothing here
//! knows what is healthy or resolved: that is the observed state's business.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

mod flow_log;
mod health_check;
mod minimum_healthy;
mod policy;

pub use flow_log::{BadPlace, FlowLogging, LogPlace, Sample};
pub use health_check::{CheckPort, HealthCheck, Probe, StatusCodes};
pub use minimum_healthy::{MinimumHealthy, Threshold};
pub use policy::{
    AllowList, AllowRule, AllowedSources, NewFlowLimits, Policy, Prefix, RulePorts, RuleProtocol, SourceLimit,
};

/// Everything the operator wants of one node.
///
/// Load balancers and target groups are shared: an owner who changes one of a thousand leaves the others' pointers
/// as they are, and equality, which is by pointer first, then costs next to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// This machine.
    pub node: Node,
    /// Where Prometheus metrics are served (`GET /metrics`), if anywhere.
    pub metrics_address: Option<SocketAddr>,
    /// The load balancers by name.
    pub load_balancers: BTreeMap<String, Arc<LoadBalancer>>,
    /// The target groups by name; every `forward` of a listener names one of these.
    pub target_groups: BTreeMap<String, Arc<TargetGroup>>,
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
    /// Whose word counts of a target's health.
    pub health_view: HealthView,
    /// How it keeps flow logs, if it does.
    pub flow_log: Option<FlowLogging>,
}

/// Whose word counts of a target's health, where several nodes check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HealthView {
    /// This node's own.
    #[default]
    Own,
    /// That of most nodes; this node's own where as many say so as the contrary, and while they can't be heard.
    Majority,
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
    /// The zones of those VIPs that are one zone's: only its nodes announce them. The others are every zone's.
    pub vip_zones: BTreeMap<IpAddr, String>,
    /// What is served on every one of the VIPs; no two take packets of one transport protocol and port.
    pub listeners: Vec<Listener>,
    /// Whom the listeners serve; none is everybody.
    pub allow: Option<AllowList>,
    /// Where its flows are logged, on nodes that keep flow logs; none is nowhere.
    pub flow_log: Option<LogPlace>,
}

/// (VIP, protocol, port) with its default action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What it serves; its target groups serve that too ([`Protocol::is_served_by`]).
    pub protocol: Protocol,
    /// The port, or every port that has no listener of its own.
    pub port: ListenerPort,
    /// The forward action.
    pub forward: ForwardAction,
    /// How many new flows it takes; limits are TCP listeners' only.
    pub limits: NewFlowLimits,
    /// How long a flow of this TCP listener lives without a packet, 60 to 6000 s; none is what the target groups
    /// say.
    pub idle_timeout: Option<Duration>,
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

    /// Whether a listener of this protocol may forward to a target group of `group`: to its own, and to TCP_UDP
    /// where that has all that the listener takes. QUIC is not UDP here: its targets have server ids.
    pub const fn is_served_by(self, group: Protocol) -> bool {
        match group {
            Protocol::Tcp => matches!(self, Protocol::Tcp),
            Protocol::Udp => matches!(self, Protocol::Udp),
            Protocol::TcpUdp => matches!(self, Protocol::Tcp | Protocol::Udp | Protocol::TcpUdp),
            Protocol::Quic => matches!(self, Protocol::Quic),
        }
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

/// Where a listener's flows go: one or more target groups with weights. Listeners with equal actions share a table,
/// unless they came to them with flows of their own: then when these are over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForwardAction(pub Vec<WeightedTargetGroup>);

impl ForwardAction {
    /// The names of the target groups that get flows: those with a weight.
    pub fn used_groups(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|part| part.weight > 0).map(|part| part.target_group.as_str())
    }

    /// Whether the target group `name` is one of its.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|part| part.target_group == name)
    }

    /// Whether one of its target groups has one of these names.
    pub fn names_any(&self, names: &std::collections::BTreeSet<String>) -> bool {
        self.0.iter().any(|part| names.contains(&part.target_group))
    }
}

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
    /// The port that its targets serve where they don't say otherwise, 1 to 65535. Direct server return keeps the
    /// destination port: where it differs from a listener's, the targets' agents translate.
    pub port: u16,
    /// How packets travel to the targets.
    pub encapsulation: Encapsulation,
    /// How targets are checked.
    pub health_check: Arc<HealthCheck>,
    /// How many targets must be healthy, and what follows where fewer are.
    pub minimum_healthy: MinimumHealthy,
    /// What becomes of the established flows of a target whose checks fail.
    pub unhealthy_flows: UnhealthyFlows,
    /// How long a removed target keeps its established flows for certain: 0 to 3600 s.
    pub draining: Duration,
    /// Whether the flows that a removed target has left when its draining time ends are cut; if not, they live on
    /// until they are idle.
    pub terminates_on_deregistration: bool,
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
    /// How many more are registered of which this node's inventory knows no address: other nodes' may.
    pub absent: usize,
}

/// An address that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its share of the group's flows, relative to the others': 0 (no new flows) to 1000.
    pub weight: u16,
    /// The failure domain it is in.
    pub zone: String,
    /// The port that it serves, 1 to 65535.
    pub port: u16,
    /// What an operator has ordered; `weight` has it in it.
    pub operator: Override,
    /// What it writes into the connection ids that it gives out: every target of a QUIC group has one, which no
    /// other target has that a listener of it can reach; others have none.
    pub quic_server_id: Option<QuicServerId>,
}

/// What an operator orders of one target, whatever the owner of the state says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Override {
    /// It gets no new flows: its weight is 0.
    pub is_drained: bool,
    /// Its weight while it is not drained, 0 to 1000; none leaves it as it is.
    pub weight: Option<u16>,
}

impl Override {
    /// Whether nothing is ordered.
    pub fn is_none(&self) -> bool {
        *self == Override::default()
    }

    /// The weight of a target whose own is `weight`.
    pub fn weight(&self, weight: u16) -> u16 {
        if self.is_drained { 0 } else { self.weight.unwrap_or(weight) }
    }
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

/// What becomes of the established flows of a target whose checks fail. New ones it never gets, unless its group
/// fails open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnhealthyFlows {
    /// They are lost at once: other targets get their packets, and reset them.
    #[default]
    Terminate,
    /// They stay for so long, 0 to 360,000 s, as long as the target answers them: it is `unhealthy.draining`. Then
    /// they are lost.
    Drain(Duration),
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
