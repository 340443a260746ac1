//! Port translation: there in what comes in, back in what leaves; every checksum against an independent builder.

use aya::programs::SchedClassifier;
use etherparse::PacketBuilder;
use lb_common::reason::Reason;

use crate::loaded::{Agent, CLIENT, CLIENT_6, Fate, Kind, VIP, VIP_6, ethernet, ip, run_classifier};
use crate::second_chance::icmp_error;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn load(kind: Kind) -> Option<Agent> {
    let mut agent = Agent::load(kind)?;
    agent.translate(TCP, 80, 8080);
    agent.translate(UDP, 53, 5353);
    let program: &mut SchedClassifier = agent.ebpf.program_mut("agent_egress").unwrap().try_into().unwrap();
    program.load().unwrap();
    Some(agent)
}

/// A client's packet to a port of the VIP, or back.
fn packet(version: u8, protocol: u8, port: u16, back: bool) -> Vec<u8> {
    let (v4, v6) = if back { ([VIP, CLIENT], [VIP_6, CLIENT_6]) } else { ([CLIENT, VIP], [CLIENT_6, VIP_6]) };
    let builder = if version == 4 {
        PacketBuilder::ipv4(v4[0], v4[1], 63)
    } else {
        PacketBuilder::ipv6(v6[0], v6[1], 63)
    };
    let (source, destination) = if back { (port, 40_000) } else { (40_000, port) };
    let mut packet = Vec::new();
    if protocol == TCP {
        let mut tcp = etherparse::TcpHeader::new(source, destination, 7, 512);
        (tcp.syn, tcp.ack) = (true, back);
        builder.tcp_header(tcp).write(&mut packet, b"odd").unwrap();
    } else {
        builder.udp(source, destination).write(&mut packet, b"odd").unwrap();
    }
    packet
}

#[test]
fn a_listener_s_port_becomes_the_target_s_and_other_ports_stay() {
    for kind in [Kind::Xdp, Kind::Tc] {
        let Some(agent) = load(kind) else { return };
        for version in [4, 6] {
            for (protocol, port, expected) in
                [(TCP, 80, 8080), (UDP, 53, 5353), (TCP, 53, 53), (UDP, 80, 80), (TCP, 8080, 8080)]
            {
                let number = if version == 4 { 4 } else { 41 };
                let frame = [ethernet(0, 4), ip(4, number, &packet(version, protocol, port, false))].concat();
                let (fate, out, reason) = agent.run(&frame);
                assert_eq!((fate, reason), (Fate::Passed, Reason::AgentDecapsulated));
                let expected = [ethernet(0, version), packet(version, protocol, expected, false)].concat();
                assert_eq!(out, expected, "{kind:?}: IPv{version}, protocol {protocol}, port {port}");
            }
        }
    }
}

#[test]
fn what_leaves_has_the_listener_s_port_again() {
    let Some(agent) = load(Kind::Xdp) else { return };
    for version in [4, 6] {
        for tags in [0, 1] {
            for (protocol, port, expected) in
                [(TCP, 8080, 80), (UDP, 5353, 53), (TCP, 5353, 5353), (UDP, 8080, 8080), (TCP, 80, 80)]
            {
                let frame = [ethernet(tags, version), packet(version, protocol, port, true)].concat();
                let expected = [ethernet(tags, version), packet(version, protocol, expected, true)].concat();
                assert_eq!(
                    leaves(&agent, &frame),
                    expected,
                    "IPv{version}, protocol {protocol}, port {port}"
                );
            }
        }
        // Of another address than a VIP it stays.
        let mut own = [ethernet(0, version), packet(version, TCP, 8080, true)].concat();
        own[if version == 4 { 29 } else { 37 }] ^= 1;
        assert_eq!(leaves(&agent, &own), own);
    }
}

fn leaves(agent: &Agent, frame: &[u8]) -> Vec<u8> {
    let program: &SchedClassifier = agent.ebpf.program("agent_egress").unwrap().try_into().unwrap();
    let (action, out) = run_classifier(program, frame);
    assert_eq!(action as i32, -1);
    out
}

#[test]
fn udp_without_a_checksum_keeps_none() {
    let Some(agent) = load(Kind::Xdp) else { return };
    let without = |port, back| {
        let mut packet = packet(4, UDP, port, back);
        packet[26..28].fill(0);
        packet
    };
    let (_, out, _) = agent.run(&[ethernet(0, 4), ip(4, 4, &without(53, false))].concat());
    assert_eq!(out[14..], without(5353, false));
    let out = leaves(&agent, &[ethernet(0, 4), without(5353, true)].concat());
    assert_eq!(out[14..], without(53, true));
}

#[test]
fn what_an_icmp_error_quotes_is_translated_both_ways() {
    let Some(agent) = load(Kind::Xdp) else { return };
    for version in [4, 6] {
        for (protocol, listener, target) in [(TCP, 80, 8080), (UDP, 53, 5353), (TCP, 443, 443)] {
            // The quoted checksum is the listener's packet's, and stays: of TCP it is cut off, of UDP nobody looks.
            let quote = packet(version, protocol, listener, true);
            let number = if version == 4 { 4 } else { 41 };
            let (fate, out, reason) =
                agent.run(&[ethernet(0, 4), ip(4, number, &icmp_error(version, &quote))].concat());
            assert_eq!((fate, reason), (Fate::Passed, Reason::AgentDecapsulated));
            let expected = icmp_error(version, &with_port(version, &quote, 0, target));
            assert_eq!(out[14..], expected, "IPv{version}, protocol {protocol}: in");
            // And what the host itself complains of.
            let quote = packet(version, protocol, target, false);
            let error = from_vip(version, &quote);
            let out = leaves(&agent, &[ethernet(0, version), error].concat());
            let expected = from_vip(version, &with_port(version, &quote, 2, listener));
            assert_eq!(out[14..], expected, "IPv{version}, protocol {protocol}: out");
        }
    }
}

/// The packet with another port at this place of its transport header, and nothing else changed.
fn with_port(version: u8, packet: &[u8], at: usize, port: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let at = if version == 4 { 20 } else { 40 } + at;
    packet[at..at + 2].copy_from_slice(&port.to_be_bytes());
    packet
}

/// 'Port unreachable' from the VIP, quoting a client's packet.
fn from_vip(version: u8, quote: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    if version == 4 {
        let message =
            etherparse::Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Port);
        PacketBuilder::ipv4(VIP, CLIENT, 64).icmpv4(message).write(&mut packet, quote).unwrap();
    } else {
        let message =
            etherparse::Icmpv6Type::DestinationUnreachable(etherparse::icmpv6::DestUnreachableCode::Port);
        PacketBuilder::ipv6(VIP_6, CLIENT_6, 64).icmpv6(message).write(&mut packet, quote).unwrap();
    }
    packet
}

#[test]
fn the_first_fragment_of_a_datagram_is_translated_and_later_ones_stay() {
    let Some(agent) = load(Kind::Xdp) else { return };
    let fragment = |port, field: [u8; 2]| {
        let mut packet = packet(4, UDP, port, false);
        packet[6..8].copy_from_slice(&field);
        let header = etherparse::Ipv4Header::from_slice(&packet).unwrap().0;
        packet[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        packet
    };
    for (field, expected) in [([0x20, 0], 5353), ([0x20, 1], 53), ([0, 1], 53)] {
        let (_, out, reason) = agent.run(&[ethernet(0, 4), ip(4, 4, &fragment(53, field))].concat());
        assert_eq!(reason, Reason::AgentDecapsulated);
        assert_eq!(out[14..], fragment(expected, field), "{field:?}");
    }
}
