//! A client's 5-tuple, its hash, and what the hash's bits are for.
//!
//! ```text
//!   bit 63            48 47          32 31                    0
//!      +----------------+--------------+-----------------------+
//!      | slot (top 8–17)| set (16–20)  | tag of the flow entry |
//!      +----------------+--------------+-----------------------+
//!                                       the tag's low 14 bits are the outer entropy too
//! ```

use crate::hash::{HashKey, SipHash13};

/// IANA protocol number of ICMP (RFC 792).
pub const ICMP: u8 = 1;
/// IANA protocol number of TCP (RFC 9293).
pub const TCP: u8 = 6;
/// IANA protocol number of UDP (RFC 768).
pub const UDP: u8 = 17;
/// IANA protocol number of ICMPv6 (RFC 4443).
pub const ICMPV6: u8 = 58;

/// Source and destination address of a packet, as they are in its header.
pub trait Addresses: Copy {
    /// Bytes of the two addresses together.
    const LENGTH: u8;
    /// Feeds both addresses to the hash, the source first.
    fn hash(&self, state: &mut SipHash13);
    /// The destination as a key: IPv4 is mapped into IPv6 (RFC 4291, 2.5.5.2), bytes as on the wire.
    fn destination(&self) -> [u32; 4];
}

/// The addresses of an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Addresses {
    /// Source, then destination, eight bytes as they are in the header.
    pub both: u64,
}

/// The addresses of an IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Addresses {
    /// Source (two words), then destination (two words), as they are in the header.
    pub both: [u64; 4],
}

impl Addresses for Ipv4Addresses {
    const LENGTH: u8 = 8;

    #[inline(always)]
    fn hash(&self, state: &mut SipHash13) {
        state.word(u64::from_le(self.both));
    }

    #[inline(always)]
    fn destination(&self) -> [u32; 4] {
        [0, 0, 0xffff_u32.to_be(), second_half(self.both)]
    }
}

impl Addresses for Ipv6Addresses {
    const LENGTH: u8 = 32;

    #[inline(always)]
    fn hash(&self, state: &mut SipHash13) {
        for word in self.both {
            state.word(u64::from_le(word));
        }
    }

    #[inline(always)]
    fn destination(&self) -> [u32; 4] {
        let [_, _, high, low] = self.both;
        [first_half(high), second_half(high), first_half(low), second_half(low)]
    }
}

#[inline(always)]
fn first_half(word: u64) -> u32 {
    if cfg!(target_endian = "little") { word as u32 } else { (word >> 32) as u32 }
}

#[inline(always)]
fn second_half(word: u64) -> u32 {
    if cfg!(target_endian = "little") { (word >> 32) as u32 } else { word as u32 }
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow<A> {
    /// Both addresses.
    pub addresses: A,
    /// Source port, then destination port, four bytes as they are in the header.
    pub ports: u32,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
}

impl<A: Addresses> Flow<A> {
    /// The destination port, two bytes as they are in the header.
    #[inline(always)]
    pub fn destination_port(&self) -> u16 {
        if cfg!(target_endian = "little") { (self.ports >> 16) as u16 } else { self.ports as u16 }
    }

    /// SipHash-1-3 of source address, destination address, source port, destination port and protocol, as
    /// they are on the wire: 13 bytes for IPv4, 37 for IPv6.
    #[inline(always)]
    pub fn hash(&self, key: HashKey) -> FlowHash {
        let mut state = SipHash13::new(key);
        self.addresses.hash(&mut state);
        let tail = u32::from_le(self.ports) as u64 | (self.protocol as u64) << 32;
        FlowHash(state.finish(tail, A::LENGTH + 5))
    }
}

/// A flow's hash, computed once a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash(pub u64);

impl FlowHash {
    /// The slot in a table of 2^`log2` slots, `log2` from 1 to 63. The top bits, so that a table that doubles
    /// splits each slot in two neighbours.
    #[inline(always)]
    pub fn slot(self, log2: u32) -> u32 {
        (self.0 >> ((64 - log2) & 63)) as u32
    }

    /// The set of the flow table, before it is masked with the number of sets.
    #[inline(always)]
    pub fn set(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// What tells the flow from others in its set.
    #[inline(always)]
    pub fn tag(self) -> u32 {
        self.0 as u32
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use siphasher::sip::SipHasher13;

    use super::*;

    const KEY: HashKey = HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };

    fn oracle(bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(KEY.k0, KEY.k1);
        hasher.write(bytes);
        hasher.finish()
    }

    proptest::proptest! {
        #[test]
        fn an_ipv4_flow_hashes_as_siphash_1_3_of_its_bytes(bytes: [u8; 13]) {
            let flow = Flow {
                addresses: Ipv4Addresses { both: u64::from_ne_bytes(bytes[..8].try_into().unwrap()) },
                ports: u32::from_ne_bytes(bytes[8..12].try_into().unwrap()),
                protocol: bytes[12],
            };
            proptest::prop_assert_eq!(flow.hash(KEY).0, oracle(&bytes));
        }

        #[test]
        fn an_ipv6_flow_hashes_as_siphash_1_3_of_its_bytes(low: [u8; 32], high: [u8; 5]) {
            let word = |at: usize| u64::from_ne_bytes(low[at..at + 8].try_into().unwrap());
            let flow = Flow {
                addresses: Ipv6Addresses { both: [word(0), word(8), word(16), word(24)] },
                ports: u32::from_ne_bytes(high[..4].try_into().unwrap()),
                protocol: high[4],
            };
            proptest::prop_assert_eq!(flow.hash(KEY).0, oracle(&[&low[..], &high[..]].concat()));
        }
    }

    #[test]
    fn a_doubled_table_splits_each_slot_in_two_neighbours() {
        let hash = FlowHash(0xdead_beef_1234_5678);
        assert_eq!(hash.slot(17) >> 1, hash.slot(16));
        assert_eq!(hash.slot(8), 0xde);
    }

    #[test]
    fn the_destination_is_mapped_for_ipv4_and_itself_for_ipv6() {
        let both = u64::from_ne_bytes([10, 0, 0, 1, 192, 0, 2, 7]);
        let key = Ipv4Addresses { both }.destination().map(u32::to_ne_bytes).concat();
        assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
        let words = [1, 2, u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]), u64::from_ne_bytes([9; 8])];
        let key = Ipv6Addresses { both: words }.destination().map(u32::to_ne_bytes).concat();
        assert_eq!(key, [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9]);
    }
}
