//! A target's entry with its outer header ready-made, and how a packet gets it.
//!
//! ```text
//!   before   | Ethernet (14, 18 or 22) | IP | TCP/UDP … |
//!   after    | Ethernet (14) | outer IP | [UDP | GUE] | IP | TCP/UDP … |
//!             \______ from the template ____________/
//! ```
//!
//! The template is copied in 8-byte stores; then only what depends on the packet is written: lengths, traffic
//! class, inner protocol, the flow's entropy, and the folded checksum.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::{fold, sum};
use crate::flow::FlowHash;
use crate::gue::{Carrier, Chain};
use crate::memory::{View, ViewMut};
use crate::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6, Version};

/// UDP destination port of GUE (IANA: gue, 6080).
pub const GUE_PORT: u16 = 6080;

/// Bytes of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Bytes of a template with an outer IPv4 header.
pub const IPV4_TEMPLATE: usize = ETHERNET + 20;
/// Bytes of a template with an outer IPv6 header.
pub const IPV6_TEMPLATE: usize = ETHERNET + 40;
/// Bytes that GUE adds: UDP (8) and GUE (4).
pub const GUE: usize = 12;

/// Which outer header a target's template holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Outer IPv4, the inner packet follows.
    Ipv4,
    /// Outer IPv6, the inner packet follows.
    Ipv6,
    /// Outer IPv4, UDP, GUE.
    Ipv4Gue,
    /// Outer IPv6, UDP, GUE.
    Ipv6Gue,
}

impl Kind {
    /// Its number in a target's entry; zero is no header.
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The kind with this number.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Option<Kind> {
        match code {
            1 => Some(Kind::Ipv4),
            2 => Some(Kind::Ipv6),
            3 => Some(Kind::Ipv4Gue),
            4 => Some(Kind::Ipv6Gue),
            _ => None,
        }
    }

    /// Bytes of the template, Ethernet included: 34, 54, 46 or 66.
    #[inline(always)]
    pub const fn length(self) -> usize {
        match self {
            Kind::Ipv4 => IPV4_TEMPLATE,
            Kind::Ipv6 => IPV6_TEMPLATE,
            Kind::Ipv4Gue => IPV4_TEMPLATE + GUE,
            Kind::Ipv6Gue => IPV6_TEMPLATE + GUE,
        }
    }
}

/// The value of `TARGETS`: 128 bytes, of which an IPv4 template uses the first cache line only.
///
/// User space may rewrite an entry while packets use it. `way` is one word and so is the part of the header
/// with the next hop's MAC address: a packet in flight sees the old or the new one of each.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where packets go and what they get.
    pub way: Way,
    /// IPv4: the not yet folded sum of the template's outer header with length, protocol and checksum zero.
    pub checksum: u32,
    /// Bits of the outer source address (its last four bytes, as on the wire) that take the flow's entropy.
    pub entropy: u32,
    /// Ethernet and outer headers as on the wire; what depends on the packet is zero.
    pub header: [u8; 72],
    /// The tunnel's end, bytes as on the wire, IPv4 mapped into IPv6: how packets of other targets name this one in
    /// their chains, whether it has a next hop or not.
    pub address: [u32; 4],
    /// Zero.
    pub reserved: [u64; 3],
}

impl Target {
    /// No target.
    pub const NONE: Target =
        Target { way: Way(0), checksum: 0, entropy: 0, header: [0; 72], address: [0; 4], reserved: [0; 3] };

    /// The same target with its address, which it has without a next hop too.
    pub const fn at(mut self, address: core::net::IpAddr) -> Target {
        let octets = match address {
            core::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            core::net::IpAddr::V6(address) => address.octets(),
        };
        let mut word = 0;
        while word < 4 {
            let at = word * 4;
            self.address[word] =
                u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
            word += 1;
        }
        self
    }
}

/// How a target is reached, in one word: bits 0–31 the interface's index, 32–47 the MTU (bytes of the outer IP
/// packet), 48–55 the template's [`Kind`] (zero: no next hop), bit 56 set if the target's known flows are kept.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Way(pub u64);

impl Way {
    const KEEPS_FLOWS: u64 = 1 << 56;

    /// Reached over `interface` with a template of this kind.
    pub const fn new(interface: u32, mtu: u16, kind: Kind) -> Way {
        Way(interface as u64 | (mtu as u64) << 32 | (kind.code() as u64) << 48)
    }

    /// The same, for a target whose known flows are kept.
    pub const fn keeping_flows(self) -> Way {
        Way(self.0 | Way::KEEPS_FLOWS)
    }

    /// The same target while it has no next hop: its known flows are still kept, or still not.
    pub const fn without_next_hop(self) -> Way {
        Way(self.0 & Way::KEEPS_FLOWS)
    }

    /// Whether flows that the flow table remembers on the target stay there.
    #[inline(always)]
    pub const fn keeps_flows(self) -> bool {
        self.0 & Way::KEEPS_FLOWS != 0
    }

    /// The index of the interface.
    #[inline(always)]
    pub const fn interface(self) -> u32 {
        self.0 as u32
    }

    /// Bytes of an IP packet, encapsulation included, that fit.
    #[inline(always)]
    pub const fn mtu(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// Bytes of an IP packet that fit with their encapsulation; zero without a next hop.
    #[inline(always)]
    pub const fn inner_mtu(self) -> u16 {
        match self.kind() {
            Some(kind) => self.mtu().saturating_sub((kind.length() - ETHERNET) as u16),
            None => 0,
        }
    }

    /// The template's kind, if there is one.
    #[inline(always)]
    pub const fn kind(self) -> Option<Kind> {
        Kind::from_code((self.0 >> 48) as u8)
    }
}

/// What of a packet goes into its outer header.
#[derive(Clone, Copy)]
pub struct Inner {
    /// Bytes of the inner packet, from its IP header on.
    pub length: u16,
    /// Its type of service or traffic class.
    pub traffic_class: u8,
    /// The flow's hash.
    pub hash: FlowHash,
}

/// Writes the outer header of an IPv4 template over `frame`, whose inner packet is of version `V`.
#[inline(always)]
pub fn write_ipv4<V: Version>(target: &Target, inner: Inner, frame: &mut ViewMut<'_, IPV4_TEMPLATE>) {
    copy_ipv4(target, frame);
    finish_ipv4(target, inner, V::PROTOCOL, inner.length + 20, frame);
}

/// As [`write_ipv4`], with UDP and GUE.
#[inline(always)]
pub fn write_ipv4_gue<V: Version>(
    target: &Target,
    inner: Inner,
    frame: &mut ViewMut<'_, { IPV4_TEMPLATE + GUE }>,
) {
    frame.set_raw64::<0>(template_word::<0>(target));
    frame.set_raw64::<8>(template_word::<8>(target));
    frame.set_raw64::<16>(template_word::<16>(target));
    frame.set_raw64::<24>(template_word::<24>(target));
    frame.set_raw64::<32>(template_word::<32>(target));
    frame.set_raw16::<40>(0);
    frame.set_be16::<34>(source_port(inner.hash));
    frame.set_be16::<38>(inner.length + GUE as u16);
    frame.set_raw32::<42>(V::GUE);
    let length = inner.length + 20 + GUE as u16;
    finish_ipv4(target, inner, crate::flow::UDP, length, &mut frame.first());
}

/// Writes the outer header of an IPv6 template over `frame`.
#[inline(always)]
pub fn write_ipv6<V: Version>(target: &Target, inner: Inner, frame: &mut ViewMut<'_, IPV6_TEMPLATE>) {
    copy_ipv6(target, frame);
    finish_ipv6(target, inner, V::PROTOCOL, inner.length, frame);
}

/// As [`write_ipv6`], with UDP and GUE. The UDP checksum is zero, as RFC 6935 allows for tunnels: the inner
/// packet has one of its own.
#[inline(always)]
pub fn write_ipv6_gue<V: Version>(
    target: &Target,
    inner: Inner,
    frame: &mut ViewMut<'_, { IPV6_TEMPLATE + GUE }>,
) {
    copy_ipv6(target, &mut frame.first());
    frame.set_raw64::<54>(template_word::<54>(target));
    frame.set_be16::<54>(source_port(inner.hash));
    frame.set_be16::<58>(inner.length + GUE as u16);
    frame.set_raw32::<62>(V::GUE);
    let length = inner.length + GUE as u16;
    finish_ipv6(target, inner, crate::flow::UDP, length, &mut frame.first());
}

/// As [`write_ipv4_gue`], with a chain of the targets at `former`, the newest first; zero is none.
#[inline(always)]
pub fn write_ipv4_chain<V: Version>(
    target: &Target,
    former: [[u32; 4]; 2],
    inner: Inner,
    frame: &mut ViewMut<'_, { IPV4_TEMPLATE + GUE + Ipv4::CHAIN }>,
) {
    const ADDED: u16 = (GUE + Ipv4::CHAIN) as u16;
    let [next, last] = former.map(ipv4_end);
    let targets = if next == Ipv4::NONE { [last, Ipv4::NONE] } else { [next, last] };
    let [opening, targets] = Chain::new::<Ipv4>(targets).words::<Ipv4, V>();
    frame.set_raw64::<0>(template_word::<0>(target));
    frame.set_raw64::<8>(template_word::<8>(target));
    frame.set_raw64::<16>(template_word::<16>(target));
    frame.set_raw64::<24>(template_word::<24>(target));
    frame.set_raw64::<32>(template_word::<32>(target));
    frame.set_raw16::<40>(0);
    frame.set_be16::<34>(source_port(inner.hash));
    frame.set_be16::<38>(inner.length + ADDED);
    frame.set_raw64::<42>(opening);
    frame.set_raw64::<50>(targets);
    finish_ipv4(target, inner, crate::flow::UDP, inner.length + 20 + ADDED, &mut frame.first());
}

/// As [`write_ipv6_gue`], with a chain of the targets at `former`, the newest first; zero is none.
#[inline(always)]
pub fn write_ipv6_chain<V: Version>(
    target: &Target,
    former: [[u32; 4]; 2],
    inner: Inner,
    frame: &mut ViewMut<'_, { IPV6_TEMPLATE + GUE + Ipv6::CHAIN }>,
) {
    const ADDED: u16 = (GUE + Ipv6::CHAIN) as u16;
    let [next, last] = former.map(ipv6_end);
    let targets = if next == Ipv6::NONE { [last, Ipv6::NONE] } else { [next, last] };
    let [opening, a, b, c, d] = Chain::new::<Ipv6>(targets).words::<Ipv6, V>();
    copy_ipv6(target, &mut frame.first());
    frame.set_raw64::<54>(template_word::<54>(target));
    frame.set_be16::<54>(source_port(inner.hash));
    frame.set_be16::<58>(inner.length + ADDED);
    frame.set_raw64::<62>(opening);
    frame.set_raw64::<70>(a);
    frame.set_raw64::<78>(b);
    frame.set_raw64::<86>(c);
    frame.set_raw64::<94>(d);
    finish_ipv6(target, inner, crate::flow::UDP, inner.length + ADDED, &mut frame.first());
}

/// The address of an IPv4 tunnel's end; none of an IPv6 one.
#[inline(always)]
fn ipv4_end(address: [u32; 4]) -> u32 {
    if is_ipv4(address) { address[3] } else { Ipv4::NONE }
}

/// The address of an IPv6 tunnel's end; none of an IPv4 one.
#[inline(always)]
fn ipv6_end(address: [u32; 4]) -> [u64; 2] {
    if is_ipv4(address) {
        return Ipv6::NONE;
    }
    let pair = |first: u32, second: u32| {
        if cfg!(target_endian = "little") {
            first as u64 | (second as u64) << 32
        } else {
            second as u64 | (first as u64) << 32
        }
    };
    [pair(address[0], address[1]), pair(address[2], address[3])]
}

#[inline(always)]
fn is_ipv4(address: [u32; 4]) -> bool {
    address[0] | address[1] == 0 && address[2] == 0xffff_u32.to_be()
}

#[inline(always)]
fn copy_ipv4(target: &Target, frame: &mut ViewMut<'_, IPV4_TEMPLATE>) {
    frame.set_raw64::<0>(template_word::<0>(target));
    frame.set_raw64::<8>(template_word::<8>(target));
    frame.set_raw64::<16>(template_word::<16>(target));
    frame.set_raw64::<24>(template_word::<24>(target));
    frame.set_raw16::<32>(View::new(&target.header).raw16::<32>());
}

#[inline(always)]
fn copy_ipv6(target: &Target, frame: &mut ViewMut<'_, IPV6_TEMPLATE>) {
    frame.set_raw64::<0>(template_word::<0>(target));
    frame.set_raw64::<8>(template_word::<8>(target));
    frame.set_raw64::<16>(template_word::<16>(target));
    frame.set_raw64::<24>(template_word::<24>(target));
    frame.set_raw64::<32>(template_word::<32>(target));
    frame.set_raw64::<40>(template_word::<40>(target));
    frame.set_raw64::<46>(template_word::<46>(target));
}

#[inline(always)]
fn finish_ipv4(
    target: &Target,
    inner: Inner,
    protocol: u8,
    length: u16,
    frame: &mut ViewMut<'_, IPV4_TEMPLATE>,
) {
    let entropy = inner.hash.0 as u32 & target.entropy;
    frame.set_u8::<15>(inner.traffic_class);
    frame.set_be16::<16>(length);
    frame.set_u8::<23>(protocol);
    frame.set_raw32::<26>(frame.read().raw32::<26>() | entropy);
    let entropy = u32::from_be(entropy);
    let sum = target.checksum
        + u32::from(inner.traffic_class)
        + u32::from(length)
        + u32::from(protocol)
        + (entropy >> 16)
        + (entropy & 0xffff);
    frame.set_be16::<24>(!fold(sum));
}

#[inline(always)]
fn finish_ipv6(
    target: &Target,
    inner: Inner,
    next_header: u8,
    length: u16,
    frame: &mut ViewMut<'_, IPV6_TEMPLATE>,
) {
    // Version 6, the inner traffic class, and a flow label made of the flow's hash (RFC 6438).
    let label = inner.hash.0 as u32 & 0xf_ffff;
    let word = 6 << 28 | u32::from(inner.traffic_class) << 20 | label;
    frame.set_raw32::<14>(word.to_be());
    frame.set_be16::<18>(length);
    frame.set_u8::<20>(next_header);
    let entropy = inner.hash.0 as u32 & target.entropy;
    frame.set_raw32::<34>(frame.read().raw32::<34>() | entropy);
}

/// A source port of the dynamic range (RFC 6335: 49152 to 65535), the same for all packets of a flow.
#[inline(always)]
fn source_port(hash: FlowHash) -> u16 {
    0xc000 | hash.0 as u16
}

#[inline(always)]
fn template_word<const AT: usize>(target: &Target) -> u64 {
    View::new(&target.header).raw64::<AT>()
}

/// A tunnel's ends, from which a target's entry is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Index of the interface that packets leave by.
    pub interface: u32,
    /// That interface's MAC address.
    pub source_mac: [u8; 6],
    /// The next hop's MAC address.
    pub destination_mac: [u8; 6],
    /// The outer addresses; both of one IP version.
    pub ends: Ends,
    /// Whether UDP and GUE stand between the outer and the inner IP header.
    pub gue: bool,
    /// Bytes of an IP packet, encapsulation included, that fit the way.
    pub mtu: u16,
}

/// Source and destination of the outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// An IPv4 tunnel.
    V4(Ipv4Addr, Ipv4Addr),
    /// An IPv6 tunnel.
    V6(Ipv6Addr, Ipv6Addr),
}

/// Time to live and hop limit of the outer header (RFC 1700's recommended default).
const HOP_LIMIT: u8 = 64;
/// The IPv4 flag "don't fragment": a datagram that is never fragmented needs no identification (RFC 6864).
const DONT_FRAGMENT: u16 = 0x4000;

impl Tunnel {
    /// The entry of a target at the tunnel's end; its known flows are not kept until
    /// [`Way::keeping_flows`] says so.
    pub fn target(&self) -> Target {
        let mut target = Target::NONE;
        target.header[..6].copy_from_slice(&self.destination_mac);
        target.header[6..12].copy_from_slice(&self.source_mac);
        let kind = match (self.ends, self.gue) {
            (Ends::V4(..), false) => Kind::Ipv4,
            (Ends::V4(..), true) => Kind::Ipv4Gue,
            (Ends::V6(..), false) => Kind::Ipv6,
            (Ends::V6(..), true) => Kind::Ipv6Gue,
        };
        match self.ends {
            Ends::V4(source, destination) => ipv4_template(&mut target, source, destination),
            Ends::V6(source, destination) => ipv6_template(&mut target, source, destination),
        }
        if self.gue {
            let destination_port = kind.length() - GUE + 2;
            target.header[destination_port..][..2].copy_from_slice(&GUE_PORT.to_be_bytes());
        }
        target.way = Way::new(self.interface, self.mtu, kind);
        target.at(match self.ends {
            Ends::V4(_, destination) => core::net::IpAddr::V4(destination),
            Ends::V6(_, destination) => core::net::IpAddr::V6(destination),
        })
    }
}

fn ipv4_template(target: &mut Target, source: Ipv4Addr, destination: Ipv4Addr) {
    target.header[12..14].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
    let outer = &mut target.header[ETHERNET..IPV4_TEMPLATE];
    outer[0] = 0x45;
    outer[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    outer[8] = HOP_LIMIT;
    outer[12..16].copy_from_slice(&source.octets());
    outer[16..20].copy_from_slice(&destination.octets());
    target.checksum = sum(outer);
}

fn ipv6_template(target: &mut Target, source: Ipv6Addr, destination: Ipv6Addr) {
    target.header[12..14].copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
    let outer = &mut target.header[ETHERNET..IPV6_TEMPLATE];
    outer[0] = 0x60;
    outer[7] = HOP_LIMIT;
    outer[8..24].copy_from_slice(&source.octets());
    outer[24..40].copy_from_slice(&destination.octets());
}
