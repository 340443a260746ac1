//! Chain and probe against bytes that are written here by hand, every refusal, and random values there and back.

use std::net::IpAddr;

use etherparse::PacketBuilder;

use super::probe::{Answer, Asked, Capabilities, Listener, NoAnswer, Question, Reply};
use super::*;
use crate::memory::{View, ViewMut};

const C: u32 = u32::from_ne_bytes([10, 0, 0, 3]);
const D: u32 = u32::from_ne_bytes([10, 0, 0, 4]);
const C_6: [u64; 2] =
    [u64::from_ne_bytes([0xfd, 0, 0, 0, 0, 0, 0, 0]), u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 3])];

/// The bytes of a chain behind outer IPv4 and its GUE header.
fn bytes(head: [u8; 4], targets: [[u8; 4]; 2]) -> Vec<u8> {
    [&[3, 4, 0, 0][..], &head, &targets.concat()].concat()
}

fn read_v4(bytes: &[u8]) -> Parsed<Gue<u32>> {
    read::<Ipv4>(Frame::new(bytes), 0)
}

fn as_bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[test]
fn a_node_writes_the_bytes_of_the_document() {
    let words = Chain::new::<Ipv4>([C, D]).words::<Ipv4, Ipv6>();
    assert_eq!(as_bytes(&words), [3, 41, 0, 0, 1, 0, 2, 0, 10, 0, 0, 3, 10, 0, 0, 4]);
    let words = Chain::new::<Ipv4>([C, 0]).words::<Ipv4, Ipv4>();
    assert_eq!(as_bytes(&words), [3, 4, 0, 0, 1, 0, 1, 0, 10, 0, 0, 3, 0, 0, 0, 0]);
    let words = Chain::new::<Ipv4>([0, D]).words::<Ipv4, Ipv4>();
    assert_eq!(as_bytes(&words), [3, 4, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let words = Chain::new::<Ipv6>([C_6, [0; 2]]).words::<Ipv6, Ipv4>();
    let mut expected = vec![9, 4, 0, 0, 1, 0, 1, 0, 0xfd];
    expected.extend([0; 14]);
    expected.push(3);
    expected.extend([0; 16]);
    assert_eq!(as_bytes(&words), expected);
}

#[test]
fn a_chain_ends_after_two_hops() {
    let first = Chain::new::<Ipv4>([C, D]);
    let second = first.handed_on::<Ipv4>();
    let third = second.handed_on::<Ipv4>();
    assert_eq!([first, second, third].map(|chain| chain.next()), [Some(C), Some(D), None]);
    assert_eq!(
        [first, second, third].map(|chain| (chain.hops(), chain.remaining())),
        [(0, 2), (1, 1), (2, 0)]
    );
    assert_eq!(third.handed_on::<Ipv4>(), third);
}

#[test]
fn packets_without_a_chain_are_read_in_both_versions() {
    for (header, protocol, length) in [
        ([0, 4, 0, 0], 4, 4),
        ([0, 41, 0, 0], 41, 4),
        ([0x45, 0, 0, 60], 4, 0),
        ([0x4f, 9, 9, 9], 4, 0),
        ([0x60, 0, 0, 0], 41, 0),
        ([0x6f, 9, 9, 9], 41, 0),
    ] {
        assert_eq!(
            read_v4(&header),
            Ok(Gue::Packet { protocol, length, chain: Chain::none::<Ipv4>() }),
            "{header:?}"
        );
        let behind_v6 = read::<Ipv6>(Frame::new(&header), 0);
        assert_eq!(
            behind_v6,
            Ok(Gue::Packet { protocol, length, chain: Chain::none::<Ipv6>() }),
            "{header:?}"
        );
    }
}

#[test]
fn every_malformed_header_is_refused_with_its_reason() {
    let (c, d, none) = ([10, 0, 0, 3], [10, 0, 0, 4], [0; 4]);
    let header = |header: [u8; 4]| [&header[..], &[1, 0, 1, 0], &c, &none, &[0; 28]].concat();
    for (what, bytes, reason) in [
        ("version 1 of no IP", vec![0x55, 0, 0, 0], Reason::AgentMalformed),
        ("version 1 of no IP", vec![0x70, 0, 0, 0], Reason::AgentMalformed),
        ("version 2", header([0x83, 4, 0, 0]), Reason::AgentUnknownGue),
        ("version 3", header([0xc0, 4, 0, 0]), Reason::AgentUnknownGue),
        ("a flag", header([3, 4, 0x80, 0]), Reason::AgentUnknownGue),
        ("another flag", header([0, 4, 0, 1]), Reason::AgentUnknownGue),
        ("another control message", header([0x20, 1, 0, 0]), Reason::AgentUnknownGue),
        ("a question with private data", header([0x23, 211, 0, 0]), Reason::AgentUnknownGue),
        ("a question with a flag", header([0x20, 211, 0, 1]), Reason::AgentUnknownGue),
        ("TCP", header([3, 6, 0, 0]), Reason::AgentMalformed),
        ("TCP without a chain", header([0, 6, 0, 0]), Reason::AgentMalformed),
        ("an hlen of one", header([1, 4, 0, 0]), Reason::AgentMalformedChain),
        ("an hlen of two", header([2, 4, 0, 0]), Reason::AgentMalformedChain),
        ("the hlen of the other version", header([9, 4, 0, 0]), Reason::AgentMalformedChain),
        ("the largest hlen", header([31, 4, 0, 0]), Reason::AgentMalformedChain),
        ("format 0", bytes([0, 0, 1, 0], [c, none]), Reason::AgentUnknownGue),
        ("format 2", bytes([2, 0, 1, 0], [c, none]), Reason::AgentUnknownGue),
        ("a chain with a flag", bytes([1, 0, 1, 1], [c, none]), Reason::AgentUnknownGue),
        ("three targets", bytes([1, 0, 3, 0], [c, d]), Reason::AgentMalformedChain),
        ("a target that is not counted", bytes([1, 0, 0, 0], [c, none]), Reason::AgentMalformedChain),
        ("a second one", bytes([1, 0, 1, 0], [c, d]), Reason::AgentMalformedChain),
        ("a last one only", bytes([1, 0, 1, 0], [none, d]), Reason::AgentMalformedChain),
        ("a missing target", bytes([1, 0, 1, 0], [none, none]), Reason::AgentMalformedChain),
        ("a missing second one", bytes([1, 0, 2, 0], [c, none]), Reason::AgentMalformedChain),
        ("three hops", bytes([1, 3, 0, 0], [none, none]), Reason::AgentHopLimit),
        ("one hop and two to come", bytes([1, 1, 2, 0], [c, d]), Reason::AgentHopLimit),
        ("two hops and one to come", bytes([1, 2, 1, 0], [c, none]), Reason::AgentHopLimit),
        ("255 hops", bytes([1, 255, 2, 0], [c, d]), Reason::AgentHopLimit),
    ] {
        assert_eq!(read_v4(&bytes), Err(reason), "{what}");
    }
    assert_eq!(read::<Ipv6>(Frame::new(&header([3, 4, 0, 0])), 0), Err(Reason::AgentMalformedChain));
}

#[test]
fn every_truncation_is_malformed() {
    let words = Chain::new::<Ipv4>([C, D]).words::<Ipv4, Ipv4>();
    for length in 0..16 {
        assert_eq!(read_v4(&as_bytes(&words)[..length]), Err(Reason::AgentMalformed), "{length} bytes");
    }
    let words = Chain::new::<Ipv6>([C_6, C_6]).words::<Ipv6, Ipv4>();
    for length in 0..40 {
        let cut = &as_bytes(&words)[..length];
        assert_eq!(read::<Ipv6>(Frame::new(cut), 0), Err(Reason::AgentMalformed), "{length} bytes");
    }
}

proptest::proptest! {
    #[test]
    fn what_is_written_is_read_back(targets: [u32; 2], targets_6: [[u64; 2]; 2], hops in 0..3usize) {
        let chain = (0..hops).fold(Chain::new::<Ipv4>(targets), |chain, _| chain.handed_on::<Ipv4>());
        let expected = Gue::Packet { protocol: 41, length: 16, chain };
        proptest::prop_assert_eq!(read_v4(&as_bytes(&chain.words::<Ipv4, Ipv6>())), Ok(expected));
        let chain = (0..hops).fold(Chain::new::<Ipv6>(targets_6), |chain, _| chain.handed_on::<Ipv6>());
        let bytes = as_bytes(&chain.words::<Ipv6, Ipv4>());
        let expected = Gue::Packet { protocol: 4, length: 40, chain };
        proptest::prop_assert_eq!(read::<Ipv6>(Frame::new(&bytes), 0), Ok(expected));
    }

    #[test]
    fn whatever_is_read_is_what_would_be_written(
        bytes in proptest::collection::vec(0..12u8, 40),
        first in 0..2usize,
    ) {
        // Small numbers, so that many are right.
        let mut bytes = bytes;
        (bytes[0], bytes[2], bytes[3]) = ([3, 9][first], 0, 0);
        if let Ok(Gue::Packet { protocol, length: 16, chain }) = read_v4(&bytes) {
            let written = if protocol == 4 { chain.words::<Ipv4, Ipv4>() } else { chain.words::<Ipv4, Ipv6>() };
            proptest::prop_assert_eq!(&bytes[..16], &as_bytes(&written)[..]);
            proptest::prop_assert!(chain.hops() + chain.remaining() <= 2);
        }
        if let Ok(Gue::Packet { protocol, length: 40, chain }) = read::<Ipv6>(Frame::new(&bytes), 0) {
            let written = if protocol == 4 { chain.words::<Ipv6, Ipv4>() } else { chain.words::<Ipv6, Ipv6>() };
            proptest::prop_assert_eq!(&bytes[..], &as_bytes(&written)[..]);
        }
    }

    #[test]
    fn an_answer_tells_what_the_agent_knows(
        nonce: u64, vip: u32, protocol: u8, port: u16, target_port: u16, capabilities: u32, is_served: bool,
    ) {
        let vip = IpAddr::from(vip.to_be_bytes());
        let question = Question { nonce, listener: Some(Listener { vip, protocol, port }) };
        let mut message = question.encode();
        let read = probe::asked(View::new(&message)).unwrap();
        proptest::prop_assert_eq!((read.protocol, u16::from_be(read.port)), (protocol, port));
        let served = is_served.then_some(target_port);
        let capabilities = Capabilities(capabilities);
        let reply = Reply { capabilities, served: served.map(u16::to_be) };
        let checksum = probe::answer(&mut ViewMut::new(&mut message), reply, udp_checksum(&question.encode()));
        proptest::prop_assert_eq!(checksum, udp_checksum(&message));
        let expected = Answer { capabilities, version: [0, 1, 0], chain_format: 1, served };
        proptest::prop_assert_eq!(question.answer(&message), Ok(expected));
    }

    #[test]
    fn random_bytes_are_no_answer(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100)) {
        let question = Question { nonce: 7, listener: None };
        proptest::prop_assert_eq!(question.answer(&bytes), Err(NoAnswer::Foreign));
    }
}

/// UDP's checksum by an independent builder; never zero.
fn udp_checksum(payload: &[u8]) -> u16 {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(5, 6080).write(&mut packet, payload).unwrap();
    u16::from_be_bytes([packet[26], packet[27]])
}

#[test]
fn a_question_has_the_bytes_of_the_document() {
    let listener = Listener { vip: "192.0.2.7".parse().unwrap(), protocol: 6, port: 80 };
    let question = Question { nonce: 0x0102_0304_0506_0708, listener: Some(listener) }.encode();
    let vip = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
    let expected =
        [&[0x20, 211, 0, 0, 1, 1, 6, 0, 0, 80, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8][..], &vip, &[0; 8]].concat();
    assert_eq!(question[..], expected);
    assert_eq!(read_v4(&question), Ok(Gue::Probe));
    let asked = probe::asked(View::new(&question)).unwrap();
    let key = asked.vip.map(u32::to_ne_bytes).concat();
    assert_eq!((&key[..], asked.protocol, asked.port.to_ne_bytes()), (&vip[..], 6, [0, 80]));
}

#[test]
fn what_is_no_question_is_not_answered() {
    let question = Question { nonce: 7, listener: None }.encode();
    assert_eq!(probe::asked(View::new(&question)), Some(Asked { vip: [0; 4], protocol: 0, port: 0 }));
    for (at, value) in [(4, 2), (5, 2), (5, 0), (7, 1), (10, 1), (11, 1), (36, 1), (43, 1)] {
        let mut wrong = question;
        wrong[at] = value;
        assert_eq!(probe::asked(View::new(&wrong)), None, "byte {at}");
    }
}

#[test]
fn an_answer_to_another_question_is_told() {
    let question = Question { nonce: 7, listener: None };
    let mut message = question.encode();
    let reply = Reply { capabilities: Capabilities::SECOND_CHANCE, served: None };
    assert_eq!(probe::answer(&mut ViewMut::new(&mut message), reply, 0), 0, "no checksum stays none");
    assert!(question.answer(&message).unwrap().capabilities.contain(Capabilities::SECOND_CHANCE));
    assert_eq!(Question { nonce: 8, listener: None }.answer(&message), Err(NoAnswer::AnotherQuestion));
    message[4] = 2;
    assert_eq!(question.answer(&message), Err(NoAnswer::UnknownFormat(2)));
    assert_eq!(question.answer(&question.encode()), Err(NoAnswer::Foreign));
}
