//! The counters: per processor, nothing else is written for a packet of a stable slot.

use lb_common::target_id::TargetId;

use crate::maps;

/// Counts a packet that was not forwarded, by the number of its reason.
#[inline(always)]
pub fn count_reason(number: u32) {
    maps::add_reason(number);
}

/// Counts a forwarded packet of `bytes`, from its inner IP header on.
#[inline(always)]
pub fn count_traffic(listener: u16, target: TargetId, bytes: u16) {
    maps::add_listener_traffic(listener, bytes);
    maps::add_target_traffic(target, bytes);
}
