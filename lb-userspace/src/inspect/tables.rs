//! Parts of a report for people: lists whose lines fit the terminal, and one thing in full.

use super::columns::{Column, lines};
use super::found::{self, FoundListener, FoundLoadBalancer, FoundTarget, FoundTargetGroup};
use crate::status::quantity::{bytes, count, duration, latency};
use crate::status::render::printable;
use crate::status::report::{
    AgentReport, ChecksReport, ElsewhereReport, NextHopReport, OperatorReport, TargetGroupReport,
    TargetReport,
};

pub(super) fn load_balancers(
    found: &[FoundLoadBalancer],
    groups: &[FoundTargetGroup],
    width: Option<usize>,
) -> String {
    let columns = [
        Column::text("load balancer"),
        Column::text("vips"),
        Column::text("listeners"),
        Column::number("healthy"),
        Column::number("packets"),
        Column::number("bytes"),
    ];
    let rows = found.iter().map(|at| {
        let listeners = &at.report.listeners;
        vec![
            at.name.to_owned(),
            joined(&at.report.vips),
            joined(listeners.iter().map(|one| format!("{}/{}", one.port, one.protocol.to_lowercase()))),
            healthy_of(at, groups),
            count(listeners.iter().map(|one| one.packets).sum()),
            bytes(listeners.iter().map(|one| one.bytes).sum()),
        ]
    });
    table(&columns, rows.collect(), width)
}

/// Healthy targets of all, over the target groups that the load balancer's listeners forward to.
fn healthy_of(at: &FoundLoadBalancer, groups: &[FoundTargetGroup]) -> String {
    let forwards = at.report.listeners.iter().flat_map(|listener| &listener.forward);
    let names: std::collections::BTreeSet<&str> =
        forwards.map(|forward| forward.target_group.as_str()).collect();
    let used = groups.iter().filter(|group| names.contains(group.name));
    let (healthy, all) = used
        .map(|group| (healthy(group.report), group.report.targets.len()))
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    format!("{healthy}/{all}")
}

fn healthy(group: &TargetGroupReport) -> usize {
    group.targets.iter().filter(|target| target.state == "healthy").count()
}

pub(super) fn listeners(found: &[FoundListener], width: Option<usize>) -> String {
    let columns = [
        Column::text("load balancer"),
        Column::word("listener"),
        Column::text("forward"),
        Column::number("slots"),
        Column::number("moving"),
        Column::number("packets"),
        Column::number("bytes"),
    ];
    let rows = found.iter().map(|at| {
        vec![
            at.load_balancer.to_owned(),
            at.name(),
            forward(at),
            count(at.report.slots.into()),
            count(u64::from(at.report.changing_slots) + u64::from(at.report.exception_slots)),
            count(at.report.packets),
            bytes(at.report.bytes),
        ]
    });
    table(&columns, rows.collect(), width)
}

fn forward(at: &FoundListener) -> String {
    match at.report.forward.as_slice() {
        [only] => only.target_group.clone(),
        several => joined(several.iter().map(|part| format!("{}:{}", part.target_group, part.weight))),
    }
}

pub(super) fn target_groups(found: &[FoundTargetGroup], width: Option<usize>) -> String {
    let columns = [
        Column::text("target group"),
        Column::word("protocol"),
        Column::number("port"),
        Column::word("by"),
        Column::number("healthy"),
        Column::number("draining"),
        Column::number("packets"),
        Column::text("remark"),
    ];
    let rows = found.iter().map(|at| {
        let targets = &at.report.targets;
        vec![
            at.name.to_owned(),
            at.report.protocol.clone(),
            at.report.port.to_string(),
            at.report.encapsulation.clone(),
            format!("{}/{}", healthy(at.report), targets.len()),
            targets.iter().filter(|target| target.state == "draining").count().to_string(),
            count(targets.iter().map(|target| target.packets).sum()),
            if at.report.fail_open { "FAIL OPEN".to_owned() } else { String::new() },
        ]
    });
    table(&columns, rows.collect(), width)
}

pub(super) fn targets(found: &[FoundTarget], width: Option<usize>) -> String {
    let columns = [
        Column::text("target group"),
        Column::text("target"),
        Column::number("port"),
        Column::text("zone"),
        Column::number("weight"),
        Column::word("state"),
        Column::number("share"),
        Column::number("packets"),
    ];
    let rows = found.iter().map(|at| {
        vec![
            at.target_group.to_owned(),
            at.report.id.to_string(),
            at.report.port.to_string(),
            at.report.zone.clone(),
            at.report.weight.to_string(),
            state_word(at.report),
            percent(at.report.share),
            count(at.report.packets),
        ]
    });
    table(&columns, rows.collect(), width)
}

fn table(columns: &[Column], rows: Vec<Vec<String>>, width: Option<usize>) -> String {
    lines(columns, &rows, width).into_iter().map(|line| line + "\n").collect()
}

/// A load balancer with its listeners.
pub(super) fn load_balancer(at: FoundLoadBalancer, width: Option<usize>) -> String {
    let head = facts(&format!("load balancer {}", at.name), &[("vips", joined(&at.report.vips))]);
    head + "\n" + &listeners(&found::listeners_of(at).collect::<Vec<_>>(), width)
}

/// Everything that is known of a listener.
pub(super) fn listener(at: FoundListener) -> String {
    let report = at.report;
    facts(
        &format!("listener {} of {}", at.name(), at.load_balancer),
        &[
            ("vips", joined(at.vips)),
            ("forward", forward(&at)),
            ("slots", count(report.slots.into())),
            ("changing", count(report.changing_slots.into())),
            ("exceptions", count(report.exception_slots.into())),
            ("chained", count(report.chained_slots.into())),
            ("deferred", count(report.deferred_slots.into())),
            ("table", report.table_digest.clone()),
            ("packets", count(report.packets)),
            ("bytes", bytes(report.bytes)),
        ],
    )
}

/// A target group with its targets.
pub(super) fn target_group(at: FoundTargetGroup, width: Option<usize>) -> String {
    let report = at.report;
    let kept_by = match (report.flows_kept_by.as_str(), &report.no_second_chance) {
        ("targets", _) => "the targets' second chances".to_owned(),
        (_, Some(why)) => format!("the flow table: {why}"),
        (_, None) => "the flow table".to_owned(),
    };
    let fail_open = if report.fail_open { "yes: too few targets are healthy, so all are used" } else { "no" };
    let head = facts(
        &format!("target group {}", at.name),
        &[
            ("serves", format!("{} {} by {}", report.protocol, report.port, report.encapsulation)),
            ("stickiness", report.stickiness.clone()),
            ("flows kept by", kept_by),
            ("untold", if report.untold.is_empty() { "none".to_owned() } else { joined(&report.untold) }),
            ("fail open", fail_open.to_owned()),
        ],
    );
    head + "\n" + &targets(&found::targets_of(at).collect::<Vec<_>>(), width)
}

/// Everything that is known of a target.
pub(super) fn target(at: FoundTarget) -> String {
    let report = at.report;
    let mut known = vec![
        ("state", state(at)),
        ("port", report.port.to_string()),
        ("zone", report.zone.clone()),
        ("weight", report.weight.to_string()),
    ];
    known.extend(report.operator.map(|operator| ("operator", operators_word(operator))));
    known.extend(report.quic_server_id.clone().map(|id| ("server id", id)));
    known.extend([
        ("slots", format!("{} ({})", count(report.slots.into()), percent(report.share))),
        ("checks", checks(&report.checks)),
        ("agent", agent(report.agent.as_ref())),
        ("next hop", next_hop(&report.next_hop)),
        ("packets", count(report.packets)),
        ("bytes", bytes(report.bytes)),
        ("exceptions", count(report.exception_flows)),
    ]);
    facts(&format!("target {} of {}", report.id, at.target_group), &known)
}

/// The state, and whether this node is alone with what it sees.
fn state_word(report: &TargetReport) -> String {
    let Some(ElsewhereReport { healthy_here, healthy, unhealthy }) = report.elsewhere else {
        return report.state.clone();
    };
    let own = if healthy_here { "healthy" } else { "unhealthy" };
    let is_alone = if healthy_here { healthy == 0 } else { unhealthy == 0 };
    let here = if is_alone { "here alone" } else { "here" };
    if report.state == own { format!("{own} ({here})") } else { format!("{} ({own} {here})", report.state) }
}

fn state(at: FoundTarget) -> String {
    match (&at.report.reason, &at.report.description) {
        (Some(reason), Some(description)) => format!("{}: {reason}: {description}", at.report.state),
        (Some(why), None) | (None, Some(why)) => format!("{}: {why}", at.report.state),
        (None, None) => at.report.state.clone(),
    }
}

/// What an operator has ordered.
fn operators_word(operator: OperatorReport) -> String {
    let weight = operator.weight.map(|weight| format!("weight {weight}"));
    let drained = operator.drained.then(|| "drained".to_owned());
    joined(drained.into_iter().chain(weight))
}

fn checks(checks: &ChecksReport) -> String {
    let mut text = format!("{} passed, {} failed", count(checks.passed), count(checks.failed));
    if checks.interval_seconds > 0.0 {
        text += &format!(", one every {}", duration(checks.interval_seconds));
    }
    if let Some(took) = checks.last_seconds {
        text += &format!(", the last took {}", latency(took));
    }
    text
}

fn agent(agent: Option<&AgentReport>) -> String {
    match agent {
        None => "not asked for".to_owned(),
        Some(AgentReport { state, version, second_chance }) => {
            let version = version.as_ref().map_or(String::new(), |version| format!(" {version}"));
            let hands_on = if *second_chance { ", gives second chances" } else { "" };
            format!("{state}{version}{hands_on}")
        }
    }
}

fn next_hop(next_hop: &NextHopReport) -> String {
    match next_hop {
        NextHopReport::Resolved { interface, mac, mtu } => format!("{interface} {mac}, {mtu} bytes fit"),
        NextHopReport::Unresolved { problem } => format!("none: {problem}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn joined<T: ToString>(parts: impl IntoIterator<Item = T>) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(" ")
}

/// A heading, and a fact a line.
fn facts(heading: &str, facts: &[(&str, String)]) -> String {
    let widest = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = printable(heading) + "\n";
    for (name, value) in facts {
        text += &format!("  {name:<widest$}  {}\n", printable(value));
    }
    text
}
