//! Whose word counts of a target's health: this node's own, or that of most nodes. Pure.
//!
//! ```text
//!   own checks ──────────┐
//!   others' fresh views ─┼─► health that is in force ─► tables
//!   the policy ──────────┘
//! ```
//!
//! By the majority's word a target that this node alone can't reach stays in service here, too, and one that only this
//! node reaches does not: so tables stay equal. A tie is decided by each node for itself. While nobody can be heard
//! nothing changes but by this node's own checks: what was in force stays until they say something new.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::LASTING;
use super::view::{Seen, View};
use crate::health::{HealthState, HealthStatus, Reason};
use crate::model::{HealthView, TargetKey};

/// What another node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherView {
    /// Its zone.
    pub zone: String,
    /// The generation of the state that it follows: it has no view of targets that came later.
    pub generation: u64,
    /// Its view.
    pub view: View,
}

/// How many other nodes see a target so; those without a view of it do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Votes {
    /// Healthy.
    pub healthy: usize,
    /// Unhealthy.
    pub unhealthy: usize,
}

impl Votes {
    /// How many of the others have a say.
    pub fn others(self) -> usize {
        self.healthy + self.unhealthy
    }

    /// Whether a target is unhealthy by a policy, if this node sees it so.
    pub fn decide(self, policy: HealthView, is_unhealthy_here: bool) -> bool {
        let unhealthy = self.unhealthy + usize::from(is_unhealthy_here);
        match (policy, (2 * unhealthy).cmp(&(self.others() + 1))) {
            (HealthView::Own, _) | (_, std::cmp::Ordering::Equal) => is_unhealthy_here,
            (HealthView::Majority, order) => order.is_gt(),
        }
    }

    /// Whether no other node sees a target as this one does, and some see it.
    pub fn contradict(self, is_unhealthy_here: bool) -> bool {
        let agreeing = if is_unhealthy_here { self.unhealthy } else { self.healthy };
        agreeing == 0 && self.others() > 0
    }
}

/// By what a target's health is decided at a moment.
pub struct Grounds<'g> {
    /// The policy.
    pub policy: HealthView,
    /// The views of other nodes; none while they can't be heard.
    pub others: Option<&'g [OtherView]>,
    /// The generation that this node follows.
    pub generation: u64,
    /// What the target is called by all nodes.
    pub identity: u64,
    /// The zone whose nodes alone use it, if it is not used across zones.
    pub zone: Option<&'g str>,
}

/// One target, as this node and the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combined {
    /// What this node's checks say: healthy or unhealthy.
    pub own: HealthStatus,
    /// What the others say.
    pub votes: Votes,
    /// Whether it is unhealthy by all that.
    pub is_unhealthy: bool,
    /// Whether the last look at others' views found something new.
    is_news: bool,
    /// The generation that this node followed when it knew the target first.
    known_since: u64,
    /// Since when all others see it otherwise, and whether that was told.
    contradicted: Option<(Instant, bool)>,
}

/// What people are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// All other nodes have seen the target otherwise for long.
    Contradicted,
    /// That is over.
    Agreed,
}

/// All targets that this node's checks have decided on.
#[derive(Debug, Default)]
pub struct Combination(BTreeMap<TargetKey, Combined>);

impl Combination {
    /// Takes in what this node's checks say: the health that is in force by that.
    pub fn take(&mut self, key: &TargetKey, status: HealthStatus, grounds: &Grounds) -> HealthStatus {
        if !matches!(status.state, HealthState::Healthy | HealthState::Unhealthy) {
            self.0.remove(key);
            return status;
        }
        let is_unhealthy = status.state == HealthState::Unhealthy;
        let before = self.0.get(key);
        let mut combined = Combined {
            own: status,
            votes: Votes::default(),
            is_unhealthy,
            is_news: false,
            known_since: before.map_or(grounds.generation, |before| before.known_since),
            contradicted: before.and_then(|before| before.contradicted),
        };
        if let (None, Some(before)) = (grounds.others, before)
            && before.own.state == combined.own.state
        {
            (combined.votes, combined.is_unhealthy) = (before.votes, before.is_unhealthy);
        }
        combined.vote(grounds);
        let in_force = combined.in_force();
        self.0.insert(key.clone(), combined);
        in_force
    }

    /// Looks at a target again, as others may see it otherwise now: the health in force, if it is another than before.
    pub fn look(&mut self, key: &TargetKey, grounds: &Grounds) -> Option<HealthStatus> {
        let combined = self.0.get_mut(key)?;
        let before = combined.is_unhealthy;
        combined.vote(grounds);
        (combined.is_unhealthy != before).then(|| combined.in_force())
    }

    /// What is to be told of a target by now, if anything.
    pub fn tell(&mut self, key: &TargetKey, now: Instant) -> Option<Told> {
        let combined = self.0.get_mut(key)?;
        let is_contradicted = combined.votes.contradict(combined.is_unhealthy_here());
        let (since, was_told) = match (combined.contradicted, is_contradicted) {
            (Some(known), true) => known,
            (None, true) => (now, false),
            (Some((_, was_told)), false) => {
                combined.contradicted = None;
                return was_told.then_some(Told::Agreed);
            }
            (None, false) => return None,
        };
        let lasts = now.saturating_duration_since(since) >= LASTING;
        combined.contradicted = Some((since, was_told || lasts));
        (lasts && !was_told).then_some(Told::Contradicted)
    }

    /// Forgets all targets that this denies.
    pub fn retain(&mut self, is_known: impl Fn(&TargetKey) -> bool) {
        self.0.retain(|key, _| is_known(key));
    }

    /// Whether some target is seen otherwise by all other nodes, of which more is to be told with time perhaps.
    pub fn is_contradicted(&self) -> bool {
        let is_contradicted = |at: &Combined| at.votes.contradict(at.is_unhealthy_here());
        self.0.values().any(|combined| combined.contradicted.is_some() || is_contradicted(combined))
    }

    /// One target.
    pub fn of(&self, key: &TargetKey) -> Option<&Combined> {
        self.0.get(key)
    }

    /// All targets.
    pub fn keys(&self) -> impl Iterator<Item = &TargetKey> {
        self.0.keys()
    }

    /// What this node tells the others of a target.
    pub fn seen(&self, key: &TargetKey) -> Seen {
        match self.0.get(key) {
            None => Seen::Unknown,
            Some(combined) if combined.is_unhealthy_here() => Seen::Unhealthy,
            Some(_) => Seen::Healthy,
        }
    }
}

impl Combined {
    /// Whether this node's own checks fail.
    pub fn is_unhealthy_here(&self) -> bool {
        self.own.state == HealthState::Unhealthy
    }

    /// Whether others were found to see it otherwise than before.
    pub fn is_news(&self) -> bool {
        self.is_news
    }

    /// Whether others' word goes before this node's, or all of them contradict it.
    pub fn is_seen_otherwise(&self) -> bool {
        let is_unhealthy_here = self.is_unhealthy_here();
        self.is_unhealthy != is_unhealthy_here || self.votes.contradict(is_unhealthy_here)
    }

    fn vote(&mut self, grounds: &Grounds) {
        let Some(others) = grounds.others else { return };
        let has_say = |other: &&OtherView| {
            other.generation >= self.known_since && grounds.zone.is_none_or(|zone| other.zone == zone)
        };
        let mut votes = Votes::default();
        for other in others.iter().filter(has_say) {
            match other.view.seen(grounds.identity) {
                Seen::Healthy => votes.healthy += 1,
                Seen::Unhealthy => votes.unhealthy += 1,
                Seen::Unknown => {}
            }
        }
        self.is_news = self.votes != votes;
        self.votes = votes;
        self.is_unhealthy = votes.decide(grounds.policy, self.is_unhealthy_here());
    }

    /// The health in force, in words that do not change with the number of nodes that see it.
    fn in_force(&self) -> HealthStatus {
        match (self.is_unhealthy_here(), self.is_unhealthy) {
            (true, true) | (false, false) => self.own.clone(),
            (true, false) => HealthStatus::healthy(),
            (false, true) => HealthStatus::described(
                HealthState::Unhealthy,
                Reason::FailedHealthChecks,
                "Health checks failed at most nodes",
            ),
        }
    }

    /// What people should know beyond what `status`, which is in force, says.
    pub fn explain(&self, status: HealthStatus) -> HealthStatus {
        let Votes { healthy, unhealthy } = self.votes;
        let nodes = self.votes.others() + 1;
        let words = match (self.is_unhealthy_here(), self.is_unhealthy) {
            (true, false) if unhealthy == 0 => {
                format!(
                    "unhealthy here alone ({}); in service, as {healthy} of {nodes} nodes see it healthy",
                    self.why()
                )
            }
            (true, false) => {
                format!(
                    "unhealthy here ({}); in service, as {healthy} of {nodes} nodes see it healthy",
                    self.why()
                )
            }
            (false, true) => format!("Health checks failed at {unhealthy} of {nodes} nodes; they pass here"),
            (true, true) if self.votes.contradict(true) => {
                format!("{}; unhealthy here alone, healthy at {healthy} other nodes", self.why())
            }
            (false, false) if self.votes.contradict(false) => {
                format!("healthy here alone, unhealthy at {unhealthy} other nodes")
            }
            _ => return status,
        };
        HealthStatus { description: Some(words), ..status }
    }

    /// Why this node's checks fail.
    fn why(&self) -> &str {
        self.own.description.as_deref().unwrap_or("Health checks failed")
    }
}

/// For how long a node's last view counts after it was last present, while the others can be read: as long as it takes
/// all nodes to say again what they are after the store was emptied.
pub const GRACE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
