//! How routers learn which VIPs this node takes: an own BGP speaker that only announces, and BFD beside it.
//!
//! What is to be announced is one value, [`Wanted`], in a watch channel; whoever decides it knows nothing of
//! routers, and what is here knows nothing of targets and their health. Every session makes what its router has
//! been told equal to what is wanted, and publishes its state in a watch channel of its own.
//!
//! ```text
//!   Wanted (watch) ──► bgp: a task for each peer ──TCP──► router
//!                        ▲ down            │ state (watch)
//!                      bfd: one thread ──UDP─► router
//! ```
//!
//! A session's life is the node's: no capability is ever offered under which a router keeps the routes of a node
//! that is gone (Graceful Restart), for those would lead clients into nothing.

pub mod bfd;
pub mod bgp;
mod socket_options;

use std::collections::BTreeMap;
use std::net::IpAddr;

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
