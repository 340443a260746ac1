//! Spoofed encapsulation in 12,000 different variants: all dropped and counted by what is wrong; genuine packets in as
//! many: all accepted.
//!
//! A variant is a lie in a packet by one of the ways to a target (IP in IP, GUE, GUE with a chain), over IPv4 and IPv6,
//! with either inside, in TCP or UDP. All else in it is random, and right.

use std::collections::{BTreeMap, BTreeSet};

use etherparse::{IpNumber, PacketBuilder};
use fastrand::Rng;
use lb_common::reason::Reason;

use crate::loaded::{
    Agent, CLIENT, CLIENT_6, Fate, Kind, LAST_PEER, LAST_PEER_6, LOCAL, LOCAL_6, NODE, NODE_6, PEER, PEER_6,
    VIP, VIP_6, datagram, ethernet,
};

const VARIANTS: usize = 12_000;

/// The way of a packet to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Ip,
    Gue,
    Chain,
}

const WAYS: [Way; 3] = [Way::Ip, Way::Gue, Way::Chain];

/// The ways in which a packet pretends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lie {
    Stranger,
    PeerAsNode,
    NodeAsPeer,
    OtherHost,
    OuterFragment,
    ForeignVip,
    MartianClient,
    Nested,
    InnerVersion,
    InnerLength,
    Version,
    Control,
    Flags,
    Hlen,
    ChainFormat,
    Hops,
    Count,
    NextIsStranger,
    NextIsHere,
}

impl Lie {
    const ALL: [Lie; 19] = [
        Lie::Stranger,
        Lie::PeerAsNode,
        Lie::NodeAsPeer,
        Lie::OtherHost,
        Lie::OuterFragment,
        Lie::ForeignVip,
        Lie::MartianClient,
        Lie::Nested,
        Lie::InnerVersion,
        Lie::InnerLength,
        Lie::Version,
        Lie::Control,
        Lie::Flags,
        Lie::Hlen,
        Lie::ChainFormat,
        Lie::Hops,
        Lie::Count,
        Lie::NextIsStranger,
        Lie::NextIsHere,
    ];

    fn reason(self) -> Reason {
        match self {
            Lie::Stranger | Lie::PeerAsNode => Reason::AgentUnknownNode,
            Lie::NodeAsPeer | Lie::NextIsStranger => Reason::AgentUnknownPeer,
            Lie::OtherHost => Reason::AgentNotTunnelled,
            Lie::ForeignVip => Reason::AgentUnknownVip,
            Lie::MartianClient => Reason::AgentMartian,
            Lie::Nested => Reason::AgentNested,
            Lie::OuterFragment | Lie::InnerVersion | Lie::InnerLength => Reason::AgentMalformed,
            Lie::Version | Lie::Control | Lie::Flags | Lie::ChainFormat => Reason::AgentUnknownGue,
            Lie::Hlen | Lie::Count | Lie::NextIsHere => Reason::AgentMalformedChain,
            Lie::Hops => Reason::AgentHopLimit,
        }
    }

    /// What is for another host is not this one's to judge: it goes up the stack as it came, and is not unpacked.
    fn fate(self) -> Fate {
        if self == Lie::OtherHost { Fate::Passed } else { Fate::Dropped }
    }

    /// Whether a packet of this way can tell it.
    fn fits(self, way: Way, outer: u8) -> bool {
        match self {
            Lie::Version | Lie::Control | Lie::Flags | Lie::Hlen => way != Way::Ip,
            Lie::NodeAsPeer | Lie::ChainFormat | Lie::Hops | Lie::Count => way == Way::Chain,
            Lie::NextIsStranger | Lie::NextIsHere => way == Way::Chain,
            Lie::OuterFragment => outer == 4,
            _ => true,
        }
    }
}

#[test]
fn twelve_thousand_spoofed_packets_are_dropped_and_counted_and_genuine_ones_accepted() {
    for kind in [Kind::Xdp, Kind::Tc] {
        let Some(agent) = Agent::load(kind) else { return };
        let mut random = Rng::with_seed(10_000);
        let before = agent.counts();
        let mut expected = BTreeMap::<usize, u64>::new();
        for (name, lie, frame) in spoofed(&mut random) {
            let (fate, out, reason) = agent.run(&frame);
            assert_eq!((fate, reason), (lie.fate(), lie.reason()), "{kind:?}: {name}: {frame:02x?}");
            assert_eq!(out, frame, "{kind:?}: {name}: the packet was changed");
            *expected.entry(reason as usize).or_default() += 1;
        }
        for (name, frame, inner) in genuine(&mut random) {
            let (fate, out, reason) = agent.run(&frame);
            assert_eq!((fate, reason), (Fate::Passed, Reason::AgentDecapsulated), "{kind:?}: {name}");
            assert_eq!(out, [ethernet(0, inner[0] >> 4), inner].concat(), "{kind:?}: {name}");
        }
        expected.insert(Reason::AgentDecapsulated as usize, VARIANTS as u64);
        let after = agent.counts();
        for reason in Reason::ALL {
            let counted = after[*reason as usize] - before[*reason as usize];
            assert_eq!(counted, expected.get(&(*reason as usize)).copied().unwrap_or(0), "{reason:?}");
        }
    }
}

/// As many different frames, every lie on every way that can tell it.
fn spoofed(random: &mut Rng) -> Vec<(String, Lie, Vec<u8>)> {
    let mut variants = Vec::new();
    for lie in Lie::ALL {
        for (way, outer, inner) in all_ways() {
            if lie.fits(way, outer) {
                variants.push((lie, way, outer, inner));
            }
        }
    }
    let mut different = BTreeSet::new();
    let mut frames = Vec::new();
    for (lie, way, outer, inner) in variants.iter().copied().cycle() {
        let frame =
            Packet::genuine(way, outer, inner, lie.tells_of_sockets(), random).with(lie, random).frame();
        if different.insert(frame.clone()) {
            frames.push((format!("{lie:?} by {way:?}, IPv{inner} in IPv{outer}"), lie, frame));
        }
        if frames.len() == VARIANTS {
            break;
        }
    }
    frames
}

/// As many different frames, with what is inside.
fn genuine(random: &mut Rng) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let mut different = BTreeSet::new();
    let mut frames = Vec::new();
    for (way, outer, inner) in all_ways().collect::<Vec<_>>().into_iter().cycle() {
        let packet = Packet::genuine(way, outer, inner, false, random);
        if different.insert(packet.frame()) {
            let name = format!("{way:?}, IPv{inner} in IPv{outer}");
            frames.push((name, packet.frame(), packet.inner));
        }
        if frames.len() == VARIANTS {
            break;
        }
    }
    frames
}

fn all_ways() -> impl Iterator<Item = (Way, u8, u8)> {
    let versions = [(4, 4), (4, 6), (6, 4), (6, 6)];
    WAYS.into_iter().flat_map(move |way| versions.map(|(outer, inner)| (way, outer, inner)))
}

impl Lie {
    /// Whether the packet must be one that only a socket could claim.
    fn tells_of_sockets(self) -> bool {
        matches!(self, Lie::NextIsStranger | Lie::NextIsHere)
    }
}

/// A tunnel packet before it is put together.
struct Packet {
    outer: u8,
    source: Vec<u8>,
    destination: Vec<u8>,
    is_fragment: bool,
    /// GUE header and chain; none without UDP.
    gue: Option<Vec<u8>>,
    protocol: u8,
    inner: Vec<u8>,
}

impl Packet {
    /// One as nodes and peers write them.
    fn genuine(way: Way, outer: u8, inner: u8, is_stray: bool, random: &mut Rng) -> Packet {
        let protocol = if inner == 4 { 4 } else { 41 };
        let (hops, remaining) = match random.u8(if is_stray { 3 } else { 0 }..5) {
            0 => (1, 0),
            1 => (1, 1),
            2 => (2, 0),
            3 => (0, 1),
            _ => (0, 2),
        };
        let gue = match way {
            Way::Ip => None,
            Way::Gue => Some(vec![0, protocol, 0, 0]),
            Way::Chain => Some(chain(outer, protocol, hops, remaining)),
        };
        let is_handed_on = way == Way::Chain && hops > 0;
        let source = address(outer, if is_handed_on { (PEER, PEER_6) } else { (NODE, NODE_6) });
        Packet {
            outer,
            source,
            destination: address(outer, (LOCAL, LOCAL_6)),
            is_fragment: false,
            gue,
            protocol,
            inner: client_s(inner, is_stray, random),
        }
    }

    fn with(mut self, lie: Lie, random: &mut Rng) -> Packet {
        let (protocol, inner) = (self.protocol, self.inner[0] >> 4);
        let size = self.source.len();
        match lie {
            Lie::Stranger => {
                // A peer's first hop is refused for its source too, but is another lie.
                self.restart();
                self.source = elsewhere(self.outer, random);
            }
            Lie::PeerAsNode => {
                self.restart();
                self.source = address(self.outer, (PEER, PEER_6));
            }
            Lie::NodeAsPeer => {
                self.gue = Some(chain(self.outer, protocol, 1 + random.u8(0..2), 0));
                self.source = address(self.outer, (NODE, NODE_6));
            }
            Lie::OtherHost => self.destination = elsewhere(self.outer, random),
            Lie::OuterFragment => self.is_fragment = true,
            Lie::ForeignVip => {
                let at = if inner == 4 { 16 } else { 24 };
                // The first half alone: the rest of an address of another version's clothes stays.
                self.inner[at + random.usize(0..4)] ^= random.u8(1..);
            }
            Lie::MartianClient => self.pretend_a_martian(inner, random),
            Lie::Nested => self.inner = nested(inner, &self.inner, random),
            Lie::InnerVersion => self.swap_protocol(),
            Lie::InnerLength => {
                let at = if inner == 4 { 2 } else { 4 };
                self.inner[at] = random.u8(0x10..);
            }
            Lie::Version => self.gue()[0] = random.u8(0x80..),
            Lie::Control => {
                self.gue()[0] |= 0x20;
                // The type of the probe's messages is the only one that is known.
                self.gue()[1] = random.u8(..211);
            }
            Lie::Flags => self.gue()[random.usize(2..4)] = random.u8(1..),
            Lie::Hlen => {
                let right = if self.outer == 4 { 3 } else { 9 };
                self.gue()[0] = (1..32).filter(|hlen| *hlen != right).nth(random.usize(..30)).unwrap();
            }
            Lie::ChainFormat => self.gue()[if random.bool() { 4 } else { 7 }] = random.u8(2..),
            Lie::Hops => self.gue()[5] = random.u8(3..),
            Lie::Count => {
                let right = self.gue()[6];
                self.gue()[6] = (0..=255).filter(|count| *count != right).nth(random.usize(..255)).unwrap();
            }
            Lie::NextIsStranger => {
                let stranger = elsewhere(self.outer, random);
                self.gue()[8..8 + size].copy_from_slice(&stranger);
            }
            Lie::NextIsHere => {
                let here = self.destination.clone();
                self.gue()[8..8 + size].copy_from_slice(&here);
            }
        }
        self
    }

    fn gue(&mut self) -> &mut Vec<u8> {
        self.gue.as_mut().expect("only what has one lies in it")
    }

    /// As if no target had handed it on before.
    fn restart(&mut self) {
        let (outer, protocol) = (self.outer, self.protocol);
        if let Some(gue) = self.gue.as_mut().filter(|gue| gue.len() > 4) {
            *gue = chain(outer, protocol, 0, gue[6].max(1));
        }
    }

    fn swap_protocol(&mut self) {
        self.protocol = if self.protocol == 4 { 41 } else { 4 };
        let protocol = self.protocol;
        if let Some(gue) = &mut self.gue {
            gue[1] = protocol;
        }
    }

    fn pretend_a_martian(&mut self, inner: u8, random: &mut Rng) {
        match (inner, random.u8(0..3)) {
            (4, 0) => self.inner[12] = [0, 127][random.usize(0..2)],
            (4, 1) => self.inner[12] = random.u8(224..),
            (4, _) => self.inner[12..16].copy_from_slice(&VIP),
            (_, 0) => self.inner[8..16].fill(0),
            (_, 1) => self.inner[8] = 0xff,
            (_, _) => self.inner[8..24].copy_from_slice(&VIP_6),
        }
    }

    fn frame(&self) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = match self.outer {
            4 => PacketBuilder::ipv4(
                self.source[..].try_into().unwrap(),
                self.destination[..].try_into().unwrap(),
                64,
            ),
            _ => PacketBuilder::ipv6(
                self.source[..].try_into().unwrap(),
                self.destination[..].try_into().unwrap(),
                64,
            ),
        };
        match &self.gue {
            None => builder.write(&mut packet, IpNumber(self.protocol), &self.inner).unwrap(),
            Some(gue) => {
                builder.udp(50_000, 6080).write(&mut packet, &[&gue[..], &self.inner].concat()).unwrap();
            }
        }
        if self.is_fragment {
            packet[6] = 0x20;
        }
        [ethernet(0, self.outer), packet].concat()
    }
}

fn address(version: u8, (v4, v6): ([u8; 4], [u8; 16])) -> Vec<u8> {
    if version == 4 { v4.to_vec() } else { v6.to_vec() }
}

/// An address that the target does not know.
fn elsewhere(version: u8, random: &mut Rng) -> Vec<u8> {
    let mut address = address(version, ([10, 1, 0, 0], [0x20; 16]));
    let size = address.len();
    address[size - 3..].fill_with(|| random.u8(..));
    address
}

/// A random client's packet to the VIP: what every target takes, or an ACK, which only a socket's host does.
fn client_s(version: u8, is_stray: bool, random: &mut Rng) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = if version == 4 {
        let source = [random.u8(1..127), random.u8(..), random.u8(..), random.u8(..)];
        PacketBuilder::ipv4(source, VIP, random.u8(1..))
    } else {
        let mut source = CLIENT_6;
        source[4..].fill_with(|| random.u8(..));
        PacketBuilder::ipv6(source, VIP_6, random.u8(1..))
    };
    let payload = vec![7; random.usize(0..200)];
    let ports = (random.u16(1..), random.u16(1..));
    match is_stray || random.bool() {
        false => builder.udp(ports.0, ports.1).write(&mut packet, &payload).unwrap(),
        true => {
            let mut tcp = etherparse::TcpHeader::new(ports.0, ports.1, random.u32(..), 512);
            (tcp.syn, tcp.ack) = (!is_stray, is_stray);
            builder.tcp_header(tcp).write(&mut packet, &payload).unwrap();
        }
    }
    packet
}

/// A tunnel to the VIP in the tunnel.
fn nested(version: u8, packet: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut outer = Vec::new();
    let builder = if version == 4 {
        PacketBuilder::ipv4(CLIENT, VIP, random.u8(1..))
    } else {
        PacketBuilder::ipv6(CLIENT_6, VIP_6, random.u8(1..))
    };
    let protocol = if packet[0] >> 4 == 4 { 4 } else { 41 };
    builder.write(&mut outer, IpNumber(protocol), packet).unwrap();
    outer
}

/// GUE header and chain, with so many targets left.
fn chain(outer: u8, protocol: u8, hops: u8, remaining: u8) -> Vec<u8> {
    let targets = [address(outer, (PEER, PEER_6)), address(outer, (LAST_PEER, LAST_PEER_6))].concat();
    let mut chain = vec![1 + targets.len() as u8 / 4, protocol, 0, 0, 1, hops, remaining, 0];
    let used = targets.len() / 2 * usize::from(remaining);
    chain.extend(&targets[..used]);
    chain.resize(8 + targets.len(), 0);
    chain
}

#[test]
fn the_datagram_of_other_tests_is_genuine() {
    let Some(agent) = Agent::load(Kind::Tc) else { return };
    let frame =
        Packet { inner: datagram(4), ..Packet::genuine(Way::Gue, 4, 4, false, &mut Rng::with_seed(1)) };
    let (fate, _, reason) = agent.run(&frame.frame());
    assert_eq!((fate, reason), (Fate::Passed, Reason::AgentDecapsulated));
}
