//! Is this packet the answer to that probe, and which? Pure.

use std::net::IpAddr;

use lb_common::encapsulation::GUE_PORT;
use lb_common::flow::{ICMP, ICMPV6, TCP, UDP};

use super::{Answer, Probe, Transport};

const FIN_SYN_RST_ACK: u8 = 0b1_0111;
const SYN_ACK: u8 = 0b1_0010;
const RST: u8 = 0b100;

/// What `packet`, from its IP header on, says to `probe`, which was sent from `port`; none if it is no answer.
pub(super) fn read(packet: &[u8], probe: &Probe, port: u16) -> Option<Answer> {
    let ip = Ip::parse(packet)?;
    match ip.protocol {
        TCP | UDP => from_service(&ip, probe, port),
        ICMP | ICMPV6 => from_icmp(&ip, probe, port),
        _ => None,
    }
}

fn from_service(ip: &Ip<'_>, probe: &Probe, port: u16) -> Option<Answer> {
    let service = probe.service;
    let is_ours = (ip.source, ip.destination) == (service.vip, probe.client)
        && ip.protocol == number(service.transport)
        && ports(ip.payload)? == (service.port, port);
    if !is_ours {
        return None;
    }
    if service.transport == Transport::Udp {
        return Some(Answer::Served);
    }
    match ip.payload.get(13)? & FIN_SYN_RST_ACK {
        SYN_ACK => Some(Answer::Served),
        flags if flags & RST != 0 => Some(Answer::Refused),
        _ => None,
    }
}

fn from_icmp(ip: &Ip<'_>, probe: &Probe, port: u16) -> Option<Answer> {
    let [kind, code, ..] = *ip.payload else { return None };
    let problem = Problem::new(ip.protocol, kind, code, ip.payload)?;
    let quoted = Ip::parse(ip.payload.get(8..)?)?;
    if quotes_tunnel(&quoted, probe) {
        return Some(match problem {
            // Only the target knows what it takes; a firewall before it may lie in its name.
            Problem::NobodyThere if ip.source == probe.target => Answer::NoTunnel,
            Problem::TooBig(bytes) => Answer::TooBig(bytes),
            problem => Answer::Undelivered(format!("{} says: {}", ip.source, problem.words())),
        });
    }
    if quotes_packet(&quoted, probe, port) {
        return Some(match problem {
            Problem::NobodyThere => Answer::Refused,
            Problem::TooBig(bytes) => Answer::TooBig(bytes),
            problem => Answer::Undelivered(format!("{} says: {}", ip.source, problem.words())),
        });
    }
    None
}

fn quotes_tunnel(quoted: &Ip<'_>, probe: &Probe) -> bool {
    let is_tunnel = match quoted.protocol {
        4 | 41 => true,
        UDP => ports(quoted.payload).is_some_and(|(_, to)| to == GUE_PORT),
        _ => false,
    };
    is_tunnel && (quoted.source, quoted.destination) == (probe.source, probe.target)
}

fn quotes_packet(quoted: &Ip<'_>, probe: &Probe, port: u16) -> bool {
    (quoted.source, quoted.destination) == (probe.client, probe.service.vip)
        && quoted.protocol == number(probe.service.transport)
        && ports(quoted.payload) == Some((port, probe.service.port))
}

fn number(transport: Transport) -> u8 {
    if transport == Transport::Tcp { TCP } else { UDP }
}

fn ports(transport: &[u8]) -> Option<(u16, u16)> {
    Some((be16(transport, 0)?, be16(transport, 2)?))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// What an ICMP error tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    /// No such protocol or port.
    NobodyThere,
    /// The next link carries so many bytes.
    TooBig(u16),
    /// No way to the address.
    Unreachable,
    /// Forbidden by an administrator.
    Prohibited,
    /// The packet was on its way for too long.
    TimeExceeded,
}

impl Problem {
    /// RFC 792, RFC 1812 (codes 9 to 13), RFC 1191; RFC 4443.
    fn new(protocol: u8, kind: u8, code: u8, message: &[u8]) -> Option<Problem> {
        match (protocol, kind, code) {
            (ICMP, 3, 2 | 3) | (ICMPV6, 1, 4) | (ICMPV6, 4, 1) => Some(Problem::NobodyThere),
            (ICMP, 3, 4) | (ICMPV6, 2, _) => Some(Problem::TooBig(be16(message, 6)?)),
            (ICMP, 3, 9 | 10 | 13) | (ICMPV6, 1, 1 | 5 | 6) => Some(Problem::Prohibited),
            (ICMP, 3, _) | (ICMPV6, 1, _) => Some(Problem::Unreachable),
            (ICMP, 11, _) | (ICMPV6, 3, _) => Some(Problem::TimeExceeded),
            _ => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Problem::NobodyThere => "no such protocol or port",
            Problem::TooBig(_) => "too big",
            Problem::Unreachable => "unreachable",
            Problem::Prohibited => "prohibited by a filter",
            Problem::TimeExceeded => "hop limit exceeded: is there a routing loop?",
        }
    }
}

/// The part of an IP header that matters here. Of a quoted packet the payload may be cut short.
struct Ip<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: &'a [u8],
}

impl<'a> Ip<'a> {
    /// None for later fragments, whose payload begins with no header. Extension headers are not looked through:
    /// no probe has any.
    fn parse(packet: &'a [u8]) -> Option<Ip<'a>> {
        match packet.first()? >> 4 {
            4 => {
                let header = usize::from(packet[0] & 0xf) * 4;
                let is_later_fragment = be16(packet, 6)? & 0x1fff != 0;
                (header >= 20 && !is_later_fragment).then_some(())?;
                Some(Ip {
                    source: octets::<4>(packet, 12)?.into(),
                    destination: octets::<4>(packet, 16)?.into(),
                    protocol: *packet.get(9)?,
                    payload: packet.get(header..)?,
                })
            }
            6 => Some(Ip {
                source: octets::<16>(packet, 8)?.into(),
                destination: octets::<16>(packet, 24)?.into(),
                protocol: *packet.get(6)?,
                payload: packet.get(40..)?,
            }),
            _ => None,
        }
    }
}

fn octets<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests;
