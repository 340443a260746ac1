//! Whether the node is fit to announce a VIP: what the target groups' failover thresholds say.
//!
//! Pure, and of this node alone. What the other nodes see is not known here: that all stay where all are unfit is the
//! announcer's to see to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::action::{Census, census, is_in_scope};
use super::reconciler::Reconciler;
use super::registry::Record;
use crate::health::HealthState;
use crate::model::{ForwardAction, LoadBalancer, Threshold};
use crate::presence::AgentState;

/// Whether a node is to announce a VIP, as far as health goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitness {
    /// It is.
    Fit,
    /// The VIP is another zone's, which is named.
    OtherZone(String),
    /// Too few targets are known to be healthy, and others were not checked yet that may be. One sentence for each target
    /// group of which that is so.
    Undecided {
        /// The sentences.
        why: Vec<String>,
        /// Whether some of the targets were checked, and are not healthy.
        some_failed: bool,
    },
    /// Too few targets are healthy: one sentence for each target group of which that is so.
    Unfit(Vec<String>),
}

/// A target group's threshold that is not met.
struct Breach {
    why: String,
    /// Whether it is met as soon as those that were not checked yet are healthy.
    is_undecided: bool,
    /// Whether some that were checked are not healthy.
    some_failed: bool,
}

impl std::fmt::Display for Fitness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fitness::Fit => f.write_str("fit"),
            Fitness::OtherZone(zone) => write!(f, "the VIP is zone {zone}'s"),
            Fitness::Undecided { why, .. } | Fitness::Unfit(why) => f.write_str(&why.join("; ")),
        }
    }
}

impl Reconciler {
    /// Whether this node is to announce each VIP of a load balancer; nothing if there is no such load balancer.
    ///
    /// One target group whose failover threshold is breached is enough, as clients of its listener are not served
    /// here; groups of weight 0 have no say, nor have groups without a target that is to get flows: no node serves their
    /// clients, and those of the other listeners would be lost.
    pub fn fitness(&self, load_balancer: &str) -> BTreeMap<IpAddr, Fitness> {
        let Some(load_balancer) = self.desired().load_balancers.get(load_balancer) else {
            return BTreeMap::new();
        };
        let health = self.health(load_balancer);
        let of = |vip: &IpAddr| match load_balancer.vip_zones.get(vip) {
            Some(zone) if *zone != self.desired().node.zone => Fitness::OtherZone(zone.clone()),
            _ => health.clone(),
        };
        load_balancer.vips.iter().map(|vip| (*vip, of(vip))).collect()
    }

    /// Whether of some target group that a load balancer uses, no target is healthy.
    pub fn has_nobody(&self, load_balancer: &str) -> bool {
        let groups = self.used_groups(load_balancer);
        groups
            .into_iter()
            .any(|group| self.has_targets(group) && census(self.used_targets(group)).healthy == 0)
    }

    /// Whether some target that a load balancer uses is only assumed to be healthy, as it was there at the start.
    pub fn assumes(&self, load_balancer: &str) -> bool {
        let groups = self.used_groups(load_balancer);
        let is_assumed = |record: &Record| record.assumed && record.health.state == HealthState::Initial;
        groups.into_iter().any(|group| self.used_targets(group).any(is_assumed))
    }

    /// The target groups that a load balancer's listeners send flows to.
    pub fn used_groups<'a>(&'a self, load_balancer: &str) -> BTreeSet<&'a str> {
        let load_balancer = self.desired().load_balancers.get(load_balancer);
        let listeners = load_balancer.into_iter().flat_map(|load_balancer| &load_balancer.listeners);
        listeners.flat_map(|listener| listener.forward.used_groups()).collect()
    }

    /// The targets of a group that get new flows from this node while they are healthy.
    pub fn used_addresses<'a>(&'a self, target_group: &'a str) -> impl Iterator<Item = IpAddr> {
        let group = self.desired().target_groups.get(target_group);
        let zone = &self.desired().node.zone;
        let records = self.registry().group(target_group);
        let used = records.filter(move |(_, record)| {
            let is_here = group.is_some_and(|group| is_in_scope(group, record, zone));
            is_here && record.weight > 0 && !record.is_draining()
        });
        used.map(|(address, _)| address)
    }

    /// The targets of a group that were there at the start, and of which it is not known yet whether they have agents,
    /// which would have to tell their connections.
    pub fn unasked(&self, target_group: &str) -> BTreeSet<IpAddr> {
        let is_unknown = |at: &IpAddr| matches!(self.agent(*at), AgentState::Unknown);
        let members = self.registry().group(target_group).filter(|(_, record)| !record.is_dead());
        members.map(|(at, _)| at).filter(|at| self.untold.has(*at) && is_unknown(at)).collect()
    }

    fn health(&self, load_balancer: &LoadBalancer) -> Fitness {
        let forwards = load_balancer.listeners.iter().map(|listener| &listener.forward);
        let groups: BTreeSet<&str> = forwards.flat_map(ForwardAction::used_groups).collect();
        let breaches = groups.into_iter().filter_map(|name| self.breach(name));
        let (undecided, unfit): (Vec<Breach>, Vec<Breach>) = breaches.partition(|breach| breach.is_undecided);
        let some_failed = undecided.iter().any(|breach| breach.some_failed);
        let words = |breaches: Vec<Breach>| breaches.into_iter().map(|breach| breach.why).collect();
        match (undecided.is_empty(), unfit.is_empty()) {
            (_, false) => Fitness::Unfit(words(unfit)),
            (false, true) => Fitness::Undecided { why: words(undecided), some_failed },
            (true, true) => Fitness::Fit,
        }
    }

    fn breach(&self, name: &str) -> Option<Breach> {
        let group = self.desired().target_groups.get(name)?;
        let wanted = group.minimum_healthy.failover?;
        let Census { healthy, all, unknown } = census(self.used_targets(name));
        if !wanted.is_breached(healthy, all) || !self.has_targets(name) {
            return None;
        }
        let scope =
            if group.cross_zone { String::new() } else { format!(" in zone {}", self.desired().node.zone) };
        let unchecked =
            if unknown > 0 { format!(" ({unknown} more not checked yet)") } else { String::new() };
        let words = words(wanted);
        Some(Breach {
            why: format!(
                "target group {name}: {healthy} of {all} targets{scope} are healthy{unchecked}, {words}"
            ),
            is_undecided: !wanted.is_breached(healthy + unknown, all + unknown),
            some_failed: healthy < all,
        })
    }

    /// Whether any target is registered that is to get flows, in whatever zone, known to this node or not.
    fn has_targets(&self, group: &str) -> bool {
        let group = self.desired().target_groups.get(group);
        group.is_some_and(|group| group.absent > 0 || group.targets.values().any(|target| target.weight > 0))
    }
}

fn words(Threshold { count, percent }: Threshold) -> String {
    match percent {
        None => format!("fewer than {count}"),
        Some(percent) => format!("fewer than {count} or than {percent} %"),
    }
}
