//! Fragments: all of a datagram go where its flow goes, by the ports of the first.

mod cut;
mod sequences;

use cut::fragments;
use lb_common::{Reason, Slot};

use crate::case::{Case, Step};
use crate::client::{Family, Kind, Packet};
use crate::forwarded::listener;
use crate::node::{AFFINITY, QUIC, TCP, UDP, WILDCARD};
use crate::remote::{Inner, Outer, Remote, Role};

/// Where a datagram's middle and its last fragment begin: behind all of TCP's header.
const CUTS: [usize; 2] = [24, 56];
const IDENTIFICATION: u32 = 0xbeef;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::BOTH {
        for kind in Kind::ALL {
            cases.extend(unknown(family, kind));
            cases.extend(told_apart(family, kind));
            for outer in Outer::ALL {
                cases.extend(known(outer, &datagram(family, kind)));
            }
        }
        cases.extend(tiny(family));
        cases.extend(not_of_a_listener(family));
        cases.extend(by_attributes(family));
        cases.extend(of_changing_slots(family));
    }
    cases.extend(atomic());
    cases.extend(behind_extension_headers());
    cases
}

/// A packet whose IP payload is 88 or 100 bytes.
fn datagram(family: Family, kind: Kind) -> Packet {
    Packet { payload: (0..80).collect(), dont_fragment: false, ..Packet::new(family, kind) }
}

/// A fragment of `packet`'s datagram is forwarded like `packet` itself.
fn forwarded(name: String, slot: Slot, packet: &Packet, frame: &[u8], listener: u16, to: Remote) -> Case {
    let inner = Inner {
        family: packet.family,
        traffic_class: packet.traffic_class,
        hash: packet.hash(),
        length: frame.len() - packet.offset() - packet.padding,
        bytes: &frame[packet.offset()..],
    };
    Case::encapsulated(name, slot, (frame.to_vec(), packet.padding), &inner, listener, to)
}

fn one() -> Remote {
    Remote::new(Outer::ALL[0], Role::One)
}

fn refused(name: String, frame: &[u8], reason: Reason) -> Case {
    Case::refused(name, Slot::stable(one().id()), frame.to_vec(), reason)
}

fn frames(frames: &[Vec<u8>]) -> Vec<Step> {
    frames.iter().cloned().map(Step::Frame).collect()
}

/// The first fragment, and the others after it, in all clothes.
fn known(outer: Outer, plain: &Packet) -> Vec<Case> {
    let remote = Remote::new(outer, Role::One);
    let (family, kind) = (plain.family, plain.kind);
    let mut cases = Vec::new();
    for tags in 0..=2 {
        let packet = Packet { tags, traffic_class: 0xb8, padding: usize::from(tags) * 3, ..plain.clone() };
        let parts = fragments(&packet, &CUTS, IDENTIFICATION);
        let case = |what: &str, at: usize, before: &[usize]| {
            let name = format!("{family:?} {kind:?} by {}, {tags} tags: {what} fragment", outer.name());
            let before: Vec<Vec<u8>> = before.iter().map(|at| parts[*at].clone()).collect();
            forwarded(name, Slot::stable(remote.id()), &packet, &parts[at], listener(&packet), remote)
                .after(frames(&before))
        };
        cases.push(case("first", 0, &[]));
        cases.push(case("middle", 1, &[0]));
        cases.push(case("last", 2, &[0, 1]));
        cases.push(case("last before the middle", 2, &[0]));
        cases.push(case("middle after the last", 1, &[0, 2]));
        cases.push(case("repeated middle", 1, &[0, 1]));
    }
    cases
}

/// Later fragments of datagrams whose beginning did not come.
fn unknown(family: Family, kind: Kind) -> Vec<Case> {
    let mut cases = Vec::new();
    for tags in 0..=2 {
        let parts = fragments(&Packet { tags, ..datagram(family, kind) }, &CUTS, IDENTIFICATION);
        for (what, at) in [("middle", 1), ("last", 2)] {
            let name = format!("{family:?} {kind:?}, {tags} tags: {what} fragment before the first");
            cases.push(refused(name, &parts[at], Reason::FragmentUnknown));
        }
    }
    cases
}

/// Later fragments of other datagrams than the one that began.
fn told_apart(family: Family, kind: Kind) -> Vec<Case> {
    let packet = datagram(family, kind);
    let first = frames(&fragments(&packet, &CUTS, IDENTIFICATION)[..1]);
    let case = |what: &str, other: &Packet, identification| {
        let parts = fragments(other, &CUTS, identification);
        let name = format!("{family:?} {kind:?}: a fragment of another {what}");
        refused(name, &parts[1], Reason::FragmentUnknown).after(first.clone())
    };
    let mut cases = vec![
        case("identification", &packet, IDENTIFICATION + 1),
        case("source", &Packet { host: 8, ..packet.clone() }, IDENTIFICATION),
        case("VIP", &packet.clone().with_vip(2), IDENTIFICATION),
    ];
    let other = datagram(family, if kind == Kind::Udp { Kind::Ack } else { Kind::Udp });
    let parts = fragments(&other, &CUTS, IDENTIFICATION);
    match family {
        Family::V4 => cases.push(case("protocol", &other, IDENTIFICATION)),
        // Identifications of IPv6 are not by protocol: the first fragment says which it is.
        Family::V6 => cases.push(
            forwarded(
                format!("V6 {kind:?}: a fragment whose header names another protocol"),
                Slot::stable(one().id()),
                &packet,
                &parts[1],
                listener(&packet),
                one(),
            )
            .after(first),
        ),
    }
    let elsewhere = packet.clone().with_port(8080);
    let second = fragments(&elsewhere, &CUTS, IDENTIFICATION);
    let parts = fragments(&packet, &CUTS, IDENTIFICATION);
    let name = format!("{family:?} {kind:?}: the ports of a newer first fragment replace the older one's");
    cases.push(
        forwarded(name, Slot::stable(one().id()), &packet, &parts[1], listener(&packet), one())
            .after(frames(&[second[0].clone(), second[1].clone(), parts[0].clone()])),
    );
    cases
}

/// Fragments that are cut so that a filter does not see what they carry.
fn tiny(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, header) in [(Kind::Syn, 20), (Kind::Ack, 20), (Kind::Udp, 8)] {
        let packet = datagram(family, kind);
        for cut in (8..header).step_by(8) {
            let parts = fragments(&packet, &[cut], IDENTIFICATION);
            let name = format!("{family:?} {kind:?}: a first fragment of {cut} bytes");
            cases.push(refused(name, &parts[0], Reason::TinyFragment));
        }
        let enough = header.next_multiple_of(8);
        let parts = fragments(&packet, &[enough], IDENTIFICATION);
        let name = format!("{family:?} {kind:?}: a first fragment of {enough} bytes");
        cases.push(forwarded(name, Slot::stable(one().id()), &packet, &parts[0], listener(&packet), one()));
    }
    for kind in [Kind::Syn, Kind::Ack] {
        let packet = datagram(family, kind);
        let first = fragments(&packet, &CUTS, IDENTIFICATION);
        let over = fragments(&packet, &[8, 40], IDENTIFICATION);
        let name = |what: &str| format!("{family:?} {kind:?}: a fragment over the flags, {what}");
        cases.push(refused(name("unknown"), &over[1], Reason::TinyFragment));
        cases.push(refused(name("known"), &over[1], Reason::TinyFragment).after(frames(&first[..1])));
    }
    let packet = datagram(family, Kind::Udp);
    let parts = fragments(&packet, &[8], IDENTIFICATION);
    cases.push(
        forwarded(
            format!("{family:?} Udp: a last fragment right behind the header"),
            Slot::stable(one().id()),
            &packet,
            &parts[1],
            UDP,
            one(),
        )
        .after(frames(&parts[..1])),
    );
    cases
}

/// Fragments to a VIP that no listener wants.
fn not_of_a_listener(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        let parts = fragments(&datagram(family, kind).with_port(8080), &CUTS, IDENTIFICATION);
        let name = |what: &str| format!("{family:?} {kind:?} to a port without a listener: {what} fragment");
        cases.push(refused(name("first"), &parts[0], Reason::NotOurs));
        cases.push(refused(name("last"), &parts[2], Reason::NotOurs).after(frames(&parts[..1])));
    }
    let numbers = [("ICMP", if family == Family::V4 { 1 } else { 58 }), ("GRE", 47), ("SCTP", 132)];
    let at = if family == Family::V4 { 14 + 9 } else { 14 + 40 };
    for (what, number) in numbers {
        let mut parts = fragments(&datagram(family, Kind::Udp), &CUTS, IDENTIFICATION);
        parts.iter_mut().for_each(|part| part[at] = number);
        for (which, part) in ["first", "middle", "last"].iter().zip(&parts) {
            let name = format!("{family:?} {what}: {which} fragment to a VIP");
            cases.push(refused(name, part, Reason::Fragment));
        }
    }
    cases
}

/// Fragments to listeners with attributes, of QUIC, and of all ports.
fn by_attributes(family: Family) -> Vec<Case> {
    let remote = one();
    let mut cases = Vec::new();
    let mut forward = |what: &str, packet: &Packet, counter| {
        let parts = fragments(packet, &CUTS, IDENTIFICATION);
        for (which, at) in [("first", 0), ("last", 2)] {
            let name = format!("{family:?}: {which} fragment to a listener {what}");
            cases.push(
                forwarded(name, Slot::stable(remote.id()), packet, &parts[at], counter, remote)
                    .after(frames(&parts[..at.min(1)])),
            );
        }
    };
    forward("with affinity", &datagram(family, Kind::Udp).with_vip(7), AFFINITY);
    forward("of all ports", &datagram(family, Kind::Ack).with_vip(2).with_port(99), WILDCARD);
    // A short header that names another target: fragments go by the table.
    let other = Remote::new(Outer::ALL[0], Role::Other);
    let payload = [&[0x40, 0x0c][..], &other.server_id(), &[7; 70]].concat();
    let quic = Packet { payload, ..datagram(family, Kind::Udp).with_vip(7).with_port(443) };
    forward("of QUIC", &quic, QUIC);
    let gue = fragments(&datagram(family, Kind::Udp).with_vip(7).with_port(6080), &CUTS, IDENTIFICATION);
    let name = |which: &str| format!("{family:?}: {which} fragment of GUE");
    cases.push(refused(name("first"), &gue[0], Reason::AlreadyEncapsulated));
    cases.push(refused(name("last"), &gue[2], Reason::AlreadyEncapsulated).after(frames(&gue[..1])));
    cases
}

/// Fragments of flows that the flow table has a say in.
fn of_changing_slots(family: Family) -> Vec<Case> {
    let (one, other) = (one(), Remote::new(Outer::ALL[0], Role::Other));
    let changing = Slot::changing(other.id(), one.id());
    let mut cases = Vec::new();
    for (kind, to) in [(Kind::Syn, other), (Kind::Ack, one), (Kind::Udp, one)] {
        let packet = datagram(family, kind);
        let parts = fragments(&packet, &CUTS, IDENTIFICATION);
        for (which, at) in [("first", 0), ("middle", 1), ("last", 2)] {
            let name = format!("{family:?} {kind:?}: {which} fragment in a changing slot");
            let case = forwarded(name, changing, &packet, &parts[at], listener(&packet), to)
                .after(frames(&parts[..at]))
                .remembers(&packet, to);
            cases.push(if to == one { case.marks(&packet) } else { case });
        }
    }
    let ack = datagram(family, Kind::Ack);
    let parts = fragments(&ack, &CUTS, IDENTIFICATION);
    let change = [Step::Frame(parts[0].clone()), Step::Table(changing)];
    let name = format!("{family:?}: the table changes between two fragments");
    cases.push(
        forwarded(name, Slot::stable(one.id()), &ack, &parts[1], TCP, one)
            .after(change)
            .remembers(&ack, one)
            .marks(&ack),
    );
    cases
}

/// Whole packets with a fragment header (RFC 6946).
fn atomic() -> Vec<Case> {
    let header = || (44u8, vec![0, 0xff, 0, 6, 0, 0, 0, 9]);
    let options = || (60u8, vec![0; 8]);
    let chains = [
        ("alone", vec![header()]),
        ("between options", vec![options(), header(), options()]),
        ("twice", vec![header(), header()]),
    ];
    let case = |kind| {
        chains.clone().map(|(what, extensions)| {
            let packet = Packet { extensions, ..Packet::new(Family::V6, kind) };
            let name = format!("V6 {kind:?}: an atomic fragment header {what}");
            Case::forwarded(name, Slot::stable(one().id()), &packet, listener(&packet), one())
        })
    };
    Kind::ALL.into_iter().flat_map(case).collect()
}

/// IPv6 datagrams whose fragments begin with extension headers, so that later ones name those.
fn behind_extension_headers() -> Vec<Case> {
    let options = (60u8, vec![0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        let packet = Packet { extensions: vec![options.clone()], ..datagram(Family::V6, kind) };
        let parts = fragments(&packet, &[16 + 24, 16 + 56], IDENTIFICATION);
        for (which, at) in [("first", 0), ("middle", 1), ("last", 2)] {
            let name = format!("V6 {kind:?} behind options: {which} fragment");
            cases.push(
                forwarded(name, Slot::stable(one().id()), &packet, &parts[at], listener(&packet), one())
                    .after(frames(&parts[..at.min(1)])),
            );
        }
        let name = format!("V6 {kind:?} behind options: last fragment before the first");
        cases.push(refused(name, &parts[2], Reason::FragmentUnknown));
        // RFC 7112: a first fragment has all headers.
        let parts = fragments(&packet, &[16], IDENTIFICATION);
        let name = format!("V6 {kind:?} behind options: a first fragment of options alone");
        cases.push(refused(name, &parts[0], Reason::TinyFragment));
    }
    cases
}
