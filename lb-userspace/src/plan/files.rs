//! What differs between two configuration files, in words.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::report::{Action, Difference, Resource};
use crate::model::{Desired, Listener, LoadBalancer, Target, TargetGroup};

/// What is other in `after` than in `before`.
pub(super) fn differences(before: &Desired, after: &Desired) -> Vec<Difference> {
    let mut all = Vec::new();
    let node = node(before, after);
    if !node.is_empty() {
        all.push(difference(Action::Change, Resource::Node, &after.node.name, node));
    }
    by_name(&mut all, Resource::LoadBalancer, &before.load_balancers, &after.load_balancers, load_balancer);
    by_name(&mut all, Resource::TargetGroup, &before.target_groups, &after.target_groups, target_group);
    all
}

fn difference(action: Action, resource: Resource, name: &str, details: Vec<String>) -> Difference {
    Difference { action, resource, name: name.to_owned(), details }
}

fn by_name<T: PartialEq>(
    all: &mut Vec<Difference>,
    resource: Resource,
    before: &BTreeMap<String, Arc<T>>,
    after: &BTreeMap<String, Arc<T>>,
    details: impl Fn(&T, &T) -> Vec<String>,
) {
    for (name, now) in after {
        match before.get(name) {
            None => all.push(difference(Action::Create, resource, name, Vec::new())),
            Some(earlier) if earlier != now => {
                all.push(difference(Action::Change, resource, name, details(earlier, now)));
            }
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    all.extend(gone.map(|name| difference(Action::Delete, resource, name, Vec::new())));
}

/// Fields with their values before and after; those that are the same say nothing.
struct Rows(Vec<String>);

impl Rows {
    fn row(&mut self, field: &str, before: impl ToString, after: impl ToString) {
        let (before, after) = (before.to_string(), after.to_string());
        if before != after {
            self.0.push(format!("{field}: {before} → {after}"));
        }
    }

    /// A field whose values are too long for a line.
    fn other<T: PartialEq>(&mut self, field: &str, before: &T, after: &T) {
        if before != after {
            self.0.push(format!("{field}: changes"));
        }
    }
}

fn node(before: &Desired, after: &Desired) -> Vec<String> {
    let mut rows = Rows(Vec::new());
    let (was, is) = (&before.node, &after.node);
    rows.row("name", &was.name, &is.name);
    rows.row("zone", &was.zone, &is.zone);
    rows.row("interfaces", was.interfaces.join(", "), is.interfaces.join(", "));
    rows.other("oversized", &was.oversized, &is.oversized);
    rows.other("metrics_address (at the next start)", &before.metrics_address, &after.metrics_address);
    if rows.0.is_empty() && was != is {
        rows.0.push("other settings of the node change".to_owned());
    }
    rows.0
}

fn load_balancer(before: &LoadBalancer, after: &LoadBalancer) -> Vec<String> {
    let mut rows = Rows(Vec::new());
    let vips = |one: &LoadBalancer| {
        let vips: Vec<String> = one.vips.iter().map(IpAddr::to_string).collect();
        vips.join(", ")
    };
    rows.row("vips", vips(before), vips(after));
    rows.other("zones of its vips", &before.vip_zones, &after.vip_zones);
    rows.other("allow", &before.allow, &after.allow);
    let key = |listener: &Listener| (listener.protocol, listener.port);
    let find = |one: &'_ LoadBalancer, wanted: &Listener| {
        one.listeners.iter().find(|listener| key(listener) == key(wanted)).cloned()
    };
    for listener in &after.listeners {
        let name = format!("listener {} {}", listener.protocol, listener.port);
        match find(before, listener) {
            None => rows.0.push(format!("{name}: is new, forwards to {}", forward(listener))),
            Some(earlier) => {
                rows.row(&format!("{name}: forward"), forward(&earlier), forward(listener));
                rows.other(&format!("{name}: limits"), &earlier.limits, &listener.limits);
                rows.other(&format!("{name}: idle_timeout"), &earlier.idle_timeout, &listener.idle_timeout);
            }
        }
    }
    let gone = before.listeners.iter().filter(|listener| find(after, listener).is_none());
    rows.0.extend(gone.map(|listener| format!("listener {} {}: goes", listener.protocol, listener.port)));
    rows.0
}

fn forward(listener: &Listener) -> String {
    let parts = listener.forward.0.iter();
    let parts: Vec<String> = match &listener.forward.0[..] {
        [only] => vec![only.target_group.clone()],
        _ => parts.map(|part| format!("{} (weight {})", part.target_group, part.weight)).collect(),
    };
    parts.join(", ")
}

fn target_group(before: &TargetGroup, after: &TargetGroup) -> Vec<String> {
    let mut rows = Rows(Vec::new());
    let seconds = |time: Duration| format!("{} s", time.as_secs_f64());
    rows.row("protocol", before.protocol, after.protocol);
    rows.row("port", before.port, after.port);
    rows.other("encapsulation", &before.encapsulation, &after.encapsulation);
    rows.other("health_check", &before.health_check, &after.health_check);
    rows.other("minimum_healthy", &before.minimum_healthy, &after.minimum_healthy);
    rows.other("unhealthy_flows", &before.unhealthy_flows, &after.unhealthy_flows);
    rows.row("draining", seconds(before.draining), seconds(after.draining));
    rows.row("idle_timeout", seconds(before.idle_timeout), seconds(after.idle_timeout));
    rows.row("udp_idle_timeout", seconds(before.udp_idle_timeout), seconds(after.udp_idle_timeout));
    rows.other("udp_tracking", &before.udp_tracking, &after.udp_tracking);
    rows.other("second_chance", &before.second_chance, &after.second_chance);
    rows.other("stickiness", &before.stickiness, &after.stickiness);
    rows.row("cross_zone", before.cross_zone, after.cross_zone);
    rows.other(
        "terminates_on_deregistration",
        &before.terminates_on_deregistration,
        &after.terminates_on_deregistration,
    );
    targets(&mut rows, &before.targets, &after.targets);
    rows.0
}

fn targets(rows: &mut Rows, before: &BTreeMap<IpAddr, Target>, after: &BTreeMap<IpAddr, Target>) {
    for (address, target) in after {
        let Some(earlier) = before.get(address) else {
            rows.0.push(format!("target {address}: is new, weight {}", target.weight));
            continue;
        };
        rows.row(&format!("target {address}: weight"), earlier.weight, target.weight);
        rows.row(&format!("target {address}: zone"), &earlier.zone, &target.zone);
        rows.row(&format!("target {address}: port"), earlier.port, target.port);
        rows.other(
            &format!("target {address}: quic_server_id"),
            &earlier.quic_server_id,
            &target.quic_server_id,
        );
    }
    let gone = before.keys().filter(|address| !after.contains_key(*address));
    rows.0.extend(gone.map(|address| format!("target {address}: leaves")));
}
