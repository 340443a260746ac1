//! The answer to a node's question whether there is an agent: in place, to where it came from.
//!
//! Addresses and ports change places, which leaves every checksum as it is; only what the answer adds counts.

use lb_common::{
    checksum,
    flow::Addresses,
    gue::probe::{self, Asked, MESSAGE, Reply},
    memory::ViewMut,
    packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6},
    port_translation::{Known, PortKey},
    reason::Reason,
    tunnel::{self, Contents, TunnelVersion},
};

use crate::{Exit, Stage, maps, outer, packet::Packet};

const UDP_HEADER: usize = 8;
const HOP_LIMIT: u8 = 64;

/// The program for questions.
#[inline(always)]
pub fn answer<P: Packet>(packet: &mut P) -> Exit {
    let answered = match Ethernet::parse(packet.frame()) {
        Ok(Ethernet { ethertype: ETHERTYPE_IPV4, payload, .. }) => answer_over::<P, Ipv4>(packet, payload),
        Ok(Ethernet { ethertype: ETHERTYPE_IPV6, payload, .. }) => answer_over::<P, Ipv6>(packet, payload),
        _ => Err(Reason::NotIp),
    };
    match answered {
        Ok(()) => Exit::Sent(Reason::AgentProbeAnswered, packet.send_back()),
        Err(reason) => Exit::Reason(reason),
    }
}

/// A version of IP whose header can be sent back.
trait Returnable: TunnelVersion {
    /// Exchanges the addresses of the header at `offset`, and renews the hop limit.
    fn turn<P: Packet>(packet: &mut P, offset: usize) -> Option<()>;
}

impl Returnable for Ipv4 {
    #[inline(always)]
    fn turn<P: Packet>(packet: &mut P, offset: usize) -> Option<()> {
        let mut header: ViewMut<'_, 20> = packet.view_mut(offset)?;
        let (source, destination) = (header.read().raw32::<12>(), header.read().raw32::<16>());
        header.set_raw32::<12>(destination);
        header.set_raw32::<16>(source);
        let before = header.read().be16::<8>();
        header.set_u8::<8>(HOP_LIMIT);
        let sum = checksum::update(header.read().be16::<10>(), before, header.read().be16::<8>());
        header.set_be16::<10>(sum);
        Some(())
    }
}

impl Returnable for Ipv6 {
    #[inline(always)]
    fn turn<P: Packet>(packet: &mut P, offset: usize) -> Option<()> {
        let mut header: ViewMut<'_, 40> = packet.view_mut(offset)?;
        let (high, low) = (header.read().raw64::<8>(), header.read().raw64::<16>());
        header.set_u8::<7>(HOP_LIMIT);
        let (destination_high, destination_low) = (header.read().raw64::<24>(), header.read().raw64::<32>());
        header.set_raw64::<8>(destination_high);
        header.set_raw64::<16>(destination_low);
        header.set_raw64::<24>(high);
        header.set_raw64::<32>(low);
        Some(())
    }
}

#[inline(always)]
fn answer_over<P: Packet, V: Returnable>(packet: &mut P, offset: usize) -> Stage<()> {
    let outer = outer::<P, V>(packet, offset)?;
    let Contents::Probe { transport } = tunnel::contents::<V>(packet.frame(), &outer)? else {
        return Err(Reason::AgentMalformed);
    };
    if !maps::is_node(&outer.addresses.source()) {
        return Err(Reason::AgentUnknownNode);
    }
    let message = packet.frame().view(transport + UDP_HEADER).ok_or(Reason::AgentMalformed)?;
    let asked = probe::asked(message).ok_or(Reason::AgentUnknownGue)?;
    let reply = Reply { capabilities: maps::capabilities(), served: served(&asked) };
    write(packet, transport, reply).ok_or(Reason::AgentMalformed)?;
    V::turn(packet, offset).ok_or(Reason::AgentMalformed)?;
    turn_link(packet).ok_or(Reason::AgentMalformed)
}

#[inline(always)]
fn served(asked: &Asked) -> Option<u16> {
    let key = PortKey::new(asked.vip, asked.protocol, asked.port, Known::Listener);
    maps::vip(&asked.vip).map(|_| maps::other_port(&key).unwrap_or(asked.port))
}

#[inline(always)]
fn write<P: Packet>(packet: &mut P, transport: usize, reply: Reply) -> Option<()> {
    let before = packet.frame().view::<UDP_HEADER>(transport)?.be16::<6>();
    let mut message: ViewMut<'_, MESSAGE> = packet.view_mut(transport + UDP_HEADER)?;
    let sum = probe::answer(&mut message, reply, before);
    let mut header: ViewMut<'_, UDP_HEADER> = packet.view_mut(transport)?;
    let (source, destination) = (header.read().raw16::<0>(), header.read().raw16::<2>());
    header.set_raw16::<0>(destination);
    header.set_raw16::<2>(source);
    header.set_be16::<6>(sum);
    Some(())
}

#[inline(always)]
fn turn_link<P: Packet>(packet: &mut P) -> Option<()> {
    let mut link: ViewMut<'_, 12> = packet.view_mut(0)?;
    let (destination, destination_end) = (link.read().raw32::<0>(), link.read().raw16::<4>());
    let (source, source_end) = (link.read().raw32::<6>(), link.read().raw16::<10>());
    link.set_raw32::<0>(source);
    link.set_raw16::<4>(source_end);
    link.set_raw32::<6>(destination);
    link.set_raw16::<10>(destination_end);
    Some(())
}
