//! The agent's maps, and the look-ups in them: all of this program's unsafe code about maps is here.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use lb_common::reason::Reason;

#[map]
static NODES: HashMap<[u32; 4], u32> = HashMap::with_max_entries(1024, 0);
#[map]
static LOCALS: HashMap<[u32; 4], u32> = HashMap::with_max_entries(1024, 0);
#[map]
static AGENT_VIPS: HashMap<[u32; 4], u32> = HashMap::with_max_entries(1024, 0);
#[map]
static MSS_LIMITS: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);
#[map]
static REASON_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(64, 0);

/// Whether a node sends from this address.
#[inline(always)]
pub fn is_node(address: &[u32; 4]) -> bool {
    has(&NODES, address)
}

/// Whether tunnels end at this address.
#[inline(always)]
pub fn is_local(address: &[u32; 4]) -> bool {
    has(&LOCALS, address)
}

/// Whether this target serves the address.
#[inline(always)]
pub fn is_vip(address: &[u32; 4]) -> bool {
    has(&AGENT_VIPS, address)
}

/// The `MssLimits` of what leaves by this interface.
#[inline(always)]
pub fn mss_limits(interface: u32) -> Option<u32> {
    // SAFETY: an element of a preallocated hash map stays readable for the run of the program.
    unsafe { MSS_LIMITS.get(&interface) }.copied()
}

#[inline(always)]
fn has(addresses: &HashMap<[u32; 4], u32>, address: &[u32; 4]) -> bool {
    // SAFETY: only whether the key exists is asked; the value is never read.
    unsafe { addresses.get(address) }.is_some()
}

/// Counts a packet by what became of it.
#[inline(always)]
pub fn add_reason(reason: Reason) {
    if let Some(count) = REASON_COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: the value is this processor's own, and XDP programs do not interrupt each other on it.
        unsafe { *count += 1 };
    }
}
