//! The flow table: sets of eight flows, in which what a flood makes can't evict what lives.
//!
//! A new flow goes to the first of its set's last three ways and pushes those that are there towards the end, up to a
//! gap or over it; with its second packet it moves to one of the first five, if one is free or idle for too long. So a
//! flood of packets that each seem to begin a flow only fights for three.

use lb_common::TargetId;

/// Ways of a set.
pub const WAYS: usize = 8;
/// The first of the ways for flows of which one packet was seen.
const FIRST_NEW: usize = 5;

/// The time in units of 2^30 nanoseconds, as much as a flow's entry has room for.
pub type Tick = u16;

/// An entry: a flow that is on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// The low 32 bits of the flow's hash.
    pub tag: u32,
    /// Where it is.
    pub target: TargetId,
    /// When its last packet came.
    pub seen: Tick,
}

/// What an operation needs to know of the packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    pub(super) hash: u64,
    pub(super) now: Tick,
    /// After how many ticks without a packet a flow is forgotten.
    pub(super) idle: u16,
}

impl Sighting {
    /// Whether a way has nothing that is worth keeping.
    fn may_take(self, way: Option<Remembered>) -> bool {
        way.is_none_or(|entry| self.age(entry) > self.idle)
    }

    fn age(self, entry: Remembered) -> u16 {
        self.now.wrapping_sub(entry.seen)
    }

    fn tag(self) -> u32 {
        self.hash as u32
    }
}

/// The flow table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowTable {
    sets: Vec<[Option<Remembered>; WAYS]>,
}

impl FlowTable {
    /// An empty table of 2^`log2` sets.
    pub fn new(log2: u8) -> FlowTable {
        FlowTable { sets: vec![[None; WAYS]; 1 << log2] }
    }

    /// All sets, way by way.
    pub fn sets(&self) -> &[[Option<Remembered>; WAYS]] {
        &self.sets
    }

    fn set(&mut self, sighting: Sighting) -> &mut [Option<Remembered>; WAYS] {
        let sets = self.sets.len();
        &mut self.sets[(sighting.hash >> 32) as usize & (sets - 1)]
    }

    /// Where the flow is, if it is known there and the target keeps its flows; its entry is then fresh again.
    pub(super) fn find(
        &mut self,
        sighting: Sighting,
        keeps_flows: impl Fn(TargetId) -> bool,
    ) -> Option<TargetId> {
        let set = self.set(sighting);
        let is_it = |way: &Option<Remembered>| {
            way.is_some_and(|entry| {
                entry.tag == sighting.tag() && !sighting.may_take(*way) && keeps_flows(entry.target)
            })
        };
        let way = set.iter().position(is_it)?;
        let mut entry = set[way].expect("the way has the flow");
        entry.seen = sighting.now;
        set[way] = Some(entry);
        let settled = set[..FIRST_NEW].iter().position(|way| sighting.may_take(*way));
        if let (FIRST_NEW.., Some(settled)) = (way, settled) {
            set[settled] = set[way].take();
        }
        Some(entry.target)
    }

    /// Notes that the flow, of which one packet was seen, is on `target`; what was known of it is forgotten.
    pub(super) fn remember(&mut self, sighting: Sighting, target: TargetId) {
        self.forget(sighting);
        let queue = &mut self.set(sighting)[FIRST_NEW..];
        let last = queue.iter().position(Option::is_none).unwrap_or(queue.len() - 1);
        queue[..=last].rotate_right(1);
        queue[0] = Some(Remembered { tag: sighting.tag(), target, seen: sighting.now });
    }

    /// Forgets the flow.
    pub(super) fn forget(&mut self, sighting: Sighting) {
        for way in self.set(sighting) {
            if way.is_some_and(|entry| entry.tag == sighting.tag()) {
                *way = None;
            }
        }
    }
}
