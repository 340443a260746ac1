//! The balancer while somebody captures. It forwards as the live programs do, and tells of
//! the packets that are wanted through a ring buffer; where that is full it counts, and never waits.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::{
    capture::{CaptureEvent, CaptureHeader, SNAP},
    packet::{Ipv4, Ipv6},
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::{
    chain, forward, forward_behind_policy, forward_by_attributes, forward_quic, fragment, icmp_error, maps,
    mode::Captured, policy, run, too_big,
};

/// Takes the live program's place by an update of its links, and gives it back.
#[xdp(frags)]
pub fn capture(context: XdpContext) -> u32 {
    begin(&context);
    run::<Captured, _, _>(&context, forward::<Captured, Ipv4>, forward::<Captured, Ipv6>)
}

/// Goes on with packets of listeners with attributes.
#[xdp(frags)]
pub fn capture_attributes(context: XdpContext) -> u32 {
    run::<Captured, _, _>(
        &context,
        forward_by_attributes::<Captured, Ipv4>,
        forward_by_attributes::<Captured, Ipv6>,
    )
}

/// Goes on with packets of QUIC listeners.
#[xdp(frags)]
pub fn capture_quic(context: XdpContext) -> u32 {
    run::<Captured, _, _>(&context, forward_quic::<Captured, Ipv4>, forward_quic::<Captured, Ipv6>)
}

/// Goes on with ICMP.
#[xdp(frags)]
pub fn capture_icmp(context: XdpContext) -> u32 {
    run::<Captured, _, _>(
        &context,
        icmp_error::receive::<Captured, Ipv4>,
        icmp_error::receive::<Captured, Ipv6>,
    )
}

/// Finds the ports of fragments.
#[xdp(frags)]
pub fn capture_fragment(context: XdpContext) -> u32 {
    run::<Captured, _, _>(&context, fragment::receive::<Captured, Ipv4>, fragment::receive::<Captured, Ipv6>)
}

/// Goes on with fragments whose ports are known.
#[xdp(frags)]
pub fn capture_fragment_flow(context: XdpContext) -> u32 {
    run::<Captured, _, _>(&context, fragment::forward::<Captured, Ipv4>, fragment::forward::<Captured, Ipv6>)
}

/// Goes on with packets that are too big for the way to their target.
#[xdp(frags)]
pub fn capture_too_big(context: XdpContext) -> u32 {
    run::<Captured, _, _>(&context, too_big::answer::<Captured, Ipv4>, too_big::answer::<Captured, Ipv6>)
}

/// Goes on with packets of listeners with a policy.
#[xdp(frags)]
pub fn capture_policy(context: XdpContext) -> u32 {
    run::<Captured, _, _>(
        &context,
        forward_behind_policy::<Captured, Ipv4>,
        forward_behind_policy::<Captured, Ipv6>,
    )
}

/// Finds the policies' verdicts on sources that were not seen lately, and counts new flows.
#[xdp(frags)]
pub fn capture_verdict(context: XdpContext) -> u32 {
    run::<Captured, _, _>(&context, policy::decide::<Captured, Ipv4>, policy::decide::<Captured, Ipv6>)
}

/// Goes on with packets of changing slots whose targets give second chances.
#[xdp(frags)]
pub fn capture_chain(context: XdpContext) -> u32 {
    run::<Captured, _, _>(&context, chain::forward::<Captured, Ipv4>, chain::forward::<Captured, Ipv6>)
}

/// Clears the record and keeps the packet as it came, unless the sample leaves it out: then its length is zero.
///
/// Nothing is returned, so that the verifier need not go through all stages once for each outcome.
#[inline(always)]
fn begin(context: &XdpContext) {
    let (Some(event), Some(filter)) = (maps::captured(), maps::capture_filter()) else { return };
    event.header = CaptureHeader::default();
    if filter.sample > 1 && maps::random() % filter.sample != 0 {
        return;
    }
    let packet = XdpPacket::new(context);
    event.header.time = maps::monotonic_nanoseconds();
    event.header.trace.interface = packet.interface();
    event.header.length_in = packet.length();
    event.header.captured[0] = packet.copy_to::<SNAP, { 2 * SNAP }>(&mut event.bytes, 0) as u16;
}

/// Tells of the packet if it is wanted.
#[inline(always)]
pub fn finish(context: &XdpContext, action: u32) {
    let (Some(event), Some(filter)) = (maps::captured(), maps::capture_filter()) else { return };
    if event.header.length_in == 0 || !filter.admits(&event.header.trace) {
        return;
    }
    event.header.action = action;
    let packet = XdpPacket::new(context);
    let kept = (event.header.captured[0] as usize).min(SNAP);
    let mut left = 0;
    if action == xdp_action::XDP_TX || action == xdp_action::XDP_REDIRECT {
        event.header.length_out = packet.length();
        left = packet.copy_to::<SNAP, { 2 * SNAP }>(&mut event.bytes, kept);
        event.header.captured[1] = left as u16;
    }
    tell(event, kept + left);
}

#[inline(always)]
fn tell(event: &CaptureEvent, bytes: usize) {
    // The verifier must see that no more is read than the event holds.
    let length = size_of::<CaptureHeader>() + bytes.min(2 * SNAP);
    if !maps::tell_captured(event, length) {
        maps::count_lost();
    }
}
