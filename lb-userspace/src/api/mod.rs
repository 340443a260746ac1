//! The ELBv2-compatible API: load balancers for the clients of Elastic Load Balancing.
//!
//! ```text
//!   server ─► service ─► signature: who is it?   ─► protocol: a tree of parameters
//!   (sockets)            domain: an operation, checked by its shapes, on the state ─► protocol: XML
//! ```
//!
//! Everything but `server` and `command` is free of sockets, files and clocks. `sluice run --api-only` serves it
//! without root and without a data plane.

pub mod calendar;
mod command;
pub mod configuration;
pub mod domain;
pub mod inventory;
pub mod protocol;
pub mod server;
pub mod service;
pub mod shapes;
pub mod signature;

pub use command::{Options, run};
