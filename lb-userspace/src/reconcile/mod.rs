//! From what is wanted and what is observed to what the maps must hold.
//!
//! ```text
//!   Desired ──► registry (targets, ids, draining)  ─┐
//!   health ───► registry (states)                   ├─► actions (members → owners → slots) ─► Contents
//!   next hops ──────────────────────────────────────┘
//! ```
//!
//! Pure: it is given the time and what was observed, and answers with [`Contents`], the whole of what the maps
//! must hold; `data_plane` writes the difference to what they do hold. So a write that failed half-way is in the
//! next difference, and nothing here needs to remember what was done.

mod action;
mod actions;
mod adopt;
mod connections;
mod contents;
mod counters;
mod fitness;
mod listeners;
mod policies;
mod quic_servers;
mod reconciler;
mod registry;
mod rehearsal;
mod room;
mod second_chance;
mod succession;
mod untold;
mod ways;

pub use action::Action;
pub use actions::Actions;
pub(crate) use adopt::address;
pub use adopt::{ForwardName, TargetName};
pub use contents::{Contents, Names, Table};
pub use fitness::Fitness;
pub use quic_servers::{QuicServerIdInUse, apply_in_turn};
pub use reconciler::Reconciler;
pub use registry::{Record, Registry};
pub use rehearsal::TableChange;
pub use room::{Full, Refused, TooBig, check_room, rooms};
pub use second_chance::{Agents, Keeper, Why, may_have_chains};

#[cfg(test)]
mod tests;
