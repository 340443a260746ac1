//! The shared types as plain data for aya's map accessors.

use crate::address_table::AddressLine;
use crate::bench::{Flood, RestoredFrame, Workload};
use crate::capture::{CaptureFilter, CaptureHeader};
use crate::encapsulation::Target;
use crate::flow_log::FlowRecord;
use crate::listener::{QuicServerKey, Traffic};
use crate::maps::Settings;
use crate::policy::{Allowance, AllowedKey};
use crate::port_translation::PortKey;
use crate::trace::Trace;
use crate::tunnel::PeerWay;

// SAFETY: `repr(C)` of integers only; the size assertions below prove that there is no padding.
unsafe impl aya::Pod for Settings {}
// SAFETY: as above.
unsafe impl aya::Pod for Traffic {}
// SAFETY: as above.
unsafe impl aya::Pod for QuicServerKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Target {}
// SAFETY: as above.
unsafe impl aya::Pod for Workload {}
// SAFETY: as above.
unsafe impl aya::Pod for Flood {}
// SAFETY: as above.
unsafe impl aya::Pod for RestoredFrame {}
// SAFETY: as above.
unsafe impl aya::Pod for AddressLine {}
// SAFETY: as above.
unsafe impl aya::Pod for PortKey {}
// SAFETY: as above.
unsafe impl aya::Pod for PeerWay {}

// SAFETY: as above.
unsafe impl aya::Pod for Trace {}
// SAFETY: as above.
unsafe impl aya::Pod for CaptureFilter {}
// SAFETY: as above.
unsafe impl aya::Pod for CaptureHeader {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowRecord {}

// SAFETY: as above.
unsafe impl aya::Pod for AllowedKey {}
// SAFETY: as above; it is one integer.
unsafe impl aya::Pod for Allowance {}

/// The value at the beginning of `bytes`, whatever their alignment.
pub fn read<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: so many bytes are there, and every bit pattern is a value of a plain type.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

const _: () = {
    assert!(size_of::<Settings>() == 2 * 4 * 8 + 16 + 4 + 4 + 4 + 4 + 4 + 4);
    assert!(size_of::<QuicServerKey>() == 4 + 4 + 8);
    assert!(size_of::<crate::listener::ListenerLine>() == 64);
    assert!(size_of::<Traffic>() == 16);
    assert!(size_of::<Target>() == 8 + 4 + 4 + 72 + 5 * 8);
    assert!(size_of::<PeerWay>() == 4 + 3 * 4);
    assert!(size_of::<AddressLine>() == 64);
    assert!(size_of::<PortKey>() == 16 + 2 + 1 + 1);
    assert!(size_of::<Workload>() == 8 + 8 + 4 + 4 + 2 + 3 * 2);
    assert!(size_of::<Flood>() == 8 + 16 + 4 + 2 + 2 + 4 + 4);
    assert!(size_of::<RestoredFrame>() == 8 + 3 * 7 * 8);
    assert!(size_of::<FlowRecord>() == 8 + 2 * 16 + 4 + 2 + 1 + 1);
    assert!(size_of::<CaptureFilter>() == 8 + 2 * 16 + 4 + 4 * 2 + 4);
    assert!(size_of::<CaptureHeader>() == size_of::<Trace>() + 8 + 3 * 4 + 2 * 2);
    assert!(size_of::<Trace>() == 2 * 16 + 6 * 8 + 4 * 4 + 4 * 2 + 4 + 4 + 4 + 2 * 2 + 4 * 2);
    assert!(size_of::<crate::maps::SlotLine>() == 64);
    assert!(size_of::<crate::maps::ExceptionLine>() == 64);
    assert!(size_of::<crate::flow_table::FlowSet>() == 64);
    assert!(size_of::<AllowedKey>() == 4 + 16);
    assert!(size_of::<crate::policy::PolicyLine>() == 64);
    // A per-CPU value has at most 32 KiB (the kernel's PCPU_MIN_UNIT_SIZE).
    assert!(size_of::<crate::policy::VerdictLines>() == 32 << 10);
    assert!(size_of::<crate::source_limits::SourceSet>() == 64);
    assert!(size_of::<crate::fragments::FragmentSet>() == 64);
};
