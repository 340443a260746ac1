//! From a frame's bytes to a flow: the parser that runs in the kernel and is tested on the host.
//!
//! Each header is a stage of its own that returns what the next one needs, or a [`Reason`]. All of these
//! reasons pass the packet on untouched: before a listener is found nothing is known to be ours.

mod ethernet;
mod fragment;
pub mod icmp_error;
mod ip;
pub mod mss;
mod quic;
pub mod too_big;
mod transport;

pub use ethernet::{Ethernet, MacAddress};
pub use fragment::{Fragment, FragmentVersion, Part};
pub use ip::{Datagram, Ipv4, Ipv6, Version};
pub use quic::{Phase, Quic, Route, ServerId, quic};
pub use transport::{
    EchoRequest, Ending, Segment, Transport, echo_request, ending, ends_inside_header, transport,
};

#[cfg(test)]
mod tests;

use crate::reason::Reason;

/// What a parser stage returns.
pub type Parsed<T> = Result<T, Reason>;

/// EtherType of IPv4 (RFC 894).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6 (RFC 2464).
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
