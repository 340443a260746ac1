//! TCP, UDP and the echo request of ICMP: only what the choice of a target needs.

use super::{Datagram, Parsed, Version};
use crate::flow::{Addresses, Flow, TCP, UDP};
use crate::memory::Frame;
use crate::reason::Reason;

const TCP_FIN: u8 = 0x01;
const TCP_SYN: u8 = 0x02;
const TCP_RST: u8 = 0x04;
const TCP_ACK: u8 = 0x10;

/// What a segment says about its flow's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A TCP segment with SYN and without ACK, FIN and RST: the flow begins.
    Opening,
    /// Any other segment: the flow began earlier.
    Established,
    /// UDP has no beginning that a packet would show.
    Ageless,
}

/// How a TCP segment ends its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With FIN: its sender has said its last.
    Finished,
    /// With RST.
    Reset,
}

/// A flow's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport<A> {
    /// Whose packet it is.
    pub flow: Flow<A>,
    /// Whether it begins the flow.
    pub segment: Segment,
}

/// Reads the TCP or UDP header of `datagram`; other protocols are not ours.
#[inline(always)]
pub fn transport<A: Addresses>(frame: Frame<'_>, datagram: &Datagram<A>) -> Parsed<Transport<A>> {
    if ends_inside_header(datagram)? {
        return Err(Reason::MalformedTransport);
    }
    let (ports, segment) = if datagram.protocol == TCP {
        let header = frame.view::<20>(datagram.payload).ok_or(Reason::MalformedTransport)?;
        (header.raw32::<0>(), segment(header.u8::<13>()))
    } else {
        let header = frame.view::<8>(datagram.payload).ok_or(Reason::MalformedTransport)?;
        (header.raw32::<0>(), Segment::Ageless)
    };
    let flow = Flow { addresses: datagram.addresses, ports, protocol: datagram.protocol };
    Ok(Transport { flow, segment })
}

/// Whether the packet is too short for its TCP or UDP header; other protocols are not ours.
#[inline(always)]
pub fn ends_inside_header<A: Addresses>(datagram: &Datagram<A>) -> Parsed<bool> {
    let end = datagram.payload - datagram.offset + header_length(datagram.protocol)?;
    Ok(end > datagram.length as usize)
}

#[inline(always)]
fn header_length(protocol: u8) -> Parsed<usize> {
    match protocol {
        TCP => Ok(20),
        UDP => Ok(8),
        _ => Err(Reason::NotOurs),
    }
}

#[inline(always)]
fn segment(flags: u8) -> Segment {
    if flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST) == TCP_SYN {
        Segment::Opening
    } else {
        Segment::Established
    }
}

/// How `datagram`, a TCP segment that was read already, ends its flow, if it does.
#[inline(always)]
pub fn ending<A: Addresses>(frame: Frame<'_>, datagram: &Datagram<A>) -> Option<Ending> {
    let flags = frame.view::<20>(datagram.payload)?.u8::<13>();
    if flags & TCP_RST != 0 {
        Some(Ending::Reset)
    } else if flags & TCP_FIN != 0 {
        Some(Ending::Finished)
    } else {
        None
    }
}

/// Where an echo request's ICMP header is, from the frame's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoRequest {
    /// Offset of the ICMP header.
    pub offset: usize,
}

/// Reads the ICMP header of `datagram` and tells whether it is an echo request; other messages are not ours.
#[inline(always)]
pub fn echo_request<V: Version>(frame: Frame<'_>, datagram: &Datagram<V::Addresses>) -> Parsed<EchoRequest> {
    if datagram.payload - datagram.offset + 8 > datagram.length as usize {
        return Err(Reason::MalformedTransport);
    }
    let header = frame.view::<8>(datagram.payload).ok_or(Reason::MalformedTransport)?;
    if header.u8::<0>() != V::ECHO_REQUEST || header.u8::<1>() != 0 {
        return Err(Reason::NotOurs);
    }
    Ok(EchoRequest { offset: datagram.payload })
}
