//! QUIC: who is named by a connection id, and which packets go by the table all the same.
//!
//! Everywhere `One` is the slot's target before the change, `Other` the one after it, and `Spread` the one that is
//! named.

use lb_common::{Reason, Slot};

use crate::case::Case;
use crate::client::{Family, Kind, Packet};
use crate::node::{QUIC, QUIC_ALWAYS, QUIC_NEVER};
use crate::remote::{Outer, Remote, Role};

const VERSION_1: [u8; 4] = [0, 0, 0, 1];
const VERSION_2: [u8; 4] = [0x6b, 0x33, 0x43, 0xcf];
/// Nobody's, reserved for trying out (RFC 9000, 15).
const VERSION_X: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];

pub fn cases() -> Vec<Case> {
    let outers = Outer::ALL.into_iter();
    let pairs = outers.flat_map(|outer| Family::BOTH.map(|family| Shapes::new(outer, family)));
    pairs
        .flat_map(|shapes| {
            [shapes.named(), shapes.long(), shapes.beginnings(), shapes.by_table(), shapes.policies()]
        })
        .flatten()
        .collect()
}

/// A connection id with a server id and a nonce of four bytes.
fn connection_id(first: u8, server_id: [u8; 8]) -> Vec<u8> {
    [&[first][..], &server_id, &[0xc0, 0xc1, 0xc2, 0xc3]].concat()
}

/// The payload of a packet that names a target.
pub fn naming(remote: Remote) -> Vec<u8> {
    short(&connection_id(0x0c, remote.server_id()))
}

fn short(id: &[u8]) -> Vec<u8> {
    [&[0x4a][..], id, &[0x99; 21]].concat()
}

fn long(kind: u8, version: [u8; 4], id: &[u8]) -> Vec<u8> {
    let length = id.len() as u8;
    [&[0xc0 | kind << 4][..], &version, &[length], id, &[4, 1, 2, 3, 4], &[0x99; 21]].concat()
}

struct Shapes {
    family: Family,
    one: Remote,
    other: Remote,
    target: Remote,
    name: String,
}

impl Shapes {
    fn new(outer: Outer, family: Family) -> Shapes {
        Shapes {
            family,
            one: Remote::new(outer, Role::One),
            other: Remote::new(outer, Role::Other),
            target: Remote::new(outer, Role::Spread),
            name: format!("{family:?} QUIC by {}", outer.name()),
        }
    }

    fn stable(&self) -> Slot {
        Slot::stable(self.one.id())
    }

    fn changing(&self) -> Slot {
        Slot::changing(self.other.id(), self.one.id())
    }

    fn exceptions(&self) -> Slot {
        Slot::exceptions(self.other.id())
    }

    fn packet(&self, payload: Vec<u8>) -> Packet {
        Packet { payload, ..Packet::new(self.family, Kind::Udp).with_vip(7).with_port(443) }
    }

    /// The id that names the target.
    fn known(&self) -> Vec<u8> {
        connection_id(0x0c, self.target.server_id())
    }

    fn case(&self, what: &str, slot: Slot, packet: &Packet, remote: Remote) -> Case {
        let counter = match packet.port {
            444 => QUIC_ALWAYS,
            445 => QUIC_NEVER,
            _ => QUIC,
        };
        Case::forwarded(format!("{}: {what}", self.name), slot, packet, counter, remote)
    }

    fn refused(&self, what: &str, slot: Slot, packet: &Packet, reason: Reason) -> Case {
        Case::refused(format!("{}: {what}", self.name), slot, packet.frame(), reason)
    }

    /// In a changing slot, as a datagram whose flow may have begun before: to the old target, and remembered.
    fn ageless(&self, what: &str, packet: &Packet) -> Case {
        self.case(&format!("{what}, changing"), self.changing(), packet, self.one)
            .remembers(packet, self.one)
            .marks(packet)
    }

    /// Short headers that name a target: to it in every state, without a trace.
    fn named(&self) -> Vec<Case> {
        let (packet, outer) = (self.packet(short(&self.known())), self.target.outer);
        let moved = Packet { host: 99, source_port: 4, ..packet.clone() };
        let naming = |role| self.packet(short(&connection_id(0, Remote::new(outer, role).server_id())));
        let shaped = match self.family {
            Family::V4 => Packet { options: vec![1; 8], tags: 2, ..packet.clone() },
            Family::V6 => Packet { extensions: vec![(60, vec![0; 8])], tags: 1, ..packet.clone() },
        };
        let states = [
            ("stable", self.stable()),
            ("changing", self.changing()),
            ("exceptions", self.exceptions()),
            ("an empty slot", Slot::EMPTY),
        ];
        let mut cases: Vec<Case> = states
            .iter()
            .flat_map(|(state, slot)| {
                [
                    self.case(&format!("named, {state}"), *slot, &packet, self.target),
                    self.case(&format!("named, {state}, the client has moved"), *slot, &moved, self.target),
                ]
            })
            .collect();
        for rotation in 0..7u8 {
            let id = connection_id(rotation << 5 | 0x1f, self.target.server_id());
            let what = format!("named, rotation {rotation}");
            cases.push(self.case(&what, self.stable(), &self.packet(short(&id)), self.target));
        }
        let far = Remote::new(outer, Role::Far);
        cases.extend([
            self.case("named, behind tags and more headers", self.stable(), &shaped, self.target),
            self.case("named, behind another interface", self.stable(), &naming(Role::Far), far),
            self.refused("named, no next hop", self.stable(), &naming(Role::Unreachable), Reason::NoNextHop),
            self.case("named, but dead", self.stable(), &naming(Role::Dead), self.one),
            self.ageless("named, but dead", &naming(Role::Dead)),
            self.refused(
                "named, but in a tunnel's place",
                self.stable(),
                &packet.with_vip(1).with_port(6080),
                Reason::AlreadyEncapsulated,
            ),
            self.case(
                "named by nine bytes",
                self.stable(),
                &self.packet(short(&self.known())[..10].into()),
                self.target,
            ),
        ]);
        cases
    }

    /// Long headers whose id is the server's.
    fn long(&self) -> Vec<Case> {
        let kinds = [
            ("version 1, Handshake", 2, VERSION_1),
            ("version 1, Retry", 3, VERSION_1),
            ("version 2, Handshake", 3, VERSION_2),
            ("version 2, Retry", 0, VERSION_2),
            ("an unknown version", 0, VERSION_X),
            ("version negotiation", 1, [0; 4]),
        ];
        let case = |(what, kind, version): (&str, u8, [u8; 4])| {
            let packet = self.packet(long(kind, version, &self.known()));
            [
                self.case(&format!("{what}, stable"), self.stable(), &packet, self.target),
                self.case(&format!("{what}, changing"), self.changing(), &packet, self.target),
            ]
        };
        kinds.into_iter().flat_map(case).collect()
    }

    /// Initial and 0-RTT packets: by the table, and an Initial packet with a made-up id like a SYN.
    fn beginnings(&self) -> Vec<Case> {
        let made_up = [0x3b; 8];
        let mut cases = Vec::new();
        for (version, number, kind) in [(VERSION_1, 1, 0u8), (VERSION_2, 2, 1)] {
            let (first, second) =
                (self.packet(long(kind, version, &made_up)), self.packet(long(kind, version, &self.known())));
            let early = self.packet(long(kind + 1, version, &made_up));
            let early_known = self.packet(long(kind + 1, version, &self.known()));
            let name = |what: &str| format!("version {number}, {what}");
            let began = [crate::case::Step::Packet(first.clone())];
            cases.extend([
                self.case(&name("first Initial, stable"), self.stable(), &first, self.one),
                self.case(&name("first Initial, changing"), self.changing(), &first, self.other)
                    .remembers(&first, self.other),
                self.case(&name("first Initial, exceptions"), self.exceptions(), &first, self.other),
                self.refused(&name("first Initial, empty slot"), Slot::EMPTY, &first, Reason::NoTarget),
                self.case(&name("0-RTT behind it, changing"), self.changing(), &early, self.other)
                    .after(began.clone())
                    .remembers(&early, self.other),
                self.case(&name("second Initial behind it, changing"), self.changing(), &second, self.other)
                    .after(began)
                    .remembers(&second, self.other),
                self.case(&name("second Initial, stable"), self.stable(), &second, self.one),
                self.ageless(&name("second Initial"), &second),
                self.case(&name("0-RTT that names a target, stable"), self.stable(), &early_known, self.one),
                self.ageless(&name("0-RTT"), &early),
            ]);
        }
        cases
    }

    /// Ids that name nobody.
    fn by_table(&self) -> Vec<Case> {
        let (known, handshake) = (self.known(), |id: &[u8]| long(2, VERSION_1, id));
        let mut unknown = known.clone();
        unknown[8] = 0;
        let unroutable = connection_id(0xec, self.target.server_id());
        let mut beyond = handshake(&known);
        beyond[5] = 255;
        let mut payloads = vec![
            ("short, unknown id", short(&unknown)),
            ("long, unknown id", handshake(&unknown)),
            ("short, unroutable", short(&unroutable)),
            ("long, unroutable", handshake(&unroutable)),
            ("short, a byte short", short(&known)[..9].into()),
            ("long, an id of eight bytes", handshake(&known[..8])),
            ("long, no id", handshake(&[])),
            ("long, the id ends behind the packet", beyond),
            ("long, cut in the id", handshake(&known)[..14].into()),
            ("one byte", vec![0x40]),
            (
                "no QUIC: a DNS query",
                [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\0\0\x01\0\x01"].concat(),
            ),
        ];
        payloads.push(("no payload", Vec::new()));
        payloads
            .into_iter()
            .flat_map(|(what, payload)| {
                let packet = self.packet(payload);
                [
                    self.case(&format!("{what}, stable"), self.stable(), &packet, self.one),
                    self.case(&format!("{what}, exceptions"), self.exceptions(), &packet, self.other),
                    self.ageless(what, &packet),
                ]
            })
            .collect()
    }

    /// Where all flows are tracked, or none.
    fn policies(&self) -> Vec<Case> {
        let payloads = [long(0, VERSION_1, &[0x3b; 8]), short(&[0x3b; 13]), short(&self.known())]
            .map(|it| self.packet(it));
        let [initial, unknown, known] = payloads;
        let always = |packet: &Packet| packet.clone().with_port(444);
        let never = |packet: &Packet| packet.clone().with_port(445);
        vec![
            self.case("always: Initial", self.stable(), &always(&initial), self.one)
                .remembers(&always(&initial), self.one),
            self.case("always: unknown", self.stable(), &always(&unknown), self.one)
                .remembers(&always(&unknown), self.one),
            self.case("always: named, not remembered", self.changing(), &always(&known), self.target),
            self.case("never: Initial", self.changing(), &never(&initial), self.other),
            self.case("never: unknown", self.changing(), &never(&unknown), self.other),
            self.case("never: named", self.changing(), &never(&known), self.target),
        ]
    }
}
