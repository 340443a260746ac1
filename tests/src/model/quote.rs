//! What an ICMP error quotes (RFC 792; RFC 4443, 2.4 (c)): the client's flow of the packet that could not be
//! delivered.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::Reason;

use super::packet::{MOST_EXTENSIONS, Packet, Ports, TCP, UDP, ipv6_address};

/// A client's flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) client: IpAddr,
    pub(super) protocol: u8,
    pub(super) ports: Ports,
}

/// Bytes of ICMP before the quote.
const HEADER: usize = 8;
/// Bytes of the quoted transport header that are always there.
const TRANSPORT: usize = 8;

/// Whether messages of this type report errors about packets.
pub(super) fn is_error(packet: &Packet, kind: u8) -> bool {
    match packet.source {
        // Unreachable, time exceeded, parameter problem.
        IpAddr::V4(_) => [3, 11, 12].contains(&kind),
        // Unreachable, packet too big, time exceeded, parameter problem.
        IpAddr::V6(_) => (1..=4).contains(&kind),
    }
}

/// The flow that `packet`, an error to one of the node's VIPs, speaks of.
pub(super) fn flow(frame: &[u8], packet: &Packet) -> Result<Flow, Reason> {
    let end = frame.len().min(packet.ip_at + packet.length);
    let quote = &frame[packet.transport_at + HEADER..end];
    let (sender, client, protocol, transport) = match packet.source {
        IpAddr::V4(_) => ipv4(quote)?,
        IpAddr::V6(_) => ipv6(quote)?,
    };
    // The error came to who sent the quoted packet.
    if sender != packet.destination {
        return Err(Reason::MalformedQuote);
    }
    let transport = quote.get(transport..).ok_or(Reason::MalformedQuote)?;
    if ![TCP, UDP].contains(&protocol) {
        return Err(Reason::NotOurs);
    }
    let header = transport.get(..TRANSPORT).ok_or(Reason::MalformedQuote)?;
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    Ok(Flow { client, protocol, ports: Ports { source: port(2), destination: port(0) } })
}

/// Source, destination, protocol, and where the transport header begins.
type Header = (IpAddr, IpAddr, u8, usize);

fn ipv4(quote: &[u8]) -> Result<Header, Reason> {
    let header = quote.get(..20).ok_or(Reason::MalformedQuote)?;
    let (version, words) = (header[0] >> 4, usize::from(header[0] & 15));
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if version != 4 || words < 5 || offset != 0 {
        return Err(Reason::MalformedQuote);
    }
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    Ok((address(12).into(), address(16).into(), header[9], words * 4))
}

fn ipv6(quote: &[u8]) -> Result<Header, Reason> {
    const FRAGMENT: u8 = 44;
    let header = quote.get(..40).ok_or(Reason::MalformedQuote)?;
    if header[0] >> 4 != 6 {
        return Err(Reason::MalformedQuote);
    }
    let (sender, client) = (ipv6_address(&header[8..24]), ipv6_address(&header[24..40]));
    // No packet from or to such an address is forwarded.
    if [sender, client].iter().any(|address| address.to_ipv4_mapped().is_some()) {
        return Err(Reason::NotOurs);
    }
    let (mut next, mut at) = (header[6], 40);
    for walked in 0.. {
        let unit = match next {
            0 | 43 | 60 => 8,
            51 => 4,
            FRAGMENT => 0,
            _ => break,
        };
        if walked == MOST_EXTENSIONS {
            return Err(Reason::ExtensionHeaders);
        }
        let extension = quote.get(at..at + 4).ok_or(Reason::MalformedQuote)?;
        // A later fragment has no ports.
        if next == FRAGMENT && u16::from_be_bytes([extension[2], extension[3]]) >> 3 != 0 {
            return Err(Reason::MalformedQuote);
        }
        next = extension[0];
        at += 8 + usize::from(extension[1]) * unit;
    }
    Ok((sender.into(), client.into(), next, at))
}
