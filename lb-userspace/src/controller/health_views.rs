//! The controller's part of seeing targets as other nodes do: what this node tells them of its targets' health, and what
//! follows from what they tell.

use std::time::Instant;

use tracing::{info, warn};

use super::node::Node;
use crate::events::{Kind, Note, Object};
use crate::health::{HealthState, HealthStatus};
use crate::membership::{Combination, Combined, Grounds, OtherView, Told, View};
use crate::model::{HealthView, TargetKey};
use crate::status::report::ElsewhereReport;
use crate::table::member;

/// What is known of the targets' health.
#[derive(Debug, Default)]
pub(super) struct HealthViews {
    combination: Combination,
    /// What the other nodes said when they were read last; none while they can't be.
    others: Option<Vec<OtherView>>,
    /// By what all targets were looked at last, with thousands of which that takes milliseconds.
    looked_by: Option<(Vec<OtherView>, HealthView, u64)>,
}

impl Node {
    /// The health that is in force when this node's checks say `status` of a target.
    pub(super) fn combine(&mut self, target: &TargetKey, status: HealthStatus) -> HealthStatus {
        if self.sharing.is_none() {
            return status;
        }
        let mut views = std::mem::take(&mut self.health_views);
        let grounds = self.grounds(target, views.others.as_deref());
        let here = status.state;
        let in_force = views.combination.take(target, status, &grounds);
        if in_force.state != here {
            info!(
                "{} of {}: {here} here, {} by the word of most nodes",
                target.address, target.target_group, in_force.state
            );
        }
        self.health_views = views;
        in_force
    }

    /// Takes over what the other nodes say now.
    pub(super) fn hear_others(&mut self) {
        let Some(shared) = &self.sharing else { return };
        let now = Instant::now();
        let others = shared.membership.views(now);
        let by = others.clone().map(|others| (others, self.desired().node.health_view, shared.in_force()));
        let mut views = std::mem::take(&mut self.health_views);
        views.others = others;
        let registry = self.reconciler.registry();
        views.combination.retain(|key| registry.record(key).is_some());
        if by.is_some() && (by != views.looked_by || views.combination.is_contradicted()) {
            views.looked_by = by;
            let keys: Vec<TargetKey> = views.combination.keys().cloned().collect();
            for key in keys {
                self.look_again(&mut views.combination, &views.others, &key, now);
            }
        }
        self.health_views = views;
    }

    fn look_again(
        &mut self,
        combination: &mut Combination,
        others: &Option<Vec<OtherView>>,
        key: &TargetKey,
        now: Instant,
    ) {
        let in_force = combination.look(key, &self.grounds(key, others.as_deref()));
        if let Some(status) = in_force {
            info!("{} of {}: {status}, as most nodes see it so", key.address, key.target_group);
            self.take_health(key, status, now);
        } else if combination.of(key).is_some_and(Combined::is_news) {
            self.news.of_target(key.clone());
        }
        if let Some(told) = combination.tell(key, now) {
            self.note_contradiction(combination, key, told);
        }
    }

    /// Forgets what the others said if it is too long ago.
    pub(super) fn forget_unheard(&mut self) {
        let is_heard = self.sharing.as_ref().is_some_and(|shared| shared.membership.is_fresh(Instant::now()));
        if !is_heard {
            self.health_views.others = None;
        }
    }

    /// What this node tells the others of the targets that it checks.
    pub(super) fn own_view(&self) -> Option<View> {
        let (registry, combination) = (self.reconciler.registry(), &self.health_views.combination);
        let used = self.desired().target_groups.keys().filter(|name| self.reconciler.is_in_use(name));
        let checked = used.flat_map(|name| registry.group(name).map(move |(address, _)| (name, address)));
        View::of(checked.map(|(name, address)| {
            let key = TargetKey { target_group: name.clone(), address };
            (identity(&key), combination.seen(&key))
        }))
    }

    /// A target's health in force, with what people should know beyond.
    pub(super) fn explained(&self, key: &TargetKey, status: HealthStatus) -> HealthStatus {
        let is_decided = matches!(
            status.state,
            HealthState::Healthy | HealthState::Unhealthy | HealthState::UnhealthyDraining
        );
        match self.health_views.combination.of(key) {
            Some(combined) if is_decided => combined.explain(status),
            _ => status,
        }
    }

    /// How others see a target, where that is worth a word.
    pub(super) fn elsewhere(&self, key: &TargetKey) -> Option<ElsewhereReport> {
        let combined = self.health_views.combination.of(key)?;
        combined.is_seen_otherwise().then(|| ElsewhereReport {
            healthy_here: !combined.is_unhealthy_here(),
            healthy: combined.votes.healthy as u64,
            unhealthy: combined.votes.unhealthy as u64,
        })
    }

    fn grounds<'g>(&'g self, key: &'g TargetKey, others: Option<&'g [OtherView]>) -> Grounds<'g> {
        let desired = self.desired();
        let is_across_zones =
            desired.target_groups.get(&key.target_group).is_some_and(|group| group.cross_zone);
        let record = self.reconciler.registry().record(key);
        Grounds {
            policy: desired.node.health_view,
            others,
            generation: self.sharing.as_ref().map_or(0, |shared| shared.in_force()),
            identity: identity(key),
            zone: record.filter(|_| !is_across_zones).map(|record| record.zone.as_str()),
        }
    }

    fn note_contradiction(&self, combination: &Combination, key: &TargetKey, told: Told) {
        let Some(combined) = combination.of(key) else { return };
        let here = if combined.is_unhealthy_here() { "unhealthy" } else { "healthy" };
        let what = match (told, self.desired().node.health_view) {
            (Told::Agreed, _) => "no longer seen otherwise by all other nodes".to_owned(),
            (Told::Contradicted, HealthView::Own) => {
                format!("{here} here alone: all other nodes that check it see it otherwise")
            }
            (Told::Contradicted, HealthView::Majority) => {
                format!(
                    "{here} here alone: all other nodes that check it see it otherwise, and most of all decide"
                )
            }
        };
        match told {
            Told::Agreed => info!("{} of {}: {what}", key.address, key.target_group),
            Told::Contradicted => warn!("{} of {}: {what}", key.address, key.target_group),
        }
        let why = combined.own.description.clone();
        let object = Object::target(key);
        self.journal.note(Note { kind: Kind::Health, who: "other nodes".to_owned(), object, what, why });
    }
}

fn identity(key: &TargetKey) -> u64 {
    member::identity(&key.target_group, key.address)
}
