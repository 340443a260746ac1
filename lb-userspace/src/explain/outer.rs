//! What is before the client's packet when it leaves: the outer headers, read from the bytes themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::encapsulation::GUE_PORT;
use lb_common::flow::UDP;
use serde::{Deserialize, Serialize};

/// The headers of a packet that goes to a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outer {
    /// The frame's source MAC address.
    pub source_mac: String,
    /// The next hop's MAC address.
    pub destination_mac: String,
    /// The outer source address.
    pub source: IpAddr,
    /// The outer destination: the target.
    pub destination: IpAddr,
    /// Type of service or traffic class.
    pub traffic_class: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// `ipip` or `gue`.
    pub encapsulation: String,
    /// GUE: the UDP source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// GUE: 1, or 0 if the packet has a chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gue_version: Option<u8>,
    /// Bytes of the outer packet, from its IP header on.
    pub length: usize,
}

/// The outer headers of `frame`; none if it has none that a node writes.
pub fn outer(frame: &[u8]) -> Option<Outer> {
    let packet = frame.get(14..)?;
    let number =
        |at: usize| packet.get(at..at + 2).map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]])));
    let (source, destination, protocol, payload) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            (IpAddr::from(octets::<4>(packet, 12)?), octets::<4>(packet, 16)?.into(), *packet.get(9)?, 20)
        }
        [0x86, 0xdd] => {
            (IpAddr::from(octets::<16>(packet, 8)?), octets::<16>(packet, 24)?.into(), *packet.get(6)?, 40)
        }
        _ => return None,
    };
    let source_port = match protocol {
        4 | 41 => None,
        UDP if number(payload + 2)? == usize::from(GUE_PORT) => Some(number(payload)? as u16),
        _ => return None,
    };
    let gue_version = match source_port {
        Some(_) => Some(packet.get(payload + 8)? >> 6),
        None => None,
    };
    let is_v4 = payload == 20;
    Some(Outer {
        source_mac: mac(frame.get(6..12)?),
        destination_mac: mac(frame.get(..6)?),
        source,
        destination,
        traffic_class: if is_v4 { *packet.get(1)? } else { packet.first()? << 4 | packet.get(1)? >> 4 },
        ttl: *packet.get(if is_v4 { 8 } else { 7 })?,
        encapsulation: if source_port.is_some() { "gue" } else { "ipip" }.to_owned(),
        source_port,
        gue_version,
        length: if is_v4 { number(2)? } else { 40 + number(4)? },
    })
}

fn octets<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

/// A MAC address as people write it.
pub fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// An address of the record: bytes as on the wire, IPv4 mapped into IPv6.
pub fn address(words: [u32; 4]) -> IpAddr {
    let mut octets = [0; 16];
    for (part, word) in octets.chunks_mut(4).zip(words) {
        part.copy_from_slice(&word.to_ne_bytes());
    }
    let address = Ipv6Addr::from(octets);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), |v4: Ipv4Addr| IpAddr::V4(v4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8) -> Vec<u8> {
        let link = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let ip = [0x45, 0x28, 0, 60, 0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 10, 0, 0, 3];
        [&link[..], &ip, &[0xc1, 0x23, 0x17, 0xc0, 0, 40, 0, 0], &[0; 32]].concat()
    }

    #[test]
    fn the_outer_header_is_read_from_the_bytes() {
        let ipip = outer(&ipv4(4)).unwrap();
        assert_eq!((ipip.destination_mac.as_str(), ipip.traffic_class), ("02:00:00:00:00:01", 0x28));
        assert_eq!((ipip.destination.to_string().as_str(), ipip.length, ipip.ttl), ("10.0.0.3", 60, 64));
        let gue = outer(&ipv4(17)).unwrap();
        assert_eq!((gue.encapsulation.as_str(), gue.source_port), ("gue", Some(0xc123)));
        assert_eq!((gue.gue_version, ipip.gue_version), (Some(0), None));
        let mut direct = ipv4(17);
        for first in [0x45, 0x60] {
            direct[42] = first;
            assert_eq!(outer(&direct).unwrap().gue_version, Some(1));
        }
    }

    #[test]
    fn a_packet_without_one_has_none() {
        assert_eq!(outer(&ipv4(6)), None);
        let frame = ipv4(17);
        assert!((0..43).all(|length| outer(&frame[..length]).is_none()));
    }

    #[test]
    fn addresses_of_both_families_come_back() {
        let word = |octets: [u8; 4]| u32::from_ne_bytes(octets);
        assert_eq!(address([0, 0, word([0, 0, 0xff, 0xff]), word([10, 0, 0, 1])]).to_string(), "10.0.0.1");
        assert_eq!(address([word([0xfc, 0, 0, 1]), 0, 0, word([0, 0, 0, 1])]).to_string(), "fc00:1::1");
    }
}
