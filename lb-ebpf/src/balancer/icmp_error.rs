//! ICMP: errors about packets that a target sent go to that target, like its flow's packets; the rest is for
//! [`echo`].

use lb_common::{
    flow::Addresses,
    packet::{
        Datagram, Segment, Transport,
        icmp_error::{ErrorVersion, is_error, quoted_flow},
    },
    reason::Reason,
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::{Exit, attributes, counters, echo, encapsulate, listener, maps, mode::Mode, target};

/// What becomes of an ICMP message.
#[inline(always)]
pub fn receive<M: Mode, V: ErrorVersion>(
    packet: &mut XdpPacket,
    datagram: &Datagram<V::Addresses>,
) -> Result<u32, Exit> {
    if is_error::<V>(packet.frame(), datagram)? {
        forward::<M, V>(packet, datagram)
    } else {
        Ok(echo::answer::<V>(packet, datagram)?)
    }
}

/// Sends the error where the quoted packet came from. The host's own errors are told by their destination before
/// their quote is read: whatever they quote is not ours.
#[inline(always)]
fn forward<M: Mode, V: ErrorVersion>(
    packet: &mut XdpPacket,
    datagram: &Datagram<V::Addresses>,
) -> Result<u32, Exit> {
    if !maps::is_vip(&datagram.addresses.destination()) {
        return Err(Reason::NotOurs.into());
    }
    let flow = quoted_flow::<V>(packet.frame(), datagram)?;
    M::note(|trace| trace.flow(&Transport { flow, segment: Segment::Established }));
    let settings = maps::settings()?;
    let line = listener::find(&flow, settings)?;
    let listener = line.listener();
    let hash = flow.hash(line.hash_state());
    M::note(|trace| trace.listener(&listener, hash));
    let id = attributes::peek_target::<M, _>(&flow, &datagram.addresses, &listener, settings, hash)?;
    let action = encapsulate::send::<V>(packet, datagram, hash, target::find::<M>(id)?)?;
    counters::count_traffic::<M>(listener.counter, id, datagram.length);
    Ok(action)
}
