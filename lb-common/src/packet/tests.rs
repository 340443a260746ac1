//! The parser against packets of an independent builder, every truncation of them, and random bytes.

use etherparse::PacketBuilder;

use super::*;
use crate::memory::Frame;

fn payload_of(frame: &[u8]) -> Parsed<(u8, u16, Segment)> {
    let view = Frame::new(frame);
    let ethernet = Ethernet::parse(view)?;
    match ethernet.ethertype {
        ETHERTYPE_IPV4 => {
            let datagram = Ipv4::parse(view, ethernet.payload)?;
            let transport = transport(view, &datagram)?;
            Ok((datagram.protocol, u16::from_be(transport.flow.destination_port()), transport.segment))
        }
        ETHERTYPE_IPV6 => {
            let datagram = Ipv6::parse(view, ethernet.payload)?;
            let transport = transport(view, &datagram)?;
            Ok((datagram.protocol, u16::from_be(transport.flow.destination_port()), transport.segment))
        }
        _ => Err(Reason::NotIp),
    }
}

fn syn_v4() -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1234, 80, 7, 512)
        .syn()
        .write(&mut frame, b"")
        .unwrap();
    frame
}

fn udp_v6_in_two_vlans() -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .double_vlan(7.try_into().unwrap(), 8.try_into().unwrap())
        .ipv6([1; 16], [2; 16], 64)
        .udp(1234, 53)
        .write(&mut frame, b"payload")
        .unwrap();
    frame
}

#[test]
fn a_syn_opens_a_flow_and_an_ack_does_not() {
    let mut frame = syn_v4();
    assert_eq!(payload_of(&frame), Ok((6, 80, Segment::Opening)));
    frame[14 + 20 + 13] = 0x12;
    assert_eq!(payload_of(&frame), Ok((6, 80, Segment::Established)));
}

#[test]
fn two_vlan_tags_are_skipped() {
    let frame = udp_v6_in_two_vlans();
    assert_eq!(payload_of(&frame), Ok((17, 53, Segment::Ageless)));
    assert_eq!(Ethernet::parse(Frame::new(&frame)).unwrap().payload, 22);
}

#[test]
fn ipv4_options_are_skipped() {
    let mut frame = syn_v4();
    frame[14] = 0x46;
    frame.splice(34..34, [1, 1, 1, 0]);
    let length = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    assert_eq!(payload_of(&frame), Ok((6, 80, Segment::Opening)));
}

#[test]
fn every_truncation_is_malformed() {
    for frame in [syn_v4(), udp_v6_in_two_vlans()] {
        for length in 0..frame.len() {
            let reason = payload_of(&frame[..length]).unwrap_err();
            assert!(
                matches!(reason, Reason::MalformedEthernet | Reason::MalformedIpv4 | Reason::MalformedIpv6),
                "{length} bytes: {reason:?}"
            );
        }
    }
}

#[test]
fn a_header_that_contradicts_itself_is_malformed() {
    for (at, value) in [(14, 0x44), (14, 0x55), (16, 0xff), (17, 19)] {
        let mut frame = syn_v4();
        frame[at] = value;
        assert_eq!(payload_of(&frame), Err(Reason::MalformedIpv4), "byte {at} = {value}");
    }
}

#[test]
fn fragments_are_told() {
    for bits in [0x2000u16, 0x0001, 0x3fff] {
        let mut frame = syn_v4();
        frame[20..22].copy_from_slice(&bits.to_be_bytes());
        assert_eq!(payload_of(&frame), Err(Reason::Fragment));
    }
    let mut frame = syn_v4();
    frame[20..22].copy_from_slice(&0x4000u16.to_be_bytes());
    assert!(payload_of(&frame).is_ok(), "don't fragment is no fragment");
}

/// An IPv6 packet with these next headers, eight bytes each, before its UDP header.
fn with_extension_headers(headers: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([1; 16], [2; 16], 64)
        .udp(1234, 53)
        .write(&mut frame, b"")
        .unwrap();
    let udp = frame.split_off(54);
    for (at, header) in headers.iter().enumerate() {
        if at == 0 {
            frame[20] = *header
        } else {
            let here = frame.len() - 8;
            frame[here] = *header
        }
        frame.extend([0; 8]);
    }
    if !headers.is_empty() {
        let here = frame.len() - 8;
        frame[here] = 17;
    }
    frame.extend(udp);
    let length = (frame.len() - 54) as u16;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frame
}

#[test]
fn up_to_six_extension_headers_are_walked() {
    assert_eq!(payload_of(&with_extension_headers(&[0, 43, 60])), Ok((17, 53, Segment::Ageless)));
    assert_eq!(payload_of(&with_extension_headers(&[60; 6])), Ok((17, 53, Segment::Ageless)));
    assert_eq!(payload_of(&with_extension_headers(&[60; 7])), Err(Reason::ExtensionHeaders));
    assert_eq!(payload_of(&with_extension_headers(&[0, 44])), Ok((17, 53, Segment::Ageless)), "atomic");
    assert_eq!(payload_of(&with_extension_headers(&[51, 60])), Ok((17, 53, Segment::Ageless)));
}

#[test]
fn a_destination_of_ipv4_in_the_clothes_of_ipv6_is_not_ours() {
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
    let whole = Ok((17, 53, Segment::Ageless));
    // A source of that kind is martian, which only a listener asks.
    let cases = [([1; 16], mapped, Err(Reason::NotOurs)), (mapped, [1; 16], whole)];
    for (source, destination, expected) in cases {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6(source, destination, 64)
            .udp(1234, 53)
            .write(&mut frame, b"")
            .unwrap();
        assert_eq!(payload_of(&frame), expected);
    }
}

#[test]
fn a_gue_header_is_the_inner_protocol_in_its_second_byte() {
    assert_eq!(Ipv4::GUE.to_ne_bytes(), [0, 4, 0, 0]);
    assert_eq!(Ipv6::GUE.to_ne_bytes(), [0, 41, 0, 0]);
}

proptest::proptest! {
    #[test]
    fn random_bytes_never_crash_the_parser(mut frame in proptest::collection::vec(proptest::num::u8::ANY, 0..200), kind in 0..3u8) {
        if frame.len() > 15 && kind > 0 {
            let (ethertype, first) = if kind == 1 { (ETHERTYPE_IPV4, 0x45) } else { (ETHERTYPE_IPV6, 0x60) };
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            frame[14] = first;
        }
        let _ = payload_of(&frame);
    }
}
