//! The target stage: a target's entry.

use lb_common::{encapsulation::Target, reason::Reason, target_id::TargetId};

use crate::{Stage, maps};

/// The entry of the target.
#[inline(always)]
pub fn find(id: TargetId) -> Stage<&'static Target> {
    maps::target(id).ok_or(Reason::NoTarget)
}
