//! The balancer: consistent-hash encapsulation of clients' packets to targets, in XDP.
//!
//! ```text
//!   parse → listener → slot → [exception?] → target → encapsulate → XDP_TX / redirect
//! ```
//!
//! Each stage is a file and returns what the next one needs, or the [`Reason`] why the packet goes no further;
//! [`balancer`] turns that into a verdict and a count. Until `encapsulate` (or `echo`) writes its first byte the
//! packet is untouched, so whatever is not a listener's goes up the host's stack as it came.
#![no_std]
#![no_main]

mod attributes;
mod counters;
mod echo;
mod encapsulate;
mod explain;
mod listener;
mod maps;
mod mode;
mod quic;
mod slot;
mod target;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::{
    flow::FlowHash,
    packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, MacAddress, Version, transport},
    reason::{Reason, Verdict},
};
use lb_ebpf::packet_memory::XdpPacket;
use mode::{Live, Mode};

/// What a stage returns.
type Stage<T> = Result<T, Reason>;

/// The program that is attached to the node's interfaces.
#[xdp]
#[inline(always)]
pub fn balancer(context: XdpContext) -> u32 {
    run::<Live>(&context)
}

/// Runs the stages on one packet, and returns the XDP action.
#[inline(always)]
fn run<M: Mode>(context: &XdpContext) -> u32 {
    let mut packet = XdpPacket::new(context);
    match balance::<M>(&mut packet) {
        Ok(action) => action,
        Err(reason) => {
            trace(context, reason);
            counters::count_reason::<M>(reason);
            action(reason.verdict())
        }
    }
}

#[inline(always)]
fn balance<M: Mode>(packet: &mut XdpPacket) -> Stage<u32> {
    let ethernet = Ethernet::parse(packet.frame())?;
    match ethernet.ethertype {
        ETHERTYPE_IPV4 => forward::<M, Ipv4>(packet, ethernet),
        ETHERTYPE_IPV6 => forward::<M, Ipv6>(packet, ethernet),
        _ => Err(Reason::NotIp),
    }
}

#[inline(always)]
fn forward<M: Mode, V: Version>(packet: &mut XdpPacket, ethernet: Ethernet) -> Stage<u32> {
    // A switch that floods hands every node the frames of the others.
    if ethernet.destination != MacAddress::from_bits(maps::interface(packet.interface())) {
        return Err(Reason::OtherMac);
    }
    let datagram = V::parse(packet.frame(), ethernet.payload)?;
    M::note(|trace| trace.datagram::<V>(&datagram));
    if datagram.protocol == V::ICMP {
        return echo::answer::<V>(packet, &datagram);
    }
    let transport = transport(packet.frame(), &datagram)?;
    M::note(|trace| trace.flow(&transport));
    let settings = maps::settings()?;
    let line = listener::find(&transport.flow, settings)?;
    let listener = line.listener();
    let hash: FlowHash = transport.flow.hash(line.hash_state());
    M::note(|trace| trace.listener(&listener, hash));
    let id = attributes::choose_target::<M, V>(packet.frame(), &transport, &listener, settings, hash)?;
    let target = target::find::<M>(id)?;
    let action = encapsulate::send::<V>(packet, &datagram, hash, target)?;
    counters::count_traffic::<M>(listener.counter, id, datagram.length);
    Ok(action)
}

#[inline(always)]
fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Passed => xdp_action::XDP_PASS,
        Verdict::Dropped => xdp_action::XDP_DROP,
        Verdict::Answered => xdp_action::XDP_TX,
    }
}

#[cfg(feature = "trace")]
fn trace(context: &XdpContext, reason: Reason) {
    aya_log_ebpf::info!(context, "{}", reason.name());
}

#[cfg(not(feature = "trace"))]
#[inline(always)]
fn trace(_context: &XdpContext, _reason: Reason) {}
