//! Random frames with a client's structure: mostly valid packets of a few flows towards the node's listeners.

use std::net::IpAddr;

use fastrand::Rng;

use super::quic;
use super::world::{self, PORTS};
use crate::model::Node;
use crate::model::packet::{ICMP, ICMPV6, TCP, UDP};

/// The shortest frame that the kernel's test run takes.
pub(super) const SHORTEST: usize = 14;
/// The longest: more than two pages.
pub(super) const LONGEST: usize = 9_000;
/// What the test run puts into a frame's first buffer: a page less the room before it (XDP_PACKET_HEADROOM) and what
/// the kernel keeps behind it (struct skb_shared_info).
pub(super) const FIRST_BUFFER: usize = 4096 - 256 - 320;

/// A client's flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: (u16, u16),
}

/// The flows of an epoch: most of them to listeners.
pub(super) fn flows(random: &mut Rng, node: &Node) -> Vec<Flow> {
    (0..random.usize(10..=120)).map(|_| flow(random, node)).collect()
}

/// The clients of flows.
pub(super) fn sources(flows: &[Flow]) -> Vec<IpAddr> {
    flows.iter().map(|flow| flow.source).collect()
}

fn flow(random: &mut Rng, node: &Node) -> Flow {
    let listeners: Vec<_> = node.listeners.keys().collect();
    let (vip, protocol, port) = *listeners[random.usize(..listeners.len())];
    let port = if port == 0 || random.u8(..24) == 0 { other_port(random) } else { port };
    let destination = if random.u8(..32) == 0 { world::address_like(random, vip) } else { vip };
    // An IPv4 VIP as hosts write it in IPv6's form.
    let destination = match destination {
        IpAddr::V4(vip) if random.u8(..64) == 0 => IpAddr::V6(vip.to_ipv6_mapped()),
        destination => destination,
    };
    let protocol = if random.u8(..24) == 0 { TCP + UDP - protocol } else { protocol };
    let source = match random.u8(..24) {
        0 => martian(random, destination),
        _ => world::address_like(random, destination),
    };
    Flow { source, destination, protocol, ports: (random.u16(..), port) }
}

/// An address that nobody sends from.
fn martian(random: &mut Rng, destination: IpAddr) -> IpAddr {
    if random.u8(..4) == 0 {
        return destination;
    }
    match world::address_like(random, destination) {
        IpAddr::V4(address) => {
            let [_, rest @ ..] = address.octets();
            let first = [0, 127, 224, 239, 240, 255][random.usize(..6)];
            IpAddr::from([first, rest[0], rest[1], rest[2]])
        }
        IpAddr::V6(address) if random.bool() => {
            let low = [0, 1, 0xffff << 32 | 0x0a00_0001, u64::MAX][random.usize(..4)];
            IpAddr::from((u128::from(low) & u128::from(address)).to_be_bytes())
        }
        IpAddr::V6(address) => IpAddr::from((0xff << 120 | u128::from(address)).to_be_bytes()),
    }
}

fn other_port(random: &mut Rng) -> u16 {
    if random.bool() { PORTS[random.usize(..PORTS.len())] } else { random.u16(..) }
}

/// A frame of one of the flows, or a ping, or something else.
pub(super) fn frame(random: &mut Rng, node: &Node, flows: &[Flow]) -> Vec<u8> {
    let flow = match random.u8(..16) {
        0 => flow(random, node),
        _ => flows[random.usize(..flows.len())],
    };
    let (protocol, segment) = match random.u8(..20) {
        0 => icmp(random, flow),
        2 => error(random, flow),
        1 if random.u8(..4) == 0 => (random.u8(..), payload(random)),
        _ if flow.protocol == TCP => (TCP, tcp(random, flow.ports)),
        _ => (UDP, udp(flow.ports, random.u16(..), &datagram(random, node, flow))),
    };
    let mut frame = link(random, node, flow);
    frame.extend(match (flow.source, flow.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ipv4(random, protocol, [source.octets(), destination.octets()], &segment)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6(random, protocol, [source.octets(), destination.octets()], &segment)
        }
        _ => unreachable!("both ends of a flow are of one family"),
    });
    if random.u8(..8) == 0 {
        frame.extend((0..random.usize(1..=46)).map(|_| 0xee));
    }
    frame
}

/// Ethernet with tags, mostly for the node.
fn link(random: &mut Rng, node: &Node, flow: Flow) -> Vec<u8> {
    let destination = match random.u8(..128) {
        0 => world::mac(random),
        1 => [0xff; 6],
        2 => [0x01, 0x00, 0x5e, 0, 0, 1],
        _ => node.mac,
    };
    let mut source = world::mac(random);
    source[0] |= u8::from(random.u8(..64) == 0);
    let mut frame = [destination, source].concat();
    let tags = match random.u8(..64) {
        0..=47 => 0,
        48..=55 => 1,
        56..=62 => 2,
        _ => 3,
    };
    for _ in 0..tags {
        frame.extend(if random.bool() { [0x81, 0x00] } else { [0x88, 0xa8] });
        frame.extend(random.u16(..).to_be_bytes());
    }
    frame.extend(match random.u8(..128) {
        0 => [0x08, 0x06],
        1 => random.u16(..).to_be_bytes(),
        _ if flow.destination.is_ipv4() => [0x08, 0x00],
        _ => [0x86, 0xdd],
    });
    frame
}

fn ipv4(random: &mut Rng, protocol: u8, ends: [[u8; 4]; 2], segment: &[u8]) -> Vec<u8> {
    let options = if random.u8(..10) == 0 { random.usize(1..=10) } else { 0 };
    let length = (20 + options * 4 + segment.len()) as u16;
    let fragment: u16 = match random.u8(..40) {
        0 => 0x2000,
        1 => random.u16(..),
        2..=20 => 0,
        _ => 0x4000,
    };
    let mut packet = vec![0x45 + options as u8, traffic_class(random)];
    packet.extend(length.to_be_bytes());
    packet.extend(random.u16(..).to_be_bytes());
    packet.extend(fragment.to_be_bytes());
    packet.extend([random.u8(..), protocol]);
    packet.extend(random.u16(..).to_be_bytes());
    packet.extend(ends.concat());
    packet.resize(20 + options * 4, 1);
    packet.extend(segment);
    packet
}

fn ipv6(random: &mut Rng, protocol: u8, ends: [[u8; 16]; 2], segment: &[u8]) -> Vec<u8> {
    let (next, extensions) = extensions(random, protocol);
    let first = 6 << 28 | u32::from(traffic_class(random)) << 20 | random.u32(..1 << 20);
    let mut packet = first.to_be_bytes().to_vec();
    packet.extend(((extensions.len() + segment.len()) as u16).to_be_bytes());
    packet.extend([next, random.u8(..)]);
    packet.extend(ends.concat());
    packet.extend(extensions);
    packet.extend(segment);
    packet
}

/// None or a few extension headers before `protocol`: the first one's number, and all of them.
fn extensions(random: &mut Rng, protocol: u8) -> (u8, Vec<u8>) {
    let count = if random.u8(..6) == 0 { random.usize(1..=8) } else { 0 };
    let mut headers = Vec::new();
    let mut next = protocol;
    // From the last to the first.
    for _ in 0..count {
        let number = [0, 43, 60, 51, 60, 0, 43, 60, 0, 43, 60, 51, 0, 44][random.usize(..14)];
        let units = random.u8(..3);
        let length = match number {
            51 => 8 + 4 * usize::from(units),
            44 => 8,
            _ => 8 + 8 * usize::from(units),
        };
        let mut header = vec![0; length];
        (header[0], header[1]) = (next, units);
        headers.splice(0..0, header);
        next = number;
    }
    (next, headers)
}

fn traffic_class(random: &mut Rng) -> u8 {
    if random.u8(..4) == 0 { random.u8(..) } else { 0 }
}

fn tcp(random: &mut Rng, ports: (u16, u16)) -> Vec<u8> {
    let flags = match random.u8(..16) {
        0..=3 => 0x02,
        4 => random.u8(..),
        5 => [0x12, 0x04, 0x14, 0x11, 0xc2, 0x42][random.usize(..6)],
        _ => 0x10,
    };
    let mut segment = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    segment.extend(random.u64(..).to_be_bytes());
    segment.extend([0x50, flags]);
    segment.extend([0xfa, 0xf0]);
    segment.extend(random.u32(..).to_be_bytes());
    segment.extend(payload(random));
    segment
}

fn udp(ports: (u16, u16), checksum: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let header = [ports.0, ports.1, length, checksum].map(u16::to_be_bytes).concat();
    [&header, payload].concat()
}

/// A UDP payload: to a QUIC listener mostly QUIC, to others seldom.
fn datagram(random: &mut Rng, node: &Node, flow: Flow) -> Vec<u8> {
    let of_port = |port| node.listeners.get(&(flow.destination, UDP, port));
    let listener = of_port(flow.ports.1).or_else(|| of_port(0));
    let is_quic = match listener {
        Some(listener) if listener.is_quic => random.u8(..8) > 0,
        _ => random.u8(..8) == 0,
    };
    if is_quic { quic::payload(random) } else { payload(random) }
}

/// Mostly echo requests.
fn icmp(random: &mut Rng, flow: Flow) -> (u8, Vec<u8>) {
    let (protocol, request) = if flow.destination.is_ipv4() { (ICMP, 8) } else { (ICMPV6, 128) };
    let kind = if random.u8(..4) == 0 { random.u8(..) } else { request };
    let code = if random.u8(..8) == 0 { random.u8(..) } else { 0 };
    let checksum = match random.u8(..4) {
        // The reply's checksum wraps around zero near these.
        0 => [0, 1, 0x00ff, 0x0100, 0x0101, 0xf7fe, 0xf7ff, 0xf800, 0xfffe, 0xffff][random.usize(..10)],
        _ => random.u16(..),
    };
    let mut message = vec![kind, code];
    message.extend(checksum.to_be_bytes());
    message.extend(random.u32(..).to_be_bytes());
    message.extend(payload(random));
    // The other family's protocol number now and then.
    let protocol = if random.u8(..16) == 0 { ICMP + ICMPV6 - protocol } else { protocol };
    (protocol, message)
}

/// An error about a packet from the flow's destination to its source, quoted more or less whole.
fn error(random: &mut Rng, flow: Flow) -> (u8, Vec<u8>) {
    let ports = (flow.ports.1, flow.ports.0);
    let segment = match flow.protocol {
        TCP => tcp(random, ports),
        _ => udp(ports, random.u16(..), &payload(random)),
    };
    let (protocol, kinds, mut quote) = match (flow.destination, flow.source) {
        (IpAddr::V4(vip), IpAddr::V4(client)) => {
            let quote = ipv4(random, flow.protocol, [vip.octets(), client.octets()], &segment);
            (ICMP, [3, 3, 11, 12], quote)
        }
        (IpAddr::V6(vip), IpAddr::V6(client)) => {
            let quote = ipv6(random, flow.protocol, [vip.octets(), client.octets()], &segment);
            (ICMPV6, [1, 2, 3, 4], quote)
        }
        _ => unreachable!("both ends of a flow are of one family"),
    };
    if random.bool() {
        quote.truncate(random.usize(..120));
    }
    let mut message = vec![kinds[random.usize(..4)], random.u8(..)];
    message.extend(random.u16(..).to_be_bytes());
    message.extend(random.u32(..).to_be_bytes());
    message.extend(quote);
    (protocol, message)
}

/// Mostly short, now and then up to what a frame can have.
fn payload(random: &mut Rng) -> Vec<u8> {
    let length = match random.u8(..32) {
        0..=7 => 0,
        8..=27 => random.usize(..80),
        28..=30 => random.usize(..1460),
        _ => random.usize(..8900),
    };
    vec![random.u8(..); length]
}
