//! Packets cut into fragments, with headers made by etherparse.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader};

use crate::client::{Family, Packet};

/// The fragments of a packet, as a router cuts it.
pub fn fragments(packet: &Packet, cuts: &[usize], identification: u32) -> Vec<Vec<u8>> {
    let (frame, offset) = (packet.frame(), packet.offset());
    let (link, ip) = frame[..frame.len() - packet.padding].split_at(offset);
    let headers = if packet.family == Family::V4 { 20 + packet.options.len() } else { 40 };
    let (header, payload) = ip.split_at(headers);
    let ends = cuts.iter().copied().chain([payload.len()]);
    let begins = [0].into_iter().chain(cuts.iter().copied());
    let padding = vec![0xee; packet.padding];
    let part = |(begin, end): (usize, usize)| {
        let place = Place { offset: begin, more: end < payload.len(), identification };
        let bytes = &payload[begin..end];
        let header = match packet.family {
            Family::V4 => ipv4(header, bytes.len(), place),
            Family::V6 => ipv6(header, bytes.len(), place),
        };
        [link, &header, bytes, &padding].concat()
    };
    begins.zip(ends).map(part).collect()
}

#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    more: bool,
    identification: u32,
}

fn ipv4(header: &[u8], payload: usize, place: Place) -> Vec<u8> {
    let mut header = Ipv4Header::from_slice(header).expect("etherparse wrote it").0;
    header.set_payload_len(payload).expect("a fragment is small");
    header.identification = place.identification as u16;
    header.more_fragments = place.more;
    header.fragment_offset = offset(place);
    header.header_checksum = header.calc_header_checksum();
    header.to_bytes().to_vec()
}

fn ipv6(header: &[u8], payload: usize, place: Place) -> Vec<u8> {
    let next = IpNumber(header[6]);
    let fragment = Ipv6FragmentHeader::new(next, offset(place), place.more, place.identification);
    let mut header = header.to_vec();
    header[6] = IpNumber::IPV6_FRAGMENTATION_HEADER.0;
    header[4..6].copy_from_slice(&(payload as u16 + 8).to_be_bytes());
    [header, fragment.to_bytes().to_vec()].concat()
}

fn offset(place: Place) -> IpFragOffset {
    (place.offset as u16 / 8).try_into().expect("13 bits")
}
