//! Reads a document: whole, or all that is wrong with it, each problem with its place and what would be right.
//!
//! Only what a document is made of is checked here; what values mean together is the API's own to refuse.

use std::collections::BTreeMap;

use super::document::{
    Document, Forward, HealthCheck, Listener, LoadBalancer, Subnet, Target, TargetGroup, Texts,
};
use crate::api::domain::records::{Protocol, Scheme, TargetType};
use crate::config::{self, At, ConfigError, Fields, nearest};

const PROTOCOLS: [(&str, Protocol); 4] =
    [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("TCP_UDP", Protocol::TcpUdp), ("QUIC", Protocol::Quic)];

/// Protocols of the API that are not served.
const LATER: [&str; 2] = ["TLS", "TCP_QUIC"];

/// Reads the text of a document; `file` is its name in messages.
///
/// # Errors
/// With all that is wrong.
pub fn read(file: &str, text: &str) -> Result<Document, ConfigError> {
    config::read_document(file, text, document)
}

fn document(root: &At) -> Option<Document> {
    let fields = root.fields(&["load_balancers", "target_groups"])?;
    let groups = all(&fields, "target_groups", "a list of target groups", target_group);
    let load_balancers = all(&fields, "load_balancers", "a list of load balancers", load_balancer);
    if let Some(groups) = &groups {
        refuse_repeated(root, groups.iter().map(|group| (group.name.as_str(), group.place.as_str())));
    }
    if let Some(all) = &load_balancers {
        refuse_repeated(root, all.iter().map(|one| (one.name.as_str(), one.place.as_str())));
    }
    let document = Document { load_balancers: load_balancers?, target_groups: groups? };
    refuse_unknown_groups(root, &document);
    Some(document)
}

/// The items of an optional list.
fn all<T>(fields: &Fields, name: &str, expected: &str, read: impl Fn(&At) -> Option<T>) -> Option<Vec<T>> {
    let Some(at) = fields.optional(name) else { return Some(Vec::new()) };
    // All are read before the first that is wrong ends it: all problems come out at once.
    let items: Vec<Option<T>> = at.items(expected)?.iter().map(read).collect();
    items.into_iter().collect()
}

fn refuse_repeated<'n>(root: &At, named: impl Iterator<Item = (&'n str, &'n str)>) {
    let mut first = BTreeMap::new();
    for (name, place) in named {
        if let Some(earlier) = first.insert(name, place) {
            let why = format!("{name:?} is the name of {earlier} already; names are unique");
            root.refuse_at::<()>(&format!("{place}.name"), why);
        }
    }
}

/// A listener forwards to target groups of its own document.
fn refuse_unknown_groups(root: &At, document: &Document) {
    let known: Vec<&str> = document.target_groups.iter().map(|group| group.name.as_str()).collect();
    for listener in document.load_balancers.iter().flat_map(|one| &one.listeners) {
        for (at, forward) in listener.forward.iter().enumerate() {
            let name = forward.target_group.as_str();
            if known.contains(&name) {
                continue;
            }
            let place = format!("{}.forward[{at}].target_group", listener.place);
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "a listener forwards to target groups of the same document".to_owned(),
            };
            root.refuse_at::<()>(
                &place,
                format!("there is no target group {name:?} in target_groups; {hint}"),
            );
        }
    }
}

fn load_balancer(at: &At) -> Option<LoadBalancer> {
    let fields = at.fields(&[
        "name",
        "scheme",
        "ip_address_type",
        "subnets",
        "subnet_mappings",
        "security_groups",
        "enforce_security_group_inbound_rules_on_private_link_traffic",
        "attributes",
        "tags",
        "listeners",
    ])?;
    let schemes = [("internet-facing", Scheme::InternetFacing), ("internal", Scheme::Internal)];
    let guards = "enforce_security_group_inbound_rules_on_private_link_traffic";
    let name = text(&fields.at("name"), "a name");
    let subnets = subnets(at, &fields);
    let scheme = choice(&fields, "scheme", &schemes, Scheme::InternetFacing);
    let is_dualstack = choice(&fields, "ip_address_type", &[("ipv4", false), ("dualstack", true)], false);
    let groups = all(&fields, "security_groups", "a list of security groups' ids", |at| {
        text(at, "a security group's id")
    });
    let guards = choice(&fields, guards, &[("on", true), ("off", false)], true);
    let (attributes, tags) = (texts(&fields, "attributes"), texts(&fields, "tags"));
    let listeners = all(&fields, "listeners", "a list of listeners", listener);
    if let Some(listeners) = &listeners {
        refuse_same_port(at, listeners);
    }
    Some(LoadBalancer {
        place: at.path().to_owned(),
        name: name?,
        scheme: scheme?,
        is_dualstack: is_dualstack?,
        subnets: subnets?,
        security_groups: sorted(groups?),
        guards_private_link: guards?,
        attributes: attributes?,
        tags: tags?,
        listeners: listeners?,
    })
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

fn refuse_same_port(at: &At, listeners: &[Listener]) {
    let mut first = BTreeMap::new();
    for listener in listeners {
        let (protocol, port) = (listener.protocol.of_model(), listener.port);
        if let Some(earlier) = first.insert((protocol, port), &listener.place) {
            at.refuse_at::<()>(
                &listener.place,
                format!("{protocol} port {port} is that of {earlier} already"),
            );
        }
    }
}

fn subnets(at: &At, fields: &Fields) -> Option<Vec<Subnet>> {
    let plain =
        |at: &At| Some(Subnet { id: text(at, "a subnet's id")?, allocation: None, ipv4: None, ipv6: None });
    match (fields.optional("subnets").is_some(), fields.optional("subnet_mappings").is_some()) {
        (true, true) => at.refuse("has subnets and subnet_mappings; leave one of the two out"),
        (false, false) => at.refuse("has no subnets; name one or more in subnets or subnet_mappings"),
        (true, false) => all(fields, "subnets", "a list of subnets' ids", plain),
        (false, true) => all(fields, "subnet_mappings", "a list of subnet mappings", mapping),
    }
}

fn mapping(at: &At) -> Option<Subnet> {
    let fields = at.fields(&["subnet_id", "allocation_id", "private_ipv4_address", "ipv6_address"])?;
    let id = text(&fields.at("subnet_id"), "a subnet's id");
    let allocation = optional_text(&fields, "allocation_id", "an allocation's id");
    let ipv4 = optional_text(&fields, "private_ipv4_address", "an IPv4 address");
    let ipv6 = optional_text(&fields, "ipv6_address", "an IPv6 address");
    Some(Subnet { id: id?, allocation: allocation?, ipv4: ipv4?, ipv6: ipv6? })
}

fn listener(at: &At) -> Option<Listener> {
    let fields = at.fields(&["protocol", "port", "forward", "order", "attributes", "tags"])?;
    let protocol = fields.at("protocol").choice(&PROTOCOLS, &LATER);
    let port = fields.at("port").number(1..=u16::MAX);
    let forward = forward(&fields.at("forward"));
    let order = fields.optional("order").map_or(Some(None), |at| at.number(1_u16..=50000).map(Some));
    let (attributes, tags) = (texts(&fields, "attributes"), texts(&fields, "tags"));
    Some(Listener {
        place: at.path().to_owned(),
        protocol: protocol?,
        port: port?,
        forward: forward?,
        order: order?.map(i32::from),
        attributes: attributes?,
        tags: tags?,
    })
}

/// The name of one target group, or several with weights.
fn forward(at: &At) -> Option<Vec<Forward>> {
    if let Some(name) = at.found_text() {
        return Some(vec![Forward { target_group: name.to_owned(), weight: 1 }]);
    }
    let items = at.items("the name of a target group, or a list of target groups with weights")?;
    let parts: Vec<Option<Forward>> = items.iter().map(part).collect();
    parts.into_iter().collect()
}

fn part(at: &At) -> Option<Forward> {
    let fields = at.fields(&["target_group", "weight"])?;
    let target_group = text(&fields.at("target_group"), "the name of a target group");
    let weight = fields.optional("weight").map_or(Some(1), |at| at.number(0_u16..=999));
    Some(Forward { target_group: target_group?, weight: weight? })
}

fn target_group(at: &At) -> Option<TargetGroup> {
    let fields = at.fields(&[
        "name",
        "protocol",
        "port",
        "vpc_id",
        "target_type",
        "ip_address_type",
        "health_check",
        "attributes",
        "tags",
        "targets",
    ])?;
    let kinds = [("instance", TargetType::Instance), ("ip", TargetType::Ip)];
    let name = text(&fields.at("name"), "a name");
    let protocol = fields.at("protocol").choice(&PROTOCOLS, &LATER);
    let port = fields.at("port").number(1..=u16::MAX);
    let vpc = optional_text(&fields, "vpc_id", "a VPC's id");
    let target_type = choice(&fields, "target_type", &kinds, TargetType::Instance);
    let is_ipv6 = choice(&fields, "ip_address_type", &[("ipv4", false), ("ipv6", true)], false);
    let health_check =
        fields.optional("health_check").map_or(Some(HealthCheck::default()), |at| health_check(&at));
    let (attributes, tags) = (texts(&fields, "attributes"), texts(&fields, "tags"));
    let targets = match fields.optional("targets") {
        None => Some(None),
        Some(_) => all(&fields, "targets", "a list of targets", target).map(Some),
    };
    Some(TargetGroup {
        place: at.path().to_owned(),
        name: name?,
        protocol: protocol?,
        port: port?,
        vpc: vpc?,
        target_type: target_type?,
        is_ipv6: is_ipv6?,
        health_check: health_check?,
        attributes: attributes?,
        tags: tags?,
        targets: targets?,
    })
}

fn health_check(at: &At) -> Option<HealthCheck> {
    let fields = at.fields(&[
        "protocol",
        "port",
        "path",
        "matcher",
        "interval_seconds",
        "timeout_seconds",
        "healthy_threshold_count",
        "unhealthy_threshold_count",
    ])?;
    let protocols = [("TCP", "TCP"), ("HTTP", "HTTP"), ("HTTPS", "HTTPS")];
    let protocol = fields.optional("protocol").map_or(Some(None), |at| at.choice(&protocols, &[]).map(Some));
    let port = fields.optional("port").map_or(Some(None), |at| at.plain().map(Some));
    let path = optional_text(&fields, "path", "a path that begins with /");
    let matcher = optional_text(&fields, "matcher", "HTTP status codes, such as \"200-399\"");
    let interval = number(&fields, "interval_seconds", 5, 300);
    let timeout = number(&fields, "timeout_seconds", 2, 120);
    let healthy = number(&fields, "healthy_threshold_count", 2, 10);
    let unhealthy = number(&fields, "unhealthy_threshold_count", 2, 10);
    Some(HealthCheck {
        protocol: protocol?.map(str::to_owned),
        port: port?,
        path: path?,
        matcher: matcher?,
        interval_seconds: interval?,
        timeout_seconds: timeout?,
        healthy_threshold_count: healthy?.map(|count| count as u8),
        unhealthy_threshold_count: unhealthy?.map(|count| count as u8),
    })
}

fn target(at: &At) -> Option<Target> {
    let fields = at.fields(&["id", "port", "availability_zone", "quic_server_id"])?;
    let id = text(&fields.at("id"), "an instance's id or an address");
    let port = number(&fields, "port", 1, u16::MAX);
    let zone = optional_text(&fields, "availability_zone", "a zone or \"all\"");
    let server = optional_text(&fields, "quic_server_id", "0x and 16 hexadecimal digits");
    Some(Target { id: id?, port: port?, zone: zone?, quic_server_id: server? })
}

fn text(at: &At, expected: &str) -> Option<String> {
    at.text(expected).map(str::to_owned)
}

fn optional_text(fields: &Fields, name: &str, expected: &str) -> Option<Option<String>> {
    fields.optional(name).map_or(Some(None), |at| text(&at, expected).map(Some))
}

fn number(fields: &Fields, name: &str, least: u16, most: u16) -> Option<Option<u16>> {
    fields.optional(name).map_or(Some(None), |at| at.number(least..=most).map(Some))
}

fn choice<T: Copy>(fields: &Fields, name: &str, choices: &[(&str, T)], usual: T) -> Option<T> {
    fields.optional(name).map_or(Some(usual), |at| at.choice(choices, &[]))
}

/// Texts by key; numbers and truth values are taken as they are written.
fn texts(fields: &Fields, name: &str) -> Option<Texts> {
    let Some(at) = fields.optional(name) else { return Some(Texts::new()) };
    let members = at.members("an object of keys and values")?;
    let texts: Vec<Option<(String, String)>> =
        members.iter().map(|(key, at)| Some(((*key).to_owned(), at.plain()?))).collect();
    texts.into_iter().collect()
}
