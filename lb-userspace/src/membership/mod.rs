//! The nodes that share a state: who there is, how far each has followed, and whether all have the same tables
//! and place flows in them by the same key.
//!
//! ```text
//!   controller ─ own record ─► attendance (beside the shared state, under a lease) ─ all records ─► Membership
//!                                                                                                     │
//!                                                status, metrics, events, `sluice node ls` ◄──────────┘
//! ```
//!
//! A VIP that this node is unfit for is left to others by what is known here, see [`Company`](crate::announce::fitness::Company).
//! Without the store nobody is missed, and that is told. This module has no socket; who reads and writes records is the
//! store's part.

mod agreement;
mod combination;
pub mod command;
mod company;
mod known;
mod record;
mod view;

use tokio::sync::{mpsc, oneshot};

pub use agreement::{Difference, HASH_KEY_REMEDY, LASTING};
pub use combination::{Combination, Combined, GRACE, Grounds, OtherView, Told, Votes};
pub use company::{Grade, Stance};
pub use known::{Change, FRESH, Found, Membership};
pub use record::{Digests, Record, Room, UnfitVip};
pub use view::{MOST, Seen, View};

/// Asks the controller: it answers each request with its own record as it is now.
pub type Records = mpsc::Sender<oneshot::Sender<Record>>;
