//! The data plane once more, in plain Rust: what must become of a packet on a node, and what it leaves behind.
//!
//! Written from the design and the RFCs (791, 792, 1858, 2003, 2473, 4443, 6438, 6864, 6946, 8200, 8999, 9000, 9293,
//! 9369 and the drafts of GUE and of QUIC's load balancers), not from the eBPF programs: whoever changes the one does
//! not look at the other, so that a mistake has to be made twice to stay unseen. Simple rather than fast: no maps, no
//! pointers, no unsafe code, one concept a file. It shares with the program only names (reasons, the slot's two ids).
//!
//! ```text
//!   packet (parse) → node (listener, verdict) → policy → quic → choice (slot, flow table) → encapsulation
//!                   ↘ fragments                             ↘ echo, martian, quote, too_big
//! ```

mod choice;
mod echo;
mod encapsulation;
pub mod flow_table;
pub mod fragments;
mod hash;
mod martian;
pub mod node;
pub mod packet;
mod policy;
pub mod quic;
mod quote;
pub mod target;
mod too_big;

pub use flow_table::{FlowTable, Remembered, Tick};
pub use fragments::{Awaited, Fragments};
pub use node::{Action, Affinity, Counters, Listener, Node, Outcome, Table, Tracking};
pub use policy::Policy;
pub use quic::ServerId;
pub use target::{Ends, NextHop, Target};

#[cfg(test)]
mod tests;
