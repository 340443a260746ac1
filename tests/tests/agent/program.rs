//! The agent's programs under BPF_PROG_TEST_RUN: packet in → fate, packet out, reason counted.

use etherparse::PacketBuilder;
use lb_common::reason::Reason;

use crate::loaded::Fate::{Dropped as DROP, Passed as PASS};
use crate::loaded::{Agent, Fate, Kind, VIP, VIP_6, datagram, ethernet, gue, gue_direct, ip, set_congestion};

#[test]
fn all_kinds_of_tunnel_packets_are_decapsulated_byte_for_byte() {
    let Some(agent) = Agent::load(Kind::Xdp) else { return };
    for tags in 0..=2 {
        for outer in [4, 6] {
            for (inner, protocol) in [(4, 4), (6, 41)] {
                let packet = datagram(inner);
                let expected = [&ethernet(0, inner)[..], &packet].concat();
                let ipip = [ethernet(tags, outer), ip(outer, protocol, &packet)].concat();
                let gue = [ethernet(tags, outer), ip(outer, 17, &gue(protocol, &packet))].concat();
                let direct = [ethernet(tags, outer), ip(outer, 17, &gue_direct(&packet))].concat();
                for (name, frame) in [("ipip", ipip), ("gue", gue), ("gue of version 1", direct)] {
                    let (fate, out, reason) = agent.run(&frame);
                    let name = format!("{inner} in {outer} by {name}, {tags} tags");
                    assert_eq!((fate, reason), (PASS, Reason::AgentDecapsulated), "{name}");
                    assert_eq!(out, expected, "{name}");
                }
            }
        }
    }
}

#[test]
fn everything_else_is_as_it_came_and_counted_by_its_reason() {
    let Some(agent) = Agent::load(Kind::Xdp) else { return };
    for (name, frame, reason, action) in refused() {
        let (fate, out, counted) = agent.run(&frame);
        assert_eq!((counted, fate), (reason, action), "{name}");
        assert_eq!(out, frame, "{name}: the packet was changed");
    }
}

fn refused() -> Vec<(&'static str, Vec<u8>, Reason, Fate)> {
    let v4 = |protocol, payload: &[u8]| [ethernet(0, 4), ip(4, protocol, payload)].concat();
    let v6 = |protocol, payload: &[u8]| [ethernet(0, 6), ip(6, protocol, payload)].concat();
    let edited = |frame: Vec<u8>, edits: &[(usize, u8)]| {
        let mut frame = frame;
        edits.iter().for_each(|(at, value)| frame[*at] = *value);
        frame
    };
    let ipip = || v4(4, &datagram(4));
    let by_gue = || v4(17, &gue(4, &datagram(4)));
    let directly = || v4(17, &gue_direct(&datagram(4)));
    let arp = [&ethernet(0, 4)[..12], &[0x08, 0x06], &[0; 46]].concat();
    vec![
        ("ARP", arp, Reason::NotIp, PASS),
        ("TCP", v4(6, &[0; 20]), Reason::AgentNotTunnelled, PASS),
        ("IPv6 ICMP", v6(58, &[0; 20]), Reason::AgentNotTunnelled, PASS),
        ("UDP of another port", edited(by_gue(), &[(37, 0xff)]), Reason::AgentNotTunnelled, PASS),
        ("a tunnel to another host", edited(ipip(), &[(33, 9)]), Reason::AgentNotTunnelled, PASS),
        (
            "a tunnel to the VIP",
            edited(ipip(), &[(30, 192), (31, 0), (32, 2), (33, 7)]),
            Reason::AgentNotTunnelled,
            PASS,
        ),
        (
            "a plain packet for the VIP",
            [ethernet(0, 4), datagram(4)].concat(),
            Reason::AgentNotTunnelled,
            PASS,
        ),
        ("a broken outer header", edited(ipip(), &[(14, 0x43)]), Reason::AgentNotTunnelled, PASS),
        ("an unknown node", edited(ipip(), &[(29, 3)]), Reason::AgentUnknownNode, DROP),
        ("an unknown node by GUE", edited(by_gue(), &[(29, 3)]), Reason::AgentUnknownNode, DROP),
        ("an unknown IPv6 node", edited(v6(41, &datagram(6)), &[(37, 3)]), Reason::AgentUnknownNode, DROP),
        (
            "the node's address turned around",
            edited(ipip(), &[(26, 1), (29, 10)]),
            Reason::AgentUnknownNode,
            DROP,
        ),
        ("a fragment of a tunnel", edited(ipip(), &[(20, 0x20)]), Reason::AgentMalformed, DROP),
        ("a fragment of TCP", edited(v4(6, &[0; 20]), &[(20, 0x20)]), Reason::AgentNotTunnelled, PASS),
        ("GUE of version 2", edited(by_gue(), &[(42, 0x80)]), Reason::AgentUnknownGue, DROP),
        ("GUE of version 1 without IP in it", edited(by_gue(), &[(42, 0x50)]), Reason::AgentMalformed, DROP),
        ("GUE of version 1, cut", edited(by_gue(), &[(42, 0x45)]), Reason::AgentMalformed, DROP),
        (
            "an unknown node by GUE of version 1",
            edited(directly(), &[(29, 3)]),
            Reason::AgentUnknownNode,
            DROP,
        ),
        ("IPv5 in GUE of version 1", edited(directly(), &[(42, 0x55)]), Reason::AgentMalformed, DROP),
        (
            "a header too short in GUE of version 1",
            edited(directly(), &[(42, 0x44)]),
            Reason::AgentMalformed,
            DROP,
        ),
        (
            "IPv4 as IPv6 in GUE of version 1",
            edited(directly(), &[(42, 0x60)]),
            Reason::AgentUnknownVip,
            DROP,
        ),
        (
            "a UDP length of nothing in GUE of version 1",
            edited(directly(), &[(38, 0), (39, 8)]),
            Reason::AgentMalformed,
            DROP,
        ),
        ("an unknown VIP in GUE of version 1", edited(directly(), &[(61, 8)]), Reason::AgentUnknownVip, DROP),
        (
            "a client that is many in GUE of version 1",
            edited(directly(), &[(54, 224)]),
            Reason::AgentMartian,
            DROP,
        ),
        (
            "a tunnel in GUE of version 1",
            v6(17, &gue_direct(&ip(6, 41, &datagram(6)))),
            Reason::AgentNested,
            DROP,
        ),
        ("a GUE control message", edited(by_gue(), &[(42, 0x20)]), Reason::AgentUnknownGue, DROP),
        (
            "GUE with private data that is no chain",
            edited(by_gue(), &[(42, 1)]),
            Reason::AgentMalformedChain,
            DROP,
        ),
        ("GUE with flags", edited(by_gue(), &[(45, 1)]), Reason::AgentUnknownGue, DROP),
        ("a client that is the loopback", edited(ipip(), &[(46, 127)]), Reason::AgentMartian, DROP),
        ("a client that is many", edited(ipip(), &[(46, 224)]), Reason::AgentMartian, DROP),
        ("a client that is the VIP", v4(4, &from_itself(4)), Reason::AgentMartian, DROP),
        (
            "an IPv6 client that is many",
            edited(v4(41, &datagram(6)), &[(42, 0xff)]),
            Reason::AgentMartian,
            DROP,
        ),
        ("an IPv6 client that is the VIP", v4(41, &from_itself(6)), Reason::AgentMartian, DROP),
        ("GUE of TCP", edited(by_gue(), &[(43, 6)]), Reason::AgentMalformed, DROP),
        ("a UDP length past the end", edited(by_gue(), &[(39, 0xff)]), Reason::AgentMalformed, DROP),
        ("a UDP length of nothing", edited(by_gue(), &[(38, 0), (39, 8)]), Reason::AgentMalformed, DROP),
        ("an inner length past the end", edited(ipip(), &[(37, 0xff)]), Reason::AgentMalformed, DROP),
        ("an inner header too short", edited(ipip(), &[(34, 0x44)]), Reason::AgentMalformed, DROP),
        ("IPv6 announced as IPv4", v4(4, &datagram(6)), Reason::AgentMalformed, DROP),
        ("IPv4 announced as IPv6", v6(41, &datagram(4)), Reason::AgentMalformed, DROP),
        ("nothing inside", v4(4, &[]), Reason::AgentMalformed, DROP),
        ("an unknown VIP", edited(ipip(), &[(53, 8)]), Reason::AgentUnknownVip, DROP),
        ("an unknown IPv6 VIP", edited(v4(41, &datagram(6)), &[(73, 8)]), Reason::AgentUnknownVip, DROP),
        ("a tunnel in a tunnel", v4(4, &ip(4, 4, &datagram(4))), Reason::AgentNested, DROP),
        ("a tunnel in a GUE tunnel", v6(17, &gue(41, &ip(6, 41, &datagram(6)))), Reason::AgentNested, DROP),
        ("congestion that can't be carried", edited(ipip(), &[(15, 3)]), Reason::AgentNotEcnCapable, DROP),
    ]
}

/// A datagram from the VIP to itself.
fn from_itself(version: u8) -> Vec<u8> {
    let mut packet = datagram(version);
    if version == 4 {
        packet.copy_within(16..20, 12)
    } else {
        packet.copy_within(24..40, 8)
    }
    packet
}

#[test]
fn congestion_on_the_way_is_marked_inside() {
    let Some(agent) = Agent::load(Kind::Xdp) else { return };
    for inner in [4, 6] {
        let mut packet = datagram(inner);
        set_congestion(inner, &mut packet, 2);
        let mut carrier = ip(6, if inner == 4 { 4 } else { 41 }, &packet);
        set_congestion(6, &mut carrier, 3);
        let (fate, out, reason) = agent.run(&[ethernet(0, 6), carrier].concat());
        set_congestion(inner, &mut packet, 3);
        assert_eq!((fate, reason), (PASS, Reason::AgentDecapsulated));
        assert_eq!(out, [ethernet(0, inner), packet].concat(), "IPv{inner}, its checksum included");
    }
}

#[test]
fn routers_errors_about_answers_are_delivered() {
    let Some(agent) = Agent::load(Kind::Xdp) else { return };
    for (version, protocol) in [(4, 4), (6, 41)] {
        let error = router_error(version);
        let (fate, out, reason) = agent.run(&[ethernet(0, 4), ip(4, protocol, &error)].concat());
        assert_eq!((fate, reason), (PASS, Reason::AgentDecapsulated));
        assert_eq!(out, [ethernet(0, version), error].concat());
    }
}

/// A router's error to the VIP that quotes 28 (or 48) bytes of a packet.
fn router_error(version: u8) -> Vec<u8> {
    let (quote, mut packet) = (datagram(version), Vec::new());
    if version == 4 {
        let needed = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
        let message = etherparse::Icmpv4Type::DestinationUnreachable(needed);
        PacketBuilder::ipv4([10, 9, 9, 9], VIP, 60).icmpv4(message).write(&mut packet, &quote[..28]).unwrap();
    } else {
        let message = etherparse::Icmpv6Type::PacketTooBig { mtu: 1400 };
        PacketBuilder::ipv6([9; 16], VIP_6, 60).icmpv6(message).write(&mut packet, &quote[..48]).unwrap();
    }
    packet
}

#[test]
fn bytes_behind_the_outer_packet_are_left_to_the_stack() {
    let Some(agent) = Agent::load(Kind::Xdp) else { return };
    let frame = [ethernet(0, 4), ip(4, 4, &datagram(4)), vec![0; 9]].concat();
    let (fate, out, reason) = agent.run(&frame);
    assert_eq!((fate, reason), (PASS, Reason::AgentDecapsulated));
    assert_eq!(out, [ethernet(0, 4), datagram(4), vec![0; 9]].concat());
}

#[test]
fn every_truncation_is_passed_as_it_is_or_dropped() {
    let Some(agent) = Agent::load(Kind::Xdp) else { return };
    for tags in [0, 2] {
        for (outer, protocol, inner) in [(4, 4, 4), (4, 41, 6), (6, 4, 4), (6, 41, 6)] {
            let packet = datagram(inner);
            let tunnels =
                [(protocol, packet.clone()), (17, gue(protocol, &packet)), (17, gue_direct(&packet))];
            for payload in tunnels.map(|(protocol, payload)| ip(outer, protocol, &payload)) {
                let frame = [ethernet(tags, outer), payload].concat();
                for length in 14..frame.len() {
                    agent.survives(&frame[..length]);
                    agent.survives(&shortened(&frame[..length], 14 + 4 * tags, outer));
                }
            }
        }
    }
}

/// The frame with an outer length that is right again, so that what is cut off is missing inside.
fn shortened(frame: &[u8], at: usize, outer: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let (field, header) = if outer == 4 { (at + 2, 0) } else { (at + 4, 40) };
    if let Some(length) = frame.len().checked_sub(at + header).filter(|_| frame.len() >= field + 2) {
        frame[field..field + 2].copy_from_slice(&(length as u16).to_be_bytes());
    }
    frame
}

#[test]
fn random_bytes_behind_any_header_are_survived() {
    let Some(agent) = Agent::load(Kind::Xdp) else { return };
    let mut random = fastrand::Rng::with_seed(7);
    for (_, frame, ..) in refused() {
        for _ in 0..200 {
            let mut frame = frame.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(12..frame.len());
                frame[at] = random.u8(..);
            }
            agent.survives(&frame);
        }
    }
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..random.usize(14..200)).map(|_| random.u8(..)).collect();
        agent.survives(&[&ethernet(0, if random.bool() { 4 } else { 6 })[..], &bytes].concat());
    }
}
