//! What must hold of the API's edge whatever bytes come: a function for each target, which panics when it does not.
//!
//! `cargo xtask fuzz-api` calls them under libFuzzer; the package `lb-userspace` includes the same two files in a test,
//! which plays the corpus and mutations of it.

mod requests;
mod signature;

pub use requests::requests;
pub use signature::signature;
