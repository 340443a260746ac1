//! The frame that a target is owed: its Ethernet header, the outer headers, and the packet as it came.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::packet::Packet;
use super::target::{Ends, NextHop, Target};

/// Time to live and hop limit of the outer header.
const HOP_LIMIT: u8 = 64;
/// UDP (RFC 768).
const UDP: u8 = 17;
/// The port of GUE.
pub(super) const GUE: u16 = 6080;

/// `frame`'s packet on its way to `target`: tags are gone, padding stays.
pub(super) fn encapsulate(
    frame: &[u8],
    packet: &Packet,
    hash: u64,
    target: &Target,
    next_hop: NextHop,
    former: Option<[Option<Ends>; 2]>,
) -> Vec<u8> {
    // RFC 2003 and RFC 2473: the numbers of IPv4 and of IPv6 inside IP.
    let inner = if packet.source.is_ipv4() { 4 } else { 41 };
    let header = former.map(|former| gue(inner, &chain(target.ends, former))).unwrap_or_default();
    let tunnel = if target.gue { udp(packet.length, hash, &header) } else { Vec::new() };
    let outer = Outer {
        protocol: if target.gue { UDP } else { inner },
        payload: (tunnel.len() + packet.length) as u16,
        traffic_class: packet.traffic_class,
        hash,
    };
    let (ethertype, ip) = match target.ends {
        Ends::V4(source, destination) => (0x0800_u16, outer.ipv4(source, destination, target.spread)),
        Ends::V6(source, destination) => (0x86dd_u16, outer.ipv6(source, destination, target.spread)),
    };
    let link = [&next_hop.destination[..], &next_hop.source, &ethertype.to_be_bytes()].concat();
    [&link[..], &ip, &tunnel, &frame[packet.ip_at..]].concat()
}

/// The tunnels' ends of those who had the slot, as far as they are of the outer header's version: format 1, not handed
/// on yet, how many they are, no flags; then room for two.
fn chain(outer: Ends, former: [Option<Ends>; 2]) -> Vec<u8> {
    let ends = former.into_iter().flatten().filter_map(|ends| match (outer, ends) {
        (Ends::V4(..), Ends::V4(_, end)) => Some(end.octets().to_vec()),
        (Ends::V6(..), Ends::V6(_, end)) => Some(end.octets().to_vec()),
        _ => None,
    });
    let ends: Vec<Vec<u8>> = ends.collect();
    let mut chain = vec![1, 0, ends.len() as u8, 0];
    chain.extend(ends.concat());
    chain.resize(if matches!(outer, Ends::V4(..)) { 4 + 2 * 4 } else { 4 + 2 * 16 }, 0);
    chain
}

/// GUE of version 0: data, no options, private data.
fn gue(inner: u8, private: &[u8]) -> Vec<u8> {
    let words = (private.len() / 4) as u8;
    [&[words, inner, 0, 0], private].concat()
}

/// UDP without a checksum, its source port from the flow, before a GUE header. GUE of version 1 has none: IP follows,
/// which is told by the first bits 01 of both its versions' numbers.
fn udp(inner_length: usize, hash: u64, gue: &[u8]) -> Vec<u8> {
    let source_port = 0xc000 | hash as u16;
    let length = (8 + gue.len() + inner_length) as u16;
    let header = [source_port, GUE, length, 0].map(u16::to_be_bytes);
    [header.as_flattened(), gue].concat()
}

/// What of the packet the outer header tells.
struct Outer {
    protocol: u8,
    /// Bytes after the outer IP header.
    payload: u16,
    traffic_class: u8,
    hash: u64,
}

impl Outer {
    /// RFC 791; an atomic datagram has no use for an identification (RFC 6864, 4.1).
    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr, spread: [u8; 4]) -> Vec<u8> {
        const DONT_FRAGMENT: u16 = 0x4000;
        let mut header = vec![0x45, self.traffic_class];
        header.extend((20 + self.payload).to_be_bytes());
        header.extend([0, 0]);
        header.extend(DONT_FRAGMENT.to_be_bytes());
        header.extend([HOP_LIMIT, self.protocol, 0, 0]);
        header.extend(self.varied(source.octets(), spread));
        header.extend(destination.octets());
        let checksum = !ones_complement_sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    /// RFC 8200; the flow label is the flow's (RFC 6438).
    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr, spread: [u8; 4]) -> Vec<u8> {
        let label = self.hash as u32 & 0x000f_ffff;
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | label;
        let mut header = first.to_be_bytes().to_vec();
        header.extend(self.payload.to_be_bytes());
        header.extend([self.protocol, HOP_LIMIT]);
        header.extend(self.varied(source.octets(), spread));
        header.extend(destination.octets());
        header
    }

    /// A source address whose last bits are the flow's where `spread` says so.
    fn varied<const N: usize>(&self, mut address: [u8; N], spread: [u8; 4]) -> [u8; N] {
        let entropy = (self.hash as u32).to_le_bytes();
        for (at, byte) in address[N - 4..].iter_mut().enumerate() {
            *byte |= entropy[at] & spread[at];
        }
        address
    }
}

/// RFC 1071.
pub(super) fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}
