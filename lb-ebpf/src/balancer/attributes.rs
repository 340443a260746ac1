//! What a listener's attributes change in the choice of a target: source affinity, and that tunnels are not put
//! into tunnels. QUIC has a file of its own.

use lb_common::{
    encapsulation::GUE_PORT,
    flow::{Addresses, Flow, FlowHash, UDP},
    listener::Listener,
    maps::Settings,
    packet::Segment,
    reason::Reason,
    target_id::TargetId,
};

use crate::{Exit, martian, mode::Mode, slot};

/// The target of a packet whose flow has the hash `hash`. `segment` is what the packet says of its flow's age.
#[inline(always)]
pub fn choose_target<M: Mode, A: Addresses>(
    flow: &Flow<A>,
    segment: Segment,
    listener: &Listener,
    settings: &Settings,
    hash: FlowHash,
) -> Result<TargetId, Exit> {
    refuse_tunnel(flow, listener)?;
    martian::refuse(&flow.addresses)?;
    slot::choose_target::<M>(listener, settings, place(listener, settings, flow, hash), hash, segment)
}

/// The target of an established flow's packets, for an ICMP error about it from `reporter`: nothing is written. What a server
/// sends by QUIC names its client, not its target, so errors about it go by the table.
#[inline(always)]
pub fn peek_target<M: Mode, A: Addresses>(
    flow: &Flow<A>,
    reporter: &A,
    listener: &Listener,
    settings: &Settings,
    hash: FlowHash,
) -> Result<TargetId, Exit> {
    refuse_tunnel(flow, listener)?;
    martian::refuse(reporter)?;
    slot::peek_target::<M>(listener, settings, place(listener, settings, flow, hash), hash)
}

/// Leaves a GUE packet alone where the listener does.
#[inline(always)]
pub fn refuse_tunnel<A: Addresses>(flow: &Flow<A>, listener: &Listener) -> Result<(), Reason> {
    if listener.has(Listener::FLAG_LEAVES_TUNNELS) && is_tunnel(flow) {
        return Err(Reason::AlreadyEncapsulated);
    }
    Ok(())
}

/// The hash whose top bits choose the flow's slot: the flow's own, or its client's.
#[inline(always)]
pub fn place<A: Addresses>(
    listener: &Listener,
    settings: &Settings,
    flow: &Flow<A>,
    hash: FlowHash,
) -> FlowHash {
    if listener.has(Listener::FLAG_SOURCE_AFFINITY) { flow.client_hash(settings.clients) } else { hash }
}

/// GUE is what a node would send. IP in IP has no ports, so no listener takes it.
#[inline(always)]
fn is_tunnel<A: Addresses>(flow: &Flow<A>) -> bool {
    flow.protocol == UDP && flow.destination_port() == GUE_PORT.to_be()
}
