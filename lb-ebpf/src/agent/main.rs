//! The agent: takes clients' packets out of the tunnels from the nodes, in XDP (or tc) on a target.
//!
//! ```text
//!   outer → local? → contents → node or peer? → inner → VIP? → claim ─► decapsulate → XDP_PASS
//!                        └► probe                          └► icmp └► hand on → XDP_TX / redirect
//! ```
//!
//! What is no tunnel packet for this host goes up its stack untouched; a tunnel packet is delivered, handed on or
//! dropped with a [`Reason`], and only if all of it is known: the node or peer, this host and the VIP.
#![no_std]
#![no_main]
// For the one instruction in `maps` that keeps calls apart.
#![feature(asm_experimental_arch)]

mod claim;
mod decapsulate;
mod egress;
mod hand_on;
mod icmp;
mod maps;
mod packet;
mod probe;
mod sockets;

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use lb_common::{
    flow::Addresses,
    gue::Chain,
    memory::forget_value,
    packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, Version},
    reason::Reason,
    tunnel::{self, Contents, Continuation, Outer, Payload, TunnelVersion},
};
use lb_ebpf::packet_memory::XdpPacket;
use packet::{Packet, SkbPacket};

/// What a stage returns.
type Stage<T> = Result<T, Reason>;

/// How the agent ends with a packet.
enum Exit {
    /// By its verdict.
    Reason(Reason),
    /// It was sent, by this action of the program.
    Sent(Reason, i32),
    /// Another program goes on with it.
    Continue(Continuation),
}

impl From<Reason> for Exit {
    #[inline(always)]
    fn from(reason: Reason) -> Exit {
        Exit::Reason(reason)
    }
}

/// The program that is attached to the target's interfaces.
#[xdp(frags)]
pub fn agent(context: XdpContext) -> u32 {
    run(XdpPacket::new(&context), receive)
}

/// Gives the next target what no socket here has.
#[xdp(frags)]
pub fn agent_hand_on(context: XdpContext) -> u32 {
    run(XdpPacket::new(&context), hand_on::hand_on)
}

/// Goes on with ICMP.
#[xdp(frags)]
pub fn agent_icmp(context: XdpContext) -> u32 {
    run(XdpPacket::new(&context), icmp::receive)
}

/// Answers a node's question.
#[xdp(frags)]
pub fn agent_probe(context: XdpContext) -> u32 {
    run(XdpPacket::new(&context), probe::answer)
}

/// Goes on with IPv6 that has extension headers.
#[xdp(frags)]
pub fn agent_extended(context: XdpContext) -> u32 {
    run(XdpPacket::new(&context), claim::receive_extended)
}

/// As [`agent`], on interfaces whose XDP is another's.
#[classifier]
pub fn agent_tc(context: TcContext) -> i32 {
    run(SkbPacket::new(&context), receive) as i32
}

/// As [`agent_hand_on`].
#[classifier]
pub fn agent_tc_hand_on(context: TcContext) -> i32 {
    run(SkbPacket::new(&context), hand_on::hand_on) as i32
}

/// As [`agent_icmp`].
#[classifier]
pub fn agent_tc_icmp(context: TcContext) -> i32 {
    run(SkbPacket::new(&context), icmp::receive) as i32
}

/// As [`agent_probe`].
#[classifier]
pub fn agent_tc_probe(context: TcContext) -> i32 {
    run(SkbPacket::new(&context), probe::answer) as i32
}

/// As [`agent_extended`].
#[classifier]
pub fn agent_tc_extended(context: TcContext) -> i32 {
    run(SkbPacket::new(&context), claim::receive_extended) as i32
}

/// Runs the stages, and returns the program's action.
#[inline(always)]
fn run<P: Packet>(mut packet: P, stages: impl FnOnce(&mut P) -> Exit) -> u32 {
    let (reason, action) = match stages(&mut packet) {
        Exit::Reason(reason) => (reason, P::action(reason.verdict())),
        Exit::Sent(reason, action) => (reason, action),
        Exit::Continue(continuation) => {
            packet.leave_to(continuation);
            // All programs are in place before the first is attached, and leave it after the last is detached.
            (Reason::AgentMalformed, P::action(Reason::AgentMalformed.verdict()))
        }
    };
    maps::add_reason(reason);
    action as u32
}

#[inline(always)]
fn receive<P: Packet>(packet: &mut P) -> Exit {
    let received = match arrive(packet) {
        Err(exit) => Err(exit),
        Ok(arrival) if arrival.payload.protocol == Ipv4::PROTOCOL => {
            claim::receive::<P, Ipv4>(packet, &arrival)
        }
        Ok(arrival) => claim::receive::<P, Ipv6>(packet, &arrival),
    };
    received.map_or_else(|exit| exit, Exit::Reason)
}

/// A tunnel packet of a known node or peer for this host. It does not say of which version the outer header is:
/// the verifier need not walk what follows once for each.
struct Arrival {
    payload: Payload,
    /// The outer header's congestion field.
    congestion: u8,
    /// Whether a chain has a next target.
    has_next: bool,
    /// Whether a chain names, or named, another target: whose the packet is must be looked at.
    is_chained: bool,
}

/// A frame for another MAC address needs no check here: the MAC addresses are kept, so the stack drops it.
#[inline(always)]
fn arrive<P: Packet>(packet: &P) -> Result<Arrival, Exit> {
    let ethernet = Ethernet::parse(packet.frame())?;
    match ethernet.ethertype {
        ETHERTYPE_IPV4 => arrival::<P, Ipv4>(packet, ethernet.payload),
        ETHERTYPE_IPV6 => arrival::<P, Ipv6>(packet, ethernet.payload),
        _ => Err(Reason::NotIp.into()),
    }
}

#[inline(always)]
fn arrival<P: Packet, V: TunnelVersion>(packet: &P, offset: usize) -> Result<Arrival, Exit> {
    let outer = outer::<P, V>(packet, offset)?;
    match tunnel::contents::<V>(packet.frame(), &outer)? {
        Contents::Probe { .. } => Err(Exit::Continue(Continuation::Probe)),
        Contents::Packet { payload, chain, .. } => {
            expect_known::<V>(&outer, chain)?;
            let header = packet.frame().view(payload.outer).ok_or(Reason::AgentMalformed)?;
            let (has_next, is_chained) = (chain.remaining() > 0, chain.remaining() + chain.hops() > 0);
            let noise = packet.frame().length_from(0);
            let congestion = forget_value::<4>(V::congestion(header) as usize, noise) as u8;
            Ok(Arrival {
                payload: payload.forget(noise),
                congestion,
                has_next: forget_value::<2>(has_next as usize, noise) != 0,
                is_chained: forget_value::<2>(is_chained as usize, noise) != 0,
            })
        }
    }
}

/// The header of a tunnel packet for this host.
#[inline(always)]
fn outer<P: Packet, V: TunnelVersion>(packet: &P, offset: usize) -> Stage<Outer<V::Addresses>> {
    let outer = tunnel::outer::<V>(packet.frame(), offset)?;
    if maps::is_local(&outer.addresses.destination()) { Ok(outer) } else { Err(Reason::AgentNotTunnelled) }
}

/// A packet comes from a node first, and from a peer when it was handed on; never otherwise.
#[inline(always)]
fn expect_known<V: TunnelVersion>(outer: &Outer<V::Addresses>, chain: Chain<V::Target>) -> Stage<()> {
    let source = outer.addresses.source();
    if chain.hops() > 0 {
        return if maps::is_peer(source) { Ok(()) } else { Err(Reason::AgentUnknownPeer) };
    }
    if maps::is_node(&source) { Ok(()) } else { Err(Reason::AgentUnknownNode) }
}
