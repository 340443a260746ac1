//! Allow-lists and limits of new flows.
//!
//! VIP 9 serves hosts 0 to 15 of the client's network by TCP port 80 and all UDP ports but 80, and hosts 128 to 255 by
//! UDP port 80; what begins at its TCP port 82 is counted against limits that no test reaches by itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use lb_common::policy::Allowance;
use lb_common::trace::Step;
use lb_common::{Reason, Slot};
use lb_userspace::model::{AllowedSources, NewFlowLimits, Policy, Prefix, SourceLimit};

use crate::case::Case;
use crate::client::{Family, Kind, Packet};
use crate::node::{ALLOWED, ALLOWED_ANY_UDP, ALLOWED_QUIC, LIMITED, Node, growth};
use crate::program::Action;
use crate::remote::{NODE_INTERFACE, Outer, Remote, Role};
use crate::{node, quic};

/// A host that TCP port 80 serves, and one that it does not.
const FRIEND: u8 = 7;
const STRANGER: u8 = 16;
/// A host that UDP port 80 serves.
const TALKER: u8 = 200;

/// The prefixes of the client's network with that many bits for hosts, from this one on, in both families.
fn hosts(first: u8, bits: u8) -> AllowedSources {
    let prefix = |family: Family| {
        let address = address(&family.host(first));
        let longest = if address.is_ipv4() { 32 } else { 128 };
        Prefix::new(address, longest - bits).expect("no bits behind it")
    };
    AllowedSources(Family::BOTH.iter().map(|family| (prefix(*family), 3)).collect())
}

fn address(bytes: &[u8]) -> IpAddr {
    match bytes.len() {
        4 => IpAddr::from(crate::client::array::<4>(bytes)),
        _ => IpAddr::from(crate::client::array::<16>(bytes)),
    }
}

/// What stands before the listeners of VIP 9, by their counters.
pub fn policies() -> [(u16, Policy); 4] {
    let friends = Arc::new(hosts(0, 4));
    let many = SourceLimit { per_second: 100_000, ipv4_bits: 32, ipv6_bits: 64 };
    let limits = NewFlowLimits { all: Some(10_000_000), per_source: Some(many) };
    [
        (
            ALLOWED,
            Policy {
                tcp: Some(Arc::clone(&friends)),
                udp: Some(Arc::new(hosts(128, 7))),
                ..Policy::default()
            },
        ),
        (ALLOWED_QUIC, Policy { udp: Some(Arc::clone(&friends)), ..Policy::default() }),
        (ALLOWED_ANY_UDP, Policy { udp: Some(friends), ..Policy::default() }),
        (LIMITED, Policy { limits, ..Policy::default() }),
    ]
}

/// Whether VIP 9 serves a source.
pub fn is_allowed(source: &[u8], protocol: u8, port: u16) -> bool {
    let (network, host) = source.split_at(source.len() - 1);
    let family = if source.len() == 4 { Family::V4 } else { Family::V6 };
    let is_near = network == &family.host(0)[..network.len()];
    match (protocol, port) {
        (6, 82) => true,
        (17, 80) => is_near && host[0] >= 128,
        _ => is_near && host[0] < 16,
    }
}

pub fn cases() -> Vec<Case> {
    let outers = [Outer::ALL[0], Outer::ALL[3]].into_iter();
    outers.flat_map(|outer| Family::BOTH.map(|family| (outer, family))).flat_map(of_pair).collect()
}

fn of_pair((outer, family): (Outer, Family)) -> Vec<Case> {
    let (one, other) = (Remote::new(outer, Role::One), Remote::new(outer, Role::Other));
    let (stable, changing) = (Slot::stable(one.id()), Slot::changing(other.id(), one.id()));
    let name = |what: &str| format!("{family:?} by {}: policy: {what}", outer.name());
    let packet = |kind, host| Packet { host, ..Packet::new(family, kind).with_vip(9) };
    let forwarded =
        |what: &str, packet: &Packet, counter| Case::forwarded(name(what), stable, packet, counter, one);
    let refused =
        |what: &str, packet: &Packet| Case::refused(name(what), stable, packet.frame(), Reason::NotAllowed);
    let (syn, ack) = (packet(Kind::Syn, FRIEND), packet(Kind::Ack, FRIEND));
    let named = Packet { payload: quic::naming(one), ..packet(Kind::Udp, FRIEND).with_port(443) };
    let gue = packet(Kind::Udp, FRIEND).with_port(6080);
    vec![
        forwarded("a friend's SYN", &syn, ALLOWED),
        forwarded("a friend's ACK", &ack, ALLOWED),
        forwarded("the first of the friends", &packet(Kind::Ack, 0), ALLOWED),
        forwarded("the last of the friends", &packet(Kind::Ack, 15), ALLOWED),
        forwarded("behind two tags", &Packet { tags: 2, padding: 6, ..ack.clone() }, ALLOWED),
        refused("the first stranger", &packet(Kind::Syn, STRANGER)),
        refused("a stranger's ACK", &packet(Kind::Ack, STRANGER)),
        refused("a stranger far away", &packet(Kind::Ack, 255)),
        refused("a friend of TCP is none of UDP", &packet(Kind::Udp, FRIEND)),
        forwarded("a friend of UDP", &packet(Kind::Udp, TALKER), ALLOWED),
        refused("a friend of UDP is none of TCP", &packet(Kind::Ack, TALKER)),
        Case::forwarded(name("QUIC to its target"), Slot::stable(other.id()), &named, ALLOWED_QUIC, one),
        refused("a stranger's QUIC", &Packet { host: STRANGER, ..named }),
        forwarded("any port", &packet(Kind::Udp, FRIEND).with_port(99), ALLOWED_ANY_UDP),
        refused("any port, a stranger", &packet(Kind::Udp, TALKER).with_port(99)),
        Case::refused(name("GUE from a friend"), stable, gue.frame(), Reason::AlreadyEncapsulated),
        refused("GUE from a stranger", &Packet { host: STRANGER, ..gue }),
        forwarded("a SYN that is counted", &syn.clone().with_port(82), LIMITED),
        forwarded("an ACK that is not", &ack.clone().with_port(82), LIMITED),
        Case::forwarded(
            name("a SYN that is counted, in a changing slot"),
            changing,
            &syn.clone().with_port(82),
            LIMITED,
            other,
        )
        .remembers(&syn.clone().with_port(82), other),
        Case::forwarded(name("a friend's old flow in a changing slot"), changing, &ack, ALLOWED, one)
            .remembers(&ack, one)
            .marks(&ack),
    ]
}

/// The node with one target, the policies of VIP 9, and a VIP 9 listener's packets.
struct Stage {
    node: Node,
    family: Family,
}

impl Stage {
    fn new(family: Family) -> Option<Stage> {
        let mut node = node()?;
        node.reset(Slot::stable(Remote::new(Outer::ALL[0], Role::One).id()));
        Some(Stage { node, family })
    }

    fn set(&mut self, counter: u16, policy: Policy) {
        self.node.set_policy(counter, &policy);
    }

    fn packet(&self, kind: Kind, host: u8, port: u16) -> Vec<u8> {
        Packet { host, ..Packet::new(self.family, kind).with_vip(9).with_port(port) }.frame()
    }

    fn passes(&self, kind: Kind, host: u8, port: u16) -> bool {
        self.node.run(&self.packet(kind, host, port)).action == Action::Tx
    }

    /// How many of so many SYNs from a host to port 82 are forwarded, and what else was counted.
    fn syns(&self, host: u8, count: usize) -> (usize, BTreeMap<String, u64>) {
        let before = self.node.counts();
        let frame = self.packet(Kind::Syn, host, 82);
        let forwarded = (0..count).filter(|_| self.node.run(&frame).action == Action::Tx).count();
        let mut grown = growth(&before, &self.node.counts());
        grown.retain(|what, _| what.starts_with("reason"));
        (forwarded, grown)
    }
}

fn tcp(sources: AllowedSources) -> Policy {
    Policy { tcp: Some(Arc::new(sources)), ..Policy::default() }
}

fn limits(all: Option<u32>, per_source: Option<(u32, u8, u8)>) -> Policy {
    let per_source =
        per_source.map(|(per_second, ipv4_bits, ipv6_bits)| SourceLimit { per_second, ipv4_bits, ipv6_bits });
    Policy { limits: NewFlowLimits { all, per_source }, ..Policy::default() }
}

/// How many a limit of ten a second lets through: the burst, and the rate for as long as it takes on a busy machine.
fn of_ten_a_second(begun: Instant) -> RangeInclusive<usize> {
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("a test takes seconds");
    10..=10 + 10 * (seconds + 1)
}

#[test]
fn a_change_is_in_force_with_the_next_packet() {
    for family in Family::BOTH {
        let Some(mut stage) = Stage::new(family) else { return };
        for round in 0..20 {
            assert!(stage.passes(Kind::Ack, FRIEND, 80) && !stage.passes(Kind::Ack, STRANGER, 80), "{round}");
            stage.set(ALLOWED, tcp(hosts(16, 4)));
            assert!(!stage.passes(Kind::Ack, FRIEND, 80) && stage.passes(Kind::Ack, STRANGER, 80), "{round}");
            stage.set(ALLOWED, tcp(hosts(0, 4)));
        }
    }
}

#[test]
fn every_ipv6_address_is_no_ipv4_address() {
    let Some(mut stage) = Stage::new(Family::V4) else { return };
    let all = |address: &str| Prefix::new(address.parse().unwrap(), 0).unwrap();
    stage.set(ALLOWED, tcp(AllowedSources([(all("::"), 0)].into())));
    assert!(!stage.passes(Kind::Ack, FRIEND, 80));
    stage.family = Family::V6;
    assert!(stage.passes(Kind::Ack, FRIEND, 80));
    stage.set(ALLOWED, tcp(AllowedSources([(all("0.0.0.0"), 0)].into())));
    assert!(!stage.passes(Kind::Ack, FRIEND, 80));
    stage.family = Family::V4;
    assert!(stage.passes(Kind::Ack, FRIEND, 80));
}

#[test]
fn sources_that_share_a_line_of_the_cache_are_told_apart() {
    for family in Family::BOTH {
        let Some(stage) = Stage::new(family) else { return };
        let mut packet = Packet { host: 0, ..Packet::new(family, Kind::Ack).with_vip(9) };
        packet.tags = 0;
        let frame = packet.frame();
        let source = if family == Family::V4 { 14 + 12 } else { 14 + 8 };
        // More sources than lines, twice: the friends are among them.
        for number in (0..5_000u16).chain(0..5_000) {
            let mut frame = frame.clone();
            let network = family.host(0).len();
            let host = &mut frame[source + network - 2..source + network];
            let [high, low] = number.to_be_bytes();
            host.copy_from_slice(&[host[0] ^ high, low]);
            let is_friend = number < 16;
            assert_eq!(stage.node.run(&frame).action == Action::Tx, is_friend, "{family:?} {number}");
        }
    }
}

#[test]
fn a_listeners_limit_holds_and_leaves_what_began_alone() {
    for family in Family::BOTH {
        let Some(mut stage) = Stage::new(family) else { return };
        stage.set(LIMITED, limits(Some(10), None));
        let begun = Instant::now();
        let (forwarded, counted) = stage.syns(FRIEND, 1_000);
        assert!(of_ten_a_second(begun).contains(&forwarded), "{forwarded} of 1,000 SYNs");
        let refused = 1_000 - forwarded as u64;
        assert_eq!(counted, [("reason listener_limit".to_string(), refused)].into());
        assert!((0..100).all(|_| stage.passes(Kind::Ack, FRIEND, 82)), "{family:?}");
    }
}

#[test]
fn a_sources_limit_holds_for_each_source() {
    for family in Family::BOTH {
        let Some(mut stage) = Stage::new(family) else { return };
        stage.set(LIMITED, limits(None, Some((10, 32, 128))));
        for host in [1, 2, 3] {
            let begun = Instant::now();
            let (forwarded, counted) = stage.syns(host, 1_000);
            assert!(of_ten_a_second(begun).contains(&forwarded), "{forwarded} of host {host}'s 1,000 SYNs");
            let refused = 1_000 - forwarded as u64;
            assert_eq!(counted, [("reason source_limit".to_string(), refused)].into());
        }
    }
}

#[test]
fn addresses_of_one_prefix_are_one_source() {
    for (family, bits) in [(Family::V4, (24, 128)), (Family::V6, (32, 64))] {
        let Some(mut stage) = Stage::new(family) else { return };
        stage.set(LIMITED, limits(None, Some((10, bits.0, bits.1))));
        let begun = Instant::now();
        let forwarded: usize = (0..100).map(|host| stage.syns(host, 3).0).sum();
        assert!(of_ten_a_second(begun).contains(&forwarded), "{forwarded} of 300 SYNs");
    }
}

#[test]
fn what_the_listeners_limit_refuses_does_not_use_up_the_sources() {
    let Some(mut stage) = Stage::new(Family::V4) else { return };
    stage.set(LIMITED, limits(Some(1), Some((1_000, 32, 64))));
    let (begun, _) = stage.syns(FRIEND, 900);
    assert!(begun < 100, "{begun}");
    stage.set(LIMITED, limits(None, Some((1_000, 32, 64))));
    let (left, _) = stage.syns(FRIEND, 900);
    assert_eq!(left, 900, "what was refused before is not counted");
}

#[test]
fn a_policy_that_goes_leaves_nothing_behind() {
    let Some(mut stage) = Stage::new(Family::V4) else { return };
    stage.set(LIMITED, limits(Some(1), None));
    assert!(stage.syns(FRIEND, 100).0 < 20);
    stage.set(LIMITED, Policy::default());
    assert_eq!(stage.syns(FRIEND, 1_000).0, 1_000);
}

#[test]
fn explain_tells_the_rule_and_counts_nothing() {
    for family in Family::BOTH {
        let Some(mut stage) = Stage::new(family) else { return };
        let frame = stage.packet(Kind::Ack, FRIEND, 80);
        // Whether the processor knows the source or not, explaining looks it up.
        for _ in 0..3 {
            let trace = stage.node.explain(NODE_INTERFACE, &frame).trace;
            let bits = if family == Family::V4 { 28 } else { 124 };
            assert!(trace.has(Step::AllowList) && trace.has(Step::Target) && !trace.has(Step::Limits));
            assert_eq!(Allowance(trace.allowance), Allowance::new(3, bits));
            assert!(stage.passes(Kind::Ack, FRIEND, 80));
        }
        let stranger = stage.packet(Kind::Ack, STRANGER, 80);
        let trace = stage.node.explain(NODE_INTERFACE, &stranger).trace;
        assert_eq!((trace.reason(), trace.allowance), (Some(Reason::NotAllowed), 0));
        assert!(trace.has(Step::Listener), "whose listener refused it is told");

        stage.set(LIMITED, limits(Some(2), Some((2, 32, 64))));
        let syn = stage.packet(Kind::Syn, FRIEND, 82);
        for _ in 0..50 {
            let trace = stage.node.explain(NODE_INTERFACE, &syn).trace;
            assert!(trace.has(Step::Limits) && trace.reason().is_none());
        }
        assert!(stage.syns(FRIEND, 2).0 == 2, "explaining counts nothing");
    }
}
