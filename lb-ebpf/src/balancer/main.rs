//! The balancer: consistent-hash encapsulation of clients' packets to targets, in XDP.
//!
//! ```text
//!   parse → listener → [policy] → slot → [exception?] → target → encapsulate → XDP_TX / redirect
//! ```
//!
//! Each stage is a file and returns what the next one needs, or the [`Reason`] why the packet goes no further;
//! [`run`] turns that into a verdict and a count. Until `encapsulate` (or `echo`, or `too_big`) writes its
//! first byte the packet is untouched, so whatever is not a listener's goes up the host's stack as it came.
#![no_std]
#![no_main]

mod attributes;
mod capture;
mod chain;
mod counters;
mod echo;
mod encapsulate;
mod explain;
mod flow_log;
mod fragment;
mod icmp_error;
mod listener;
mod maps;
mod martian;
mod mode;
mod policy;
mod quic;
mod slot;
mod target;
mod too_big;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::{
    flow::FlowHash,
    listener::Listener,
    maps::{Continuation, Programs},
    memory::{Frame, forget_value},
    packet::{
        Datagram, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, FragmentVersion, Ipv4, Ipv6, MacAddress, Parsed,
        Part, Route, Transport, Version, transport,
    },
    reason::{Reason, Verdict},
    target_id::TargetId,
};
use lb_ebpf::packet_memory::XdpPacket;
use mode::{Live, Mode};

/// What a stage returns.
type Stage<T> = Result<T, Reason>;

/// How the balancer ends with a packet that it has not sent.
enum Exit {
    /// It goes no further, and this is why.
    Reason(Reason),
    /// Another program goes on with it.
    Continue(Continuation),
}

impl From<Reason> for Exit {
    #[inline(always)]
    fn from(reason: Reason) -> Exit {
        Exit::Reason(reason)
    }
}

/// The program that is attached to the node's interfaces: packets of listeners without attributes.
#[xdp(frags)]
pub fn balancer(context: XdpContext) -> u32 {
    run::<Live, _, _>(&context, forward::<Live, Ipv4>, forward::<Live, Ipv6>)
}

/// Goes on with packets of listeners with attributes.
#[xdp(frags)]
pub fn balancer_attributes(context: XdpContext) -> u32 {
    run::<Live, _, _>(&context, forward_by_attributes::<Live, Ipv4>, forward_by_attributes::<Live, Ipv6>)
}

/// Goes on with packets of QUIC listeners.
#[xdp(frags)]
pub fn balancer_quic(context: XdpContext) -> u32 {
    run::<Live, _, _>(&context, forward_quic::<Live, Ipv4>, forward_quic::<Live, Ipv6>)
}

/// Goes on with ICMP.
#[xdp(frags)]
pub fn balancer_icmp(context: XdpContext) -> u32 {
    run::<Live, _, _>(&context, icmp_error::receive::<Live, Ipv4>, icmp_error::receive::<Live, Ipv6>)
}

/// Finds the ports of fragments.
#[xdp(frags)]
pub fn balancer_fragment(context: XdpContext) -> u32 {
    run::<Live, _, _>(&context, fragment::receive::<Live, Ipv4>, fragment::receive::<Live, Ipv6>)
}

/// Goes on with fragments whose ports are known.
#[xdp(frags)]
pub fn balancer_fragment_flow(context: XdpContext) -> u32 {
    run::<Live, _, _>(&context, fragment::forward::<Live, Ipv4>, fragment::forward::<Live, Ipv6>)
}

/// Goes on with packets that are too big for the way to their target.
#[xdp(frags)]
pub fn balancer_too_big(context: XdpContext) -> u32 {
    run::<Live, _, _>(&context, too_big::answer::<Live, Ipv4>, too_big::answer::<Live, Ipv6>)
}

/// What a program reads of an IP packet before its own stages begin.
trait Header<V: Version>: Sized {
    fn read(frame: Frame<'_>, offset: usize) -> Parsed<Self>;
    fn datagram(&self) -> &Datagram<V::Addresses>;
}

/// Whole packets; fragments end with a [`Reason`].
impl<V: Version> Header<V> for Datagram<V::Addresses> {
    #[inline(always)]
    fn read(frame: Frame<'_>, offset: usize) -> Parsed<Self> {
        V::parse(frame, offset)
    }

    #[inline(always)]
    fn datagram(&self) -> &Datagram<V::Addresses> {
        self
    }
}

/// Whole packets and fragments.
impl<V: FragmentVersion> Header<V> for Part<V::Addresses> {
    #[inline(always)]
    fn read(frame: Frame<'_>, offset: usize) -> Parsed<Self> {
        V::part(frame, offset)
    }

    #[inline(always)]
    fn datagram(&self) -> &Datagram<V::Addresses> {
        &self.datagram
    }
}

/// Goes on with packets of listeners with a policy.
#[xdp(frags)]
pub fn balancer_policy(context: XdpContext) -> u32 {
    run::<Live, _, _>(&context, forward_behind_policy::<Live, Ipv4>, forward_behind_policy::<Live, Ipv6>)
}

/// Finds the policies' verdicts on sources that were not seen lately, and counts new flows.
#[xdp(frags)]
pub fn balancer_verdict(context: XdpContext) -> u32 {
    run::<Live, _, _>(&context, policy::decide::<Live, Ipv4>, policy::decide::<Live, Ipv6>)
}

/// Goes on with packets of changing slots whose targets give second chances.
#[xdp(frags)]
pub fn balancer_chain(context: XdpContext) -> u32 {
    run::<Live, _, _>(&context, chain::forward::<Live, Ipv4>, chain::forward::<Live, Ipv6>)
}

/// Runs the stages for the packet's version of IP, and returns the XDP action.
#[inline(always)]
fn run<M: Mode, H4: Header<Ipv4>, H6: Header<Ipv6>>(
    context: &XdpContext,
    ipv4: impl FnOnce(&mut XdpPacket, &H4) -> Result<u32, Exit>,
    ipv6: impl FnOnce(&mut XdpPacket, &H6) -> Result<u32, Exit>,
) -> u32 {
    let action = match balance::<M, H4, H6>(&mut XdpPacket::new(context), ipv4, ipv6) {
        Ok(action) => action,
        Err(Exit::Reason(reason)) => end::<M>(context, reason),
        Err(Exit::Continue(continuation)) => {
            maps::continue_in(context, M::PROGRAMS, continuation);
            // The loader has put all programs in place before it attaches the first.
            end::<M>(context, Reason::NoTable)
        }
    };
    M::ends(context, action);
    action
}

#[inline(always)]
fn balance<M: Mode, H4: Header<Ipv4>, H6: Header<Ipv6>>(
    packet: &mut XdpPacket,
    ipv4: impl FnOnce(&mut XdpPacket, &H4) -> Result<u32, Exit>,
    ipv6: impl FnOnce(&mut XdpPacket, &H6) -> Result<u32, Exit>,
) -> Result<u32, Exit> {
    let ethernet = Ethernet::parse(packet.frame())?;
    match ethernet.ethertype {
        ETHERTYPE_IPV4 => ipv4(packet, &header::<M, Ipv4, H4>(packet, ethernet).map_err(unread)?),
        ETHERTYPE_IPV6 => ipv6(packet, &header::<M, Ipv6, H6>(packet, ethernet).map_err(unread)?),
        _ => Err(Reason::NotIp.into()),
    }
}

/// What becomes of a packet whose headers a program has not read: of a fragment another program does.
#[inline(always)]
fn unread(reason: Reason) -> Exit {
    if reason == Reason::Fragment { Exit::Continue(Continuation::Fragment) } else { reason.into() }
}

#[inline(always)]
fn header<M: Mode, V: Version, H: Header<V>>(packet: &XdpPacket, ethernet: Ethernet) -> Stage<H> {
    // A switch that floods hands every node the frames of the others.
    if ethernet.destination != MacAddress::from_bits(maps::interface(packet.interface())) {
        return Err(Reason::OtherMac);
    }
    let header = H::read(packet.frame(), ethernet.payload)?;
    M::note(|trace| trace.datagram::<V>(header.datagram()));
    Ok(header)
}

#[inline(always)]
fn forward<M: Mode, V: Version>(
    packet: &mut XdpPacket,
    datagram: &Datagram<V::Addresses>,
) -> Result<u32, Exit> {
    if datagram.protocol == V::ICMP {
        return Err(Exit::Continue(Continuation::Icmp));
    }
    let transport = transport(packet.frame(), datagram)?;
    M::note(|trace| trace.flow(&transport));
    let settings = maps::settings()?;
    let line = listener::find(&transport.flow, settings)?;
    let listener = line.listener();
    if listener.flags != 0 {
        return Err(Exit::Continue(set_aside(listener.flags)));
    }
    let hash: FlowHash = transport.flow.hash(line.hash_state());
    M::note(|trace| trace.listener(&listener, hash));
    martian::refuse(&datagram.addresses)?;
    let id = slot::choose_target::<M>(&listener, settings, hash, hash, transport.segment)?;
    send::<M, V>(packet, datagram, &listener, hash, id)
}

/// The program for packets of listeners with these flags: a policy comes before all else.
#[inline(always)]
fn set_aside(flags: u32) -> Continuation {
    if flags & Listener::FLAG_POLICY != 0 {
        Continuation::Policy
    } else if flags & Listener::FLAG_QUIC != 0 {
        Continuation::Quic
    } else {
        Continuation::Attributes
    }
}

/// As [`forward`], for listeners with a policy: were it there, its paths would cost packets without one 2.5 ns.
#[inline(always)]
fn forward_behind_policy<M: Mode, V: Version>(
    packet: &mut XdpPacket,
    datagram: &Datagram<V::Addresses>,
) -> Result<u32, Exit> {
    let transport = transport(packet.frame(), datagram)?;
    M::note(|trace| trace.flow(&transport));
    let settings = maps::settings()?;
    let line = listener::find(&transport.flow, settings)?;
    let listener = line.listener();
    let hash = transport.flow.hash(line.hash_state());
    M::note(|trace| trace.listener(&listener, hash));
    policy::check::<M, V::Addresses>(&transport, &listener, settings)?;
    let flags = listener.flags & !Listener::FLAG_POLICY;
    if flags != 0 {
        return Err(Exit::Continue(set_aside(flags)));
    }
    martian::refuse(&datagram.addresses)?;
    let id = slot::choose_target::<M>(&listener, settings, hash, hash, transport.segment)?;
    send::<M, V>(packet, datagram, &listener, hash, id)
}

#[inline(always)]
fn forward_by_attributes<M: Mode, V: Version>(
    packet: &mut XdpPacket,
    datagram: &Datagram<V::Addresses>,
) -> Result<u32, Exit> {
    let transport = transport(packet.frame(), datagram)?;
    M::note(|trace| trace.flow(&transport));
    let Transport { flow, segment } = transport;
    let settings = maps::settings()?;
    let line = listener::find(&flow, settings)?;
    let listener = line.listener();
    let hash = flow.hash(line.hash_state());
    M::note(|trace| trace.listener(&listener, hash));
    let sign = flow_log::sign::<M, V::Addresses>(packet, datagram, &transport, (&listener, settings, hash));
    let id = attributes::choose_target::<M, V::Addresses>(&flow, segment, &listener, settings, hash)?;
    let action = send::<M, V>(packet, datagram, &listener, hash, id)?;
    flow_log::tell(sign, &flow, id);
    Ok(action)
}

#[inline(always)]
fn forward_quic<M: Mode, V: Version>(
    packet: &mut XdpPacket,
    datagram: &Datagram<V::Addresses>,
) -> Result<u32, Exit> {
    let transport = transport(packet.frame(), datagram)?;
    M::note(|trace| trace.flow(&transport));
    let Transport { flow, .. } = transport;
    let settings = maps::settings()?;
    let line = listener::find(&flow, settings)?;
    let listener = line.listener();
    let hash = flow.hash(line.hash_state());
    M::note(|trace| trace.listener(&listener, hash));
    let sign = flow_log::sign::<M, V::Addresses>(packet, datagram, &transport, (&listener, settings, hash));
    let id = match quic::route::<V>(packet.frame(), &listener) {
        Route::Target(id) => {
            attributes::refuse_tunnel(&flow, &listener)?;
            martian::refuse(&datagram.addresses)?;
            M::note(|trace| trace.server_id());
            id
        }
        Route::Table(segment) => {
            attributes::choose_target::<M, V::Addresses>(&flow, segment, &listener, settings, hash)?
        }
    };
    let action = send::<M, V>(packet, datagram, &listener, hash, id)?;
    flow_log::tell(sign, &flow, id);
    Ok(action)
}

#[inline(always)]
fn send<M: Mode, V: Version>(
    packet: &mut XdpPacket,
    datagram: &Datagram<V::Addresses>,
    listener: &Listener,
    hash: FlowHash,
    id: TargetId,
) -> Result<u32, Exit> {
    let target = target::find::<M>(id)?;
    let action = encapsulate::send::<V>(packet, datagram, hash, target)
        .map_err(|reason| too_big::exit::<M>(reason, target))?;
    counters::count_traffic::<M>(listener.counter, id, datagram.length);
    Ok(action)
}

#[inline(always)]
fn end<M: Mode>(context: &XdpContext, reason: Reason) -> u32 {
    let action = action(reason.verdict());
    // From here on the verifier need not tell the reasons apart.
    let packet = XdpPacket::new(context);
    let number = forget_value::<{ Reason::COUNTERS }>(reason as usize, packet.interface() as usize) as u32;
    let number = unless_split(&packet, number);
    if matches!(M::PROGRAMS, Programs::Live) {
        trace(context, number);
    }
    counters::count_reason::<M>(number);
    action
}

/// The reason's number, or that of [`Reason::SplitHeaders`]: the parser sees the first buffer only, and takes headers
/// that it does not find there for missing. All of these reasons pass the packet on.
#[inline(always)]
fn unless_split(packet: &XdpPacket, number: u32) -> u32 {
    const FIRST: u32 = Reason::MalformedEthernet as u32;
    const LAST: u32 = Reason::MalformedTransport as u32;
    let is_malformed = matches!(number, FIRST..=LAST) || number == Reason::MalformedQuote as u32;
    if is_malformed && packet.has_several_buffers() { Reason::SplitHeaders as u32 } else { number }
}

#[inline(always)]
fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Passed => xdp_action::XDP_PASS,
        Verdict::Dropped => xdp_action::XDP_DROP,
        Verdict::Answered => xdp_action::XDP_TX,
    }
}

/// The reason's number, as in the README's table: a name would be a path of its own for the verifier.
#[cfg(feature = "trace")]
fn trace(context: &XdpContext, number: u32) {
    aya_log_ebpf::info!(context, "not forwarded, reason {}", number);
}

#[cfg(not(feature = "trace"))]
#[inline(always)]
fn trace(_context: &XdpContext, _number: u32) {}
