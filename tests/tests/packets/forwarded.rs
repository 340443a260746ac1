//! Packets that are forwarded, and those that are only just not: every pair of inner and outer header.

use lb_common::{Reason, Slot};

use crate::case::{Case, Step};
use crate::client::{Family, Kind, Packet};
use crate::node::{EXACT, TCP, UDP, WILDCARD};
use crate::remote::{Outer, Remote, Role};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for outer in Outer::ALL {
        for family in Family::BOTH {
            for kind in Kind::ALL {
                cases.extend(pair(outer, Packet::new(family, kind)));
            }
            cases.extend(shapes(outer, family));
        }
    }
    cases.extend(listeners());
    cases
}

/// The listener of port 80 that takes such a packet.
pub fn listener(packet: &Packet) -> u16 {
    if packet.kind == Kind::Udp { UDP } else { TCP }
}

fn stable(name: String, packet: &Packet, remote: Remote) -> Case {
    Case::forwarded(name, Slot::stable(remote.id()), packet, listener(packet), remote)
}

/// A stable slot's verdicts for one kind of packet and of encapsulation.
fn pair(outer: Outer, packet: Packet) -> Vec<Case> {
    let name = |what: &str| format!("{:?} {:?} by {}: {what}", packet.family, packet.kind, outer.name());
    let remote = |role| Remote::new(outer, role);
    let slot = |role| Slot::stable(remote(role).id());
    let exact = Remote { mtu: (packet.inner_length() + outer.overhead()) as u16, ..remote(Role::One) };
    let short = Remote { mtu: exact.mtu - 1, ..exact };
    vec![
        stable(name("stable"), &packet, remote(Role::One)),
        stable(name("redirected to another interface"), &packet, remote(Role::Far)),
        stable(name("the source address varies"), &packet, remote(Role::Spread)),
        stable(name("a dead target's slot is still its own"), &packet, remote(Role::Dead)),
        stable(name("exactly the MTU"), &packet, exact).after([Step::Target(exact)]),
        Case::refused(name("a byte over the MTU"), slot(Role::One), packet.frame(), Reason::TooBig)
            .after([Step::Target(short)]),
        Case::refused(name("no next hop"), slot(Role::Unreachable), packet.frame(), Reason::NoNextHop),
        Case::refused(name("empty slot"), Slot::EMPTY, packet.frame(), Reason::NoTarget),
    ]
}

/// What stands around and in the IP header, for one inner and one outer header.
fn shapes(outer: Outer, family: Family) -> Vec<Case> {
    let name = |what: &str| format!("{family:?} by {}: {what}", outer.name());
    let case = |what: &str, packet: &Packet| stable(name(what), packet, Remote::new(outer, Role::One));
    let plain = Packet::new(family, Kind::Ack);
    let mut cases = vec![
        case("one VLAN tag is dropped", &Packet { tags: 1, ..plain.clone() }),
        case("two VLAN tags are dropped", &Packet { tags: 2, ..plain.clone() }),
        case("a padded frame keeps its padding", &Packet { padding: 6, ..Packet::new(family, Kind::Syn) }),
        case(
            "a datagram padded to 64 bytes",
            &Packet {
                padding: 64usize.saturating_sub(Packet::new(family, Kind::Udp).frame().len()),
                ..Packet::new(family, Kind::Udp)
            },
        ),
        case("no payload", &Packet { payload: vec![], ..Packet::new(family, Kind::Udp) }),
        case("a full frame", &Packet { payload: vec![0x55; 1300], ..plain.clone() }),
        case(
            "two tags, padding and a class",
            &Packet { tags: 2, padding: 18, traffic_class: 0xb9, ..plain.clone() },
        ),
    ];
    for class in [0x01, 0x02, 0x03, 0xb8, 0xff] {
        let packet = Packet { traffic_class: class, ..plain.clone() };
        cases.push(case(&format!("traffic class {class:#04x} is copied, ECN included"), &packet));
    }
    cases.extend(match family {
        Family::V4 => options(&plain).map(|(what, packet)| case(what, &packet)).to_vec(),
        Family::V6 => extensions(&plain).into_iter().map(|(what, packet)| case(&what, &packet)).collect(),
    });
    cases
}

/// IPv4 headers with more than 20 bytes.
fn options(plain: &Packet) -> [(&'static str, Packet); 3] {
    [
        ("four bytes of options", Packet { options: vec![1, 1, 1, 0], ..plain.clone() }),
        ("forty bytes of options", Packet { options: vec![1; 40], ..plain.clone() }),
        ("may be fragmented", Packet { dont_fragment: false, ..plain.clone() }),
    ]
}

/// IPv6 packets with extension headers: hop-by-hop (0), routing (43), authentication (51), destination (60).
fn extensions(plain: &Packet) -> Vec<(String, Packet)> {
    let header = |number: u8| {
        // RFC 4302, 2.2 counts in 4-byte units less two, RFC 8200, 4.3 in 8-byte units less one.
        let (units, length) = if number == 51 { (4, 24) } else { (1, 16) };
        let mut bytes = vec![0x11; length];
        bytes[1] = units;
        (number, bytes)
    };
    let chains: [&[u8]; 7] = [&[0], &[43], &[51], &[60], &[0, 60, 43, 51], &[60, 60], &[60; 6]];
    let with = |chain: &[u8]| Packet {
        extensions: chain.iter().map(|number| header(*number)).collect(),
        ..plain.clone()
    };
    chains.iter().map(|chain| (format!("extension headers {chain:?}"), with(chain))).collect()
}

/// Which listener takes a packet.
fn listeners() -> Vec<Case> {
    let remote = Remote::new(Outer::ALL[0], Role::One);
    let slot = Slot::stable(remote.id());
    let mut cases = Vec::new();
    for family in Family::BOTH {
        let name = |what: &str| format!("{family:?}: {what}");
        let packet = Packet::new(family, Kind::Syn).with_vip(2);
        cases.extend([
            Case::forwarded(name("the exact port goes before the wildcard"), slot, &packet, EXACT, remote),
            Case::forwarded(
                name("the wildcard port takes the others"),
                slot,
                &packet.clone().with_port(443),
                WILDCARD,
                remote,
            ),
            Case::forwarded(name("and port 0"), slot, &packet.clone().with_port(0), WILDCARD, remote),
            Case::refused(
                name("no table yet"),
                slot,
                Packet::new(family, Kind::Ack).with_port(90).frame(),
                Reason::NoTable,
            ),
        ]);
    }
    cases
}
