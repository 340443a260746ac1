//! From a tunnel packet's bytes to the packet inside: what the agent on a target must know of both.
//!
//! ```text
//!   | Ethernet | outer IP | inner IP | …                          protocol 4 or 41
//!   | Ethernet | outer IP | UDP | [GUE | [chain]] | inner IP | …  UDP port 6080, see the module `gue`
//!                                                 \ Inner::offset
//! ```
//!
//! Three outcomes, as everywhere: a tunnel packet, none at all ([`Reason::AgentNotTunnelled`], passed on
//! untouched), or one that contradicts itself ([`Reason::AgentMalformed`] and those of [`gue::read`]). Whether the
//! ends are known is for the caller to look up between [`outer`], [`contents`] and [`inner`].

use crate::encapsulation::GUE_PORT;
use crate::flow::{Ipv4Addresses, Ipv6Addresses, UDP};
use crate::gue::{self, Carrier, Chain, Gue};
use crate::memory::{Frame, View, ViewMut, forget_value};
use crate::packet::{Ipv4, Ipv6, Parsed, Version};
use crate::{checksum, reason::Reason};

/// `ARRAY<AddressLine>` ([`crate::address_table`]): outer sources that the agent takes tunnel packets from, IPv4 mapped into IPv6.
pub const NODES: &str = "NODES";
/// `ARRAY<AddressLine>`: addresses of the target's host, at which tunnels end.
pub const LOCALS: &str = "LOCALS";
/// `LPM_TRIE<[u32; 4], u32>`: outer sources of what other targets hand on, and whom packets are handed on to.
pub const PEERS: &str = "PEERS";
/// `ARRAY<AddressLine>`: the VIPs that the target serves; the value is [`KNOWN`] or [`TRANSLATED`].
pub const AGENT_VIPS: &str = "AGENT_VIPS";
/// The value of an address that is known.
pub const KNOWN: u32 = 1;
/// The value of a VIP some ports of which are translated ([`crate::port_translation`]).
pub const TRANSLATED: u32 = 2;
/// `ARRAY<AddressLine>`: peers to which the way is known; the value is an index of [`PEER_WAYS`].
pub const REACHED_PEERS: &str = "REACHED_PEERS";
/// `ARRAY<PeerWay>`: index 0 is never used.
pub const PEER_WAYS: &str = "PEER_WAYS";
/// Entries of `PEER_WAYS`.
pub const MAX_PEER_WAYS: u32 = 2048;
/// `LRU_HASH<[u32; 4], u32>`: peers that a packet could not be handed on to for want of a route or neighbour.
pub const WANTED_PEERS: &str = "WANTED_PEERS";
/// `PROG_ARRAY` by [`Continuation`]: the programs that a rare packet is left to.
pub const AGENT_CONTINUATIONS: &str = "AGENT_CONTINUATIONS";
/// The same for the programs of tc.
pub const AGENT_TC_CONTINUATIONS: &str = "AGENT_TC_CONTINUATIONS";

/// How a packet reaches a peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerWay {
    /// Index of the interface that it leaves by.
    pub interface: u32,
    /// The next hop's MAC address and the interface's own, twelve bytes as on the wire.
    pub macs: [u32; 3],
}

impl PeerWay {
    /// By `interface` (with the MAC address `source`) to the neighbour `destination`.
    pub const fn new(interface: u32, source: [u8; 6], destination: [u8; 6]) -> PeerWay {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (destination, source);
        let first = u32::from_ne_bytes([a, b, c, d]);
        let second = u32::from_ne_bytes([e, f, g, h]);
        PeerWay { interface, macs: [first, second, u32::from_ne_bytes([i, j, k, l])] }
    }
}

/// Programs that the agent leaves rare packets to by a tail call, untouched; they parse them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// Packets that another target gets.
    HandOn = 0,
    /// ICMP and ICMPv6.
    Icmp = 1,
    /// Questions of the probe.
    Probe = 2,
    /// IPv6 with extension headers.
    Extended = 3,
}

impl Continuation {
    /// All of them in the order of their numbers.
    pub const ALL: [Continuation; 4] =
        [Continuation::HandOn, Continuation::Icmp, Continuation::Probe, Continuation::Extended];

    /// What follows the entry program's name in that of the program that goes on.
    pub const fn suffix(self) -> &'static str {
        match self {
            Continuation::HandOn => "_hand_on",
            Continuation::Icmp => "_icmp",
            Continuation::Probe => "_probe",
            Continuation::Extended => "_extended",
        }
    }
}

const FRAGMENT_HEADER: u8 = 44;
const UDP_HEADER: usize = 8;
/// Above every offset of an inner transport header: as many bytes, and IPv6 with six extension headers.
const MAX_TRANSPORT: usize = 1 << 14;

/// A version of IP as the header of a tunnel packet or of the packet inside.
pub trait TunnelVersion: Carrier {
    /// Reads the fixed header and, of a fragment, what tells whose it is.
    fn header(frame: Frame<'_>, offset: usize) -> Option<Header<Self::Addresses>>;
    /// Whether the protocol is an extension header of this version that is not a fragment's.
    fn is_extension(protocol: u8) -> bool;
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
    pub protocol: u8,
    /// Bytes from the header's first to the payload's last.
    length: usize,
    /// Where the payload begins, from the frame's start; none in a fragment that is not the first.
    pub payload: Option<usize>,
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
    fn is_extension(_protocol: u8) -> bool {
        false
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

    /// Hop-by-hop options, routing, authentication, destination options.
    #[inline(always)]
    fn is_extension(protocol: u8) -> bool {
        matches!(protocol, 0 | 43 | 51 | 60)
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

impl Payload {
    /// Above every offset of an inner packet: Ethernet (22), IP with options (60), UDP (8), GUE with a chain (40).
    const END: usize = 256;

    /// The same, of which the verifier no longer knows how it was found: it need not walk what follows once for each
    /// way. `noise` is any number that it does not know.
    #[inline(always)]
    pub fn forget(self, noise: usize) -> Payload {
        let offset = forget_value::<{ Payload::END }>(self.offset, noise);
        let protocol = forget_value::<64>(self.protocol as usize, noise) as u8;
        let room = forget_value::<0x1_0000>(self.room, noise);
        Payload { protocol, outer: self.outer, offset, room }
    }
}

/// What the outer header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents<T> {
    /// A client's packet.
    Packet {
        /// Where it is.
        payload: Payload,
        /// The further targets that the outer header names; none, if it is not GUE.
        chain: Chain<T>,
        /// Where UDP begins, from the frame's start; where the inner packet does, if there is none.
        transport: usize,
    },
    /// A question of the probe.
    Probe {
        /// Where UDP begins, from the frame's start.
        transport: usize,
    },
}

/// Looks past UDP and GUE, if they are there.
///
/// A UDP checksum is not verified: nodes write zero (RFC 6935), and the inner packet has one of its own.
#[inline(always)]
pub fn contents<V: TunnelVersion>(
    frame: Frame<'_>,
    outer: &Outer<V::Addresses>,
) -> Parsed<Contents<V::Target>> {
    let transport = outer.payload.ok_or(Reason::AgentMalformed)?;
    if outer.protocol != UDP {
        let room = outer.end.checked_sub(transport).ok_or(Reason::AgentMalformed)?;
        let payload = Payload { protocol: outer.protocol, outer: outer.offset, offset: transport, room };
        return Ok(Contents::Packet { payload, chain: Chain::none::<V>(), transport });
    }
    let header = frame.view::<UDP_HEADER>(transport).ok_or(Reason::AgentMalformed)?;
    let end = transport + header.be16::<4>() as usize;
    if end > outer.end {
        return Err(Reason::AgentMalformed);
    }
    match gue::read::<V>(frame, transport + UDP_HEADER)? {
        Gue::Probe if end == transport + UDP_HEADER + gue::probe::MESSAGE => {
            Ok(Contents::Probe { transport })
        }
        Gue::Probe => Err(Reason::AgentUnknownGue),
        Gue::Packet { protocol, length, chain } => {
            let offset = transport + UDP_HEADER + length;
            let room = end.checked_sub(offset).ok_or(Reason::AgentMalformed)?;
            let payload = Payload { protocol, outer: outer.offset, offset, room };
            Ok(Contents::Packet { payload, chain, transport })
        }
    }
}

/// A packet out of its tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner<A> {
    /// The client's address and the VIP.
    pub addresses: A,
    /// Where the packet begins, from the frame's start.
    pub offset: usize,
    /// Where it ends.
    pub end: usize,
    /// The transport protocol.
    pub protocol: u8,
    /// Where the transport header begins; none in a fragment that is not the first.
    pub transport: Option<usize>,
    /// Whether it is a fragment, the first included.
    pub is_fragment: bool,
}

/// Reads the inner packet's header: a whole datagram or a fragment of one, within the carrier's length, with
/// no tunnel inside. None if it has IPv6 extension headers: [`inner`] walks those.
#[inline(always)]
pub fn plain_inner<V: TunnelVersion>(
    frame: Frame<'_>,
    payload: &Payload,
) -> Parsed<Option<Inner<V::Addresses>>> {
    let header = inner_header::<V>(frame, payload)?;
    if V::is_extension(header.protocol) || V::PROTOCOL == Ipv6::PROTOCOL && header.is_fragment {
        return Ok(None);
    }
    inner_of::<V>(&header, payload, header.protocol, header.payload).map(Some)
}

/// As [`plain_inner`], with extension headers.
#[inline(always)]
pub fn inner<V: TunnelVersion>(frame: Frame<'_>, payload: &Payload) -> Parsed<Inner<V::Addresses>> {
    let header = inner_header::<V>(frame, payload)?;
    let (protocol, transport) = match V::parse(frame, payload.offset) {
        Ok(datagram) => (datagram.protocol, Some(datagram.payload)),
        Err(Reason::Fragment) => (header.protocol, header.payload),
        Err(_) => return Err(Reason::AgentMalformed),
    };
    inner_of::<V>(&header, payload, protocol, transport)
}

#[inline(always)]
fn inner_header<V: TunnelVersion>(frame: Frame<'_>, payload: &Payload) -> Parsed<Header<V::Addresses>> {
    let header = V::header(frame, payload.offset).ok_or(Reason::AgentMalformed)?;
    if header.length > payload.room { Err(Reason::AgentMalformed) } else { Ok(header) }
}

#[inline(always)]
fn inner_of<V: TunnelVersion>(
    header: &Header<V::Addresses>,
    payload: &Payload,
    protocol: u8,
    transport: Option<usize>,
) -> Parsed<Inner<V::Addresses>> {
    if protocol == Ipv4::PROTOCOL || protocol == Ipv6::PROTOCOL {
        return Err(Reason::AgentNested);
    }
    // However the transport header was found: the verifier need not walk what follows once for each way.
    let transport = forget_value::<MAX_TRANSPORT>(transport.unwrap_or(0), payload.room);
    Ok(Inner {
        addresses: header.addresses,
        offset: payload.offset,
        end: payload.offset + header.length,
        protocol: forget_value::<256>(protocol as usize, payload.room) as u8,
        transport: if transport == 0 { None } else { Some(transport) },
        is_fragment: forget_value::<2>(header.is_fragment as usize, payload.room) != 0,
    })
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
    let at = (outer & 3) << 2 | inner & 3;
    if at == CONGESTED << 2 | NOT_CAPABLE {
        return Err(Reason::AgentNotEcnCapable);
    }
    Ok((DECAPSULATED >> (2 * at)) as u8 & 3)
}

/// Figure 4 of RFC 6040: two bits for each outer and inner field. A table, because the verifier would walk what
/// follows once for each case.
const DECAPSULATED: u32 = {
    let (mut table, mut at) = (0, 0);
    while at < 16 {
        let field = match (at & 3, at >> 2) {
            (CAPABLE_0 | CAPABLE_1, CONGESTED) => CONGESTED,
            (CAPABLE_0, CAPABLE_1) => CAPABLE_1,
            (inner, _) => inner,
        };
        table |= (field as u32) << (2 * at);
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests;
