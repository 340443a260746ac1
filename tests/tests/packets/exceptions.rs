//! Slots that changed: who goes where, what is remembered, and when the slot's exceptions are marked.
//!
//! Everywhere `One` is the slot's target before the change and `Other` the one after it.

use lb_common::{Reason, Slot};

use crate::case::{Case, Step};
use crate::client::{Family, Kind, Packet};
use crate::forwarded::listener;
use crate::node::{TCP, UDP_ALWAYS, UDP_NEVER};
use crate::remote::{Outer, Remote, Role};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for outer in Outer::ALL {
        for family in Family::BOTH {
            let change = Change::new(outer, family);
            cases.extend(change.openings());
            cases.extend(change.others(Kind::Ack));
            cases.extend(change.others(Kind::Udp));
            cases.extend(change.deaths());
            cases.extend(change.sequences());
            cases.extend(change.policies());
            cases.extend(change.flags());
        }
    }
    cases
}

/// A slot's change from one target to another.
struct Change {
    family: Family,
    one: Remote,
    other: Remote,
    name: String,
}

impl Change {
    fn new(outer: Outer, family: Family) -> Change {
        Change {
            family,
            one: Remote::new(outer, Role::One),
            other: Remote::new(outer, Role::Other),
            name: format!("{family:?} by {}", outer.name()),
        }
    }

    fn changing(&self) -> Slot {
        Slot::changing(self.other.id(), self.one.id())
    }

    fn exceptions(&self) -> Slot {
        Slot::exceptions(self.other.id())
    }

    fn packet(&self, kind: Kind) -> Packet {
        Packet::new(self.family, kind)
    }

    /// `packet` is forwarded to `remote`.
    fn case(&self, what: &str, slot: Slot, packet: &Packet, remote: Remote) -> Case {
        let name = format!("{} {:?}: {what}", self.name, packet.kind);
        Case::forwarded(name, slot, packet, listener(packet), remote)
    }

    /// Packets that begin a flow.
    fn openings(&self) -> Vec<Case> {
        let (syn, ack) = (self.packet(Kind::Syn), self.packet(Kind::Ack));
        let learnt_on_one = [Step::Packet(ack.clone())];
        vec![
            self.case("changing: to the new target and remembered", self.changing(), &syn, self.other)
                .remembers(&syn, self.other),
            self.case("changing, known: a new life on the new target", self.changing(), &syn, self.other)
                .after(learnt_on_one.clone())
                .remembers(&syn, self.other)
                .marks(&syn),
            self.case("exceptions: to the current target", self.exceptions(), &syn, self.other),
            self.case("exceptions, known elsewhere: the old life ends", self.changing(), &syn, self.other)
                .after(learnt_on_one)
                .after([Step::Table(self.exceptions())])
                .marks(&syn),
            Case::refused(
                format!("{} Syn: changing to no target", self.name),
                Slot::changing(lb_common::TargetId::NONE, self.one.id()),
                syn.frame(),
                Reason::NoTarget,
            ),
        ]
    }

    /// Packets of flows that may have begun before the change.
    fn others(&self, kind: Kind) -> Vec<Case> {
        let packet = self.packet(kind);
        let again = [Step::Packet(packet.clone())];
        vec![
            self.case(
                "changing, unknown: to the old target and remembered",
                self.changing(),
                &packet,
                self.one,
            )
            .remembers(&packet, self.one)
            .marks(&packet),
            self.case("changing, known on the old target", self.changing(), &packet, self.one)
                .after(again.clone())
                .remembers(&packet, self.one)
                .marks(&packet),
            self.case("exceptions, unknown: to the current target", self.exceptions(), &packet, self.other),
            self.case("exceptions, known elsewhere: stays", self.changing(), &packet, self.one)
                .after(again.clone())
                .after([Step::Table(self.exceptions())])
                .remembers(&packet, self.one)
                .marks(&packet),
            self.case("stable again: no look-up", self.changing(), &packet, self.other)
                .after(again)
                .after([Step::Table(Slot::stable(self.other.id()))])
                .remembers(&packet, self.one),
        ]
    }

    /// Targets whose flows are not worth keeping, or that can't be reached.
    fn deaths(&self) -> Vec<Case> {
        let ack = self.packet(Kind::Ack);
        let dead = Remote { lives: false, ..self.one };
        let unreachable = Remote::new(self.one.outer, Role::Unreachable);
        vec![
            self.case("changing, the old target is dead", self.changing(), &ack, self.other)
                .after([Step::Target(dead)]),
            self.case("exceptions, known on a dead target", self.changing(), &ack, self.other)
                .after([Step::Packet(ack.clone()), Step::Table(self.exceptions()), Step::Target(dead)])
                .remembers(&ack, self.one)
                .marks(&ack),
            Case::refused(
                format!("{} Ack: changing to no target", self.name),
                Slot::changing(lb_common::TargetId::NONE, self.one.id()),
                ack.frame(),
                Reason::NoTarget,
            ),
            Case::refused(
                format!("{} Ack: changing, the old target has no next hop", self.name),
                Slot::changing(self.other.id(), unreachable.id()),
                ack.frame(),
                Reason::NoNextHop,
            )
            .remembers(&ack, unreachable)
            .marks(&ack),
        ]
    }

    /// Changes upon changes.
    fn sequences(&self) -> Vec<Case> {
        let (syn, ack) = (self.packet(Kind::Syn), self.packet(Kind::Ack));
        let began = || [Step::Packet(syn.clone())];
        let third = Remote::new(self.one.outer, Role::Spread);
        let neighbour = ack.clone().with_source_port(40_001);
        vec![
            self.case("began during the change: on the new target", self.changing(), &ack, self.other)
                .after(began())
                .remembers(&ack, self.other),
            self.case("changed back: what began meanwhile stays", self.changing(), &ack, self.other)
                .after(began())
                .after([Step::Table(Slot::exceptions(self.one.id()))])
                .remembers(&ack, self.other)
                .marks(&ack),
            self.case("changed again: what began meanwhile stays", self.changing(), &ack, self.other)
                .after(began())
                .after([Step::Table(Slot::changing(third.id(), self.one.id()))])
                .remembers(&ack, self.other)
                .marks(&ack),
            self.case("a neighbour is known: unknown all the same", self.exceptions(), &ack, self.other)
                .after([
                    Step::Table(self.changing()),
                    Step::Packet(self.packet(Kind::Syn).with_source_port(40_001)),
                    Step::Table(self.exceptions()),
                ])
                .remembers(&neighbour, self.other),
        ]
    }

    /// Which TCP flags begin a flow: SYN with neither ACK, FIN nor RST, whatever else is set.
    fn flags(&self) -> Vec<Case> {
        let opening = [("SYN ECE CWR", 0xc2), ("SYN PSH", 0x0a), ("SYN URG", 0x22)];
        let established = [
            ("no flag", 0),
            ("FIN", 0x01),
            ("SYN FIN", 0x03),
            ("RST", 0x04),
            ("SYN RST", 0x06),
            ("SYN ACK", 0x12),
            ("FIN ACK", 0x11),
            ("RST ACK", 0x14),
            ("all flags", 0xff),
        ];
        let flags = |flags: u8| Packet { flags, ..self.packet(Kind::Ack) };
        let case = |(what, bits): (&str, u8), remote: Remote| {
            let packet = flags(bits);
            self.case(&format!("changing, {what}"), self.changing(), &packet, remote)
                .remembers(&packet, remote)
        };
        let old = established.map(|named| case(named, self.one).marks(&flags(named.1)));
        opening.map(|named| case(named, self.other)).into_iter().chain(old).collect()
    }

    /// UDP whose flows are always or never remembered.
    fn policies(&self) -> Vec<Case> {
        let always = self.packet(Kind::Udp).with_port(81);
        let never = self.packet(Kind::Udp).with_port(82);
        let known = [Step::Packet(always.clone())];
        let (one, other) = (Slot::stable(self.one.id()), Slot::stable(self.other.id()));
        let case = |what: &str, slot, packet: &Packet, counter, remote| {
            Case::forwarded(format!("{} Udp {what}", self.name), slot, packet, counter, remote)
        };
        vec![
            case("always: stable, unknown", one, &always, UDP_ALWAYS, self.one).remembers(&always, self.one),
            case("always: stable, known elsewhere", one, &always, UDP_ALWAYS, self.one)
                .after(known.clone())
                .after([Step::Table(other)])
                .remembers(&always, self.one)
                .marks(&always),
            case("always: changing, unknown is new", self.changing(), &always, UDP_ALWAYS, self.other)
                .remembers(&always, self.other),
            case("always: exceptions, unknown is new", self.exceptions(), &always, UDP_ALWAYS, self.other)
                .remembers(&always, self.other),
            case("always: known on a dead target", one, &always, UDP_ALWAYS, self.other)
                .after(known)
                .after([Step::Table(other), Step::Target(Remote { lives: false, ..self.one })])
                .remembers(&always, self.other),
            Case::refused(
                format!("{} Udp always: no target, and nothing is remembered", self.name),
                Slot::EMPTY,
                always.frame(),
                Reason::NoTarget,
            ),
            case("never: stable", one, &never, UDP_NEVER, self.one),
            case("never: changing", self.changing(), &never, UDP_NEVER, self.other),
            case("never: exceptions", self.exceptions(), &never, UDP_NEVER, self.other),
            Case::forwarded(
                format!("{} Tcp: a full life leaves nothing in a stable slot", self.name),
                one,
                &self.packet(Kind::Ack),
                TCP,
                self.one,
            )
            .after([Step::Packet(self.packet(Kind::Syn)), Step::Packet(self.packet(Kind::Ack))]),
        ]
    }
}
