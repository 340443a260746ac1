//! A load balancer: its VIPs, its listeners, and whom its security groups let in.

use std::net::IpAddr;
use std::time::Duration;

use crate::api::domain::records::{self, Forward, Seat};
use crate::api::inventory::{self, AllowedProtocol, Inventory, Network};
use crate::model::{
    AllowList, AllowRule, ForwardAction, Listener, ListenerPort, LoadBalancer, LogPlace, NewFlowLimits,
    Prefix, RulePorts, RuleProtocol, WeightedTargetGroup,
};

pub(super) fn project(record: &records::LoadBalancer, inventory: &Inventory) -> LoadBalancer {
    let vips = record.zones.iter().flat_map(|(zone, seat)| vips(seat).map(move |vip| (vip, zone.clone())));
    let vip_zones: Vec<(IpAddr, String)> = vips.collect();
    let listeners: Vec<Listener> = record.listeners.values().map(listener).collect();
    LoadBalancer {
        vips: vip_zones.iter().map(|(vip, _)| *vip).collect(),
        vip_zones: vip_zones.into_iter().collect(),
        allow: allow_list(record, &listeners, inventory),
        flow_log: log_place(record),
        listeners,
    }
}

/// The VIPs of a seat.
pub(in crate::api) fn vips(seat: &Seat) -> impl Iterator<Item = IpAddr> + use<> {
    [Some(IpAddr::V4(seat.ipv4)), seat.ipv6.map(IpAddr::V6)].into_iter().flatten()
}

fn listener(record: &records::Listener) -> Listener {
    let protocol = record.protocol.of_model();
    Listener {
        protocol,
        port: ListenerPort::Port(record.port),
        forward: forward_action(&record.forward),
        limits: NewFlowLimits::default(),
        idle_timeout: protocol.has_tcp().then(|| Duration::from_secs(record.tcp_idle_timeout.into())),
    }
}

fn forward_action(forward: &[Forward]) -> ForwardAction {
    let part =
        |part: &Forward| WeightedTargetGroup { target_group: part.target_group.clone(), weight: part.weight };
    ForwardAction(forward.iter().map(part).collect())
}

/// Where the flows are logged. A bucket that is no directory's name was taken by an earlier version, which ignored it.
fn log_place(record: &records::LoadBalancer) -> Option<LogPlace> {
    let attributes = &record.attributes;
    let place = || LogPlace::new(&attributes.log_bucket, &attributes.log_prefix).ok();
    if attributes.logs_access { place() } else { None }
}

/// What the security groups let in. Without any, everybody; one that the inventory has no more lets nobody in.
fn allow_list(
    record: &records::LoadBalancer,
    listeners: &[Listener],
    inventory: &Inventory,
) -> Option<AllowList> {
    if record.security_groups.is_empty() {
        return None;
    }
    let groups = record.security_groups.iter().filter_map(|id| inventory.security_groups.get(id));
    let rules = groups.flat_map(|group| &group.allow).map(rule);
    Some(AllowList(rules.filter(|rule| speaks_of_any(rule, listeners)).collect()))
}

fn rule(rule: &inventory::AllowRule) -> AllowRule {
    AllowRule {
        sources: vec![prefix(&rule.source)],
        protocol: match rule.protocol {
            AllowedProtocol::Tcp => RuleProtocol::Tcp,
            AllowedProtocol::Udp => RuleProtocol::Udp,
            AllowedProtocol::All => RuleProtocol::Any,
        },
        ports: match rule.ports {
            (1, u16::MAX) => RulePorts::Any,
            range => RulePorts::Ranges(vec![range]),
        },
    }
}

fn prefix(network: &Network) -> Prefix {
    let (address, bits) = network.prefix();
    Prefix::new(address, bits).expect("a network has no bits behind its prefix")
}

fn speaks_of_any(rule: &AllowRule, listeners: &[Listener]) -> bool {
    use lb_common::flow::{TCP, UDP};
    listeners.iter().any(|listener| {
        listener.protocol.has_tcp() && rule.speaks_of(TCP, listener.port)
            || listener.protocol.has_udp() && rule.speaks_of(UDP, listener.port)
    })
}
