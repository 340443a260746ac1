//! Fragments out of packets of an independent builder.

use etherparse::PacketBuilder;

use super::*;
use crate::packet::{Segment, Transport, transport};

const MORE: u16 = 1;

fn v4(flags_and_offset: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.udp(1234, 53).write(&mut frame, b"payload").unwrap();
    frame[14 + 4..14 + 6].copy_from_slice(&[0x12, 0x34]);
    frame[14 + 6..14 + 8].copy_from_slice(&flags_and_offset.to_be_bytes());
    frame
}

/// IPv6 with these headers before UDP: number and all that follows the next header's number.
fn v6(headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64);
    builder.udp(1234, 53).write(&mut frame, b"payload").unwrap();
    let udp = frame.split_off(54);
    let mut next_at = 20;
    for (number, rest) in headers {
        frame[next_at] = *number;
        next_at = frame.len();
        frame.push(0);
        frame.extend(rest);
    }
    frame[next_at] = 17;
    frame.extend(udp);
    let length = (frame.len() - 54) as u16;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frame
}

fn fragment_header(position: u16) -> (u8, Vec<u8>) {
    (44, [&[0xff][..], &position.to_be_bytes(), &[1, 2, 3, 4]].concat())
}

fn options() -> (u8, Vec<u8>) {
    (60, vec![0; 7])
}

fn part_v6(headers: &[(u8, Vec<u8>)]) -> Parsed<Part<crate::flow::Ipv6Addresses>> {
    Ipv6::part(Frame::new(&v6(headers)), 14)
}

#[test]
fn an_ipv4_fragment_says_which_part_it_is() {
    for (word, offset, more) in [(0x2000, 0, true), (0x2003, 24, true), (0x1fff, 65_528, false)] {
        let frame = v4(word);
        let part = Ipv4::part(Frame::new(&frame), 14).unwrap();
        let fragment = part.fragment;
        assert_eq!((fragment.offset(), fragment.has_more()), (offset, more));
        assert_eq!((fragment.identification, fragment.is_first()), (0x1234, offset == 0));
        assert!(!fragment.is_whole() && fragment.mark() != 0);
        assert_eq!(Ipv4::parse(Frame::new(&frame), 14), Err(Reason::Fragment));
    }
    let whole = v4(0x4000);
    let part = Ipv4::part(Frame::new(&whole), 14).unwrap();
    assert_eq!((part.fragment, Ok(part.datagram)), (Fragment::WHOLE, Ipv4::parse(Frame::new(&whole), 14)));
}

#[test]
fn the_ports_of_a_first_ipv6_fragment_are_behind_its_header() {
    for headers in [vec![fragment_header(MORE)], vec![options(), fragment_header(MORE), options()]] {
        let frame = v6(&headers);
        let part = Ipv6::part(Frame::new(&frame), 14).unwrap();
        assert!(part.fragment.is_first());
        assert_eq!(part.fragment.identification, 0x0102_0304);
        let Transport { flow, segment } = transport(Frame::new(&frame), &part.datagram).unwrap();
        assert_eq!((u16::from_be(flow.destination_port()), segment), (53, Segment::Ageless));
        assert_eq!(Ipv6::parse(Frame::new(&frame), 14), Err(Reason::Fragment));
    }
}

#[test]
fn what_is_behind_a_later_fragments_header_is_not_read() {
    let part = part_v6(&[options(), fragment_header(8 | MORE), options()]).unwrap();
    assert_eq!((part.fragment.offset(), part.fragment.has_more()), (8, true));
    assert_eq!((part.datagram.protocol, part.datagram.payload), (60, 14 + 40 + 8 + 8));
    assert!(Ipv6::may_have_ports(60) && Ipv6::may_have_ports(17) && !Ipv6::may_have_ports(58));
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    for headers in [vec![fragment_header(0)], vec![fragment_header(0), options(), fragment_header(6)]] {
        let frame = v6(&headers);
        let whole = Ipv6::parse(Frame::new(&frame), 14).unwrap();
        assert_eq!(
            Ipv6::part(Frame::new(&frame), 14),
            Ok(Part { datagram: whole, fragment: Fragment::WHOLE })
        );
        assert!(transport(Frame::new(&frame), &whole).is_ok());
    }
}

#[test]
fn a_fragment_header_counts_as_an_extension_header_and_there_is_one() {
    assert!(part_v6(&[vec![options(); 5], vec![fragment_header(MORE)]].concat()).is_ok());
    assert_eq!(
        part_v6(&[vec![options(); 6], vec![fragment_header(MORE)]].concat()),
        Err(Reason::ExtensionHeaders)
    );
    assert_eq!(
        part_v6(&[fragment_header(MORE), fragment_header(8)]).map(|part| part.fragment),
        Err(Reason::ExtensionHeaders)
    );
}

#[test]
fn every_truncation_is_malformed() {
    let frame = v6(&[options(), fragment_header(MORE)]);
    for length in 14..frame.len() {
        assert_eq!(Ipv6::part(Frame::new(&frame[..length]), 14), Err(Reason::MalformedIpv6));
    }
    let mut cut = v6(&[fragment_header(8)]);
    cut.truncate(14 + 40 + 7);
    cut[18..20].copy_from_slice(&7u16.to_be_bytes());
    assert_eq!(Ipv6::part(Frame::new(&cut), 14), Err(Reason::MalformedIpv6));
}
