//! The answer to a packet that is too big for the way to its target: 'fragmentation needed' (RFC 792, RFC 1191)
//! and 'packet too big' (RFC 4443), from the VIP to the sender.
//!
//! ```text
//!   before  | link |            | IP | TCP/UDP …………………… |
//!   after   | link | IP | ICMP  | IP | TCP/UDP … |
//!                   \ HEADERS /  \___ quote ____/
//! ```

use super::{Ipv4, Ipv6, Version};
use crate::checksum::{fold, fold_memory_words};
use crate::flow::{Ipv4Addresses, Ipv6Addresses};
use crate::memory::ViewMut;
use crate::rate_limit::RateLimit;

/// How many packets a processor answers: a sender needs one answer a flow and path, so this is 1,000 new ones a
/// second (as many as Linux sends by itself), and a flood of big packets is no flood of answers.
pub const ANSWERS: RateLimit = RateLimit::new(1000, 50);

/// A version of IP that can tell a sender which size fits.
pub trait TooBigVersion: Version {
    /// Bytes of the answer before the quote: IP header and ICMP header.
    const HEADERS: usize;
    /// Bytes of the quote, if the packet has them.
    const QUOTE: usize;
    /// Bytes of the quote of a packet that is shorter than [`TooBigVersion::QUOTE`].
    const SHORT_QUOTE: usize;
    /// The smallest size that a sender may be told. A way that carries less can't be described to it.
    const SMALLEST: u16;
    /// The message's type and code.
    const TYPE_AND_CODE: u16;

    /// Writes the IP header before a message of `length` bytes, with the packet's `addresses` exchanged. Returns the sum
    /// of the pseudo-header that the message's checksum covers.
    fn write_ip(headers: &mut ViewMut<'_, IPV6_HEADERS>, addresses: Self::Addresses, length: u16) -> u32;
    /// The message's header.
    fn message<'a>(headers: &'a mut ViewMut<'_, IPV6_HEADERS>) -> ViewMut<'a, ICMP_HEADER>;
}

/// Bytes to quote of a packet of `length` bytes if `fits` bytes would fit; none if that can't be told.
#[inline(always)]
pub fn quoted<V: TooBigVersion>(length: u16, fits: u16) -> Option<usize> {
    if fits < V::SMALLEST || length <= fits {
        None
    } else if length as usize >= V::QUOTE {
        Some(V::QUOTE)
    } else {
        Some(V::SHORT_QUOTE)
    }
}

/// Bytes of the header of an ICMP message.
const ICMP_HEADER: usize = 8;
/// Bytes of an answer's headers in IPv4: IP without options, ICMP.
pub const IPV4_HEADERS: usize = 20 + ICMP_HEADER;
/// Bytes of an answer's headers in IPv6.
pub const IPV6_HEADERS: usize = 40 + ICMP_HEADER;

impl TooBigVersion for Ipv4 {
    const HEADERS: usize = IPV4_HEADERS;
    /// All that 576 bytes have room for (RFC 1812, 4.3.2.3).
    const QUOTE: usize = 576 - IPV4_HEADERS;
    /// The longest header and 8 bytes (RFC 792).
    const SHORT_QUOTE: usize = 60 + 8;
    /// RFC 791, 3.2.
    const SMALLEST: u16 = 68;
    const TYPE_AND_CODE: u16 = 0x0304;

    #[inline(always)]
    fn write_ip(headers: &mut ViewMut<'_, IPV6_HEADERS>, addresses: Ipv4Addresses, length: u16) -> u32 {
        let turned = addresses.both.rotate_left(32);
        let length = length + 20;
        headers.set_be16::<0>(0x4500 | INTERNETWORK_CONTROL as u16);
        headers.set_be16::<2>(length);
        // Never fragmented, so without an identification (RFC 6864).
        headers.set_raw16::<4>(0);
        headers.set_be16::<6>(0x4000);
        headers.set_be16::<8>((HOP_LIMIT as u16) << 8 | crate::flow::ICMP as u16);
        headers.set_raw64::<12>(turned);
        let fixed = 0x4500
            + INTERNETWORK_CONTROL as u32
            + 0x4000
            + ((HOP_LIMIT as u32) << 8)
            + crate::flow::ICMP as u32;
        let addresses = fold_memory_words((turned & 0xffff_ffff) + (turned >> 32));
        headers.set_be16::<10>(!fold(fixed + length as u32 + addresses as u32));
        0
    }

    #[inline(always)]
    fn message<'a>(headers: &'a mut ViewMut<'_, IPV6_HEADERS>) -> ViewMut<'a, ICMP_HEADER> {
        headers.part::<20, ICMP_HEADER>()
    }
}

impl TooBigVersion for Ipv6 {
    const HEADERS: usize = IPV6_HEADERS;
    /// All that the smallest MTU has room for (RFC 4443, 2.4 (c)).
    const QUOTE: usize = 1280 - IPV6_HEADERS;
    /// Never needed: a packet over 1280 bytes is longer than [`TooBigVersion::QUOTE`].
    const SHORT_QUOTE: usize = Self::QUOTE;
    /// RFC 8200, 5: no sender goes below.
    const SMALLEST: u16 = 1280;
    const TYPE_AND_CODE: u16 = 0x0200;

    #[inline(always)]
    fn write_ip(headers: &mut ViewMut<'_, IPV6_HEADERS>, addresses: Ipv6Addresses, length: u16) -> u32 {
        let [source_high, source_low, high, low] = addresses.both;
        headers.set_raw32::<0>((6u32 << 28).to_be());
        headers.set_be16::<4>(length);
        headers.set_be16::<6>((crate::flow::ICMPV6 as u16) << 8 | HOP_LIMIT as u16);
        headers.set_raw64::<8>(high);
        headers.set_raw64::<16>(low);
        headers.set_raw64::<24>(source_high);
        headers.set_raw64::<32>(source_low);
        let halves = |word: u64| (word & 0xffff_ffff) + (word >> 32);
        let ends = fold_memory_words(halves(high) + halves(low) + halves(source_high) + halves(source_low));
        // RFC 8200, 8.1.
        ends as u32 + length as u32 + crate::flow::ICMPV6 as u32
    }

    #[inline(always)]
    fn message<'a>(headers: &'a mut ViewMut<'_, IPV6_HEADERS>) -> ViewMut<'a, ICMP_HEADER> {
        headers.part::<40, ICMP_HEADER>()
    }
}

const HOP_LIMIT: u8 = 64;
/// Internetwork control, as RFC 1812, 4.3.2.5 asks for errors.
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// Writes the answer's headers. `addresses` are the packet's, `quote` is the folded sum ([`fold_memory_words`]) of
/// the `quoted` bytes that follow. The view is as long as the longest headers: the bytes behind shorter ones, which
/// a quote always has, stay.
#[inline(always)]
pub fn write<V: TooBigVersion>(
    headers: &mut ViewMut<'_, IPV6_HEADERS>,
    addresses: V::Addresses,
    fits: u16,
    quoted: u16,
    quote: u16,
) {
    let pseudo_header = V::write_ip(headers, addresses, quoted + ICMP_HEADER as u16);
    let mut message = V::message(headers);
    message.set_be16::<0>(V::TYPE_AND_CODE);
    message.set_be16::<2>(!fold(pseudo_header + V::TYPE_AND_CODE as u32 + fits as u32 + quote as u32));
    // Of the size IPv6 has these bytes too, and IPv4 none (RFC 4443, 3.2; RFC 1191, 4).
    message.set_raw16::<4>(0);
    message.set_be16::<6>(fits);
}

#[cfg(test)]
mod tests;
