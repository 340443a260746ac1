//! The policy stage: allow-lists and limits of new flows, for listeners that have some.
//!
//! ```text
//!   entry ──► policy: check ── the verdict on the source is known ──► on to the slot, or dropped
//!                      │ ▲
//!              unknown │ │ known now
//!              or a    ▼ │
//!              SYN   verdict: decide (rules, then limits) ─────────► dropped
//! ```
//!
//! Both have programs of their own. [`check`] costs a source that was seen lately a few nanoseconds. [`decide`]
//! writes the verdict into this processor's line of it and sends the packet back, on the same processor, so that it
//! meets that line. Only a change of the policy in that very moment sends it round again; the kernel ends that after 33
//! tail calls, and the packet is dropped and counted as `no_table`.
//!
//! ICMP does not come here: pings of a VIP are no listener's, and errors come from routers anywhere, about packets
//! that a target sent.

use lb_common::{
    flow::Addresses,
    listener::Listener,
    maps::{Continuation, Settings},
    packet::{FragmentVersion, Part, Segment, Transport, transport},
    policy::{AllowListId, AllowedKey, PolicyLine, VerdictLine, halves, source_hash, verdict_line},
    rate_limit::RateLimit,
    reason::Reason,
    shared::Shared,
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::{Exit, Stage, fragment, listener, maps, martian, mode::Mode, slot};

/// Whether a packet of a listener with a policy goes on.
#[inline(always)]
pub fn check<M: Mode, A: Addresses>(
    transport: &Transport<A>,
    listener: &Listener,
    settings: &Settings,
) -> Result<(), Exit> {
    let flow = &transport.flow;
    let policy = maps::policy(listener.counter)?;
    let list = policy.allow_list(flow.protocol);
    let is_counted = is_counted(transport.segment, policy);
    if list.is_everybody() && !is_counted {
        return Ok(());
    }
    let source = halves(flow.addresses.source());
    let line = known::<M>(source, list, settings)?;
    match line.verdict(source, list) {
        Some(false) => return Err(Reason::NotAllowed.into()),
        Some(true) if !is_counted || line.take_admission() => {}
        _ => return Err(Exit::Continue(Continuation::Verdict)),
    }
    if !M::LASTS {
        *line = VerdictLine::default();
    }
    Ok(())
}

/// Finds the verdict on the packet's source and counts the flow that it may begin; sends it back if it may go on.
#[inline(always)]
pub fn decide<M: Mode, V: FragmentVersion>(
    packet: &mut XdpPacket,
    part: &Part<V::Addresses>,
) -> Result<u32, Exit> {
    let (transport, back) = if part.fragment.is_whole() {
        (transport(packet.frame(), &part.datagram)?, Continuation::Policy)
    } else {
        (fragment::transport_of::<M, _>(part)?, Continuation::FragmentFlow)
    };
    let Transport { flow, segment } = transport;
    let settings = maps::settings()?;
    let listener = listener::find(&flow, settings)?.listener();
    let policy = maps::policy(listener.counter)?;
    let list = policy.allow_list(flow.protocol);
    let address = flow.addresses.source();
    let source = halves(address);
    let line = known::<M>(source, list, settings)?;
    let is_allowed = match line.verdict(source, list) {
        Some(is_allowed) => is_allowed,
        None => allows::<M>(list, address, V::PROTOCOL == 4),
    };
    let verdict = VerdictLine::new(source, list, is_allowed);
    if M::LASTS {
        *line = verdict;
    }
    if !is_allowed {
        return Err(Reason::NotAllowed.into());
    }
    if !is_counted(segment, policy) {
        *line = verdict;
        return Err(Exit::Continue(back));
    }
    // What nobody can have sent uses up nobody's limit.
    martian::refuse(&flow.addresses)?;
    M::note(|trace| trace.limits());
    let prefix = policy.source_prefix(source, V::PROTOCOL == 4);
    count::<M>(policy, listener.counter, source_hash(prefix, listener.counter, &settings.sources))?;
    *line = verdict.admitting();
    Err(Exit::Continue(back))
}

/// Whether the packet begins a flow that a limit counts. Of UDP nothing tells which packet does.
#[inline(always)]
fn is_counted(segment: Segment, policy: &PolicyLine) -> bool {
    segment == Segment::Opening && policy.is_limited()
}

/// The line of this processor that may know the verdict.
#[inline(always)]
fn known<M: Mode>(
    source: [u64; 2],
    list: AllowListId,
    settings: &Settings,
) -> Stage<&'static mut VerdictLine> {
    maps::verdict::<M>(verdict_line(source, list, &settings.sources))
}

#[inline(always)]
fn allows<M: Mode>(list: AllowListId, source: [u32; 4], is_ipv4: bool) -> bool {
    if list.is_everybody() {
        return true;
    }
    let allowance = maps::allowance(AllowedKey::new(list, source, is_ipv4));
    M::note(|trace| trace.allow_list(allowance));
    !allowance.is_none()
}

/// Counts a new flow against the limits of its source and its listener. What the one refuses does not use up the
/// other, but where processors race for the listener's last one.
#[inline(always)]
fn count<M: Mode>(policy: &PolicyLine, counter: u16, hash: u64) -> Stage<()> {
    let now = slot::nanoseconds();
    let all = maps::listener_limit(counter)?;
    let limit = policy.listener_limit();
    let has_room = limit.is_none_or(|limit| limit.admit(all.load(), now).is_some());
    if let Some(limit) = policy.source_limit() {
        let source = maps::source_set(hash)?.source(hash, limit, now);
        if !source.would_admit() || M::LASTS && has_room && !source.admit() {
            return Err(Reason::SourceLimit);
        }
    }
    match limit {
        Some(_) if !has_room => Err(Reason::ListenerLimit),
        Some(limit) if M::LASTS => admit(all, limit, now),
        _ => Ok(()),
    }
}

/// How often a state is tried that other processors change at the same moment.
const TRIES: usize = 2;

#[inline(always)]
fn admit(state: &Shared<u64>, limit: RateLimit, now: u64) -> Stage<()> {
    for _ in 0..TRIES {
        let old = state.load();
        let new = limit.admit(old, now).ok_or(Reason::ListenerLimit)?;
        if state.replace_if(old, new) {
            return Ok(());
        }
    }
    Err(Reason::ListenerLimit)
}
