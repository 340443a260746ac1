//! A target's entry with its outer header ready-made. How a packet gets it is in [`write()`] and its siblings.

mod write;

use core::net::{Ipv4Addr, Ipv6Addr};

pub use write::{Inner, Outer, write, write_chain, write_gue};

use crate::checksum::sum;
use crate::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// UDP destination port of GUE (IANA: gue, 6080).
pub const GUE_PORT: u16 = 6080;

/// Bytes of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Bytes of a template with an outer IPv4 header.
pub const IPV4_TEMPLATE: usize = ETHERNET + 20;
/// Bytes of a template with an outer IPv6 header.
pub const IPV6_TEMPLATE: usize = ETHERNET + 40;
/// Bytes that GUE adds to IP in IP: UDP, behind which the inner packet follows (version 1). What a chain needs comes
/// on top of them ([`Carrier::HEADER_AND_CHAIN`](crate::gue::Carrier::HEADER_AND_CHAIN)).
pub const GUE: usize = 8;

/// Which headers a target's packets get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Outer IPv4, the inner packet follows.
    Ipv4,
    /// Outer IPv6, the inner packet follows.
    Ipv6,
    /// Outer IPv4 and UDP: GUE.
    Ipv4Gue,
    /// Outer IPv6 and UDP: GUE.
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

    /// Bytes before the inner packet if it has no chain, Ethernet included: 34, 54, 42 or 62.
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
    /// The template: Ethernet and outer IP header as on the wire; what depends on the packet is zero, and so is the
    /// rest.
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

    /// The same, for a target whose known flows are not kept.
    pub const fn losing_flows(self) -> Way {
        Way(self.0 & !Way::KEEPS_FLOWS)
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

    /// Bytes of an IP packet that fit with their encapsulation; zero without a next hop. Where a packet may get a
    /// chain, the way's MTU leaves room for it, whether it has one or not.
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
    /// Whether packets travel in GUE, not as IP in IP.
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
