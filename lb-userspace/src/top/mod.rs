//! `sluice top`: listeners and targets with their rates, health and slots, on a terminal that stays.
//!
//! ```text
//!   two reports ─► rates ─► rows: sorted, filtered ─► screen: lines ─► terminal, or text (--once)
//!   keys ─► controls ───────────┘
//! ```
//!
//! All but `command` is pure: it has no terminal, no socket and no clock.

mod command;
mod controls;
mod rates;
mod rows;
mod screen;
#[cfg(test)]
mod tests;

pub use command::{Options, show};
