//! What must become of any frame on a node whose slots are all stable and that has seen no fragment yet: from the
//! RFCs, over plain slices.

use crate::client::{Family, NODE_MAC, client_hash, flow_hash};
use crate::policy;
use crate::program::Action;
use crate::remote::{Inner, NODE_INTERFACE, Remote, Role};

/// What must come of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Up the stack, unchanged.
    Passed,
    Dropped,
    /// Out as this frame.
    Sent(Action, Vec<u8>),
    /// Out as this frame. The checksum at the offset follows from the request's, which may be wrong.
    Answered(Vec<u8>, usize),
}

/// The fate of `frame` where `table` names the target of each slot.
pub fn fate(frame: &[u8], table: &[Remote]) -> Fate {
    let Some(datagram) = datagram(frame) else { return Fate::Passed };
    let is_part = datagram.part.is_some();
    if let Some(fate) = datagram.part.and_then(|part| unforwarded(&datagram, part)) {
        return fate;
    }
    if datagram.protocol == datagram.icmp() {
        return quoted(&datagram)
            .map_or_else(|| echo(frame, &datagram), |flow| error(frame, &datagram, &flow, table));
    }
    let needed = match datagram.protocol {
        6 => 20,
        17 => 8,
        _ => return Fate::Passed,
    };
    let Some(header) = datagram.transport.get(..needed) else { return Fate::Passed };
    let port = number(header, 2);
    if !is_listener(&datagram, port) {
        return Fate::Passed;
    }
    if is_martian(&datagram) || (vip(&datagram) == Some(1) && (datagram.protocol, port) == (6, 90)) {
        return Fate::Dropped;
    }
    if vip(&datagram) == Some(9) {
        if !policy::is_allowed(datagram.source, datagram.protocol, port) {
            return Fate::Dropped;
        }
        if (datagram.protocol, port) == (17, 6080) {
            return Fate::Passed;
        }
    }
    let hash = flow_hash(datagram.source, datagram.destination, number(header, 0), port, datagram.protocol);
    if datagram.protocol == 17
        && !is_part
        && matches!((vip(&datagram), port), (Some(7), 443..=445) | (Some(9), 443))
        && let Some(remote) = named(&datagram.transport[8..], table)
    {
        return forward(frame, &datagram, hash, remote);
    }
    let place = match (vip(&datagram), port) {
        (Some(7), 80) => client_hash(datagram.source, datagram.destination),
        _ => hash,
    };
    let slot = place >> (u64::BITS - table.len().ilog2());
    forward(frame, &datagram, hash, table[slot as usize])
}

/// The living target whose server id is in a QUIC packet's connection id (RFC 8999, 5; server ids as in
/// draft-ietf-quic-load-balancers, 5.2). Initial and 0-RTT packets of versions 1 and 2 are not looked at.
fn named(payload: &[u8], table: &[Remote]) -> Option<Remote> {
    let id = if payload.first()? >> 7 == 0 {
        payload.get(1..10)?
    } else {
        let (version, kind) = (payload.get(1..5)?, payload[0] >> 4 & 3);
        let made_up = match version {
            [0, 0, 0, 1] => kind < 2,
            [0x6b, 0x33, 0x43, 0xcf] => matches!(kind, 1 | 2),
            _ => false,
        };
        let length = *payload.get(5)? as usize;
        payload.get(6..6 + length).filter(|_| !made_up)?.get(..9)?
    };
    let all = || table.iter().copied().chain(Remote::all());
    let remote = all().find(|remote| remote.server_id() == id[1..])?;
    (id[0] >> 5 != 7 && remote.lives).then_some(remote)
}

/// An IP packet.
struct Datagram<'a> {
    family: Family,
    source: &'a [u8],
    destination: &'a [u8],
    protocol: u8,
    traffic_class: u8,
    offset: usize,
    length: usize,
    /// The IP packet's bytes after all IP headers.
    transport: &'a [u8],
    /// Of a fragment, how many bytes of the datagram are before it.
    part: Option<u16>,
}

impl Datagram<'_> {
    fn icmp(&self) -> u8 {
        if self.family == Family::V4 { 1 } else { 58 }
    }
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The whole IP packet, or fragment, in a frame for the node.
fn datagram(frame: &[u8]) -> Option<Datagram<'_>> {
    if frame.get(..6)? != NODE_MAC {
        return None;
    }
    let mut offset = 14;
    for _ in 0..2 {
        if matches!(frame.get(offset - 2..offset)?, [0x81, 0x00] | [0x88, 0xa8]) {
            offset += 4;
        }
    }
    match frame.get(offset - 2..offset)? {
        [0x08, 0x00] => ipv4(frame, offset),
        [0x86, 0xdd] => ipv6(frame, offset),
        _ => None,
    }
}

fn ipv4(frame: &[u8], offset: usize) -> Option<Datagram<'_>> {
    let header = frame.get(offset..offset + 20)?;
    let (words, length) = ((header[0] & 15) as usize, number(header, 2) as usize);
    if header[0] >> 4 != 4 || words < 5 {
        return None;
    }
    let packet = frame.get(offset..offset + length)?;
    Some(Datagram {
        family: Family::V4,
        source: &header[12..16],
        destination: &header[16..20],
        protocol: header[9],
        traffic_class: header[1],
        offset,
        length,
        transport: packet.get(words * 4..)?,
        part: (number(header, 6) & 0x3fff != 0).then_some(number(header, 6) << 3),
    })
}

fn ipv6(frame: &[u8], offset: usize) -> Option<Datagram<'_>> {
    let header = frame.get(offset..offset + 40)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let length = 40 + number(header, 4) as usize;
    let mut rest = frame.get(offset + 40..offset + length)?;
    let (mut protocol, mut part) = (header[6], None);
    for _ in 0..6 {
        let unit = match protocol {
            0 | 43 | 60 => 8,
            51 => 4,
            44 => 0,
            _ => break,
        };
        let found =
            rest.get(..4).map(|header| number(header, 2)).filter(|word| protocol == 44 && word & 0xfff9 != 0);
        let [next, units, ..] = rest else { return None };
        protocol = *next;
        rest = rest.get(8 + *units as usize * unit..)?;
        if let Some(word) = found {
            // A fragment of a fragment is nothing.
            part = part.is_none().then_some(Some(word & !7))?;
            if word & !7 != 0 {
                break;
            }
        }
    }
    Some(Datagram {
        family: Family::V6,
        source: &header[8..24],
        destination: &header[24..40],
        protocol,
        traffic_class: header[0] << 4 | header[1] >> 4,
        offset,
        length,
        transport: rest,
        part,
    })
}

/// What becomes of a fragment at this offset, unless it goes where its flow goes.
fn unforwarded(datagram: &Datagram<'_>, offset: u16) -> Option<Fate> {
    let is_v6 = datagram.family == Family::V6;
    let leads_to_ports = |protocol| match protocol {
        6 | 17 => true,
        // Extension headers, of which a later fragment shows only the first one's number.
        0 | 43 | 51 | 60 => is_v6 && offset > 0,
        _ => false,
    };
    if vip(datagram).is_none() || !leads_to_ports(datagram.protocol) {
        return Some(Fate::Passed);
    }
    let header = if datagram.protocol == 6 { 20 } else { 8 };
    (offset > 0 || datagram.transport.len() < header).then_some(Fate::Dropped)
}

/// Which of the node's VIPs the packet is for.
fn vip(datagram: &Datagram<'_>) -> Option<u8> {
    [1, 2, 7, 9].into_iter().find(|vip| datagram.family.vip(*vip) == datagram.destination)
}

fn is_listener(datagram: &Datagram<'_>, port: u16) -> bool {
    match vip(datagram) {
        Some(1) if datagram.protocol == 6 => matches!(port, 80 | 90),
        Some(1) => matches!(port, 80..=83),
        Some(7) if datagram.protocol == 6 => port == 80,
        // GUE's port belongs to no listener of all ports.
        Some(7) => port != 6080,
        Some(9) if datagram.protocol == 6 => matches!(port, 80 | 82),
        Some(9) => true,
        Some(_) => datagram.protocol == 6,
        None => false,
    }
}

/// The client's flow that an ICMP error speaks of.
struct Flow<'a> {
    client: &'a [u8],
    protocol: u8,
    client_port: u16,
    port: u16,
}

/// The flow of the packet that an error quotes: its tuple turned.
fn quoted<'a>(datagram: &Datagram<'a>) -> Option<Flow<'a>> {
    let (message_type, quote) = (datagram.transport.first()?, datagram.transport.get(8..)?);
    let (source, client, protocol, transport) = match datagram.family {
        Family::V4 if matches!(message_type, 3 | 11 | 12) => {
            let words = (quote.first()? & 15) as usize;
            let header = quote.get(..20)?;
            let whole = header[0] >> 4 == 4 && words >= 5 && number(header, 6) & 0x1fff == 0;
            (&header[12..16], &header[16..20], header[9], quote.get(words * 4..).filter(|_| whole)?)
        }
        Family::V6 if matches!(message_type, 1..=4) => {
            let header = quote.get(..40)?;
            let (protocol, transport) = behind_quoted_extensions(header[6], &quote[40..])?;
            let whole = header[0] >> 4 == 6 && !is_mapped(&header[8..24]) && !is_mapped(&header[24..40]);
            (&header[8..24], &header[24..40], protocol, Some(transport).filter(|_| whole)?)
        }
        _ => return None,
    };
    let known = source == datagram.destination && matches!(protocol, 6 | 17);
    let ports = transport.get(..8).filter(|_| known)?;
    Some(Flow { client, protocol, client_port: number(ports, 2), port: number(ports, 0) })
}

/// Whether no host sends from the packet's source: 0/8, 127/8, 224/4, 240/4; ::/64, ff00::/8; the destination itself.
fn is_martian(datagram: &Datagram<'_>) -> bool {
    let source = datagram.source;
    let from_nowhere = match datagram.family {
        Family::V4 => matches!(source[0], 0 | 127 | 224..),
        Family::V6 => source[..8] == [0; 8] || source[0] == 0xff,
    };
    from_nowhere || source == datagram.destination
}

/// Whether an address is IPv4 in IPv6's clothes.
fn is_mapped(address: &[u8]) -> bool {
    address[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
}

fn behind_quoted_extensions(mut protocol: u8, mut rest: &[u8]) -> Option<(u8, &[u8])> {
    for _ in 0..6 {
        let unit = match protocol {
            0 | 43 | 60 => 8,
            51 => 4,
            44 if number(rest.get(..4)?, 2) >> 3 == 0 => 0,
            44 => return None,
            _ => break,
        };
        protocol = *rest.get(..4)?.first()?;
        rest = rest.get(8 + rest[1] as usize * unit..)?;
    }
    Some((protocol, rest))
}

fn error(frame: &[u8], datagram: &Datagram<'_>, flow: &Flow<'_>, table: &[Remote]) -> Fate {
    let of_flow = Datagram { protocol: flow.protocol, ..*datagram };
    let is_tunnel = (vip(datagram), flow.protocol, flow.port) == (Some(9), 17, 6080);
    if is_tunnel || !is_listener(&of_flow, flow.port) {
        return Fate::Passed;
    }
    if is_martian(datagram) || (vip(datagram) == Some(1) && (flow.protocol, flow.port) == (6, 90)) {
        return Fate::Dropped;
    }
    let hash = flow_hash(flow.client, datagram.destination, flow.client_port, flow.port, flow.protocol);
    let slot = hash >> (u64::BITS - table.len().ilog2());
    forward(frame, datagram, hash, table[slot as usize])
}

fn forward(frame: &[u8], datagram: &Datagram<'_>, hash: u64, remote: Remote) -> Fate {
    let fits = datagram.length + remote.outer.overhead() <= remote.mtu as usize;
    if remote.role == Role::Unreachable || !fits {
        return Fate::Dropped;
    }
    let action = if remote.interface() == NODE_INTERFACE { Action::Tx } else { Action::Redirect };
    let inner = Inner {
        family: datagram.family,
        traffic_class: datagram.traffic_class,
        hash,
        length: datagram.length,
        bytes: &frame[datagram.offset..],
    };
    Fate::Sent(action, remote.frame(&inner))
}

fn echo(frame: &[u8], datagram: &Datagram<'_>) -> Fate {
    let (request, reply) = if datagram.family == Family::V4 { (8, 0) } else { (128, 129) };
    let Some([kind, code, ..]) = datagram.transport.get(..8) else { return Fate::Passed };
    if (*kind, *code) != (request, 0) || vip(datagram).is_none() {
        return Fate::Passed;
    }
    if is_martian(datagram) || frame[6] & 1 == 1 {
        return Fate::Dropped;
    }
    let mut answer = frame.to_vec();
    answer[..6].copy_from_slice(&frame[6..12]);
    answer[6..12].copy_from_slice(&frame[..6]);
    let address = datagram.source.len();
    let source = datagram.offset + if datagram.family == Family::V4 { 12 } else { 8 };
    answer[source..source + address].copy_from_slice(datagram.destination);
    answer[source + address..source + 2 * address].copy_from_slice(datagram.source);
    let message = datagram.offset + datagram.length - datagram.transport.len();
    answer[message] = reply;
    // The type's word is smaller by as much as the checksum becomes larger, in ones' complement.
    let checksum = u32::from(number(frame, message + 2)) + (u32::from(request) << 8);
    let checksum = checksum + u32::from(!(u16::from(reply) << 8));
    let folded = (checksum & 0xffff) + (checksum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    answer[message + 2..message + 4].copy_from_slice(&(folded as u16).to_be_bytes());
    Fate::Answered(answer, message + 2)
}
