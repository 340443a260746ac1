//! Nodes that share a state in etcd and look at each other: who announces a VIP, whose view of a target counts, what
//! becomes of zones, and whether all have one hash key.

#![allow(missing_docs, reason = "a test binary has no users")]

mod announcers;
mod fallback;
mod keys;
mod stale;
mod views;
mod world;
mod zones;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One lab at a time; none without root.
fn alone() -> Option<MutexGuard<'static, ()>> {
    static LABS: Mutex<()> = Mutex::new(());
    lab::require_root().then(|| LABS.lock().unwrap_or_else(PoisonError::into_inner))
}
