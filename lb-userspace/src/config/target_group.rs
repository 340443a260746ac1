//! The `target_groups` section, and what other sections ask about it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::cursor::{At, Fields};
use super::json::Quoted;
use super::nearest::nearest;
use super::{address, health_check, minimum_healthy, name, quic_server_id};
use crate::model::{
    Encapsulation, Override, Protocol, QuicServerId, SecondChance, Stickiness, Target, TargetGroup,
    UdpTracking, UnhealthyFlows,
};

/// Targets that a node can hold: the data plane's ids are 16 bits, and an id rests before it is given again.
const MAX_TARGETS: usize = 65_000;

/// The default idle time-out of UDP flows.
const UDP_IDLE_SECONDS: u64 = 120;

/// The target groups, as far as they could be read.
pub(super) struct Groups {
    by_name: BTreeMap<String, Group>,
    /// Every target's address with its path.
    targets: Vec<(IpAddr, String)>,
    /// Whether a group's name could not be read: nobody can tell then which groups there are.
    any_unnamed: bool,
}

/// One target group. What listeners must agree with is there even if something else is wrong.
pub(super) struct Group {
    path: String,
    pub(super) protocol: Option<Protocol>,
    pub(super) stickiness: Option<Stickiness>,
    /// The server ids of its targets, as far as they could be read.
    pub(super) quic_server_ids: BTreeMap<QuicServerId, String>,
    complete: Option<TargetGroup>,
}

impl Groups {
    /// The group with that name, even if something is wrong with it.
    pub(super) fn named(&self, name: &str) -> Option<&Group> {
        self.by_name.get(name)
    }

    /// Reports that there is no group `name`, and which one may be meant. Says nothing while a group's name
    /// can't be read: it may be that one.
    pub(super) fn refuse_unknown<T>(&self, at: &At, name: &str) -> Option<T> {
        if self.any_unnamed {
            return None;
        }
        let quoted = Quoted(name);
        match nearest(name, self.by_name.keys().map(String::as_str)) {
            Some(meant) => {
                at.refuse(format!("no target group has the name {quoted}; did you mean {meant:?}?"))
            }
            None => at.refuse(format!("no target group has the name {quoted}; add it to target_groups")),
        }
    }

    /// Reports every target that is one of `vips`: a packet to it would come back to the node for ever.
    pub(super) fn refuse_vips(&self, vips: &BTreeMap<IpAddr, String>, root: &At) {
        for (target, path) in &self.targets {
            if let Some(vip) = vips.get(target) {
                root.refuse_at::<()>(
                    path,
                    format!(
                        "{target} is a VIP ({vip}), packets would go round in a loop; \
                         expected the server's own address"
                    ),
                );
            }
        }
    }

    /// All groups, if nothing is wrong with any.
    pub(super) fn complete(self) -> Option<BTreeMap<String, Arc<TargetGroup>>> {
        if self.any_unnamed {
            return None;
        }
        self.by_name.into_iter().map(|(name, group)| Some((name, Arc::new(group.complete?)))).collect()
    }
}

/// Reads the list; `node_zone` is the default of the targets' zones, if that could be read.
pub(super) fn read_all(at: &At, node_zone: Option<&str>) -> Option<Groups> {
    let items = at.items("a list of target groups")?;
    let mut groups = Groups { by_name: BTreeMap::new(), targets: Vec::new(), any_unnamed: false };
    for item in &items {
        match read(item, node_zone, &mut groups.targets) {
            Some((name, group)) => insert(&mut groups, item, name, group),
            None => groups.any_unnamed = true,
        }
    }
    if groups.targets.len() > MAX_TARGETS {
        return at.refuse(format!(
            "{} targets in all groups together; a node holds at most {MAX_TARGETS}",
            groups.targets.len()
        ));
    }
    Some(groups)
}

fn insert(groups: &mut Groups, at: &At, name: String, group: Group) {
    if let Some(earlier) = groups.by_name.get_mut(&name) {
        let path = format!("{}.name", at.path());
        at.refuse_at::<()>(
            &path,
            format!("{name:?} is the name of {} already; names are unique", earlier.path),
        );
        earlier.complete = None;
        return;
    }
    groups.by_name.insert(name, group);
}

fn read(
    at: &At,
    node_zone: Option<&str>,
    all_targets: &mut Vec<(IpAddr, String)>,
) -> Option<(String, Group)> {
    let fields = at.fields(&[
        "name",
        "protocol",
        "port",
        "encapsulation",
        "health_check",
        "minimum_healthy",
        "unhealthy_draining_seconds",
        "draining_seconds",
        "terminate_on_deregistration",
        "idle_timeout_seconds",
        "udp_idle_timeout_seconds",
        "udp_tracking",
        "second_chance",
        "stickiness",
        "cross_zone",
        "targets",
    ])?;
    let name = name::object_name(&fields.at("name"));
    let protocol = protocol(&fields.at("protocol"));
    let port = fields.at("port").number(1..=u16::MAX);
    let stickiness = stickiness(&fields);
    let targets = targets(&fields.at("targets"), protocol, port, node_zone, all_targets);
    let quic_server_ids = targets.quic_server_ids;
    let complete = attributes(&fields, protocol, port, stickiness, targets.complete);
    Some((name?, Group { path: at.path().to_owned(), protocol, stickiness, quic_server_ids, complete }))
}

/// A listener's or target group's protocol.
pub(super) fn protocol(at: &At) -> Option<Protocol> {
    let protocols = [
        ("TCP", Protocol::Tcp),
        ("UDP", Protocol::Udp),
        ("TCP_UDP", Protocol::TcpUdp),
        ("QUIC", Protocol::Quic),
    ];
    at.choice(&protocols, &["TLS", "TCP_QUIC"])
}

fn attributes(
    fields: &Fields,
    protocol: Option<Protocol>,
    port: Option<u16>,
    stickiness: Option<Stickiness>,
    targets: Option<BTreeMap<IpAddr, Target>>,
) -> Option<TargetGroup> {
    let encapsulations = [("ipip", Encapsulation::Ipip), ("gue", Encapsulation::Gue)];
    let encapsulation = fields
        .optional("encapsulation")
        .map_or(Some(Encapsulation::Ipip), |at| at.choice(&encapsulations, &[]));
    let health_check = health_check::read(fields.optional("health_check"));
    let minimum_healthy = minimum_healthy::read(fields.optional("minimum_healthy"));
    let unhealthy_flows = unhealthy_flows(fields);
    let terminates_on_deregistration = terminates_on_deregistration(fields, protocol);
    let draining =
        fields.optional("draining_seconds").map_or(Some(Duration::from_secs(300)), |at| at.seconds(0..=3600));
    let idle_timeout = idle_timeout(fields, protocol);
    let udp_idle_timeout = udp_idle_timeout(fields, protocol, idle_timeout);
    let udp_tracking = udp_tracking(fields, protocol);
    let second_chances = [("auto", SecondChance::Auto), ("never", SecondChance::Never)];
    let second_chance = fields
        .optional("second_chance")
        .map_or(Some(SecondChance::Auto), |at| at.choice(&second_chances, &[]));
    let cross_zone = fields.optional("cross_zone").map_or(Some(true), |at| at.flag());
    Some(TargetGroup {
        protocol: protocol?,
        port: port?,
        encapsulation: encapsulation?,
        health_check: Arc::new(health_check?),
        minimum_healthy: minimum_healthy?,
        unhealthy_flows: unhealthy_flows?,
        draining: draining?,
        terminates_on_deregistration: terminates_on_deregistration?,
        idle_timeout: idle_timeout?,
        udp_idle_timeout: udp_idle_timeout?,
        udp_tracking: udp_tracking?,
        second_chance: second_chance?,
        stickiness: stickiness?,
        cross_zone: cross_zone?,
        targets: targets?,
        absent: 0,
    })
}

fn unhealthy_flows(fields: &Fields) -> Option<UnhealthyFlows> {
    let time = fields
        .optional("unhealthy_draining_seconds")
        .map_or(Some(Duration::ZERO), |at| at.seconds(0..=360_000))?;
    Some(if time.is_zero() { UnhealthyFlows::Terminate } else { UnhealthyFlows::Drain(time) })
}

/// By default the flows of TCP live on: they have an end of their own.
fn terminates_on_deregistration(fields: &Fields, protocol: Option<Protocol>) -> Option<bool> {
    let Some(at) = fields.optional("terminate_on_deregistration") else {
        return Some(protocol?.has_udp());
    };
    let terminates = at.flag()?;
    if !terminates && protocol == Some(Protocol::Quic) {
        return at.refuse(
            "this target group is QUIC, whose packets find their target by its server id for as long as it drains; expected true, with the draining_seconds that the connections need",
        );
    }
    Some(terminates)
}

fn idle_timeout(fields: &Fields, protocol: Option<Protocol>) -> Option<Duration> {
    let (shortest, default) =
        if protocol.is_some_and(Protocol::has_tcp) { (60, 350) } else { (10, UDP_IDLE_SECONDS) };
    fields
        .optional("idle_timeout_seconds")
        .map_or(Some(Duration::from_secs(default)), |at| at.seconds(shortest..=6000))
}

fn udp_idle_timeout(
    fields: &Fields,
    protocol: Option<Protocol>,
    idle_timeout: Option<Duration>,
) -> Option<Duration> {
    let given = fields.optional("udp_idle_timeout_seconds");
    match (protocol, given) {
        (Some(Protocol::TcpUdp), None) => Some(Duration::from_secs(UDP_IDLE_SECONDS)),
        (_, None) => idle_timeout,
        (Some(Protocol::TcpUdp) | None, Some(at)) => at.seconds(10..=6000),
        (Some(protocol), Some(at)) => at.refuse(format!(
            "this target group is {protocol}, only TCP_UDP ones have it beside idle_timeout_seconds; leave it out"
        )),
    }
}

fn stickiness(fields: &Fields) -> Option<Stickiness> {
    let kinds = [("source_ip", Stickiness::SourceIp), ("none", Stickiness::None)];
    fields.optional("stickiness").map_or(Some(Stickiness::None), |at| at.choice(&kinds, &[]))
}

fn udp_tracking(fields: &Fields, protocol: Option<Protocol>) -> Option<UdpTracking> {
    let Some(at) = fields.optional("udp_tracking") else {
        return Some(UdpTracking::Changed);
    };
    if protocol == Some(Protocol::Tcp) {
        return at.refuse("this target group is TCP, only UDP ones have it; leave it out");
    }
    let policies =
        [("changed", UdpTracking::Changed), ("always", UdpTracking::Always), ("never", UdpTracking::Never)];
    at.choice(&policies, &[])
}

/// A group's targets, as far as they could be read.
struct Targets {
    /// The targets' server ids with their paths.
    quic_server_ids: BTreeMap<QuicServerId, String>,
    /// The targets, if nothing is wrong with any.
    complete: Option<BTreeMap<IpAddr, Target>>,
}

fn targets(
    at: &At,
    protocol: Option<Protocol>,
    group_port: Option<u16>,
    node_zone: Option<&str>,
    all_targets: &mut Vec<(IpAddr, String)>,
) -> Targets {
    let mut quic_server_ids = BTreeMap::new();
    let Some(items) = at.items("a list of targets") else {
        return Targets { quic_server_ids, complete: None };
    };
    let mut first_of = BTreeMap::new();
    let mut targets = Some(BTreeMap::new());
    for (index, item) in items.iter().enumerate() {
        let (address, target) = target(item, protocol, group_port, node_zone, &mut quic_server_ids);
        let repeated = address.and_then(|address| first_of.insert(address, index));
        if let (Some(address), Some(earlier)) = (address, repeated) {
            let path = format!("{}.id", item.path());
            item.refuse_at::<()>(
                &path,
                format!("{address} is {} already; list it once, with a weight", items[earlier].path()),
            );
        }
        all_targets.extend(address.map(|address| (address, format!("{}.id", item.path()))));
        match (&mut targets, address, target) {
            (Some(targets), Some(address), Some(target)) => drop(targets.insert(address, target)),
            _ => targets = None,
        }
    }
    Targets { quic_server_ids, complete: targets }
}

fn target(
    at: &At,
    protocol: Option<Protocol>,
    group_port: Option<u16>,
    node_zone: Option<&str>,
    quic_server_ids: &mut BTreeMap<QuicServerId, String>,
) -> (Option<IpAddr>, Option<Target>) {
    let Some(fields) = at.fields(&["id", "weight", "zone", "port", "quic_server_id"]) else {
        return (None, None);
    };
    let address = address::host(&fields.at("id"));
    let weight = fields.optional("weight").map_or(Some(1), |at| at.number(0..=1000));
    let zone = fields.optional("zone").map_or(node_zone.map(str::to_owned), |at| name::label(&at));
    let port = fields.optional("port").map_or(group_port, |at| at.number(1..=u16::MAX));
    let quic_server_id = quic_server_id::read(&fields, protocol, quic_server_ids);
    let target = || {
        Some(Target {
            weight: weight?,
            operator: Override::default(),
            zone: zone?,
            port: port?,
            quic_server_id: quic_server_id?,
        })
    };
    (address, target())
}
