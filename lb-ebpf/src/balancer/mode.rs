//! What a run of the stages leaves behind: the one way in which the balancer's programs differ.
//!
//! All programs of this object are compiled from the same stages, so what `explain` says is what the live program
//! does. In [`Live`] every call here is empty, and costs it no instruction.

use lb_common::{maps::Continuation, trace::Trace};

use crate::maps;

/// One program's way of running the stages.
pub trait Mode {
    /// Whether other packets see that this one was here: its counts, flow entries and marks last.
    const LASTS: bool;
    /// Where in `CONTINUATIONS` the programs of this mode begin.
    const FIRST_CONTINUATION: u32;

    /// Lets `write` note what a stage saw, where somebody wants to know.
    fn note(write: impl FnOnce(&mut Trace));
}

/// The balancer itself: it leaves what it must, and tells nothing.
pub struct Live;

impl Mode for Live {
    const LASTS: bool = true;
    const FIRST_CONTINUATION: u32 = 0;

    #[inline(always)]
    fn note(_write: impl FnOnce(&mut Trace)) {}
}

/// For `sluice explain`: it leaves nothing, and tells all.
pub struct Dry;

impl Mode for Dry {
    const LASTS: bool = false;
    const FIRST_CONTINUATION: u32 = Continuation::ALL.len() as u32;

    #[inline(always)]
    fn note(write: impl FnOnce(&mut Trace)) {
        maps::with_explained(write);
    }
}
