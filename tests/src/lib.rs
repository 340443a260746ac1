//! The lab: hosts as network namespaces, a topology around a balancer node, real servers and the real
//! `sluice` in it.
//!
//! ```text
//!   client ───────── router ═════ nodes (bridge) ──── eth0 lb1, lb2, …
//!   10.201.0.2        │  ║         10.202.0.0/24            │ eth1 (only if asked for)
//!   fd01::2           │  ╚════════ far (bridge) ────────────┘───── t4, …   10.204.0.0/24, fd04::/64
//!                     ╚═══════════ targets (bridge) ── t1, t2, t3, …       10.203.0.0/24, fd03::/64
//! ```
//!
//! The router sends 10.200.0.0/16 and fc00::/16, where the VIPs are, to the nodes; a node sends encapsulated
//! packets back through the router to the targets; the targets answer to the client directly. Nothing leaves
//! these namespaces, and all of it vanishes with the [`Lab`].
#![deny(unsafe_code)]

pub mod bpf_file_system;
pub mod configuration;
pub mod crowd;
pub mod echo;
pub mod elbv2;
pub mod etcd;
pub mod evidence;
pub mod fault;
pub mod flood;
pub mod flow_log;
#[allow(unsafe_code)]
pub mod freeze;
pub mod host;
pub mod http;
pub mod lease;
pub mod limits;
pub mod link;
pub mod model;
#[allow(unsafe_code)]
pub mod offload;
pub mod oracle;
pub mod other_build;
pub mod peer;
pub mod pinned;
pub mod probe;
pub mod process;
pub mod route_changes;
pub mod router;
pub mod scenario;
pub mod server;
pub mod sluice;
pub mod stall;
pub mod stream;
pub mod test_run;
pub mod topology;
pub mod traffic;
pub mod wait;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use host::Host;
pub use lease::Lease;
pub use topology::{Lab, VIP4, VIP6};

/// Whether a test that needs root can run.
///
/// Without root it prints that the test was skipped and returns false; under `cargo xtask test` and in CI
/// (`SLUICE_TEST_PRIVILEGED=required`) it panics instead, so that a skip is a failure.
pub fn require_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let is_required = std::env::var_os("SLUICE_TEST_PRIVILEGED").is_some_and(|value| value == "required");
    assert!(!is_required, "this test needs root, and SLUICE_TEST_PRIVILEGED=required forbids to skip it");
    eprintln!("skipped: this test needs root (cargo xtask test runs it)");
    false
}

/// Held for writing by the test of this process that wants to be alone, for reading by those that need not be.
static LABS: RwLock<()> = RwLock::new(());

/// The turn of a test that measures a time, claims that nothing happens or has a large lab: until it is dropped, this
/// process runs no other test that has a turn. None without root, as [`require_root`] has it.
pub fn alone() -> Option<RwLockWriteGuard<'static, ()>> {
    require_root().then(|| LABS.write().unwrap_or_else(PoisonError::into_inner))
}

/// The turn of a test that bears others beside it, but not beside one that is [`alone`]. None without root.
pub fn among_others() -> Option<RwLockReadGuard<'static, ()>> {
    require_root().then(|| LABS.read().unwrap_or_else(PoisonError::into_inner))
}
