//! The shape of a node's status: what the controller serves as JSON on its local socket.
//!
//! Only data: it is made by the controller, and read by `sluice status`, the lab and people's scripts. Field
//! names are an interface; new ones may come, none changes its meaning.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::announce::report::RoutersReport;
use crate::metrics::histogram::Durations;

/// One node at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The node's name.
    pub node: String,
    /// The node's zone.
    pub zone: String,
    /// Version of the running `sluice`.
    pub version: String,
    /// Seconds since the controller started.
    pub uptime_seconds: f64,
    /// Fingerprint of the key by which flows are placed in tables, equal on nodes that have the same key: 16 hex digits.
    #[serde(default)]
    pub hash_key: String,
    /// Where the configuration came from, and whether the last change of it was taken.
    pub configuration: ConfigurationReport,
    /// The interfaces that the balancer is attached to.
    pub interfaces: Vec<InterfaceReport>,
    /// Load balancers by name.
    pub load_balancers: BTreeMap<String, LoadBalancerReport>,
    /// Target groups by name.
    pub target_groups: BTreeMap<String, TargetGroupReport>,
    /// What the controller wrote into the maps, and how fast.
    pub publications: PublicationReport,
    /// Why packets were not forwarded (or answered), by reason; only those that can happen, all of them.
    pub reasons: Vec<ReasonReport>,
    /// The VIPs that routers are told of, or would be were they not withdrawn; none where nobody tells routers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announcements: Vec<AnnouncementReport>,
    /// How routers are told; none where nobody tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routers: Option<RoutersReport>,
    /// The state that nodes share; none where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_state: Option<SharedStateReport>,
    /// The flow log; none where the node keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_log: Option<FlowLogReport>,
}

/// What the flow log wrote since the controller started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowLogReport {
    /// Where it is.
    pub directory: String,
    /// The share of all flows that is told of.
    pub sample: f64,
    /// Lines that were written.
    pub lines: u64,
    /// Records that found no room between the balancer's programs and the log.
    pub lost_records: u64,
    /// Lines that could not be written.
    pub lost_lines: u64,
    /// Whether the last lines could not be written.
    pub failing: bool,
}

/// A VIP as routers are told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnnouncementReport {
    /// The VIP.
    pub vip: IpAddr,
    /// Whether its packets are to come here; false while it is withdrawn.
    pub announced: bool,
    /// `announced`, `draining` (as a way of last resort), `held` (fit again, and not for long enough), `withdrawn`, or
    /// `other_zone` (never announced here).
    pub state: String,
    /// Why it is in that state, if it is not simply announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds since it is in that state.
    pub since_seconds: f64,
}

/// The state that nodes share, as this one knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharedStateReport {
    /// Generation of the newest state that the node knows of.
    pub generation: u64,
    /// Generation of the state that its tables are made from.
    pub generation_in_force: u64,
    /// Whether the store answers.
    pub store_reachable: bool,
    /// Why it does not, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_problem: Option<String>,
    /// Why the newest generation is not in force, if the node can't carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// All nodes that share the state, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberReport>,
    /// How many seconds ago the others were read; none if they never were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members_age_seconds: Option<f64>,
    /// Why they can't be read, or why this node is not among them, if that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members_problem: Option<String>,
}

/// A node that shares the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Version of its `sluice`.
    pub version: String,
    /// `this` (the one that tells), `present`, or `gone`: its lease has ended.
    pub state: String,
    /// Seconds since it was seen; 0 of this one. Of one that was gone already when this controller started, since it
    /// last wrote what it is, by its clock.
    pub last_seen_seconds: f64,
    /// Seconds since its controller started, by its clock.
    pub up_seconds: f64,
    /// Generation of the state that its tables are made from.
    pub generation: u64,
    /// Digest of all its tables, equal on nodes of one zone with equal state: 16 hex digits.
    pub table_digest: String,
    /// Whether its tables are others than this node's, though both follow the same generation, for longer than changes
    /// of health explain; or it places flows in them by another key.
    pub tables_differ: bool,
    /// Fingerprint of the key by which it places flows; none if its version does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<String>,
    /// Whether that is another one than this node's.
    #[serde(default)]
    pub hash_key_differs: bool,
    /// How full its maps are.
    pub room: Vec<RoomReport>,
    /// The interfaces with the balancer.
    pub interfaces: Vec<String>,
    /// The VIPs that it announces to routers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vips: Vec<IpAddr>,
    /// How many targets it sees unhealthy; none if it does not tell, or there are too many to tell of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<u64>,
}

/// How full a map is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomReport {
    /// What is in it: `targets`, `slots`, ….
    pub what: String,
    /// How many there are.
    pub held: u64,
    /// How many there may be.
    pub room: u64,
}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigurationReport {
    /// The file.
    pub file: String,
    /// How many times a content of the file was applied since the start, 1 at first.
    pub generation: u64,
    /// Why the file's present content is not in force, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Who owns the load balancers and target groups.
    #[serde(default)]
    pub owner: OwnerReport,
}

/// The owner of the load balancers and target groups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OwnerReport {
    /// The configuration file.
    #[default]
    File,
    /// The API; the file has the node, the inventory and the credentials.
    Api {
        /// What clients call their endpoint.
        url: String,
        /// How many changes it made since the start that are in force.
        changes: u64,
        /// What of it is not as it is configured: its address, its certificate, its credentials.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        problems: Vec<String>,
        /// The inventory, if an endpoint tells it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inventory: Option<InventoryReport>,
    },
}

/// An inventory that an EC2-compatible endpoint tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InventoryReport {
    /// Where it comes from.
    pub endpoint: String,
    /// When the answer was given that is in force: `2026-11-22T07:40:12.000Z`.
    pub answered: String,
    /// Why there is no newer one, if there should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What of it can't be used, or is kept although the endpoint no longer has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// How the controller's decisions reached the data plane.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PublicationReport {
    /// Tables published since the start.
    pub tables: u64,
    /// How long the last write of a difference took, in seconds.
    pub last_write_seconds: f64,
    /// From the end of the health check that decided to the swapped table, in seconds, for the last change of
    /// health; none before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_decision_seconds: Option<f64>,
    /// The longest such time since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_decision_seconds: Option<f64>,
    /// How long all changes of health took that were decided and published since the start.
    pub decisions: Durations,
    /// Why the maps are not as they should be, if the last write failed: the node forwards by what was right before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// One interface with the balancer on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// `native` (in the driver) or `generic` (after the driver, slower).
    pub mode: String,
    /// Why it is not native, in the kernel's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_reason: Option<String>,
    /// The kernel's id of the attached program.
    pub program_id: u32,
}

/// One load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancerReport {
    /// Its VIPs.
    pub vips: Vec<IpAddr>,
    /// Its listeners in the order of the configuration.
    pub listeners: Vec<ListenerReport>,
}

/// One listener, over all VIPs of its load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerReport {
    /// `TCP`, `UDP`, `TCP_UDP` or `QUIC`.
    pub protocol: String,
    /// The port, or `any`.
    pub port: String,
    /// Its target groups with their weights.
    pub forward: Vec<ForwardReport>,
    /// Slots of its table.
    pub slots: u32,
    /// How many of them are changing.
    pub changing_slots: u32,
    /// How many of them have exceptions.
    pub exception_slots: u32,
    /// In how many of them packets name former owners, because targets give second chances.
    #[serde(default)]
    pub chained_slots: u32,
    /// How many of them keep their owner although another is to have them, because too many had them lately.
    #[serde(default)]
    pub deferred_slots: u32,
    /// Digest of the table by targets' addresses, equal on nodes with equal state: 16 hex digits.
    pub table_digest: String,
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes forwarded, counted from the inner IP header on.
    pub bytes: u64,
}

/// One target group of a forward action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwardReport {
    /// The target group's name.
    pub target_group: String,
    /// Its weight in the action.
    pub weight: u16,
}

/// One target group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetGroupReport {
    /// `TCP`, `UDP`, `TCP_UDP` or `QUIC`.
    pub protocol: String,
    /// Its port.
    pub port: u16,
    /// `ipip` or `gue`.
    pub encapsulation: String,
    /// Which connections of a client go to one target: `none` (each for itself) or `source_ip` (all).
    #[serde(default = "no_stickiness")]
    pub stickiness: String,
    /// Who keeps flows where they are when targets change: `targets` (by second chances) or `flow_table`.
    #[serde(default = "flow_table")]
    pub flows_kept_by: String,
    /// Why it is the flow table, if it is: `10.0.0.3 has no agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_second_chance: Option<String>,
    /// Targets that were there when the controller started and have not told their connections yet. Until they have,
    /// the node should get no packets: it does not know in which slots they were the owners before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<IpAddr>,
    /// True while fewer targets are healthy than `minimum_healthy` asks for, so that all are used.
    pub fail_open: bool,
    /// How long its targets' passed health checks took, since the controller began to check the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_durations: Option<Durations>,
    /// Its targets in the order of their addresses, draining ones included.
    pub targets: Vec<TargetReport>,
}

fn flow_table() -> String {
    "flow_table".to_owned()
}

fn no_stickiness() -> String {
    "none".to_owned()
}

/// One target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    /// Its address.
    pub id: IpAddr,
    /// The port that it serves.
    pub port: u16,
    /// Its zone.
    pub zone: String,
    /// Its weight.
    pub weight: u16,
    /// What an operator has ordered, which goes before what the API's clients say; none if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorReport>,
    /// By what QUIC packets name it: `0x` and 16 hex digits; none outside QUIC groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quic_server_id: Option<String>,
    /// An ELBv2 health state: `initial`, `healthy`, `unhealthy`, `unused`, `draining`, ….
    pub state: String,
    /// An ELBv2 reason code such as `Target.FailedHealthChecks`; none for a healthy target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened, in words: the last check's error for an unhealthy target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many other nodes see it healthy and unhealthy, where all of them see it otherwise than this one, or where
    /// their word goes before this one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<ElsewhereReport>,
    /// Its health checks.
    pub checks: ChecksReport,
    /// Its agent, where agents are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentReport>,
    /// How many slots send new flows to it, over all tables.
    pub slots: u32,
    /// Its share of the slots of the tables that it is in, 0 to 1.
    pub share: f64,
    /// The next hop towards it, or why there is none.
    pub next_hop: NextHopReport,
    /// Packets forwarded to it.
    pub packets: u64,
    /// Bytes forwarded to it, counted from the inner IP header on.
    pub bytes: u64,
    /// Flows of it that the flow table remembers because their slot changed (or tracks always).
    pub exception_flows: u64,
}

/// How other nodes see a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElsewhereReport {
    /// Whether this node's own checks of it pass.
    pub healthy_here: bool,
    /// Other nodes that see it healthy.
    pub healthy: u64,
    /// Other nodes that see it unhealthy.
    pub unhealthy: u64,
}

/// What an operator has ordered of a target, by `sluice target drain` and `sluice target weight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorReport {
    /// Whether it gets no new flows.
    pub drained: bool,
    /// The weight that was set, 0 to 1000; it has none while it is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

/// The health checks of one target since the controller began to check it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChecksReport {
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How long the last one took, in seconds; none before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seconds: Option<f64>,
    /// How long ago the last one ended, in seconds; none before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seconds_ago: Option<f64>,
    /// From the start of one to the start of the next, in seconds; zero if nothing checks the target.
    #[serde(default)]
    pub interval_seconds: f64,
}

/// What is known of a target's agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    /// `present`, `absent`, or `unknown` before it was asked often enough.
    pub state: String,
    /// Its version, if it is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it hands on what is not its own.
    pub second_chance: bool,
}

/// How a target is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NextHopReport {
    /// The kernel's route and neighbour are known.
    Resolved {
        /// The interface that packets leave by.
        interface: String,
        /// The next hop's MAC address.
        mac: String,
        /// Bytes of an IP packet that fit the way, encapsulation included.
        mtu: u16,
    },
    /// Packets for the target are dropped until this is mended.
    Unresolved {
        /// What is missing.
        problem: String,
    },
}

/// One reason with its count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReasonReport {
    /// Its name, as in metrics: `no_target`.
    pub reason: String,
    /// What happened to such packets: `dropped`, `passed` or `answered`.
    pub verdict: String,
    /// What it means and what to look at.
    pub description: String,
    /// Packets since the maps were made.
    pub packets: u64,
}
