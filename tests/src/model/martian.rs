//! Sources that no host sends from (RFC 1122, 3.2.1.3; RFC 4291, 2.4; RFC 6890), or that no answer may go to.

use std::net::IpAddr;

use lb_common::Reason;

use super::packet::Packet;

/// Refuses what nobody sent who could get an answer: this is asked of a listener's packets and of pings of VIPs.
pub(super) fn refuse(packet: &Packet) -> Result<(), Reason> {
    let comes_from_itself = packet.source == packet.destination;
    if comes_from_itself || !is_host(packet.source) { Err(Reason::MartianSource) } else { Ok(()) }
}

/// Refuses to answer a frame whose sender's MAC address is a group's (IEEE 802.3, 3.2.3: the first bit on the wire).
pub(super) fn refuse_link(frame: &[u8]) -> Result<(), Reason> {
    if frame[6] & 1 == 1 { Err(Reason::MartianSource) } else { Ok(()) }
}

fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let is_this_network = address.octets()[0] == 0;
            // 240/4 is reserved; its last address is the broadcast.
            let is_reserved = address.octets()[0] >= 240;
            !(is_this_network || address.is_loopback() || address.is_multicast() || is_reserved)
        }
        // ::/64 has the unspecified address, loopback, and all that embeds an IPv4 address.
        IpAddr::V6(address) => !address.is_multicast() && address.segments()[..4] != [0; 4],
    }
}
