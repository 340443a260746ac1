//! What `sluice status` shows: the report's shape, the socket that serves it, and its rendering.

pub mod client;
mod command;
pub(crate) mod quantity;
pub mod render;
pub mod report;
#[cfg(test)]
pub(crate) mod sample;
pub mod server;
pub(crate) mod socket_file;

pub use command::{Options, show};
