//! What the status says of announcing. Only data; field names are an interface as all of the report's.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// How routers are told, and what they were told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoutersReport {
    /// Who tells them: `bgp` or `kernel_table`.
    pub by: String,
    /// Why they can't be told, if that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The order to drain the node, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainReport>,
    /// The order to leave the zone's VIPs to other zones, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_shift: Option<ZoneShiftReport>,
    /// The sessions of the node's own speaker, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionReport>,
    /// The routing table that a routing daemon reads, where that is how routers are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableReport>,
}

/// VIPs in a routing table of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TableReport {
    /// VIPs that have a route as usual.
    pub announced: u64,
    /// VIPs that have one as a way of last resort.
    pub draining: u64,
    /// Routes of an earlier controller that stay until it is known whether they are wanted.
    pub held: u64,
    /// VIPs that have no route though they should, each with the reason: `10.0.0.1: …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// How many routes were put right after somebody else had changed them, since the start.
    pub repaired: u64,
}

/// The order to drain the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrainReport {
    /// Seconds since it was given.
    pub since_seconds: f64,
    /// Seconds until VIPs are withdrawn; 0 when they are.
    pub withdraw_in_seconds: f64,
}

/// The order to leave a zone's VIPs to other zones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ZoneShiftReport {
    /// The zone.
    pub zone: String,
    /// Seconds since it was given.
    pub since_seconds: f64,
    /// Seconds until VIPs are withdrawn; 0 when they are.
    pub withdraw_in_seconds: f64,
    /// Seconds until it ends.
    pub ends_in_seconds: f64,
}

/// One BGP session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionReport {
    /// The router.
    pub peer: IpAddr,
    /// `Established`, or the state on the way there, as routers call it.
    pub state: String,
    /// Seconds since it is in that state.
    pub since_seconds: f64,
    /// VIPs that the router was told as usual.
    pub announced: u64,
    /// VIPs that the router was told as draining.
    pub draining: u64,
    /// Why the router can't be told some VIPs, if that is so: `2 VIPs: …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
    /// Why the session last ended, or did not come up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How often it came up since the start.
    pub established: u64,
    /// BFD with the router, if it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BfdReport>,
}

/// BFD with one router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BfdReport {
    /// `Up`, `Down`, `Init` or `AdminDown`.
    pub state: String,
    /// Seconds since it is in that state.
    pub since_seconds: f64,
    /// After how long a silence the router counts as gone, in milliseconds; 0 before it was heard.
    pub detection_milliseconds: u64,
    /// How often the router fell silent since the start.
    pub downs: u64,
    /// Why it last went down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_down: Option<String>,
}
