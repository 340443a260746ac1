//! State that several nodes share: engines of this process with a real etcd, on a host of its own.

#![allow(missing_docs, reason = "a test binary has no users")]

mod access;
mod cluster;
mod node;
mod outages;
mod together;
