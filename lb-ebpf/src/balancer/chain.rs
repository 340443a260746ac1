//! The second chance: a packet of a changing slot goes to the slot's current target and carries who had the slot
//! before, so that the target hands on what is not its own. No flow is remembered.
//!
//! Which of them has the packet's socket is the targets' to find, so a SYN and any other packet go the same way, and
//! an ICMP error goes the way of the packet that it quotes.

use lb_common::{
    encapsulation::{ETHERNET, GUE, IPV4_TEMPLATE, IPV6_TEMPLATE, Inner, Kind, Target, write, write_chain},
    flow::{Flow, FlowHash, TCP},
    flow_log::Sign,
    gue::Carrier,
    packet::{
        Datagram, FragmentVersion, Ipv4, Ipv6, Part, Segment, Transport, Version,
        icmp_error::{ErrorVersion, quoted_flow},
        transport,
    },
    reason::Reason,
    slot::Slot,
    target_id::TargetId,
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::{
    Exit, Stage, attributes, counters,
    encapsulate::{leave, room},
    flow_log, fragment, listener, maps,
    mode::Mode,
    target, too_big,
};

/// Bytes before the inner packet, from the Ethernet header to the chain.
const IPV4_CHAIN: usize = IPV4_TEMPLATE + GUE + Ipv4::HEADER_AND_CHAIN;
/// The same over IPv6.
const IPV6_CHAIN: usize = IPV6_TEMPLATE + GUE + Ipv6::HEADER_AND_CHAIN;

/// Sends a packet of a slot with a chain.
#[inline(always)]
pub fn forward<M: Mode, V: ErrorVersion + FragmentVersion>(
    packet: &mut XdpPacket,
    part: &Part<V::Addresses>,
) -> Result<u32, Exit> {
    let transport = read::<M, V>(packet, part)?;
    let Transport { flow, .. } = transport;
    let datagram = &part.datagram;
    M::note(|trace| trace.flow(&transport));
    let settings = maps::settings()?;
    let line = listener::find(&flow, settings)?;
    let listener = line.listener();
    let hash = flow.hash(line.hash_state());
    M::note(|trace| trace.listener(&listener, hash));
    let sign = if part.fragment.is_whole() && datagram.protocol == TCP {
        flow_log::sign::<M, _>(packet, datagram, &transport, (&listener, settings, hash))
    } else {
        Sign::NONE
    };
    let place = attributes::place(&listener, settings, &flow, hash);
    let forward = maps::forward(listener.forward);
    if forward.is_none() {
        return Err(Reason::NoTable.into());
    }
    let number = place.slot(forward.log2());
    let slot = maps::slot(forward.first() + number);
    let chain = maps::chain(forward.first() + number);
    M::note(|trace| trace.slot(forward, number, slot));
    M::note(|trace| trace.chain(chain));
    let id = slot.current();
    if id.is_none() {
        return Err(Reason::NoTarget.into());
    }
    let target = target::find::<M>(id)?;
    let former = former(slot, chain.oldest(slot));
    let action = send::<V>(packet, datagram, hash, target, former).map_err(|reason| {
        if is_icmp::<V>(datagram) { Exit::Reason(reason) } else { too_big::exit::<M>(reason, target) }
    })?;
    counters::count_traffic::<M>(listener.counter, id, datagram.length);
    flow_log::tell(sign, &flow, id);
    Ok(action)
}

/// The packet's flow (a fragment's is known by now), or that of the packet which an ICMP error quotes.
#[inline(always)]
fn read<M: Mode, V: ErrorVersion>(
    packet: &XdpPacket,
    part: &Part<V::Addresses>,
) -> Stage<Transport<V::Addresses>> {
    let datagram = &part.datagram;
    if !part.fragment.is_whole() {
        return fragment::transport_of::<M, _>(part);
    }
    if is_icmp::<V>(datagram) {
        let flow: Flow<V::Addresses> = quoted_flow::<V>(packet.frame(), datagram)?;
        return Ok(Transport { flow, segment: Segment::Established });
    }
    transport(packet.frame(), datagram)
}

#[inline(always)]
fn is_icmp<V: ErrorVersion>(datagram: &Datagram<V::Addresses>) -> bool {
    datagram.protocol == V::ICMP
}

/// The addresses of those who had the slot, the newest first; zero is none. A table that was replaced since the
/// balancer read it may say that there are none.
#[inline(always)]
fn former(slot: Slot, oldest: TargetId) -> [[u32; 4]; 2] {
    let previous = if slot.previous().0 == slot.current().0 { TargetId::NONE } else { slot.previous() };
    [address(previous), address(oldest)]
}

#[inline(always)]
fn address(id: TargetId) -> [u32; 4] {
    maps::target(id).map_or(Target::NONE.address, |target| target.address)
}

/// Encapsulates the packet towards `target` with a chain of the targets at `former`, the newest first (zero is none),
/// and returns the XDP action that sends it. What travels as IP in IP has no room for one. The way's MTU leaves room
/// for a chain wherever packets may get one.
#[inline(always)]
fn send<V: Version>(
    packet: &mut XdpPacket,
    datagram: &Datagram<V::Addresses>,
    hash: FlowHash,
    target: &Target,
    former: [[u32; 4]; 2],
) -> Stage<u32> {
    let way = target.way;
    let kind = way.kind().ok_or(Reason::NoNextHop)?;
    if datagram.length as usize + kind.length() - ETHERNET > way.mtu() as usize {
        return Err(Reason::TooBig);
    }
    let chain = match kind {
        Kind::Ipv4 | Kind::Ipv6 => 0,
        Kind::Ipv4Gue => Ipv4::HEADER_AND_CHAIN,
        Kind::Ipv6Gue => Ipv6::HEADER_AND_CHAIN,
    };
    let inner = Inner { length: datagram.length, traffic_class: datagram.traffic_class, hash };
    if !packet.move_start(datagram.offset as i32 - (kind.length() + chain) as i32) {
        return Err(Reason::NoHeadroom);
    }
    match kind {
        Kind::Ipv4 => write::<Ipv4, V, IPV4_TEMPLATE>(target, inner, &mut room(packet)?),
        Kind::Ipv6 => write::<Ipv6, V, IPV6_TEMPLATE>(target, inner, &mut room(packet)?),
        Kind::Ipv4Gue => write_chain::<Ipv4, V, IPV4_CHAIN>(target, former, inner, &mut room(packet)?),
        Kind::Ipv6Gue => write_chain::<Ipv6, V, IPV6_CHAIN>(target, former, inner, &mut room(packet)?),
    }
    Ok(leave(packet, way.interface()))
}
