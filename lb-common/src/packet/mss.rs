//! The maximum segment size that a SYN or SYN-ACK offers (RFC 9293, 3.7.1): where it is, and what it may be.

use super::Datagram;
use crate::flow::{Addresses, TCP};
use crate::memory::Frame;

/// `HASH<u32, u32>`: by interface index, the [`MssLimits`] of packets that leave there.
pub const MSS_LIMITS: &str = "MSS_LIMITS";

/// Options before the maximum segment size that are walked. Every TCP puts it among the first.
const MAX_OPTIONS: usize = 8;

const TCP_HEADER: usize = 20;
const SYN: u8 = 0x02;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// Over which version of IP nodes reach a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OuterVersion {
    /// IPv4 alone.
    V4,
    /// IPv6, or both.
    V6,
}

impl OuterVersion {
    /// The largest encapsulation that nodes put around a packet: IPv4 (20) or IPv6 (40), UDP (8), GUE (4), and its
    /// chain (12 or 36).
    pub const fn largest_encapsulation(self) -> u32 {
        match self {
            OuterVersion::V4 => 20 + 8 + 4 + 12,
            OuterVersion::V6 => 40 + 8 + 4 + 36,
        }
    }
}

/// The smallest limit: Linux takes no smaller maximum segment size from anybody (`TCP_MIN_MSS`).
pub const SMALLEST_LIMIT: u16 = 88;
/// IPv4 and TCP header without options.
const IPV4_AND_TCP: u32 = 20 + 20;
/// IPv6 and TCP header without options.
const IPV6_AND_TCP: u32 = 40 + 20;

/// The largest maximum segment sizes that may be offered to clients: bits 0–15 over IPv4, 16–31 over IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MssLimits(pub u32);

impl MssLimits {
    /// The limits for clients' packets of these sizes.
    pub const fn new(ipv4: u16, ipv6: u16) -> MssLimits {
        MssLimits(ipv4 as u32 | (ipv6 as u32) << 16)
    }

    /// The limits with which a client's full segment, in any encapsulation, fits an interface's MTU (bytes of
    /// an IP packet). 1500 makes 1416 over IPv4 and 1396 over IPv6 where nodes use IPv4, 1372 and 1352 where IPv6.
    pub const fn of_mtu(mtu: u32, outer: OuterVersion) -> MssLimits {
        let encapsulation = outer.largest_encapsulation();
        MssLimits::new(limit(mtu, encapsulation + IPV4_AND_TCP), limit(mtu, encapsulation + IPV6_AND_TCP))
    }

    /// The limit for a packet of the IP version with this protocol number (4 or 41).
    #[inline(always)]
    pub const fn of_version(self, protocol: u8) -> u16 {
        if protocol == 4 { self.0 as u16 } else { (self.0 >> 16) as u16 }
    }
}

const fn limit(mtu: u32, headers: u32) -> u16 {
    let limit = mtu.saturating_sub(headers);
    if limit < SMALLEST_LIMIT as u32 {
        SMALLEST_LIMIT
    } else if limit > u16::MAX as u32 {
        u16::MAX
    } else {
        limit as u16
    }
}

/// A maximum segment size in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaximumSegmentSize {
    /// Where its two bytes are, from the frame's start.
    pub offset: usize,
    /// Where the TCP header begins.
    pub header: usize,
    /// The size.
    pub value: u16,
}

impl MaximumSegmentSize {
    /// Where TCP's checksum is, from the frame's start.
    #[inline(always)]
    pub const fn checksum(&self) -> usize {
        self.header + 16
    }

    /// A size as the checksum's 16-bit words see it: behind an odd number of bytes its bytes change places.
    #[inline(always)]
    pub const fn word(&self, value: u16) -> u16 {
        if (self.offset - self.header) & 1 == 0 { value } else { value.swap_bytes() }
    }
}

/// Whether `datagram` is a TCP segment with SYN.
#[inline(always)]
pub fn is_syn<A: Addresses>(frame: Frame<'_>, datagram: &Datagram<A>) -> bool {
    let ends_inside = datagram.payload - datagram.offset + TCP_HEADER <= datagram.length as usize;
    datagram.protocol == TCP
        && ends_inside
        && frame.view::<TCP_HEADER>(datagram.payload).is_some_and(|header| header.u8::<13>() & SYN != 0)
}

/// The maximum segment size that the segment offers, if it does among its first options.
#[inline(always)]
pub fn offered<A: Addresses>(frame: Frame<'_>, datagram: &Datagram<A>) -> Option<MaximumSegmentSize> {
    let header = frame.view::<TCP_HEADER>(datagram.payload)?;
    let length = (header.u8::<12>() >> 4) as usize * 4;
    let end = datagram.payload + length;
    if end > datagram.offset + datagram.length as usize {
        return None;
    }
    let mut at = datagram.payload + TCP_HEADER;
    for _ in 0..MAX_OPTIONS {
        if at >= end {
            return None;
        }
        // An option that has no second byte in the frame is no offer, nor is one behind it.
        let option = frame.view::<2>(at)?;
        match option.u8::<0>() {
            END => return None,
            NO_OPERATION => at += 1,
            MAXIMUM_SEGMENT_SIZE => {
                let whole = frame.view::<4>(at).filter(|_| option.u8::<1>() == 4 && at + 4 <= end)?;
                let value = whole.be16::<2>();
                return Some(MaximumSegmentSize { offset: at + 2, header: datagram.payload, value });
            }
            _ if option.u8::<1>() < 2 => return None,
            _ => at += option.u8::<1>() as usize,
        }
    }
    None
}

#[cfg(test)]
mod tests;
