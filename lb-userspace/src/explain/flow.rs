//! A packet of a flow that is given on the command line: headers with right checksums, and zeros behind them.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail, ensure};
use lb_common::checksum::{fold, sum};
use lb_common::flow::{TCP, UDP};

/// What kind of packet it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A TCP segment that begins a flow.
    Syn,
    /// A TCP segment of a flow that began earlier.
    Ack,
    /// The TCP segment that ends a flow of which only the SYN was sent.
    Reset,
    /// A UDP datagram.
    Udp,
}

impl Kind {
    fn protocol(self) -> u8 {
        if self == Kind::Udp { UDP } else { TCP }
    }
}

/// The IP packet from `source` to `vip`: `length` bytes from its IP header on, or as few as there can be.
///
/// # Errors
/// If the addresses are of two families, or the length is too small for the headers.
pub(crate) fn packet(
    kind: Kind,
    source: SocketAddr,
    vip: SocketAddr,
    length: Option<u16>,
) -> Result<Vec<u8>> {
    let ip_header = if vip.is_ipv4() { 20 } else { 40 };
    let headers = ip_header + if kind == Kind::Udp { 8 } else { 20 };
    let length = length.map_or(headers, usize::from);
    ensure!(length >= headers, "--length is at least {headers} bytes, those of this packet's headers");
    let transport = transport(kind, source, vip, length - ip_header);
    let header = match (source.ip(), vip.ip()) {
        (IpAddr::V4(source), IpAddr::V4(vip)) => {
            let mut header = [0; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            // Don't fragment, as every TCP of today says.
            header[6] = 0x40;
            header[8] = 64;
            header[9] = kind.protocol();
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&vip.octets());
            let checksum = !fold(sum(&header));
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            header.to_vec()
        }
        (IpAddr::V6(source), IpAddr::V6(vip)) => {
            let mut header = [0; 40];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
            header[6] = kind.protocol();
            header[7] = 64;
            header[8..24].copy_from_slice(&source.octets());
            header[24..40].copy_from_slice(&vip.octets());
            header.to_vec()
        }
        (source, vip) => bail!("{source} and {vip} are of two families: a packet has addresses of one"),
    };
    Ok([header, transport].concat())
}

fn transport(kind: Kind, source: SocketAddr, vip: SocketAddr, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..2].copy_from_slice(&source.port().to_be_bytes());
    bytes[2..4].copy_from_slice(&vip.port().to_be_bytes());
    let checksum_at = match kind {
        Kind::Udp => {
            bytes[4..6].copy_from_slice(&(length as u16).to_be_bytes());
            6
        }
        Kind::Syn | Kind::Ack | Kind::Reset => {
            // The sequence number behind that of the SYN, which is zero: others reset nothing (RFC 5961).
            bytes[7] = u8::from(kind == Kind::Reset);
            bytes[12] = 5 << 4;
            bytes[13] = match kind {
                Kind::Syn => 0x02,
                Kind::Reset => 0x04,
                _ => 0x10,
            };
            bytes[14..16].copy_from_slice(&[0xff, 0xff]);
            16
        }
    };
    let pseudo = sum(&octets(source.ip())) + sum(&octets(vip.ip())) + u32::from(kind.protocol());
    let checksum = match !fold(fold_early(pseudo + length as u32) + fold_early(sum(&bytes))) {
        // RFC 768: a sum of zero is sent as ones.
        0 => 0xffff,
        checksum => checksum,
    };
    bytes[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// A sum of at most 64 KiB, folded so that two of them do not overflow.
fn fold_early(sum: u32) -> u32 {
    u32::from(fold(sum))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use lb_common::memory::Frame;
    use lb_common::packet::{Ipv4, Ipv6, Segment, Version, transport};

    use super::*;

    fn made(kind: Kind, source: &str, vip: &str, length: Option<u16>) -> Result<Vec<u8>> {
        packet(kind, source.parse().unwrap(), vip.parse().unwrap(), length)
    }

    #[test]
    fn the_packet_is_of_the_flow_that_was_asked_for() {
        let packet = made(Kind::Syn, "10.0.0.9:40000", "10.200.1.1:80", Some(1500)).unwrap();
        let frame = Frame::new(&packet);
        let datagram = Ipv4::parse(frame, 0).unwrap();
        let transport = transport(frame, &datagram).unwrap();
        assert_eq!((packet.len(), datagram.length, transport.segment), (1500, 1500, Segment::Opening));
        assert_eq!(transport.flow.destination_port(), 80u16.to_be());
        assert_eq!(fold(sum(&packet[..20])), 0xffff);
    }

    #[test]
    fn ipv6_has_its_own_shape() {
        let packet = made(Kind::Udp, "[fd01::2]:5", "[fc00:1::1]:53", None).unwrap();
        let frame = Frame::new(&packet);
        let datagram = Ipv6::parse(frame, 0).unwrap();
        assert_eq!(transport(frame, &datagram).unwrap().segment, Segment::Ageless);
        let pseudo = sum(&packet[8..40]) + 8 + 17;
        assert_eq!(fold(pseudo + sum(&packet[40..])), 0xffff);
    }

    #[test]
    fn a_reset_is_the_next_segment_after_the_syn() {
        let packet = made(Kind::Reset, "10.0.0.9:40000", "10.200.1.1:80", None).unwrap();
        assert_eq!((&packet[24..28], packet[33]), (&[0, 0, 0, 1][..], 0x04));
        let pseudo = sum(&packet[12..20]) + 6 + 20;
        assert_eq!(fold(pseudo + sum(&packet[20..])), 0xffff);
    }

    #[test]
    fn what_no_packet_can_be_is_refused() {
        assert!(made(Kind::Ack, "10.0.0.9:1", "[fc00::1]:80", None).is_err());
        assert!(made(Kind::Ack, "10.0.0.9:1", "10.200.1.1:80", Some(39)).is_err());
    }
}
