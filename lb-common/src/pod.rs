//! The shared types as plain data for aya's map accessors.

use crate::bench::Workload;
use crate::encapsulation::Target;
use crate::listener::{QuicServerKey, Traffic};
use crate::maps::Settings;

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

const _: () = {
    assert!(size_of::<Settings>() == 16 + 4 + 4 + 4 + 4);
    assert!(size_of::<QuicServerKey>() == 4 + 4 + 8);
    assert!(size_of::<crate::listener::ListenerLine>() == 64);
    assert!(size_of::<Traffic>() == 16);
    assert!(size_of::<Target>() == 8 + 4 + 4 + 72 + 5 * 8);
    assert!(size_of::<Workload>() == 8 + 8 + 4 + 4 + 2 + 3 * 2);
    assert!(size_of::<crate::maps::SlotLine>() == 64);
    assert!(size_of::<crate::maps::ExceptionLine>() == 64);
    assert!(size_of::<crate::flow_table::FlowSet>() == 64);
};
