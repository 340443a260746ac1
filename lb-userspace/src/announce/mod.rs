//! How routers learn which VIPs this node takes: an own BGP speaker that only announces, and BFD beside it; or a routing
//! table of the kernel that a routing daemon reads.
//!
//! What is to be announced is one value, [`Wanted`], in a watch channel; whoever decides it knows nothing of
//! routers, and who tells routers knows nothing of targets and their health. Every session makes what its router has
//! been told equal to what is wanted, and publishes its state in a watch channel of its own.
//!
//! ```text
//!   what the node knows ─► fitness ─► Wanted (watch) ──► bgp: a task for each peer ──TCP──► router
//!   operators' orders ───────┘                             ▲ down            │ state (watch)
//!                            │                           bfd: one thread ──UDP─► router
//!                            └─► kernel_table: routes ──► BIRD, FRR ──► router
//! ```
//!
//! `fitness` and `orders` are pure, `announcer` runs what tells routers, `command` and `routes` are the command line
//! and its way to the controller.
//!
//! A session's life is the controller's: no capability is ever offered under which a router keeps the routes of a node
//! that is gone (Graceful Restart), for those would lead clients into nothing.

pub mod announcer;
pub mod bfd;
pub mod bgp;
mod command;
pub mod fitness;
pub mod kernel_table;
pub mod orders;
pub mod orders_file;
pub mod report;
pub mod routes;
mod socket_options;
mod warnings;

pub use command::{NodeOptions, ZoneOptions, node, zone};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// How a VIP is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Announcement {
    /// As usual.
    Announced,
    /// As a way of last resort (RFC 8326): routers that know a better one leave it, and lose nothing meanwhile.
    Draining,
}

/// What routers shall know, for each VIP; a VIP that is not in it is withdrawn. A VIP is a route to its address
/// alone: /32 or /128.
pub type Wanted = BTreeMap<IpAddr, Announcement>;

/// How a node announces its VIPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Who tells routers.
    pub by: By,
    /// When a VIP is announced.
    pub rules: fitness::Rules,
    /// How long VIPs are announced as draining before they are withdrawn, unless the order says otherwise: 0 to
    /// 3600 s.
    pub drain: Duration,
}

/// Who tells routers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The node's own speaker.
    Bgp(bgp::Speaker),
    /// A routing daemon that reads a table of the kernel.
    KernelTable(kernel_table::Configuration),
}

impl By {
    /// Its name in the configuration and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            By::Bgp(_) => "bgp",
            By::KernelTable(_) => "kernel_table",
        }
    }
}
