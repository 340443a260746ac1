//! A client's 5-tuple, its hash, and what the hash's bits are for.
//!
//! ```text
//!   bit 63            48 47          32 31                    0
//!      +----------------+--------------+-----------------------+
//!      | slot (top 8–17)| set (16–20)  | tag of the flow entry |
//!      +----------------+--------------+-----------------------+
//!                                       the tag's low 14 bits are the outer entropy too
//! ```

use crate::hash::HashState;

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
    /// The hash of the source address and both ports.
    fn hash(&self, ports: u32, state: &HashState) -> u64;
    /// The hash of source and destination address.
    fn hash_both(&self, state: &HashState) -> u64;
    /// The source, in the same form as the destination.
    fn source(&self) -> [u32; 4];
    /// Whether the source is martian: no host that could be answered sends from it (RFC 1122, 3.2.1.3; RFC 4291,
    /// 2.4 and 2.5.2 to 2.5.5; RFC 6890). Of IPv4 that is 0/8, 127/8 and 224/3 (groups, the reserved block and the
    /// broadcast address); of IPv6 ::/64 (the unspecified address, loopback, IPv4 in IPv6's clothes) and ff00::/8; of
    /// both the destination itself.
    fn is_martian(&self) -> bool;
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

impl Ipv6Addresses {
    /// Whether one of them is an IPv4 address in IPv6's clothes (`::ffff:0:0/96`, RFC 4291, 2.5.5.2). Such
    /// addresses do not belong on the wire (RFC 5156, 2.2); as keys of the maps they stand for IPv4.
    #[inline(always)]
    pub fn has_mapped_ipv4(&self) -> bool {
        let [source_high, source_low, high, low] = self.both;
        (not_mapped_ipv4(source_high, source_low) & not_mapped_ipv4(high, low)) >> 63 == 0
    }

    /// Whether the destination is one.
    #[inline(always)]
    pub fn has_mapped_destination(&self) -> bool {
        let [_, _, high, low] = self.both;
        not_mapped_ipv4(high, low) >> 63 == 0
    }
}

/// Bit 63 tells whether it is none. Bit 63 of `x | -x` is set unless x is zero: no branch, because the verifier would
/// walk what follows once for each way to the same answer.
#[inline(always)]
fn not_mapped_ipv4(high: u64, low: u64) -> u64 {
    let difference = high | u64::from(first_half(low) ^ 0xffff_u32.to_be());
    difference | difference.wrapping_neg()
}

impl Addresses for Ipv4Addresses {
    #[inline(always)]
    fn hash(&self, ports: u32, state: &HashState) -> u64 {
        state.of_word(u64::from_le(self.both) & 0xffff_ffff | (u32::from_le(ports) as u64) << 32)
    }

    #[inline(always)]
    fn hash_both(&self, state: &HashState) -> u64 {
        state.of_word(u64::from_le(self.both))
    }

    #[inline(always)]
    fn source(&self) -> [u32; 4] {
        [0, 0, 0xffff_u32.to_be(), first_half(self.both)]
    }

    #[inline(always)]
    fn is_martian(&self) -> bool {
        let first = self.both.to_ne_bytes()[0];
        // The first two in one comparison: 0 wraps around.
        first.wrapping_sub(1) >= 223 || first == 127 || first_half(self.both) == second_half(self.both)
    }

    #[inline(always)]
    fn destination(&self) -> [u32; 4] {
        [0, 0, 0xffff_u32.to_be(), second_half(self.both)]
    }
}

impl Addresses for Ipv6Addresses {
    #[inline(always)]
    fn hash(&self, ports: u32, state: &HashState) -> u64 {
        let [high, low, ..] = self.both.map(u64::from_le);
        state.of_words([high, low], u32::from_le(ports) as u64)
    }

    #[inline(always)]
    fn hash_both(&self, state: &HashState) -> u64 {
        let [source_high, source_low, destination_high, destination_low] = self.both.map(u64::from_le);
        state.of_words([source_high, source_low], state.of_words([destination_high, destination_low], 0))
    }

    #[inline(always)]
    fn source(&self) -> [u32; 4] {
        let [high, low, _, _] = self.both;
        [first_half(high), second_half(high), first_half(low), second_half(low)]
    }

    #[inline(always)]
    fn is_martian(&self) -> bool {
        let [source_high, source_low, high, low] = self.both;
        let is_group = source_high.to_ne_bytes()[0] == 0xff;
        source_high == 0 || is_group || (source_low == low && source_high == high)
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

    /// The flow's hash, of these bytes as they are on the wire, read as little-endian words:
    ///
    /// ```text
    ///   IPv4: | source address (4) | source port | destination port |            HashState::of_word
    ///   IPv6: | source address (16) | source port | destination port | 4 zeros | HashState::of_words
    /// ```
    ///
    /// VIP and protocol are in `listener` ([`crate::listener::ListenerKey::hash_state`]).
    #[inline(always)]
    pub fn hash(&self, listener: HashState) -> FlowHash {
        FlowHash(self.addresses.hash(self.ports, &listener))
    }

    /// A hash of both addresses alone, equal for all flows between a client and a VIP: it chooses the slot where a
    /// client's connections belong together. `clients` is the state for that purpose
    /// ([`crate::listener::clients_hash_state`]).
    #[inline(always)]
    pub fn client_hash(&self, clients: HashState) -> FlowHash {
        FlowHash(self.addresses.hash_both(&clients))
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
    use super::*;

    const STATE: HashState = HashState([11, 13, 17, 19]);

    proptest::proptest! {
        #[test]
        fn an_ipv4_flow_is_hashed_as_its_bytes_read_as_little_endian_words(source: [u8; 4], vip: [u8; 4], ports: [u8; 4]) {
            let word = |bytes: [[u8; 4]; 2]| bytes.concat().try_into().expect("eight bytes");
            let addresses = Ipv4Addresses { both: u64::from_ne_bytes(word([source, vip])) };
            let flow = Flow { addresses, ports: u32::from_ne_bytes(ports), protocol: TCP };
            proptest::prop_assert_eq!(flow.hash(STATE).0, STATE.of_word(u64::from_le_bytes(word([source, ports]))));
            let both = u64::from_le_bytes(word([source, vip]));
            proptest::prop_assert_eq!(flow.client_hash(STATE).0, STATE.of_word(both));
        }

        #[test]
        fn an_ipv6_flow_is_hashed_as_its_bytes_read_as_little_endian_words(both: [[u8; 8]; 4], ports: [u8; 4]) {
            let addresses = Ipv6Addresses { both: both.map(u64::from_ne_bytes) };
            let flow = Flow { addresses, ports: u32::from_ne_bytes(ports), protocol: TCP };
            let [first, second, third, fourth] = both.map(u64::from_le_bytes);
            let ports = u32::from_le_bytes(ports).into();
            proptest::prop_assert_eq!(flow.hash(STATE).0, STATE.of_words([first, second], ports));
            let vip = STATE.of_words([third, fourth], 0);
            proptest::prop_assert_eq!(flow.client_hash(STATE).0, STATE.of_words([first, second], vip));
        }
    }

    #[test]
    fn a_doubled_table_splits_each_slot_in_two_neighbours() {
        let hash = FlowHash(0xdead_beef_1234_5678);
        assert_eq!(hash.slot(17) >> 1, hash.slot(16));
        assert_eq!(hash.slot(8), 0xde);
    }

    fn ipv4(source: [u8; 4], destination: [u8; 4]) -> Ipv4Addresses {
        let [a, b, c, d] = source;
        let [e, f, g, h] = destination;
        Ipv4Addresses { both: u64::from_ne_bytes([a, b, c, d, e, f, g, h]) }
    }

    #[test]
    fn the_first_byte_of_an_ipv4_address_tells_whether_it_is_martian() {
        let vip = [192, 0, 2, 7];
        let martian = |first: u8| matches!(first, 0 | 127 | 224..);
        for first in 0..=255 {
            assert_eq!(ipv4([first, 0, 2, 7], [203, 0, 113, 9]).is_martian(), martian(first), "{first}");
        }
        assert!(ipv4(vip, vip).is_martian());
        assert!(!ipv4([192, 0, 2, 8], vip).is_martian());
    }

    #[test]
    fn ipv6_addresses_without_a_prefix_groups_and_the_destination_are_martian() {
        let vip = "2001:db8::1";
        let martian = ["::", "::1", "::ffff:192.0.2.1", "::192.0.2.1", "ff02::1", "ff0e::1", vip];
        let others = ["2001:db8::2", "2001:db9::1", "fe80::1", "64:ff9b::192.0.2.1", "fec0::1", "1::"];
        let of = |source: &str| {
            let words = |text: &str| {
                let bytes = text.parse::<core::net::Ipv6Addr>().unwrap().octets();
                [0, 8].map(|at| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap()))
            };
            let ([a, b], [c, d]) = (words(source), words(vip));
            Ipv6Addresses { both: [a, b, c, d] }.is_martian()
        };
        assert!(martian.into_iter().all(of));
        assert!(!others.into_iter().any(of));
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
