//! Errors of an independent builder, every truncation of them, and quotes that lie.

use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder};

use super::*;
use crate::packet::{ETHERTYPE_IPV4, Ethernet};

const ROUTER: u8 = 9;
const CLIENT: u8 = 7;
const VIP: u8 = 1;

fn address_v4(last: u8) -> [u8; 4] {
    [192, 0, 2, last]
}

fn address_v6(last: u8) -> [u8; 16] {
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

/// What a target sent to the client: TCP or UDP from the VIP's port 80 to port 40000.
fn sent(version: u8, protocol: u8) -> Vec<u8> {
    let builder = if version == 4 {
        PacketBuilder::ipv4(address_v4(VIP), address_v4(CLIENT), 60)
    } else {
        PacketBuilder::ipv6(address_v6(VIP), address_v6(CLIENT), 60)
    };
    let mut packet = Vec::new();
    if protocol == TCP {
        builder.tcp(80, 40_000, 1, 2).ack(3).write(&mut packet, &[0; 100]).unwrap();
    } else {
        builder.udp(80, 40_000).write(&mut packet, &[0; 100]).unwrap();
    }
    packet
}

/// A router's error to the VIP, of this type, with this quote.
fn error(version: u8, message_type: u8, quote: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([4; 6], [2; 6]);
    if version == 4 {
        let message = Icmpv4Type::Unknown { type_u8: message_type, code_u8: 4, bytes5to8: [0, 0, 5, 0x14] };
        builder
            .ipv4(address_v4(ROUTER), address_v4(VIP), 60)
            .icmpv4(message)
            .write(&mut frame, quote)
            .unwrap();
    } else {
        let message = Icmpv6Type::Unknown { type_u8: message_type, code_u8: 0, bytes5to8: [0, 0, 5, 0x14] };
        builder
            .ipv6(address_v6(ROUTER), address_v6(VIP), 60)
            .icmpv6(message)
            .write(&mut frame, quote)
            .unwrap();
    }
    frame
}

/// The flow as (source's last byte, destination's last byte, source port, destination port, protocol).
fn flow(frame: &[u8]) -> Parsed<(u8, u8, u16, u16, u8)> {
    let view = Frame::new(frame);
    let ethernet = Ethernet::parse(view)?;
    if ethernet.ethertype == ETHERTYPE_IPV4 {
        let flow = quoted_flow::<Ipv4>(view, &Ipv4::parse(view, ethernet.payload)?)?;
        let bytes = flow.addresses.both.to_ne_bytes();
        Ok(described(bytes[3], bytes[7], flow.ports, flow.protocol))
    } else {
        let flow = quoted_flow::<Ipv6>(view, &Ipv6::parse(view, ethernet.payload)?)?;
        let bytes = flow.addresses.both.map(u64::to_ne_bytes);
        Ok(described(bytes[1][7], bytes[3][7], flow.ports, flow.protocol))
    }
}

fn described(source: u8, destination: u8, ports: u32, protocol: u8) -> (u8, u8, u16, u16, u8) {
    let [a, b, c, d] = ports.to_ne_bytes();
    (source, destination, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), protocol)
}

fn expected(protocol: u8) -> Parsed<(u8, u8, u16, u16, u8)> {
    Ok((CLIENT, VIP, 40_000, 80, protocol))
}

fn header(version: u8) -> usize {
    if version == 4 { 20 } else { 40 }
}

#[test]
fn the_quoted_tuple_turned_is_the_clients_flow() {
    for (version, protocol) in [(4, TCP), (4, UDP), (6, TCP), (6, UDP)] {
        let quote = sent(version, protocol);
        for length in header(version) + 8..quote.len() {
            assert_eq!(flow(&error(version, 3, &quote[..length])), expected(protocol), "{version} {length}");
        }
    }
}

#[test]
fn a_quote_that_is_cut_before_eight_bytes_of_its_transport_header_is_malformed() {
    for (version, protocol) in [(4, TCP), (4, UDP), (6, TCP), (6, UDP)] {
        let quote = sent(version, protocol);
        for length in 0..header(version) + 8 {
            let mut frame = error(version, 3, &quote[..length]);
            assert_eq!(flow(&frame), Err(Reason::MalformedQuote), "{version} {length}");
            // What stands behind the packet's end is not of the quote.
            frame.extend(&quote[length..]);
            assert_eq!(flow(&frame), Err(Reason::MalformedQuote), "{version} {length} with padding");
        }
    }
}

#[test]
fn every_truncation_of_an_error_is_malformed() {
    for version in [4, 6] {
        let frame = error(version, 3, &sent(version, TCP));
        for length in 0..frame.len() {
            flow(&frame[..length]).unwrap_err();
        }
    }
}

#[test]
fn options_and_extension_headers_of_the_quote_are_skipped() {
    let mut quote = sent(4, TCP);
    quote[0] = 0x4f;
    quote.splice(20..20, [1; 40]);
    assert_eq!(flow(&error(4, 11, &quote[..68])), expected(TCP));
    assert_eq!(flow(&error(4, 11, &quote[..67])), Err(Reason::MalformedQuote));
    for (chain, wanted) in [
        (vec![0], expected(UDP)),
        (vec![0, 43, 60, 51, 60, 60], expected(UDP)),
        (vec![60, 44], expected(UDP)),
        (vec![60; 7], Err(Reason::ExtensionHeaders)),
        (vec![44; 7], Err(Reason::ExtensionHeaders)),
    ] {
        assert_eq!(flow(&error(6, 3, &chained(&chain))), wanted, "{chain:?}");
    }
}

/// A UDP packet with these extension headers of eight bytes.
fn chained(chain: &[u8]) -> Vec<u8> {
    let mut quote = sent(6, UDP);
    quote[6] = chain[0];
    let headers = chain.iter().skip(1).chain([&UDP]).flat_map(|next| [*next, 0, 0, 0, 0, 0, 0, 0]);
    let headers: Vec<u8> = headers.collect();
    quote.splice(40..40, headers);
    quote
}

#[test]
fn a_first_fragment_has_the_ports_and_a_later_one_does_not() {
    for (flags, wanted) in
        [(0x2000u16, expected(UDP)), (0x6000, expected(UDP)), (0x2001, Err(Reason::MalformedQuote))]
    {
        let mut quote = sent(4, UDP);
        quote[6..8].copy_from_slice(&flags.to_be_bytes());
        assert_eq!(flow(&error(4, 3, &quote)), wanted, "{flags:#x}");
    }
    let mut quote = chained(&[44]);
    quote[43] = 1;
    assert_eq!(flow(&error(6, 3, &quote)), expected(UDP), "more fragments follow");
    quote[43] = 8;
    assert_eq!(flow(&error(6, 3, &quote)), Err(Reason::MalformedQuote));
}

#[test]
fn a_quote_that_lies_is_malformed() {
    for (version, at, value) in [(4, 15, 2), (4, 0, 0x65), (4, 0, 0x44), (6, 23, 2), (6, 0, 0x45)] {
        let mut quote = sent(version, TCP);
        quote[at] = value;
        assert_eq!(
            flow(&error(version, 3, &quote)),
            Err(Reason::MalformedQuote),
            "{version}: byte {at} is {value}"
        );
    }
}

#[test]
fn lengths_in_the_quote_do_not_matter() {
    for (version, at) in [(4, 2), (6, 4)] {
        let mut quote = sent(version, TCP);
        quote[at..at + 2].copy_from_slice(&[0, 0]);
        assert_eq!(flow(&error(version, 3, &quote)), expected(TCP));
    }
}

#[test]
fn a_quote_of_another_protocol_is_not_ours() {
    for (version, at) in [(4, 9), (6, 6)] {
        let mut quote = sent(version, TCP);
        quote[at] = 132;
        assert_eq!(flow(&error(version, 3, &quote)), Err(Reason::NotOurs));
    }
}

#[test]
fn errors_are_told_from_other_messages() {
    let errors = |is_error: fn(u8) -> bool| (0..=255u8).filter(|kind| is_error(*kind)).collect::<Vec<_>>();
    assert_eq!(errors(Ipv4::is_error), [3, 11, 12]);
    assert_eq!(errors(Ipv6::is_error), [1, 2, 3, 4]);
    let frame = error(4, 3, &[]);
    let view = Frame::new(&frame);
    let mut datagram = Ipv4::parse(view, 14).unwrap();
    assert_eq!(is_error::<Ipv4>(view, &datagram), Ok(true));
    datagram.length -= 1;
    assert_eq!(is_error::<Ipv4>(view, &datagram), Err(Reason::MalformedTransport));
}

proptest::proptest! {
    #[test]
    fn random_quotes_never_crash_the_parser(mut quote in proptest::collection::vec(proptest::num::u8::ANY, 0..300), version in 0..2u8) {
        let version = version * 2 + 4;
        if let Some(first) = quote.first_mut() {
            *first = version << 4 | *first & 15;
        }
        let _ = flow(&error(version, 1, &quote));
    }
}
