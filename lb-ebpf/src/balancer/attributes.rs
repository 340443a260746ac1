//! What a listener's attributes change in the choice of a target: QUIC, source affinity, and that tunnels are
//! not put into tunnels. A listener without any pays one comparison.

use lb_common::{
    encapsulation::GUE_PORT,
    flow::{Addresses, Flow, FlowHash, UDP},
    listener::Listener,
    maps::Settings,
    memory::Frame,
    packet::{Route, Transport, Version},
    reason::Reason,
    target_id::TargetId,
};

use crate::{Stage, mode::Mode, quic, slot};

/// The target of a packet whose flow has the hash `hash`.
#[inline(always)]
pub fn choose_target<M: Mode, V: Version>(
    frame: Frame<'_>,
    transport: &Transport<V::Addresses>,
    listener: &Listener,
    settings: &Settings,
    hash: FlowHash,
) -> Stage<TargetId> {
    let mut segment = transport.segment;
    if listener.flags != 0 {
        if listener.has(Listener::FLAG_LEAVES_TUNNELS) && is_tunnel(&transport.flow) {
            return Err(Reason::AlreadyEncapsulated);
        }
        if listener.has(Listener::FLAG_QUIC) {
            match quic::route::<V>(frame, listener) {
                Route::Target(id) => {
                    M::note(|trace| trace.server_id());
                    return Ok(id);
                }
                Route::Table(kind) => segment = kind,
            }
        }
    }
    slot::choose_target::<M>(
        listener,
        settings,
        place(listener, settings, &transport.flow, hash),
        hash,
        segment,
    )
}

/// The hash whose top bits choose the flow's slot: the flow's own, or its client's.
#[inline(always)]
pub fn place<A: Addresses>(
    listener: &Listener,
    settings: &Settings,
    flow: &Flow<A>,
    hash: FlowHash,
) -> FlowHash {
    if listener.has(Listener::FLAG_SOURCE_AFFINITY) { flow.client_hash(settings.hash_key) } else { hash }
}

/// GUE is what a node would send. IP in IP has no ports, so no listener takes it.
#[inline(always)]
fn is_tunnel<A: Addresses>(flow: &Flow<A>) -> bool {
    flow.protocol == UDP && flow.destination_port() == GUE_PORT.to_be()
}
