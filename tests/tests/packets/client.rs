//! Clients' packets, made by etherparse, and what is true of their flows by definition.

use std::num::Wrapping;

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, PacketBuilder,
    TcpHeader, VlanId,
};
use lb_common::hash::HashKey;

/// The MAC address of the node's interface.
pub const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The MAC address of the router that clients' packets come from.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The key of the flow hash in all cases.
pub const KEY: HashKey = HashKey { k0: 0x1bad_b002_dead_beef, k1: 0x0123_4567_89ab_cdef };

/// IP's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The address of a VIP: 1 and 2 have listeners, others are nobody's. Bytes as on the wire.
    pub fn vip(self, number: u8) -> Vec<u8> {
        match self {
            Family::V4 => vec![203, 0, 113, number],
            Family::V6 => vec![0x20, 1, 0xd, 0xb8, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, number],
        }
    }

    /// The address of the client.
    pub fn client(self) -> Vec<u8> {
        self.host(7)
    }

    /// The address of a host in the client's network.
    pub fn host(self, number: u8) -> Vec<u8> {
        match self {
            Family::V4 => vec![198, 51, 100, number],
            Family::V6 => vec![0x20, 1, 0xd, 0xb8, 0, 0xc, 0, 0, 0, 0, 0, 0, 0, 0, 0, number],
        }
    }

    /// The protocol number of such a packet inside another IP packet.
    pub fn protocol(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 41,
        }
    }
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Syn,
    Ack,
    Udp,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Syn, Kind::Ack, Kind::Udp];

    /// The transport protocol's number.
    pub fn protocol(self) -> u8 {
        if self == Kind::Udp { 17 } else { 6 }
    }
}

/// A client's packet to a VIP.
#[derive(Debug, Clone)]
pub struct Packet {
    pub family: Family,
    pub kind: Kind,
    pub vip: u8,
    /// The last byte of the source address.
    pub host: u8,
    /// The source address, if it is another.
    pub from: Option<Vec<u8>>,
    /// The MAC address that the frame comes from.
    pub sender: [u8; 6],
    pub source_port: u16,
    pub port: u16,
    pub traffic_class: u8,
    /// VLAN tags, 0 to 2.
    pub tags: u8,
    pub payload: Vec<u8>,
    /// Bytes after the IP packet's end.
    pub padding: usize,
    /// IPv4 options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers: number and bytes, in which the next header is filled in.
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub dont_fragment: bool,
    /// TCP's flags FIN (1), SYN (2), RST (4), PSH (8), ACK (16), URG (32), ECE (64) and CWR (128).
    pub flags: u8,
}

impl Packet {
    /// A plain packet to port 80 of VIP 1 with nine bytes of payload (a SYN has none).
    pub fn new(family: Family, kind: Kind) -> Packet {
        Packet {
            family,
            kind,
            vip: 1,
            host: 7,
            from: None,
            sender: ROUTER_MAC,
            source_port: 40_000,
            port: 80,
            traffic_class: 0,
            tags: 0,
            payload: if kind == Kind::Syn { Vec::new() } else { b"nine byte".to_vec() },
            padding: 0,
            options: Vec::new(),
            extensions: Vec::new(),
            dont_fragment: true,
            flags: if kind == Kind::Syn { 2 } else { 16 },
        }
    }

    pub fn with_port(mut self, port: u16) -> Packet {
        self.port = port;
        self
    }

    pub fn with_vip(mut self, vip: u8) -> Packet {
        self.vip = vip;
        self
    }

    pub fn with_source_port(mut self, port: u16) -> Packet {
        self.source_port = port;
        self
    }

    /// The frame as it reaches the node.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        let link = PacketBuilder::ethernet2(self.sender, NODE_MAC);
        let id = |number: u16| VlanId::try_new(number).expect("an id of 12 bits");
        let step = match self.tags {
            0 => link.ip(self.ip_headers()),
            1 => link.single_vlan(id(7)).ip(self.ip_headers()),
            _ => link.double_vlan(id(8), id(9)).ip(self.ip_headers()),
        };
        let written = match self.kind {
            Kind::Udp => step.udp(self.source_port, self.port).write(&mut frame, &self.payload),
            _ => step.tcp_header(self.tcp_header()).write(&mut frame, &self.payload),
        };
        written.expect("a vector takes every packet");
        insert_extensions(&mut frame, self.offset(), &self.extensions);
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }

    /// Where the IP header begins.
    pub fn offset(&self) -> usize {
        14 + 4 * self.tags as usize
    }

    /// Bytes of the IP packet.
    pub fn inner_length(&self) -> usize {
        self.frame().len() - self.offset() - self.padding
    }

    /// The flow's hash.
    pub fn hash(&self) -> u64 {
        flow_hash(
            &self.source(),
            &self.family.vip(self.vip),
            self.source_port,
            self.port,
            self.kind.protocol(),
        )
    }

    /// The hash that chooses the flow's slot: where clients stay on one target, that of client and VIP.
    pub fn place(&self) -> u64 {
        if (self.vip, self.port) == (7, 80) {
            client_hash(&self.source(), &self.family.vip(self.vip))
        } else {
            self.hash()
        }
    }

    fn source(&self) -> Vec<u8> {
        self.from.clone().unwrap_or_else(|| self.family.host(self.host))
    }

    fn ip_headers(&self) -> IpHeaders {
        match self.family {
            Family::V4 => {
                let mut header = Ipv4Header::new(
                    0,
                    63,
                    IpNumber(0),
                    array(&self.source()),
                    array(&self.family.vip(self.vip)),
                )
                .expect("an empty payload fits");
                header.dscp = (self.traffic_class >> 2).try_into().expect("six bits");
                header.ecn = (self.traffic_class & 3).try_into().expect("two bits");
                header.dont_fragment = self.dont_fragment;
                header.identification = 0x3039;
                header.fragment_offset = IpFragOffset::ZERO;
                header.options = self.options[..].try_into().expect("options are words, 40 bytes at most");
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            Family::V6 => {
                let header = Ipv6Header {
                    traffic_class: self.traffic_class,
                    flow_label: 0xabcde.try_into().expect("20 bits"),
                    hop_limit: 63,
                    source: array(&self.source()),
                    destination: array(&self.family.vip(self.vip)),
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, Ipv6Extensions::default())
            }
        }
    }

    fn tcp_header(&self) -> TcpHeader {
        let mut header = TcpHeader::new(self.source_port, self.port, 0x0102_0304, 0xfaf0);
        let flag = |bit: u8| self.flags >> bit & 1 == 1;
        (header.fin, header.syn, header.rst, header.psh) = (flag(0), flag(1), flag(2), flag(3));
        (header.ack, header.urg, header.ece, header.cwr) = (flag(4), flag(5), flag(6), flag(7));
        header.acknowledgment_number = if header.ack { 0x0506_0708 } else { 0 };
        header
    }
}

/// The hash of a flow, made from its bytes by an implementation that is not the balancer's.
pub fn flow_hash(source: &[u8], destination: &[u8], source_port: u16, port: u16, protocol: u8) -> u64 {
    let mapped: &[u8] =
        if destination.len() == 4 { &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] } else { &[] };
    let ports = [source_port.to_be_bytes(), port.to_be_bytes()].concat();
    scramble(secrets(&[mapped, destination].concat(), protocol), &[source, &ports].concat(), 0)
}

/// The hash of a client and a VIP, likewise.
pub fn client_hash(source: &[u8], destination: &[u8]) -> u64 {
    let secrets = secrets(&[0; 16], 0);
    match source.len() {
        4 => scramble(secrets, &[source, destination].concat(), 0),
        _ => scramble(secrets, source, scramble(secrets, destination, 0)),
    }
}

/// What the flows of a VIP (16 bytes) and a protocol are hashed with.
fn secrets(vip: &[u8], protocol: u8) -> [Wrapping<u64>; 4] {
    [0, 1, 2, 3].map(|at| Wrapping(sip_1_3(&[vip, &[protocol, 0, 0, 0, at, 0, 0, 0]].concat()) | 1))
}

/// `bytes` are an IPv4 address and four bytes more, or an IPv6 address and four bytes more or none.
fn scramble(secrets: [Wrapping<u64>; 4], bytes: &[u8], more: u64) -> u64 {
    let parts: Vec<_> =
        bytes.chunks(4).map(|part| Wrapping(u32::from_le_bytes(array(part)).into())).collect();
    let [a, b, c, d] = secrets;
    let mut state = match parts[..] {
        [low, high] => Wrapping(low.0 | high.0 << 32) ^ a,
        [p, q, r, s, ref rest @ ..] => {
            (p + a) * (q + b) + (r + c) * (s + d) + rest.iter().sum::<Wrapping<u64>>() + Wrapping(more)
        }
        _ => panic!("{} bytes are no flow", bytes.len()),
    };
    state ^= state >> 32;
    for secret in [b, c] {
        state *= secret;
        state ^= state >> 32;
    }
    state.0
}

/// SipHash-1-3 as in the paper's section 2, without the word that would hold the message's length.
fn sip_1_3(message: &[u8]) -> u64 {
    let mut v = [
        KEY.k0 ^ u64::from_be_bytes(*b"somepseu"),
        KEY.k1 ^ u64::from_be_bytes(*b"dorandom"),
        KEY.k0 ^ u64::from_be_bytes(*b"lygenera"),
        KEY.k1 ^ u64::from_be_bytes(*b"tedbytes"),
    ];
    for word in message.chunks_exact(8) {
        let word = u64::from_le_bytes(array(word));
        v[3] ^= word;
        sip_round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    (0..3).for_each(|_| sip_round(&mut v));
    v.into_iter().fold(0, |hash, word| hash ^ word)
}

fn sip_round(v: &mut [u64; 4]) {
    for (one, other, rotation, half) in
        [(0, 1, 13, true), (2, 3, 16, false), (2, 1, 17, true), (0, 3, 21, false)]
    {
        v[one] = v[one].wrapping_add(v[other]);
        v[other] = v[other].rotate_left(rotation) ^ v[one];
        v[one] = if half { v[one].rotate_left(32) } else { v[one] };
    }
}

/// Puts extension headers (RFC 8200, 4) between the IPv6 header at `offset` and its payload.
fn insert_extensions(frame: &mut Vec<u8>, offset: usize, extensions: &[(u8, Vec<u8>)]) {
    if extensions.is_empty() {
        return;
    }
    let transport = frame[offset + 6];
    let next = extensions.iter().skip(1).map(|(number, _)| *number).chain([transport]);
    let bytes: Vec<u8> =
        extensions.iter().zip(next).flat_map(|((_, bytes), next)| [&[next], &bytes[1..]].concat()).collect();
    frame[offset + 6] = extensions[0].0;
    frame.splice(offset + 40..offset + 40, bytes);
    let length = (frame.len() - offset - 40) as u16;
    frame[offset + 4..offset + 6].copy_from_slice(&length.to_be_bytes());
}

/// A slice of exactly `N` bytes as an array.
pub fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("an address of the right family")
}
