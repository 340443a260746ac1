//! The bench's programs: the wrapper that feeds a program under BPF_PROG_TEST_RUN, and the floors to compare
//! with.
//!
//! ```text
//!   repeat: ┌→ wrapper: undo the encapsulation, write the next packet's headers ─tail call→ PROGRAMS[0] ─┐
//!           └────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The kernel hands each repetition the packet as the one before left it. The wrapper does the same work
//! whatever that was: one head adjustment (by zero bytes if nothing was encapsulated) and the same stores. With
//! PROGRAMS[0] empty it is its own cost, which the bench subtracts.
//!
//! Its stores have the sizes and places of the balancer's loads, because a load that spans two fresh stores
//! waits for both, and a packet from a network card would not do that. It leaves checksums as they are: no
//! program reads them.
//!
//! `wrapper_frame` restores one and the same frame each time, which may be any.
#![no_std]
#![no_main]

// The very stage that the balancer runs.
#[path = "../balancer/encapsulate.rs"]
mod encapsulate;
mod restored;
mod synthetic;

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{Array, ProgramArray},
    programs::XdpContext,
};
use lb_common::{
    bench::{SyntheticFlow, Workload},
    encapsulation::Target,
    flow::FlowHash,
    packet::{Datagram, Ipv4, Ipv6},
    reason::Reason,
};
use lb_ebpf::packet_memory::XdpPacket;
use synthetic::Synthetic;

/// What a stage returns.
type Stage<T> = Result<T, Reason>;

/// The program that is measured.
#[map]
static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// What packets are made of.
#[map]
static WORKLOAD: Array<Workload> = Array::with_max_entries(1, 0);
/// The only target of the floor that encapsulates.
#[map]
static TARGET: Array<Target> = Array::with_max_entries(1, 0);

/// The wrapper for IPv4.
#[xdp(frags)]
pub fn wrapper_ipv4(context: XdpContext) -> u32 {
    wrap::<Ipv4>(&context)
}

/// The wrapper for IPv6.
#[xdp(frags)]
pub fn wrapper_ipv6(context: XdpContext) -> u32 {
    wrap::<Ipv6>(&context)
}

/// The wrapper for a frame that user space made.
#[xdp(frags)]
pub fn wrapper_frame(context: XdpContext) -> u32 {
    if restored::restore(&mut XdpPacket::new(&context)).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: as in `wrap`.
    unsafe { PROGRAMS.tail_call(&context, 0) };
    xdp_action::XDP_TX
}

/// The floor under every program that sends.
#[xdp(frags)]
pub fn transmit(_context: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// The floor under every program that encapsulates IPv4.
#[xdp(frags)]
pub fn encapsulate_ipv4(context: XdpContext) -> u32 {
    encapsulate_only::<Ipv4>(&context)
}

/// The floor under every program that encapsulates IPv6.
#[xdp(frags)]
pub fn encapsulate_ipv6(context: XdpContext) -> u32 {
    encapsulate_only::<Ipv6>(&context)
}

#[inline(always)]
fn wrap<V: Synthetic>(context: &XdpContext) -> u32 {
    let mut packet = XdpPacket::new(context);
    let Some((workload, flow)) = next_flow() else {
        return xdp_action::XDP_ABORTED;
    };
    let grown = packet.frame().length_from(0) as i32 - workload.frame_length as i32;
    if !packet.move_start(grown) || V::write(&mut packet, workload.ethertype, flow).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: nothing of this program is needed after the call, and nothing of it waits to be dropped.
    unsafe { PROGRAMS.tail_call(context, 0) };
    xdp_action::XDP_TX
}

#[inline(always)]
fn next_flow() -> Option<(&'static Workload, SyntheticFlow)> {
    let workload = WORKLOAD.get_ptr_mut(0)?;
    // SAFETY: an array's element lives as long as the program; the bench runs it on one processor at a time,
    // and writes it only between runs.
    let workload = unsafe {
        (*workload).next = (*workload).next.wrapping_add(1);
        &*workload
    };
    Some((workload, workload.flow(workload.next.wrapping_sub(1))))
}

#[inline(always)]
fn encapsulate_only<V: Synthetic>(context: &XdpContext) -> u32 {
    let mut packet = XdpPacket::new(context);
    let datagram: Datagram<V::Addresses> = V::datagram(packet.frame().length_from(0) as u16);
    let Some(target) = TARGET.get(0) else {
        return xdp_action::XDP_ABORTED;
    };
    match encapsulate::send::<V>(&mut packet, &datagram, FlowHash(0), target) {
        Ok(action) => action,
        Err(_) => xdp_action::XDP_ABORTED,
    }
}
