//! A target: from what its agent and its kernel say to findings.
//!
//! `gather` looks, twice at what counts; `rules` judges, and is pure. Nothing is sent.

mod gather;
mod rules;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::kernel::Held;
use super::listening::Listening;
use super::probe::Transport;
use crate::next_hop::Interface;

pub use gather::gather;
pub use rules::findings;

/// All that is known of a target.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the agent says, or why it doesn't.
    pub agent: Result<Agent, String>,
    /// The kernel's interfaces by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// The host's addresses.
    pub addresses: Vec<Held>,
    /// The kernel's settings by interface.
    pub settings: BTreeMap<String, Settings>,
    /// Packets that the reverse-path filter dropped while the doctor looked.
    pub reverse_path_drops: u64,
    /// The sockets of servers.
    pub listening: Vec<Listening>,
    /// The ports that should be served; none if nobody said which.
    pub ports: Vec<Port>,
    /// By reason: packets of the agent while the doctor looked.
    pub packets: BTreeMap<String, u64>,
}

/// A port that should be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// The port's transport.
    pub transport: Transport,
}

/// What the agent says of itself; what else it says does not matter here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Agent {
    /// Where it is attached.
    pub interfaces: Vec<AgentInterface>,
    /// From whom it takes tunnel packets.
    pub nodes: Vec<IpAddr>,
    /// For what it takes them.
    pub vips: Vec<IpAddr>,
    /// Packets by reason since its start.
    pub packets: BTreeMap<String, u64>,
}

/// An interface with the agent on it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentInterface {
    /// Its name.
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
    /// The program's id.
    pub program_id: u32,
}

/// The kernel's settings of an interface, those for all interfaces included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which ARP requests are answered: 0 for any address of the host, 1 for the interface's own only.
    pub arp_ignore: u32,
    /// Which address ARP requests are made in the name of: 2 is never one of another interface.
    pub arp_announce: u32,
    /// The reverse-path filter: 0 off, 1 strict, 2 loose.
    pub rp_filter: u32,
}
