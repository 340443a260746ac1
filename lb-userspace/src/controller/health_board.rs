//! The controller's part of telling the API the targets' health: only what is in force is told.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::node::Node;
use crate::api::health_board::HealthBoard;
use crate::health::{HealthState, HealthStatus};
use crate::model::{Desired, TargetKey};
use crate::next_hop::{Resolutions, Unresolved};

/// What the board does not show yet.
#[derive(Debug, Default)]
pub(super) struct News {
    targets: BTreeSet<TargetKey>,
    groups: BTreeSet<String>,
    is_way_changed: bool,
}

impl News {
    /// Something was found out about a target.
    pub(super) fn of_target(&mut self, target: TargetKey) {
        self.targets.insert(target);
    }

    /// The ways to the targets changed.
    pub(super) fn of_ways(&mut self) {
        self.is_way_changed = true;
    }

    /// Target groups came, went or changed.
    pub(super) fn of_groups(&mut self, before: &Desired, now: &Desired) {
        let (before, now) = (&before.target_groups, &now.target_groups);
        let gone = before.keys().filter(|name| !now.contains_key(*name));
        let other = now.iter().filter(|(name, group)| before.get(*name) != Some(*group));
        self.groups.extend(gone.chain(other.map(|(name, _)| name)).cloned());
    }
}

impl Node {
    /// From now on the targets' health is told there.
    pub(super) fn set_health_board(&mut self, board: Option<Arc<HealthBoard>>) {
        self.health_board = board;
        self.news.groups.extend(self.reconciler.desired().target_groups.keys().cloned());
        self.news.of_ways();
    }

    /// Tells what is new since the last time.
    pub(super) fn post_health(&mut self) {
        let News { targets, groups, is_way_changed } = std::mem::take(&mut self.news);
        let Some(board) = self.health_board.clone() else { return };
        for name in &groups {
            if self.desired().target_groups.contains_key(name) {
                board.post_group(name, self.health_of(name));
            } else {
                board.remove_group(name);
            }
        }
        for target in targets.into_iter().filter(|target| !groups.contains(&target.target_group)) {
            if let Some(status) = self.health_of_target(&target) {
                // That ends by itself, without a check.
                if status.state == HealthState::UnhealthyDraining {
                    self.news.of_target(target.clone());
                }
                board.post(&target.target_group, target.address, status);
            }
        }
        if is_way_changed {
            board.post_cut_off(cut_off(self.reconciler.next_hops()));
        }
    }

    fn health_of(&self, group: &str) -> HashMap<IpAddr, HealthStatus> {
        let records = self.reconciler.registry().group(group).filter(|(_, record)| !record.is_draining());
        let status = |address| {
            let key = TargetKey { target_group: group.to_owned(), address };
            Some((address, self.health_of_target(&key)?))
        };
        records.filter_map(|(address, _)| status(address)).collect()
    }

    /// What is known of a target that is checked. Its record may still have what an earlier check found.
    fn health_of_target(&self, target: &TargetKey) -> Option<HealthStatus> {
        let checked = self.observers.health.status(target)?;
        let record = self.reconciler.registry().record(target)?;
        let is_open = checked.state == HealthState::Initial;
        Some(if is_open { checked } else { self.explained(target, record.health.clone()) })
    }
}

/// The targets that packets can't be sent to. A neighbour that is asked for the first time is not missed yet.
fn cut_off(ways: &Resolutions) -> HashMap<IpAddr, String> {
    let problem = |(address, way): (&IpAddr, &crate::next_hop::Resolution)| match way {
        Ok(_) | Err(Unresolved::NeighbourPending { .. }) => None,
        Err(problem) => Some((*address, problem.to_string())),
    };
    ways.iter().filter_map(problem).collect()
}
