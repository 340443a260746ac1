//! `sluice target drain|enable|weight`: what an operator on the node orders of targets, beside their owner.
//!
//! ```text
//!   sluice target drain ─► POST /targets on the owner's own socket ─► the API's state, audited with the user's id
//! ```
//!
//! Where a file owns the targets nothing is ordered: the file says it, or the next reading of it would undo it.

mod command;
pub mod routes;

pub use command::{TargetVerb, targets};
