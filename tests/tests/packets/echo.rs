//! Pings and other ICMP: a VIP answers an echo request, everything else is the host's.

use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};
use lb_common::{Reason, Slot};

use crate::case::Case;
use crate::client::{Family, NODE_MAC, ROUTER_MAC, array};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::BOTH {
        cases.extend(answered(family));
        cases.extend(not_answered(family));
    }
    cases
}

/// An ICMP message between the client and a VIP.
#[derive(Clone)]
struct Message {
    family: Family,
    vip: u8,
    id: u16,
    sequence: u16,
    payload: Vec<u8>,
    tags: u8,
    padding: usize,
}

impl Message {
    fn new(family: Family) -> Message {
        let payload = (0..56).collect();
        Message { family, vip: 1, id: 0x1234, sequence: 7, payload, tags: 0, padding: 0 }
    }

    /// The echo request as it reaches the node.
    fn request(&self) -> Vec<u8> {
        let (v4, v6) = match self.family {
            Family::V4 => (Some(Icmpv4Type::EchoRequest(self.header())), None),
            Family::V6 => (None, Some(Icmpv6Type::EchoRequest(self.header()))),
        };
        self.frame((ROUTER_MAC, NODE_MAC), (&self.family.client(), &self.family.vip(self.vip)), v4, v6)
    }

    /// The reply as the client is owed it.
    fn reply(&self) -> Vec<u8> {
        let (v4, v6) = match self.family {
            Family::V4 => (Some(Icmpv4Type::EchoReply(self.header())), None),
            Family::V6 => (None, Some(Icmpv6Type::EchoReply(self.header()))),
        };
        let ends = (&self.family.vip(self.vip)[..], &self.family.client()[..]);
        let mut frame = self.frame((NODE_MAC, ROUTER_MAC), ends, v4, v6);
        // Zero's other form in ones' complement, which is right for all messages, those of zeros alone included.
        let checksum = 14 + 4 * self.tags as usize + if self.family == Family::V4 { 20 + 2 } else { 40 + 2 };
        if frame[checksum..checksum + 2] == [0, 0] {
            frame[checksum..checksum + 2].fill(0xff);
        }
        frame
    }

    fn header(&self) -> etherparse::IcmpEchoHeader {
        etherparse::IcmpEchoHeader { id: self.id, seq: self.sequence }
    }

    /// A frame from the first MAC and address to the second.
    fn frame(
        &self,
        macs: ([u8; 6], [u8; 6]),
        ends: (&[u8], &[u8]),
        v4: Option<Icmpv4Type>,
        v6: Option<Icmpv6Type>,
    ) -> Vec<u8> {
        let link = PacketBuilder::ethernet2(macs.0, macs.1);
        let mut frame = Vec::new();
        let written = match (v4, v6) {
            (Some(message), _) => {
                link.ipv4(array(ends.0), array(ends.1), 61).icmpv4(message).write(&mut frame, &self.payload)
            }
            (None, Some(message)) => {
                link.ipv6(array(ends.0), array(ends.1), 61).icmpv6(message).write(&mut frame, &self.payload)
            }
            (None, None) => panic!("a message of either family"),
        };
        written.expect("a vector takes every packet");
        let tags: [&[u8]; 3] = [&[], &[0x81, 0, 0, 7], &[0x88, 0xa8, 0, 8, 0x81, 0, 0, 9]];
        frame.splice(12..12, tags[self.tags as usize].iter().copied());
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }
}

/// An echo request for a VIP.
pub fn ping(family: Family, vip: u8) -> Vec<u8> {
    Message { vip, ..Message::new(family) }.request()
}

/// An echo request with a payload of so many bytes, and its reply.
pub fn jumbo(family: Family, payload: usize) -> (Vec<u8>, Vec<u8>) {
    let message =
        Message { payload: (0..payload).map(|at| (at * 7) as u8).collect(), ..Message::new(family) };
    (message.request(), message.reply())
}

fn answered(family: Family) -> Vec<Case> {
    let plain = Message::new(family);
    let of = |payload: Vec<u8>| Message { payload, ..plain.clone() };
    let messages = [
        ("of VIP 1", plain.clone()),
        ("of VIP 2", Message { vip: 2, ..plain.clone() }),
        ("in one tag", Message { tags: 1, ..plain.clone() }),
        ("in two tags", Message { tags: 2, ..plain.clone() }),
        ("without a payload", of(vec![])),
        ("with one byte", of(vec![0x5a])),
        ("padded", Message { padding: 17, ..of(vec![1]) }),
        ("of 1,400 bytes", of(vec![0xa5; 1400])),
        ("whose words sum to nothing", Message { id: 0, sequence: 0, ..of(vec![0; 8]) }),
        ("whose checksum wraps", Message { id: 0xf7ff, sequence: 0, ..of(vec![]) }),
        ("whose words are all ones", Message { id: 0xffff, sequence: 0xffff, ..of(vec![0xff; 56]) }),
    ];
    let case = |(what, message): (&str, Message)| {
        Case::answered(format!("{family:?} ping {what}"), message.request(), message.padding, message.reply())
    };
    messages.map(case).to_vec()
}

fn not_answered(family: Family) -> Vec<Case> {
    let plain = Message::new(family);
    let type_at = if family == Family::V4 { 34 } else { 54 };
    let with = |changes: &[(usize, u8)]| {
        let mut frame = plain.request();
        changes.iter().for_each(|(at, byte)| frame[type_at + at] = *byte);
        frame
    };
    let case = |what: &str, frame: Vec<u8>, reason| {
        Case::refused(format!("{family:?} ICMP: {what}"), Slot::EMPTY, frame, reason)
    };
    let mut other_mac = plain.request();
    other_mac[5] ^= 1;
    let errors: [u8; 2] = match family {
        Family::V4 => [icmpv4::TYPE_DEST_UNREACH, icmpv4::TYPE_TIME_EXCEEDED],
        Family::V6 => [icmpv6::TYPE_DST_UNREACH, icmpv6::TYPE_TIME_EXCEEDED],
    };
    let mut cases = vec![
        case("an echo request for no VIP", Message { vip: 3, ..plain.clone() }.request(), Reason::NotOurs),
        case("an echo reply", with(&[(0, if family == Family::V4 { 0 } else { 129 })]), Reason::NotOurs),
        case("the other family's echo request", with(&[(0, if family == Family::V4 { 128 } else { 8 })]), {
            Reason::NotOurs
        }),
        case("an echo request with a code", with(&[(1, 1)]), Reason::NotOurs),
        case("an echo request for another MAC", other_mac, Reason::OtherMac),
        case("seven bytes of a message", seven_bytes(&plain), Reason::MalformedTransport),
    ];
    cases.extend(errors.map(|number| {
        case(&format!("error {number} that quotes no packet"), with(&[(0, number)]), Reason::MalformedQuote)
    }));
    cases.extend(
        discovery(family).map(|number| {
            case(&format!("neighbour discovery {number}"), with(&[(0, number)]), Reason::NotOurs)
        }),
    );
    cases
}

/// The message types of IPv6's neighbour discovery (RFC 4861), which the host must see.
fn discovery(family: Family) -> impl Iterator<Item = u8> {
    let types = if family == Family::V6 { 133..138 } else { 0..0 };
    types.into_iter()
}

/// An echo request whose IP header announces seven bytes of ICMP.
fn seven_bytes(message: &Message) -> Vec<u8> {
    let mut frame = message.request();
    match message.family {
        Family::V4 => frame[16..18].copy_from_slice(&[0, 27]),
        Family::V6 => frame[18..20].copy_from_slice(&[0, 7]),
    }
    frame
}
