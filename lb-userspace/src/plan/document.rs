//! A document: load balancers and target groups in the API's terms, known by their names.
//!
//! Only what differs from the API's defaults is written. Of what is left out, three things are not the defaults': a
//! target group without `targets` leaves its targets to others, a target group without `vpc_id` is in the only VPC that
//! there is, and a subnet without an address keeps the VIP that the load balancer has there.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::api::domain::records::{Forward as ForwardRecord, Protocol, Scheme, TargetType};

/// Texts by key: tags, attributes.
pub(super) type Texts = BTreeMap<String, String>;

/// What is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Document {
    /// The load balancers; no name comes twice.
    pub load_balancers: Vec<LoadBalancer>,
    /// The target groups; no name comes twice.
    pub target_groups: Vec<TargetGroup>,
}

/// A load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadBalancer {
    /// Where in the document it is.
    #[serde(skip)]
    pub place: String,
    /// Its name.
    pub name: String,
    /// Who may reach it.
    #[serde(serialize_with = "scheme", skip_serializing_if = "is_usual_scheme")]
    pub scheme: Scheme,
    /// Whether it has IPv6 VIPs beside IPv4 ones.
    #[serde(rename = "ip_address_type", serialize_with = "dualstack", skip_serializing_if = "is_false")]
    pub is_dualstack: bool,
    /// Its place in each zone.
    #[serde(rename = "subnet_mappings")]
    pub subnets: Vec<Subnet>,
    /// Whom it lets in; none lets everybody in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// Whether its security groups hold for PrivateLink traffic too.
    #[serde(
        rename = "enforce_security_group_inbound_rules_on_private_link_traffic",
        serialize_with = "on_or_off",
        skip_serializing_if = "is_true"
    )]
    pub guards_private_link: bool,
    /// Its attributes that are not the defaults'.
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub attributes: Texts,
    /// Its tags.
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub tags: Texts,
    /// Its listeners; no two have one protocol and port.
    pub listeners: Vec<Listener>,
}

/// A load balancer's place in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subnet {
    /// The subnet.
    #[serde(rename = "subnet_id")]
    pub id: String,
    /// The allocation that names the IPv4 VIP.
    #[serde(rename = "allocation_id", skip_serializing_if = "Option::is_none")]
    pub allocation: Option<String>,
    /// The IPv4 VIP of an internal load balancer.
    #[serde(rename = "private_ipv4_address", skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// The IPv6 VIP.
    #[serde(rename = "ipv6_address", skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
}

/// (Protocol, port) with a forward action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Where in the document it is.
    #[serde(skip)]
    pub place: String,
    /// What it serves.
    #[serde(serialize_with = "protocol")]
    pub protocol: Protocol,
    /// 1 to 65535.
    pub port: u16,
    /// The target groups.
    pub forward: Vec<Forward>,
    /// The action's number, where a client has given it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<i32>,
    /// Its attributes that are not the defaults'.
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub attributes: Texts,
    /// Its tags.
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub tags: Texts,
}

/// One target group of a forward action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forward {
    /// The target group's name.
    pub target_group: String,
    /// Its share, 0 to 999.
    pub weight: u16,
}

/// Targets with one protocol and port, one health check, and attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetGroup {
    /// Where in the document it is.
    #[serde(skip)]
    pub place: String,
    /// Its name.
    pub name: String,
    /// What its targets serve.
    #[serde(serialize_with = "protocol")]
    pub protocol: Protocol,
    /// Where they serve it, 1 to 65535.
    pub port: u16,
    /// The VPC of its targets.
    #[serde(rename = "vpc_id", skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    /// How its targets are named.
    #[serde(serialize_with = "target_type", skip_serializing_if = "is_usual_target_type")]
    pub target_type: TargetType,
    /// The family of its targets' addresses.
    #[serde(rename = "ip_address_type", serialize_with = "family", skip_serializing_if = "is_false")]
    pub is_ipv6: bool,
    /// How its targets are checked, where not by default.
    #[serde(skip_serializing_if = "HealthCheck::is_usual")]
    pub health_check: HealthCheck,
    /// Its attributes that are not the defaults'.
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub attributes: Texts,
    /// Its tags.
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub tags: Texts,
    /// Its targets; none if they are left to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<Target>>,
}

/// What a document says of a health check; what it leaves out is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// `TCP`, `HTTP` or `HTTPS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// A port, or `traffic-port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// What is asked for by HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Status codes that pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matcher: Option<String>,
    /// Seconds from check to check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<u16>,
    /// Seconds that an answer may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u16>,
    /// Passed checks that make a target healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_threshold_count: Option<u8>,
    /// Failed checks that make a target unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_threshold_count: Option<u8>,
}

/// An address, or an instance of the inventory, that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The instance's id or the address.
    pub id: String,
    /// The port that it serves, if that is not the target group's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its zone, or `all`.
    #[serde(rename = "availability_zone", skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What it writes into QUIC connection ids: `0x` and 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quic_server_id: Option<String>,
}

impl HealthCheck {
    /// Whether it says nothing.
    pub fn is_usual(&self) -> bool {
        *self == HealthCheck::default()
    }
}

impl From<&ForwardRecord> for Forward {
    fn from(record: &ForwardRecord) -> Forward {
        Forward { target_group: record.target_group.clone(), weight: record.weight }
    }
}

fn scheme<S: Serializer>(scheme: &Scheme, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(scheme.shape().wire())
}

fn is_usual_scheme(scheme: &Scheme) -> bool {
    *scheme == Scheme::InternetFacing
}

fn dualstack<S: Serializer>(_: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("dualstack")
}

fn family<S: Serializer>(_: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("ipv6")
}

fn on_or_off<S: Serializer>(is_on: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *is_on { "on" } else { "off" })
}

fn protocol<S: Serializer>(protocol: &Protocol, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(protocol.shape().wire())
}

fn target_type<S: Serializer>(kind: &TargetType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match kind {
        TargetType::Instance => "instance",
        TargetType::Ip => "ip",
    })
}

fn is_usual_target_type(kind: &TargetType) -> bool {
    *kind == TargetType::Instance
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_true(flag: &bool) -> bool {
    *flag
}
