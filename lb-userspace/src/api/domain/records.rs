//! What is kept: load balancers with their listeners, target groups with their targets. Attributes are typed values;
//! what a store writes is exactly this.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::arn::ResourceId;
pub use super::health_check::{CheckProtocol, HealthCheck};
pub use super::load_balancer_attributes::{ClientRoutingPolicy, LoadBalancerAttributes};
pub use super::target_group_attributes::{CrossZone, TargetGroupAttributes};
use crate::api::calendar::Timestamp;
use crate::api::shapes::{
    LoadBalancerSchemeEnum, ProtocolEnum, TargetGroupIpAddressTypeEnum, TargetTypeEnum,
};
use crate::model;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// A load balancer; its name is its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// The number in its ARN.
    pub id: ResourceId,
    /// When it was made.
    pub created: Timestamp,
    /// Who may reach it, as its owner says; what its addresses are follows from it.
    pub scheme: Scheme,
    /// The VPC of its subnets.
    pub vpc: String,
    /// Whether it has IPv6 VIPs beside IPv4 ones.
    pub is_dualstack: bool,
    /// Its place in each zone.
    pub zones: BTreeMap<String, Seat>,
    /// Whom it lets in; empty means everybody, and then it stays so for life.
    pub security_groups: Vec<String>,
    /// Whether its security groups hold for PrivateLink traffic too; there is none here.
    pub guards_private_link: bool,
    /// Its attributes.
    pub attributes: LoadBalancerAttributes,
    /// Its tags.
    pub tags: Tags,
    /// Its listeners.
    pub listeners: BTreeMap<ResourceId, Listener>,
}

/// A load balancer's place in a zone: a VIP of each family, for life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The subnet.
    pub subnet: String,
    /// The IPv4 VIP.
    pub ipv4: Ipv4Addr,
    /// The IPv6 VIP of a dualstack load balancer.
    pub ipv6: Option<Ipv6Addr>,
    /// The allocation id that named the IPv4 VIP.
    pub allocation: Option<String>,
}

/// Who may reach a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// Everybody.
    InternetFacing,
    /// The inside.
    Internal,
}

/// (Protocol, port) with a forward action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// What it serves.
    pub protocol: Protocol,
    /// 1 to 65535.
    pub port: u16,
    /// One to five target groups, none twice.
    pub forward: Vec<Forward>,
    /// What the client numbered the action with.
    pub order: Option<i32>,
    /// How long a TCP flow lives without a packet: 60 to 6000 s.
    pub tcp_idle_timeout: u16,
    /// Its tags.
    pub tags: Tags,
}

/// One target group of a forward action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The target group's name.
    pub target_group: String,
    /// Its share, 0 to 999.
    pub weight: u16,
}

/// Targets with one protocol and port, one health check, and attributes; its name is its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// The number in its ARN.
    pub id: ResourceId,
    /// What its targets serve.
    pub protocol: Protocol,
    /// Where its targets serve it, 1 to 65535.
    pub port: u16,
    /// The VPC of its targets.
    pub vpc: String,
    /// How its targets are named.
    pub target_type: TargetType,
    /// The family of its targets' addresses.
    pub is_ipv6: bool,
    /// How its targets are checked.
    pub health_check: HealthCheck,
    /// Its attributes.
    pub attributes: TargetGroupAttributes,
    /// Its tags.
    pub tags: Tags,
    /// Its targets in the order of id and port; those that drain too.
    pub targets: Vec<Target>,
}

/// How targets are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetType {
    /// By an instance's id.
    Instance,
    /// By an address.
    Ip,
}

/// An address, or an instance of the inventory, that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The instance's id, or the address as it is printed.
    pub id: String,
    /// The port that it serves.
    pub port: u16,
    /// The zone that was given; `all` is every zone.
    pub zone: Option<String>,
    /// Of a QUIC group's target: what it writes into connection ids, as a big-endian number.
    #[serde(with = "hexadecimal")]
    pub quic_server_id: Option<u64>,
    /// When it was registered.
    pub registered: Timestamp,
    /// Of a deregistered one: until when it keeps its flows.
    pub drains_until: Option<Timestamp>,
    /// What an operator has ordered; it ends with the registration.
    #[serde(default, skip_serializing_if = "Override::is_none")]
    pub operator: Override,
}

/// What an operator orders of a target, which no client of the API can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Override {
    /// Whether it gets no new flows.
    #[serde(default)]
    pub is_drained: bool,
    /// Its weight while it is not drained, 0 to 1000, where others have 1.
    #[serde(default)]
    pub weight: Option<u16>,
}

impl Override {
    /// Whether nothing is ordered.
    pub fn is_none(&self) -> bool {
        *self == Override::default()
    }

    /// As the data plane has it.
    pub fn of_model(self) -> model::Override {
        model::Override { is_drained: self.is_drained, weight: self.weight }
    }
}

/// A number that is kept as 16 hexadecimal digits.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ResourceId;

    pub(super) fn serialize<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        number.map(ResourceId).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<ResourceId>::deserialize(deserializer)?.map(|ResourceId(number)| number))
    }
}

impl Target {
    /// Whether it is registered, or drains still.
    pub fn is_there(&self, now: Timestamp) -> bool {
        self.drains_until.is_none_or(|end| now < end)
    }
}

/// What a listener and its target groups serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Both on one port.
    TcpUdp,
    /// QUIC with server ids.
    Quic,
}

impl Protocol {
    /// The protocol, if this server serves it.
    pub fn of(protocol: ProtocolEnum) -> Option<Protocol> {
        match protocol {
            ProtocolEnum::Tcp => Some(Protocol::Tcp),
            ProtocolEnum::Udp => Some(Protocol::Udp),
            ProtocolEnum::TcpUdp => Some(Protocol::TcpUdp),
            ProtocolEnum::Quic => Some(Protocol::Quic),
            ProtocolEnum::Http
            | ProtocolEnum::Https
            | ProtocolEnum::Tls
            | ProtocolEnum::Geneve
            | ProtocolEnum::TcpQuic => None,
        }
    }

    /// As the API names it.
    pub fn shape(self) -> ProtocolEnum {
        match self {
            Protocol::Tcp => ProtocolEnum::Tcp,
            Protocol::Udp => ProtocolEnum::Udp,
            Protocol::TcpUdp => ProtocolEnum::TcpUdp,
            Protocol::Quic => ProtocolEnum::Quic,
        }
    }

    /// As the data plane names it.
    pub fn of_model(self) -> model::Protocol {
        match self {
            Protocol::Tcp => model::Protocol::Tcp,
            Protocol::Udp => model::Protocol::Udp,
            Protocol::TcpUdp => model::Protocol::TcpUdp,
            Protocol::Quic => model::Protocol::Quic,
        }
    }

    /// Whether it is on UDP, alone or beside TCP.
    pub fn has_udp(self) -> bool {
        self.of_model().has_udp()
    }
}

impl Scheme {
    /// The scheme that a request names; internet-facing if it names none.
    pub fn of(scheme: Option<LoadBalancerSchemeEnum>) -> Scheme {
        match scheme {
            Some(LoadBalancerSchemeEnum::Internal) => Scheme::Internal,
            Some(LoadBalancerSchemeEnum::InternetFacing) | None => Scheme::InternetFacing,
        }
    }

    /// As the API names it.
    pub fn shape(self) -> LoadBalancerSchemeEnum {
        match self {
            Scheme::InternetFacing => LoadBalancerSchemeEnum::InternetFacing,
            Scheme::Internal => LoadBalancerSchemeEnum::Internal,
        }
    }
}

impl TargetGroup {
    /// The target of that id and port.
    pub fn target(&self, id: &str, port: u16) -> Option<&Target> {
        self.find(id, port).ok().map(|at| &self.targets[at])
    }

    /// Where the target is, or where it belongs.
    pub fn find(&self, id: &str, port: u16) -> Result<usize, usize> {
        self.targets.binary_search_by(|target| (target.id.as_str(), target.port).cmp(&(id, port)))
    }

    /// How the API names the family of its targets.
    pub fn ip_address_type(&self) -> TargetGroupIpAddressTypeEnum {
        if self.is_ipv6 { TargetGroupIpAddressTypeEnum::Ipv6 } else { TargetGroupIpAddressTypeEnum::Ipv4 }
    }

    /// How the API names the way in which targets are named.
    pub fn target_type(&self) -> TargetTypeEnum {
        match self.target_type {
            TargetType::Instance => TargetTypeEnum::Instance,
            TargetType::Ip => TargetTypeEnum::Ip,
        }
    }
}
