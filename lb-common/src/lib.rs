//! What Sluice's eBPF programs and its user space must agree on, each defined once.
//!
//! No I/O, no maps, no clock: everything here runs, and is tested, on the host as it runs in the kernel. The
//! only unsafe code is in `memory` (packet pointers), `shared` (map memory) and `pod` (the types that user space writes into maps).
#![cfg_attr(not(any(feature = "user", test)), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![deny(unsafe_code)]

pub mod address_table;
pub mod bench;
pub mod capture;
pub mod checksum;
pub mod choice;
pub mod encapsulation;
pub mod flow;
pub mod flow_log;
pub mod flow_table;
pub mod fragments;
pub mod gue;
pub mod hash;
pub mod listener;
pub mod maps;
#[allow(unsafe_code)]
pub mod memory;
pub mod packet;
#[cfg(feature = "user")]
#[allow(unsafe_code)]
pub mod pod;
pub mod policy;
pub mod port_translation;
pub mod rate_limit;
pub mod reason;
#[allow(unsafe_code)]
pub mod shared;
pub mod slot;
pub mod source_limits;
pub mod target_id;
pub mod trace;
pub mod tunnel;

pub use encapsulation::Target;
pub use reason::{Reason, Verdict};
pub use slot::{ChainWord, Slot, SlotState};
pub use target_id::TargetId;
