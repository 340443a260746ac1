//! Fewer capabilities, for good.

use std::fs::File;
use std::path::Path;
use std::thread;

use anyhow::Context;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// Gives up all capabilities but those of `kept` that the calling thread has, and every way to get any back: no program
/// that it executes gives it more rights (`no_new_privs`), and where it may (CAP_SETPCAP) it empties the bounding set,
/// too. Threads that it starts from now on are the same; those that there are keep what they have.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn keep_only(kept: CapabilitySet) -> anyhow::Result<()> {
    set_no_new_privs(true).context("giving up new privileges (PR_SET_NO_NEW_PRIVS)")?;
    clear_ambient_capability_set().context("emptying the ambient set of capabilities")?;
    let held = capabilities(None).context("asking for this process's capabilities")?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        bound(kept)?;
    }
    let kept = held.permitted & kept;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("giving up capabilities")
}

/// What reading this file takes of a process that reads it now: nothing, or root's right to others' files.
pub(super) fn to_read(file: &Path) -> CapabilitySet {
    let without = || keep_only(CapabilitySet::empty()).is_ok() && File::open(file).is_ok();
    // What a thread gives up is its own.
    let is_readable = thread::scope(|scope| scope.spawn(without).join().unwrap_or(false));
    if is_readable { CapabilitySet::empty() } else { CapabilitySet::DAC_READ_SEARCH }
}

fn bound(kept: CapabilitySet) -> anyhow::Result<()> {
    for capability in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !kept.contains(capability) => {
                remove_capability_from_bounding_set(capability)
                    .context("taking a capability out of the bounding set")?;
            }
            Ok(_) => {}
            // This kernel has no more of them.
            Err(Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error).context("asking for the bounding set of capabilities"),
        }
    }
    Ok(())
}
