//! What stands around a balancer on a wire: the flood that goes in, the sieve that takes it out at the far end, and
//! the programs that only send back, to compare with.
//!
//! ```text
//!   flood (BPF_PROG_TEST_RUN, live frames) ─ XDP_TX ─► veth ═ veth: balancer, swap ─ XDP_TX ─► veth: sieve
//!                                                              swap_redirect ─ redirect ─► other veth ═ veth: sieve
//! ```
//!
//! The flood's sources are in 198.18.0.0/15, which is kept for benchmarks (RFC 2544): by that the sieve knows its
//! packets, encapsulated or not, and all others pass.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::bpf_redirect,
    macros::{map, xdp},
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};
use lb_common::{
    bench::{FLOOD_MASK, FLOOD_SOURCES, Flood},
    memory::{View, ViewMut},
    packet::ETHERTYPE_IPV4,
};
use lb_ebpf::packet_memory::XdpPacket;

/// What the flood is made of.
#[map]
static FLOOD: Array<Flood> = Array::with_max_entries(1, 0);
/// Packets of the flood that came to the sieve.
#[map]
static SIEVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Bytes of Ethernet, IPv4 and TCP headers.
const HEADERS: usize = 54;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Writes the next packet's headers and sends it by the interface that it is said to come from.
#[xdp(frags)]
pub fn flood(context: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(&context);
    match next(&mut packet) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_ABORTED,
    }
}

/// The memory is an earlier packet's, of which a balancer may have overwritten the link-layer header.
#[inline(always)]
fn next(packet: &mut XdpPacket) -> Option<()> {
    let flood = FLOOD.get_ptr_mut(0)?;
    // SAFETY: an array's element lives as long as the program; user space runs it on one processor at a time, and
    // writes the element only between runs.
    let flood = unsafe {
        (*flood).next = (*flood).next.wrapping_add(1);
        &*flood
    };
    let flow = flood.flow();
    let mut frame: ViewMut<'_, HEADERS> = packet.view_mut(0)?;
    frame.set_raw64::<0>(flood.link[0]);
    frame.set_raw32::<8>(flood.link[1] as u32);
    frame.set_be16::<12>(ETHERTYPE_IPV4);
    frame.set_raw32::<26>(flow.source().to_be());
    frame.set_raw32::<30>(flood.vip);
    frame.set_be16::<34>(flow.source_port());
    frame.set_raw16::<36>(flood.port);
    frame.set_u8::<47>(if flow.is_syn { SYN } else { ACK });
    Some(())
}

/// Drops and counts the flood's packets; passes all others.
#[xdp(frags)]
pub fn sieve(context: XdpContext) -> u32 {
    let packet = XdpPacket::new(&context);
    if !is_of_flood(&packet) {
        return xdp_action::XDP_PASS;
    }
    if let Some(count) = SIEVED.get_ptr_mut(0) {
        // SAFETY: the value is this processor's own, and XDP programs do not interrupt each other on it.
        unsafe { *count += 1 };
    }
    xdp_action::XDP_DROP
}

#[inline(always)]
fn is_of_flood(packet: &XdpPacket) -> bool {
    let frame = packet.frame();
    let Some(outer) = frame.view::<34>(0) else { return false };
    if outer.be16::<12>() != ETHERTYPE_IPV4 {
        return false;
    }
    let inner: Option<View<'_, 20>> = frame.view(34);
    match inner {
        // IPIP, whose header has no options (RFC 2003).
        Some(inner) if outer.u8::<23>() == 4 => is_flood_source(inner.raw32::<12>()),
        _ => is_flood_source(outer.raw32::<26>()),
    }
}

#[inline(always)]
fn is_flood_source(address: u32) -> bool {
    u32::from_be(address) & FLOOD_MASK == FLOOD_SOURCES
}

/// Sends the frame back to where it came from.
#[xdp(frags)]
pub fn swap(context: XdpContext) -> u32 {
    match exchange(&mut XdpPacket::new(&context)) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_ABORTED,
    }
}

/// The same by another interface.
#[xdp(frags)]
pub fn swap_redirect(context: XdpContext) -> u32 {
    let way = FLOOD.get(0).map(|flood| flood.redirect_to);
    match (exchange(&mut XdpPacket::new(&context)), way) {
        // SAFETY: the helper has no preconditions.
        (Some(()), Some(interface)) => unsafe { bpf_redirect(interface, 0) as u32 },
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Exchanges the MAC addresses.
#[inline(always)]
fn exchange(packet: &mut XdpPacket) -> Option<()> {
    let mut link: ViewMut<'_, 12> = packet.view_mut(0)?;
    let words = [link.read().raw32::<0>(), link.read().raw32::<4>(), link.read().raw32::<8>()];
    link.set_raw32::<0>(words[1] >> 16 | words[2] << 16);
    link.set_raw32::<4>(words[2] >> 16 | words[0] << 16);
    link.set_raw32::<8>(words[0] >> 16 | words[1] << 16);
    Some(())
}
