//! The answers against an independent parser and its checksums.

use etherparse::{
    Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, Ipv4HeaderSlice, Ipv6HeaderSlice, icmpv4, icmpv6,
};

use super::*;
use crate::checksum;

fn quote(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7) as u8).collect()
}

#[test]
fn fragmentation_needed_is_what_others_read() {
    for (length, fits) in [(548, 1480u16), (68, 68), (548, 65_535)] {
        let quote = quote(length);
        let mut headers = [0xee; IPV6_HEADERS];
        let both = u64::from_ne_bytes([198, 51, 100, 7, 203, 0, 113, 1]);
        let sum = checksum::fold(checksum::sum(&quote));
        write::<Ipv4>(&mut ViewMut::new(&mut headers), Ipv4Addresses { both }, fits, length as u16, sum);
        let (headers, behind) = headers.split_at(IPV4_HEADERS);
        assert_eq!(behind, [0xee; IPV6_HEADERS - IPV4_HEADERS], "the quote stays");
        let ip = Ipv4HeaderSlice::from_slice(headers).unwrap();
        assert_eq!((ip.source(), ip.destination()), ([203, 0, 113, 1], [198, 51, 100, 7]));
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
        assert_eq!((ip.total_len() as usize, ip.dont_fragment(), ip.ttl()), (28 + length, true, 64));
        let message = [&headers[20..], &quote].concat();
        let icmp = Icmpv4Slice::from_slice(&message).unwrap();
        let wanted = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: fits };
        assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(wanted));
        assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
    }
}

#[test]
fn packet_too_big_is_what_others_read() {
    let quote = quote(1232);
    let (client, vip) = ([7; 16], [0xfe; 16]);
    let word = |bytes: [u8; 16], at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    let both = [word(client, 0), word(client, 8), word(vip, 0), word(vip, 8)];
    let mut headers = [0xee; IPV6_HEADERS];
    let sum = checksum::fold(checksum::sum(&quote));
    write::<Ipv6>(&mut ViewMut::new(&mut headers), Ipv6Addresses { both }, 1448, 1232, sum);
    let ip = Ipv6HeaderSlice::from_slice(&headers).unwrap();
    assert_eq!((ip.source(), ip.destination(), ip.next_header().0), (vip, client, 58));
    assert_eq!((ip.payload_length(), ip.hop_limit(), ip.version()), (1240, 64, 6));
    let message = [&headers[40..], &quote].concat();
    let icmp = Icmpv6Slice::from_slice(&message).unwrap();
    assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1448 });
    assert!(icmp.is_checksum_valid(vip, client));
    assert_eq!(icmpv6::TYPE_PACKET_TOO_BIG, message[0]);
}

#[test]
fn only_sizes_that_help_the_sender_are_told() {
    assert_eq!(quoted::<Ipv4>(1500, 1480), Some(548));
    assert_eq!(quoted::<Ipv4>(548, 547), Some(548));
    assert_eq!(quoted::<Ipv4>(547, 100), Some(68));
    assert_eq!(quoted::<Ipv4>(69, 68), Some(68));
    assert_eq!(quoted::<Ipv4>(1500, 67), None);
    assert_eq!(quoted::<Ipv6>(1281, 1280), Some(1232));
    assert_eq!(quoted::<Ipv6>(1500, 1279), None);
    assert_eq!(quoted::<Ipv4>(1480, 1480), None);
}
