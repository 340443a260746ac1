//! The flow log: tells user space of packets that begin or end a flow of a listener that is logged.
//!
//! Such a listener has a flag, and so its packets are left to the programs for listeners with attributes, policies and QUIC:
//! `balancer`, which all packets meet, knows nothing of the log. What is told goes into a ring buffer; where that is
//! full it is counted, and no packet waits.

use lb_common::{
    flow::{Addresses, Flow, FlowHash},
    flow_log::{FlowRecord, Share, Sign},
    flow_table::Sighting,
    listener::Listener,
    maps::Settings,
    memory::forget_value,
    packet::{Datagram, Segment, Transport, ending},
    target_id::TargetId,
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::{maps, mode::Mode, slot};

/// The number of the sign that a whole packet is of its flow's life, before its target is chosen, which makes the flow
/// known.
#[inline(always)]
pub fn sign<M: Mode, A: Addresses>(
    packet: &XdpPacket,
    datagram: &Datagram<A>,
    transport: &Transport<A>,
    (listener, settings, hash): (&Listener, &Settings, FlowHash),
) -> u32 {
    if !is_told::<M>(listener, settings, hash) {
        return Sign::NONE;
    }
    let sign = match transport.segment {
        Segment::Ageless => sign_of_datagram(listener, settings, hash),
        segment => Sign::of_segment(segment, || ending(packet.frame(), datagram)),
    };
    forget(sign, packet)
}

/// The same of a fragment, which may not have the flags that end a flow.
#[inline(always)]
pub fn sign_of_fragment<M: Mode, A: Addresses>(
    packet: &XdpPacket,
    transport: &Transport<A>,
    (listener, settings, hash): (&Listener, &Settings, FlowHash),
) -> u32 {
    if !is_told::<M>(listener, settings, hash) {
        return Sign::NONE;
    }
    let sign = match transport.segment {
        Segment::Ageless => sign_of_datagram(listener, settings, hash),
        segment => Sign::of_segment(segment, || None),
    };
    forget(sign, packet)
}

/// Tells that a packet with this sign went to `target`.
#[inline(always)]
pub fn tell<A: Addresses>(sign: u32, flow: &Flow<A>, target: TargetId) {
    if sign != Sign::NONE {
        maps::tell_flow(&FlowRecord::new(maps::monotonic_nanoseconds(), flow, target, sign));
    }
}

#[inline(always)]
fn is_told<M: Mode>(listener: &Listener, settings: &Settings, hash: FlowHash) -> bool {
    M::LASTS && listener.has(Listener::FLAG_LOGGED) && Share(settings.flow_log_share).has(hash)
}

/// Only where all flows are tracked does the flow table tell those that begin.
#[inline(always)]
fn sign_of_datagram(listener: &Listener, settings: &Settings, hash: FlowHash) -> u32 {
    if listener.tracking != Listener::TRACK_ALWAYS {
        return Sign::NONE;
    }
    let sighting = Sighting { hash, now: slot::now(), idle: listener.idle };
    match maps::flow_set(hash.set() & settings.flow_set_mask) {
        Some(set) if set.peek(sighting).is_none() => Sign::FirstSeen as u32,
        _ => Sign::NONE,
    }
}

/// Were the verifier to tell the signs apart, it would walk all that follows once for each.
#[inline(always)]
fn forget(sign: u32, packet: &XdpPacket) -> u32 {
    forget_value::<{ Sign::BOUND }>(sign as usize, packet.interface() as usize) as u32
}
