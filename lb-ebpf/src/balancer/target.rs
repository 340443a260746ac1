//! The target stage: a target's entry.

use lb_common::{encapsulation::Target, reason::Reason, target_id::TargetId};

use crate::{Stage, maps, mode::Mode};

/// The entry of the target.
#[inline(always)]
pub fn find<M: Mode>(id: TargetId) -> Stage<&'static Target> {
    let target = maps::target(id).ok_or(Reason::NoTarget)?;
    M::note(|trace| trace.target(id, target.way));
    Ok(target)
}
