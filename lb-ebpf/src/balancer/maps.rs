//! The balancer's maps, and the look-ups in them: all of this program's unsafe code about maps is here.
//!
//! The numbers of entries are those of a small installation; the loader sets them for the node at hand.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, ProgramArray},
    programs::XdpContext,
};
use lb_common::{
    encapsulation::Target,
    flow_table::FlowSet,
    listener::{Forward, ListenerLine, QuicServerKey, Traffic},
    maps::{Continuation, EXCEPTIONS_PER_LINE, ExceptionLine, SLOTS_PER_LINE, Settings, SlotLine},
    packet::too_big::ANSWERS,
    reason::Reason,
    shared::Shared,
    slot::Slot,
    target_id::TargetId,
};

use crate::Stage;

#[map]
static LISTENERS: Array<ListenerLine> = Array::with_max_entries(4096, BPF_F_MMAPABLE);
#[map]
static VIPS: HashMap<[u32; 4], u32> = HashMap::with_max_entries(1024, 0);
#[map]
static QUIC_SERVERS: HashMap<QuicServerKey, u32> = HashMap::with_max_entries(1024, 0);
#[map]
static FORWARDS: Array<Shared<u64>> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static SLOTS: Array<SlotLine> = Array::with_max_entries(4096, BPF_F_MMAPABLE);
#[map]
static EXCEPTIONS: Array<ExceptionLine> = Array::with_max_entries(2048, BPF_F_MMAPABLE);
#[map]
static FLOWS: Array<FlowSet> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static TARGETS: Array<Target> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static INTERFACES: Array<u64> = Array::with_max_entries(1024, 0);
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static CONTINUATIONS: ProgramArray = ProgramArray::with_max_entries(Continuation::ALL.len() as u32, 0);
#[map]
static REASON_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Reason::COUNTERS as u32, 0);
#[map]
static LISTENER_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1024, 0);
#[map]
static TARGET_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1024, 0);
#[map]
static ANSWER_LIMIT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static INNER_MTU: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Leaves the packet to another program; returns only if that is not there.
#[inline(always)]
pub fn continue_in(context: &XdpContext, continuation: Continuation) {
    // SAFETY: the kernel checks the program's type and the depth of calls; nothing of this run is used after it.
    unsafe { CONTINUATIONS.tail_call(context, continuation as u32) }
}

/// The MAC address of an interface that the balancer is attached to; zero, which no frame is for, if it is not
/// known.
#[inline(always)]
pub fn interface(index: u32) -> u64 {
    INTERFACES.get(index).copied().unwrap_or(0)
}

#[inline(always)]
pub fn settings() -> Stage<&'static Settings> {
    SETTINGS.get(0).ok_or(Reason::NoTable)
}

#[inline(always)]
pub fn listener_line(index: u32) -> Option<&'static ListenerLine> {
    LISTENERS.get(index)
}

#[inline(always)]
pub fn is_vip(address: &[u32; 4]) -> bool {
    // SAFETY: an element of a preallocated hash map stays readable for the run of the program; user space
    // replaces elements, it does not write into them.
    unsafe { VIPS.get(address) }.is_some()
}

#[inline(always)]
pub fn quic_server(key: &QuicServerKey) -> Option<TargetId> {
    // SAFETY: as in `is_vip`.
    unsafe { QUIC_SERVERS.get(key) }.map(|id| TargetId(*id as u16))
}

#[inline(always)]
pub fn forward(index: u32) -> Forward {
    FORWARDS.get(index).map_or(Forward::NONE, |word| Forward(word.load()))
}

#[inline(always)]
pub fn slot(index: u32) -> Slot {
    let line = SLOTS.get(index / SLOTS_PER_LINE);
    line.map_or(Slot::EMPTY, |line| Slot(line.0[(index % SLOTS_PER_LINE) as usize].load()))
}

#[inline(always)]
pub fn exception_mark(slot: u32) -> Option<&'static Shared<u16>> {
    let line = EXCEPTIONS.get(slot / EXCEPTIONS_PER_LINE)?;
    Some(&line.0[(slot % EXCEPTIONS_PER_LINE) as usize])
}

#[inline(always)]
pub fn flow_set(index: u32) -> Option<&'static FlowSet> {
    FLOWS.get(index)
}

#[inline(always)]
pub fn target(id: TargetId) -> Option<&'static Target> {
    TARGETS.get(id.0 as u32)
}

#[inline(always)]
pub fn add_reason(number: u32) {
    if let Some(count) = REASON_COUNTERS.get_ptr_mut(number) {
        // SAFETY: the value is this processor's own, and XDP programs do not interrupt each other on it.
        unsafe { *count += 1 };
    }
}

/// Whether this processor may answer one more packet that is too big, `now` nanoseconds after some moment.
#[inline(always)]
pub fn may_answer(now: u64) -> bool {
    let Some(state) = ANSWER_LIMIT.get_ptr_mut(0) else { return false };
    // SAFETY: as in `add_reason`.
    unsafe {
        match ANSWERS.admit(*state, now) {
            Some(next) => {
                *state = next;
                true
            }
            None => false,
        }
    }
}

/// Notes for the program that goes on with this packet how many bytes of it would fit.
#[inline(always)]
pub fn note_inner_mtu(bytes: u16) {
    if let Some(noted) = INNER_MTU.get_ptr_mut(0) {
        // SAFETY: as in `add_reason`.
        unsafe { *noted = bytes as u64 };
    }
}

/// What [`note_inner_mtu`] was given.
#[inline(always)]
pub fn inner_mtu() -> u16 {
    INNER_MTU.get(0).map_or(0, |noted| *noted as u16)
}

#[inline(always)]
pub fn add_listener_traffic(counter: u16, bytes: u16) {
    add(LISTENER_COUNTERS.get_ptr_mut(counter as u32), bytes);
}

#[inline(always)]
pub fn add_target_traffic(id: TargetId, bytes: u16) {
    add(TARGET_COUNTERS.get_ptr_mut(id.0 as u32), bytes);
}

#[inline(always)]
fn add(traffic: Option<*mut Traffic>, bytes: u16) {
    if let Some(traffic) = traffic {
        // SAFETY: as in `add_reason`.
        unsafe {
            (*traffic).packets += 1;
            (*traffic).bytes += bytes as u64;
        }
    }
}
