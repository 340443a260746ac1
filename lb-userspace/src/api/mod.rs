//! The ELBv2-compatible API: load balancers for the clients of Elastic Load Balancing.
//!
//! ```text
//!   server ─► service ─► signature: who is it?   ─► protocol: a tree of parameters
//!   (sockets)            domain: an operation, checked by its shapes, on the state ─► protocol: XML
//!                          │ room: can it be carried?
//!                          └─► projection: what it means for the data plane ─► controller
//!                        health_board: what its checks say ◄───────────────────────┘
//! ```
//!
//! Everything but `server`, `store`, `process`, `command` and `audit` is free of sockets, files and clocks. `sluice run`
//! serves it beside the data plane that it owns; `sluice run --api-only` without root and without a data plane.

pub mod audit;
pub mod calendar;
mod chronicle;
mod command;
pub mod configuration;
mod credentials_watch;
pub mod domain;
mod file_watch;
pub mod health_board;
pub mod inventory;
pub mod process;
pub mod projection;
pub mod protocol;
pub mod room;
pub mod server;
pub mod service;
pub mod shapes;
pub mod signature;
pub mod store;

pub use command::{Options, check, run};
