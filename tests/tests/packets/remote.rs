//! The targets of the cases, and the frames that they are owed: outer headers made by etherparse.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, UdpHeader};
use lb_common::encapsulation::{Ends, Tunnel, Way};
use lb_common::{Target, TargetId};

use crate::client::{Family, NODE_MAC, Packet};

/// The index of the interface that the test run's packets come in by: the loopback's.
pub const NODE_INTERFACE: u32 = 1;
/// The index of another interface. The balancer asks for the redirect; the test run does not carry it out.
pub const OTHER_INTERFACE: u32 = 77;

/// How a target is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    pub family: Family,
    pub gue: bool,
}

impl Outer {
    pub const ALL: [Outer; 4] = [
        Outer { family: Family::V4, gue: false },
        Outer { family: Family::V6, gue: false },
        Outer { family: Family::V4, gue: true },
        Outer { family: Family::V6, gue: true },
    ];

    /// Bytes that the encapsulation adds to an IP packet, without a chain.
    pub fn overhead(self) -> usize {
        let ip = if self.family == Family::V4 { 20 } else { 40 };
        ip + if self.gue { 8 } else { 0 }
    }

    /// The same with outer addresses of the other family.
    pub fn of_the_other_family(self) -> Outer {
        let family = if self.family == Family::V4 { Family::V6 } else { Family::V4 };
        Outer { family, ..self }
    }

    pub fn name(self) -> String {
        format!("{} over {:?}", if self.gue { "GUE" } else { "IPIP" }, self.family)
    }
}

/// What is special about a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing: its known flows are kept.
    One,
    /// Nothing either.
    Other,
    /// Its flows are not worth keeping.
    Dead,
    /// It has no next hop, but its flows are kept.
    Unreachable,
    /// It is behind another interface.
    Far,
    /// The outer source address takes the flow's entropy in its last two bytes.
    Spread,
}

impl Role {
    pub const ALL: [Role; 6] =
        [Role::One, Role::Other, Role::Dead, Role::Unreachable, Role::Far, Role::Spread];
}

/// A target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    pub outer: Outer,
    pub role: Role,
    pub mtu: u16,
    /// Whether its known flows are worth keeping.
    pub lives: bool,
}

impl Remote {
    pub fn new(outer: Outer, role: Role) -> Remote {
        Remote { outer, role, mtu: 1500, lives: role != Role::Dead }
    }

    /// All targets of the cases.
    pub fn all() -> impl Iterator<Item = Remote> {
        Outer::ALL.into_iter().flat_map(|outer| Role::ALL.map(|role| Remote::new(outer, role)))
    }

    pub fn id(self) -> TargetId {
        let outer = Outer::ALL.iter().position(|outer| *outer == self.outer).expect("one of all");
        TargetId(1 + outer as u16 * 8 + self.role as u16)
    }

    /// By what QUIC packets name it.
    pub fn server_id(self) -> [u8; 8] {
        [0x51, 0, 0xff, 0, 0, 0, 0, self.id().0 as u8]
    }

    pub fn interface(self) -> u32 {
        if self.role == Role::Far { OTHER_INTERFACE } else { NODE_INTERFACE }
    }

    /// Its entry in the map `TARGETS`.
    pub fn entry(self) -> Target {
        let mut target = self.tunnel().target();
        if self.role == Role::Unreachable {
            target.way = Way(0);
        }
        if self.lives {
            target.way = target.way.keeping_flows();
        }
        target.entropy = u32::from_ne_bytes(self.spread());
        target
    }

    fn tunnel(self) -> Tunnel {
        Tunnel {
            interface: self.interface(),
            source_mac: self.source_mac(),
            destination_mac: self.next_hop_mac(),
            ends: match self.outer.family {
                Family::V4 => Ends::V4(Ipv4Addr::from(self.source_v4()), Ipv4Addr::from(self.address_v4())),
                Family::V6 => Ends::V6(Ipv6Addr::from(self.source_v6()), Ipv6Addr::from(self.address_v6())),
            },
            gue: self.outer.gue,
            mtu: self.mtu,
        }
    }

    fn source_mac(self) -> [u8; 6] {
        if self.role == Role::Far { [2, 0, 0, 0, 9, 1] } else { NODE_MAC }
    }

    fn next_hop_mac(self) -> [u8; 6] {
        [2, 0, 0, 0, 7, self.id().0 as u8]
    }

    /// The bits of the outer source address that take the flow's entropy.
    fn spread(self) -> [u8; 4] {
        if self.role == Role::Spread { [0, 0, 0xff, 0x7f] } else { [0; 4] }
    }

    fn source_v4(self) -> [u8; 4] {
        if self.role == Role::Spread { [198, 18, 0, 0] } else { [192, 0, 2, 1] }
    }

    fn address_v4(self) -> [u8; 4] {
        [192, 0, 2, 100 + self.id().0 as u8]
    }

    fn source_v6(self) -> [u8; 16] {
        let mut address = [0x20, 1, 0xd, 0xb8, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        address[15] = if self.role == Role::Spread { 0 } else { 1 };
        address
    }

    fn address_v6(self) -> [u8; 16] {
        [0x20, 1, 0xd, 0xb8, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0, 1, self.id().0 as u8]
    }

    /// The frame that the target is owed for a client's packet.
    pub fn encapsulated(self, packet: &Packet) -> Vec<u8> {
        self.frame(&Inner {
            family: packet.family,
            traffic_class: packet.traffic_class,
            hash: packet.hash(),
            length: packet.inner_length(),
            bytes: &packet.frame()[packet.offset()..],
        })
    }

    /// The frame that the target is owed for an inner packet: in GUE, of version 1.
    pub fn frame(self, inner: &Inner<'_>) -> Vec<u8> {
        let tunnel = if self.outer.gue { self.udp(inner, &[]) } else { Vec::new() };
        self.frame_in(inner, &tunnel)
    }

    /// The same in GUE with a chain of these targets.
    pub fn frame_with_chain(self, inner: &Inner<'_>, former: &[Remote]) -> Vec<u8> {
        let address = |remote: &Remote| match self.outer.family {
            Family::V4 => remote.address_v4().to_vec(),
            Family::V6 => remote.address_v6().to_vec(),
        };
        let mut chain = vec![1, 0, former.len() as u8, 0];
        chain.extend(former.iter().flat_map(address));
        chain.resize(if self.outer.family == Family::V4 { 12 } else { 36 }, 0);
        // GUE of version 0 (draft-ietf-intarea-gue, 3.1), with private data.
        let words = (chain.len() / 4) as u8;
        let gue = [&[words, inner.family.protocol(), 0, 0], &chain[..]].concat();
        self.frame_in(inner, &self.udp(inner, &gue))
    }

    fn frame_in(self, inner: &Inner<'_>, tunnel: &[u8]) -> Vec<u8> {
        let protocol = if self.outer.gue { 17 } else { inner.family.protocol() };
        let length = (tunnel.len() + inner.length) as u16;
        let (ether_type, ip) = match self.outer.family {
            Family::V4 => (EtherType::IPV4, self.outer_v4(inner, protocol, length)),
            Family::V6 => (EtherType::IPV6, self.outer_v6(inner, protocol, length)),
        };
        let link =
            Ethernet2Header { source: self.source_mac(), destination: self.next_hop_mac(), ether_type };
        [&link.to_bytes()[..], &ip, tunnel, inner.bytes].concat()
    }

    fn outer_v4(self, inner: &Inner<'_>, protocol: u8, length: u16) -> Vec<u8> {
        let mut header = Ipv4Header::new(length, 64, IpNumber(protocol), self.source_v4(), self.address_v4())
            .expect("a packet under 64 KiB");
        header.dscp = (inner.traffic_class >> 2).try_into().expect("six bits");
        header.ecn = (inner.traffic_class & 3).try_into().expect("two bits");
        header.identification = 0;
        header.dont_fragment = true;
        self.take_entropy(&mut header.source, inner.hash);
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    }

    fn outer_v6(self, inner: &Inner<'_>, next_header: u8, payload_length: u16) -> Vec<u8> {
        let mut header = Ipv6Header {
            traffic_class: inner.traffic_class,
            flow_label: (inner.hash as u32 & 0xf_ffff).try_into().expect("20 bits"),
            payload_length,
            next_header: IpNumber(next_header),
            hop_limit: 64,
            source: self.source_v6(),
            destination: self.address_v6(),
        };
        self.take_entropy(&mut header.source, inner.hash);
        header.to_bytes().to_vec()
    }

    fn take_entropy(self, source: &mut [u8], hash: u64) {
        let last = source.len() - 4;
        let entropy = (hash as u32).to_le_bytes();
        for (byte, (entropy, mask)) in source[last..].iter_mut().zip(entropy.into_iter().zip(self.spread())) {
            *byte |= entropy & mask;
        }
    }

    /// UDP without a checksum, and GUE: of version 1, which is IP as it is (draft-ietf-intarea-gue, 4), if it has no
    /// header.
    fn udp(self, inner: &Inner<'_>, gue: &[u8]) -> Vec<u8> {
        let udp = UdpHeader {
            source_port: 0xc000 | inner.hash as u16,
            destination_port: 6080,
            length: (8 + gue.len() + inner.length) as u16,
            checksum: 0,
        };
        [&udp.to_bytes()[..], gue].concat()
    }
}

/// A packet to encapsulate.
pub struct Inner<'a> {
    pub family: Family,
    pub traffic_class: u8,
    pub hash: u64,
    /// Bytes of the IP packet.
    pub length: usize,
    /// The IP packet and what padding follows it.
    pub bytes: &'a [u8],
}
