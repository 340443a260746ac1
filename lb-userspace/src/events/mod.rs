//! What changed on a node, when, by whom and why: a bounded journal in memory, and `sluice events`, which reads it.
//!
//! ```text
//!   controller, API ─► Journal (the last 10,000) ─► GET /events?after=N ─► sluice events
//! ```
//!
//! A cause is an event: a check that decided, a call, a file that was taken over. What the node does about it (tables,
//! writes) is not. Nothing here knows how a cause is found out.

mod command;
pub mod event;
pub mod journal;
pub mod routes;

pub use command::{Options, show};
pub use event::{Event, Kind, Note, Object};
pub use journal::{Journal, Page};
