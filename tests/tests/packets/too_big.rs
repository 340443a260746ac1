//! Packets that are too big for the way to their target: the sender is told the size that fits, or not.

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions,
    Ipv6Header, PacketBuilder, icmpv4,
};
use lb_common::{Reason, Slot};
use lb_userspace::model::Oversized;

use crate::case::{Case, Step};
use crate::client::{Family, Kind, NODE_MAC, Packet, ROUTER_MAC, array};
use crate::node;
use crate::program::Action;
use crate::remote::{Outer, Remote, Role};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::BOTH {
        for outer in Outer::ALL {
            cases.extend(answered(family, outer));
        }
        cases.extend(not_answered(family));
    }
    cases
}

/// A client's packet of so many bytes.
fn packet(family: Family, kind: Kind, length: usize) -> Packet {
    let plain = Packet::new(family, kind);
    let headers = plain.inner_length() - plain.payload.len();
    Packet { payload: (0..length - headers).map(|at| (at * 31) as u8).collect(), ..plain }
}

/// What the client is told: quoted is all that 576 bytes (IPv6: 1280) have room for, or of a packet that is
/// shorter than that 68 bytes.
pub fn told(packet: &Packet, fits: u16) -> Vec<u8> {
    let inner = &packet.frame()[packet.offset()..];
    let (vip, client) = (packet.family.vip(packet.vip), packet.family.client());
    let link = PacketBuilder::ethernet2(NODE_MAC, ROUTER_MAC);
    let mut frame = Vec::new();
    let written = if packet.family == Family::V4 {
        let mut ip = Ipv4Header::new(0, 64, IpNumber(0), array(&vip), array(&client)).expect("it is short");
        ip.dscp = 0x30.try_into().expect("six bits");
        (ip.identification, ip.dont_fragment, ip.fragment_offset) = (0, true, IpFragOffset::ZERO);
        let unreachable = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: fits };
        let quote = if packet.inner_length() >= 548 { 548 } else { 68 };
        link.ip(IpHeaders::Ipv4(ip, Ipv4Extensions::default()))
            .icmpv4(Icmpv4Type::DestinationUnreachable(unreachable))
            .write(&mut frame, &inner[..quote])
    } else {
        let ip = Ipv6Header {
            hop_limit: 64,
            source: array(&vip),
            destination: array(&client),
            ..Ipv6Header::default()
        };
        link.ip(IpHeaders::Ipv6(ip, Ipv6Extensions::default()))
            .icmpv6(Icmpv6Type::PacketTooBig { mtu: fits.into() })
            .write(&mut frame, &inner[..1232])
    };
    written.expect("a vector takes every packet");
    let tags: [&[u8]; 3] = [&[], &[0x81, 0, 0, 7], &[0x88, 0xa8, 0, 8, 0x81, 0, 0, 9]];
    frame.splice(12..12, tags[packet.tags as usize].iter().copied());
    frame
}

/// The smallest size that can be told.
fn smallest(family: Family) -> u16 {
    if family == Family::V4 { 68 } else { 1280 }
}

/// A target with a way that has room for so many bytes of a client's packet.
fn remote(outer: Outer, fits: u16) -> Remote {
    Remote { mtu: fits + outer.overhead() as u16, ..Remote::new(outer, Role::One) }
}

fn answered(family: Family, outer: Outer) -> Vec<Case> {
    let case = |what: &str, packet: Packet, fits: u16| {
        let remote = remote(outer, fits);
        let name = format!("{family:?} {:?} by {}, too big: {what}", packet.kind, outer.name());
        Case::answered_for(Reason::TooBigAnswered, name, packet.frame(), told(&packet, fits))
            .on(Slot::stable(remote.id()))
            .after([Step::Target(remote)])
    };
    let ack = |length| packet(family, Kind::Ack, length);
    let mut cases = vec![
        case("by one byte", ack(1401), 1400),
        case("by many", packet(family, Kind::Udp, 1440), smallest(family)),
        case("the smallest size", ack(smallest(family) as usize + 1), smallest(family)),
        case("with a tag", Packet { tags: 1, ..ack(1405) }, 1400),
        case("with two tags", Packet { tags: 2, ..ack(1405) }, 1400),
    ];
    if family == Family::V4 {
        cases.extend([
            case("just long enough for the long quote", ack(548), 500),
            case("just too short for it", ack(547), 500),
            case("with options", Packet { options: vec![1; 40], ..ack(1401) }, 1400),
        ]);
    }
    cases
}

fn not_answered(family: Family) -> Vec<Case> {
    let outer = Outer::ALL[0];
    let case = |what: &str, frame: Vec<u8>, fits: u16| {
        let remote = remote(outer, fits);
        let name = format!("{family:?} too big, not answered: {what}");
        Case::refused(name, Slot::stable(remote.id()), frame, Reason::TooBig).after([Step::Target(remote)])
    };
    let plain = packet(family, Kind::Ack, 1401).frame();
    let mut cases = vec![case("a size that can't be told", plain, smallest(family) - 1)];
    if family == Family::V4 {
        let may_fragment = Packet { dont_fragment: false, ..packet(family, Kind::Udp, 1401) };
        cases.push(case("without DF", may_fragment.frame(), 1400));
    }
    cases
}

#[test]
fn without_df_the_answer_is_a_setting() {
    let Some(mut node) = node() else { return };
    let remote = remote(Outer::ALL[3], 1400);
    let packet = Packet { dont_fragment: false, ..packet(Family::V4, Kind::Udp, 1401) };
    node.reset(Slot::stable(remote.id()));
    node.set_target(remote);
    node.set_oversized(Oversized::Answer);
    let outcome = node.run(&packet.frame());
    assert_eq!((outcome.action, outcome.packet), (Action::Tx, told(&packet, 1400)));
    node.set_oversized(Oversized::Drop);
    assert_eq!(node.run(&packet.frame()).action, Action::Drop);
    let reasons = ["reason too_big", "reason too_big_answered"].map(|name| (name.to_string(), 1));
    assert_eq!(node.counts(), reasons.into());
}

#[test]
fn padding_is_not_quoted() {
    let Some(mut node) = node() else { return };
    for family in Family::BOTH {
        let remote = remote(Outer::ALL[0], 1400);
        let packet = Packet { padding: 17, ..packet(family, Kind::Ack, 1401) };
        node.reset(Slot::stable(remote.id()));
        node.set_target(remote);
        assert_eq!(node.run(&packet.frame()).packet, told(&packet, 1400), "{family:?}");
    }
}

#[test]
fn a_flood_of_big_packets_is_no_flood_of_answers() {
    let Some(mut node) = node() else { return };
    let remote = remote(Outer::ALL[0], 1400);
    let frame = packet(Family::V4, Kind::Ack, 1401).frame();
    node.reset(Slot::stable(remote.id()));
    node.set_target(remote);
    let actions: Vec<Action> = (0..2000).map(|_| node.run(&frame).action).collect();
    let (answered, dropped): (Vec<Action>, Vec<Action>) =
        actions.into_iter().partition(|action| *action == Action::Tx);
    assert!(dropped.iter().all(|action| *action == Action::Drop));
    assert!(answered.len() >= 50 && !dropped.is_empty(), "{} answered", answered.len());
    let expected = [("too_big_answered", answered.len()), ("too_big_limited", dropped.len())];
    let expected = expected.map(|(name, count)| (format!("reason {name}"), count as u64));
    assert_eq!(node.counts(), expected.into());
}

#[test]
fn the_answer_needs_headroom() {
    let Some(mut node) = node() else { return };
    let remote = remote(Outer::ALL[0], 1400);
    node.reset(Slot::stable(remote.id()));
    node.set_target(remote);
    let frame = packet(Family::V6, Kind::Ack, 1401).frame();
    assert_eq!(node.program().verdict_behind_metadata(&frame, 160), Action::Tx);
    assert_eq!(node.program().verdict_behind_metadata(&frame, 180), Action::Drop);
}
