//! Decapsulation: the congestion mark goes inside, the outer header goes away.
//!
//! ```text
//!   before   | Ethernet (14, 18 or 22) | outer IP | [UDP | GUE] | IP | …
//!   after                                         | Ethernet (14) | IP | …
//! ```

use lb_common::{
    encapsulation::ETHERNET,
    memory::ViewMut,
    packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Version},
    reason::Reason,
    tunnel::{self, Payload, TunnelVersion},
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::Stage;

/// Writes into the inner header what the network marked on the outer one (RFC 6040).
#[inline(always)]
pub fn carry_congestion<Outer: TunnelVersion, Inner: TunnelVersion>(
    packet: &mut XdpPacket,
    payload: &Payload,
) -> Stage<()> {
    let header = packet.frame().view(payload.outer).ok_or(Reason::AgentMalformed)?;
    let outer = Outer::congestion(header);
    let mut header = packet.view_mut(payload.offset).ok_or(Reason::AgentMalformed)?;
    let inner = Inner::congestion(header.read());
    let field = tunnel::congestion(outer, inner)?;
    if field != inner {
        Inner::set_congestion(&mut header, field);
    }
    Ok(())
}

/// Cuts everything before the inner packet at `offset`, and writes its Ethernet header anew: the MAC addresses
/// stay, a VLAN tag goes.
#[inline(always)]
pub fn cut<Inner: Version>(packet: &mut XdpPacket, offset: usize) -> Stage<()> {
    let link = packet.frame().view::<12>(0).ok_or(Reason::AgentMalformed)?;
    let (first, second) = (link.raw64::<0>(), link.raw32::<8>());
    if !packet.move_start((offset - ETHERNET) as i32) {
        return Err(Reason::AgentMalformed);
    }
    let mut link: ViewMut<'_, ETHERNET> = packet.view_mut(0).ok_or(Reason::AgentMalformed)?;
    link.set_raw64::<0>(first);
    link.set_raw32::<8>(second);
    link.set_be16::<12>(if Inner::PROTOCOL == 4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 });
    Ok(())
}
