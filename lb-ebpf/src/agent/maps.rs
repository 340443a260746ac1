//! The agent's maps, and the look-ups in them: all of this program's unsafe code about maps is here.

use aya_ebpf::{
    EbpfContext,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, lpm_trie::Key},
};
use lb_common::{
    address_table::{self, AddressLine, LINES},
    gue::probe::Capabilities,
    port_translation::PortKey,
    reason::Reason,
    tunnel::{Continuation, MAX_PEER_WAYS, PeerWay},
};

const CONTINUATIONS: u32 = Continuation::ALL.len() as u32;

#[map]
static NODES: Array<AddressLine> = Array::with_max_entries(LINES, 0);
#[map]
static LOCALS: Array<AddressLine> = Array::with_max_entries(LINES, 0);
#[map]
static AGENT_VIPS: Array<AddressLine> = Array::with_max_entries(LINES, 0);
#[map]
static PEERS: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(1024, 0);
#[map]
static REACHED_PEERS: Array<AddressLine> = Array::with_max_entries(LINES, 0);
#[map]
static PEER_WAYS: Array<PeerWay> = Array::with_max_entries(MAX_PEER_WAYS, 0);
#[map]
static WANTED_PEERS: LruHashMap<[u32; 4], u32> = LruHashMap::with_max_entries(256, 0);
#[map]
static PORTS: HashMap<PortKey, u32> = HashMap::with_max_entries(1024, 0);
#[map]
static CAPABILITIES: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static AGENT_CONTINUATIONS: ProgramArray = ProgramArray::with_max_entries(CONTINUATIONS, 0);
#[map]
static AGENT_TC_CONTINUATIONS: ProgramArray = ProgramArray::with_max_entries(CONTINUATIONS, 0);
#[map]
static MSS_LIMITS: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);
#[map]
static REASON_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Reason::COUNTERS as u32, 0);

/// Whether a node sends from this address.
#[inline(always)]
pub fn is_node(address: &[u32; 4]) -> bool {
    value(&NODES, *address) != 0
}

/// Whether tunnels end at this address.
#[inline(always)]
pub fn is_local(address: &[u32; 4]) -> bool {
    value(&LOCALS, *address) != 0
}

/// Whether another target sends from this address, and takes what is handed on there.
#[inline(always)]
pub fn is_peer(address: [u32; 4]) -> bool {
    value(&REACHED_PEERS, address) != 0 || PEERS.get(Key::new(128, address)).is_some()
}

/// How a peer is reached, if that is known.
#[inline(always)]
pub fn peer_way(address: &[u32; 4]) -> Option<&'static PeerWay> {
    match value(&REACHED_PEERS, *address) {
        0 => None,
        index => PEER_WAYS.get(index),
    }
}

/// Remembers that a packet could not be handed on to the peer.
#[inline(always)]
pub fn want_peer(address: &[u32; 4]) {
    // A map without room has enough to do.
    let _ = WANTED_PEERS.insert(address, 0, 0);
}

/// What is to be known of an address if this target serves it: `KNOWN` or `TRANSLATED`.
#[inline(always)]
pub fn vip(address: &[u32; 4]) -> Option<u32> {
    let value = value(&AGENT_VIPS, *address);
    if value == 0 { None } else { Some(value) }
}

/// The other port of a pair, bytes as on the wire.
#[inline(always)]
pub fn other_port(key: &PortKey) -> Option<u16> {
    // SAFETY: as in `mss_limits`.
    unsafe { PORTS.get(key) }.map(|port| *port as u16)
}

/// What the agent can do.
#[inline(always)]
pub fn capabilities() -> Capabilities {
    Capabilities(CAPABILITIES.get(0).copied().unwrap_or(0))
}

/// Leaves the packet to another XDP program; returns if there is none.
#[inline(always)]
pub fn continue_in_xdp(context: &impl EbpfContext, continuation: Continuation) {
    tail_call(&AGENT_CONTINUATIONS, context, continuation);
}

/// Leaves the packet to another tc program; returns if there is none.
#[inline(always)]
pub fn continue_in_tc(context: &impl EbpfContext, continuation: Continuation) {
    tail_call(&AGENT_TC_CONTINUATIONS, context, continuation);
}

/// One call for each program: of a number that the verifier knows the kernel makes a jump, of another an indirect one,
/// which costs 10 ns with the processors' mitigations.
#[inline(always)]
fn tail_call(programs: &ProgramArray, context: &impl EbpfContext, continuation: Continuation) {
    match continuation {
        Continuation::HandOn => tail_call_to::<{ Continuation::HandOn as u32 }>(programs, context),
        Continuation::Icmp => tail_call_to::<{ Continuation::Icmp as u32 }>(programs, context),
        Continuation::Probe => tail_call_to::<{ Continuation::Probe as u32 }>(programs, context),
        Continuation::Extended => tail_call_to::<{ Continuation::Extended as u32 }>(programs, context),
    }
}

#[inline(always)]
fn tail_call_to<const INDEX: u32>(programs: &ProgramArray, context: &impl EbpfContext) {
    // SAFETY: the kernel checks the program's type and the depth of calls; nothing of this run is used after it.
    unsafe { programs.tail_call(context, INDEX) };
    // SAFETY: it writes r0 alone, and tells it. Without it the compiler makes one call of four that end alike.
    unsafe { core::arch::asm!("r0 = {}", const INDEX, out("r0") _) };
}

/// The `MssLimits` of what leaves by this interface.
#[inline(always)]
pub fn mss_limits(interface: u32) -> Option<u32> {
    // SAFETY: an element of a preallocated hash map stays readable for the run of the program.
    unsafe { MSS_LIMITS.get(&interface) }.copied()
}

/// The value of an address; zero if the table does not have it.
#[inline(always)]
fn value(table: &Array<AddressLine>, address: [u32; 4]) -> u32 {
    let first = address_table::first_line(address);
    let in_line = |line| table.get(line).map_or(0, |line| line.value(address));
    match in_line(first) {
        0 => in_line(address_table::other_line(first)),
        value => value,
    }
}

/// Counts a packet by what became of it.
#[inline(always)]
pub fn add_reason(reason: Reason) {
    if let Some(count) = REASON_COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: the value is this processor's own, and XDP programs do not interrupt each other on it.
        unsafe { *count += 1 };
    }
}
