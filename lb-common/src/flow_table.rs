//! The flow table's sets: which target a flow of a changed slot is on.
//!
//! Each set is one cache line of eight 8-byte entries:
//!
//! ```text
//!   ways 0–5: flows of which two packets were seen      ways 6–7: flows of which one was
//!   entry: tag (32 bits) | last seen (16 bits) | target (16 bits)
//! ```
//!
//! A new flow always enters by ways 6 and 7, whoever makes it known (a SYN, a stray ACK, a datagram), and
//! moves to the others with its second packet if one of them is free. So a flood of packets with random
//! sources turns over two ways of each set, and never evicts a living connection from the other six.
//!
//! Two flows of one set with equal tags (1 in 2^29 for a full set) are taken for one another; the hash is
//! keyed, so nobody can aim at that.

use crate::flow::FlowHash;
use crate::shared::Shared;
use crate::target_id::TargetId;

/// Entries of a set.
pub const WAYS: usize = 8;
const CONFIRMED_WAYS: usize = 6;

/// A coarse moment: the monotonic clock in units of 2^30 ns (1.07 s), modulo 2^16 (19.5 hours).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick(pub u16);

impl Tick {
    /// The tick of a monotonic time in nanoseconds.
    #[inline(always)]
    pub const fn from_nanoseconds(now: u64) -> Tick {
        Tick((now >> 30) as u16)
    }

    /// Ticks since `earlier`, which is less than 19.5 hours ago.
    #[inline(always)]
    pub const fn since(self, earlier: Tick) -> u16 {
        self.0.wrapping_sub(earlier.0)
    }

    /// How many ticks cover a duration of `seconds` (rounded up); at most 65535.
    pub const fn covering_seconds(seconds: u64) -> u16 {
        let ticks = (seconds * 1_000_000_000).div_ceil(1 << 30);
        if ticks > u16::MAX as u64 { u16::MAX } else { ticks as u16 }
    }
}

/// One remembered flow; zero is a free entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEntry(pub u64);

impl FlowEntry {
    /// The flow with this tag is on `target` and was seen at `seen`.
    #[inline(always)]
    pub const fn new(tag: u32, target: TargetId, seen: Tick) -> FlowEntry {
        FlowEntry((tag as u64) << 32 | (seen.0 as u64) << 16 | target.0 as u64)
    }

    /// What tells the flow from others of its set.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// When its last packet came.
    #[inline(always)]
    pub const fn seen(self) -> Tick {
        Tick((self.0 >> 16) as u16)
    }

    /// Its target; none in a free entry.
    #[inline(always)]
    pub const fn target(self) -> TargetId {
        TargetId(self.0 as u16)
    }

    /// Whether the flow was seen within the last `idle` ticks.
    #[inline(always)]
    pub const fn is_living(self, now: Tick, idle: u16) -> bool {
        !self.target().is_none() && now.since(self.seen()) <= idle
    }
}

/// The entries of one set. Every access is one aligned 8-byte load or store: processors that write the same
/// entry at once lose one of two refreshes, never half an entry.
#[repr(C, align(64))]
pub struct FlowSet(pub [Shared<u64>; WAYS]);

/// What a flow-table operation needs to know of a packet.
#[derive(Clone, Copy)]
pub struct Sighting {
    /// The flow's hash.
    pub hash: FlowHash,
    /// Now.
    pub now: Tick,
    /// After how many ticks without a packet a flow is forgotten.
    pub idle: u16,
}

impl FlowSet {
    /// The living flow's target, if it is known and `lives` says that the target is worth keeping. Its time is
    /// refreshed, and with its second packet it moves to the confirmed ways if there is room.
    #[inline(always)]
    pub fn find(&self, sighting: Sighting, lives: impl Fn(TargetId) -> bool) -> Option<TargetId> {
        for way in 0..WAYS {
            let entry = self.entry(way);
            if entry.tag() == sighting.hash.tag() && entry.is_living(sighting.now, sighting.idle) {
                if !lives(entry.target()) {
                    return None;
                }
                self.refresh(way, entry, sighting);
                return Some(entry.target());
            }
        }
        None
    }

    /// As [`FlowSet::find`] would answer, and nothing is written: for packets that are no sign of life.
    #[inline(always)]
    pub fn peek(&self, sighting: Sighting, lives: impl Fn(TargetId) -> bool) -> Option<TargetId> {
        for way in 0..WAYS {
            let entry = self.entry(way);
            if entry.tag() == sighting.hash.tag() && entry.is_living(sighting.now, sighting.idle) {
                return Some(entry.target()).filter(|target| lives(*target));
            }
        }
        None
    }

    /// Remembers the flow on `target`; an older entry of it is replaced.
    #[inline(always)]
    pub fn remember(&self, sighting: Sighting, target: TargetId) {
        self.forget(sighting.hash);
        let way = if self.is_better_victim(CONFIRMED_WAYS, CONFIRMED_WAYS + 1, sighting) {
            CONFIRMED_WAYS
        } else {
            CONFIRMED_WAYS + 1
        };
        self.put(way, FlowEntry::new(sighting.hash.tag(), target, sighting.now));
    }

    /// Frees the flow's entry if it has one.
    #[inline(always)]
    pub fn forget(&self, hash: FlowHash) {
        for way in 0..WAYS {
            let entry = self.entry(way);
            if entry.tag() == hash.tag() && !entry.target().is_none() {
                self.put(way, FlowEntry(0));
            }
        }
    }

    #[inline(always)]
    fn refresh(&self, way: usize, entry: FlowEntry, sighting: Sighting) {
        let fresh = FlowEntry::new(entry.tag(), entry.target(), sighting.now);
        if way >= CONFIRMED_WAYS && self.confirm(fresh, sighting) {
            self.put(way, FlowEntry(0));
        } else if entry != fresh {
            self.put(way, fresh);
        }
    }

    #[inline(always)]
    fn confirm(&self, fresh: FlowEntry, sighting: Sighting) -> bool {
        for way in 0..CONFIRMED_WAYS {
            if !self.entry(way).is_living(sighting.now, sighting.idle) {
                self.put(way, fresh);
                return true;
            }
        }
        false
    }

    /// Whether `one` is free or older than `other`; between two of the same tick the hash decides.
    #[inline(always)]
    fn is_better_victim(&self, one: usize, other: usize, sighting: Sighting) -> bool {
        let age = |entry: FlowEntry| match entry.target() {
            TargetId::NONE => u32::from(u16::MAX) + 1,
            _ => u32::from(sighting.now.since(entry.seen())),
        };
        let (one, other) = (age(self.entry(one)), age(self.entry(other)));
        one > other || (one == other && sighting.hash.tag() & 1 == 0)
    }

    #[inline(always)]
    fn entry(&self, way: usize) -> FlowEntry {
        FlowEntry(self.0[way].load())
    }

    #[inline(always)]
    fn put(&self, way: usize, entry: FlowEntry) {
        self.0[way].store(entry.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: u16 = 350;

    fn empty() -> FlowSet {
        FlowSet(core::array::from_fn(|_| Shared::<u64>::new(0)))
    }

    fn sighting(tag: u32, now: u16) -> Sighting {
        Sighting { hash: FlowHash(tag as u64), now: Tick(now), idle: IDLE }
    }

    fn find(set: &FlowSet, tag: u32, now: u16) -> Option<TargetId> {
        set.find(sighting(tag, now), |_| true)
    }

    #[test]
    fn a_remembered_flow_is_found_until_it_was_idle_too_long() {
        let set = empty();
        set.remember(sighting(7, 100), TargetId(3));
        assert_eq!(find(&set, 7, 100 + IDLE), Some(TargetId(3)));
        assert_eq!(find(&set, 7, 100 + 2 * IDLE), Some(TargetId(3)), "the packet before refreshed it");
        assert_eq!(find(&set, 7, 101 + 3 * IDLE), None);
        assert_eq!(find(&set, 8, 100), None);
    }

    #[test]
    fn the_tick_wraps_without_losing_a_flow() {
        let set = empty();
        set.remember(sighting(7, u16::MAX - 1), TargetId(3));
        assert_eq!(find(&set, 7, 5), Some(TargetId(3)));
    }

    #[test]
    fn a_flow_of_a_target_that_is_not_worth_keeping_is_unknown() {
        let set = empty();
        set.remember(sighting(7, 0), TargetId(3));
        assert_eq!(set.find(sighting(7, 0), |target| target != TargetId(3)), None);
    }

    #[test]
    fn remembering_again_replaces_the_entry() {
        let set = empty();
        set.remember(sighting(7, 0), TargetId(3));
        find(&set, 7, 1);
        set.remember(sighting(7, 2), TargetId(4));
        assert_eq!(find(&set, 7, 3), Some(TargetId(4)));
        let entries = set.0.iter().filter(|entry| entry.load() != 0).count();
        assert_eq!(entries, 1);
    }

    #[test]
    fn a_forgotten_flow_is_gone() {
        let set = empty();
        set.remember(sighting(7, 0), TargetId(3));
        set.forget(FlowHash(7));
        assert_eq!(find(&set, 7, 0), None);
    }

    #[test]
    fn a_flood_never_evicts_flows_of_which_two_packets_were_seen() {
        let set = empty();
        for tag in 1..=6 {
            set.remember(sighting(tag, 0), TargetId(tag as u16));
            assert!(find(&set, tag, 0).is_some());
        }
        for flood in 1000..100_000u32 {
            set.remember(sighting(flood, 1), TargetId(99));
        }
        for tag in 1..=6 {
            assert_eq!(find(&set, tag, 2), Some(TargetId(tag as u16)));
        }
    }

    #[test]
    fn a_flood_of_repeated_sources_evicts_no_living_flow_either() {
        let set = empty();
        for tag in 1..=6 {
            set.remember(sighting(tag, 0), TargetId(tag as u16));
            assert!(find(&set, tag, 0).is_some());
        }
        for flood in 1000..2000u32 {
            set.remember(sighting(flood, 1), TargetId(99));
            find(&set, flood, 1);
        }
        assert!((1..=6).all(|tag| find(&set, tag, 2) == Some(TargetId(tag as u16))));
    }

    #[test]
    fn the_older_of_two_new_flows_makes_room() {
        let set = empty();
        set.remember(sighting(1, 0), TargetId(1));
        set.remember(sighting(2, 1), TargetId(2));
        set.remember(sighting(3, 2), TargetId(3));
        assert_eq!(find(&set, 1, 2), None);
        assert_eq!((find(&set, 2, 2), find(&set, 3, 2)), (Some(TargetId(2)), Some(TargetId(3))));
    }

    #[test]
    fn a_peek_finds_what_a_packet_would_and_writes_nothing() {
        let set = empty();
        set.remember(sighting(7, 100), TargetId(3));
        let before = set.0.each_ref().map(Shared::<u64>::load);
        let peek = |tag, now| set.peek(sighting(tag, now), |target| target == TargetId(3));
        assert_eq!((peek(7, 100 + IDLE), peek(7, 101 + IDLE), peek(8, 100)), (Some(TargetId(3)), None, None));
        assert_eq!(set.peek(sighting(7, 100), |_| false), None);
        assert_eq!(set.0.each_ref().map(Shared::<u64>::load), before);
    }

    #[test]
    fn seconds_are_covered_by_ticks() {
        assert_eq!(Tick::covering_seconds(0), 0);
        assert_eq!(Tick::covering_seconds(350), 326);
        assert_eq!(Tick::covering_seconds(1_000_000), u16::MAX);
        assert_eq!(Tick::from_nanoseconds(3 << 30), Tick(3));
    }
}
