//! The balancer's maps, and the look-ups in them: all of this program's unsafe code about maps is here.
//!
//! The numbers of entries are those of a small installation; the loader sets them for the node at hand.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_ns},
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, ProgramArray, RingBuf, lpm_trie::Key},
    programs::XdpContext,
};
use lb_common::{
    capture::{CaptureEvent, CaptureFilter},
    encapsulation::Target,
    flow_log::FlowRecord,
    flow_table::FlowSet,
    fragments::{FragmentSet, Ports},
    listener::{Forward, ListenerLine, QuicServerKey, Traffic},
    maps::{
        CHAINS_PER_LINE, ChainLine, Continuation, EXCEPTIONS_PER_LINE, ExceptionLine, FragmentPorts,
        Programs, SLOTS_PER_LINE, Settings, SlotLine,
    },
    packet::{Segment, too_big::ANSWERS},
    policy::{Allowance, AllowedKey, PolicyLine, VERDICT_LINES, VerdictLine, VerdictLines},
    reason::Reason,
    shared::Shared,
    slot::{ChainWord, Slot},
    source_limits::{SOURCE_SETS, SourceSet},
    target_id::TargetId,
    trace::Trace,
};

use crate::{Stage, mode::Mode};

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
static CHAINS: Array<ChainLine> = Array::with_max_entries(2048, BPF_F_MMAPABLE);
#[map]
static FLOWS: Array<FlowSet> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static FRAGMENTS: Array<FragmentSet> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static TARGETS: Array<Target> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static INTERFACES: Array<u64> = Array::with_max_entries(1024, 0);
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static CONTINUATIONS: ProgramArray = ProgramArray::with_max_entries(Programs::CONTINUATIONS, 0);
#[map]
static REASON_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Reason::COUNTERS as u32, 0);
#[map]
static LISTENER_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1024, 0);
#[map]
static TARGET_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1024, 0);
#[map]
static POLICIES: Array<PolicyLine> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static ALLOWED: LpmTrie<AllowedKey, Allowance> = LpmTrie::with_max_entries(1024, 0);
#[map]
static VERDICTS: PerCpuArray<VerdictLines> = PerCpuArray::with_max_entries(1, 0);
#[map]
static EXPLAINED_VERDICT: PerCpuArray<VerdictLine> = PerCpuArray::with_max_entries(1, 0);
#[map]
static LISTENER_LIMITS: Array<Shared<u64>> = Array::with_max_entries(1024, 0);
#[map]
static SOURCE_LIMITS: Array<SourceSet> = Array::with_max_entries(SOURCE_SETS, 0);
#[map]
static EXPLAINED: Array<Trace> = Array::with_max_entries(1, 0);
#[map]
static CAPTURED: PerCpuArray<CaptureEvent> = PerCpuArray::with_max_entries(1, 0);
#[map]
static CAPTURE_FILTER: Array<CaptureFilter> = Array::with_max_entries(1, 0);
#[map]
static CAPTURE_RING: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
#[map]
static CAPTURE_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static FLOW_LOG: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
#[map]
static FLOW_LOG_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);
#[map]
static ANSWER_LIMIT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static FRAGMENT_PORTS: PerCpuArray<FragmentPorts> = PerCpuArray::with_max_entries(2, 0);
#[map]
static INNER_MTU: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Leaves the packet to another program; returns only if that is not there.
#[inline(always)]
pub fn continue_in(context: &XdpContext, programs: Programs, continuation: Continuation) {
    // SAFETY: the kernel checks the program's type and the depth of calls; nothing of this run is used after it.
    unsafe { CONTINUATIONS.tail_call(context, programs.continuation(continuation)) }
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
pub fn chain(slot: u32) -> ChainWord {
    let line = CHAINS.get(slot / CHAINS_PER_LINE);
    line.map_or(ChainWord::NONE, |line| ChainWord(line.0[(slot % CHAINS_PER_LINE) as usize].load()))
}

#[inline(always)]
pub fn flow_set(index: u32) -> Option<&'static FlowSet> {
    FLOWS.get(index)
}

#[inline(always)]
pub fn fragment_set(index: u32) -> Option<&'static FragmentSet> {
    FRAGMENTS.get(index)
}

#[inline(always)]
pub fn target(id: TargetId) -> Option<&'static Target> {
    TARGETS.get(id.0 as u32)
}

/// The policy of the listener with this counter.
#[inline(always)]
pub fn policy(counter: u16) -> Stage<&'static PolicyLine> {
    POLICIES.get(counter as u32).ok_or(Reason::NoTable)
}

/// What allows a source, by the longest prefix.
#[inline(always)]
pub fn allowance(key: AllowedKey) -> Allowance {
    ALLOWED.get(Key::new(AllowedKey::BITS, key)).copied().unwrap_or(Allowance::NONE)
}

/// The line of this number of this processor's cache; a packet that is explained has one of its own.
#[inline(always)]
pub fn verdict<M: Mode>(line: usize) -> Stage<&'static mut VerdictLine> {
    // SAFETY: as in `add_reason`; the stages hold one of these references at a time.
    unsafe {
        if M::LASTS {
            let lines = VERDICTS.get_ptr_mut(0).ok_or(Reason::NoTable)?;
            Ok(&mut (*lines).0[line & (VERDICT_LINES - 1)])
        } else {
            Ok(&mut *EXPLAINED_VERDICT.get_ptr_mut(0).ok_or(Reason::NoTable)?)
        }
    }
}

/// The state of a listener's limit.
#[inline(always)]
pub fn listener_limit(counter: u16) -> Stage<&'static Shared<u64>> {
    LISTENER_LIMITS.get(counter as u32).ok_or(Reason::NoTable)
}

/// The set of the source with this hash.
#[inline(always)]
pub fn source_set(hash: u64) -> Stage<&'static SourceSet> {
    SOURCE_LIMITS.get(SourceSet::of(hash)).ok_or(Reason::NoTable)
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

/// Notes for the program that goes on with this packet how many bytes of it would fit. A packet that is explained
/// has a place of its own: on older kernels one from the network may come between its two programs.
#[inline(always)]
pub fn note_inner_mtu<M: Mode>(bytes: u16) {
    if let Some(noted) = INNER_MTU.get_ptr_mut(M::LASTS as u32) {
        // SAFETY: as in `add_reason`.
        unsafe { *noted = bytes as u64 };
    }
}

/// What [`note_inner_mtu`] was given.
#[inline(always)]
pub fn inner_mtu<M: Mode>() -> u16 {
    INNER_MTU.get(M::LASTS as u32).map_or(0, |noted| *noted as u16)
}

/// Leaves a fragment's ports to the program that goes on with it; a place of its own for a packet that is explained,
/// as in [`note_inner_mtu`].
#[inline(always)]
pub fn note_fragment<M: Mode>(ports: FragmentPorts) {
    if let Some(noted) = FRAGMENT_PORTS.get_ptr_mut(M::LASTS as u32) {
        // SAFETY: as in `add_reason`.
        unsafe { *noted = ports };
    }
}

/// What [`note_fragment`] was given for the fragment with this mark.
#[inline(always)]
pub fn fragment_ports<M: Mode>(mark: u64) -> Option<(Ports, Segment)> {
    FRAGMENT_PORTS.get(M::LASTS as u32)?.of(mark)
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

/// Lets `write` change the record of the packet that is explained.
#[inline(always)]
pub fn with_explained(write: impl FnOnce(&mut Trace)) {
    if let Some(trace) = EXPLAINED.get_ptr_mut(0) {
        // SAFETY: the one controller runs `explain` for one packet after the other, and reads the record between
        // them; this reference ends with `write`.
        write(unsafe { &mut *trace });
    }
}

/// Which packets are captured.
#[inline(always)]
pub fn capture_filter() -> Option<&'static CaptureFilter> {
    CAPTURE_FILTER.get(0)
}

/// The packet that this processor has in hand. No two of these references are used at once.
#[inline(always)]
pub fn captured() -> Option<&'static mut CaptureEvent> {
    // SAFETY: the value is this processor's own, XDP programs do not interrupt each other on it, and the stages
    // hold the reference only while they note something.
    CAPTURED.get_ptr_mut(0).map(|event| unsafe { &mut *event })
}

/// Hands the first `length` bytes of the event over; returns whether there was room.
#[inline(always)]
pub fn tell_captured(event: &CaptureEvent, length: usize) -> bool {
    let first = core::ptr::from_ref(event).cast::<u8>();
    // SAFETY: the caller has bounded the length by the event's size.
    let bytes = unsafe { core::slice::from_raw_parts(first, length) };
    CAPTURE_RING.output::<[u8]>(bytes, 0).is_ok()
}

/// Counts a packet that found the ring buffer full.
#[inline(always)]
pub fn count_lost() {
    if let Some(count) = CAPTURE_LOST.get_ptr_mut(0) {
        // SAFETY: as in `add_reason`.
        unsafe { *count += 1 };
    }
}

/// Hands a record of the flow log over, or counts that there was no room.
#[inline(always)]
pub fn tell_flow(record: &FlowRecord) {
    // User space looks every few milliseconds while it keeps a log: to wake it would cost more than the record.
    let is_told = FLOW_LOG.output::<FlowRecord>(record, BPF_RB_NO_WAKEUP.into()).is_ok();
    if !is_told && let Some(count) = FLOW_LOG_LOST.get_ptr_mut(0) {
        // SAFETY: as in `add_reason`.
        unsafe { *count += 1 };
    }
}

/// A number that nobody can foretell well enough to evade a sample.
#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_prandom_u32() }
}

/// The monotonic clock.
#[inline(always)]
pub fn monotonic_nanoseconds() -> u64 {
    // SAFETY: as in `random`.
    unsafe { bpf_ktime_get_ns() }
}
