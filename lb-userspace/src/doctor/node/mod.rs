//! A node: from what the controller says, what the kernel says and what probes bring, to findings.
//!
//! `gather` looks and sends, `plan` says what is sent, `rules`, `way` and `tunnel` judge: they are pure.

mod gather;
mod plan;
mod rules;
mod tunnel;
mod way;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::kernel::Held;
use super::probe::{Answer, Service};
use crate::model::Desired;
use crate::next_hop::{Interface, Resolutions};
use crate::status::report::Report;

pub use gather::{Probing, gather};
pub use rules::findings;

/// All that is known of a node.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the controller says.
    pub report: Report,
    /// What its file says, if it can be read and is in force.
    pub desired: Option<Desired>,
    /// The kernel's interfaces by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// The node's own addresses.
    pub addresses: Vec<Held>,
    /// The ways to the targets.
    pub ways: Resolutions,
    /// Why nothing was probed, if nothing was.
    pub unprobed: Option<String>,
    /// What the probes brought.
    pub probed: Vec<Probed>,
    /// By (target group, target) that is silent in the tunnel: why it does not take direct connections, or none
    /// if it does.
    pub direct: BTreeMap<(String, IpAddr), Option<String>>,
    /// By (target group, target) that is silent in the tunnel: another address of the node, from which it answers.
    pub other_sources: BTreeMap<(String, IpAddr), IpAddr>,
    /// By (target group, target): the bytes of the largest inner packet that should fit, and what it brought.
    pub full: BTreeMap<(String, IpAddr), (u16, Answer)>,
    /// Reasons for drops that count up: the name, what it means, and how many packets since the doctor began.
    pub drops: Vec<(String, String, u64)>,
}

/// What the probes of a service at a target brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The target group.
    pub target_group: String,
    /// The target.
    pub target: IpAddr,
    /// The service.
    pub service: Service,
    /// What came of it.
    pub outcome: Outcome,
}

/// What the probes of one service say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What the probe itself brought.
    Answered(Answer),
    /// UDP: the service did not answer, as it may; but the VIP did.
    Unconfirmed,
}

impl Outcome {
    /// Whether the VIP was reached through the tunnel.
    pub fn reached(&self) -> bool {
        matches!(self, Outcome::Unconfirmed | Outcome::Answered(Answer::Served | Answer::Refused))
    }

    /// Whether nothing at all came of it.
    pub fn is_silent(&self) -> bool {
        matches!(self, Outcome::Answered(Answer::Silent | Answer::NotSent(_)))
    }
}
