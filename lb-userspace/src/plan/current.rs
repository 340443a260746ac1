//! The present state as a document: what a plan of it finds no difference in.

use super::document::{
    Document, Forward, HealthCheck, Listener, LoadBalancer, Subnet, Target, TargetGroup, Texts,
};
use crate::api::domain::State;
use crate::api::domain::records::{self, LoadBalancerAttributes, Scheme, TargetGroupAttributes};

/// The document of a state.
pub fn document(state: &State) -> Document {
    Document {
        load_balancers: state.load_balancers.iter().map(|(name, one)| load_balancer(name, one)).collect(),
        target_groups: state.target_groups.iter().map(|(name, group)| target_group(name, group)).collect(),
    }
}

fn load_balancer(name: &str, record: &records::LoadBalancer) -> LoadBalancer {
    let mut listeners: Vec<Listener> = record.listeners.values().map(listener).collect();
    listeners.sort_by_key(|listener| (listener.port, listener.protocol.of_model()));
    let usual = LoadBalancerAttributes::usual(record.scheme);
    LoadBalancer {
        place: String::new(),
        name: name.to_owned(),
        scheme: record.scheme,
        is_dualstack: record.is_dualstack,
        subnets: record.zones.values().map(|seat| subnet(seat, record.scheme)).collect(),
        security_groups: record.security_groups.clone(),
        guards_private_link: record.guards_private_link,
        attributes: others(record.attributes.pairs(), usual.pairs()),
        tags: record.tags.clone(),
        listeners,
    }
}

/// With the addresses that a request may name.
fn subnet(seat: &records::Seat, scheme: Scheme) -> Subnet {
    Subnet {
        id: seat.subnet.clone(),
        allocation: seat.allocation.clone(),
        ipv4: (scheme == Scheme::Internal).then(|| seat.ipv4.to_string()),
        ipv6: seat.ipv6.map(|vip| vip.to_string()),
    }
}

fn listener(record: &records::Listener) -> Listener {
    Listener {
        place: String::new(),
        protocol: record.protocol,
        port: record.port,
        forward: record.forward.iter().map(Forward::from).collect(),
        order: record.order,
        attributes: others(record.pairs(), records::Listener::usual_pairs()),
        tags: record.tags.clone(),
    }
}

fn target_group(name: &str, record: &records::TargetGroup) -> TargetGroup {
    let check = HealthCheck::whole(&record.health_check);
    let is_usual = record.health_check == records::HealthCheck::usual();
    let usual = TargetGroupAttributes::new(record.protocol);
    TargetGroup {
        place: String::new(),
        name: name.to_owned(),
        protocol: record.protocol,
        port: record.port,
        vpc: Some(record.vpc.clone()),
        target_type: record.target_type,
        is_ipv6: record.is_ipv6,
        health_check: if is_usual { HealthCheck::default() } else { check },
        attributes: others(record.attributes.pairs(), usual.pairs()),
        tags: record.tags.clone(),
        targets: Some(registered(record).map(|one| target(one, record)).collect()),
    }
}

/// The targets that do not drain.
pub(super) fn registered(record: &records::TargetGroup) -> impl Iterator<Item = &records::Target> {
    record.targets.iter().filter(|target| target.drains_until.is_none())
}

/// A target as a document names it.
pub(super) fn target(record: &records::Target, group: &records::TargetGroup) -> Target {
    Target {
        id: record.id.clone(),
        port: Some(record.port).filter(|port| *port != group.port),
        zone: record.zone.clone(),
        quic_server_id: record.quic_server_id.map(|id| format!("0x{id:016x}")),
    }
}

impl HealthCheck {
    /// All of a check.
    pub(super) fn whole(check: &records::HealthCheck) -> HealthCheck {
        let request = check.protocol.request();
        HealthCheck {
            protocol: Some(check.protocol.shape().wire().to_owned()),
            port: Some(check.port.map_or("traffic-port".to_owned(), |port| port.to_string())),
            path: request.map(|(path, _)| path.to_owned()),
            matcher: request.map(|(_, matcher)| matcher.to_owned()),
            interval_seconds: Some(check.interval),
            timeout_seconds: Some(check.timeout),
            healthy_threshold_count: Some(check.healthy_threshold),
            unhealthy_threshold_count: Some(check.unhealthy_threshold),
        }
    }
}

/// The pairs that are not among the `usual` ones.
fn others<A, U>(pairs: A, usual: U) -> Texts
where
    A: IntoIterator<Item = (&'static str, String)>,
    U: IntoIterator<Item = (&'static str, String)>,
{
    let usual: Vec<(&str, String)> = usual.into_iter().collect();
    pairs
        .into_iter()
        .filter(|pair| !usual.contains(pair))
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
