//! What leaves the target from a VIP: the maximum segment size that is offered is lowered, so that clients' segments
//! fit the way from node to target, encapsulation included; and a target's port becomes its listener's again.
//!
//! This is a tc program and not XDP, because it is for what the host itself sends. Its helpers know whether a checksum
//! is complete or left to the network card, and do the right thing in both cases.

use aya_ebpf::{macros::classifier, programs::TcContext};
use lb_common::{
    flow::Addresses,
    packet::{
        ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6,
        mss::{MaximumSegmentSize, MssLimits, is_syn, offered},
    },
    port_translation::{End, Known, Translation, port},
    reason::Reason,
    tunnel::{TRANSLATED, TunnelVersion},
};
use lb_ebpf::packet_memory::{interface, linear_frame};

use crate::{maps, packet::GO_ON, sockets::SocketVersion};

/// `BPF_F_MARK_MANGLED_0`: a checksum of zero is none, and stays.
const ZERO_IS_NONE: u64 = 0x20;
const ICMP_HEADER: usize = 8;

/// The program that is attached to the egress of the target's interfaces.
#[classifier]
pub fn agent_egress(context: TcContext) -> i32 {
    if let Some((size, limit)) = too_large(&context)
        && lower(&context, size, limit).is_some()
    {
        maps::add_reason(Reason::AgentMssLowered);
    }
    if let Some(translation) = translation(&context) {
        // What can't be written leaves as it is.
        let _ = translate(&context, translation);
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
fn too_large_in<V: TunnelVersion>(context: &TcContext, offset: usize) -> Option<(MaximumSegmentSize, u16)> {
    let frame = linear_frame(context);
    // A large segment is longer than the part of it that is in one piece: no SYN, and the parse ends here.
    let datagram = V::parse(frame, offset).ok()?;
    if !is_syn(frame, &datagram) {
        return None;
    }
    maps::vip(&datagram.addresses.source())?;
    let limit = MssLimits(maps::mss_limits(interface(context))?).of_version(V::PROTOCOL);
    offered(frame, &datagram).filter(|size| size.value > limit).map(|size| (size, limit))
}

/// Writes the limit.
#[inline(always)]
fn lower(context: &TcContext, size: MaximumSegmentSize, limit: u16) -> Option<()> {
    let (old, new) = (size.word(size.value).to_be(), size.word(limit).to_be());
    context.l4_csum_replace(size.checksum(), old.into(), new.into(), 2).ok()?;
    context.store(size.offset, &limit.to_be(), 0).ok()
}

/// The port that has to become another, of a packet from a VIP some ports of which are translated.
#[inline(always)]
fn translation(context: &TcContext) -> Option<Translation> {
    let ethernet = Ethernet::parse(linear_frame(context)).ok()?;
    match ethernet.ethertype {
        ETHERTYPE_IPV4 => translation_in::<Ipv4>(context, ethernet.payload),
        ETHERTYPE_IPV6 => translation_in::<Ipv6>(context, ethernet.payload),
        _ => None,
    }
}

/// By the fixed header, that of a fragment included; the host sends nothing with extension headers before TCP and UDP.
#[inline(always)]
fn translation_in<V: SocketVersion>(context: &TcContext, offset: usize) -> Option<Translation> {
    let frame = linear_frame(context);
    let header = V::header(frame, offset)?;
    let vip = header.addresses.source();
    if maps::vip(&vip)? & TRANSLATED == 0 {
        return None;
    }
    let transport = header.payload?;
    if header.protocol == V::ICMP {
        return quoted::<V>(context, transport, vip);
    }
    let port = port(frame, header.protocol, transport, End::Source)?;
    let to = maps::other_port(&port.key(vip, Known::Target))?;
    Some(port.translation(to))
}

/// In an error of this host: the port that the client's packet came to.
#[inline(always)]
fn quoted<V: SocketVersion>(context: &TcContext, at: usize, vip: [u32; 4]) -> Option<Translation> {
    let frame = linear_frame(context);
    let message = frame.view::<ICMP_HEADER>(at)?;
    if !V::is_error(message.u8::<0>()) {
        return None;
    }
    let quote = V::header(frame, at + ICMP_HEADER)?;
    if quote.addresses.destination() != vip {
        return None;
    }
    let port = port(frame, quote.protocol, quote.payload?, End::Destination)?;
    let to = maps::other_port(&port.key(vip, Known::Target))?;
    Some(port.quoted_translation(to, at + 2))
}

#[inline(always)]
fn translate(context: &TcContext, translation: Translation) -> Option<()> {
    let Translation { port, checksum, from, to, may_have_no_checksum } = translation;
    let flags = 2 | if may_have_no_checksum { ZERO_IS_NONE } else { 0 };
    context.l4_csum_replace(checksum, from.into(), to.into(), flags).ok()?;
    context.store(port, &to, 0).ok()
}
