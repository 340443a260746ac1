//! What the table tells of itself, for the status and the metrics.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::announce::Announcement;

/// What became of one VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its route is there, as one that is announced.
    Announced,
    /// Its route is there, as one that is draining.
    Draining,
    /// Its route is an earlier run's and stays for now: nobody has said yet what it shall be.
    Held,
    /// The kernel would not have it, or another program is against it: in words, with the remedy.
    Failed(String),
}

impl State {
    pub(super) fn of(announcement: Announcement) -> State {
        match announcement {
            Announcement::Announced => State::Announced,
            Announcement::Draining => State::Draining,
        }
    }
}

/// The table's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The VIPs that have a route, or should; those that were withdrawn are not in it.
    pub vips: BTreeMap<IpAddr, State>,
    /// Why the table is not kept at the moment, if it isn't; what was written stays meanwhile.
    pub error: Option<String>,
    /// How many routes were put right that others had taken away or changed, since the start.
    pub repaired: u64,
}
