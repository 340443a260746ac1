//! ICMP errors about what a target sent: they go where the flow's own packets go, and change nothing there.

use std::collections::BTreeSet;

use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder};
use lb_common::{Reason, Slot};

use crate::case::{Case, Step};
use crate::client::{Family, Kind, NODE_MAC, Packet, ROUTER_MAC, array};
use crate::node::{UDP_ALWAYS, UDP_NEVER, WILDCARD};
use crate::remote::{Inner, Outer, Remote, Role};
use crate::{forwarded, node, table};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::BOTH {
        for outer in Outer::ALL {
            cases.extend(stable(family, outer));
        }
        cases.extend(quotes(family));
        cases.extend(decisions(family));
        cases.extend(listeners(family));
        cases.extend(not_ours(family));
        cases.extend(malformed(family));
    }
    cases.extend(ipv4_quotes());
    cases.extend(ipv6_quotes());
    cases
}

/// A router's error about an answer to the client's packet.
pub fn error_about(packet: &Packet) -> Vec<u8> {
    Message::new(packet).frame()
}

/// The error types that are forwarded.
fn types(family: Family) -> &'static [u8] {
    if family == Family::V4 { &[3, 11, 12] } else { &[1, 2, 3, 4] }
}

/// A router's error about a packet that a target sent to the client.
#[derive(Clone)]
pub struct Message {
    /// The client's packet that the quoted one answers: its flow.
    of: Packet,
    message_type: u8,
    code: u8,
    /// The quoted packet, from its IP header on, possibly cut.
    quote: Vec<u8>,
    tags: u8,
    padding: usize,
}

impl Message {
    /// The first of the types, with a whole packet quoted.
    pub fn new(of: &Packet) -> Message {
        let message_type = types(of.family)[0];
        Message { of: of.clone(), message_type, code: 0, quote: answer(of), tags: 0, padding: 0 }
    }

    fn cut_to(mut self, length: usize) -> Message {
        self.quote.truncate(length);
        self
    }

    pub fn frame(&self) -> Vec<u8> {
        let family = self.of.family;
        let (router, vip) = (family.vip(99), family.vip(self.of.vip));
        let link = PacketBuilder::ethernet2(ROUTER_MAC, NODE_MAC);
        let bytes5to8 = [0, 0, 5, 0x14];
        let mut frame = Vec::new();
        let written = if family == Family::V4 {
            let message = Icmpv4Type::Unknown { type_u8: self.message_type, code_u8: self.code, bytes5to8 };
            link.ipv4(array(&router), array(&vip), 61).icmpv4(message).write(&mut frame, &self.quote)
        } else {
            let message = Icmpv6Type::Unknown { type_u8: self.message_type, code_u8: self.code, bytes5to8 };
            link.ipv6(array(&router), array(&vip), 61).icmpv6(message).write(&mut frame, &self.quote)
        };
        written.expect("a vector takes every packet");
        let tags: [&[u8]; 3] = [&[], &[0x81, 0, 0, 7], &[0x88, 0xa8, 0, 8, 0x81, 0, 0, 9]];
        frame.splice(12..12, tags[self.tags as usize].iter().copied());
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }

    /// What of `frame`, this error's, is to be encapsulated.
    pub fn inner<'a>(&self, frame: &'a [u8]) -> Inner<'a> {
        let bytes = &frame[14 + 4 * self.tags as usize..];
        Inner {
            family: self.of.family,
            traffic_class: 0,
            hash: self.of.hash(),
            length: bytes.len() - self.padding,
            bytes,
        }
    }

    /// Forwarded to `remote` as the listener's traffic.
    fn forwarded(&self, name: String, slot: Slot, listener: u16, remote: Remote) -> Case {
        let frame = self.frame();
        let inner = self.inner(&frame);
        Case::encapsulated(name, slot, (frame.clone(), self.padding), &inner, listener, remote)
    }
}

/// What a target sends for a client's packet: addresses and ports turned, from the IP header on.
fn answer(packet: &Packet) -> Vec<u8> {
    let (vip, client) = (packet.family.vip(packet.vip), packet.family.host(packet.host));
    let builder = if packet.family == Family::V4 {
        PacketBuilder::ipv4(array(&vip), array(&client), 60)
    } else {
        PacketBuilder::ipv6(array(&vip), array(&client), 60)
    };
    let mut bytes = Vec::new();
    let (from, to) = (packet.port, packet.source_port);
    if packet.kind == Kind::Udp {
        builder.udp(from, to).write(&mut bytes, &[0x77; 120]).expect("a vector takes every packet");
    } else {
        let tcp = builder.tcp(from, to, 0x1234, 512).ack(9);
        tcp.write(&mut bytes, &[0x77; 120]).expect("a vector takes every packet");
    }
    bytes
}

fn header(family: Family) -> usize {
    if family == Family::V4 { 20 } else { 40 }
}

/// In a stable slot: every type, kind of flow and encapsulation.
fn stable(family: Family, outer: Outer) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Kind::Ack, Kind::Udp] {
        let packet = Packet::new(family, kind);
        for message_type in types(family) {
            let message = Message { message_type: *message_type, code: 4, ..Message::new(&packet) };
            for role in [Role::One, Role::Far] {
                let remote = Remote::new(outer, role);
                let name = format!(
                    "{family:?} error {message_type} about {kind:?} by {}, {role:?} target",
                    outer.name()
                );
                let slot = Slot::stable(remote.id());
                cases.push(message.forwarded(name, slot, forwarded::listener(&packet), remote));
            }
        }
    }
    cases
}

/// How much is quoted, and what stands around the error.
fn quotes(family: Family) -> Vec<Case> {
    let remote = Remote::new(Outer::ALL[0], Role::One);
    let mut cases = Vec::new();
    for kind in [Kind::Ack, Kind::Udp] {
        let packet = Packet::new(family, kind);
        let plain = Message::new(&packet);
        let messages = [
            ("8 bytes of the transport header are quoted", plain.clone().cut_to(header(family) + 8)),
            ("9 bytes are", plain.clone().cut_to(header(family) + 9)),
            ("one tag", Message { tags: 1, ..plain.clone() }),
            ("two tags and padding", Message { tags: 2, padding: 5, ..plain.clone() }),
            ("8 bytes and padding", Message { padding: 9, ..plain.cut_to(header(family) + 8) }),
        ];
        for (what, message) in messages {
            let name = format!("{family:?} error about {kind:?}: {what}");
            let slot = Slot::stable(remote.id());
            cases.push(message.forwarded(name, slot, forwarded::listener(&packet), remote));
        }
    }
    cases
}

/// In changed slots: as the flow's packets, and nothing is written.
fn decisions(family: Family) -> Vec<Case> {
    let remote = |role| Remote::new(Outer::ALL[2], role);
    let (one, other, dead) = (remote(Role::One), remote(Role::Other), remote(Role::Dead));
    let packet = Packet::new(family, Kind::Ack);
    let message = Message::new(&packet);
    let name = |what: &str| format!("{family:?} error about a flow {what}");
    let case = |what: &str, slot, to| message.forwarded(name(what), slot, forwarded::listener(&packet), to);
    let seen = || Step::Packet(packet.clone());
    let changing = Slot::changing(other.id(), one.id());
    let syn = Step::Packet(Packet::new(family, Kind::Syn));
    vec![
        case("that is unknown while its slot changes", changing, one),
        case("that is remembered on the previous target", changing, one)
            .after([seen(), Step::Table(Slot::exceptions(other.id()))])
            .remembers(&packet, one)
            .marks(&packet),
        case("that began during the change", changing, other).after([syn]).remembers(&packet, other),
        case("that is unknown where slots have exceptions", Slot::exceptions(other.id()), other),
        case("of a dead previous target", Slot::changing(one.id(), dead.id()), one),
        case("in a stable slot that is remembered elsewhere", changing, other)
            .after([seen(), Step::Table(Slot::stable(other.id()))])
            .remembers(&packet, one),
    ]
}

/// Listeners with their own ways.
fn listeners(family: Family) -> Vec<Case> {
    let remote = |role| Remote::new(Outer::ALL[1], role);
    let (one, other) = (remote(Role::One), remote(Role::Other));
    let stable = Slot::stable(one.id());
    let name = |what: &str| format!("{family:?} error: {what}");
    let always = Packet::new(family, Kind::Udp).with_port(81);
    let never = Packet::new(family, Kind::Udp).with_port(82);
    let wildcard = Packet::new(family, Kind::Ack).with_vip(2).with_port(4711);
    let refused = |what: &str, port: u16, slot, reason| {
        let frame = Message::new(&Packet::new(family, Kind::Ack).with_port(port)).frame();
        Case::refused(name(what), slot, frame, reason)
    };
    let large = Remote { mtu: 150, ..one };
    vec![
        Message::new(&always).forwarded(name("an always tracked flow, unknown"), stable, UDP_ALWAYS, one),
        Message::new(&always)
            .forwarded(name("an always tracked flow, known"), stable, UDP_ALWAYS, one)
            .after([Step::Packet(always.clone()), Step::Table(Slot::stable(other.id()))])
            .remembers(&always, one),
        Message::new(&never).forwarded(
            name("a never tracked flow"),
            Slot::changing(one.id(), other.id()),
            UDP_NEVER,
            one,
        ),
        Message::new(&wildcard).forwarded(name("a wildcard port"), stable, WILDCARD, one),
        Case::refused(
            name("a tunnel of a listener that leaves tunnels alone"),
            stable,
            Message::new(&Packet::new(family, Kind::Udp).with_vip(7).with_port(6080)).frame(),
            Reason::AlreadyEncapsulated,
        ),
        refused("no table yet", 90, stable, Reason::NoTable),
        refused("no target", 80, Slot::EMPTY, Reason::NoTarget),
        refused("no next hop", 80, Slot::stable(remote(Role::Unreachable).id()), Reason::NoNextHop),
        refused("too big itself: an error gets no answer", 80, stable, Reason::TooBig)
            .after([Step::Target(large)]),
    ]
}

/// What else there is goes up the stack.
fn not_ours(family: Family) -> Vec<Case> {
    let slot = Slot::stable(Remote::new(Outer::ALL[0], Role::One).id());
    let packet = Packet::new(family, Kind::Ack);
    let case = |what: &str, message: Message| {
        Case::refused(format!("{family:?} error, not ours: {what}"), slot, message.frame(), Reason::NotOurs)
    };
    let mut other_protocol = Message::new(&packet);
    other_protocol.quote[if family == Family::V4 { 9 } else { 6 }] = 132;
    let of_type = |message_type| Message { message_type, ..Message::new(&packet) };
    // Source quench and redirect; a type that no RFC gives a meaning.
    let other_types: &[u8] = if family == Family::V4 { &[4, 5] } else { &[0, 5, 127, 137] };
    let mut cases = vec![
        case("the quote is another port's", Message::new(&packet.clone().with_port(8080))),
        case(
            "the quote is UDP of a TCP listener",
            Message::new(&Packet::new(family, Kind::Udp).with_port(90)),
        ),
        case("another address", Message::new(&packet.clone().with_vip(3))),
        case("another address with half a quote", Message::new(&packet.clone().with_vip(3)).cut_to(7)),
        case("the quote is neither TCP nor UDP", other_protocol),
    ];
    cases.extend(other_types.iter().map(|number| case(&format!("type {number}"), of_type(*number))));
    cases
}

/// Quotes that tell no flow.
fn malformed(family: Family) -> Vec<Case> {
    let slot = Slot::stable(Remote::new(Outer::ALL[0], Role::One).id());
    let plain = Message::new(&Packet::new(family, Kind::Ack));
    let case = |what: &str, message: &Message, reason| {
        Case::refused(format!("{family:?} error, malformed: {what}"), slot, message.frame(), reason)
    };
    let with = |at: usize, byte: u8| {
        let mut message = plain.clone();
        message.quote[at] = byte;
        message
    };
    let last_of_source = if family == Family::V4 { 15 } else { 23 };
    let quote = |what: &str, message: &Message| case(what, message, Reason::MalformedQuote);
    vec![
        quote("no quote", &plain.clone().cut_to(0)),
        quote("half an IP header", &plain.clone().cut_to(header(family) - 1)),
        quote("no transport header", &plain.clone().cut_to(header(family))),
        quote("7 bytes of it", &plain.clone().cut_to(header(family) + 7)),
        quote("7 bytes and padding", &Message { padding: 20, ..plain.clone().cut_to(header(family) + 7) }),
        quote("the other version", &with(0, if family == Family::V4 { 0x65 } else { 0x45 })),
        quote("the packet of VIP 2", &with(last_of_source, 2)),
    ]
}

fn ipv4_quotes() -> Vec<Case> {
    let remote = Remote::new(Outer::ALL[0], Role::One);
    let slot = Slot::stable(remote.id());
    let packet = Packet::new(Family::V4, Kind::Ack);
    let listener = forwarded::listener(&packet);
    let mut optioned = Message::new(&packet);
    optioned.quote[0] = 0x4f;
    optioned.quote.splice(20..20, [1; 40]);
    let flagged = |flags: u16| {
        let mut message = Message::new(&packet);
        message.quote[6..8].copy_from_slice(&flags.to_be_bytes());
        message
    };
    let mut short = Message::new(&packet);
    short.quote[0] = 0x44;
    let malformed = |what: &str, message: &Message| {
        Case::refused(format!("V4 error, malformed: {what}"), slot, message.frame(), Reason::MalformedQuote)
    };
    let forwarded = |what: &str, message: &Message| {
        message.forwarded(format!("V4 error: {what}"), slot, listener, remote)
    };
    vec![
        forwarded("40 bytes of options and 8 bytes are quoted", &optioned.clone().cut_to(68)),
        malformed("40 bytes of options and 7 bytes", &optioned.cut_to(67)),
        forwarded("a first fragment is quoted", &flagged(0x2000)),
        forwarded("a packet with DF is quoted", &flagged(0x4000)),
        malformed("a middle fragment", &flagged(0x2010)),
        malformed("a last fragment", &flagged(0x0010)),
        malformed("a header of 16 bytes", &short),
    ]
}

fn ipv6_quotes() -> Vec<Case> {
    let remote = Remote::new(Outer::ALL[0], Role::One);
    let slot = Slot::stable(remote.id());
    let packet = Packet::new(Family::V6, Kind::Udp);
    let listener = forwarded::listener(&packet);
    let with = |chain: &[u8], fragment: u16| {
        let mut message = Message::new(&packet);
        let transport = std::mem::replace(&mut message.quote[6], chain[0]);
        let headers: Vec<u8> = (0..chain.len())
            .flat_map(|at| {
                let next = chain.get(at + 1).copied().unwrap_or(transport);
                let offset = if chain[at] == 44 { fragment } else { 0 }.to_be_bytes();
                [next, 0, offset[0], offset[1], 0, 0, 0, 9]
            })
            .collect();
        message.quote.splice(40..40, headers);
        message
    };
    let refused = |what: &str, message: Message, reason| {
        Case::refused(format!("V6 error: {what}"), slot, message.frame(), reason)
    };
    let forwarded =
        |what: &str, message: Message| message.forwarded(format!("V6 error: {what}"), slot, listener, remote);
    vec![
        forwarded("extension headers are quoted", with(&[0, 43, 60], 0).cut_to(72)),
        refused("extension headers and 7 bytes", with(&[0, 43, 60], 0).cut_to(71), Reason::MalformedQuote),
        refused("half an extension header", with(&[0], 0).cut_to(41), Reason::MalformedQuote),
        forwarded("six extension headers are quoted", with(&[60; 6], 0)),
        refused("seven extension headers", with(&[60; 7], 0), Reason::ExtensionHeaders),
        forwarded("a first fragment is quoted", with(&[60, 44], 1)),
        refused("a later fragment", with(&[44], 8), Reason::MalformedQuote),
    ]
}

#[test]
fn an_error_goes_where_its_flow_goes() {
    let Some(mut node) = node() else { return };
    let remotes = table::distinct_targets();
    node.reset(Slot::EMPTY);
    node.publish(remotes.iter().map(|remote| Slot::stable(remote.id())).collect());
    for (family, kind) in
        Family::BOTH.iter().flat_map(|family| [Kind::Ack, Kind::Udp].map(|kind| (*family, kind)))
    {
        let mut met = BTreeSet::new();
        // VIP 7 has source affinity.
        for (source_port, vip) in (1..=100).flat_map(|port| [1, 7].map(|vip| (port, vip))) {
            let packet = Packet { host: source_port as u8, ..Packet::new(family, kind) };
            let packet = packet.with_vip(vip).with_source_port(source_port * 600);
            let (flow, error) = (node.run(&packet.frame()), node.run(&Message::new(&packet).frame()));
            assert_eq!(
                flow.packet[..6],
                error.packet[..6],
                "{family:?} {kind:?} VIP {vip} port {source_port}"
            );
            met.insert(flow.packet[..6].to_vec());
        }
        assert_eq!(met.len(), remotes.len(), "every target was met");
    }
}
