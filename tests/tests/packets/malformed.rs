//! Packets that contradict themselves: passed on unchanged, each with its reason.

use lb_common::{Reason, Slot};

use crate::case::Case;
use crate::client::{Family, Kind, Packet};
use crate::remote::{Outer, Remote, Role};

pub fn cases() -> Vec<Case> {
    [ethernet(), ipv4(), ipv6(), transport()].into_iter().flatten().collect()
}

fn case(name: impl Into<String>, frame: Vec<u8>, reason: Reason) -> Case {
    let target = Remote::new(Outer::ALL[0], Role::One);
    Case::refused(name, Slot::stable(target.id()), frame, reason)
}

/// A packet with some bytes overwritten.
fn with(packet: Packet, changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut frame = packet.frame();
    for (at, bytes) in changes {
        frame[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    frame
}

fn cut(packet: Packet, length: usize) -> Vec<u8> {
    packet.frame()[..length].to_vec()
}

fn ethernet() -> Vec<Case> {
    let tagged = |tags| Packet { tags, ..Packet::new(Family::V4, Kind::Syn) };
    vec![
        case("Ethernet ends before its tag", cut(tagged(1), 14), Reason::MalformedEthernet),
        case("Ethernet ends inside its tag", cut(tagged(1), 17), Reason::MalformedEthernet),
        case("Ethernet ends inside its second tag", cut(tagged(2), 21), Reason::MalformedEthernet),
    ]
}

fn ipv4() -> Vec<Case> {
    let plain = || Packet::new(Family::V4, Kind::Ack);
    let optioned = || Packet { options: vec![1; 8], ..plain() };
    let malformed = |what: &str, frame| case(format!("V4: {what}"), frame, Reason::MalformedIpv4);
    vec![
        malformed("no byte of the header", cut(plain(), 14)),
        malformed("19 bytes of the header", cut(plain(), 33)),
        malformed("version 5", with(plain(), &[(14, &[0x55])])),
        malformed("version 6 in an IPv4 frame", with(plain(), &[(14, &[0x65])])),
        malformed("a header of 16 bytes", with(plain(), &[(14, &[0x44])])),
        malformed("a header of 0 bytes", with(plain(), &[(14, &[0x40])])),
        malformed("shorter than its header", with(plain(), &[(16, &[0, 19])])),
        malformed("shorter than its options", with(optioned(), &[(16, &[0, 27])])),
        malformed("a total length of 0", with(plain(), &[(16, &[0, 0])])),
        malformed("longer than the frame by one", with(plain(), &[(16, &[0, 20 + 20 + 9 + 1])])),
        malformed("longer than any frame", with(plain(), &[(16, &[0xff, 0xff])])),
        malformed("options longer than the packet", with(plain(), &[(14, &[0x4f])])),
    ]
}

fn ipv6() -> Vec<Case> {
    let plain = || Packet::new(Family::V6, Kind::Ack);
    let malformed = |what: &str, frame| case(format!("V6: {what}"), frame, Reason::MalformedIpv6);
    let endless = || Packet {
        extensions: vec![(60, [vec![0, 0xff], vec![0; 6]].concat()), (60, vec![0; 8])],
        payload: vec![],
        ..plain()
    };
    vec![
        malformed("no byte of the header", cut(plain(), 14)),
        malformed("39 bytes of the header", cut(plain(), 53)),
        malformed("version 4 in an IPv6 frame", with(plain(), &[(14, &[0x40])])),
        malformed("longer than the frame by one", with(plain(), &[(18, &[0, 20 + 9 + 1])])),
        malformed("longer than any frame", with(plain(), &[(18, &[0xff, 0xd7])])),
        malformed("longer than 16 bits count", with(plain(), &[(18, &[0xff, 0xff])])),
        malformed("an extension header behind the end", endless().frame()),
        malformed("an extension header behind the end, of a protocol that is not ours", foreign()),
        // Its IPv6 header announces nothing, so its options are behind its end.
        malformed("a jumbogram (RFC 2675)", jumbogram()),
    ]
}

fn foreign() -> Vec<u8> {
    let extensions = vec![(60, [vec![0, 0x7f], vec![0; 6]].concat())];
    // The header that the extension header's own first byte names: SCTP.
    with(Packet { extensions, ..Packet::new(Family::V6, Kind::Ack) }, &[(14 + 40, &[132])])
}

fn jumbogram() -> Vec<u8> {
    let extensions = vec![(0, vec![6, 0, 0xc2, 4, 0, 1, 0, 0])];
    with(Packet { extensions, ..Packet::new(Family::V6, Kind::Ack) }, &[(18, &[0, 0])])
}

fn transport() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::BOTH {
        for (kind, header) in [(Kind::Syn, 20), (Kind::Ack, 20), (Kind::Udp, 8)] {
            for (what, length) in [("one byte of its header is missing", header - 1), ("none is there", 0)] {
                let name = format!("{family:?} {kind:?}: {what}");
                let frame = shortened(family, kind, length);
                cases.push(case(name.clone(), frame.clone(), Reason::MalformedTransport));
                let padded = [frame, vec![0; 40]].concat();
                cases.push(case(name + ", padding in its place", padded, Reason::MalformedTransport));
            }
        }
    }
    cases
}

/// A packet whose IP header announces only `length` bytes of payload.
fn shortened(family: Family, kind: Kind, length: u8) -> Vec<u8> {
    let (header, announced) = match family {
        Family::V4 => (20, (16, [0, 20 + length])),
        Family::V6 => (40, (18, [0, length])),
    };
    let mut frame = with(Packet::new(family, kind), &[(announced.0, &announced.1)]);
    frame.truncate(14 + header + length as usize);
    frame
}
