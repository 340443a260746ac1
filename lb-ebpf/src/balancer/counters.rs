//! The counters: per processor, nothing else is written for a packet of a stable slot.

use lb_common::target_id::TargetId;

use crate::{maps, mode::Mode};

/// Counts a packet that was not forwarded, by the number of its reason.
#[inline(always)]
pub fn count_reason<M: Mode>(number: u32) {
    M::note(|trace| trace.ends(number as u8));
    if M::LASTS {
        maps::add_reason(number);
    }
}

/// Counts a forwarded packet of `bytes`, from its inner IP header on.
#[inline(always)]
pub fn count_traffic<M: Mode>(listener: u16, target: TargetId, bytes: u16) {
    if M::LASTS {
        maps::add_listener_traffic(listener, bytes);
        maps::add_target_traffic(target, bytes);
    }
}
