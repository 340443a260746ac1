//! What must hold at the edges of the API whatever bytes come: a function for each target, which panics when it does not.
//!
//! `cargo xtask fuzz-api` calls them under libFuzzer; the package `lb-userspace` includes the same files in a test,
//! which plays the corpus and mutations of it.

mod answers;
mod configuration;
mod requests;
mod signature;

pub use answers::answers;
pub use configuration::configuration;
pub use requests::requests;
pub use signature::signature;
