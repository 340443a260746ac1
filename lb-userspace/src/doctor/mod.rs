//! `sluice doctor`: why does it not forward?
//!
//! ```text
//!   node     controller's status ─┐
//!            kernel ──────────────┼─► facts ─► rules ─► findings ─► text, JSON, exit code
//!            probes' answers ─────┤
//!   target   agent's status, kernel
//! ```
//!
//! `node` and `target` have their facts and rules; the rules are pure. `probe` is the only part that sends
//! packets, and nothing here changes anything on the host.

mod attached;
mod command;
pub mod finding;
pub mod kernel;
pub mod listening;
pub mod node;
pub mod probe;
pub mod render;
pub mod target;
mod vip;

pub use command::{Options, examine};
