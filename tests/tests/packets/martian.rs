//! Sources that no host sends from: dropped where a listener or a VIP's ping would have the packet, passed on where not.

use lb_common::{Reason, Slot};

use crate::case::{Case, Step};
use crate::client::{Family, Kind, Packet};
use crate::echo;
use crate::icmp_error;
use crate::node::{UDP, WILDCARD};
use crate::remote::{Outer, Remote, Role};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::BOTH {
        cases.extend(listeners(family));
        cases.extend(neighbours(family));
        cases.extend(others(family));
        cases.extend(icmp(family));
        cases.extend(group_senders(family));
    }
    cases
}

fn target() -> Remote {
    Remote::new(Outer::ALL[0], Role::One)
}

/// Martian sources of a packet to VIP `vip`.
fn sources(family: Family, vip: u8) -> Vec<Vec<u8>> {
    let v6 = |first: &[u8], last: &[u8]| [first, &vec![0; 16 - first.len() - last.len()], last].concat();
    let mut sources = match family {
        Family::V4 => vec![
            vec![0, 0, 0, 0],
            vec![0, 255, 1, 2],
            vec![127, 0, 0, 1],
            vec![127, 255, 255, 255],
            vec![224, 0, 0, 1],
            vec![239, 1, 2, 3],
            vec![240, 0, 0, 1],
            vec![255, 255, 255, 255],
        ],
        Family::V6 => vec![
            v6(&[], &[]),
            v6(&[], &[1]),
            v6(&[], &[0xff, 0xff, 198, 51, 100, 7]),
            v6(&[], &[198, 51, 100, 7]),
            v6(&[0xff, 2], &[1]),
            v6(&[0xff, 0x0e], &[1]),
        ],
    };
    sources.push(family.vip(vip));
    sources
}

/// Sources that are next to martian ones.
fn neighbouring(family: Family) -> Vec<Vec<u8>> {
    match family {
        Family::V4 => {
            vec![vec![1, 0, 0, 0], vec![126, 255, 255, 255], vec![128, 0, 0, 0], vec![223, 255, 255, 255]]
        }
        Family::V6 => {
            let mut first = vec![0; 16];
            first[7] = 1;
            let mut last = vec![0xff; 16];
            last[0] = 0xfe;
            vec![first, last]
        }
    }
}

/// The frame from another address; what is computed from it stays as it was.
fn from(mut frame: Vec<u8>, offset: usize, source: &[u8]) -> Vec<u8> {
    let at = offset + if source.len() == 4 { 12 } else { 8 };
    frame[at..at + source.len()].copy_from_slice(source);
    frame
}

fn dropped(name: String, frame: Vec<u8>) -> Case {
    Case::refused(name, Slot::stable(target().id()), frame, Reason::MartianSource)
}

/// To listeners of every kind: those of a slot that would remember the flow, too.
fn listeners(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, packet: Packet| {
        for source in sources(family, packet.vip) {
            let name = format!("{family:?} {:?} {what} from {source:?}", packet.kind);
            let frame = from(packet.frame(), packet.offset(), &source);
            let changing = Slot::changing(Remote::new(Outer::ALL[0], Role::Other).id(), target().id());
            cases.push(dropped(name.clone(), frame.clone()));
            cases.push(dropped(format!("{name}, slot changing"), frame).on(changing));
        }
    };
    for kind in Kind::ALL {
        add("martian", Packet::new(family, kind));
    }
    add("martian in two tags", Packet { tags: 2, ..Packet::new(family, Kind::Ack) });
    add("martian to a wildcard port", Packet::new(family, Kind::Syn).with_vip(2).with_port(443));
    add("martian to all of UDP", Packet::new(family, Kind::Udp).with_vip(7).with_port(53));
    add("martian with affinity", Packet::new(family, Kind::Syn).with_vip(7));
    add("martian by QUIC", Packet::new(family, Kind::Udp).with_vip(7).with_port(443));
    let named = [&[0x40, 0][..], &target().server_id(), &[7; 11]].concat();
    let named = Packet { payload: named, ..Packet::new(family, Kind::Udp) };
    add("martian by QUIC that names its target", named.with_vip(7).with_port(443));
    cases
}

/// The first and the last address that is not martian.
fn neighbours(family: Family) -> Vec<Case> {
    let case = |source: Vec<u8>| {
        let packet = Packet { from: Some(source.clone()), ..Packet::new(family, Kind::Udp) };
        let name = format!("{family:?} nearly martian, from {source:?}");
        Case::forwarded(name, Slot::stable(target().id()), &packet, UDP, target())
    };
    neighbouring(family).into_iter().map(case).collect()
}

/// What no listener has goes up the stack, wherever it says that it comes from.
fn others(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    let strangers = [
        ("another port", Packet::new(family, Kind::Syn).with_port(8080)),
        ("another address", Packet::new(family, Kind::Udp).with_vip(3)),
    ];
    for (what, packet) in strangers {
        for source in sources(family, packet.vip) {
            let name = format!("{family:?} martian to {what} from {source:?}");
            let frame = from(packet.frame(), packet.offset(), &source);
            cases.push(Case::refused(name, Slot::stable(target().id()), frame, Reason::NotOurs));
        }
    }
    let gue = Packet::new(family, Kind::Udp).with_vip(7).with_port(6080);
    let frame = from(gue.frame(), gue.offset(), &sources(family, 7)[0]);
    let name = format!("{family:?} martian: GUE that its listener leaves alone");
    cases.push(Case::refused(name, Slot::stable(target().id()), frame, Reason::AlreadyEncapsulated));
    cases
}

/// Pings of a VIP, and errors about a listener's flows.
fn icmp(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    let error = icmp_error::error_about(&Packet::new(family, Kind::Ack));
    let stranger = icmp_error::error_about(&Packet::new(family, Kind::Ack).with_port(8080));
    for source in sources(family, 1) {
        let name = |what: &str| format!("{family:?} martian {what} from {source:?}");
        let not_ours = Slot::stable(target().id());
        cases.push(dropped(name("ping"), from(echo::ping(family, 1), 14, &source)));
        cases.push(dropped(name("error"), from(error.clone(), 14, &source)));
        cases.extend([
            Case::refused(
                name("ping of no VIP"),
                not_ours,
                from(echo::ping(family, 3), 14, &source),
                Reason::NotOurs,
            ),
            Case::refused(
                name("error of no listener"),
                not_ours,
                from(stranger.clone(), 14, &source),
                Reason::NotOurs,
            ),
        ]);
    }
    cases
}

/// Frames whose sender's MAC address is a group's: forwarded, but not answered.
fn group_senders(family: Family) -> Vec<Case> {
    let with_sender = |mut frame: Vec<u8>, mac: [u8; 6]| {
        frame[6..12].copy_from_slice(&mac);
        frame
    };
    let mut cases = Vec::new();
    for mac in [[0xff; 6], [0x01, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
        let name = |what: &str| format!("{family:?} {what} from the MAC {mac:02x?}");
        cases.push(dropped(name("ping"), with_sender(echo::ping(family, 1), mac)));
        let packet = Packet { sender: mac, ..Packet::new(family, Kind::Syn) };
        let wildcard = packet.clone().with_vip(2).with_port(9);
        cases.push(Case::forwarded(name("SYN"), Slot::stable(target().id()), &wildcard, WILDCARD, target()));
        let big = Packet { payload: vec![1; 1400], sender: mac, ..Packet::new(family, Kind::Ack) };
        let narrow = Remote { mtu: 1400, ..target() };
        cases.push(dropped(name("a packet too big"), big.frame()).after([Step::Target(narrow)]));
    }
    cases
}
