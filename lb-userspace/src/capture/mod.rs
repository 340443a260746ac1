//! `sluice capture`: packets as they came and as they left, with verdict, listener, target and reason.
//!
//! ```text
//!   programs `capture`─► ring buffer ─► controller: names, pcapng ─► (socket) ─► file or standard output
//! ```
//!
//! While nobody captures, the live program runs, which knows nothing of all this. A capture replaces it by an
//! update of its links, and gives it its place back when it ends, however it ends. A reader that is slow loses
//! packets of the capture, which are counted; it never delays those of the network.

mod command;
pub(crate) mod comment;
pub mod pcapng;
pub mod request;
pub(crate) mod socket;

pub use command::{Options, run};
