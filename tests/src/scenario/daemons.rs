//! BIRD and FRR on the nodes, in the place of the node's own speaker: each announces the VIPs that it finds in the
//! kernel's routing table.

use anyhow::Result;

use super::routed::ROUTER;
use crate::router::{Bird, Frr};
use crate::topology::Node;

/// The examples of `packaging`, as they are but for addresses.
const BIRD: &str = include_str!("../../../packaging/examples/bird.conf");
const FRR: &str = include_str!("../../../packaging/examples/frr.conf");

/// The AS number of the nodes in both.
pub(super) const NODE_AS: u32 = 4_200_000_001;

/// A node's routing daemon.
pub(super) enum Daemon {
    Bird(Bird),
    /// It reads no other IPv6 table than the main one: IPv4 alone.
    Frr(Frr),
}

impl Daemon {
    /// Starts BIRD on every other node, from the first one on, and FRR on those between.
    pub(super) fn start(number: usize, node: &Node) -> Result<Daemon> {
        let text = if number.is_multiple_of(2) { BIRD } else { FRR };
        // The node's address first: it begins with the router's.
        let text = text.replace("10.0.1.11", &node.v4.to_string()).replace("10.0.1.1", &ROUTER.to_string());
        let text = text.replace("fd00:1::11", &node.v6.to_string());
        if number.is_multiple_of(2) {
            Bird::configured(&node.host, &text).map(Daemon::Bird)
        } else {
            Frr::configured(&node.host, &text).map(Daemon::Frr)
        }
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Daemon::Bird(_) => "BIRD",
            Daemon::Frr(_) => "FRR",
        }
    }

    /// Whether it announces VIPs of IPv6.
    pub(super) fn has_ipv6(&self) -> bool {
        matches!(self, Daemon::Bird(_))
    }

    /// All that is known, for failures.
    pub(super) fn evidence(&self) -> String {
        match self {
            Daemon::Bird(bird) => bird.evidence(),
            Daemon::Frr(frr) => frr.evidence(),
        }
    }
}
