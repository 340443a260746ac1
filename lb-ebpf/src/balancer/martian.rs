//! Martian sources: packets of a listener, or pings of a VIP, that nobody can have sent who waits for an answer.
//!
//! They are dropped only once they are known to be for us: what is not goes up the stack, martian or not, and the
//! host has its own opinion of it.

use lb_common::{flow::Addresses, reason::Reason};
use lb_ebpf::packet_memory::XdpPacket;

use crate::Stage;

/// Refuses packets whose source is martian: no answer would reach their sender, and the targets' hosts would drop
/// them, or, where source and destination are the same, answer themselves.
#[inline(always)]
pub fn refuse<A: Addresses>(addresses: &A) -> Stage<()> {
    if addresses.is_martian() { Err(Reason::MartianSource) } else { Ok(()) }
}

/// Refuses packets that are to be answered to a group's MAC address: one frame would become many. Forwarded packets
/// leave with MAC addresses of their own, so only answers look at it.
#[inline(always)]
pub fn refuse_link(packet: &XdpPacket) -> Stage<()> {
    let source = packet.frame().view::<7>(0).ok_or(Reason::MalformedEthernet)?;
    if source.u8::<6>() & 1 == 1 { Err(Reason::MartianSource) } else { Ok(()) }
}
