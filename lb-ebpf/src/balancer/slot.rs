//! The slot stage: the flow's slot, and the exception stage behind it where the slot needs it.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use lb_common::{
    choice::{self, Choice},
    flow::FlowHash,
    flow_table::{Sighting, Tick},
    listener::Listener,
    maps::{Continuation, Settings},
    packet::Segment,
    reason::Reason,
    slot::Slot,
    target_id::TargetId,
};

use crate::{Exit, maps, mode::Mode};

/// The target of a packet. `place` chooses the slot; `hash` tells the flow from others. Slots with a chain are another
/// program's.
#[inline(always)]
pub fn choose_target<M: Mode>(
    listener: &Listener,
    settings: &Settings,
    place: FlowHash,
    hash: FlowHash,
    segment: Segment,
) -> Result<TargetId, Exit> {
    let forward = maps::forward(listener.forward);
    if forward.is_none() {
        return Err(Reason::NoTable.into());
    }
    let index = forward.first() + place.slot(forward.log2());
    let slot = maps::slot(index);
    M::note(|trace| trace.slot(forward, place.slot(forward.log2()), slot));
    let id = if choice::needs_flow_table(slot, listener.tracking) {
        if maps::chain(index).is_chain_of(slot) {
            return Err(Exit::Continue(Continuation::Chain));
        }
        consult_flow_table::<M>(listener, settings, hash, segment, slot, index)
    } else {
        slot.current()
    };
    if id.is_none() { Err(Reason::NoTarget.into()) } else { Ok(id) }
}

/// The target of an established flow's packets; nothing is remembered, refreshed or marked.
#[inline(always)]
pub fn peek_target<M: Mode>(
    listener: &Listener,
    settings: &Settings,
    place: FlowHash,
    hash: FlowHash,
) -> Result<TargetId, Exit> {
    let forward = maps::forward(listener.forward);
    if forward.is_none() {
        return Err(Reason::NoTable.into());
    }
    let index = forward.first() + place.slot(forward.log2());
    let slot = maps::slot(index);
    if choice::needs_flow_table(slot, listener.tracking) && maps::chain(index).is_chain_of(slot) {
        return Err(Exit::Continue(Continuation::Chain));
    }
    M::note(|trace| trace.slot(forward, place.slot(forward.log2()), slot));
    let id = match maps::flow_set(hash.set() & settings.flow_set_mask) {
        Some(set) if choice::needs_flow_table(slot, listener.tracking) => {
            let sighting = Sighting { hash, now: now(), idle: listener.idle };
            M::note(|trace| trace.flow_table(sighting.now, set.peek(sighting)));
            choice::peek(slot, listener.tracking, set, sighting, keeps_flows)
        }
        _ => slot.current(),
    };
    if id.is_none() { Err(Reason::NoTarget.into()) } else { Ok(id) }
}

/// What the flow table says of the packet: paid in changed slots, and by flows that are always tracked, only.
#[inline(always)]
fn consult_flow_table<M: Mode>(
    listener: &Listener,
    settings: &Settings,
    hash: FlowHash,
    segment: Segment,
    slot: Slot,
    index: u32,
) -> TargetId {
    let Some(set) = maps::flow_set(hash.set() & settings.flow_set_mask) else {
        return slot.current();
    };
    let sighting = Sighting { hash, now: now(), idle: listener.idle };
    M::note(|trace| trace.flow_table(sighting.now, set.peek(sighting)));
    let copy;
    let set = if M::LASTS {
        set
    } else {
        copy = set.copied();
        &copy
    };
    match choice::choose(slot, listener.tracking, segment, set, sighting, keeps_flows) {
        Choice::BySlot(id) => id,
        Choice::Exception(id) => {
            mark_exception::<M>(index, sighting.now);
            id
        }
    }
}

#[inline(always)]
fn keeps_flows(id: TargetId) -> bool {
    maps::target(id).is_some_and(|target| target.way.keeps_flows())
}

/// User space keeps a slot in the state 'has exceptions' while its mark is recent. Zero means never, so tick 0
/// is marked as 1.
#[inline(always)]
fn mark_exception<M: Mode>(index: u32, now: Tick) {
    M::note(|trace| trace.exception());
    if !M::LASTS {
        return;
    }
    let now = if now.0 == 0 { 1 } else { now.0 };
    if let Some(mark) = maps::exception_mark(index)
        && mark.load() != now
    {
        mark.store(now);
    }
}

/// The flow table's and the fragment table's time.
#[inline(always)]
pub fn now() -> Tick {
    Tick::from_nanoseconds(nanoseconds())
}

/// The monotonic clock as of the last timer interrupt, in nanoseconds.
#[inline(always)]
pub fn nanoseconds() -> u64 {
    // SAFETY: the helper (Linux 5.11) has no preconditions.
    unsafe { bpf_ktime_get_coarse_ns() }
}
