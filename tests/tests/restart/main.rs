//! The controller ends in every way that there is, and packets flow on: what is pinned forwards while nobody controls
//! it, and the next controller goes on where the last one ended.
//!
//! `SLUICE_TEST_KILLS` is how often the controller is killed beneath a crowd of connections (`cargo xtask test --long`:
//! 100), `SLUICE_TEST_SWAPS` how often programs are replaced beneath a stream of packets, `SLUICE_TEST_SIZES` how often the
//! maps change their sizes beneath both.

#![allow(missing_docs, reason = "a test binary has no users")]

mod crowd;
mod flow_log;
mod helper;
mod kernel_table;
mod life;
mod sizes;
mod swap;

use lab::alone;
use lab::pinned::PATIENCE;

/// A number that a variable of the environment may set.
fn number(variable: &str, usual: u32) -> u32 {
    let set = std::env::var(variable).ok();
    set.map_or(usual, |set| set.parse().expect("the variable holds a number"))
}
