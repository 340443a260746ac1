//! The nodes that share a state: who there is, how far each has followed, and whether all have the same tables.
//!
//! ```text
//!   controller ─ own record ─► attendance (beside the shared state, under a lease) ─ all records ─► Membership
//!                                                                                                     │
//!                                                status, metrics, events, `sluice node ls` ◄──────────┘
//! ```
//!
//! Nothing here changes what a node forwards: without the store nobody is missed, and that is told. This module has no
//! socket; who reads and writes records is the store's part.

mod agreement;
pub mod command;
mod known;
mod record;

use tokio::sync::{mpsc, oneshot};

pub use agreement::LASTING;
pub use known::{Change, Found, Membership};
pub use record::{Digests, Record, Room};

/// Asks the controller: it answers each request with its own record as it is now.
pub type Records = mpsc::Sender<oneshot::Sender<Record>>;
