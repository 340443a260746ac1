//! `explain`: the balancer on a packet that nobody sent, without a trace in what other packets see.

use aya_ebpf::{macros::xdp, programs::XdpContext};

use crate::{mode::Dry, run};

/// The program that the controller runs, and that is never attached.
#[xdp]
#[inline(always)]
pub fn explain(context: XdpContext) -> u32 {
    run::<Dry>(&context)
}
