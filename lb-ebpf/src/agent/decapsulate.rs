//! Decapsulation: the congestion mark goes inside, a port is translated, the outer header goes away.
//!
//! ```text
//!   before   | Ethernet (14, 18 or 22) | outer IP | [UDP | [GUE | [chain]]] | IP | …
//!   after                                                   | Ethernet (14) | IP | …
//! ```

use lb_common::{
    memory::ViewMut,
    port_translation::Translation,
    reason::Reason,
    tunnel::{self, TunnelVersion},
};

use crate::{Arrival, Stage, packet::Packet};

/// Makes the inner packet the whole one, with a port translated if it has to be.
#[inline(always)]
pub fn decapsulate<P: Packet, V: TunnelVersion>(
    packet: &mut P,
    arrival: &Arrival,
    translation: Option<Translation>,
) -> Stage<()> {
    carry_congestion::<P, V>(packet, arrival)?;
    if let Some(translation) = translation {
        translate(packet, translation)?;
    }
    packet.cut::<V>(arrival.payload.offset)
}

/// Writes into the inner header what the network marked on the outer one (RFC 6040).
#[inline(always)]
fn carry_congestion<P: Packet, V: TunnelVersion>(packet: &mut P, arrival: &Arrival) -> Stage<()> {
    let mut header = packet.view_mut(arrival.payload.offset).ok_or(Reason::AgentMalformed)?;
    let inner = V::congestion(header.read());
    let field = tunnel::congestion(arrival.congestion, inner)?;
    if field != inner {
        V::set_congestion(&mut header, field);
    }
    Ok(())
}

#[inline(always)]
fn translate<P: Packet>(packet: &mut P, translation: Translation) -> Stage<()> {
    // The checksum first: a fragment too short to have it is dropped as it is.
    let mut checksum: ViewMut<'_, 2> = packet.view_mut(translation.checksum).ok_or(Reason::AgentMalformed)?;
    let before = checksum.read().be16::<0>();
    checksum.set_be16::<0>(translation.checksum(before));
    let mut port: ViewMut<'_, 2> = packet.view_mut(translation.port).ok_or(Reason::AgentMalformed)?;
    port.set_raw16::<0>(translation.to);
    Ok(())
}
