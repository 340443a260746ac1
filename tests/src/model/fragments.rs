//! Fragments (RFC 791, 3.2; RFC 8200, 4.5): which part of which datagram a packet is, and the ports that a datagram's
//! first fragment leaves for the later ones.
//!
//! A datagram is known for two ticks after its first fragment. A new one goes to one of its set's last two ways; with
//! a fragment from its middle it moves to one of the first six, if one is free or over.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::flow_table::{Tick, WAYS};
use super::packet::{Ports, TCP, UDP};

/// The number of IPv6's fragment header.
pub(super) const HEADER: u8 = 44;
/// For so many ticks after its first fragment a datagram is known.
const LIFE: Tick = 2;
/// Ticks are known modulo this.
const TICKS: Tick = 64;
/// The first of the ways for datagrams without a middle.
const FIRST_NEW: usize = 6;

/// Which part of which datagram a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// The datagram's number.
    pub identification: u32,
    /// Bytes of the datagram before it.
    pub offset: usize,
    /// Whether there is more behind it.
    pub more: bool,
    /// What follows the IP header, or the fragment header; of a first fragment, all headers.
    pub protocol: u8,
}

impl Fragment {
    /// Whether it may be TCP's or UDP's. What an IPv6 fragment begins with may be extension headers, of which a later
    /// fragment shows the first one's number.
    pub(super) fn may_have_ports(self, source: IpAddr) -> bool {
        let extensions = [0, 43, 51, 60];
        [TCP, UDP].contains(&self.protocol) || (source.is_ipv6() && extensions.contains(&self.protocol))
    }

    /// Whether TCP's flags are in it although it is not the first (RFC 1858, RFC 3128).
    pub(super) fn overwrites_flags(self) -> bool {
        self.protocol == TCP && self.offset == 8
    }
}

/// What an IPv4 header says; none of a whole datagram.
pub(super) fn ipv4(header: &[u8]) -> Option<Fragment> {
    let fragment = Fragment {
        identification: u16::from_be_bytes([header[4], header[5]]).into(),
        offset: 8 * usize::from(u16::from_be_bytes([header[6] & 0x1f, header[7]])),
        more: header[6] & 0x20 != 0,
        protocol: header[9],
    };
    (fragment.more || fragment.offset > 0).then_some(fragment)
}

/// What an IPv6 extension header of this number says; none of a whole datagram, which an atomic fragment is, too
/// (RFC 6946).
pub(super) fn ipv6(number: u8, protocol: u8, header: &[u8]) -> Option<Fragment> {
    if number != HEADER {
        return None;
    }
    let word = u16::from_be_bytes([header[2], header[3]]);
    let fragment = Fragment {
        identification: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        offset: usize::from(word >> 3) * 8,
        more: word & 1 != 0,
        protocol,
    };
    (fragment.more || fragment.offset > 0).then_some(fragment)
}

/// A datagram whose later fragments may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// The top 24 bits of the hash of its identity.
    pub tag: u32,
    /// TCP or UDP.
    pub protocol: u8,
    /// Its ports.
    pub ports: Ports,
    /// When its first fragment came.
    pub came: Tick,
}

impl Awaited {
    fn age(self, now: Tick) -> Tick {
        now.wrapping_sub(self.came) % TICKS
    }
}

/// The fragment table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragments {
    sets: Vec<[Option<Awaited>; WAYS]>,
}

impl Fragments {
    /// An empty table of 2^`log2` sets.
    pub fn new(log2: u8) -> Fragments {
        Fragments { sets: vec![[None; WAYS]; 1 << log2] }
    }

    /// All sets, way by way.
    pub fn sets(&self) -> &[[Option<Awaited>; WAYS]] {
        &self.sets
    }

    fn set(&mut self, hash: u64) -> &mut [Option<Awaited>; WAYS] {
        let sets = self.sets.len();
        &mut self.sets[hash as usize & (sets - 1)]
    }

    /// Notes what a first fragment says, in the place of what an earlier one said.
    pub(super) fn remember(&mut self, hash: u64, protocol: u8, ports: Ports, now: Tick) {
        let set = self.set(hash);
        let age = |way: usize| set[way].map_or(Tick::MAX, |entry| entry.age(now));
        let known = set.iter().position(|way| way.is_some_and(|entry| entry.tag == tag(hash)));
        let way = known.unwrap_or_else(|| match age(FIRST_NEW).cmp(&age(FIRST_NEW + 1)) {
            Ordering::Greater => FIRST_NEW,
            Ordering::Less => FIRST_NEW + 1,
            Ordering::Equal => FIRST_NEW + (hash >> 39 & 1) as usize,
        });
        set[way] = Some(Awaited { tag: tag(hash), protocol, ports, came: now });
    }

    /// Protocol and ports of a later fragment's datagram.
    pub(super) fn find(&mut self, hash: u64, more: bool, now: Tick) -> Option<(u8, Ports)> {
        let set = self.set(hash);
        let lives = |way: &Option<Awaited>| way.is_some_and(|entry| entry.age(now) <= LIFE);
        let is_it = |way: &Option<Awaited>| lives(way) && way.is_some_and(|entry| entry.tag == tag(hash));
        let way = set.iter().position(is_it)?;
        let found = set[way].expect("the way has the datagram");
        if let (FIRST_NEW.., true, Some(free)) =
            (way, more, set[..FIRST_NEW].iter().position(|way| !lives(way)))
        {
            set[free] = set[way].take();
        }
        Some((found.protocol, found.ports))
    }
}

fn tag(hash: u64) -> u32 {
    (hash >> 40) as u32
}
