//! Targets: health, traffic, their place in the tables.

use std::fmt;

use super::Scrape;
use super::metric::{Metric, Samples, Value};
use crate::status::report::{NextHopReport, TargetReport};

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "sluice_target_agent_present",
        help: "1 if the target's agent answers, else 0; where agents are asked for",
        samples: |scrape, samples| {
            per_target(scrape, samples, |target| {
                target.agent.as_ref().map(|agent| (agent.state == "present").into())
            })
        },
    },
    Metric {
        name: "sluice_target_healthy",
        help: "1 if the target is healthy, else 0",
        samples: |scrape, samples| {
            per_target(scrape, samples, |target| Some((target.state == "healthy").into()))
        },
    },
    Metric {
        name: "sluice_target_state_info",
        help: "The target's health state and its reason code",
        samples: |scrape, samples| {
            each(scrape, |[group, id, zone], target| {
                let reason = target.reason.as_deref().unwrap_or_default();
                samples.info(&[group, id, zone, ("state", &target.state), ("reason", reason)])
            })
        },
    },
    Metric {
        name: "sluice_target_weight",
        help: "The target's weight in its target group",
        samples: |scrape, samples| {
            per_target(scrape, samples, |target| Some(u32::from(target.weight).into()))
        },
    },
    Metric {
        name: "sluice_target_slots",
        help: "Slots that send new flows to the target, over all tables",
        samples: |scrape, samples| per_target(scrape, samples, |target| Some(target.slots.into())),
    },
    Metric {
        name: "sluice_target_packets_total",
        help: "Packets forwarded to the target",
        samples: |scrape, samples| per_target(scrape, samples, |target| Some(target.packets.into())),
    },
    Metric {
        name: "sluice_target_bytes_total",
        help: "Bytes forwarded to the target, from the inner IP header on",
        samples: |scrape, samples| per_target(scrape, samples, |target| Some(target.bytes.into())),
    },
    Metric {
        name: "sluice_target_exception_flows",
        help: "Flows of the target in the flow table, because their slot changed or is always tracked",
        samples: |scrape, samples| per_target(scrape, samples, |target| Some(target.exception_flows.into())),
    },
    Metric {
        name: "sluice_target_next_hop_resolved",
        help: "1 if the way to the target is known, 0 if packets for it are dropped",
        samples: |scrape, samples| {
            per_target(scrape, samples, |target| {
                Some(matches!(target.next_hop, NextHopReport::Resolved { .. }).into())
            })
        },
    },
    Metric {
        name: "sluice_target_health_checks_total",
        help: "Health checks of the target that ended, by result",
        samples: |scrape, samples| {
            each(scrape, |[group, id, zone], target| {
                let results = [("passed", target.checks.passed), ("failed", target.checks.failed)];
                results.into_iter().try_for_each(|(result, count)| {
                    samples.labelled(&[group, id, zone, ("result", result)], count)
                })
            })
        },
    },
    Metric {
        name: "sluice_target_last_health_check_seconds",
        help: "How long the last health check of the target took",
        samples: |scrape, samples| {
            per_target(scrape, samples, |target| target.checks.last_seconds.map(Value::Number))
        },
    },
];

fn per_target(
    scrape: &Scrape,
    samples: &mut Samples,
    value: fn(&TargetReport) -> Option<Value>,
) -> fmt::Result {
    each(scrape, |labels, target| match value(target) {
        Some(value) => samples.labelled(&labels, value),
        None => Ok(()),
    })
}

/// The targets with the labels that name them.
fn each(
    scrape: &Scrape,
    mut write: impl FnMut([(&'static str, &str); 3], &TargetReport) -> fmt::Result,
) -> fmt::Result {
    scrape.report.target_groups.iter().try_for_each(|(name, group)| {
        group.targets.iter().try_for_each(|target| {
            let id = target.id.to_string();
            write([("target_group", name.as_str()), ("target", &id), ("zone", &target.zone)], target)
        })
    })
}
