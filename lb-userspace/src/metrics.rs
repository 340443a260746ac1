//! A node's metrics in OpenMetrics text, which Prometheus and its kin read.
//!
//! [`METRICS`] is the whole list: a name, its help, and how its samples follow from a report. A name's ending is
//! its type, by the format's conventions: `_total` is a counter, `_info` an info (its value is 1, the labels say
//! it), all others are gauges. Counters begin at zero when the controller, or the maps, are made.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::status::report::{ListenerReport, NextHopReport, Report, TargetGroupReport, TargetReport};

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a report, as OpenMetrics text.
pub fn render(report: &Report) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(report.clone())));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

/// One metric: its name, what it says, and its samples in a report.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name of its samples, ending included.
    pub name: &'static str,
    /// What it counts or measures, without a full stop.
    pub help: &'static str,
    samples: fn(&Report) -> Vec<Sample>,
}

/// Every metric, in the order in which they are served.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "sluice_build_info",
        help: "The version of the running controller",
        samples: |report| vec![info([("version", report.version.clone())])],
    },
    Metric {
        name: "sluice_node_info",
        help: "The node's name and zone",
        samples: |report| vec![info([("node", report.node.clone()), ("zone", report.zone.clone())])],
    },
    Metric {
        name: "sluice_uptime_seconds",
        help: "Seconds since the controller started",
        samples: |report| vec![single(report.uptime_seconds)],
    },
    Metric {
        name: "sluice_configuration_generation",
        help: "How many contents of the configuration file were applied since the start",
        samples: |report| vec![single(report.configuration.generation)],
    },
    Metric {
        name: "sluice_configuration_rejected",
        help: "1 while the configuration file's present content is invalid and an earlier one is in force, else 0",
        samples: |report| vec![single(report.configuration.rejected.is_some())],
    },
    Metric {
        name: "sluice_interface_info",
        help: "The interfaces with the balancer, and the XDP mode: native, or generic (slower)",
        samples: interfaces,
    },
    Metric {
        name: "sluice_listener_packets_total",
        help: "Packets forwarded, by listener",
        samples: |report| per_listener(report, |listener| listener.packets.into()),
    },
    Metric {
        name: "sluice_listener_bytes_total",
        help: "Bytes forwarded, from the inner IP header on, by listener",
        samples: |report| per_listener(report, |listener| listener.bytes.into()),
    },
    Metric {
        name: "sluice_listener_slots",
        help: "Slots of the listener's table by state; exceptions means that some flows of the slot are elsewhere, \
               chained that packets name the slot's former owners",
        samples: listener_slots,
    },
    Metric {
        name: "sluice_listener_deferred_slots",
        help: "Slots that keep their target although another is to have them, because too many had them lately",
        samples: |report| per_listener(report, |listener| u64::from(listener.deferred_slots).into()),
    },
    Metric {
        name: "sluice_table_info",
        help: "Digest of the listener's table, equal on nodes with equal state",
        samples: tables,
    },
    Metric {
        name: "sluice_target_group_fail_open",
        help: "1 while no target of the group is healthy and all are used, else 0",
        samples: fail_open,
    },
    Metric {
        name: "sluice_target_group_second_chance",
        help: "1 while the targets keep the group's flows where they are by second chances, 0 while the flow table does",
        samples: second_chances,
    },
    Metric {
        name: "sluice_target_agent_present",
        help: "1 if the target's agent answers, else 0; where agents are asked for",
        samples: agents,
    },
    Metric {
        name: "sluice_target_healthy",
        help: "1 if the target is healthy, else 0",
        samples: |report| per_target(report, |target| (target.state == "healthy").into()),
    },
    Metric {
        name: "sluice_target_state_info",
        help: "The target's health state and its reason code",
        samples: target_states,
    },
    Metric {
        name: "sluice_target_weight",
        help: "The target's weight in its target group",
        samples: |report| per_target(report, |target| u64::from(target.weight).into()),
    },
    Metric {
        name: "sluice_target_slots",
        help: "Slots that send new flows to the target, over all tables",
        samples: |report| per_target(report, |target| u64::from(target.slots).into()),
    },
    Metric {
        name: "sluice_target_packets_total",
        help: "Packets forwarded to the target",
        samples: |report| per_target(report, |target| target.packets.into()),
    },
    Metric {
        name: "sluice_target_bytes_total",
        help: "Bytes forwarded to the target, from the inner IP header on",
        samples: |report| per_target(report, |target| target.bytes.into()),
    },
    Metric {
        name: "sluice_target_exception_flows",
        help: "Flows of the target in the flow table, because their slot changed or is always tracked",
        samples: |report| per_target(report, |target| target.exception_flows.into()),
    },
    Metric {
        name: "sluice_target_next_hop_resolved",
        help: "1 if the way to the target is known, 0 if packets for it are dropped",
        samples: |report| {
            per_target(report, |target| matches!(target.next_hop, NextHopReport::Resolved { .. }).into())
        },
    },
    Metric {
        name: "sluice_target_health_checks_total",
        help: "Health checks of the target that ended, by result",
        samples: health_checks,
    },
    Metric {
        name: "sluice_target_last_health_check_seconds",
        help: "How long the last health check of the target took",
        samples: |report| {
            let checked = |target: &TargetReport| target.checks.last_seconds;
            targets(report)
                .filter_map(|(labels, target)| Some(Sample { labels, value: checked(target)?.into() }))
                .collect()
        },
    },
    Metric {
        name: "sluice_unforwarded_packets_total",
        help: "Packets that were not forwarded, by reason, and what became of them: passed (to this host), \
               dropped or answered",
        samples: unforwarded,
    },
    Metric {
        name: "sluice_tables_published_total",
        help: "Tables published since the start",
        samples: |report| vec![single(report.publications.tables)],
    },
    Metric {
        name: "sluice_last_write_seconds",
        help: "How long the last write of a difference into the maps took",
        samples: |report| vec![single(report.publications.last_write_seconds)],
    },
    Metric {
        name: "sluice_health_decisions_total",
        help: "Changes of health that were decided and published",
        samples: |report| vec![single(report.publications.decisions)],
    },
    Metric {
        name: "sluice_last_health_decision_seconds",
        help: "From the end of the health check that decided to the swapped table, for the last change of health",
        samples: |report| report.publications.last_decision_seconds.map(single).into_iter().collect(),
    },
    Metric {
        name: "sluice_max_health_decision_seconds",
        help: "The longest time from the end of a health check that decided to the swapped table, since the start",
        samples: |report| report.publications.max_decision_seconds.map(single).into_iter().collect(),
    },
];

fn interfaces(report: &Report) -> Vec<Sample> {
    let labels =
        report.interfaces.iter().map(|at| [("interface", at.name.clone()), ("mode", at.mode.clone())]);
    labels.map(info).collect()
}

fn listener_slots(report: &Report) -> Vec<Sample> {
    let states = |listener: &ListenerReport| {
        let (changing, exceptions) = (listener.changing_slots, listener.exception_slots);
        let chained = listener.chained_slots;
        let stable =
            listener.slots.saturating_sub(changing).saturating_sub(exceptions).saturating_sub(chained);
        [("stable", stable), ("changing", changing), ("exceptions", exceptions), ("chained", chained)]
    };
    listeners(report)
        .flat_map(|(labels, listener)| {
            states(listener).map(|(state, slots)| Sample::of(&labels, [("state", state)], u64::from(slots)))
        })
        .collect()
}

fn tables(report: &Report) -> Vec<Sample> {
    let digest = |(labels, listener): (Labels, &ListenerReport)| {
        Sample::of(&labels, [("digest", listener.table_digest.as_str())], 1u64)
    };
    listeners(report).map(digest).collect()
}

fn fail_open(report: &Report) -> Vec<Sample> {
    let groups = report.target_groups.iter();
    groups.map(|(name, group)| Sample::of(&[], [("target_group", name.as_str())], group.fail_open)).collect()
}

fn second_chances(report: &Report) -> Vec<Sample> {
    let groups = report.target_groups.iter();
    let by_targets = |(name, group): (&String, &TargetGroupReport)| {
        Sample::of(&[], [("target_group", name.as_str())], group.flows_kept_by == "targets")
    };
    groups.map(by_targets).collect()
}

fn agents(report: &Report) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (labels, target) in targets(report) {
        if let Some(agent) = &target.agent {
            samples.push(Sample::of(&labels, [], agent.state == "present"));
        }
    }
    samples
}

fn target_states(report: &Report) -> Vec<Sample> {
    let state = |(labels, target): (Labels, &TargetReport)| {
        let reason = target.reason.as_deref().unwrap_or_default();
        Sample::of(&labels, [("state", target.state.as_str()), ("reason", reason)], 1u64)
    };
    targets(report).map(state).collect()
}

fn health_checks(report: &Report) -> Vec<Sample> {
    targets(report)
        .flat_map(|(labels, target)| {
            [("passed", target.checks.passed), ("failed", target.checks.failed)]
                .map(|(result, checks)| Sample::of(&labels, [("result", result)], checks))
        })
        .collect()
}

fn unforwarded(report: &Report) -> Vec<Sample> {
    let reasons = report.reasons.iter();
    reasons
        .map(|at| {
            Sample::of(&[], [("reason", at.reason.as_str()), ("verdict", at.verdict.as_str())], at.packets)
        })
        .collect()
}

fn per_listener(report: &Report, value: fn(&ListenerReport) -> Value) -> Vec<Sample> {
    listeners(report).map(|(labels, listener)| Sample { labels, value: value(listener) }).collect()
}

fn per_target(report: &Report, value: fn(&TargetReport) -> Value) -> Vec<Sample> {
    targets(report).map(|(labels, target)| Sample { labels, value: value(target) }).collect()
}

/// The listeners with the labels that name them.
fn listeners(report: &Report) -> impl Iterator<Item = (Labels, &ListenerReport)> {
    report.load_balancers.iter().flat_map(|(name, load_balancer)| {
        load_balancer.listeners.iter().map(move |listener| {
            let labels = vec![
                ("load_balancer", name.clone()),
                ("protocol", listener.protocol.clone()),
                ("port", listener.port.clone()),
            ];
            (labels, listener)
        })
    })
}

/// The targets with the labels that name them.
fn targets(report: &Report) -> impl Iterator<Item = (Labels, &TargetReport)> {
    report.target_groups.iter().flat_map(|(name, group)| {
        group.targets.iter().map(move |target| {
            let labels = vec![
                ("target_group", name.clone()),
                ("target", target.id.to_string()),
                ("zone", target.zone.clone()),
            ];
            (labels, target)
        })
    })
}

fn info<const N: usize>(labels: [(&'static str, String); N]) -> Sample {
    Sample { labels: labels.into(), value: Value::Count(1) }
}

fn single(value: impl Into<Value>) -> Sample {
    Sample { labels: Labels::new(), value: value.into() }
}

type Labels = Vec<(&'static str, String)>;

/// One line of a metric.
#[derive(Debug)]
struct Sample {
    labels: Labels,
    value: Value,
}

impl Sample {
    fn of<const N: usize>(
        labels: &[(&'static str, String)],
        more: [(&'static str, &str); N],
        value: impl Into<Value>,
    ) -> Sample {
        let more = more.into_iter().map(|(name, label)| (name, label.to_owned()));
        Sample { labels: labels.iter().cloned().chain(more).collect(), value: value.into() }
    }
}

#[derive(Debug, Clone, Copy)]
enum Value {
    Count(u64),
    Number(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Count(count)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Value {
        Value::Count(is.into())
    }
}

/// A report as the encoder wants it: it asks for what it encodes.
#[derive(Debug)]
struct Snapshot(Report);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for metric in METRICS {
            let (family, kind) = family(metric.name);
            let mut encoder = encoder.encode_descriptor(family, metric.help, None, kind)?;
            for sample in (metric.samples)(&self.0) {
                encode(&mut encoder, kind, &sample)?;
            }
        }
        Ok(())
    }
}

/// A metric's name without its ending, and the type that the ending means; the encoder appends the ending.
fn family(name: &str) -> (&str, MetricType) {
    if let Some(family) = name.strip_suffix("_total") {
        (family, MetricType::Counter)
    } else if let Some(family) = name.strip_suffix("_info") {
        (family, MetricType::Info)
    } else {
        (name, MetricType::Gauge)
    }
}

fn encode(encoder: &mut MetricEncoder, kind: MetricType, Sample { labels, value }: &Sample) -> fmt::Result {
    match kind {
        MetricType::Info => encoder.encode_info(labels),
        _ if labels.is_empty() => encode_value(encoder, kind, *value),
        _ => encode_value(&mut encoder.encode_family(labels)?, kind, *value),
    }
}

fn encode_value(encoder: &mut MetricEncoder, kind: MetricType, value: Value) -> fmt::Result {
    match (kind, value) {
        (MetricType::Counter, Value::Count(count)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)
        }
        (MetricType::Counter, Value::Number(number)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(&number, None)
        }
        (_, Value::Count(count)) => encoder.encode_gauge(&count),
        (_, Value::Number(number)) => encoder.encode_gauge(&number),
    }
}

#[cfg(test)]
mod tests;
