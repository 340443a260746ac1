//! A frame as the RFCs read it, over slices; or the reason why it is none of the balancer's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::Reason;

use super::fragments::{self, Fragment};

/// The number of TCP (RFC 9293).
pub const TCP: u8 = 6;
/// The number of UDP (RFC 768).
pub const UDP: u8 = 17;
/// The number of ICMP (RFC 792).
pub const ICMP: u8 = 1;
/// The number of ICMP for IPv6 (RFC 4443).
pub const ICMPV6: u8 = 58;

/// EtherTypes of VLAN tags: IEEE 802.1Q and 802.1ad.
const TAGS: [u16; 2] = [0x8100, 0x88a8];
/// VLAN tags that are read.
const MOST_TAGS: usize = 2;
/// IPv6 extension headers that are walked (RFC 8200, 4).
pub(super) const MOST_EXTENSIONS: usize = 6;

/// An IP packet in a frame for the node: a whole one that TCP, UDP or ICMP follows, or a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where the IP header begins in the frame.
    pub ip_at: usize,
    /// Bytes of the IP packet by its own header; what follows in the frame is padding.
    pub length: usize,
    /// Type of service or traffic class.
    pub traffic_class: u8,
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// What follows the IP headers.
    pub transport: Transport,
    /// Where it begins in the frame.
    pub transport_at: usize,
}

/// What is read of a transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP; whether the segment begins a connection.
    Tcp(Ports, bool),
    /// UDP.
    Udp(Ports),
    /// ICMP or ICMPv6: type and code.
    Icmp(u8, u8),
    /// A part of a datagram, of whatever protocol.
    Fragment(Fragment),
}

/// Source and destination port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The sender's.
    pub source: u16,
    /// The receiver's.
    pub destination: u16,
}

impl Packet {
    /// Reads a frame that came in by an interface whose MAC address is `mac`, and all of whose headers must be in its
    /// first `first_buffer` bytes.
    ///
    /// # Errors
    /// The reason why the frame is passed on.
    pub fn parse(frame: &[u8], mac: [u8; 6], first_buffer: usize) -> Result<Packet, Reason> {
        let whole = frame.len();
        let frame = &frame[..whole.min(first_buffer)];
        let (ethertype, ip_at) = ethernet(frame)?;
        let version = match ethertype {
            0x0800 => 4,
            0x86dd => 6,
            _ => return Err(Reason::NotIp),
        };
        if frame[..6] != mac {
            return Err(Reason::OtherMac);
        }
        let (bytes, most) = (&frame[ip_at..], whole - ip_at);
        let datagram = if version == 4 { ipv4(bytes, most)? } else { ipv6(bytes, most)? };
        let end = frame.len().min(ip_at + datagram.length);
        let payload = frame.get(ip_at + datagram.headers..end);
        Ok(Packet {
            ip_at,
            length: datagram.length,
            traffic_class: datagram.traffic_class,
            source: datagram.source,
            destination: datagram.destination,
            transport: match datagram.fragment {
                Some(fragment) => Transport::Fragment(fragment),
                None => transport(datagram.protocol, datagram.source, payload.unwrap_or_default())?,
            },
            transport_at: ip_at + datagram.headers,
        })
    }
}

/// The EtherType behind all tags, and where its payload begins.
fn ethernet(frame: &[u8]) -> Result<(u16, usize), Reason> {
    let mut at = 12;
    for _ in 0..MOST_TAGS {
        if !TAGS.contains(&word(frame, at).ok_or(Reason::MalformedEthernet)?) {
            break;
        }
        at += 4;
    }
    Ok((word(frame, at).ok_or(Reason::MalformedEthernet)?, at + 2))
}

/// The IP header alone, and all that is between it and the transport header.
struct Datagram {
    headers: usize,
    length: usize,
    traffic_class: u8,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    fragment: Option<Fragment>,
}

/// RFC 791, 3.1. The packet has `most` bytes at most.
fn ipv4(bytes: &[u8], most: usize) -> Result<Datagram, Reason> {
    let header = bytes.get(..20).ok_or(Reason::MalformedIpv4)?;
    let headers = usize::from(header[0] & 0x0f) * 4;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || headers < 20 || length < headers || length > most {
        return Err(Reason::MalformedIpv4);
    }
    Ok(Datagram {
        headers,
        length,
        traffic_class: header[1],
        source: IpAddr::V4(Ipv4Addr::new(header[12], header[13], header[14], header[15])),
        destination: IpAddr::V4(Ipv4Addr::new(header[16], header[17], header[18], header[19])),
        protocol: header[9],
        fragment: fragments::ipv4(header),
    })
}

/// RFC 8200, 3. The packet has `most` bytes at most.
fn ipv6(bytes: &[u8], most: usize) -> Result<Datagram, Reason> {
    let header = bytes.get(..40).ok_or(Reason::MalformedIpv6)?;
    let length = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || length > most {
        return Err(Reason::MalformedIpv6);
    }
    let (source, destination) = (ipv6_address(&header[8..24]), ipv6_address(&header[24..40]));
    // RFC 4291, 2.5.5.2: such addresses stand for IPv4 inside of hosts, and don't belong on the wire.
    if destination.to_ipv4_mapped().is_some() {
        return Err(Reason::NotOurs);
    }
    let (protocol, headers, fragment) = extensions(bytes, length, header[6])?;
    Ok(Datagram {
        headers,
        length,
        traffic_class: header[0] << 4 | header[1] >> 4,
        source: IpAddr::V6(source),
        destination: IpAddr::V6(destination),
        protocol,
        fragment,
    })
}

pub(super) fn ipv6_address(bytes: &[u8]) -> Ipv6Addr {
    let octets: [u8; 16] = bytes.try_into().expect("the slice has sixteen bytes");
    Ipv6Addr::from(octets)
}

/// The protocol behind all extension headers of an IPv6 packet of `length` bytes that can be read, where it begins, and
/// which part the packet is.
fn extensions(packet: &[u8], length: usize, mut next: u8) -> Result<(u8, usize, Option<Fragment>), Reason> {
    let (mut at, mut part) = (40, None);
    for walked in 0.. {
        let (unit, fixed) = match next {
            // Of a fixed length (RFC 8200, 4.5).
            fragments::HEADER => (0, 8),
            // Hop-by-hop options, routing, destination options: 8-byte units, the first not counted.
            0 | 43 | 60 => (8, 8),
            // Authentication (RFC 4302, 2.2): 4-byte units less two.
            51 => (4, 8),
            _ => break,
        };
        if walked == MOST_EXTENSIONS {
            return Err(Reason::ExtensionHeaders);
        }
        let [following, units] = *packet.get(at..at + 2).ok_or(Reason::MalformedIpv6)? else {
            unreachable!("the slice has two bytes")
        };
        let read = if next == fragments::HEADER { 8 } else { 2 };
        let header = packet.get(at..at + read).ok_or(Reason::MalformedIpv6)?;
        at += fixed + usize::from(units) * unit;
        if at > length {
            return Err(Reason::MalformedIpv6);
        }
        if let Some(fragment) = fragments::ipv6(next, following, header) {
            // One packet is one part.
            if part.replace(fragment).is_some() {
                return Err(Reason::ExtensionHeaders);
            }
            if fragment.offset > 0 {
                return Ok((following, at, part));
            }
        }
        next = following;
    }
    // A first fragment's protocol is what follows all headers.
    Ok((next, at, part.map(|part| Fragment { protocol: next, ..part })))
}

pub(super) fn transport(protocol: u8, source: IpAddr, bytes: &[u8]) -> Result<Transport, Reason> {
    let icmp = if source.is_ipv4() { ICMP } else { ICMPV6 };
    let fixed = match protocol {
        TCP => 20,
        UDP => 8,
        protocol if protocol == icmp => 8,
        _ => return Err(Reason::NotOurs),
    };
    let header = bytes.get(..fixed).ok_or(Reason::MalformedTransport)?;
    let ports = Ports {
        source: u16::from_be_bytes([header[0], header[1]]),
        destination: u16::from_be_bytes([header[2], header[3]]),
    };
    Ok(match protocol {
        TCP => Transport::Tcp(ports, begins(header[13])),
        UDP => Transport::Udp(ports),
        _ => Transport::Icmp(header[0], header[1]),
    })
}

/// Whether a segment with these flags begins a connection: SYN, with neither ACK nor RST nor FIN.
fn begins(flags: u8) -> bool {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    flags & (SYN | ACK | RST | FIN) == SYN
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}
