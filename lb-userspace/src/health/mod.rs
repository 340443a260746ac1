//! Whether targets are well: each is asked at intervals, and what it answers is made into a state.
//!
//! `status` names the states and reasons, `state` decides by thresholds, `schedule` says when to ask; they are
//! pure. `probe` asks, `checker` runs one task a target and reports changes. Nothing here knows tables or maps,
//! and nothing here decides who gets traffic: states such as `draining` and `unused` are the reconciler's.

pub mod checker;
pub mod probe;
pub mod schedule;
pub mod state;
pub mod status;
mod watched;

pub use checker::{HealthChecker, HealthEvent, TargetCheck, TargetSnapshot};
pub use state::{Failure, Outcome, TargetHealth, Thresholds, Transition};
pub use status::{HealthState, HealthStatus, Reason};
pub use watched::CheckStatistics;
