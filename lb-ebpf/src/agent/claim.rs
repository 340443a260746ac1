//! Whose a client's packet is: this host's, or that of the next target of its chain.

use lb_common::{
    flow::{Addresses, TCP},
    memory::forget_value,
    packet::Ipv6,
    port_translation::{End, Known, Port, port},
    reason::Reason,
    tunnel::{self, Continuation, Inner},
};

use crate::{
    Arrival, Exit, Stage, arrive, decapsulate, maps,
    packet::Packet,
    sockets::{self, SocketVersion, Tuple},
};

const TCP_HEADER: usize = 20;
const FIN_SYN_RST_ACK: u8 = 0x17;
const SYN: u8 = 0x02;

/// Delivers the packet if it is this host's, or the last that could have it, and leaves it to be handed on if not.
#[inline(always)]
pub fn receive<P: Packet, V: SocketVersion>(packet: &mut P, arrival: &Arrival) -> Result<Reason, Exit> {
    match tunnel::plain_inner::<V>(packet.frame(), &arrival.payload)? {
        Some(inner) => receive_inner::<P, V>(packet, arrival, inner),
        None => Err(Exit::Continue(Continuation::Extended)),
    }
}

/// The program for IPv6 with extension headers.
#[inline(always)]
pub fn receive_extended<P: Packet>(packet: &mut P) -> Exit {
    let received = arrive(packet).and_then(|arrival| {
        let inner = tunnel::inner::<Ipv6>(packet.frame(), &arrival.payload)?;
        receive_inner::<P, Ipv6>(packet, &arrival, inner)
    });
    received.map_or_else(|exit| exit, Exit::Reason)
}

#[inline(always)]
fn receive_inner<P: Packet, V: SocketVersion>(
    packet: &mut P,
    arrival: &Arrival,
    inner: Inner<V::Addresses>,
) -> Result<Reason, Exit> {
    let vip = vip::<V>(&inner)?;
    if inner.protocol == V::ICMP && !inner.is_fragment {
        return Err(Exit::Continue(Continuation::Icmp));
    }
    let target_port =
        port_of(packet, &inner).map_or(0, |port| target_port(vip, &inner.addresses.destination(), &port));
    // Here and below: the verifier need not walk what follows once for each way to the same answer.
    let target_port = forget_value::<0x1_0000>(target_port as usize, arrival.payload.room) as u16;
    // Nothing hangs on it where no other target could have the packet.
    let is_claimed = !arrival.is_chained || is_claimed::<P, V>(packet, &inner, target_port);
    let is_claimed = forget_value::<2>(is_claimed as usize, arrival.payload.room) != 0;
    if !is_claimed && arrival.has_next {
        return Err(Exit::Continue(Continuation::HandOn));
    }
    let port = port_of(packet, &inner).filter(|_| vip & tunnel::TRANSLATED != 0);
    let translation = port.filter(|port| port.value != target_port).map(|port| port.translation(target_port));
    decapsulate::decapsulate::<P, V>(packet, arrival, translation)?;
    Ok(if is_claimed { Reason::AgentDecapsulated } else { Reason::AgentUnclaimed })
}

/// The VIP's port, if the packet is TCP or UDP and has it.
#[inline(always)]
fn port_of<P: Packet, A>(packet: &P, inner: &Inner<A>) -> Option<Port> {
    inner.transport.and_then(|at| port(packet.frame(), inner.protocol, at, End::Destination))
}

/// The value of the packet's VIP, if it is one that this target takes.
#[inline(always)]
pub fn vip<V: SocketVersion>(inner: &Inner<V::Addresses>) -> Stage<u32> {
    let vip = maps::vip(&inner.addresses.destination()).ok_or(Reason::AgentUnknownVip)?;
    if inner.addresses.is_martian() { Err(Reason::AgentMartian) } else { Ok(vip) }
}

/// The port (bytes as on the wire) that this one of a VIP is translated to; itself if it is not.
#[inline(always)]
pub fn target_port(vip_value: u32, vip: &[u32; 4], port: &Port) -> u16 {
    if vip_value & tunnel::TRANSLATED == 0 {
        return port.value;
    }
    maps::other_port(&port.key(*vip, Known::Listener)).unwrap_or(port.value)
}

/// A fragment is this host's: those behind the first have no ports by which they could follow it elsewhere.
#[inline(always)]
fn is_claimed<P: Packet, V: SocketVersion>(
    packet: &P,
    inner: &Inner<V::Addresses>,
    target_port: u16,
) -> bool {
    let Some(at) = inner.transport.filter(|_| inner.protocol == TCP && !inner.is_fragment) else {
        return true;
    };
    // What is cut short is for the kernel to judge.
    let Some(header) = packet.frame().view::<TCP_HEADER>(at).filter(|_| at + TCP_HEADER <= inner.end) else {
        return true;
    };
    if header.u8::<13>() & FIN_SYN_RST_ACK == SYN {
        return true;
    }
    let source_port = header.raw16::<0>();
    let tuple = Tuple { addresses: inner.addresses, source_port, destination_port: target_port };
    sockets::claim::<P, V>(packet, &tuple, header)
}
