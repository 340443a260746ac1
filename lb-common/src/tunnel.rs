//! From a tunnel packet's bytes to the packet inside: what the agent on a target must know of both.
//!
//! ```text
//!   | Ethernet | outer IP | inner IP | …                protocol 4 or 41
//!   | Ethernet | outer IP | UDP | GUE | inner IP | …    UDP port 6080
//!                                     \ Inner::offset
//! ```
//!
//! Three outcomes, as everywhere: a tunnel packet, none at all ([`Reason::AgentNotTunnelled`], passed on
//! untouched), or one that contradicts itself ([`Reason::AgentMalformed`]). Whether the ends are known is for
//! the caller to look up between [`outer`], [`payload`] and [`inner`].

use crate::encapsulation::GUE_PORT;
use crate::flow::{Ipv4Addresses, Ipv6Addresses, UDP};
use crate::memory::{Frame, View, ViewMut};
use crate::packet::{Ipv4, Ipv6, Parsed, Version};
use crate::{checksum, reason::Reason};

/// `HASH<[u32; 4], u32>`: outer sources that the agent takes tunnel packets from, IPv4 mapped into IPv6.
pub const NODES: &str = "NODES";
/// `HASH<[u32; 4], u32>`: addresses of the target's host, at which tunnels end.
pub const LOCALS: &str = "LOCALS";
/// `HASH<[u32; 4], u32>`: the VIPs that the target serves.
pub const AGENT_VIPS: &str = "AGENT_VIPS";

const FRAGMENT_HEADER: u8 = 44;
const UDP_HEADER: usize = 8;
const GUE_HEADER: usize = 4;

/// A version of IP as the header of a tunnel packet or of the packet inside.
pub trait TunnelVersion: Version {
    /// Reads the fixed header and, of a fragment, what tells whose it is.
    fn header(frame: Frame<'_>, offset: usize) -> Option<Header<Self::Addresses>>;
    /// The congestion field (RFC 3168) of the header at the start of `bytes`.
    fn congestion(bytes: View<'_, 12>) -> u8;
    /// Replaces the congestion field, and corrects the header's checksum if it has one.
    fn set_congestion(bytes: &mut ViewMut<'_, 12>, field: u8);
}

/// What a tunnel needs of an IP header, whole datagram or fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<A> {
    /// Source and destination.
    pub addresses: A,
    /// What follows the fixed header (and, in IPv6, a fragment header right behind it).
    protocol: u8,
    /// Bytes from the header's first to the payload's last.
    length: usize,
    /// Where the payload begins, from the frame's start; none in a fragment that is not the first.
    payload: Option<usize>,
    /// Whether it is a fragment, the first included.
    is_fragment: bool,
}

impl TunnelVersion for Ipv4 {
    #[inline(always)]
    fn header(frame: Frame<'_>, offset: usize) -> Option<Header<Ipv4Addresses>> {
        let header = frame.view::<20>(offset)?;
        let header_length = (header.u8::<0>() & 0xf) as usize * 4;
        let length = header.be16::<2>() as usize;
        if header.u8::<0>() >> 4 != 4 || header_length < 20 || length < header_length {
            return None;
        }
        let fragment = header.be16::<6>() & 0x3fff;
        Some(Header {
            addresses: Ipv4Addresses { both: header.raw64::<12>() },
            protocol: header.u8::<9>(),
            length,
            payload: (fragment & 0x1fff == 0).then_some(offset + header_length),
            is_fragment: fragment != 0,
        })
    }

    #[inline(always)]
    fn congestion(bytes: View<'_, 12>) -> u8 {
        bytes.u8::<1>() & 3
    }

    #[inline(always)]
    fn set_congestion(bytes: &mut ViewMut<'_, 12>, field: u8) {
        let old = bytes.read().be16::<0>();
        let new = old & !3 | field as u16;
        let sum = bytes.read().be16::<10>();
        bytes.set_be16::<0>(new);
        bytes.set_be16::<10>(checksum::update(sum, old, new));
    }
}

impl TunnelVersion for Ipv6 {
    #[inline(always)]
    fn header(frame: Frame<'_>, offset: usize) -> Option<Header<Ipv6Addresses>> {
        let header = frame.view::<40>(offset)?;
        if header.u8::<0>() >> 4 != 6 {
            return None;
        }
        let both = [header.raw64::<8>(), header.raw64::<16>(), header.raw64::<24>(), header.raw64::<32>()];
        let addresses = Ipv6Addresses { both };
        if addresses.has_mapped_ipv4() {
            return None;
        }
        let mut parsed = Header {
            addresses,
            protocol: header.u8::<6>(),
            length: header.be16::<4>() as usize + 40,
            payload: Some(offset + 40),
            is_fragment: header.u8::<6>() == FRAGMENT_HEADER,
        };
        if parsed.protocol == FRAGMENT_HEADER {
            let fragment = frame.view::<8>(offset + 40)?;
            parsed.protocol = fragment.u8::<0>();
            parsed.payload = (fragment.be16::<2>() & 0xfff8 == 0).then_some(offset + 48);
        }
        Some(parsed)
    }

    #[inline(always)]
    fn congestion(bytes: View<'_, 12>) -> u8 {
        bytes.u8::<1>() >> 4 & 3
    }

    #[inline(always)]
    fn set_congestion(bytes: &mut ViewMut<'_, 12>, field: u8) {
        let old = bytes.read().u8::<1>();
        bytes.set_u8::<1>(old & !0x30 | field << 4);
    }
}

/// The outer header of a tunnel packet, or of a fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer<A> {
    /// Source and destination.
    pub addresses: A,
    /// Where the header begins, from the frame's start.
    offset: usize,
    /// 4, 41 or [`UDP`].
    protocol: u8,
    /// Where what follows the outer IP header begins, from the frame's start; none in a fragment.
    payload: Option<usize>,
    /// Where the outer datagram ends, from the frame's start.
    end: usize,
}

/// Reads the outer header at `offset`.
///
/// What is no tunnel packet by its protocol and port is [`Reason::AgentNotTunnelled`]; so is what no node
/// writes and nothing here would unpack: a tunnel behind IPv6 extension headers, or a header that contradicts
/// itself. The host's stack judges those.
#[inline(always)]
pub fn outer<V: TunnelVersion>(frame: Frame<'_>, offset: usize) -> Parsed<Outer<V::Addresses>> {
    // The fixed header alone: the verifier would walk the inner packet's extension headers once for each number
    // of outer ones.
    let header = V::header(frame, offset).ok_or(Reason::AgentNotTunnelled)?;
    is_tunnel(frame, header.protocol, header.payload)?;
    // Nodes never fragment (don't-fragment is set), and an unpacked fragment would escape the checks.
    if !header.is_fragment && !frame.has(header.length, offset) {
        return Err(Reason::AgentNotTunnelled);
    }
    Ok(Outer {
        addresses: header.addresses,
        offset,
        protocol: header.protocol,
        payload: header.payload.filter(|_| !header.is_fragment),
        end: offset + header.length,
    })
}

/// A later fragment of a UDP datagram has no port: it is passed on, and never completed if it is a tunnel's,
/// whose first fragment is dropped.
#[inline(always)]
fn is_tunnel(frame: Frame<'_>, protocol: u8, payload: Option<usize>) -> Parsed<()> {
    if protocol == Ipv4::PROTOCOL || protocol == Ipv6::PROTOCOL {
        return Ok(());
    }
    let udp = payload.filter(|_| protocol == UDP).and_then(|payload| frame.view::<UDP_HEADER>(payload));
    match udp {
        Some(header) if header.be16::<2>() == GUE_PORT => Ok(()),
        _ => Err(Reason::AgentNotTunnelled),
    }
}

/// Where the inner packet is, and of which version its carrier says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The version's protocol number: 4 or 41, nothing else.
    pub protocol: u8,
    /// Where the outer IP header begins, from the frame's start.
    pub outer: usize,
    /// Where the inner packet begins, from the frame's start.
    pub offset: usize,
    /// Bytes that the carrier has for it.
    pub room: usize,
}

/// Looks past UDP and GUE, if they are there.
///
/// A UDP checksum is not verified: nodes write zero (RFC 6935), and the inner packet has one of its own.
#[inline(always)]
pub fn payload<A>(frame: Frame<'_>, outer: &Outer<A>) -> Parsed<Payload> {
    let payload = outer.payload.ok_or(Reason::AgentMalformed)?;
    let (protocol, offset, end) = if outer.protocol == UDP {
        let header = frame.view::<{ UDP_HEADER + GUE_HEADER }>(payload).ok_or(Reason::AgentMalformed)?;
        let end = payload + header.be16::<4>() as usize;
        if end > outer.end {
            return Err(Reason::AgentMalformed);
        }
        (gue_protocol(header)?, payload + UDP_HEADER + GUE_HEADER, end)
    } else {
        (outer.protocol, payload, outer.end)
    };
    let room = end.checked_sub(offset).ok_or(Reason::AgentMalformed)?;
    Ok(Payload { protocol, outer: outer.offset, offset, room })
}

/// GUE version 0 without options, flags or private data: the only header that nodes write.
#[inline(always)]
fn gue_protocol(header: View<'_, { UDP_HEADER + GUE_HEADER }>) -> Parsed<u8> {
    let gue = header.raw32::<8>();
    if gue == Ipv4::GUE {
        Ok(Ipv4::PROTOCOL)
    } else if gue == Ipv6::GUE {
        Ok(Ipv6::PROTOCOL)
    } else {
        Err(Reason::AgentMalformed)
    }
}

/// A packet out of its tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner<A> {
    /// The client's address and the VIP.
    pub addresses: A,
    /// Where the packet begins, from the frame's start.
    pub offset: usize,
}

/// Reads the inner packet's header: a whole datagram or a fragment of one, within the carrier's length, with
/// no tunnel inside.
#[inline(always)]
pub fn inner<V: TunnelVersion>(frame: Frame<'_>, payload: &Payload) -> Parsed<Inner<V::Addresses>> {
    let header = V::header(frame, payload.offset).ok_or(Reason::AgentMalformed)?;
    if header.length > payload.room {
        return Err(Reason::AgentMalformed);
    }
    let protocol = match V::parse(frame, payload.offset) {
        Ok(datagram) => datagram.protocol,
        Err(Reason::Fragment) => header.protocol,
        Err(_) => return Err(Reason::AgentMalformed),
    };
    if protocol == Ipv4::PROTOCOL || protocol == Ipv6::PROTOCOL {
        return Err(Reason::AgentNested);
    }
    Ok(Inner { addresses: header.addresses, offset: payload.offset })
}

const NOT_CAPABLE: u8 = 0b00;
const CAPABLE_1: u8 = 0b01;
const CAPABLE_0: u8 = 0b10;
const CONGESTED: u8 = 0b11;

/// The inner packet's congestion field once it is out of the tunnel, from both headers' fields (RFC 6040, 4.2):
/// what the network marked on the outer header is carried inside, and a mark on a packet that can't carry it
/// is [`Reason::AgentNotEcnCapable`].
#[inline(always)]
pub const fn congestion(outer: u8, inner: u8) -> Parsed<u8> {
    match (inner, outer) {
        (NOT_CAPABLE, CONGESTED) => Err(Reason::AgentNotEcnCapable),
        (CAPABLE_0 | CAPABLE_1, CONGESTED) => Ok(CONGESTED),
        (CAPABLE_0, CAPABLE_1) => Ok(CAPABLE_1),
        _ => Ok(inner),
    }
}

#[cfg(test)]
mod tests;
