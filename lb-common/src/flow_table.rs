//! The flow table's sets: which target a flow of a changed slot is on.
//!
//! Each set is one cache line of eight 8-byte entries:
//!
//! ```text
//!   ways 0–4: confirmed, two packets were seen      ways 5–7: new, one was; the youngest in way 5
//!   entry: tag (32 bits) | last seen (16 bits) | target (16 bits)
//! ```
//!
//! A new flow always enters by way 5, whoever makes it known (a SYN, a stray ACK, a datagram); the flows there move
//! up by one way into the first gap, and without a gap the oldest falls out of way 7. With its second packet a flow
//! moves to the confirmed ways if one of them is free. So a flood of packets with random sources turns over three
//! ways of each set, and never evicts a living connection from the other five.
//!
//! A flow that begins on a changing slot's new target is lost if as many others enter its set before its second
//! packet comes as there are new ways: that packet then goes to the target that the slot had before. In a flood of 0.8
//! million packets a second on 131,072 sets, all slots changing, with a round trip of 50 ms that is:
//!
//! | new ways | lost | without a confirmed way, of 131,072; 262,144; 524,288 flows |
//! | --- | --- | --- |
//! | 2, one of them at random | 14.2 % | 0.01 %; 0.30 %; 4.9 % |
//! | 2, first in, first out | 3.81 % | 0.01 %; 0.30 %; 4.9 % |
//! | 3, first in, first out | 0.38 % | 0.07 %; 1.12 %; 10.3 % |
//! | 4, first in, first out | 0.03 % | 0.43 %; 3.76 %; 19.5 % |
//!
//! Three it is: a fourth costs the confirmed ways more than it saves. A flow without a confirmed way is known
//! nevertheless, as long as no three others enter its set.
//!
//! Two flows of one set with equal tags (1 in 2^29 for a full set) are taken for one another; the hash is
//! keyed, so nobody can aim at that.

use crate::flow::FlowHash;
use crate::shared::Shared;
use crate::target_id::TargetId;

/// Entries of a set.
pub const WAYS: usize = 8;
/// The ways before it are those of confirmed flows; it and the two behind it, in the order of entering, are those of
/// new ones.
const YOUNGEST: usize = 5;

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

    /// The flow's living entry, with nothing changed.
    #[inline(always)]
    pub fn peek(&self, sighting: Sighting) -> Option<FlowEntry> {
        for way in 0..WAYS {
            let entry = self.entry(way);
            if entry.tag() == sighting.hash.tag() && entry.is_living(sighting.now, sighting.idle) {
                return Some(entry);
            }
        }
        None
    }

    /// The set as it is now, to be written to without anybody seeing it.
    #[inline(always)]
    pub fn copied(&self) -> FlowSet {
        FlowSet([
            Shared::<u64>::new(self.entry(0).0),
            Shared::<u64>::new(self.entry(1).0),
            Shared::<u64>::new(self.entry(2).0),
            Shared::<u64>::new(self.entry(3).0),
            Shared::<u64>::new(self.entry(4).0),
            Shared::<u64>::new(self.entry(5).0),
            Shared::<u64>::new(self.entry(6).0),
            Shared::<u64>::new(self.entry(7).0),
        ])
    }

    /// Remembers the flow on `target`; an older entry of it is replaced.
    #[inline(always)]
    pub fn remember(&self, sighting: Sighting, target: TargetId) {
        self.forget(sighting.hash);
        self.enter(FlowEntry::new(sighting.hash.tag(), target, sighting.now));
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
        if way >= YOUNGEST && self.confirm(fresh, sighting) {
            self.put(way, FlowEntry(0));
        } else if entry != fresh {
            self.put(way, fresh);
        }
    }

    #[inline(always)]
    fn confirm(&self, fresh: FlowEntry, sighting: Sighting) -> bool {
        for way in 0..YOUNGEST {
            if !self.entry(way).is_living(sighting.now, sighting.idle) {
                self.put(way, fresh);
                return true;
            }
        }
        false
    }

    /// Lets a new flow in. The older ones move from the end on, and [`FlowSet::find`] looks from the beginning: so
    /// another processor finds a flow that moves in one way or the other. Two that let flows in at once may lose one
    /// of these or keep one twice.
    #[inline(always)]
    fn enter(&self, entry: FlowEntry) {
        let [young, old] = [self.entry(YOUNGEST), self.entry(YOUNGEST + 1)];
        if !young.target().is_none() {
            if !old.target().is_none() {
                self.put(YOUNGEST + 2, old);
            }
            self.put(YOUNGEST + 1, young);
        }
        self.put(YOUNGEST, entry);
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
mod tests;
