//! ICMP and ICMPv6 errors about packets that a target sent: whose flow the quoted packet is of.
//!
//! ```text
//!   the error          | IP: router → VIP | ICMP, 8 bytes | quote …
//!   the quote                                             | IP: VIP → client | port → client's port, 4 bytes more …
//!   the flow (turned)                                       client, client's port → VIP, port
//! ```
//!
//! The quoted packet may be cut behind the first 8 bytes of its transport header (RFC 792); its lengths and
//! checksums are not looked at, because routers, tunnels and translators may have changed them on the way.

use super::ip::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, MAX_EXTENSION_HEADERS, MAX_OFFSET, ROUTING,
    addresses,
};
use super::{Datagram, Ipv4, Ipv6, Parsed, Version};
use crate::flow::{Addresses, Flow, Ipv4Addresses, Ipv6Addresses, TCP, UDP};
use crate::memory::{Frame, forget_value};
use crate::reason::Reason;

/// Bytes of an ICMP error's header: type, code, checksum, and four that depend on the type.
const ICMP_HEADER: usize = 8;
/// Bytes of the quoted transport header that every error has (RFC 792; RFC 4443 asks for far more).
const QUOTED_TRANSPORT: usize = 8;

/// Above every offset of a quoted transport header: that of the ICMP header, and as many headers again.
const QUOTE_END: usize = 2 * MAX_OFFSET;

/// A version of IP whose ICMP reports errors.
pub trait ErrorVersion: Version {
    /// Whether messages of this type quote a packet that could not be delivered. Not those that a host may not
    /// act upon or that speak of its own next hop: source quench (RFC 6633) and redirect.
    fn is_error(message_type: u8) -> bool;

    /// Reads the quoted IP header at `offset` of a packet that ends at `end`.
    fn quote(frame: Frame<'_>, offset: usize, end: usize) -> Parsed<Quote<Self::Addresses>>;

    /// Source and destination exchanged.
    fn turned(addresses: Self::Addresses) -> Self::Addresses;
}

/// The IP header of a quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote<A> {
    /// Source and destination of the quoted packet.
    pub addresses: A,
    /// Its transport protocol.
    pub protocol: u8,
    /// Where its transport header begins, from the frame's start.
    pub payload: usize,
}

/// Whether `datagram`, which carries ICMP, is an error.
#[inline(always)]
pub fn is_error<V: ErrorVersion>(frame: Frame<'_>, datagram: &Datagram<V::Addresses>) -> Parsed<bool> {
    if datagram.payload - datagram.offset + ICMP_HEADER > datagram.length as usize {
        return Err(Reason::MalformedTransport);
    }
    let header = frame.view::<ICMP_HEADER>(datagram.payload).ok_or(Reason::MalformedTransport)?;
    Ok(V::is_error(header.u8::<0>()))
}

/// The client's flow that an ICMP error speaks of: the quoted packet's, turned.
///
/// An error comes to the address that sent the quoted packet; one that says otherwise is
/// [`Reason::MalformedQuote`], so that errors for one VIP can't reach another's target.
#[inline(always)]
pub fn quoted_flow<V: ErrorVersion>(
    frame: Frame<'_>,
    datagram: &Datagram<V::Addresses>,
) -> Parsed<Flow<V::Addresses>> {
    let end = datagram.offset + datagram.length as usize;
    let quote = V::quote(frame, datagram.payload + ICMP_HEADER, end)?;
    let addresses = V::turned(quote.addresses);
    if addresses.destination() != datagram.addresses.destination() || quote.payload > end {
        return Err(Reason::MalformedQuote);
    }
    if quote.protocol != TCP && quote.protocol != UDP {
        return Err(Reason::NotOurs);
    }
    if quote.payload + QUOTED_TRANSPORT > end {
        return Err(Reason::MalformedQuote);
    }
    let transport = frame.view::<QUOTED_TRANSPORT>(quote.payload).ok_or(Reason::MalformedQuote)?;
    Ok(Flow { addresses, ports: transport.raw32::<0>().rotate_left(16), protocol: quote.protocol })
}

impl ErrorVersion for Ipv4 {
    /// Destination unreachable, time exceeded, parameter problem (RFC 792).
    #[inline(always)]
    fn is_error(message_type: u8) -> bool {
        matches!(message_type, 3 | 11 | 12)
    }

    #[inline(always)]
    fn quote(frame: Frame<'_>, offset: usize, _end: usize) -> Parsed<Quote<Ipv4Addresses>> {
        let header = frame.view::<20>(offset).ok_or(Reason::MalformedQuote)?;
        let header_length = (header.u8::<0>() & 0xf) as usize * 4;
        let is_later_fragment = header.be16::<6>() & 0x1fff != 0;
        if header.u8::<0>() >> 4 != 4 || header_length < 20 || is_later_fragment {
            return Err(Reason::MalformedQuote);
        }
        Ok(Quote {
            addresses: Ipv4Addresses { both: header.raw64::<12>() },
            protocol: header.u8::<9>(),
            payload: offset + header_length,
        })
    }

    #[inline(always)]
    fn turned(addresses: Ipv4Addresses) -> Ipv4Addresses {
        Ipv4Addresses { both: addresses.both.rotate_left(32) }
    }
}

impl ErrorVersion for Ipv6 {
    /// Destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443).
    #[inline(always)]
    fn is_error(message_type: u8) -> bool {
        matches!(message_type, 1..=4)
    }

    #[inline(always)]
    fn quote(frame: Frame<'_>, offset: usize, end: usize) -> Parsed<Quote<Ipv6Addresses>> {
        let header = frame.view::<40>(offset).ok_or(Reason::MalformedQuote)?;
        if header.u8::<0>() >> 4 != 6 || offset + 40 > end {
            return Err(Reason::MalformedQuote);
        }
        let addresses = addresses(header);
        if addresses.has_mapped_ipv4() {
            return Err(Reason::NotOurs);
        }
        let mut quote = Quote { addresses, protocol: header.u8::<6>(), payload: offset + 40 };
        for _ in 0..MAX_EXTENSION_HEADERS {
            if !skip_extension_header(frame, end, &mut quote)? {
                return Ok(quote);
            }
        }
        match quote.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION | FRAGMENT => {
                Err(Reason::ExtensionHeaders)
            }
            _ => Ok(quote),
        }
    }

    #[inline(always)]
    fn turned(addresses: Ipv6Addresses) -> Ipv6Addresses {
        let [source_high, source_low, high, low] = addresses.both;
        Ipv6Addresses { both: [high, low, source_high, source_low] }
    }
}

/// Skips one extension header if there is one. A first fragment has the ports, unlike where fragments are to be
/// balanced.
#[inline(always)]
fn skip_extension_header(frame: Frame<'_>, end: usize, quote: &mut Quote<Ipv6Addresses>) -> Parsed<bool> {
    let (unit_log2, is_fragment) = match quote.protocol {
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (3, false),
        AUTHENTICATION => (2, false),
        FRAGMENT => (0, true),
        _ => return Ok(false),
    };
    let header = frame.view::<4>(quote.payload).ok_or(Reason::MalformedQuote)?;
    let is_later_fragment = is_fragment && header.be16::<2>() & 0xfff8 != 0;
    if is_later_fragment || quote.payload + 4 > end {
        return Err(Reason::MalformedQuote);
    }
    quote.protocol = header.u8::<0>();
    // A fragment header has a fixed length: its second byte is reserved.
    let length = if is_fragment { 8 } else { ((header.u8::<1>() as usize) << unit_log2) + 8 };
    quote.payload = forget_value::<QUOTE_END>(quote.payload + length, header.be16::<2>() as usize);
    Ok(true)
}

#[cfg(test)]
mod tests;
