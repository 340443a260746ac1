//! `sluice explain`: what the loaded program, with the maps as they are, does with a packet that nobody sends.
//!
//! ```text
//!   flow or file ─► packets ─► (socket) ─► controller ─► program `explain` over the live maps
//!                                                              │ record, packet out, verdict
//!   text or JSON ◄─ report ◄─ (socket) ◄─ names of things ◄────┘
//! ```
//!
//! The program is compiled from the live one's stages and changes nothing that other packets see. This module
//! makes the packets, and words the answer; the controller's part is in `controller`.

mod command;
pub(crate) mod flow;
pub mod outer;
pub mod packet_file;
pub mod question;
pub mod render;
pub mod report;
mod routes;

pub use command::{Options, show};
pub use routes::{Question, Questions, routes};
