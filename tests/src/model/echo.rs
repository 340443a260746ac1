//! The answer to a ping of a VIP (RFC 792, RFC 4443, 4.2).

use std::net::IpAddr;

use super::packet::Packet;

/// Types of an echo request and its reply.
pub(super) fn types(packet: &Packet) -> (u8, u8) {
    if packet.source.is_ipv4() { (8, 0) } else { (128, 129) }
}

/// The request turned round: MAC and IP addresses swapped, the type and the checksum changed, nothing else.
pub(super) fn reply(frame: &[u8], packet: &Packet) -> Vec<u8> {
    let mut reply = frame.to_vec();
    reply[..6].copy_from_slice(&frame[6..12]);
    reply[6..12].copy_from_slice(&frame[..6]);
    let addresses = match packet.source {
        IpAddr::V4(_) => packet.ip_at + 12..packet.ip_at + 20,
        IpAddr::V6(_) => packet.ip_at + 8..packet.ip_at + 40,
    };
    let address = addresses.len() / 2;
    reply[addresses].rotate_left(address);
    let (request, answer) = types(packet);
    let at = packet.transport_at;
    reply[at] = answer;
    let checksum = u16::from_be_bytes([frame[at + 2], frame[at + 3]]);
    reply[at + 2..at + 4].copy_from_slice(&changed(checksum, request, answer).to_be_bytes());
    reply
}

/// The checksum after the message's type changed (RFC 1624, 3): it grows by what the message's sum loses. Of zero's
/// two forms in ones' complement it is all ones, which is right for every message, those of zeros alone included.
fn changed(checksum: u16, old: u8, new: u8) -> u16 {
    let grown = i32::from(checksum) + ((i32::from(old) - i32::from(new)) << 8);
    let reduced = grown.rem_euclid(0xffff) as u16;
    if reduced == 0 { 0xffff } else { reduced }
}
