//! From facts to findings: the ways to the targets. Pure.
//!
//! One cause a target, as far as can be: what lies behind another cause is said by it, not listed beside it. So a
//! target without a route has no finding of its failed checks, which fail because of that.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::plan::{self, CLIENT_MTU, encapsulation, is_meant_to_serve, overhead};
use super::tunnel::services;
use super::{Facts, Outcome, Probed};
use crate::doctor::finding::{Cause, Finding};
use crate::doctor::probe::Answer;
use crate::model::{Encapsulation, Probe};
use crate::next_hop::{NextHop, Unresolved};
use crate::status::report::{TargetGroupReport, TargetReport};

/// What is to be said of every target.
pub(super) fn targets(facts: &Facts) -> Vec<Finding> {
    let groups = facts.report.target_groups.iter();
    let each = groups.flat_map(|(name, group)| group.targets.iter().map(move |target| (name, group, target)));
    each.flat_map(|(name, group, target)| Case { facts, name, group, target }.findings()).collect()
}

/// One target of one target group.
pub(super) struct Case<'a> {
    pub(super) facts: &'a Facts,
    pub(super) name: &'a str,
    pub(super) group: &'a TargetGroupReport,
    pub(super) target: &'a TargetReport,
}

impl Case<'_> {
    fn findings(&self) -> Vec<Finding> {
        if !is_meant_to_serve(self.target) {
            let why = self.target.description.as_deref().unwrap_or_default();
            return vec![Finding::sound(
                self.object(),
                format!("not judged, as it is {}: {why}", self.target.state),
            )];
        }
        let way = match self.facts.ways.get(&self.target.id) {
            Some(Ok(way)) => way,
            Some(Err(problem)) => return vec![self.unresolved(problem)],
            None => return vec![],
        };
        let mut findings = self.tunnel(way);
        if findings.is_empty() {
            findings.extend(self.check());
        }
        if !findings.iter().any(|at| matches!(at.cause, Cause::PathMtu)) {
            findings.extend(self.mtu(way));
        }
        if findings.is_empty() {
            findings.push(Finding::sound(self.object(), self.praise(way)));
        }
        findings
    }

    fn object(&self) -> String {
        format!("target {}/{}", self.name, self.target.id)
    }

    pub(super) fn finding(&self, cause: Cause, what: String, mend: String) -> Finding {
        Finding::new(cause, self.object(), what, mend)
    }

    fn unresolved(&self, problem: &Unresolved) -> Finding {
        let cause = match problem {
            Unresolved::InterfaceDown { .. } | Unresolved::InterfaceUnknown { .. } => Cause::InterfaceDown,
            Unresolved::NeighbourPending { .. }
            | Unresolved::NeighbourSilent { .. }
            | Unresolved::NeighbourRefused { .. } => Cause::NoNeighbour,
            _ => Cause::NoRoute,
        };
        self.finding(cause, format!("{problem}{}", self.aside()), self.way_mended(problem))
    }

    fn way_mended(&self, problem: &Unresolved) -> String {
        let id = self.target.id;
        match problem {
            Unresolved::NoRoute { .. } => format!("ip route add {id} via ROUTER"),
            Unresolved::Refused { kind, .. } => {
                format!("ip route delete {kind} PREFIX, which `ip route show match {id}` shows")
            }
            Unresolved::Local { .. } => match self.facts.addresses.iter().find(|held| held.address == id) {
                Some(held) => held.removal(),
                None => format!("take {id} out of target group {}", self.name),
            },
            Unresolved::InterfaceDown { interface, .. } => format!("ip link set dev {interface} up"),
            Unresolved::NoSource { interface, .. } => {
                format!("ip address add ADDRESS/PREFIX dev {interface}")
            }
            Unresolved::NeighbourPending { neighbour, interface, .. }
            | Unresolved::NeighbourSilent { neighbour, interface, .. } => {
                neighbour_mended(*neighbour, interface)
            }
            Unresolved::NeighbourRefused { neighbour, interface, remedy, .. } => {
                format!("{remedy}; see `ip neighbour show {neighbour} dev {interface}`")
            }
            Unresolved::NotUnicast { .. } | Unresolved::LookupFailed { .. } => format!("ip route get {id}"),
            Unresolved::Encapsulated { .. }
            | Unresolved::NoMac { .. }
            | Unresolved::InterfaceUnknown { .. } => {
                format!("ip route replace {id} via ROUTER dev INTERFACE (an Ethernet one)")
            }
        }
    }

    fn mtu(&self, way: &NextHop) -> Option<Finding> {
        let needed = CLIENT_MTU + overhead(self.target.id, encapsulation(self.group));
        if way.mtu >= needed {
            return None;
        }
        let what = format!(
            "the way carries {} bytes, a client's packet of {CLIENT_MTU} needs {needed}: larger ones than {} are \
             answered with 'too big', and TCP is spared by the agent's --mss-clamp",
            way.mtu,
            way.mtu.saturating_sub(needed - CLIENT_MTU)
        );
        let mend = format!("ip link set dev {} mtu {needed}, on every link of the way", way.interface_name);
        Some(self.finding(Cause::MtuSmall, what, mend))
    }

    fn check(&self) -> Option<Finding> {
        let checks = &self.target.checks;
        let limit = 3.0 * checks.interval_seconds + 1.0;
        let since = checks.last_seconds_ago.unwrap_or(self.facts.report.uptime_seconds);
        if checks.interval_seconds > 0.0 && since > limit {
            let what = format!(
                "its last health check was {}, and is due every {} s",
                self.when(),
                checks.interval_seconds
            );
            let mend = format!("restart `sluice run --config {}`", self.facts.report.configuration.file);
            return Some(self.finding(Cause::CheckStale, what, mend));
        }
        if !matches!(self.target.state.as_str(), "unhealthy" | "unhealthy.draining" | "unavailable") {
            return None;
        }
        let what = format!(
            "its health check fails ({}, {}): {}",
            self.when(),
            self.target.reason.as_deref().unwrap_or("no reason"),
            self.target.description.as_deref().unwrap_or("no description")
        );
        Some(self.finding(Cause::CheckFailed, what, self.check_by_hand()))
    }

    /// The health check as a command.
    fn check_by_hand(&self) -> String {
        let group = self.facts.desired.as_ref().and_then(|desired| desired.target_groups.get(self.name));
        let check = group.and_then(|group| {
            let port = group.health_check.port.of(group.targets.get(&self.target.id)?.port);
            Some((&group.health_check, port))
        });
        let Some((health_check, port)) = check else {
            return format!(
                "repeat it by hand, see health_check in {}",
                self.facts.report.configuration.file
            );
        };
        let at = std::net::SocketAddr::new(self.target.id, port);
        match &health_check.probe {
            Probe::Tcp => format!("nc -vz {} {}", at.ip(), at.port()),
            Probe::Http { path, matcher } => format!("curl -i 'http://{at}{path}' (expected: {matcher})"),
            Probe::Https { path, matcher } => format!("curl -ik 'https://{at}{path}' (expected: {matcher})"),
            Probe::Grpc { service } => {
                format!("grpc-health-probe -addr={at} -service='{service}' (expected: SERVING)")
            }
            Probe::Udp => format!("nc -vzu {} {}", at.ip(), at.port()),
        }
    }

    fn when(&self) -> String {
        match self.target.checks.last_seconds_ago {
            Some(seconds) => format!("{seconds:.1} s ago"),
            None => "never".to_owned(),
        }
    }

    /// What the health check says beside another cause.
    pub(super) fn aside(&self) -> String {
        match (&self.target.description, self.target.checks.last_seconds_ago) {
            (Some(description), Some(_)) => {
                format!(" (health check {}: {}, {description})", self.when(), self.target.state)
            }
            _ => String::new(),
        }
    }

    fn praise(&self, way: &NextHop) -> String {
        let mut parts = vec![format!("by {}, {} bytes", way.interface_name, way.mtu)];
        let served: Vec<&Probed> =
            self.probed().filter(|at| at.outcome == Outcome::Answered(Answer::Served)).collect();
        let quiet: Vec<&Probed> = self.probed().filter(|at| at.outcome == Outcome::Unconfirmed).collect();
        if !served.is_empty() {
            parts.push(format!("answered through {}: {}", self.tunnel_name(), services(&served)));
        }
        if !quiet.is_empty() {
            parts.push(format!("not refused: {}", services(&quiet)));
        }
        parts.push(format!("{}, last check {}", self.target.state, self.when()));
        parts.join("; ")
    }

    pub(super) fn tunnel_name(&self) -> &'static str {
        match encapsulation(self.group) {
            Encapsulation::Ipip => "IPIP",
            Encapsulation::Gue => "GUE",
        }
    }

    /// The VIPs whose listeners forward to the target group.
    pub(super) fn vips(&self) -> BTreeSet<IpAddr> {
        let forwards = |at: &crate::status::report::ListenerReport| {
            at.forward.iter().any(|part| part.target_group == self.name)
        };
        plan::listeners(&self.facts.report)
            .filter(|(_, at)| forwards(at))
            .flat_map(|(vips, _)| vips)
            .copied()
            .collect()
    }
}

pub(super) fn neighbour_mended(neighbour: IpAddr, interface: &str) -> String {
    format!("bring {neighbour} up on the link of {interface}; ip neighbour show {neighbour} dev {interface}")
}
