//! The maximum segment size that targets offer: lowered in what leaves the host, so that clients' segments fit the
//! way from node to target, encapsulation included.
//!
//! This is a tc program and not XDP, because it is for what the host itself sends.

use aya_ebpf::{macros::classifier, programs::TcContext};
use lb_common::{
    flow::Addresses,
    packet::{
        ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, Version,
        mss::{MaximumSegmentSize, MssLimits, is_syn, offered},
    },
    reason::Reason,
};
use lb_ebpf::packet_memory::{interface, linear_frame};

use crate::maps;

/// `TC_ACT_UNSPEC`, which is also `TCX_NEXT`: the packet goes on as if this program were not there.
const GO_ON: i32 = -1;

/// The program that is attached to the egress of the target's interfaces.
#[classifier]
pub fn lower_mss(context: TcContext) -> i32 {
    if let Some((size, limit)) = too_large(&context)
        && lower(&context, size, limit).is_some()
    {
        maps::add_reason(Reason::AgentMssLowered);
    }
    GO_ON
}

/// The size that a SYN or SYN-ACK from a VIP offers, if it is over the limit, and the limit.
#[inline(always)]
fn too_large(context: &TcContext) -> Option<(MaximumSegmentSize, u16)> {
    let ethernet = Ethernet::parse(linear_frame(context)).ok()?;
    match ethernet.ethertype {
        ETHERTYPE_IPV4 => too_large_in::<Ipv4>(context, ethernet.payload),
        ETHERTYPE_IPV6 => too_large_in::<Ipv6>(context, ethernet.payload),
        _ => None,
    }
}

#[inline(always)]
fn too_large_in<V: Version>(context: &TcContext, offset: usize) -> Option<(MaximumSegmentSize, u16)> {
    let frame = linear_frame(context);
    // A large segment is longer than the part of it that is in one piece: no SYN, and the parse ends here.
    let datagram = V::parse(frame, offset).ok()?;
    if !is_syn(frame, &datagram) || !maps::is_vip(&datagram.addresses.source()) {
        return None;
    }
    let limit = MssLimits(maps::mss_limits(interface(context))?).of_version(V::PROTOCOL);
    offered(frame, &datagram).filter(|size| size.value > limit).map(|size| (size, limit))
}

/// Writes the limit. The helper knows whether the checksum is complete or left to the network card, and does the
/// right thing in both cases.
#[inline(always)]
fn lower(context: &TcContext, size: MaximumSegmentSize, limit: u16) -> Option<()> {
    let (old, new) = (size.word(size.value).to_be(), size.word(limit).to_be());
    context.l4_csum_replace(size.checksum(), old.into(), new.into(), 2).ok()?;
    context.store(size.offset, &limit.to_be(), 0).ok()
}
