//! Rates, from the counters of two reports and the time between them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::status::report::{ListenerReport, Report, TargetReport};

/// So much a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Rate {
    pub(super) packets: f64,
    pub(super) bytes: f64,
}

/// A report, the one before it, and the time between them.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) now: Report,
    before: Option<(Report, Duration)>,
}

impl Pair {
    /// The first report: there is no rate yet.
    pub(super) fn first(now: Report) -> Pair {
        Pair { now, before: None }
    }

    /// The next report, `elapsed` after this one. Of another run of the controller, whose counters may have begun anew,
    /// there is no rate.
    pub(super) fn next(self, now: Report, elapsed: Duration) -> Pair {
        let is_same_run = now.uptime_seconds >= self.now.uptime_seconds && now.node == self.now.node;
        Pair { now, before: is_same_run.then_some((self.now, elapsed)) }
    }

    /// Of a listener: it is the same one if its load balancer, protocol and port are.
    pub(super) fn listener(&self, load_balancer: &str, listener: &ListenerReport) -> Option<Rate> {
        let (before, elapsed) = self.before.as_ref()?;
        let of = &before.load_balancers.get(load_balancer)?.listeners;
        let same =
            of.iter().find(|one| (&one.protocol, &one.port) == (&listener.protocol, &listener.port))?;
        Some(rate((same.packets, same.bytes), (listener.packets, listener.bytes), *elapsed))
    }

    /// Of a target.
    pub(super) fn target(&self, group: &str, target: &TargetReport) -> Option<Rate> {
        let (before, elapsed) = self.before.as_ref()?;
        let targets = &before.target_groups.get(group)?.targets;
        let same = targets.binary_search_by_key(&target.id, |one| one.id).ok().map(|at| &targets[at])?;
        Some(rate((same.packets, same.bytes), (target.packets, target.bytes), *elapsed))
    }

    /// Packets a second that were not forwarded, by reason: those with any, the most frequent first. Packets that are
    /// not the balancer's are not meant.
    pub(super) fn dropped(&self) -> Vec<(&str, f64)> {
        let Some((before, elapsed)) = &self.before else { return Vec::new() };
        let known: BTreeMap<&str, u64> =
            before.reasons.iter().map(|at| (at.reason.as_str(), at.packets)).collect();
        let dropped = self.now.reasons.iter().filter(|at| at.verdict == "dropped");
        let rates = dropped.map(|at| {
            let earlier = known.get(at.reason.as_str()).copied().unwrap_or_default();
            (at.reason.as_str(), per_second(earlier, at.packets, *elapsed))
        });
        let mut rates: Vec<(&str, f64)> = rates.filter(|(_, rate)| *rate > 0.0).collect();
        rates.sort_by(|one, other| other.1.total_cmp(&one.1));
        rates
    }
}

fn rate(before: (u64, u64), now: (u64, u64), elapsed: Duration) -> Rate {
    Rate { packets: per_second(before.0, now.0, elapsed), bytes: per_second(before.1, now.1, elapsed) }
}

/// A counter that went backwards was begun anew: nothing is known then.
fn per_second(before: u64, now: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
}
