//! Passes every frame. A veth that XDP sends into drops in silence unless its peer has a native XDP program:
//! this is that program for peers that have nothing else to do.
#![no_std]
#![no_main]

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
// For its panic handler.
use lb_ebpf as _;

/// Passes the frame.
#[xdp(frags)]
pub fn pass(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}
