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

use lab::alone;
