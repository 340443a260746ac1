//! A load balancer's `listeners`, and what they must have in common with the target groups they forward to.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::encapsulation::GUE_PORT;

use super::cursor::{At, Fields};
use super::target_group::{self, Group, Groups};
use super::{new_flows, quic_server_id};
use crate::model::{ForwardAction, Listener, ListenerPort, Protocol, WeightedTargetGroup};

/// Reads the list; without `groups` nothing is said about what a listener forwards to.
pub(super) fn read_all(at: &At, groups: Option<&Groups>) -> Option<Vec<Listener>> {
    let items = at.items("a list of listeners")?;
    let mut taken: BTreeMap<ListenerPort, Vec<(Protocol, &At)>> = BTreeMap::new();
    let mut listeners = Vec::new();
    for item in &items {
        let (key, listener) = read(item, groups);
        if let Some((protocol, port)) = key {
            let others = taken.entry(port).or_default();
            refuse_taken(item, protocol, port, others);
            others.push((protocol, item));
        }
        listeners.push(listener);
    }
    listeners.into_iter().collect()
}

/// Reports a listener of whose packets another one takes some: TCP_UDP takes TCP's and UDP's, QUIC is UDP.
fn refuse_taken(at: &At, protocol: Protocol, port: ListenerPort, others: &[(Protocol, &At)]) {
    let Some((theirs, earlier)) = others.iter().find(|(other, _)| other.overlaps(protocol)) else {
        return;
    };
    let path = earlier.path();
    let message = if *theirs == protocol {
        format!(
            "{protocol} port {port} is that of {path} already; expected one listener for a protocol and port"
        )
    } else {
        format!(
            "{protocol} port {port} shares packets with {theirs} port {port} of {path}; \
             expected one listener for a packet"
        )
    };
    at.refuse::<()>(message);
}

fn read(at: &At, groups: Option<&Groups>) -> (Option<(Protocol, ListenerPort)>, Option<Listener>) {
    const FIELDS: &[&str] = &[
        "protocol",
        "port",
        "forward",
        "idle_timeout_seconds",
        new_flows::FIELDS[0],
        new_flows::FIELDS[1],
        new_flows::FIELDS[2],
    ];
    let Some(fields) = at.fields(FIELDS) else {
        return (None, None);
    };
    let protocol = target_group::protocol(&fields.at("protocol"));
    let port = port(&fields.at("port"), protocol);
    let forward = forward(&fields.at("forward"), &Wanted { protocol, groups });
    let limits = new_flows::read(&fields, protocol);
    let idle_timeout = idle_timeout(&fields, protocol);
    let key = protocol.zip(port);
    let complete = || {
        let (protocol, port) = key?;
        Some(Listener { protocol, port, forward: forward?, limits: limits?, idle_timeout: idle_timeout? })
    };
    (key, complete())
}

fn port(at: &At, protocol: Option<Protocol>) -> Option<ListenerPort> {
    if at.is_text("any") {
        return Some(ListenerPort::Any);
    }
    let port = at.number_expecting(1..=u16::MAX, "a whole number from 1 to 65535 or \"any\"")?;
    if port == GUE_PORT && protocol.is_some_and(Protocol::has_udp) {
        return at.refuse(
            "UDP port 6080 is GUE's, in which packets travel to targets, and a tunnel is not put into a tunnel; \
             expected another port",
        );
    }
    Some(ListenerPort::Port(port))
}

fn idle_timeout(fields: &Fields, protocol: Option<Protocol>) -> Option<Option<Duration>> {
    let Some(at) = fields.optional("idle_timeout_seconds") else { return Some(None) };
    match protocol {
        Some(protocol) if !protocol.has_tcp() => at.refuse(format!(
            "this listener is {protocol}, and only those that take TCP have it; leave it out, UDP's is the target \
             group's"
        )),
        _ => at.seconds(60..=6000).map(Some),
    }
}

/// What a listener wants of the target groups it forwards to, as far as it could be read.
struct Wanted<'a> {
    protocol: Option<Protocol>,
    groups: Option<&'a Groups>,
}

fn forward(at: &At, wanted: &Wanted) -> Option<ForwardAction> {
    let items = at.items("a list of one or more target groups with weights")?;
    if items.is_empty() {
        return at.refuse("an empty list; expected one or more target groups with weights");
    }
    let mut first_of: BTreeMap<&str, &At> = BTreeMap::new();
    let mut action = Vec::new();
    for item in &items {
        let (name, weighted) = weighted(item, wanted);
        if let Some(name) = name
            && let Some(earlier) = first_of.insert(name, item)
        {
            let path = format!("{}.target_group", item.path());
            item.refuse_at::<()>(
                &path,
                format!("{name:?} is that of {} already; name it once, with a weight", earlier.path()),
            );
        }
        action.push(weighted);
    }
    let action = action.into_iter().collect::<Option<Vec<WeightedTargetGroup>>>()?;
    if action.iter().all(|group| group.weight == 0) {
        return at.refuse("every weight is 0, so no flow could go anywhere; expected one above 0");
    }
    agree(at, &action, wanted.groups?)?;
    Some(ForwardAction(action))
}

/// What the groups of one listener must have in common, because they share its table and its packets.
fn agree(at: &At, action: &[WeightedTargetGroup], groups: &Groups) -> Option<()> {
    let named: Vec<&Group> = action.iter().filter_map(|part| groups.named(&part.target_group)).collect();
    let first = named.first()?.stickiness?;
    for (part, group) in action.iter().zip(&named) {
        if group.stickiness? != first {
            return at.refuse(format!(
                "the target groups {:?} and {:?} differ in stickiness, and a listener chooses by one; make it the \
                 same",
                action[0].target_group, part.target_group
            ));
        }
    }
    quic_server_id::refuse_shared(at, &named)
}

fn weighted<'a>(at: &At<'a>, wanted: &Wanted) -> (Option<&'a str>, Option<WeightedTargetGroup>) {
    let Some(fields) = at.fields(&["target_group", "weight"]) else {
        return (None, None);
    };
    let name_at = fields.at("target_group");
    let name = name_at.text("the name of a target group");
    let fits = name.and_then(|name| fits(&name_at, name, wanted));
    let weight = fields.optional("weight").map_or(Some(1), |at| at.number(0..=999));
    let weighted = || {
        fits?;
        Some(WeightedTargetGroup { target_group: name?.to_owned(), weight: weight? })
    };
    (name, weighted())
}

/// Whether packets of the listener can be served by the target group `name`.
fn fits(at: &At, name: &str, wanted: &Wanted) -> Option<()> {
    let groups = wanted.groups?;
    let Some(group) = groups.named(name) else {
        return groups.refuse_unknown(at, name);
    };
    serves(at, name, group.protocol?, wanted.protocol?)
}

fn serves(at: &At, name: &str, theirs: Protocol, ours: Protocol) -> Option<()> {
    if ours.is_served_by(theirs) {
        return Some(());
    }
    let serves_both = ours != Protocol::TcpUdp && ours.is_served_by(Protocol::TcpUdp);
    let or = if serves_both { ", or the target group TCP_UDP" } else { "" };
    at.refuse(format!(
        "the target group {name:?} is {theirs}, this listener is {ours}; make them the same{or}"
    ))
}
