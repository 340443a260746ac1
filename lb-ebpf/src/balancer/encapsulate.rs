//! The encapsulation stage: the outer header goes before the packet, and the packet on its way.

use aya_ebpf::{bindings::xdp_action, helpers::generated::bpf_redirect};
use lb_common::{
    encapsulation::{ETHERNET, GUE, IPV4_TEMPLATE, IPV6_TEMPLATE, Inner, Kind, Target, write, write_gue},
    flow::FlowHash,
    packet::{Datagram, Ipv4, Ipv6, Version},
    reason::Reason,
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::Stage;

/// Encapsulates the packet towards `target` and returns the XDP action that sends it.
#[inline(always)]
pub fn send<V: Version>(
    packet: &mut XdpPacket,
    datagram: &Datagram<V::Addresses>,
    hash: FlowHash,
    target: &Target,
) -> Stage<u32> {
    let way = target.way;
    let kind = way.kind().ok_or(Reason::NoNextHop)?;
    if datagram.length as usize + kind.length() - ETHERNET > way.mtu() as usize {
        return Err(Reason::TooBig);
    }
    let inner = Inner { length: datagram.length, traffic_class: datagram.traffic_class, hash };
    // The new frame begins so that its template ends where the inner IP header begins; the old link-layer
    // header, tags included, is overwritten.
    if !packet.move_start(datagram.offset as i32 - kind.length() as i32) {
        return Err(Reason::NoHeadroom);
    }
    match kind {
        Kind::Ipv4 => write::<Ipv4, V, IPV4_TEMPLATE>(target, inner, &mut room(packet)?),
        Kind::Ipv6 => write::<Ipv6, V, IPV6_TEMPLATE>(target, inner, &mut room(packet)?),
        Kind::Ipv4Gue => write_gue::<Ipv4, { IPV4_TEMPLATE + GUE }>(target, inner, &mut room(packet)?),
        Kind::Ipv6Gue => write_gue::<Ipv6, { IPV6_TEMPLATE + GUE }>(target, inner, &mut room(packet)?),
    }
    Ok(leave(packet, way.interface()))
}

/// The first bytes of the packet, where its new headers go.
#[inline(always)]
pub fn room<const N: usize>(packet: &mut XdpPacket) -> Stage<lb_common::memory::ViewMut<'_, N>> {
    packet.view_mut::<N>(0).ok_or(Reason::NoHeadroom)
}

/// The XDP action that sends the packet by `interface`.
#[inline(always)]
pub fn leave(packet: &XdpPacket, interface: u32) -> u32 {
    if interface == packet.interface() {
        return xdp_action::XDP_TX;
    }
    // SAFETY: the helper has no preconditions; an interface that is gone makes the kernel drop the packet.
    unsafe { bpf_redirect(interface, 0) as u32 }
}
