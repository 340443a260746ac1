//! The parts of a report that somebody asks for by name; a wrong name is answered with the nearest right one.

use std::net::IpAddr;

use anyhow::{Result, anyhow, bail};
use serde::Serialize;

use crate::config::nearest;
use crate::status::report::{ListenerReport, LoadBalancerReport, Report, TargetGroupReport, TargetReport};

/// A load balancer; as JSON it is its report with its name.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct FoundLoadBalancer<'r> {
    pub(crate) name: &'r str,
    #[serde(flatten)]
    pub(crate) report: &'r LoadBalancerReport,
}

/// A listener; as JSON it is its report with its load balancer's name and VIPs.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct FoundListener<'r> {
    pub(crate) load_balancer: &'r str,
    pub(crate) vips: &'r [IpAddr],
    #[serde(flatten)]
    pub(crate) report: &'r ListenerReport,
}

/// A target group; as JSON it is its report with its name.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct FoundTargetGroup<'r> {
    pub(crate) name: &'r str,
    #[serde(flatten)]
    pub(crate) report: &'r TargetGroupReport,
}

/// A target; as JSON it is its report with its target group's name.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct FoundTarget<'r> {
    pub(crate) target_group: &'r str,
    #[serde(flatten)]
    pub(crate) report: &'r TargetReport,
}

impl FoundListener<'_> {
    /// As `sluice listener show` takes it: `80/tcp`, `any/udp`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.report.port, self.report.protocol.to_lowercase())
    }
}

pub(super) fn load_balancers(report: &Report) -> Vec<FoundLoadBalancer<'_>> {
    report.load_balancers.iter().map(|(name, report)| FoundLoadBalancer { name, report }).collect()
}

/// The load balancer of that name.
///
/// # Errors
/// If there is none, with the nearest name or all names.
pub(super) fn load_balancer<'r>(report: &'r Report, wanted: &str) -> Result<FoundLoadBalancer<'r>> {
    let found = report.load_balancers.get_key_value(wanted);
    found
        .map(|(name, report)| FoundLoadBalancer { name, report })
        .ok_or_else(|| unknown("load balancer", wanted, report.load_balancers.keys().map(String::as_str)))
}

/// All listeners, or those of the load balancer `of`.
///
/// # Errors
/// If there is no such load balancer.
pub(super) fn listeners<'r>(report: &'r Report, of: Option<&str>) -> Result<Vec<FoundListener<'r>>> {
    let of = match of {
        Some(name) => vec![load_balancer(report, name)?],
        None => load_balancers(report),
    };
    Ok(of.into_iter().flat_map(listeners_of).collect())
}

pub(super) fn listeners_of(at: FoundLoadBalancer<'_>) -> impl Iterator<Item = FoundListener<'_>> {
    let found = move |report| FoundListener { load_balancer: at.name, vips: &at.report.vips, report };
    at.report.listeners.iter().map(found)
}

/// The listener `80`, `80/tcp` or `any/udp` of a load balancer.
///
/// # Errors
/// If there is none, or without a protocol two.
pub(super) fn listener<'r>(report: &'r Report, balancer: &str, wanted: &str) -> Result<FoundListener<'r>> {
    let (port, protocol) = match wanted.split_once('/') {
        Some((port, protocol)) => (port, Some(protocol)),
        None => (wanted, None),
    };
    let is_wanted = |at: &FoundListener| {
        at.report.port == port.to_lowercase()
            && protocol.is_none_or(|protocol| at.report.protocol.eq_ignore_ascii_case(protocol))
    };
    let all = listeners(report, Some(balancer))?;
    let found: Vec<FoundListener> = all.iter().copied().filter(is_wanted).collect();
    match found[..] {
        [only] => Ok(only),
        [] => {
            let names: Vec<String> = all.iter().map(FoundListener::name).collect();
            let what = format!("listener of the load balancer {balancer}");
            Err(unknown(&what, wanted, names.iter().map(String::as_str)))
        }
        _ => bail!(
            "{balancer} has several listeners on port {port}: say which, {}",
            found.iter().map(FoundListener::name).collect::<Vec<_>>().join(" or ")
        ),
    }
}

pub(super) fn target_groups(report: &Report) -> Vec<FoundTargetGroup<'_>> {
    report.target_groups.iter().map(|(name, report)| FoundTargetGroup { name, report }).collect()
}

/// The target group of that name.
///
/// # Errors
/// If there is none, with the nearest name or all names.
pub(super) fn target_group<'r>(report: &'r Report, wanted: &str) -> Result<FoundTargetGroup<'r>> {
    let found = report.target_groups.get_key_value(wanted);
    found
        .map(|(name, report)| FoundTargetGroup { name, report })
        .ok_or_else(|| unknown("target group", wanted, report.target_groups.keys().map(String::as_str)))
}

/// All targets, or those of the target group `of`.
///
/// # Errors
/// If there is no such target group.
pub(super) fn targets<'r>(report: &'r Report, of: Option<&str>) -> Result<Vec<FoundTarget<'r>>> {
    let of = match of {
        Some(name) => vec![target_group(report, name)?],
        None => target_groups(report),
    };
    Ok(of.into_iter().flat_map(targets_of).collect())
}

pub(super) fn targets_of(at: FoundTargetGroup<'_>) -> impl Iterator<Item = FoundTarget<'_>> {
    at.report.targets.iter().map(move |report| FoundTarget { target_group: at.name, report })
}

/// The target at an address in a target group.
///
/// # Errors
/// If there is none.
pub(super) fn target<'r>(report: &'r Report, group: &str, wanted: &str) -> Result<FoundTarget<'r>> {
    let targets = targets(report, Some(group))?;
    let address: Option<IpAddr> = wanted.parse().ok();
    let found = targets.iter().copied().find(|target| Some(target.report.id) == address);
    found.ok_or_else(|| {
        let names: Vec<String> = targets.iter().map(|target| target.report.id.to_string()).collect();
        unknown(&format!("target of the target group {group}"), wanted, names.iter().map(String::as_str))
    })
}

/// More names than that are not told.
const TOLD: usize = 10;

/// That there is no such thing, and what there is.
pub(crate) fn unknown<'k>(
    what: &str,
    wanted: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> anyhow::Error {
    let count = known.clone().count();
    let there = match nearest(wanted, known.clone()) {
        Some(near) => format!("did you mean {near:?}?"),
        None if count == 0 => "there is none at all".to_owned(),
        None if count <= TOLD => format!("there is {}", known.collect::<Vec<_>>().join(", ")),
        None => format!("there are {count} others; `ls` lists them"),
    };
    anyhow!("there is no {what} {wanted:?}: {there}")
}
