//! IPv4 with options and IPv6 with extension headers. The two versions differ by type.

use super::Parsed;
use super::fragment::Fragment;
use crate::flow::{Addresses, Ipv4Addresses, Ipv6Addresses};
use crate::memory::{Frame, View, forget_value};
use crate::reason::Reason;

/// Extension headers that are walked; a packet with more is passed on as [`Reason::ExtensionHeaders`].
pub(super) const MAX_EXTENSION_HEADERS: usize = 6;

/// Above every offset of a transport header: 22 + 40 + 6 × 2048 bytes.
pub(super) const MAX_OFFSET: usize = 1 << 14;

pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
pub(super) const AUTHENTICATION: u8 = 51;
pub(super) const DESTINATION_OPTIONS: u8 = 60;

/// One version of IP.
pub trait Version {
    /// Source and destination.
    type Addresses: Addresses;
    /// The protocol number of this version when it is carried in another IP header (4 or 41).
    const PROTOCOL: u8;
    /// The protocol number of this version's ICMP.
    const ICMP: u8;
    /// The ICMP type of an echo request (RFC 792, RFC 4443).
    const ECHO_REQUEST: u8;
    /// The ICMP type of an echo reply.
    const ECHO_REPLY: u8;
    /// The GUE header (version 0, no options) before such a packet, as on the wire.
    const GUE: u32 = (Self::PROTOCOL as u32).to_be() >> if cfg!(target_endian = "little") { 16 } else { 0 };

    /// Reads the header at `offset` and finds what it carries.
    fn parse(frame: Frame<'_>, offset: usize) -> Parsed<Datagram<Self::Addresses>>;
}

/// IPv4 (RFC 791).
pub struct Ipv4;
/// IPv6 (RFC 8200).
pub struct Ipv6;

/// What an IP header says, and where its payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<A> {
    /// Source and destination.
    pub addresses: A,
    /// The transport protocol, after all extension headers.
    pub protocol: u8,
    /// Type of service or traffic class.
    pub traffic_class: u8,
    /// Bytes from the IP header's first to the payload's last, link-layer padding excluded.
    pub length: u16,
    /// Where the IP header begins, from the frame's start.
    pub offset: usize,
    /// Where the transport header begins, from the frame's start.
    pub payload: usize,
}

impl Version for Ipv4 {
    type Addresses = Ipv4Addresses;
    const PROTOCOL: u8 = 4;
    const ICMP: u8 = crate::flow::ICMP;
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;

    #[inline(always)]
    fn parse(frame: Frame<'_>, offset: usize) -> Parsed<Datagram<Ipv4Addresses>> {
        let (datagram, header) = ipv4(frame, offset)?;
        // More fragments, or an offset (RFC 791, 3.1); "don't fragment" and the reserved bit say nothing here.
        if header.be16::<6>() & 0x3fff != 0 {
            return Err(Reason::Fragment);
        }
        Ok(datagram)
    }
}

impl Version for Ipv6 {
    type Addresses = Ipv6Addresses;
    const PROTOCOL: u8 = 41;
    const ICMP: u8 = crate::flow::ICMPV6;
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;

    #[inline(always)]
    fn parse(frame: Frame<'_>, offset: usize) -> Parsed<Datagram<Ipv6Addresses>> {
        let mut datagram = ipv6(frame, offset)?;
        skip_extension_headers(frame, &mut datagram, |_| Err(Reason::Fragment))?;
        datagram.payload = forget_value::<MAX_OFFSET>(datagram.payload, datagram.length as usize);
        Ok(datagram)
    }
}

/// Reads the IPv4 header at `offset`, of a whole packet or of a fragment.
#[inline(always)]
pub(super) fn ipv4(frame: Frame<'_>, offset: usize) -> Parsed<(Datagram<Ipv4Addresses>, View<'_, 20>)> {
    let header = frame.view::<20>(offset).ok_or(Reason::MalformedIpv4)?;
    let header_length = (header.u8::<0>() & 0xf) as usize * 4;
    let length = header.be16::<2>();
    if header.u8::<0>() >> 4 != 4
        || header_length < 20
        || (length as usize) < header_length
        || !frame.has(length as usize, offset)
    {
        return Err(Reason::MalformedIpv4);
    }
    let datagram = Datagram {
        addresses: Ipv4Addresses { both: header.raw64::<12>() },
        protocol: header.u8::<9>(),
        traffic_class: header.u8::<1>(),
        length,
        offset,
        payload: offset + header_length,
    };
    Ok((datagram, header))
}

/// Reads the fixed IPv6 header at `offset`: the payload is what follows it.
#[inline(always)]
pub(super) fn ipv6(frame: Frame<'_>, offset: usize) -> Parsed<Datagram<Ipv6Addresses>> {
    let header = frame.view::<40>(offset).ok_or(Reason::MalformedIpv6)?;
    // A jumbogram (RFC 2675) has a payload length of zero and is longer than any frame that XDP sees whole.
    let length = header.be16::<4>() as usize + 40;
    if header.u8::<0>() >> 4 != 6 || length > u16::MAX as usize || !frame.has(length, offset) {
        return Err(Reason::MalformedIpv6);
    }
    let length = length as u16;
    let addresses = addresses(header);
    // A listener's key of that kind is IPv4's.
    if addresses.has_mapped_destination() {
        return Err(Reason::NotOurs);
    }
    Ok(Datagram {
        addresses,
        protocol: header.u8::<6>(),
        traffic_class: (header.be16::<0>() >> 4) as u8,
        length,
        offset,
        payload: offset + 40,
    })
}

#[inline(always)]
pub(super) fn addresses(header: View<'_, 40>) -> Ipv6Addresses {
    Ipv6Addresses {
        both: [header.raw64::<8>(), header.raw64::<16>(), header.raw64::<24>(), header.raw64::<32>()],
    }
}

/// Goes to what follows all extension headers. Each fragment header that makes the packet a fragment is given to
/// `fragment`, which says whether what is behind it can be read.
#[inline(always)]
pub(super) fn skip_extension_headers(
    frame: Frame<'_>,
    datagram: &mut Datagram<Ipv6Addresses>,
    mut fragment: impl FnMut(Fragment) -> Parsed<bool>,
) -> Parsed<()> {
    for _ in 0..MAX_EXTENSION_HEADERS {
        let part = match datagram.protocol {
            // RFC 8200, 4: the length is in 8-byte units without the first; RFC 4302, 2.2: AH counts 4-byte units
            // without the first two.
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => skip_options(frame, datagram, 3)?,
            AUTHENTICATION => skip_options(frame, datagram, 2)?,
            FRAGMENT => skip_fragment_header(frame, datagram)?,
            _ => return Ok(()),
        };
        // Or the verifier would walk each further header once for every kind of the ones before it.
        datagram.payload = forget_value::<MAX_OFFSET>(datagram.payload, datagram.length as usize);
        if datagram.payload - datagram.offset > datagram.length as usize {
            return Err(Reason::MalformedIpv6);
        }
        if !part.is_whole() && !fragment(part)? {
            return Ok(());
        }
    }
    match datagram.protocol {
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION | FRAGMENT => {
            Err(Reason::ExtensionHeaders)
        }
        _ => Ok(()),
    }
}

#[inline(always)]
fn skip_options(
    frame: Frame<'_>,
    datagram: &mut Datagram<Ipv6Addresses>,
    unit_log2: u32,
) -> Parsed<Fragment> {
    let header = frame.view::<2>(datagram.payload).ok_or(Reason::MalformedIpv6)?;
    datagram.protocol = header.u8::<0>();
    // Shifted, not multiplied: the verifier must prove a bound of the product, and until Linux 6.10 knows none
    // where it takes the length, which it does not know, for the multiplier.
    datagram.payload += ((header.u8::<1>() as usize) << unit_log2) + 8;
    Ok(Fragment::WHOLE)
}

/// Its length is fixed: the second byte is reserved.
#[inline(always)]
fn skip_fragment_header(frame: Frame<'_>, datagram: &mut Datagram<Ipv6Addresses>) -> Parsed<Fragment> {
    let header = frame.view::<8>(datagram.payload).ok_or(Reason::MalformedIpv6)?;
    datagram.protocol = header.u8::<0>();
    datagram.payload += 8;
    Ok(Fragment::from_ipv6(header))
}
