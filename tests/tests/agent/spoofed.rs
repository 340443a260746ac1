//! Spoofed encapsulation in 10,000 variants: all dropped and counted; genuine in as many: all accepted.

use std::collections::BTreeMap;

use lb_common::reason::Reason;

use crate::loaded::{Agent, CLIENT, Fate, Kind, LOCAL, NODE, PEER, VIP, datagram, ethernet, gue, ip};

const VARIANTS: usize = 10_000;

/// The ways in which a packet pretends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lie {
    Stranger,
    PeerAsNode,
    NodeAsPeer,
    ForeignVip,
    MartianClient,
    Nested,
    Version,
    Flags,
    Hlen,
    ChainFormat,
    Hops,
    Count,
}

const LIES: [Lie; 12] = [
    Lie::Stranger,
    Lie::PeerAsNode,
    Lie::NodeAsPeer,
    Lie::ForeignVip,
    Lie::MartianClient,
    Lie::Nested,
    Lie::Version,
    Lie::Flags,
    Lie::Hlen,
    Lie::ChainFormat,
    Lie::Hops,
    Lie::Count,
];

impl Lie {
    fn reason(self) -> Reason {
        match self {
            Lie::Stranger | Lie::PeerAsNode => Reason::AgentUnknownNode,
            Lie::NodeAsPeer => Reason::AgentUnknownPeer,
            Lie::ForeignVip => Reason::AgentUnknownVip,
            Lie::MartianClient => Reason::AgentMartian,
            Lie::Nested => Reason::AgentNested,
            Lie::Version | Lie::Flags | Lie::ChainFormat => Reason::AgentUnknownGue,
            Lie::Hlen | Lie::Count => Reason::AgentMalformedChain,
            Lie::Hops => Reason::AgentHopLimit,
        }
    }
}

#[test]
fn ten_thousand_spoofed_packets_are_dropped_and_counted_and_genuine_ones_accepted() {
    let Some(agent) = Agent::load(Kind::Xdp) else { return };
    let mut random = fastrand::Rng::with_seed(10_000);
    let before = agent.counts();
    let mut expected = BTreeMap::<usize, u64>::new();
    for variant in 0..VARIANTS {
        let lie = LIES[variant % LIES.len()];
        let (fate, _, reason) = agent.run(&spoofed(lie, &mut random));
        assert_eq!((fate, reason), (Fate::Dropped, lie.reason()), "variant {variant}: {lie:?}");
        *expected.entry(reason as usize).or_default() += 1;
    }
    for _ in 0..VARIANTS {
        let (fate, _, reason) = agent.run(&genuine(&mut random));
        assert_eq!((fate, reason), (Fate::Passed, Reason::AgentDecapsulated));
    }
    let after = agent.counts();
    for reason in Reason::ALL {
        let counted = after[*reason as usize] - before[*reason as usize];
        let genuine = if *reason == Reason::AgentDecapsulated { VARIANTS as u64 } else { 0 };
        assert_eq!(counted, expected.get(&(*reason as usize)).copied().unwrap_or(0) + genuine, "{reason:?}");
    }
}

/// A random client's datagram to the VIP.
fn client_s(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut packet = Vec::new();
    let source = [random.u8(1..127), random.u8(..), random.u8(..), random.u8(..)];
    let builder = etherparse::PacketBuilder::ipv4(source, VIP, random.u8(1..));
    let payload = vec![7; random.usize(0..200)];
    builder.udp(random.u16(1..), random.u16(1..)).write(&mut packet, &payload).unwrap();
    packet
}

/// A packet as nodes and peers write them.
fn genuine(random: &mut fastrand::Rng) -> Vec<u8> {
    let packet = client_s(random);
    match random.u8(0..5) {
        0 => [ethernet(random.usize(0..3), 4), ip(4, 4, &packet)].concat(),
        1 => [ethernet(0, 4), ip(4, 17, &gue(4, &packet))].concat(),
        2 => frame(NODE, &packet),
        3 => frame(NODE, &[&chain(0, random.u8(0..3)), &packet[..]].concat()),
        _ => frame(PEER, &[&chain(1, random.u8(0..2)), &packet[..]].concat()),
    }
}

fn spoofed(lie: Lie, random: &mut fastrand::Rng) -> Vec<u8> {
    let packet = client_s(random);
    let stranger = |random: &mut fastrand::Rng| loop {
        let source = [random.u8(..), random.u8(..), random.u8(..), random.u8(..)];
        if ![NODE, PEER, [10, 0, 0, 4]].contains(&source) {
            return source;
        }
    };
    let first = chain(0, 2);
    let edited = |at: usize, value: u8| {
        let mut chain = first.clone();
        chain[at] = value;
        frame(NODE, &[chain, packet.clone()].concat())
    };
    match lie {
        Lie::Stranger => {
            let source = stranger(random);
            match random.bool() {
                true => frame(source, &packet),
                false => frame(source, &[first, packet].concat()),
            }
        }
        Lie::PeerAsNode => frame(PEER, &[first, packet].concat()),
        Lie::NodeAsPeer => frame(NODE, &[chain(1, random.u8(0..2)), packet].concat()),
        Lie::ForeignVip => {
            let mut packet = packet;
            packet[16 + random.usize(0..4)] ^= random.u8(1..);
            frame(NODE, &packet)
        }
        Lie::MartianClient => {
            let mut packet = packet;
            packet[12] = [0, 127, random.u8(224..)][random.usize(0..3)];
            frame(NODE, &packet)
        }
        Lie::Nested => frame(NODE, &nested(&packet)),
        Lie::Version => edited(0, random.u8(0x80..)),
        Lie::Flags => edited(random.usize(2..4), random.u8(1..)),
        Lie::Hlen => edited(0, [random.u8(1..3), random.u8(4..32)][random.usize(0..2)]),
        Lie::ChainFormat => edited(if random.bool() { 4 } else { 7 }, random.u8(2..)),
        Lie::Hops => edited(5, random.u8(1..)),
        Lie::Count => edited(6, [0, 1, random.u8(3..)][random.usize(0..3)]),
    }
}

fn nested(packet: &[u8]) -> Vec<u8> {
    let mut outer = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4(CLIENT, VIP, 64);
    builder.write(&mut outer, etherparse::IpNumber(4), packet).unwrap();
    outer
}

/// GUE header and chain with so many targets left.
fn chain(hops: u8, remaining: u8) -> Vec<u8> {
    let mut chain = vec![3, 4, 0, 0, 1, hops, remaining, 0, 10, 0, 0, 3, 10, 0, 0, 4];
    chain[8 + 4 * remaining as usize..].fill(0);
    chain
}

/// A frame to this host with UDP to GUE's port.
fn frame(source: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4(source, LOCAL, 64);
    builder.udp(50_000, 6080).write(&mut packet, payload).unwrap();
    [ethernet(0, 4), packet].concat()
}

#[test]
fn the_datagram_of_other_tests_is_genuine() {
    let Some(agent) = Agent::load(Kind::Tc) else { return };
    let (fate, _, reason) = agent.run(&frame(NODE, &datagram(4)));
    assert_eq!((fate, reason), (Fate::Passed, Reason::AgentDecapsulated));
}
