//! The agent: takes clients' packets out of the tunnels from the nodes, in XDP on a target.
//!
//! ```text
//!   outer → local? → node? → inner → VIP? → decapsulate → XDP_PASS
//! ```
//!
//! What is no tunnel packet for this host goes up its stack untouched; a tunnel packet is delivered or dropped
//! with a [`Reason`], and only delivered if all of it is known: the node, this host and the VIP.
#![no_std]
#![no_main]

mod decapsulate;
mod maps;
mod mss;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::{
    flow::Addresses,
    packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, Version},
    reason::{Reason, Verdict},
    tunnel::{self, Payload, TunnelVersion},
};
use lb_ebpf::packet_memory::XdpPacket;

/// What a stage returns.
type Stage<T> = Result<T, Reason>;

/// The program that is attached to the target's interfaces.
#[xdp(frags)]
pub fn agent(context: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(&context);
    let reason = receive(&mut packet).err().unwrap_or(Reason::AgentDecapsulated);
    maps::add_reason(reason);
    match reason.verdict() {
        Verdict::Passed => xdp_action::XDP_PASS,
        Verdict::Dropped | Verdict::Answered => xdp_action::XDP_DROP,
    }
}

/// A frame for another MAC address needs no check here: the MAC addresses are kept, so the stack drops it.
#[inline(always)]
fn receive(packet: &mut XdpPacket) -> Stage<()> {
    let ethernet = Ethernet::parse(packet.frame())?;
    match ethernet.ethertype {
        ETHERTYPE_IPV4 => unpack::<Ipv4>(packet, ethernet),
        ETHERTYPE_IPV6 => unpack::<Ipv6>(packet, ethernet),
        _ => Err(Reason::NotIp),
    }
}

#[inline(always)]
fn unpack<Outer: TunnelVersion>(packet: &mut XdpPacket, ethernet: Ethernet) -> Stage<()> {
    let payload = from_node::<Outer>(packet, ethernet)?;
    if payload.protocol == Ipv4::PROTOCOL {
        deliver::<Outer, Ipv4>(packet, &payload)
    } else {
        deliver::<Outer, Ipv6>(packet, &payload)
    }
}

/// What a known node has sent to this host through a tunnel.
#[inline(always)]
fn from_node<Outer: TunnelVersion>(packet: &XdpPacket, ethernet: Ethernet) -> Stage<Payload> {
    let outer = tunnel::outer::<Outer>(packet.frame(), ethernet.payload)?;
    if !maps::is_local(&outer.addresses.destination()) {
        return Err(Reason::AgentNotTunnelled);
    }
    if !maps::is_node(&outer.addresses.source()) {
        return Err(Reason::AgentUnknownNode);
    }
    tunnel::payload(packet.frame(), &outer)
}

#[inline(always)]
fn deliver<Outer: TunnelVersion, Inner: TunnelVersion>(
    packet: &mut XdpPacket,
    payload: &Payload,
) -> Stage<()> {
    let inner = tunnel::inner::<Inner>(packet.frame(), payload)?;
    if !maps::is_vip(&inner.addresses.destination()) {
        return Err(Reason::AgentUnknownVip);
    }
    decapsulate::carry_congestion::<Outer, Inner>(packet, payload)?;
    decapsulate::cut::<Inner>(packet, payload.offset)
}
