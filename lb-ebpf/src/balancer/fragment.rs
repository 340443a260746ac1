//! The fragment stage: the ports of a fragment, by which it then goes through the other stages like any packet of its
//! flow.
//!
//! ```text
//!   balancer ──→ balancer_fragment ──→ balancer_fragment_flow: listener → slot → …
//!                 first: ports → FRAGMENTS     with the ports out of FRAGMENT_PORTS
//!                 later: ports ← FRAGMENTS
//! ```
//!
//! Only fragments of TCP and UDP to a VIP come that far. All others are the host's, and later ones whose datagram is
//! not known are dropped: the target would wait for the rest in vain, the host too.

use lb_common::{
    flow::{Addresses, Flow, TCP},
    fragments::{Identity, Ports},
    listener::Listener,
    maps::{Continuation, FragmentPorts, Settings},
    packet::{FragmentVersion, Part, Segment, Transport, ends_inside_header, transport},
    reason::Reason,
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::{Exit, Stage, attributes, flow_log, listener, maps, mode::Mode, policy, send, slot};

/// Bytes of TCP that a fragment at this offset would write over: its flags (RFC 1858, RFC 3128).
const INSIDE_TCP: u16 = 8;

/// Finds a fragment's ports, and leaves it to the program that goes on with them.
#[inline(always)]
pub fn receive<M: Mode, V: FragmentVersion>(
    packet: &mut XdpPacket,
    part: &Part<V::Addresses>,
) -> Result<u32, Exit> {
    let found = ports::<M, V>(packet, part).map_err(Exit::Reason)?;
    maps::note_fragment::<M>(FragmentPorts::new(part.fragment.mark(), found));
    Err(Exit::Continue(Continuation::FragmentFlow))
}

#[inline(always)]
fn ports<M: Mode, V: FragmentVersion>(
    packet: &XdpPacket,
    part: &Part<V::Addresses>,
) -> Stage<(Ports, Segment)> {
    M::note(|trace| trace.fragment(part.fragment));
    if !maps::is_vip(&part.datagram.addresses.destination()) {
        return Err(Reason::Fragment);
    }
    let settings = maps::settings()?;
    if part.fragment.is_first() {
        first::<M, V>(packet, part, settings)
    } else {
        later::<M, V>(part, settings)
    }
}

/// A first fragment has its ports, or is made to hide them: no link is so narrow that it would have to be shorter
/// than its headers (RFC 791 asks for 68 bytes, RFC 7112 for the whole header chain).
#[inline(always)]
fn first<M: Mode, V: FragmentVersion>(
    packet: &XdpPacket,
    part: &Part<V::Addresses>,
    settings: &Settings,
) -> Stage<(Ports, Segment)> {
    if ends_inside_header(&part.datagram).map_err(|_| Reason::Fragment)? {
        return Err(Reason::TinyFragment);
    }
    let Transport { flow, segment } = transport(packet.frame(), &part.datagram)?;
    let ports = Ports { both: flow.ports, protocol: flow.protocol };
    let identity = identity::<V>(part, settings);
    if M::LASTS
        && let Some(set) = maps::fragment_set(identity.set() & settings.fragment_set_mask)
    {
        set.remember(identity, ports, slot::now());
    }
    Ok((ports, segment))
}

#[inline(always)]
fn later<M: Mode, V: FragmentVersion>(
    part: &Part<V::Addresses>,
    settings: &Settings,
) -> Stage<(Ports, Segment)> {
    if !V::may_have_ports(part.datagram.protocol) {
        return Err(Reason::Fragment);
    }
    if part.datagram.protocol == TCP && part.fragment.offset() == INSIDE_TCP {
        return Err(Reason::TinyFragment);
    }
    let identity = identity::<V>(part, settings);
    let set =
        maps::fragment_set(identity.set() & settings.fragment_set_mask).ok_or(Reason::FragmentUnknown)?;
    let found = if M::LASTS && part.fragment.has_more() {
        set.confirm(identity, slot::now())
    } else {
        set.peek(identity, slot::now())
    };
    let ports = found.ok_or(Reason::FragmentUnknown)?;
    // Whatever the first fragment was, this one does not begin the flow.
    Ok((ports, if ports.protocol == TCP { Segment::Established } else { Segment::Ageless }))
}

#[inline(always)]
fn identity<V: FragmentVersion>(part: &Part<V::Addresses>, settings: &Settings) -> Identity {
    let Part { datagram, fragment } = part;
    let protocol = V::told_apart_by(datagram.protocol);
    Identity::new(settings.hash_key, &datagram.addresses, fragment.identification, protocol)
}

/// Forwards a fragment whose ports [`receive`] has found: all that a listener may have is looked at here but QUIC's
/// connection ids, which later fragments do not have (and QUIC's packets are never fragmented: RFC 9000, 14).
#[inline(always)]
pub fn forward<M: Mode, V: FragmentVersion>(
    packet: &mut XdpPacket,
    part: &Part<V::Addresses>,
) -> Result<u32, Exit> {
    let transport = transport_of::<M, _>(part)?;
    M::note(|trace| trace.flow(&transport));
    let Transport { flow, segment } = transport;
    let settings = maps::settings()?;
    let line = listener::find(&flow, settings)?;
    let listener = line.listener();
    let hash = flow.hash(line.hash_state());
    M::note(|trace| trace.listener(&listener, hash));
    if listener.has(Listener::FLAG_POLICY) {
        policy::check::<M, V::Addresses>(&transport, &listener, settings)?;
    }
    let sign = flow_log::sign_of_fragment::<M, _>(packet, &transport, (&listener, settings, hash));
    let id = attributes::choose_target::<M, V::Addresses>(&flow, segment, &listener, settings, hash)?;
    let action = send::<M, V>(packet, &part.datagram, &listener, hash, id)?;
    flow_log::tell(sign, &flow, id);
    Ok(action)
}

/// The flow's packet that a fragment is which came by [`receive`].
#[inline(always)]
pub fn transport_of<M: Mode, A: Addresses>(part: &Part<A>) -> Stage<Transport<A>> {
    let (ports, segment) = maps::fragment_ports::<M>(part.fragment.mark()).ok_or(Reason::FragmentUnknown)?;
    let flow = Flow { addresses: part.datagram.addresses, ports: ports.both, protocol: ports.protocol };
    Ok(Transport { flow, segment })
}
