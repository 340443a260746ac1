//! The QUIC stage: packets that name a living target in their connection id go to it, whatever their slot says
//! and wherever the client's address has moved. They leave the flow table alone.

use lb_common::{
    flow::Addresses,
    listener::{Listener, QuicServerKey},
    memory::Frame,
    packet::{self, Datagram, Route},
    target_id::TargetId,
};

use crate::maps;

/// How the target of a QUIC listener's packet is found.
#[inline(always)]
pub fn route<A: Addresses>(frame: Frame<'_>, datagram: &Datagram<A>, listener: &Listener) -> Route {
    let packet = packet::quic(frame, datagram);
    let key = packet.server_id.map(|server_id| QuicServerKey::new(listener.forward, server_id));
    let named = key.and_then(|key| maps::quic_server(&key)).filter(lives);
    packet.route(named, listener.tracking)
}

#[inline(always)]
fn lives(id: &TargetId) -> bool {
    maps::target(*id).is_some_and(|target| target.way.keeps_flows())
}
