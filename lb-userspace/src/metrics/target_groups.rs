//! Target groups: their targets by zone and state, their health checks, how they fail.

use std::collections::BTreeMap;
use std::fmt;

use super::Scrape;
use super::metric::{Metric, Samples, Value};
use crate::status::report::TargetGroupReport;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "sluice_target_group_targets",
        help: "Targets by zone and health state",
        samples: targets,
    },
    Metric {
        name: "sluice_target_group_fail_open",
        help: "1 while no target of the group is healthy and all are used, else 0",
        samples: |scrape, samples| per_group(scrape, samples, |group| Some(group.fail_open.into())),
    },
    Metric {
        name: "sluice_target_group_targets_seen_otherwise",
        help: "Targets that all other nodes which check them see otherwise than this node's own checks, or most of them \
               where their word counts; on nodes that share their state",
        samples: |scrape, samples| {
            if scrape.report.shared_state.is_none() {
                return Ok(());
            }
            per_group(scrape, samples, |group| Some(seen_otherwise(group).into()))
        },
    },
    Metric {
        name: "sluice_target_group_second_chance",
        help: "1 while the targets keep the group's flows where they are by second chances, 0 while the flow table does",
        samples: |scrape, samples| {
            per_group(scrape, samples, |group| Some((group.flows_kept_by == "targets").into()))
        },
    },
    Metric {
        name: "sluice_target_group_health_check_duration_seconds",
        help: "How long passed health checks took",
        samples: |scrape, samples| {
            scrape.report.target_groups.iter().try_for_each(|(name, group)| match &group.check_durations {
                Some(durations) => samples.durations(&[("target_group", name)], durations),
                None => Ok(()),
            })
        },
    },
    Metric {
        name: "sluice_target_group_health_check_interval_seconds",
        help: "From the start of a target's health check to the start of its next one",
        samples: |scrape, samples| per_group(scrape, samples, |group| interval(group).map(Value::Number)),
    },
    Metric {
        name: "sluice_target_group_oldest_health_check_seconds",
        help: "How long ago the last health check ended of the target whose check is the longest ago",
        samples: |scrape, samples| per_group(scrape, samples, |group| oldest(group).map(Value::Number)),
    },
];

/// States that always have a sample, so that an alert can tell none from nothing known.
const ALWAYS: [&str; 2] = ["healthy", "unhealthy"];

fn seen_otherwise(group: &TargetGroupReport) -> u64 {
    group.targets.iter().filter(|target| target.elsewhere.is_some()).count() as u64
}

fn targets(scrape: &Scrape, samples: &mut Samples) -> fmt::Result {
    scrape.report.target_groups.iter().try_for_each(|(name, group)| {
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for target in &group.targets {
            for state in ALWAYS {
                counts.entry((&target.zone, state)).or_default();
            }
            *counts.entry((&target.zone, &target.state)).or_default() += 1;
        }
        counts.into_iter().try_for_each(|((zone, state), count)| {
            samples.labelled(&[("target_group", name), ("zone", zone), ("state", state)], count)
        })
    })
}

fn interval(group: &TargetGroupReport) -> Option<f64> {
    let intervals = group.targets.iter().map(|target| target.checks.interval_seconds);
    intervals.filter(|interval| *interval > 0.0).reduce(f64::max)
}

fn oldest(group: &TargetGroupReport) -> Option<f64> {
    let checked = group.targets.iter().filter(|target| target.checks.interval_seconds > 0.0);
    checked.filter_map(|target| target.checks.last_seconds_ago).reduce(f64::max)
}

fn per_group(
    scrape: &Scrape,
    samples: &mut Samples,
    value: fn(&TargetGroupReport) -> Option<Value>,
) -> fmt::Result {
    scrape.report.target_groups.iter().try_for_each(|(name, group)| match value(group) {
        Some(value) => samples.labelled(&[("target_group", name)], value),
        None => Ok(()),
    })
}
