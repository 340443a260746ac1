//! `sluice lb|listener|target-group|target ls|show`: parts of the controller's report, as tables and as JSON.
//!
//! ```text
//!   report ─► found: which parts, by name ─► tables: text for people
//!                                         └► the same parts as JSON
//! ```
//!
//! Nothing here changes anything; `sluice target drain`, `enable` and `weight` are `administration`'s.

pub(crate) mod columns;
mod command;
mod found;
mod tables;
#[cfg(test)]
mod tests;

pub use command::{
    Asking, ListenerVerb, LoadBalancerVerb, TargetGroupVerb, listeners, load_balancers, show_target,
    target_groups, targets,
};
