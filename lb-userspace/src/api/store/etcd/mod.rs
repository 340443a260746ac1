//! State that several nodes share, in etcd: every record under a key of its own, and one key about all of them, which
//! every change compares and writes: so no change is based on anything but the newest state.
//!
//! ```text
//!   engine ─► Shared (Store) ─ commands ─► follower: a thread with the connection ─► etcd
//!                  ▲                          │  lists, watches, commits
//!                  └──── the newest state ────┤
//!                                             └─► cache: the last good state in this node's directory
//!
//!   attendance: a task of its own with a connection of its own ─ who there is, beside the state ─► etcd
//! ```
//!
//! A node goes on with what it knows while etcd is away, and starts with the last good state on its disk.

mod attendance;
mod cache;
mod client;
mod configuration;
mod follower;
mod keys;
mod replica;
mod shared;

pub(super) use attendance::attend;
pub use configuration::Etcd;
pub(super) use shared::open;
