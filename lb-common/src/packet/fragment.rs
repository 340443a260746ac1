//! Fragments: whose datagram an IP packet is a part of, and which part.
//!
//! An IPv6 packet with a fragment header that says "at offset 0, and nothing follows" is a whole packet (an atomic
//! fragment, RFC 6946): its header is skipped like an option's, here and everywhere.

use super::ip::{AUTHENTICATION, DESTINATION_OPTIONS, HOP_BY_HOP, MAX_OFFSET, ROUTING};
use super::ip::{ipv4, ipv6, skip_extension_headers};
use super::{Datagram, Ipv4, Ipv6, Parsed, Version};
use crate::flow::{TCP, UDP};
use crate::memory::{Frame, View, forget_value};
use crate::reason::Reason;

/// Which part of its datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The datagram's identification: 16 bits in IPv4, 32 in IPv6.
    pub identification: u32,
    /// As in IPv6's fragment header: bit 0 says that more follow, bits 3–15 are the offset in units of 8 bytes.
    position: u16,
}

impl Fragment {
    /// A whole datagram.
    pub const WHOLE: Fragment = Fragment { identification: 0, position: 0 };

    const MORE: u16 = 1;

    /// What an IPv4 header says (RFC 791, 3.1).
    #[inline(always)]
    pub fn from_ipv4(header: View<'_, 20>) -> Fragment {
        let word = header.be16::<6>();
        Fragment { identification: header.be16::<4>().into(), position: word << 3 | word >> 13 & 1 }
    }

    /// What an IPv6 fragment header says (RFC 8200, 4.5).
    #[inline(always)]
    pub fn from_ipv6(header: View<'_, 8>) -> Fragment {
        let identification = u32::from_be(header.raw32::<4>());
        Fragment { identification, position: header.be16::<2>() & 0xfff9 }
    }

    /// Whether it is the whole datagram.
    #[inline(always)]
    pub const fn is_whole(self) -> bool {
        self.position == 0
    }

    /// Whether it is the beginning of a datagram of which more follows.
    #[inline(always)]
    pub const fn is_first(self) -> bool {
        self.position == Fragment::MORE
    }

    /// Whether more of the datagram follows.
    #[inline(always)]
    pub const fn has_more(self) -> bool {
        self.position & Fragment::MORE != 0
    }

    /// How many bytes of what is fragmented come before it: a multiple of 8, up to 65,528.
    #[inline(always)]
    pub const fn offset(self) -> u16 {
        self.position & !7
    }

    /// What tells it from another packet at hand; never zero in a fragment.
    #[inline(always)]
    pub const fn mark(self) -> u64 {
        (self.identification as u64) << 32 | self.position as u64
    }
}

/// A packet, which may be a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<A> {
    /// Its header. Of a fragment but the first, the payload is where its share of the datagram begins, and the
    /// protocol is what the fragment header names, which may be one more extension header.
    pub datagram: Datagram<A>,
    /// Which part it is.
    pub fragment: Fragment,
}

/// A version of IP whose fragments are read.
pub trait FragmentVersion: Version {
    /// Reads the header at `offset`, of a whole packet or of a fragment.
    fn part(frame: Frame<'_>, offset: usize) -> Parsed<Part<Self::Addresses>>;
    /// What of a fragment tells datagrams between the same addresses apart beside the identification: in IPv4 the
    /// protocol (RFC 791, 3.2); in IPv6 nothing (RFC 8200, 4.5).
    fn told_apart_by(protocol: u8) -> u8;
    /// Whether what this protocol number leads to can be TCP or UDP, in a fragment that is not the first.
    fn may_have_ports(protocol: u8) -> bool;
}

impl FragmentVersion for Ipv4 {
    #[inline(always)]
    fn part(frame: Frame<'_>, offset: usize) -> Parsed<Part<Self::Addresses>> {
        let (datagram, header) = ipv4(frame, offset)?;
        Ok(Part { datagram, fragment: Fragment::from_ipv4(header).or_whole() })
    }

    #[inline(always)]
    fn told_apart_by(protocol: u8) -> u8 {
        protocol
    }

    #[inline(always)]
    fn may_have_ports(protocol: u8) -> bool {
        matches!(protocol, TCP | UDP)
    }
}

impl FragmentVersion for Ipv6 {
    #[inline(always)]
    fn part(frame: Frame<'_>, offset: usize) -> Parsed<Part<Self::Addresses>> {
        let mut datagram = ipv6(frame, offset)?;
        let mut fragment = Fragment::WHOLE;
        skip_extension_headers(frame, &mut datagram, |found| {
            // A fragment of a fragment: nobody's.
            if !fragment.is_whole() {
                return Err(Reason::ExtensionHeaders);
            }
            fragment = found;
            Ok(found.offset() == 0)
        })?;
        datagram.payload = forget_value::<MAX_OFFSET>(datagram.payload, datagram.length as usize);
        Ok(Part { datagram, fragment })
    }

    #[inline(always)]
    fn told_apart_by(_protocol: u8) -> u8 {
        0
    }

    #[inline(always)]
    fn may_have_ports(protocol: u8) -> bool {
        matches!(protocol, TCP | UDP | HOP_BY_HOP | ROUTING | AUTHENTICATION | DESTINATION_OPTIONS)
    }
}

impl Fragment {
    /// One form for all whole datagrams, whatever their identification.
    #[inline(always)]
    const fn or_whole(self) -> Fragment {
        if self.is_whole() { Fragment::WHOLE } else { self }
    }
}

#[cfg(test)]
mod tests;
