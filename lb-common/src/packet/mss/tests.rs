//! Segments of an independent builder, and options that lie.

use etherparse::{PacketBuilder, TcpOptionElement};

use super::*;
use crate::packet::{Ipv4, Ipv6, Version};

fn syn(options: &[TcpOptionElement]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 7], 64)
        .tcp(80, 40_000, 7, 512)
        .syn()
        .ack(9)
        .options(options)
        .unwrap()
        .write(&mut frame, b"")
        .unwrap();
    frame
}

fn found(frame: &[u8]) -> Option<MaximumSegmentSize> {
    let view = Frame::new(frame);
    offered(view, &Ipv4::parse(view, 14).ok()?)
}

#[test]
fn the_size_is_found_where_it_is() {
    use TcpOptionElement::{
        MaximumSegmentSize as Mss, Noop, SelectiveAcknowledgementPermitted, Timestamp, WindowScale,
    };
    for (options, offset) in [
        (vec![Mss(1460)], 22),
        (vec![Noop, Mss(1460)], 23),
        (vec![SelectiveAcknowledgementPermitted, Timestamp(1, 2), Noop, WindowScale(7), Mss(1460)], 38),
    ] {
        let found = found(&syn(&options)).unwrap();
        assert_eq!((found.offset, found.header, found.value), (34 + offset, 34, 1460), "{options:?}");
        assert_eq!(found.checksum(), 50);
        assert_eq!(found.word(0x1234), if offset % 2 == 0 { 0x1234 } else { 0x3412 });
    }
    assert_eq!(found(&syn(&[Noop, Noop, Noop])), None);
    assert_eq!(found(&syn(&[])), None);
    assert_eq!(found(&syn(&[Noop, Noop, Noop, Noop, Noop, Noop, Noop, Noop, Mss(1460)])), None);
}

#[test]
fn options_that_lie_are_no_offer() {
    let plain = syn(&[TcpOptionElement::MaximumSegmentSize(1460)]);
    for (at, value) in [(55, 3), (55, 0), (54, 0), (46, 0x50), (46, 0xf0)] {
        let mut frame = plain.clone();
        frame[at] = value;
        assert_eq!(found(&frame), None, "byte {at} is {value}");
    }
    let mut endless = syn(&[TcpOptionElement::WindowScale(7), TcpOptionElement::MaximumSegmentSize(1460)]);
    endless[55] = 1;
    assert_eq!(found(&endless), None, "an option shorter than its own header");
    for length in 0..plain.len() {
        assert_eq!(found(&plain[..length]), None);
    }
}

#[test]
fn a_syn_is_told_from_other_segments() {
    let is_syn = |frame: &[u8]| {
        let view = Frame::new(frame);
        super::is_syn(view, &Ipv4::parse(view, 14).unwrap())
    };
    let mut frame = syn(&[]);
    assert!(is_syn(&frame));
    frame[47] = 0x10;
    assert!(!is_syn(&frame));
    frame[47] = 0x02;
    assert!(is_syn(&frame));
    frame[23] = 17;
    assert!(!is_syn(&frame));
}

#[test]
fn limits_leave_room_for_the_largest_encapsulation() {
    for (outer, expected) in [(OuterVersion::V4, (1416, 1396)), (OuterVersion::V6, (1372, 1352))] {
        let limits = MssLimits::of_mtu(1500, outer);
        assert_eq!((limits.of_version(Ipv4::PROTOCOL), limits.of_version(Ipv6::PROTOCOL)), expected);
        assert_eq!(MssLimits::of_mtu(0, outer), MssLimits::new(88, 88));
        assert_eq!(MssLimits::of_mtu(u32::MAX, outer), MssLimits::new(65_535, 65_535));
    }
}

proptest::proptest! {
    #[test]
    fn random_options_never_crash_the_walk(options in proptest::collection::vec(proptest::num::u8::ANY, 40)) {
        let mut frame = syn(&[const { TcpOptionElement::Timestamp(1, 2) }; 3]);
        frame.truncate(54);
        frame.extend(options);
        frame[16..18].copy_from_slice(&80u16.to_be_bytes());
        frame[46] = 0xf0;
        if let Some(found) = found(&frame) {
            proptest::prop_assert!((56..=92).contains(&found.offset));
        }
    }
}
