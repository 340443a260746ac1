//! Pings: an echo request for a VIP is turned into its reply; a ping of anything else is not ours.

use lb_common::{
    checksum,
    flow::Addresses,
    memory::ViewMut,
    packet::{Datagram, EchoRequest, Version, echo_request},
    reason::Reason,
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::{Stage, maps, martian};

/// Answers the echo request, or says why not. The reply leaves by the interface that the request came by; its
/// time to live is the request's, which a client on the Internet sees as the balancer being half as far.
#[inline(always)]
pub fn answer<V: Version>(packet: &mut XdpPacket, datagram: &Datagram<V::Addresses>) -> Stage<u32> {
    let request = echo_request::<V>(packet.frame(), datagram)?;
    if !maps::is_vip(&datagram.addresses.destination()) {
        return Err(Reason::NotOurs);
    }
    martian::refuse(&datagram.addresses)?;
    martian::refuse_link(packet)?;
    turn_link(packet)?;
    if V::PROTOCOL == 4 {
        turn_ipv4(packet, datagram.offset)?
    } else {
        turn_ipv6(packet, datagram.offset)?
    }
    turn_message::<V>(packet, request)?;
    Err(Reason::EchoAnswered)
}

#[inline(always)]
fn turn_link(packet: &mut XdpPacket) -> Stage<()> {
    let mut link: ViewMut<'_, 12> = packet.view_mut(0).ok_or(Reason::MalformedEthernet)?;
    let (first, second, third) =
        (link.read().raw32::<0>(), link.read().raw32::<4>(), link.read().raw32::<8>());
    let old: [u32; 3] = [first, second, third];
    // Six bytes each: the halves of the middle word change sides.
    link.set_raw32::<0>(old[1] >> 16 | old[2] << 16);
    link.set_raw32::<4>(old[2] >> 16 | old[0] << 16);
    link.set_raw32::<8>(old[0] >> 16 | old[1] << 16);
    Ok(())
}

/// Swapping the addresses leaves the header's checksum as it is.
#[inline(always)]
fn turn_ipv4(packet: &mut XdpPacket, offset: usize) -> Stage<()> {
    let mut header: ViewMut<'_, 20> = packet.view_mut(offset).ok_or(Reason::MalformedIpv4)?;
    let (source, destination) = (header.read().raw32::<12>(), header.read().raw32::<16>());
    header.set_raw32::<12>(destination);
    header.set_raw32::<16>(source);
    Ok(())
}

#[inline(always)]
fn turn_ipv6(packet: &mut XdpPacket, offset: usize) -> Stage<()> {
    let mut header: ViewMut<'_, 40> = packet.view_mut(offset).ok_or(Reason::MalformedIpv6)?;
    let (source, destination) = (
        (header.read().raw64::<8>(), header.read().raw64::<16>()),
        (header.read().raw64::<24>(), header.read().raw64::<32>()),
    );
    header.set_raw64::<8>(destination.0);
    header.set_raw64::<16>(destination.1);
    header.set_raw64::<24>(source.0);
    header.set_raw64::<32>(source.1);
    Ok(())
}

#[inline(always)]
fn turn_message<V: Version>(packet: &mut XdpPacket, request: EchoRequest) -> Stage<()> {
    let mut message: ViewMut<'_, 4> = packet.view_mut(request.offset).ok_or(Reason::MalformedTransport)?;
    let old = message.read().be16::<0>();
    let new = (V::ECHO_REPLY as u16) << 8;
    let sum = message.read().be16::<2>();
    message.set_be16::<0>(new);
    message.set_be16::<2>(checksum::update(sum, old, new));
    Ok(())
}
