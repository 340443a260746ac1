//! ICMP: an error is whose the packet is that it quotes; all else is this host's.

use lb_common::{
    flow::{Addresses, TCP},
    packet::{Ipv4, Ipv6, Version},
    port_translation::{End, Port, Translation, port},
    reason::Reason,
    tunnel::{self, Continuation, Inner},
};

use crate::{
    Arrival, Exit, arrive, claim, decapsulate,
    packet::Packet,
    sockets::{self, SocketVersion, Tuple},
};

const ICMP_HEADER: usize = 8;

/// The program for ICMP.
#[inline(always)]
pub fn receive<P: Packet>(packet: &mut P) -> Exit {
    let decided = match arrive(packet) {
        Err(exit) => Err(exit),
        Ok(arrival) if arrival.payload.protocol == Ipv4::PROTOCOL => decide::<P, Ipv4>(packet, &arrival),
        Ok(arrival) => decide::<P, Ipv6>(packet, &arrival),
    };
    decided.map_or_else(|exit| exit, Exit::Reason)
}

#[inline(always)]
fn decide<P: Packet, V: SocketVersion>(packet: &mut P, arrival: &Arrival) -> Result<Reason, Exit> {
    let inner = tunnel::inner::<V>(packet.frame(), &arrival.payload)?;
    let vip = claim::vip::<V>(&inner)?;
    let Some(quoted) = quoted::<P, V>(packet, &inner) else {
        decapsulate::decapsulate::<P, V>(packet, arrival, None)?;
        return Ok(Reason::AgentDecapsulated);
    };
    let target_port = claim::target_port(vip, &inner.addresses.destination(), &quoted.port);
    if arrival.has_next && !is_here::<P, V>(packet, &quoted, target_port) {
        return Err(Exit::Continue(Continuation::HandOn));
    }
    let translation =
        if target_port == quoted.port.value { None } else { Some(quoted.translation(target_port)) };
    decapsulate::decapsulate::<P, V>(packet, arrival, translation)?;
    Ok(Reason::AgentDecapsulated)
}

/// What an error says of the packet that it quotes, turned: from the client to the VIP.
struct Quoted<A> {
    addresses: A,
    protocol: u8,
    /// The VIP's port.
    port: Port,
    client_port: u16,
    /// Where ICMP's checksum is.
    checksum: usize,
}

impl<A> Quoted<A> {
    #[inline(always)]
    fn translation(&self, to: u16) -> Translation {
        self.port.quoted_translation(to, self.checksum)
    }
}

/// None if it is no error, or one that no socket could understand.
#[inline(always)]
fn quoted<P: Packet, V: SocketVersion>(
    packet: &P,
    inner: &Inner<V::Addresses>,
) -> Option<Quoted<V::Addresses>> {
    let (at, frame) = (inner.transport?, packet.frame());
    let header = frame.view::<ICMP_HEADER>(at)?;
    if !V::is_error(header.u8::<0>()) {
        return None;
    }
    let quote = V::quote(frame, at + ICMP_HEADER, inner.end).ok()?;
    let addresses = V::turned(quote.addresses);
    if addresses.destination() != inner.addresses.destination() || quote.payload + 8 > inner.end {
        return None;
    }
    let port = port(frame, quote.protocol, quote.payload, End::Source)?;
    let client_port = frame.view::<4>(quote.payload)?.raw16::<2>();
    Some(Quoted { addresses, protocol: quote.protocol, port, client_port, checksum: at + 2 })
}

/// Of UDP every target could have sent the quoted packet: the slot's own gets the error.
#[inline(always)]
fn is_here<P: Packet, V: SocketVersion>(packet: &P, quoted: &Quoted<V::Addresses>, target_port: u16) -> bool {
    let tuple =
        Tuple { addresses: quoted.addresses, source_port: quoted.client_port, destination_port: target_port };
    quoted.protocol != TCP || sockets::is_connected::<P, V>(packet, &tuple)
}
