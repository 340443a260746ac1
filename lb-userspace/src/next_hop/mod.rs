//! How each target is reached: the interface, both MAC addresses, the source address and the MTU of the way
//! there, from the kernel's own routes and neighbours, kept current.
//!
//! ```text
//!   targets ─► route look-up ─► hop (interface, neighbour's address) ─► neighbour ─► MAC address
//!              (the kernel's)    links: up? MAC? MTU?                   (asked to stay resolved)
//! ```
//!
//! `resolve` is the whole decision and is pure; `links` and `neighbours` are what the kernel last said;
//! `requests`, `lookups` and `notifications` hold the sockets; `follow` is the task that joins them. Nothing here writes
//! a route or an address. The only thing it writes is the request that the kernel resolve a neighbour and keep
//! it so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use thiserror::Error;

mod entries;
mod follow;
mod links;
mod look;
mod lookups;
mod neighbours;
mod notifications;
mod requests;
mod resolve;
mod route;

pub(crate) use entries::Entries;
pub use follow::NextHops;
pub use links::{Interface, interface};
pub use look::{interfaces, look};
pub(crate) use neighbours::Hop;

/// How packets reach a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the interface that packets leave by, as the route names it: a VLAN, a bond or a bridge is not
    /// looked through (its [`Interface::kind`] tells).
    pub interface: u32,
    /// Name of that interface.
    pub interface_name: String,
    /// The interface's own MAC address.
    pub source_mac: [u8; 6],
    /// The neighbour's MAC address: the target's if it is on the link, a router's otherwise.
    pub destination_mac: [u8; 6],
    /// The address of this host that the kernel would send from: of the target's family.
    pub source: IpAddr,
    /// Bytes of an IP packet, outer header included, that fit the way: the route's MTU if it has one (a
    /// learnt path MTU counts), else the interface's. More than 65535 (as `lo` has) is 65535.
    pub mtu: u16,
    /// True while the neighbour does not answer: `destination_mac` is the last that it was known by. It is
    /// kept because a neighbour can be silent to the kernel and yet serve (the data plane's packets are not
    /// seen by the kernel, and don't prove it alive); whether a target is dead is for its health check to say.
    pub neighbour_silent: bool,
}

/// A target's next hop, or why it has none.
pub type Resolution = Result<NextHop, Unresolved>;

/// Targets by address with what is known of the way to each. A target that is not in it was not looked up yet.
pub type Resolutions = BTreeMap<IpAddr, Resolution>;

/// The addresses of which something else is known in `new` than in `old`; those that are gone are not among them.
pub fn differences(old: &Resolutions, new: &Resolutions) -> BTreeSet<IpAddr> {
    let mut before = old.iter().peekable();
    let is_new = |(address, resolution): &(&IpAddr, &Resolution)| {
        while before.next_if(|(earlier, _)| earlier < address).is_some() {}
        before.next_if(|(same, _)| same == address).is_none_or(|(_, earlier)| earlier != *resolution)
    };
    new.iter().filter(is_new).map(|(address, _)| *address).collect()
}

/// Why a target has no next hop; packets for it can't be sent until this is mended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unresolved {
    /// The routing tables have nothing for it.
    #[error(
        "no route to {target}: compare `ip route get {target}`; add a route, or correct the target's address"
    )]
    NoRoute {
        /// The target.
        target: IpAddr,
    },
    /// A route that refuses packets.
    #[error(
        "the route to {target} is `{kind}`: see `ip route get {target}` and the routes and rules behind it"
    )]
    Refused {
        /// The target.
        target: IpAddr,
        /// `blackhole`, `unreachable` or `prohibit`.
        kind: &'static str,
    },
    /// The target is this host.
    #[error(
        "{target} is an address of this host: a target must be another host; remove the address here (`ip address`) or the target"
    )]
    Local {
        /// The target.
        target: IpAddr,
    },
    /// A broadcast, multicast or anycast address.
    #[error(
        "{target} is not the address of one host (the kernel's route is `{kind}`): correct the target's address"
    )]
    NotUnicast {
        /// The target.
        target: IpAddr,
        /// The kernel's name of the route's type.
        kind: String,
    },
    /// A route with an encapsulation of its own, or a gateway that is not an IP address.
    #[error(
        "the route to {target} encapsulates (`ip route get {target}` shows `encap` or a gateway that is no IP address), which the data plane can't: give the target a plain route"
    )]
    Encapsulated {
        /// The target.
        target: IpAddr,
    },
    /// The interface is down or has no carrier.
    #[error(
        "{target} is reached by {interface}, which is down: see `ip link show {interface}` (its cable or peer, or `ip link set {interface} up`)"
    )]
    InterfaceDown {
        /// The target.
        target: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The route names an interface that is not known (yet): it has just come or gone.
    #[error(
        "{target} is reached by the interface with index {index}, which does not exist (yet): see `ip route get {target}` and `ip link`"
    )]
    InterfaceUnknown {
        /// The target.
        target: IpAddr,
        /// The interface's index; 0 if the route names none.
        index: u32,
    },
    /// The interface is not Ethernet: point-to-point, a tunnel, or `lo`.
    #[error(
        "{target} is reached by {interface}, which is no Ethernet interface and has no MAC address: route the target by an Ethernet interface"
    )]
    NoMac {
        /// The target.
        target: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// No own address to send from.
    #[error(
        "this host has no address to reach {target} from: see `ip route get {target}`; give {interface} an address of the same family"
    )]
    NoSource {
        /// The target.
        target: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The kernel has asked for the neighbour's MAC address; an answer or a failure follows within seconds.
    #[error("{target}: the MAC address of {neighbour} on {interface} is being resolved")]
    NeighbourPending {
        /// The target.
        target: IpAddr,
        /// The target itself, or the router before it.
        neighbour: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The neighbour has never answered.
    #[error(
        "{target}: {neighbour} does not answer on {interface} (ARP or neighbour discovery): is it up, on this link, and is `ip neigh show {neighbour}` FAILED?"
    )]
    NeighbourSilent {
        /// The target.
        target: IpAddr,
        /// The target itself, or the router before it.
        neighbour: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The kernel would not resolve the neighbour for us.
    #[error("{target}: the kernel refuses to resolve {neighbour} on {interface}: {error}; {remedy}")]
    NeighbourRefused {
        /// The target.
        target: IpAddr,
        /// The target itself, or the router before it.
        neighbour: IpAddr,
        /// The interface's name.
        interface: String,
        /// The kernel's words.
        error: String,
        /// What helps.
        remedy: &'static str,
    },
    /// The kernel's look-up failed in an unforeseen way.
    #[error("the kernel's route look-up for {target} failed: {error}; compare `ip route get {target}`")]
    LookupFailed {
        /// The target.
        target: IpAddr,
        /// The kernel's words.
        error: String,
    },
}
