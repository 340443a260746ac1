//! Packets that are nobody's here: they go up the host's stack byte for byte as they came.

use lb_common::{Reason, Slot};

use crate::case::Case;
use crate::client::{Family, Kind, Packet};
use crate::remote::{Outer, Remote, Role};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::BOTH {
        cases.extend(destinations(family));
        cases.extend(link_layer(family));
        cases.extend(other_protocols(family));
    }
    cases.push(mapped_vip());
    cases.extend(not_ip());
    cases.extend(ipv4_fragments());
    cases.extend(ipv6_fragments_and_long_chains());
    cases
}

/// On a node where every slot has a living target.
fn case(name: String, frame: Vec<u8>, reason: Reason) -> Case {
    let target = Remote::new(Outer::ALL[0], Role::One);
    Case::refused(name, Slot::stable(target.id()), frame, reason)
}

/// No listener has the destination.
fn destinations(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        let packet = Packet::new(family, kind);
        let mut not_ours = |what: &str, packet: Packet| {
            cases.push(case(format!("{family:?} {kind:?}: {what}"), packet.frame(), Reason::NotOurs));
        };
        not_ours("another port", packet.clone().with_port(8080));
        not_ours("port 0 without a wildcard", packet.clone().with_port(0));
        not_ours("a port with the bytes swapped", packet.clone().with_port(80u16.swap_bytes()));
        not_ours("another address", packet.clone().with_vip(3));
        not_ours("another address in two tags", Packet { tags: 2, ..packet.with_vip(3) });
    }
    let other_protocol = [(Kind::Syn, 1, 81), (Kind::Ack, 1, 82), (Kind::Udp, 1, 90), (Kind::Udp, 2, 80)];
    for (kind, vip, port) in other_protocol {
        let frame = Packet::new(family, kind).with_vip(vip).with_port(port).frame();
        let name = format!("{family:?} {kind:?}: port {port} of VIP {vip} is the other protocol's");
        cases.push(case(name, frame, Reason::NotOurs));
    }
    cases
}

/// An IPv6 packet whose destination is an IPv4 VIP in IPv6's clothes.
fn mapped_vip() -> Case {
    let mut frame = Packet::new(Family::V6, Kind::Syn).frame();
    let ipv4 = Packet::new(Family::V4, Kind::Syn).frame();
    frame[14 + 24..14 + 34].fill(0);
    frame[14 + 34..14 + 36].fill(0xff);
    frame[14 + 36..14 + 40].copy_from_slice(&ipv4[14 + 16..14 + 20]);
    case("IPv6 Syn: the IPv4 VIP, mapped into IPv6".into(), frame, Reason::NotOurs)
}

/// Frames for other MAC addresses.
fn link_layer(family: Family) -> Vec<Case> {
    let macs = [
        ("another MAC", [2, 0, 0, 0, 0, 3]),
        ("a MAC that differs in its first bit", [3, 0, 0, 0, 0, 1]),
        ("a MAC that differs in its last bit", [2, 0, 0, 0, 0, 0]),
        ("broadcast", [0xff; 6]),
        ("multicast", [0x01, 0, 0x5e, 0, 0, 1]),
        ("the zero MAC", [0; 6]),
    ];
    let frame = |mac: [u8; 6]| {
        let mut frame = Packet::new(family, Kind::Syn).frame();
        frame[..6].copy_from_slice(&mac);
        frame
    };
    macs.map(|(what, mac)| case(format!("{family:?}: {what}"), frame(mac), Reason::OtherMac)).to_vec()
}

/// IP protocols that no listener can have: each to a VIP, with a payload that looks like ports.
fn other_protocols(family: Family) -> Vec<Case> {
    let numbers = [
        ("IPv4 in IP", 4),
        ("IPv6 in IP", 41),
        ("GRE", 47),
        ("ESP", 50),
        ("no next header", 59),
        ("SCTP", 132),
        ("UDP-Lite", 136),
        ("the other family's ICMP", if family == Family::V4 { 58 } else { 1 }),
    ];
    let at = if family == Family::V4 { 14 + 9 } else { 14 + 6 };
    let frame = |number: u8| {
        let mut frame = Packet::new(family, Kind::Ack).frame();
        frame[at] = number;
        frame
    };
    numbers.map(|(what, number)| case(format!("{family:?}: {what}"), frame(number), Reason::NotOurs)).to_vec()
}

/// Frames that are not IP.
fn not_ip() -> Vec<Case> {
    let ethertypes: [(&str, u16); 5] =
        [("ARP", 0x0806), ("LLDP", 0x88cc), ("MPLS", 0x8847), ("a length", 46), ("PPPoE", 0x8864)];
    let mut cases = Vec::new();
    for (what, ethertype) in ethertypes {
        let mut frame = Packet::new(Family::V4, Kind::Syn).frame();
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        cases.push(case(what.into(), frame.clone(), Reason::NotIp));
        frame[..6].fill(0xff);
        cases.push(case(format!("{what} to all"), frame, Reason::NotIp));
    }
    let mut three_tags = Packet { tags: 2, ..Packet::new(Family::V4, Kind::Syn) }.frame();
    three_tags.splice(12..12, [0x88, 0xa8, 0, 5]);
    cases.push(case("three VLAN tags".into(), three_tags, Reason::NotIp));
    cases
}

/// Parts of an IPv4 datagram to nobody here: flags and offset.
fn ipv4_fragments() -> Vec<Case> {
    let parts: [(&str, u16); 4] =
        [("first", 0x2000), ("middle", 0x2003), ("last", 0x0003), ("at the largest offset", 0x1fff)];
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        for (what, word) in parts {
            let mut frame = Packet::new(Family::V4, kind).with_vip(3).frame();
            frame[14 + 6..14 + 8].copy_from_slice(&word.to_be_bytes());
            cases.push(case(
                format!("V4 {kind:?}: {what} fragment to another address"),
                frame,
                Reason::Fragment,
            ));
        }
    }
    cases
}

fn ipv6_fragments_and_long_chains() -> Vec<Case> {
    let fragment = |offset: u8| (44u8, vec![0, 0, 0, offset, 0, 0, 0, 9]);
    let options = || (60u8, vec![0; 8]);
    let chains = [
        ("first fragment", vec![fragment(1)], Reason::Fragment),
        ("last fragment", vec![fragment(0x10)], Reason::Fragment),
        ("an atomic fragment (RFC 6946)", vec![fragment(0)], Reason::NotOurs),
        ("a fragment after options", vec![options(), fragment(1)], Reason::Fragment),
        (
            "a fragment after six headers",
            [vec![options(); 6], vec![fragment(1)]].concat(),
            Reason::ExtensionHeaders,
        ),
        ("a fragment of a fragment", vec![fragment(1), fragment(8)], Reason::ExtensionHeaders),
        ("seven extension headers", vec![options(); 7], Reason::ExtensionHeaders),
        ("twelve extension headers", vec![options(); 12], Reason::ExtensionHeaders),
    ];
    chains
        .map(|(what, extensions, reason)| {
            let packet = Packet { extensions, ..Packet::new(Family::V6, Kind::Udp).with_vip(3) };
            case(format!("V6: {what} to another address"), packet.frame(), reason)
        })
        .to_vec()
}
