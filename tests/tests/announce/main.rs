//! Controllers that announce, and a router that listens: what it knows of whom while targets, operators and the
//! controllers themselves come and go.

#![allow(missing_docs, reason = "a test binary has no users")]

mod fitness;
mod orders;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One lab at a time; none without root.
fn alone() -> Option<MutexGuard<'static, ()>> {
    static LABS: Mutex<()> = Mutex::new(());
    lab::require_root().then(|| LABS.lock().unwrap_or_else(PoisonError::into_inner))
}
