//! The tunnel parser against packets of an independent builder, every truncation of them, and random bytes.

use etherparse::PacketBuilder;

use super::*;
use crate::flow::Addresses;
use crate::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};

const NODE: [u8; 4] = [10, 0, 0, 1];
const HOST: [u8; 4] = [10, 0, 0, 2];
const VIP: [u8; 4] = [192, 0, 2, 7];
const NODE_6: [u8; 16] = [1; 16];
const HOST_6: [u8; 16] = [2; 16];
const VIP_6: [u8; 16] = [3; 16];

/// What a frame holds: the inner version's protocol, its destination's last byte, and its offset.
fn contents(frame: &[u8]) -> Parsed<(u8, u8, usize)> {
    match u16::from_be_bytes([frame[12], frame[13]]) {
        ETHERTYPE_IPV4 => contents_after::<Ipv4>(Frame::new(frame)),
        ETHERTYPE_IPV6 => contents_after::<Ipv6>(Frame::new(frame)),
        _ => Err(Reason::NotIp),
    }
}

fn contents_after<V: TunnelVersion>(frame: Frame<'_>) -> Parsed<(u8, u8, usize)> {
    let outer = outer::<V>(frame, 14)?;
    let Contents::Packet { payload, .. } = super::contents::<V>(frame, &outer)? else {
        return Err(Reason::AgentProbeAnswered);
    };
    let (destination, offset) = match payload.protocol {
        4 => inner::<Ipv4>(frame, &payload).map(|inner| (inner.addresses.destination(), inner.offset))?,
        _ => inner::<Ipv6>(frame, &payload).map(|inner| (inner.addresses.destination(), inner.offset))?,
    };
    Ok((payload.protocol, destination[3].to_ne_bytes()[3], offset))
}

fn datagram(version: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = match version {
        4 => PacketBuilder::ipv4([198, 51, 100, 1], VIP, 64),
        _ => PacketBuilder::ipv6([9; 16], VIP_6, 64),
    };
    builder.udp(1234, 53).write(&mut packet, b"payload").unwrap();
    packet
}

fn ipip(outer: u8, inner: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([4; 6], [2; 6]);
    let builder = if outer == 4 { builder.ipv4(NODE, HOST, 64) } else { builder.ipv6(NODE_6, HOST_6, 64) };
    let number = if inner == 4 { 4 } else { 41 };
    builder.write(&mut frame, number.into(), payload).unwrap();
    frame
}

fn gue(outer: u8, header: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([4; 6], [2; 6]);
    let builder = if outer == 4 { builder.ipv4(NODE, HOST, 64) } else { builder.ipv6(NODE_6, HOST_6, 64) };
    builder.udp(50000, 6080).write(&mut frame, &[&header[..], payload].concat()).unwrap();
    frame
}

#[test]
fn all_four_combinations_of_ipip_and_gue_are_read() {
    for (outer, outer_length) in [(4, 20), (6, 40)] {
        for (inner, protocol, vip) in [(4, 4, 7), (6, 41, 3)] {
            let start = 14 + outer_length;
            let frame = ipip(outer, inner, &datagram(inner));
            assert_eq!(contents(&frame), Ok((protocol, vip, start)), "{inner} in {outer}");
            let frame = gue(outer, [0, protocol, 0, 0], &datagram(inner));
            assert_eq!(contents(&frame), Ok((protocol, vip, start + 12)), "{inner} in {outer} by GUE");
        }
    }
}

#[test]
fn both_ends_of_the_outer_header_are_keys() {
    let frame = ipip(4, 4, &datagram(4));
    let ends = outer::<Ipv4>(Frame::new(&frame), 14).unwrap().addresses;
    assert_eq!(ends.source().map(u32::to_ne_bytes).concat()[10..], [0xff, 0xff, 10, 0, 0, 1]);
    assert_eq!(ends.destination().map(u32::to_ne_bytes).concat()[10..], [0xff, 0xff, 10, 0, 0, 2]);
    let frame = ipip(6, 4, &datagram(4));
    let ends = outer::<Ipv6>(Frame::new(&frame), 14).unwrap().addresses;
    assert_eq!(ends.source().map(u32::to_ne_bytes).concat(), NODE_6);
    assert_eq!(ends.destination().map(u32::to_ne_bytes).concat(), HOST_6);
}

#[test]
fn what_is_no_tunnel_packet_is_told() {
    for port in [53, 6079, 6081] {
        let mut frame = gue(4, [0, 4, 0, 0], &datagram(4));
        frame[36..38].copy_from_slice(&u16::to_be_bytes(port));
        assert_eq!(contents(&frame), Err(Reason::AgentNotTunnelled), "port {port}");
    }
    for protocol in [1, 6, 47, 50] {
        let mut frame = ipip(4, 4, &datagram(4));
        frame[23] = protocol;
        assert_eq!(contents(&frame), Err(Reason::AgentNotTunnelled), "protocol {protocol}");
    }
}

#[test]
fn a_gue_header_that_nodes_do_not_write_is_refused() {
    for (header, reason) in [
        ([0x80, 4, 0, 0], Reason::AgentUnknownGue),
        ([0x20, 4, 0, 0], Reason::AgentUnknownGue),
        ([0x20, 211, 0, 0], Reason::AgentUnknownGue),
        ([0, 4, 0x80, 0], Reason::AgentUnknownGue),
        ([1, 4, 0, 0], Reason::AgentMalformedChain),
        ([0, 17, 0, 0], Reason::AgentMalformed),
        ([0, 0, 0, 0], Reason::AgentMalformed),
    ] {
        assert_eq!(contents(&gue(4, header, &datagram(4))), Err(reason), "{header:?}");
    }
}

#[test]
fn gue_of_version_1_and_with_a_chain_is_read() {
    for (outer, outer_length, hlen) in [(4, 20, 3), (6, 40, 9)] {
        for (inner, protocol, vip) in [(4, 4, 7), (6, 41, 3)] {
            let packet = datagram(inner);
            let direct = gue(outer, packet[..4].try_into().unwrap(), &packet[4..]);
            let start = 14 + outer_length + 8;
            assert_eq!(contents(&direct), Ok((protocol, vip, start)), "{inner} in {outer}");
            let head = [hlen as u8, protocol, 0, 0];
            let mut chain = vec![0; 4 * hlen];
            (chain[0], chain[1]) = (1, 2);
            let with_chain = gue(outer, head, &[chain, packet].concat());
            assert_eq!(
                contents(&with_chain),
                Ok((protocol, vip, start + 4 + 4 * hlen)),
                "{inner} in {outer}"
            );
        }
    }
}

#[test]
fn a_chain_or_a_question_past_the_carrier_s_end_is_refused() {
    let mut frame = gue(4, [3, 4, 0, 0], &[&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &datagram(4)].concat());
    frame[39] = 8 + 15;
    assert_eq!(contents(&frame), Err(Reason::AgentMalformed));
    let question = |length| contents(&gue(4, [0x20, 211, 0, 0], &vec![0; length]));
    assert_eq!(question(40), Err(Reason::AgentProbeAnswered), "a question, as this test calls it");
    assert_eq!([question(39), question(41)], [Err(Reason::AgentUnknownGue); 2]);
}

#[test]
fn a_fragment_of_a_tunnel_packet_is_malformed_and_any_other_is_none() {
    for bits in [0x2000u16, 0x0001] {
        let mut frame = ipip(4, 4, &datagram(4));
        frame[20..22].copy_from_slice(&bits.to_be_bytes());
        assert_eq!(contents(&frame), Err(Reason::AgentMalformed), "IPIP {bits:#x}");
        frame[23] = 6;
        assert_eq!(contents(&frame), Err(Reason::AgentNotTunnelled), "TCP {bits:#x}");
    }
    let mut first = gue(4, [0, 4, 0, 0], &datagram(4));
    first[20] = 0x20;
    assert_eq!(contents(&first), Err(Reason::AgentMalformed));
    let mut later = first.clone();
    later[21] = 1;
    assert_eq!(contents(&later), Err(Reason::AgentNotTunnelled), "there is no port to tell it by");
    let frame = ipip(6, 6, &[&[41, 0, 0, 1, 0, 0, 0, 1][..], &datagram(6)].concat());
    let fragment = [&frame[..20], &[44], &frame[21..]].concat();
    assert_eq!(contents(&fragment), Err(Reason::AgentMalformed));
}

#[test]
fn an_inner_fragment_is_a_packet_like_any_other() {
    let mut packet = datagram(4);
    packet[6] = 0x20;
    assert_eq!(contents(&ipip(4, 4, &packet)), Ok((4, 7, 34)));
}

#[test]
fn an_inner_packet_longer_than_its_carrier_is_malformed() {
    for (version, at) in [(4, 3), (6, 5)] {
        let mut packet = datagram(version);
        packet[at] += 1;
        // Bytes behind the outer packet's end, such as padding, are not the inner packet's.
        let frame = [ipip(4, version, &packet), vec![0; 8]].concat();
        assert_eq!(contents(&frame), Err(Reason::AgentMalformed), "IPv{version}");
        let protocol = if version == 4 { 4 } else { 41 };
        let frame = [gue(6, [0, protocol, 0, 0], &packet), vec![0; 8]].concat();
        assert_eq!(contents(&frame), Err(Reason::AgentMalformed), "IPv{version} by GUE");
    }
}

#[test]
fn an_inner_packet_of_another_version_than_announced_is_malformed() {
    assert_eq!(contents(&ipip(4, 4, &datagram(6))), Err(Reason::AgentMalformed));
    assert_eq!(contents(&ipip(4, 6, &datagram(4))), Err(Reason::AgentMalformed));
    assert_eq!(contents(&gue(6, [0, 41, 0, 0], &datagram(4))), Err(Reason::AgentMalformed));
}

#[test]
fn a_tunnel_in_a_tunnel_is_told() {
    let nested = ipip(4, 4, &datagram(4))[14..].to_vec();
    assert_eq!(contents(&ipip(4, 4, &nested)), Err(Reason::AgentNested));
    assert_eq!(contents(&gue(6, [0, 4, 0, 0], &nested)), Err(Reason::AgentNested));
    let nested = ipip(6, 6, &datagram(6))[14..].to_vec();
    assert_eq!(contents(&ipip(6, 6, &nested)), Err(Reason::AgentNested));
}

#[test]
fn every_truncation_is_malformed_or_no_tunnel_packet() {
    for outer in [4, 6] {
        for frame in [
            ipip(outer, 4, &datagram(4)),
            ipip(outer, 6, &datagram(6)),
            gue(outer, [0, 4, 0, 0], &datagram(4)),
            gue(outer, [0, 41, 0, 0], &datagram(6)),
        ] {
            let headers = 14 + if outer == 4 { 20 } else { 40 };
            for length in 14..frame.len() {
                assert_eq!(contents(&frame[..length]), Err(Reason::AgentNotTunnelled), "{length} bytes");
                if length < headers {
                    continue;
                }
                // The same with an outer length that fits.
                let mut shorter = frame[..length].to_vec();
                let (at, value) = if outer == 4 { (16, length - 14) } else { (18, length - 54) };
                shorter[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
                let reason = contents(&shorter).unwrap_err();
                assert!(
                    matches!(reason, Reason::AgentMalformed | Reason::AgentNotTunnelled),
                    "{length} bytes: {reason:?}"
                );
            }
        }
    }
}

#[test]
fn a_congestion_mark_is_carried_inside_and_nothing_else_is_changed() {
    // RFC 6040, figure 4: rows are the inner field, columns the outer one: not capable, ECT(1), ECT(0), CE.
    let table = [
        (0b00, [Ok(0b00), Ok(0b00), Ok(0b00), Err(Reason::AgentNotEcnCapable)]),
        (0b01, [Ok(0b01), Ok(0b01), Ok(0b01), Ok(0b11)]),
        (0b10, [Ok(0b10), Ok(0b01), Ok(0b10), Ok(0b11)]),
        (0b11, [Ok(0b11), Ok(0b11), Ok(0b11), Ok(0b11)]),
    ];
    for (inner, row) in table {
        for (outer, expected) in row.into_iter().enumerate() {
            assert_eq!(congestion(outer as u8, inner), expected, "outer {outer}, inner {inner}");
        }
    }
}

#[test]
fn a_written_congestion_field_is_read_back_and_the_checksum_holds() {
    for field in 0..4 {
        let mut packet = datagram(4);
        let start: &mut [u8; 12] = packet.first_chunk_mut().unwrap();
        Ipv4::set_congestion(&mut ViewMut::new(start), field);
        assert_eq!(Ipv4::congestion(View::new(start)), field);
        assert_eq!(checksum::fold(checksum::sum(&packet[..20])), 0xffff);
        let mut packet = datagram(6);
        let start: &mut [u8; 12] = packet.first_chunk_mut().unwrap();
        Ipv6::set_congestion(&mut ViewMut::new(start), field);
        assert_eq!(Ipv6::congestion(View::new(start)), field);
        assert_eq!([packet[0], packet[1] & !0x30], [0x60, 0]);
    }
}

proptest::proptest! {
    #[test]
    fn random_bytes_never_crash_the_parser(
        mut frame in proptest::collection::vec(proptest::num::u8::ANY, 14..250),
        outer in 0..4usize,
        protocol in 0..5usize,
    ) {
        let (ethertype, first) = [(ETHERTYPE_IPV4, 0x45), (ETHERTYPE_IPV6, 0x60), (ETHERTYPE_IPV4, 0x4f), (0, 0)][outer];
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        if frame.len() > 60 {
            frame[14] = first;
            let length = (frame.len() - 14) as u16;
            let (at, protocol_at, length) = if first == 0x60 { (18, 20, length - 40) } else { (16, 23, length) };
            frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
            frame[protocol_at] = [4, 41, 17, 44, 0][protocol];
        }
        let _ = contents(&frame);
    }
}

#[test]
fn a_tunnel_behind_an_extension_header_is_none() {
    let mut frame = ipip(6, 4, &datagram(4));
    let options = [4, 0, 1, 4, 0, 0, 0, 0];
    frame.splice(54..54, options);
    frame[20] = 60;
    let length = u16::from_be_bytes([frame[18], frame[19]]) + 8;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    assert_eq!(contents(&frame), Err(Reason::AgentNotTunnelled));
}
