//! The answer to a packet that is too big for the way to its target: 'fragmentation needed' (RFC 792, RFC 1191)
//! and 'packet too big' (RFC 4443).

use std::net::IpAddr;

use super::encapsulation::ones_complement_sum;
use super::packet::{ICMP, ICMPV6, Packet};

const HOP_LIMIT: u8 = 64;

/// The answer, if there is one: who sends it can be told that `fits` bytes fit.
pub(super) fn answer(frame: &[u8], packet: &Packet, fits: usize, without_df: bool) -> Option<Vec<u8>> {
    let bytes = &frame[packet.ip_at..packet.ip_at + packet.length];
    let (smallest, whole, short) = match packet.source {
        // 576 bytes in all (RFC 1812, 4.3.2.3); of shorter packets the longest header and eight bytes.
        IpAddr::V4(_) => (68, 576 - 20 - 8, 68),
        // 1280 bytes in all (RFC 4443, 2.4 (c)).
        IpAddr::V6(_) => (1280, 1280 - 40 - 8, 0),
    };
    // Errors are about first fragments alone (RFC 1122, 3.2.2; RFC 4443 has no such rule).
    if packet.source.is_ipv4() && [bytes[6] & 0x1f, bytes[7]] != [0, 0] {
        return None;
    }
    let may_be_fragmented = packet.source.is_ipv4() && bytes[6] & 0x40 == 0;
    if fits < smallest || (may_be_fragmented && !without_df) {
        return None;
    }
    let quote = &bytes[..if bytes.len() >= whole { whole } else { short }];
    let answer = match (packet.destination, packet.source) {
        (IpAddr::V4(vip), IpAddr::V4(client)) => ipv4(vip.octets(), client.octets(), fits, quote),
        (IpAddr::V6(vip), IpAddr::V6(client)) => ipv6(vip.octets(), client.octets(), fits, quote),
        _ => unreachable!("both ends of a packet are of one family"),
    };
    let (to, from) = (&frame[6..12], &frame[..6]);
    Some([to, from, &frame[12..packet.ip_at], &answer].concat())
}

fn ipv4(vip: [u8; 4], client: [u8; 4], fits: usize, quote: &[u8]) -> Vec<u8> {
    let mut message = [&[3, 4, 0, 0, 0, 0][..], &(fits as u16).to_be_bytes(), quote].concat();
    let checksum = !ones_complement_sum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let length = (20 + message.len()) as u16;
    // Internetwork control (RFC 1812, 4.3.2.5), don't fragment.
    let mut header = [&[0x45, 0xc0][..], &length.to_be_bytes(), &[0, 0, 0x40, 0]].concat();
    header.extend([HOP_LIMIT, ICMP, 0, 0]);
    header.extend([vip, client].concat());
    let checksum = !ones_complement_sum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [header, message].concat()
}

fn ipv6(vip: [u8; 16], client: [u8; 16], fits: usize, quote: &[u8]) -> Vec<u8> {
    let mut message = [&[2, 0, 0, 0][..], &(fits as u32).to_be_bytes(), quote].concat();
    let length = message.len() as u16;
    let pseudo_header = [&vip[..], &client, &u32::from(length).to_be_bytes(), &[0, 0, 0, ICMPV6]].concat();
    let checksum = !ones_complement_sum(&[&pseudo_header[..], &message].concat());
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut header = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[ICMPV6, HOP_LIMIT]].concat();
    header.extend([vip, client].concat());
    [header, message].concat()
}
