//! What a plan says, as JSON for programs; `render` makes words of it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A plan: what differs, and what it would move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Who owns the load balancers and target groups: `api` or `file`.
    pub owner: String,
    /// The version of the state that it was made for: the API's generation; 0 where a file owns the state.
    pub version: u64,
    /// Whether it was carried out.
    pub applied: bool,
    /// What differs.
    pub differences: Vec<Difference>,
    /// What would happen to flows and VIPs.
    pub effects: Effects,
}

/// What is done with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Change,
    /// It is deleted, and made anew.
    Remake,
    /// It is deleted.
    Delete,
    /// The document does not name it, and it stays.
    Leave,
}

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A load balancer.
    LoadBalancer,
    /// A listener, by its load balancer, protocol and port.
    Listener,
    /// A target group.
    TargetGroup,
    /// The node that a configuration file speaks of.
    Node,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What is done with it.
    pub action: Action,
    /// What it is.
    pub resource: Resource,
    /// Its name.
    pub name: String,
    /// What of it, in words.
    pub details: Vec<String>,
}

/// What would happen to flows and VIPs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Effects {
    /// Whether tables are those of a data plane, with what it knows of its targets. Where there is none, they are those
    /// of a node that finds all targets healthy, and uses those of all zones.
    pub of_data_plane: bool,
    /// The tables that change, listener by listener.
    pub tables: Vec<TableEffect>,
    /// The targets that leave.
    pub leaving: Vec<Leaving>,
    /// The VIPs that a load balancer gets.
    pub vips_given: Vec<Vip>,
    /// The VIPs that a load balancer loses.
    pub vips_taken: Vec<Vip>,
}

/// What becomes of a listener's table once all targets that come are healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEffect {
    /// The load balancer.
    pub load_balancer: String,
    /// The protocol.
    pub protocol: String,
    /// The port; 0 is any.
    pub port: u16,
    /// How many slots the table has then; 0 if the listener goes.
    pub slots: usize,
    /// How many of them send new flows to another target than now; a new listener's are not counted.
    pub moved: usize,
}

/// A target that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Its target group.
    pub target_group: String,
    /// Its address.
    pub address: IpAddr,
    /// How long it keeps its flows, in seconds.
    pub drains_seconds: u64,
}

/// A load balancer's VIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    /// The load balancer.
    pub load_balancer: String,
    /// The address.
    pub vip: IpAddr,
}

impl Plan {
    /// Whether carrying it out would change something.
    pub fn is_empty(&self) -> bool {
        self.differences.iter().all(|difference| difference.action == Action::Leave)
    }
}
