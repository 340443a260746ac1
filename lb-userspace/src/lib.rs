//! Sluice's user space: the controller that loads the balancer and fills its maps, the agent on targets, and
//! the command line over both.
//!
//! The data's way: `config` parses the file into `model` → `reconcile` joins it with `health` and `next_hop`
//! into what the maps must hold → `data_plane` writes the difference. `status` and `metrics` only read.

#![deny(unsafe_code)]

pub mod administration;
pub mod agent;
pub mod announce;
pub mod api;
pub mod capture;
pub mod config;
pub mod controller;
pub mod data_plane;
pub mod doctor;
pub mod events;
pub mod explain;
mod flow_log;
pub mod health;
pub mod inspect;
mod listen;
pub mod manual;
pub mod membership;
pub mod metrics;
pub mod model;
mod netlink;
pub mod next_hop;
pub mod output;
pub mod plan;
pub mod presence;
pub mod privileges;
pub mod programs;
pub mod reconcile;
mod secret_file;
mod service_manager;
pub mod status;
pub mod table;
pub mod top;
mod xdp;

/// Where a controller keeps its status socket and its hash key, if it is not told otherwise.
pub const DEFAULT_RUNTIME_DIRECTORY: &str = "/run/sluice";

/// The name of the status socket in the runtime directory.
pub const STATUS_SOCKET: &str = "status.sock";

/// The name of the capture socket in the runtime directory.
pub const CAPTURE_SOCKET: &str = "capture.sock";
