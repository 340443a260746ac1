//! What a run of the stages leaves behind: the one way in which the balancer's programs differ.
//!
//! All programs of this object are compiled from the same stages, so what `explain` says is what the live program
//! does. In [`Live`] every call here is empty, and costs it no instruction.

use aya_ebpf::programs::XdpContext;
use lb_common::{maps::Programs, trace::Trace};

use crate::{capture, maps};

/// One program's way of running the stages.
pub trait Mode {
    /// Whether other packets see that this one was here: its counts, flow entries and marks last.
    const LASTS: bool;
    /// The set of programs that a packet goes through.
    const PROGRAMS: Programs;

    /// A packet is done with.
    #[inline(always)]
    fn ends(_context: &XdpContext, _action: u32) {}

    /// Lets `write` note what a stage saw, where somebody wants to know.
    fn note(write: impl FnOnce(&mut Trace));
}

/// The balancer itself: it leaves what it must, and tells nothing.
pub struct Live;

impl Mode for Live {
    const LASTS: bool = true;
    const PROGRAMS: Programs = Programs::Live;

    #[inline(always)]
    fn note(_write: impl FnOnce(&mut Trace)) {}
}

/// For `sluice capture`: it leaves what the live program leaves, and tells all.
pub struct Captured;

impl Mode for Captured {
    const LASTS: bool = true;
    const PROGRAMS: Programs = Programs::Capture;

    #[inline(always)]
    fn ends(context: &XdpContext, action: u32) {
        capture::finish(context, action);
    }

    #[inline(always)]
    fn note(write: impl FnOnce(&mut Trace)) {
        if let Some(event) = maps::captured() {
            write(&mut event.header.trace);
        }
    }
}

/// For `sluice explain`: it leaves nothing, and tells all.
pub struct Dry;

impl Mode for Dry {
    const LASTS: bool = false;
    const PROGRAMS: Programs = Programs::Explain;

    #[inline(always)]
    fn note(write: impl FnOnce(&mut Trace)) {
        maps::with_explained(write);
    }
}
