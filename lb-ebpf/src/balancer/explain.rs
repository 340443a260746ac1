//! `explain`: the balancer on a packet that nobody sent, without a trace in what other packets see.

use aya_ebpf::{macros::xdp, programs::XdpContext};
use lb_common::packet::{Ipv4, Ipv6};

use crate::{
    chain, forward, forward_behind_policy, forward_by_attributes, forward_quic, fragment, icmp_error,
    mode::Dry, policy, run, too_big,
};

/// The program that the controller runs, and that is never attached.
#[xdp(frags)]
pub fn explain(context: XdpContext) -> u32 {
    run::<Dry, _, _>(&context, forward::<Dry, Ipv4>, forward::<Dry, Ipv6>)
}

/// Goes on with packets of listeners with attributes.
#[xdp(frags)]
pub fn explain_attributes(context: XdpContext) -> u32 {
    run::<Dry, _, _>(&context, forward_by_attributes::<Dry, Ipv4>, forward_by_attributes::<Dry, Ipv6>)
}

/// Goes on with packets of QUIC listeners.
#[xdp(frags)]
pub fn explain_quic(context: XdpContext) -> u32 {
    run::<Dry, _, _>(&context, forward_quic::<Dry, Ipv4>, forward_quic::<Dry, Ipv6>)
}

/// Goes on with ICMP.
#[xdp(frags)]
pub fn explain_icmp(context: XdpContext) -> u32 {
    run::<Dry, _, _>(&context, icmp_error::receive::<Dry, Ipv4>, icmp_error::receive::<Dry, Ipv6>)
}

/// Finds the ports of fragments.
#[xdp(frags)]
pub fn explain_fragment(context: XdpContext) -> u32 {
    run::<Dry, _, _>(&context, fragment::receive::<Dry, Ipv4>, fragment::receive::<Dry, Ipv6>)
}

/// Goes on with fragments whose ports are known.
#[xdp(frags)]
pub fn explain_fragment_flow(context: XdpContext) -> u32 {
    run::<Dry, _, _>(&context, fragment::forward::<Dry, Ipv4>, fragment::forward::<Dry, Ipv6>)
}

/// Goes on with packets that are too big for the way to their target.
#[xdp(frags)]
pub fn explain_too_big(context: XdpContext) -> u32 {
    run::<Dry, _, _>(&context, too_big::answer::<Dry, Ipv4>, too_big::answer::<Dry, Ipv6>)
}

/// Goes on with packets of listeners with a policy.
#[xdp(frags)]
pub fn explain_policy(context: XdpContext) -> u32 {
    run::<Dry, _, _>(&context, forward_behind_policy::<Dry, Ipv4>, forward_behind_policy::<Dry, Ipv6>)
}

/// Finds the policies' verdicts on sources that were not seen lately, and counts new flows.
#[xdp(frags)]
pub fn explain_verdict(context: XdpContext) -> u32 {
    run::<Dry, _, _>(&context, policy::decide::<Dry, Ipv4>, policy::decide::<Dry, Ipv6>)
}

/// Goes on with packets of changing slots whose targets give second chances.
#[xdp(frags)]
pub fn explain_chain(context: XdpContext) -> u32 {
    run::<Dry, _, _>(&context, chain::forward::<Dry, Ipv4>, chain::forward::<Dry, Ipv6>)
}
