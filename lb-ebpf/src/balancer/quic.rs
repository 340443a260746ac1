//! The QUIC stage: packets that name a living target in their connection id go to it, whatever their slot says
//! and wherever the client's address has moved. They leave the flow table alone.

use lb_common::{
    listener::{Listener, QuicServerKey},
    memory::Frame,
    packet::{self, Ethernet, Parsed, Quic, Route, Segment, Version},
    target_id::TargetId,
};

use crate::maps;

/// How the target of a QUIC listener's packet is found.
///
/// The headers are read a second time. Were their lengths carried here from the first, the verifier would have to
/// tell apart what follows by them, the listener's look-up with all its steps included, and there are hundreds of
/// ways through VLAN tags and extension headers: more than a million instructions. QUIC alone pays for it.
#[inline(always)]
pub fn route<V: Version>(frame: Frame<'_>, listener: &Listener) -> Route {
    let Ok(packet) = read::<V>(frame) else {
        return Route::Table(Segment::Ageless);
    };
    let key = packet.server_id.map(|server_id| QuicServerKey::new(listener.forward, server_id));
    let named = key.and_then(|key| maps::quic_server(&key)).filter(lives);
    packet.route(named, listener.tracking)
}

#[inline(always)]
fn read<V: Version>(frame: Frame<'_>) -> Parsed<Quic> {
    let ethernet = Ethernet::parse(frame)?;
    Ok(packet::quic(frame, &V::parse(frame, ethernet.payload)?))
}

#[inline(always)]
fn lives(id: &TargetId) -> bool {
    maps::target(*id).is_some_and(|target| target.way.keeps_flows())
}
