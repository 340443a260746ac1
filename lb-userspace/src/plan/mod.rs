//! `sluice plan` and `sluice apply`: what a document would change and move, before it is done.
//!
//! ```text
//!   FILE ─read─► Document ─┬─ normal ─► the state that it makes out of nothing, with the API's defaults
//!                          └─ difference to the present state ─► words, and steps in an order that works
//!                                                                 └─ work: the API's operations, as one change
//! ```
//!
//! Steps are operations of the API: what it refuses, a plan refuses, in its words and with the place in the document.

mod command;
mod current;
mod difference;
mod document;
mod effects;
mod files;
mod listeners;
mod load_balancers;
mod making;
mod normal;
mod order;
mod planner;
mod read;
mod render;
pub mod report;
mod routes;
mod step;
mod target_groups;
#[cfg(test)]
mod tests;
mod work;

pub use command::{ApplyOptions, PlanOptions, apply, plan};
pub use current::document as current;
pub use difference::Unnamed;
pub use document::Document;
pub use planner::{Planner, Source, Stage, Stages};
pub use read::read;
pub use render::render;
pub use routes::{Ask, Current, routes};
pub use work::{Made, Refused, Wish, work};
