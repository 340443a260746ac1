//! What the API is about: load balancers, target groups, listeners, targets, tags, attributes; their rules and
//! defaults. A pure state machine: an operation is a function of the state, a request and a [`Context`], and it is
//! carried out as a whole or not at all.
//!
//! ```text
//!   request ─► operation ─► Transaction ─► Store ─► answer
//!                              └── refused: rolled back
//! ```

mod actions;
pub mod administration;
pub mod arn;
mod attributes;
mod capacity;
mod certificates;
mod context;
mod effect;
mod engine;
mod expiry;
mod feasibility;
mod health;
mod health_check;
mod limits;
mod listener_attributes;
mod listeners;
mod load_balancer_attributes;
mod load_balancers;
mod names;
mod operations;
mod pages;
mod queue;
pub mod records;
mod rules;
mod store;
mod subnets;
mod tags;
mod target_group_attributes;
mod target_groups;
pub(in crate::api) mod targets;
#[cfg(test)]
mod tests;
mod transaction;
mod vips;

pub use context::{Context, Health, HealthSource, NoHealthChecks, Quotas};
pub use effect::Effect;
pub use engine::{Answer, Call, Engine, Outlook, Purpose, Together};
pub use feasibility::{Anything, Feasibility};
pub use operations::{Access, ELSEWHERE, OPERATIONS, Operation, Outcome};
pub use queue::{Held, Queue, Snapshot};
pub use store::{Ephemeral, Sharing, Store, Unkept};
pub use transaction::{Batch, Changes, State, Transaction};
