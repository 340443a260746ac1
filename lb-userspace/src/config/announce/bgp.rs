//! The `bgp` section: the node's own speaker.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use crate::announce::bfd::Timers;
use crate::announce::bgp::speaker::{AS_TRANS, COMMUNITIES_MAX, InvalidSpeaker, MD5_PASSWORD_MAX};
use crate::announce::bgp::{Families, Peer, Speaker};
use crate::config::address;
use crate::config::cursor::{At, Fields};

pub(super) fn read(at: &At) -> Option<Speaker> {
    let fields = at.fields(&["local_as", "router_id", "peers"])?;
    let local_as = as_number(&fields.at("local_as"));
    let router_id = fields.optional("router_id").map_or(Some(None), |at| router_id(&at).map(Some));
    let peers = peers(&fields.at("peers"));
    let (local_as, router_id, peers) = (local_as?, router_id?, peers?);
    let router_id = match router_id.or_else(|| first_ipv4_source(&peers)) {
        Some(router_id) => router_id,
        None => {
            return fields.at("router_id").refuse(
                "missing; expected an IPv4 address, another one on each node: no peer has an IPv4 \"source\" that could \
                 be it",
            );
        }
    };
    let speaker = Speaker { local_as, router_id, peers };
    // Each peer was checked alone; what is left is what several have in common.
    match speaker.validate() {
        Ok(()) => Some(speaker),
        Err(problem) => at.refuse(problem.to_string()),
    }
}

fn first_ipv4_source(peers: &[Peer]) -> Option<Ipv4Addr> {
    peers.iter().find_map(|peer| match peer.source {
        IpAddr::V4(source) => Some(source),
        IpAddr::V6(_) => None,
    })
}

fn as_number(at: &At) -> Option<u32> {
    const RULE: &str = "an AS number: a whole number from 1 to 4294967294, not 23456";
    let number: u32 = at.number_expecting(1..=u32::MAX - 1, RULE)?;
    if number == u32::from(AS_TRANS) { at.refuse_expecting(RULE) } else { Some(number) }
}

fn router_id(at: &At) -> Option<Ipv4Addr> {
    const RULE: &str = "an IPv4 address such as \"192.0.2.11\", another one on each node";
    match at.text(RULE)?.parse::<Ipv4Addr>() {
        Ok(address) if !address.is_unspecified() => Some(address),
        _ => at.refuse_expecting(RULE),
    }
}

fn peers(at: &At) -> Option<Vec<Peer>> {
    let items = at.items("a list of one or more routers")?;
    if items.is_empty() {
        return at.refuse("an empty list; expected one or more routers");
    }
    let mut peers: Vec<Option<Peer>> = Vec::new();
    for item in &items {
        let peer = peer(item);
        let is_same = |other: &Option<Peer>| {
            other.as_ref().zip(peer.as_ref()).is_some_and(|(other, peer)| other.address == peer.address)
        };
        let earlier = peers.iter().position(is_same);
        let path = format!("{}.address", item.path());
        peers.push(match earlier {
            None => peer,
            Some(at) => {
                item.refuse_at(&path, format!("the same router as {}; it has one session", items[at].path()))
            }
        });
    }
    peers.into_iter().collect()
}

const FIELDS: &[&str] = &[
    "address",
    "source",
    "remote_as",
    "port",
    "hold_time_seconds",
    "keepalive_seconds",
    "md5_password",
    "hops",
    "ttl_security",
    "families",
    "next_hop_ipv4",
    "next_hop_ipv6",
    "extended_next_hop",
    "communities",
    "large_communities",
    "med",
    "local_preference",
    "graceful_shutdown",
    "bfd",
];

fn peer(at: &At) -> Option<Peer> {
    let fields = at.fields(FIELDS)?;
    let (address, source) = (address::host(&fields.at("address")), address::host(&fields.at("source")));
    let remote_as = as_number(&fields.at("remote_as"));
    let (timing, way, label) = (timing(&fields), way(&fields), label(&fields));
    let plain = Peer::new(address?, source?, remote_as?);
    let changes = [timing?, way?, label?];
    let peer = changes.into_iter().fold(plain, |peer, change| change(peer));
    let alone = Speaker { local_as: 1, router_id: Ipv4Addr::LOCALHOST, peers: vec![peer] };
    match alone.validate() {
        Ok(()) => alone.peers.into_iter().next(),
        Err(InvalidSpeaker::Peer { what, .. } | InvalidSpeaker::Own(what)) => at.refuse(what),
    }
}

/// What some fields make of a peer.
type Change = Box<dyn FnOnce(Peer) -> Peer>;

/// The session's port and times.
fn timing(fields: &Fields) -> Option<Change> {
    let port = optional(fields, "port", |at| at.number(1..=u16::MAX));
    let hold_time = optional(fields, "hold_time_seconds", hold_time);
    let keepalive = optional(fields, "keepalive_seconds", |at| at.seconds(1..=21_845));
    let bfd = optional(fields, "bfd", timers);
    let (port, hold_time, keepalive, bfd) = (port?, hold_time?, keepalive?, bfd?);
    Some(Box::new(move |peer| Peer {
        port: port.unwrap_or(peer.port),
        hold_time: hold_time.unwrap_or(peer.hold_time),
        keepalive,
        bfd,
        ..peer
    }))
}

/// How packets get to the router, and VIPs' packets to the node.
fn way(fields: &Fields) -> Option<Change> {
    let md5_password = optional(fields, "md5_password", password);
    let hops = optional(fields, "hops", |at| at.number(1..=u8::MAX));
    let ttl_security = optional(fields, "ttl_security", |at| at.flag());
    let families = optional(fields, "families", families);
    let next_hop_ipv4 = optional(fields, "next_hop_ipv4", address::host);
    let next_hop_ipv6 = optional(fields, "next_hop_ipv6", ipv6);
    let extended = optional(fields, "extended_next_hop", |at| at.flag());
    let (md5_password, hops, ttl_security) = (md5_password?, hops?, ttl_security?);
    let (families, next_hop_ipv4, next_hop_ipv6, extended) =
        (families?, next_hop_ipv4?, next_hop_ipv6?, extended?);
    Some(Box::new(move |peer| Peer {
        md5_password,
        hops: hops.unwrap_or(peer.hops),
        ttl_security: ttl_security.unwrap_or(peer.ttl_security),
        families: families.unwrap_or(peer.families),
        next_hop_ipv4,
        next_hop_ipv6,
        extended_next_hop: extended.unwrap_or(peer.extended_next_hop),
        ..peer
    }))
}

/// What routes carry.
fn label(fields: &Fields) -> Option<Change> {
    let communities = optional(fields, "communities", labels);
    let large_communities = optional(fields, "large_communities", labels);
    let med = optional(fields, "med", |at| at.number(0..=u32::MAX));
    let local_preference = optional(fields, "local_preference", |at| at.number(0..=u32::MAX));
    let graceful_shutdown = optional(fields, "graceful_shutdown", |at| at.flag());
    let (communities, large_communities, med) = (communities?, large_communities?, med?);
    let (local_preference, graceful_shutdown) = (local_preference?, graceful_shutdown?);
    Some(Box::new(move |peer| Peer {
        communities: communities.unwrap_or_default(),
        large_communities: large_communities.unwrap_or_default(),
        med,
        local_preference: local_preference.unwrap_or(peer.local_preference),
        graceful_shutdown: graceful_shutdown.unwrap_or(peer.graceful_shutdown),
        ..peer
    }))
}

/// A field that may be left out: `Some(None)` then.
fn optional<T>(fields: &Fields, name: &str, read: impl FnOnce(&At) -> Option<T>) -> Option<Option<T>> {
    fields.optional(name).map_or(Some(None), |at| read(&at).map(Some))
}

fn hold_time(at: &At) -> Option<Duration> {
    const RULE: &str = "a whole number of seconds from 3 to 65535, or 0 for never";
    let seconds: u64 = at.number_expecting(0..=65_535, RULE)?;
    if (1..3).contains(&seconds) {
        return at.refuse_expecting(RULE);
    }
    Some(Duration::from_secs(seconds))
}

/// The password stays out of the message.
fn password(at: &At) -> Option<String> {
    const RULE: &str = "the router's TCP-MD5 password, 1 to 80 bytes";
    let text = at.text(RULE)?;
    if (1..=MD5_PASSWORD_MAX).contains(&text.len()) {
        Some(text.to_owned())
    } else {
        at.refuse(format!("{} bytes long; expected {RULE}", text.len()))
    }
}

fn families(at: &At) -> Option<Families> {
    let items = at.items("a list with \"ipv4\", \"ipv6\" or both")?;
    if items.is_empty() {
        return at.refuse("an empty list; expected \"ipv4\", \"ipv6\" or both");
    }
    let chosen = |item: &At| {
        let ipv4 = Families { ipv4: true, ipv6: false };
        let ipv6 = Families { ipv4: false, ipv6: true };
        item.choice(&[("ipv4", ipv4), ("ipv6", ipv6)], &[])
    };
    let chosen: Vec<Option<Families>> = items.iter().map(chosen).collect();
    let all =
        |sum: Families, one: Families| Families { ipv4: sum.ipv4 || one.ipv4, ipv6: sum.ipv6 || one.ipv6 };
    Some(chosen.into_iter().collect::<Option<Vec<_>>>()?.into_iter().fold(Families::default(), all))
}

fn ipv6(at: &At) -> Option<Ipv6Addr> {
    match address::host(at)? {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => at.refuse_expecting("an IPv6 address such as \"fc00::1\""),
    }
}

fn labels<L: FromStr<Err: Display>>(at: &At) -> Option<Vec<L>> {
    let items = at.items("a list of communities")?;
    if items.len() > COMMUNITIES_MAX {
        return at.refuse(format!("{} of them; a route carries at most {COMMUNITIES_MAX}", items.len()));
    }
    let label = |item: &At| match item.text("a community such as \"65000:120\"")?.parse() {
        Ok(label) => Some(label),
        Err(problem) => item.refuse(format!("{problem}")),
    };
    let labels: Vec<Option<L>> = items.iter().map(label).collect();
    labels.into_iter().collect()
}

fn timers(at: &At) -> Option<Timers> {
    let fields = at.fields(&["transmit_milliseconds", "receive_milliseconds", "multiplier"])?;
    let milliseconds = |name| {
        let read = |at: &At| {
            at.number_expecting(10..=60_000, "a whole number of milliseconds from 10 to 60000")
                .map(Duration::from_millis)
        };
        optional(&fields, name, read)
    };
    let (transmit, receive) = (milliseconds("transmit_milliseconds"), milliseconds("receive_milliseconds"));
    let multiplier = optional(&fields, "multiplier", |at| at.number(2..=u8::MAX));
    let default = Timers::default();
    Some(Timers {
        transmit: transmit?.unwrap_or(default.transmit),
        receive: receive?.unwrap_or(default.receive),
        multiplier: multiplier?.unwrap_or(default.multiplier),
    })
}
