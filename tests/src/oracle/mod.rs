//! The loaded balancer and its model side by side: random nodes and frames through both, and whatever differs.
//!
//! An *epoch* is a node with random maps and a sequence of steps (frames, changes of tables and targets) that
//! follow from a seed and the epoch's number alone, so that every finding can be had again. Action, bytes and
//! the whole flow and fragment tables are compared after each frame; counters, which cost system calls, and marks at the
//! epoch's end, and after each frame when it is played again to find where they parted.
//!
//! ```text
//!   campaign (threads) → epoch (world, frames, quic, mutation) → contest: model::Node | subject (kernel) → finding
//! ```

mod campaign;
mod contest;
mod epoch;
mod finding;
mod fragments;
mod frames;
mod kernel_log;
mod mutation;
mod quic;
mod subject;
mod world;

pub use campaign::{Campaign, Tally};
pub use epoch::Diet;
pub use kernel_log::KernelLog;
