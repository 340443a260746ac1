//! The answer's shape: what each stage saw of one packet, in names.
//!
//! Field names are an interface; new ones may come, none changes its meaning. A stage that the packet did not
//! reach is missing.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::outer::Outer;
use crate::status::report::NextHopReport;

/// What the program does with one packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The interface that the packet comes in by.
    pub interface: String,
    /// Whom the frame is for, and whom the interface takes frames for.
    pub frame: FramePart,
    /// What the headers say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<PacketPart>,
    /// The listener that has the packet's destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<ListenerPart>,
    /// What stands before the listener, if it has a say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyPart>,
    /// Whether a QUIC connection id named the target, so that no slot was asked.
    #[serde(default)]
    pub by_server_id: bool,
    /// The flow's slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotPart>,
    /// The flow table, if it has a say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_table: Option<FlowTablePart>,
    /// The chosen target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetPart>,
    /// What becomes of the packet.
    pub verdict: VerdictPart,
    /// The outer headers, if the packet goes to a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outer: Option<Outer>,
    /// The frame in, hexadecimal.
    pub frame_in: String,
    /// The frame out, hexadecimal; none if it is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_out: Option<String>,
}

/// The link layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FramePart {
    /// The MAC address that the frame is for.
    pub destination_mac: String,
    /// The MAC address whose frames the balancer takes on the interface.
    pub interface_mac: String,
    /// Bytes of the frame.
    pub length: usize,
}

/// The headers as the program's parser read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketPart {
    /// `TCP`, `UDP`, `ICMP`, `ICMPv6`, or the protocol's number.
    pub protocol: String,
    /// Source address.
    pub source: IpAddr,
    /// Source port, if a TCP or UDP header was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// `opening` (a SYN), `established`, or `ageless` (UDP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Bytes from the IP header on.
    pub length: u16,
    /// Which part of its datagram it is, if it is a fragment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<FragmentPart>,
}

/// A fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentPart {
    /// The datagram's identification.
    pub identification: u32,
    /// How many bytes of the datagram are before it.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// Whether its ports are known: its own, or those of a first fragment that came before it.
    pub ports_known: bool,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerPart {
    /// The load balancer's name.
    pub load_balancer: String,
    /// The listener's protocol.
    pub protocol: String,
    /// The listener's port, or `any`.
    pub port: String,
    /// The target groups that it forwards to.
    pub target_groups: Vec<String>,
    /// When flows are remembered: `changed`, `always` or `never`.
    pub tracking: String,
}

/// What a listener's allow-list and limits say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyPart {
    /// `allowed` or `not_allowed`; missing if there is no allow-list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_list: Option<String>,
    /// The place of the rule that lets the source in, in the load balancer's `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Its prefix that holds the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Of a packet that begins a flow which is counted: `within`, `source_limit` or `listener_limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<String>,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotPart {
    /// The flow's hash, hexadecimal.
    pub hash: String,
    /// The slot's number in the listener's table.
    pub number: u32,
    /// How many slots the table has.
    pub slots: u32,
    /// `stable`, `changing`, `exceptions`, `chained` or `no_target`.
    pub state: String,
    /// The target of new flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// While the slot is changing, the target of flows that began before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Where targets give second chances: who had the slot before, newest first; the packet names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
}

/// What the flow table says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTablePart {
    /// The target that the flow is remembered on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remembered_on: Option<String>,
    /// Seconds since the flow's last packet, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_seconds_ago: Option<u32>,
    /// Whether the packet goes elsewhere than its slot sends new flows.
    pub exception: bool,
}

/// The chosen target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetPart {
    /// Its target group.
    pub target_group: String,
    /// Its address.
    pub address: String,
    /// Its health state.
    pub state: String,
    /// How it is reached.
    pub next_hop: NextHopReport,
    /// Bytes of an outer packet that fit the way; zero if there is none.
    pub mtu: u16,
    /// Bytes that the encapsulation adds; zero if there is no next hop.
    pub overhead: u16,
}

/// What becomes of the packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictPart {
    /// `forwarded`, `passed`, `dropped` or `answered`.
    pub verdict: String,
    /// The XDP action: `XDP_PASS`, `XDP_TX` and so on.
    pub action: String,
    /// The name of the reason, if it is not forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the reason means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
