//! The model held against the design's own words, without root: what the oracle can't tell is whether both are
//! wrong in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{Icmpv4Type, PacketBuilder};
use lb_common::{ChainWord, Reason, Slot, TargetId};

use super::*;

pub(super) const A: TargetId = TargetId(1);
pub(super) const B: TargetId = TargetId(2);
pub(super) const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const CLIENT: [u8; 4] = [198, 51, 100, 7];
pub(super) const VIP: [u8; 4] = [203, 0, 113, 1];
const SYN: bool = true;

pub(super) fn node(slot: Slot) -> Node {
    let vip = IpAddr::from(VIP);
    let listener = Listener {
        forward: 1,
        counter: 3,
        idle: 300,
        tracking: Tracking::Changed,
        affinity: Affinity::Flow,
        leaves_tunnels: false,
        is_quic: false,
    };
    Node {
        key: [1, 2],
        interface: 1,
        mac: NODE,
        first_buffer: usize::MAX,
        vips: BTreeSet::from([vip]),
        listeners: BTreeMap::from([((vip, 6, 80), listener)]),
        policies: BTreeMap::new(),
        tables: BTreeMap::from([(
            1,
            Table { slots: vec![slot; 2], chains: vec![ChainWord::NONE; 2], marks: vec![0; 2] },
        )]),
        quic_servers: BTreeMap::new(),
        targets: BTreeMap::from([(A, target(1)), (B, target(2))]),
        flows: FlowTable::new(2),
        fragments: Fragments::new(2),
        answers_oversized: false,
        counters: Counters::default(),
    }
}

fn target(number: u8) -> Target {
    let address = |last| Ipv4Addr::new(192, 0, 2, last);
    Target {
        ends: Ends::V4(address(100), address(number)),
        gue: false,
        next_hop: Some(NextHop { interface: 1, source: NODE, destination: [2, 0, 0, 0, 7, number] }),
        mtu: 1500,
        keeps_flows: true,
        spread: [0; 4],
    }
}

fn segment(is_syn: bool) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], NODE).ipv4(CLIENT, VIP, 63);
    let builder = builder.tcp(40_000, 80, 1, 1000);
    let builder = if is_syn { builder.syn() } else { builder.ack(7) };
    let mut frame = Vec::new();
    builder.write(&mut frame, b"nine byte").expect("a vector takes every packet");
    frame
}

/// The target that a segment is sent to, by the outer destination.
fn sent_to(node: &mut Node, is_syn: bool) -> TargetId {
    let outcome = node.process(&segment(is_syn), 9);
    assert_eq!(outcome.action, Action::Tx, "{:?}", outcome.reason);
    TargetId(outcome.frame[14 + 19].into())
}

pub(super) fn remembered(node: &Node) -> Vec<TargetId> {
    node.flows.sets().iter().flatten().flatten().map(|entry| entry.target).collect()
}

#[test]
fn a_stable_slot_asks_and_remembers_nothing() {
    let mut node = node(Slot::stable(A));
    assert_eq!((sent_to(&mut node, SYN), sent_to(&mut node, !SYN)), (A, A));
    assert!(remembered(&node).is_empty());
}

#[test]
fn what_began_before_a_change_stays_and_what_begins_in_it_goes_to_the_new_target() {
    let mut node = node(Slot::changing(B, A));
    assert_eq!(sent_to(&mut node, !SYN), A);
    assert_eq!(remembered(&node), [A]);
    assert_eq!(node.tables[&1].marks.iter().max(), Some(&9), "the slot has an exception");
    assert_eq!(sent_to(&mut node, SYN), B);
    assert_eq!(sent_to(&mut node, !SYN), B);
    assert_eq!(remembered(&node), [B]);
}

#[test]
fn a_slot_with_exceptions_keeps_known_flows_until_a_syn() {
    let mut node = node(Slot::changing(B, A));
    assert_eq!(sent_to(&mut node, !SYN), A);
    node.tables.get_mut(&1).expect("the node has the table").slots = vec![Slot::exceptions(B); 2];
    assert_eq!(sent_to(&mut node, !SYN), A);
    assert_eq!(sent_to(&mut node, SYN), B);
    assert!(remembered(&node).is_empty());
    assert_eq!(sent_to(&mut node, !SYN), B);
}

#[test]
fn flows_of_a_dead_target_go_to_the_current_one() {
    let mut node = node(Slot::changing(B, A));
    assert_eq!(sent_to(&mut node, !SYN), A);
    node.targets.get_mut(&A).expect("the node has the target").keeps_flows = false;
    assert_eq!(sent_to(&mut node, !SYN), B);
}

#[test]
fn a_flow_moves_to_the_confirmed_ways_with_its_second_packet() {
    let mut node = node(Slot::changing(B, A));
    let ways = |node: &Node| -> Vec<usize> {
        let sets = node.flows.sets().iter();
        sets.flat_map(|set| (0..8).filter(|way| set[*way].is_some())).collect()
    };
    sent_to(&mut node, !SYN);
    assert_eq!(ways(&node), [5]);
    sent_to(&mut node, !SYN);
    assert_eq!(ways(&node), [0]);
}

#[test]
fn a_forwarded_packet_is_valid_to_an_independent_parser_and_counted_once() {
    let mut node = node(Slot::stable(A));
    let frame = segment(!SYN);
    let outcome = node.process(&frame, 9);
    let parsed = etherparse::SlicedPacket::from_ethernet(&outcome.frame).expect("a valid frame");
    let Some(etherparse::NetSlice::Ipv4(outer)) = parsed.net else { panic!("{parsed:?}") };
    let header = outer.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!((header.time_to_live, header.dont_fragment, header.protocol.0), (64, true, 4));
    assert_eq!(&outcome.frame[34..], &frame[14..]);
    assert_eq!(node.counters.listeners[&3].bytes, frame.len() as u64 - 14);
    assert_eq!(node.counters.targets[&1].packets, 1);
    assert!(node.counters.reasons.is_empty());
}

#[test]
fn a_listeners_packets_from_nowhere_are_dropped_and_leave_nothing_behind() {
    let martian = [[0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 5], [240, 0, 0, 1], [255; 4], VIP];
    for source in martian.into_iter().chain([[126, 255, 255, 255], [223, 1, 1, 1]]) {
        let mut node = node(Slot::changing(B, A));
        let mut frame = segment(!SYN);
        frame[26..30].copy_from_slice(&source);
        let outcome = node.process(&frame, 9);
        let is_martian = martian.contains(&source);
        assert_eq!(outcome.reason, is_martian.then_some(Reason::MartianSource), "{source:?}");
        assert_eq!(remembered(&node).is_empty(), is_martian, "{source:?}");
        frame[36..38].copy_from_slice(&[0, 81]);
        let outcome = node.process(&frame, 9);
        assert_eq!((outcome.reason, outcome.frame), (Some(Reason::NotOurs), frame), "{source:?}");
    }
}

#[test]
fn a_ping_of_a_vip_is_answered_with_a_valid_checksum() {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], NODE).ipv4(CLIENT, VIP, 63);
    let request = Icmpv4Type::EchoRequest(etherparse::IcmpEchoHeader { id: 7, seq: 8 });
    let mut frame = Vec::new();
    builder.icmpv4(request).write(&mut frame, b"payload").expect("a vector takes every packet");
    let outcome = node(Slot::EMPTY).process(&frame, 9);
    assert_eq!((outcome.action, outcome.reason), (Action::Tx, Some(Reason::EchoAnswered)));
    let parsed = etherparse::SlicedPacket::from_ethernet(&outcome.frame).expect("a valid frame");
    let Some(etherparse::TransportSlice::Icmpv4(reply)) = parsed.transport else { panic!("{parsed:?}") };
    assert!(matches!(reply.icmp_type(), Icmpv4Type::EchoReply(_)));
    assert_eq!(reply.checksum(), reply.icmp_type().calc_checksum(reply.payload()));
}

/// A segment in two fragments: the first with this many bytes of TCP, at least eight fewer than all.
fn halves(is_syn: bool, first: usize, identification: u16) -> [Vec<u8>; 2] {
    let frame = segment(is_syn);
    let part = |bytes: &[u8], word: u16| {
        let mut part = [&frame[..34], bytes].concat();
        let length = (part.len() - 14) as u16;
        part[16..18].copy_from_slice(&length.to_be_bytes());
        part[18..20].copy_from_slice(&identification.to_be_bytes());
        part[20..22].copy_from_slice(&word.to_be_bytes());
        part
    };
    let (one, other) = frame[34..].split_at(first);
    [part(one, 0x2000), part(other, (first / 8) as u16)]
}

#[test]
fn a_later_fragment_follows_the_first_for_two_ticks() {
    let mut node = node(Slot::stable(A));
    let [first, last] = halves(!SYN, 24, 7);
    let reason = |node: &mut Node, frame: &[u8], now| node.process(frame, now).reason;
    assert_eq!(reason(&mut node, &last, 9), Some(Reason::FragmentUnknown));
    assert_eq!(reason(&mut node, &first, 9), None);
    for now in 9..=11 {
        let outcome = node.process(&last, now);
        assert_eq!((outcome.action, &outcome.frame[34..]), (Action::Tx, &last[14..]));
    }
    assert_eq!(reason(&mut node, &last, 12), Some(Reason::FragmentUnknown));
    assert_eq!(reason(&mut node, &halves(!SYN, 24, 8)[1], 9), Some(Reason::FragmentUnknown));
}

#[test]
fn a_later_fragment_goes_where_its_flow_is_by_then() {
    let mut node = node(Slot::changing(B, A));
    let [first, last] = halves(!SYN, 24, 7);
    node.process(&first, 9);
    assert_eq!(remembered(&node), [A]);
    node.process(&segment(SYN), 9);
    assert_eq!(remembered(&node), [B]);
    assert_eq!(node.process(&last, 9).frame[14 + 19], B.0 as u8);
    assert_eq!(remembered(&node), [B]);
}

#[test]
fn fragments_that_hide_tcps_flags_are_dropped() {
    let mut node = node(Slot::stable(A));
    for first in [8, 16] {
        let outcome = node.process(&halves(!SYN, first, 7)[0], 9);
        assert_eq!((outcome.action, outcome.reason), (Action::Drop, Some(Reason::TinyFragment)));
    }
    node.process(&halves(!SYN, 24, 7)[0], 9);
    assert_eq!(node.process(&halves(!SYN, 8, 7)[1], 9).reason, Some(Reason::TinyFragment));
}

#[test]
fn fragments_to_no_vip_are_the_hosts() {
    let mut node = node(Slot::stable(A));
    node.vips.clear();
    for part in halves(!SYN, 24, 7) {
        let outcome = node.process(&part, 9);
        assert_eq!((outcome.action, outcome.reason), (Action::Pass, Some(Reason::Fragment)));
        assert_eq!(outcome.frame, part);
    }
}

#[test]
fn a_packet_of_a_slot_with_a_chain_names_who_had_it_and_nothing_is_remembered() {
    let mut node = node(Slot::changing(B, A));
    node.tables.get_mut(&1).expect("the node has the table").chains = vec![ChainWord::ends(B); 2];
    node.targets.get_mut(&B).expect("the node has the target").gue = true;
    for is_syn in [SYN, !SYN] {
        let outcome = node.process(&segment(is_syn), 9);
        // GUE with three words of private data: format 1, no hop yet, one target to come, and A's address.
        let private = [3, 4, 0, 0, 1, 0, 1, 0, 192, 0, 2, 1, 0, 0, 0, 0];
        assert_eq!(&outcome.frame[42..58], private);
        assert_eq!(&outcome.frame[58..], &segment(is_syn)[14..]);
        assert_eq!(outcome.frame[30..34], [192, 0, 2, 2]);
    }
    assert!(remembered(&node).is_empty());
}
