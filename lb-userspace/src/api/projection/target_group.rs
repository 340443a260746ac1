//! A target group: its attributes, its check, and those of its targets that are to serve.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Ground;
use crate::api::domain::records::{self, CheckProtocol, CrossZone, TargetGroupAttributes};
use crate::api::domain::targets::{ALL_ZONES, address_of, zone_of};
use crate::api::inventory::Inventory;
use crate::model::{
    CheckPort, HealthCheck, MinimumHealthy, Probe, Protocol, QuicServerId, SecondChance, StatusCodes,
    Stickiness, Target, TargetGroup, Threshold, UdpTracking, UnhealthyFlows,
};

/// How long flows live without a packet, where no listener says otherwise, as the API's users expect it.
const TCP_IDLE: Duration = Duration::from_secs(350);
const UDP_IDLE: Duration = Duration::from_secs(120);

/// The targets' weight: the API gives weights to groups only.
const WEIGHT: u16 = 1;

pub(super) fn project(
    record: &records::TargetGroup,
    user: Option<&Arc<records::LoadBalancer>>,
    inventory: &Inventory,
    ground: &Ground,
) -> TargetGroup {
    let attributes = &record.attributes;
    let protocol = record.protocol.of_model();
    let idle_timeout = if protocol.has_tcp() { TCP_IDLE } else { UDP_IDLE };
    TargetGroup {
        protocol,
        port: record.port,
        encapsulation: ground.encapsulation,
        health_check: Arc::new(health_check(&record.health_check)),
        minimum_healthy: minimum_healthy(attributes),
        unhealthy_flows: unhealthy_flows(attributes),
        draining: Duration::from_secs(attributes.deregistration_delay.into()),
        terminates_on_deregistration: attributes.ends_flows_of_deregistered,
        idle_timeout,
        udp_idle_timeout: if protocol == Protocol::TcpUdp { UDP_IDLE } else { idle_timeout },
        udp_tracking: UdpTracking::Changed,
        second_chance: SecondChance::Auto,
        stickiness: if attributes.is_sticky { Stickiness::SourceIp } else { Stickiness::None },
        cross_zone: match attributes.cross_zone {
            CrossZone::On => true,
            CrossZone::Off => false,
            CrossZone::AsLoadBalancer => user.is_some_and(|user| user.attributes.cross_zone),
        },
        targets: targets(record, user, inventory, ground),
        absent: registered(record).filter(|target| address_of(target, record, inventory).is_none()).count(),
    }
}

fn unhealthy_flows(attributes: &TargetGroupAttributes) -> UnhealthyFlows {
    if attributes.ends_flows_of_unhealthy {
        UnhealthyFlows::Terminate
    } else {
        UnhealthyFlows::Drain(Duration::from_secs(attributes.unhealthy_draining_interval.into()))
    }
}

fn minimum_healthy(attributes: &TargetGroupAttributes) -> MinimumHealthy {
    let percent = |threshold: Option<u32>| threshold.and_then(|percent| u8::try_from(percent).ok());
    let count = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
    let routing = Threshold {
        count: count(attributes.routing_failover_count),
        percent: percent(attributes.routing_failover_percentage.0),
    };
    let failover = match (attributes.dns_failover_count.0, attributes.dns_failover_percentage.0) {
        (None, None) => None,
        // A share alone says nothing of the count, which is never less than that of the other threshold.
        (number, share) => {
            Some(Threshold { count: number.map_or(routing.count, count), percent: percent(share) })
        }
    };
    MinimumHealthy { routing, failover }
}

fn health_check(check: &records::HealthCheck) -> HealthCheck {
    HealthCheck {
        probe: match &check.protocol {
            CheckProtocol::Tcp => Probe::Tcp,
            CheckProtocol::Http { path, matcher } => {
                Probe::Http { path: path.clone(), matcher: status_codes(matcher) }
            }
            CheckProtocol::Https { path, matcher } => {
                Probe::Https { path: path.clone(), matcher: status_codes(matcher) }
            }
        },
        port: check.port.map_or(CheckPort::Traffic, CheckPort::Port),
        interval: Duration::from_secs(check.interval.into()),
        timeout: Duration::from_secs(check.timeout.into()),
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
    }
}

/// `200,202-399`: codes and ranges, as a target group's request was checked for.
fn status_codes(matcher: &str) -> StatusCodes {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    StatusCodes(matcher.split(',').filter_map(range).collect())
}

/// The targets that do not drain.
fn registered(record: &records::TargetGroup) -> impl Iterator<Item = &records::Target> {
    record.targets.iter().filter(|target| target.drains_until.is_none())
}

/// The targets that get flows: registered ones that run, in a zone that the load balancer is in. Of two at one address
/// (which the API refuses) the first counts.
fn targets(
    record: &records::TargetGroup,
    user: Option<&Arc<records::LoadBalancer>>,
    inventory: &Inventory,
    ground: &Ground,
) -> BTreeMap<IpAddr, Target> {
    let mut targets = BTreeMap::new();
    for target in registered(record) {
        let Some(address) = address_of(target, record, inventory) else { continue };
        let zone = zone_of(target, record, inventory).filter(|zone| *zone != ALL_ZONES);
        if zone.is_some_and(|zone| user.is_some_and(|user| !user.zones.contains_key(zone))) {
            continue;
        }
        let target = Target {
            weight: target.operator.of_model().weight(WEIGHT),
            operator: target.operator.of_model(),
            // Who is in every zone, or in one that nobody knows, is in the node's own.
            zone: zone.unwrap_or(&ground.node.zone).to_owned(),
            port: target.port,
            quic_server_id: target.quic_server_id.map(|id| QuicServerId(id.to_be_bytes())),
        };
        targets.entry(address).or_insert(target);
    }
    targets
}
