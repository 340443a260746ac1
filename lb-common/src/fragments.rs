//! The fragment table: the ports of datagrams that come in fragments, for the fragments that have none.
//!
//! Only the first fragment of a datagram has the TCP or UDP header (RFC 791, 3.2; RFC 8200, 4.5). It leaves its ports
//! here under the datagram's identity (source, destination, identification, in IPv4 the protocol); the later ones take
//! them from here and go where the flow's packets go. Each set is one cache line of eight 8-byte entries:
//!
//! ```text
//!   ways 0–5: datagrams of which a middle fragment was seen      ways 6–7: all others
//!   entry: tag (24 bits) | used (1) | UDP (1) | tick (6) | ports (32)
//! ```
//!
//! An entry lives for two ticks after its first fragment, 2.1 to 3.2 s, and is never refreshed by later ones.
//! The table has a fixed size. What a flood of first fragments does is to push out other entries of ways 6 and
//! 7 within that time: with the 8192 sets of a node, at ten million a second an entry stays for 1.6 ms on
//! average, and the fragments of a datagram follow each other within microseconds. Datagrams of three fragments
//! or more, whose loss costs most, are safe in the other six ways once their second fragment came, as long as
//! one is free. A flood touches nothing else, and flows whose packets are whole never read this table.
//!
//! Where a first fragment comes for an identity that is known, its ports replace the older ones: at 20,000
//! fragmented datagrams a second a client uses an IPv4 identification again while the entry lives (RFC 4963), and
//! then the newer datagram is the one to come. Who sends two first fragments with different ports for one datagram
//! spoils his own datagram: his address is part of the identity.
//!
//! Two datagrams of one set with equal tags (1 in two million for a full set) are taken for one another; the hash is
//! keyed, so nobody can aim at that, or at a set.

use crate::flow::{Addresses, TCP, UDP};
use crate::flow_table::Tick;
use crate::hash::{HashKey, SipHash13};
use crate::shared::Shared;

/// Entries of a set.
pub const WAYS: usize = 8;
/// The first of the ways for datagrams of which no middle fragment was seen.
const FIRST_NEW: usize = 6;
/// For so many ticks after the one in which the first fragment came, later ones find it.
pub const LIFE: u16 = 2;

/// What all fragments of a datagram have in common, hashed: SipHash-1-3 of these five words
///
/// ```text
///   identification | protocol (IPv6: 0) << 32 | 1 << 40     source (two words)     destination (two words)
/// ```
///
/// where addresses are 16 bytes as on the wire, IPv4 mapped into IPv6, read as little-endian numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(pub u64);

impl Identity {
    /// The identity of a datagram between `addresses`. `protocol` is zero in IPv6.
    #[inline(always)]
    pub fn new<A: Addresses>(key: HashKey, addresses: &A, identification: u32, protocol: u8) -> Identity {
        let mut state = SipHash13::new(key);
        state.word(u64::from(identification) | u64::from(protocol) << 32 | 1 << 40);
        for [a, b, c, d] in [addresses.source(), addresses.destination()] {
            state.word(pair(a, b));
            state.word(pair(c, d));
        }
        Identity(state.finish())
    }

    /// The set, before it is masked with the number of sets.
    #[inline(always)]
    pub const fn set(self) -> u32 {
        self.0 as u32
    }

    /// What tells the datagram from others in its set: 24 bits.
    #[inline(always)]
    const fn tag(self) -> u64 {
        self.0 >> 40
    }

    #[inline(always)]
    const fn prefers_last_way(self) -> bool {
        self.0 >> 39 & 1 != 0
    }
}

#[inline(always)]
fn pair(first: u32, second: u32) -> u64 {
    u64::from(u32::from_le(first)) | u64::from(u32::from_le(second)) << 32
}

/// What the later fragments of a datagram need of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Source port, then destination port, four bytes as they are in the header.
    pub both: u32,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
}

/// One remembered datagram; zero is a free entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentEntry(pub u64);

impl FragmentEntry {
    const USED: u64 = 1 << 39;
    const UDP: u64 = 1 << 38;
    const TICKS: u16 = 0x3f;

    /// The datagram's first fragment came at `now` with these ports.
    #[inline(always)]
    pub const fn new(identity: Identity, ports: Ports, now: Tick) -> FragmentEntry {
        let udp = if ports.protocol == UDP { FragmentEntry::UDP } else { 0 };
        let tick = (now.0 & FragmentEntry::TICKS) as u64;
        FragmentEntry(identity.tag() << 40 | FragmentEntry::USED | udp | tick << 32 | ports.both as u64)
    }

    /// What the first fragment had.
    #[inline(always)]
    pub const fn ports(self) -> Ports {
        Ports { both: self.0 as u32, protocol: if self.0 & FragmentEntry::UDP != 0 { UDP } else { TCP } }
    }

    /// Ticks since the first fragment, modulo 64; more than all of them for a free entry.
    #[inline(always)]
    const fn age(self, now: Tick) -> u16 {
        if self.0 == 0 {
            return u16::MAX;
        }
        now.0.wrapping_sub((self.0 >> 32) as u16) & FragmentEntry::TICKS
    }

    #[inline(always)]
    const fn is_living(self, now: Tick) -> bool {
        self.age(now) <= LIFE
    }

    #[inline(always)]
    const fn is_of(self, identity: Identity) -> bool {
        self.0 & FragmentEntry::USED != 0 && self.0 >> 40 == identity.tag()
    }
}

/// The entries of one set. Every access is one aligned 8-byte load or store, so no processor sees half an entry.
#[repr(C, align(64))]
pub struct FragmentSet(pub [Shared<u64>; WAYS]);

impl FragmentSet {
    /// Remembers the ports of a first fragment in the place of what was known of its datagram, or of the older of the
    /// set's two newest datagrams.
    #[inline(always)]
    pub fn remember(&self, identity: Identity, ports: Ports, now: Tick) {
        let entry = FragmentEntry::new(identity, ports, now);
        let mut place = self.older(identity, now);
        for way in 0..WAYS {
            if self.entry(way).is_of(identity) {
                place = way;
            }
        }
        self.0[place & (WAYS - 1)].store(entry.0);
    }

    /// The ports of a later fragment's datagram, if its first one came.
    #[inline(always)]
    pub fn peek(&self, identity: Identity, now: Tick) -> Option<Ports> {
        let entry = self.find(identity, now)?.1;
        Some(entry.ports())
    }

    /// As [`FragmentSet::peek`], of a fragment that more follow: the entry moves to the ways that no flood reaches if
    /// one of them is free.
    #[inline(always)]
    pub fn confirm(&self, identity: Identity, now: Tick) -> Option<Ports> {
        let (way, entry) = self.find(identity, now)?;
        if way >= FIRST_NEW {
            for free in 0..FIRST_NEW {
                if !self.entry(free).is_living(now) {
                    self.0[free].store(entry.0);
                    self.0[way & (WAYS - 1)].store(0);
                    break;
                }
            }
        }
        Some(entry.ports())
    }

    #[inline(always)]
    fn find(&self, identity: Identity, now: Tick) -> Option<(usize, FragmentEntry)> {
        for way in 0..WAYS {
            let entry = self.entry(way);
            if entry.is_of(identity) && entry.is_living(now) {
                return Some((way, entry));
            }
        }
        None
    }

    /// The one of the last two ways that is free or older; between two of the same tick the hash decides.
    #[inline(always)]
    fn older(&self, identity: Identity, now: Tick) -> usize {
        let ages = (self.entry(FIRST_NEW).age(now), self.entry(FIRST_NEW + 1).age(now));
        if ages.0 < ages.1 || (ages.0 == ages.1 && identity.prefers_last_way()) {
            FIRST_NEW + 1
        } else {
            FIRST_NEW
        }
    }

    #[inline(always)]
    fn entry(&self, way: usize) -> FragmentEntry {
        FragmentEntry(self.0[way].load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { both: 0x5000_1234, protocol: UDP };

    fn empty() -> FragmentSet {
        FragmentSet(core::array::from_fn(|_| Shared::<u64>::new(0)))
    }

    fn identity(tag: u32) -> Identity {
        Identity(u64::from(tag) << 40)
    }

    fn entries(set: &FragmentSet) -> usize {
        set.0.iter().filter(|entry| entry.load() != 0).count()
    }

    #[test]
    fn later_fragments_find_the_ports_of_the_first_for_two_ticks() {
        let set = empty();
        set.remember(identity(7), PORTS, Tick(100));
        for now in 100..=102 {
            assert_eq!(set.peek(identity(7), Tick(now)), Some(PORTS));
            assert_eq!(set.confirm(identity(7), Tick(now)), Some(PORTS), "and are no sign of life");
        }
        assert_eq!(set.peek(identity(7), Tick(103)), None);
        assert_eq!(set.peek(identity(8), Tick(100)), None);
    }

    #[test]
    fn the_tick_wraps_without_losing_a_datagram() {
        let set = empty();
        set.remember(identity(7), PORTS, Tick(u16::MAX));
        assert_eq!(set.peek(identity(7), Tick(1)), Some(PORTS));
    }

    #[test]
    fn an_entry_of_zeros_is_no_free_one() {
        let set = empty();
        let ports = Ports { both: 0, protocol: TCP };
        assert_eq!(set.peek(identity(0), Tick(0)), None);
        set.remember(identity(0), ports, Tick(0));
        assert_eq!(set.peek(identity(0), Tick(0)), Some(ports));
    }

    #[test]
    fn another_first_fragment_of_the_same_identity_replaces_the_ports() {
        let set = empty();
        let others = Ports { both: 7, protocol: TCP };
        set.remember(identity(7), PORTS, Tick(0));
        set.confirm(identity(7), Tick(0));
        set.remember(identity(7), others, Tick(0));
        assert_eq!(set.peek(identity(7), Tick(0)), Some(others));
        assert_eq!(entries(&set), 1);
    }

    #[test]
    fn a_flood_of_first_fragments_leaves_datagrams_alone_whose_middle_was_seen() {
        let set = empty();
        for tag in 1..=6 {
            set.remember(identity(tag), PORTS, Tick(9));
            assert_eq!(set.confirm(identity(tag), Tick(9)), Some(PORTS));
        }
        for flood in 1000..20_000 {
            set.remember(identity(flood), Ports { both: flood, protocol: UDP }, Tick(10));
            set.confirm(identity(flood), Tick(10));
        }
        assert!((1..=6).all(|tag| set.peek(identity(tag), Tick(11)) == Some(PORTS)));
    }

    #[test]
    fn the_older_of_two_new_datagrams_makes_room() {
        let set = empty();
        (0..3).for_each(|at| set.remember(identity(at), PORTS, Tick(at as u16)));
        assert_eq!(set.peek(identity(0), Tick(2)), None);
        assert!(set.peek(identity(1), Tick(2)).is_some() && set.peek(identity(2), Tick(2)).is_some());
    }

    #[test]
    fn ways_of_datagrams_that_are_over_are_used_again() {
        let set = empty();
        for tag in 1..100 {
            let now = Tick((tag * (LIFE as u32 + 1)) as u16);
            set.remember(identity(tag), PORTS, now);
            assert_eq!(set.confirm(identity(tag), now), Some(PORTS));
        }
        assert_eq!(set.0[FIRST_NEW].load() | set.0[FIRST_NEW + 1].load(), 0);
    }
}
