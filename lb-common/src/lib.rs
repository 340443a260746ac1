//! What Sluice's eBPF programs and its user space must agree on, each defined once.
//!
//! No I/O, no maps, no clock: everything here runs, and is tested, on the host as it runs in the kernel.
#![cfg_attr(not(any(feature = "user", test)), no_std)]

pub mod slot;
pub mod target_id;

pub use slot::{Slot, SlotState};
pub use target_id::TargetId;
