//! The ends of deregistered targets: when they have drained, nothing is left of them.

use std::sync::Arc;

use super::records::TargetGroup;
use super::transaction::Transaction;
use crate::api::calendar::Timestamp;

/// When the first of the groups' deregistered targets has drained.
pub(super) fn first<'a>(groups: impl Iterator<Item = &'a Arc<TargetGroup>>) -> Option<Timestamp> {
    groups.flat_map(|group| &group.targets).filter_map(|target| target.drains_until).min()
}

/// Removes the targets that have drained by now.
pub(super) fn remove(state: &mut Transaction, now: Timestamp) {
    let has_ended = |group: &TargetGroup| group.targets.iter().any(|target| !target.is_there(now));
    let groups = state.target_groups.iter().filter(|(_, group)| has_ended(group));
    for name in groups.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
        if let Some(group) = state.target_group_mut(&name) {
            group.targets.retain(|target| target.is_there(now));
        }
    }
}
