//! The agent's program under BPF_PROG_TEST_RUN: packet in → action, packet out, reason counted.

use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::{HashMap, PerCpuArray};
use aya::programs::Xdp;
use etherparse::{IpNumber, PacketBuilder};
use lab::test_run::{TestRun, test_run};
use lb_common::reason::Reason;

const DROP: u32 = 1;
const PASS: u32 = 2;

const NODE: [u8; 4] = [10, 0, 0, 1];
const LOCAL: [u8; 4] = [10, 0, 0, 2];
const VIP: [u8; 4] = [192, 0, 2, 7];
const NODE_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const LOCAL_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const VIP_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

#[test]
fn all_kinds_of_tunnel_packets_are_decapsulated_byte_for_byte() {
    let Some(agent) = Agent::load() else { return };
    for tags in 0..=2 {
        for outer in [4, 6] {
            for (inner, protocol) in [(4, 4), (6, 41)] {
                let packet = datagram(inner);
                let expected = [&ethernet(0, inner)[..], &packet].concat();
                let ipip = [ethernet(tags, outer), ip(outer, protocol, &packet)].concat();
                let gue = [ethernet(tags, outer), ip(outer, 17, &gue(protocol, &packet))].concat();
                for (name, frame) in [("ipip", ipip), ("gue", gue)] {
                    let (run, reason) = agent.run(&frame);
                    let name = format!("{inner} in {outer} by {name}, {tags} tags");
                    assert_eq!((run.action, reason), (PASS, Reason::AgentDecapsulated), "{name}");
                    assert_eq!(run.packet, expected, "{name}");
                }
            }
        }
    }
}

#[test]
fn everything_else_is_as_it_came_and_counted_by_its_reason() {
    let Some(agent) = Agent::load() else { return };
    for (name, frame, reason, action) in refused() {
        let (run, counted) = agent.run(&frame);
        assert_eq!((counted, run.action), (reason, action), "{name}");
        assert_eq!(run.packet, frame, "{name}: the packet was changed");
    }
}

fn refused() -> Vec<(&'static str, Vec<u8>, Reason, u32)> {
    let v4 = |protocol, payload: &[u8]| [ethernet(0, 4), ip(4, protocol, payload)].concat();
    let v6 = |protocol, payload: &[u8]| [ethernet(0, 6), ip(6, protocol, payload)].concat();
    let edited = |frame: Vec<u8>, edits: &[(usize, u8)]| {
        let mut frame = frame;
        edits.iter().for_each(|(at, value)| frame[*at] = *value);
        frame
    };
    let ipip = || v4(4, &datagram(4));
    let by_gue = || v4(17, &gue(4, &datagram(4)));
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
        ("GUE of version 1", edited(by_gue(), &[(42, 0x40)]), Reason::AgentMalformed, DROP),
        ("a GUE control message", edited(by_gue(), &[(42, 0x20)]), Reason::AgentMalformed, DROP),
        ("GUE with options", edited(by_gue(), &[(42, 1)]), Reason::AgentMalformed, DROP),
        ("GUE with flags", edited(by_gue(), &[(45, 1)]), Reason::AgentMalformed, DROP),
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

#[test]
fn congestion_on_the_way_is_marked_inside() {
    let Some(agent) = Agent::load() else { return };
    for inner in [4, 6] {
        let mut packet = datagram(inner);
        set_congestion(inner, &mut packet, 2);
        let mut carrier = ip(6, if inner == 4 { 4 } else { 41 }, &packet);
        set_congestion(6, &mut carrier, 3);
        let (run, reason) = agent.run(&[ethernet(0, 6), carrier].concat());
        set_congestion(inner, &mut packet, 3);
        assert_eq!((run.action, reason), (PASS, Reason::AgentDecapsulated));
        assert_eq!(run.packet, [ethernet(0, inner), packet].concat(), "IPv{inner}, its checksum included");
    }
}

#[test]
fn routers_errors_about_answers_are_delivered() {
    let Some(agent) = Agent::load() else { return };
    for (version, protocol) in [(4, 4), (6, 41)] {
        let error = router_error(version);
        let (run, reason) = agent.run(&[ethernet(0, 4), ip(4, protocol, &error)].concat());
        assert_eq!((run.action, reason), (PASS, Reason::AgentDecapsulated));
        assert_eq!(run.packet, [ethernet(0, version), error].concat());
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
    let Some(agent) = Agent::load() else { return };
    let frame = [ethernet(0, 4), ip(4, 4, &datagram(4)), vec![0; 9]].concat();
    let (run, reason) = agent.run(&frame);
    assert_eq!((run.action, reason), (PASS, Reason::AgentDecapsulated));
    assert_eq!(run.packet, [ethernet(0, 4), datagram(4), vec![0; 9]].concat());
}

#[test]
fn every_truncation_is_passed_as_it_is_or_dropped() {
    let Some(agent) = Agent::load() else { return };
    for tags in [0, 2] {
        for (outer, protocol, inner) in [(4, 4, 4), (4, 41, 6), (6, 4, 4), (6, 41, 6)] {
            let packet = datagram(inner);
            for payload in [ip(outer, protocol, &packet), ip(outer, 17, &gue(protocol, &packet))] {
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
    let Some(agent) = Agent::load() else { return };
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

/// The loaded program with one node, one local address and one VIP of each version.
struct Agent {
    ebpf: Ebpf,
}

impl Agent {
    fn load() -> Option<Agent> {
        if !lab::require_root() {
            return None;
        }
        let object = lb_userspace::programs::agent().unwrap();
        let mut agent = Agent { ebpf: Ebpf::load(object).unwrap() };
        agent.fill("NODES", NODE.into(), NODE_6.into());
        agent.fill("LOCALS", LOCAL.into(), LOCAL_6.into());
        agent.fill("AGENT_VIPS", VIP.into(), VIP_6.into());
        let program: &mut Xdp = agent.ebpf.program_mut("agent").unwrap().try_into().unwrap();
        program.load().unwrap();
        Some(agent)
    }

    fn fill(&mut self, map: &str, v4: IpAddr, v6: IpAddr) {
        let mut map: HashMap<_, [u8; 16], u32> = HashMap::try_from(self.ebpf.map_mut(map).unwrap()).unwrap();
        for address in [v4, v6] {
            let bytes = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            map.insert(bytes, 1, 0).unwrap();
        }
    }

    /// The run, and the one reason that it counted once.
    fn run(&self, frame: &[u8]) -> (TestRun, Reason) {
        let before = self.counts();
        let program: &Xdp = self.ebpf.program("agent").unwrap().try_into().unwrap();
        let run = test_run(program, frame, 1).unwrap();
        let after = self.counts();
        let counted: Vec<Reason> = Reason::ALL
            .iter()
            .copied()
            .filter(|reason| after[*reason as usize] != before[*reason as usize])
            .collect();
        assert_eq!(counted.len(), 1, "{counted:?} for {frame:02x?}");
        assert_eq!(after[counted[0] as usize], before[counted[0] as usize] + 1);
        (run, counted[0])
    }

    fn survives(&self, frame: &[u8]) {
        let (run, reason) = self.run(frame);
        assert!([DROP, PASS].contains(&run.action), "action {}, {reason:?}: {frame:02x?}", run.action);
        if reason != Reason::AgentDecapsulated {
            assert_eq!(run.packet, frame, "{reason:?}: the packet was changed");
        }
    }

    fn counts(&self) -> Vec<u64> {
        let counters: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.ebpf.map("REASON_COUNTERS").unwrap()).unwrap();
        let sum = |reason: &Reason| counters.get(&(*reason as u32), 0).unwrap().iter().sum();
        Reason::ALL.iter().map(sum).collect()
    }
}

fn ethernet(tags: usize, version: u8) -> Vec<u8> {
    let mut header = vec![4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2];
    for tag in 0..tags {
        header.extend(if tags == 2 && tag == 0 { [0x88, 0xa8] } else { [0x81, 0] });
        header.extend([0x20, 7]);
    }
    header.extend(if version == 4 { [0x08, 0] } else { [0x86, 0xdd] });
    header
}

/// A packet from the node to the host.
fn ip(version: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = if version == 4 {
        PacketBuilder::ipv4(NODE, LOCAL, 64)
    } else {
        PacketBuilder::ipv6(NODE_6, LOCAL_6, 64)
    };
    builder.write(&mut packet, IpNumber(protocol), payload).unwrap();
    packet
}

/// A UDP datagram with a GUE header in it.
fn gue(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() + 12) as u16;
    let [high, low] = length.to_be_bytes();
    [&[0xc0, 1, 0x17, 0xc0, high, low, 0, 0, 0, protocol, 0, 0], payload].concat()
}

/// A client's datagram for the VIP.
fn datagram(version: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = if version == 4 {
        PacketBuilder::ipv4([198, 51, 100, 1], VIP, 63)
    } else {
        PacketBuilder::ipv6([0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], VIP_6, 63)
    };
    builder.udp(1234, 53).write(&mut packet, b"the client's payload").unwrap();
    packet
}

/// Sets the congestion field, with a checksum computed afresh.
fn set_congestion(version: u8, packet: &mut [u8], field: u8) {
    if version == 6 {
        packet[1] = packet[1] & 0xcf | field << 4;
        return;
    }
    packet[1] = packet[1] & 0xfc | field;
    let header = etherparse::Ipv4Header::from_slice(packet).unwrap().0;
    packet[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
}
