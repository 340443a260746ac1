//! Whether a state is one that operations can have made: records valid in themselves, and references that lead somewhere.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::api::domain::State;
use crate::api::domain::records::{Listener, LoadBalancer, TargetGroup, TargetType};

/// What is wrong with `state`, a line each; nothing if it is right.
pub(super) fn findings(state: &State) -> Vec<String> {
    let mut findings = Findings::default();
    for (name, record) in &state.load_balancers {
        findings.of(&format!("load balancer {name}"), |told| load_balancer(state, record, told));
    }
    for (name, record) in &state.target_groups {
        findings.of(&format!("target group {name}"), |told| target_group(record, told));
    }
    findings.of("the state", |told| {
        twice("the VIP", vips(state), told);
        twice("the id", ids(state), told);
        twice("the target group", uses(state), told);
    });
    findings.lines
}

#[derive(Default)]
struct Findings {
    lines: Vec<String>,
}

/// Where findings about one thing go.
type Told<'a> = &'a mut dyn FnMut(String);

impl Findings {
    fn of(&mut self, what: &str, examine: impl FnOnce(Told)) {
        examine(&mut |finding| self.lines.push(format!("{what}: {finding}")));
    }
}

fn load_balancer(state: &State, record: &LoadBalancer, told: Told) {
    if record.zones.is_empty() {
        told("it is in no zone".to_owned());
    }
    for (zone, seat) in &record.zones {
        if record.is_dualstack != seat.ipv6.is_some() {
            told(format!("zone {zone}: an IPv6 VIP is what a dualstack load balancer has, and no other"));
        }
    }
    for (id, listener) in &record.listeners {
        let mut others = record.listeners.range(..id);
        if let Some((other, _)) = others.find(|(_, other)| overlap(listener, other)) {
            told(format!("the listeners {other} and {id} serve the same port"));
        }
        forwards(state, listener, &mut |finding| told(format!("listener {id}: {finding}")));
    }
}

fn overlap(one: &Listener, other: &Listener) -> bool {
    one.port == other.port && one.protocol.of_model().overlaps(other.protocol.of_model())
}

fn forwards(state: &State, listener: &Listener, told: Told) {
    if listener.port == 0 {
        told("port 0 is none".to_owned());
    }
    if !(60..=6000).contains(&listener.tcp_idle_timeout) {
        told(format!("its TCP idle time-out of {} s is not 60 to 6000 s", listener.tcp_idle_timeout));
    }
    if !(1..=5).contains(&listener.forward.len()) {
        told(format!("it forwards to {} target groups, not one to five", listener.forward.len()));
    }
    for forward in &listener.forward {
        if forward.weight > 999 {
            told(format!("the weight {} is more than 999", forward.weight));
        }
        let Some(group) = state.target_groups.get(&forward.target_group) else {
            told(format!("it forwards to the target group {}, which is not there", forward.target_group));
            continue;
        };
        if !group.protocol.of_model().overlaps(listener.protocol.of_model()) {
            told(format!("the target group {} serves another protocol", forward.target_group));
        }
    }
}

fn target_group(record: &TargetGroup, told: Told) {
    if record.port == 0 {
        told("port 0 is none".to_owned());
    }
    let check = &record.health_check;
    if check.timeout > check.interval || check.interval == 0 {
        told(format!("a check may take {} s, but begins every {} s", check.timeout, check.interval));
    }
    if !record.targets.is_sorted_by(|a, b| (&a.id, a.port) < (&b.id, b.port)) {
        told("its targets are not in order, or one is there twice".to_owned());
    }
    for target in &record.targets {
        let address: Option<IpAddr> = target.id.parse().ok();
        let is_right = match record.target_type {
            TargetType::Ip => address.is_some_and(|address| address.is_ipv6() == record.is_ipv6),
            TargetType::Instance => address.is_none() && !target.id.is_empty(),
        };
        if !is_right || target.port == 0 {
            told(format!("{} port {} is no target of this group", target.id, target.port));
        }
    }
}

fn vips(state: &State) -> impl Iterator<Item = String> {
    let seats = state.load_balancers.values().flat_map(|record| record.zones.values());
    seats.flat_map(|seat| [Some(seat.ipv4.to_string()), seat.ipv6.map(|vip| vip.to_string())]).flatten()
}

fn ids(state: &State) -> impl Iterator<Item = String> {
    let listeners = |record: &LoadBalancer| record.listeners.keys().copied().collect::<Vec<_>>();
    let load_balancers =
        state.load_balancers.values().flat_map(move |record| [vec![record.id], listeners(record)].concat());
    let groups = state.target_groups.values().map(|record| record.id);
    load_balancers.chain(groups).map(|id| id.to_string())
}

/// Each target group once for every load balancer that uses it.
fn uses(state: &State) -> impl Iterator<Item = String> {
    state.load_balancers.values().flat_map(|record| {
        let forwards = record.listeners.values().flat_map(|listener| &listener.forward);
        let mut groups: Vec<_> = forwards.map(|forward| forward.target_group.clone()).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    })
}

fn twice(what: &str, all: impl Iterator<Item = String>, told: Told) {
    let mut seen = BTreeMap::new();
    for one in all {
        *seen.entry(one).or_insert(0) += 1;
    }
    for (one, times) in seen.into_iter().filter(|(_, times)| *times > 1) {
        told(format!("{what} {one} is used {times} times"));
    }
}
