//! `sluice plan` and `sluice apply`: what a document would change and move, before it is done.
//!
//! ```text
//!   FILE ─read─► Document ─┬─ making ─► the state that it makes out of nothing, with the API's defaults
//!                          └─ difference to the present state ─► words, and steps in an order that works
//!                                                                 └─ work: the API's operations, as one change
//! ```
//!
//! Steps are operations of the API: what it refuses, a plan refuses, in its words and with the place in the document.

mod current;
mod difference;
mod document;
mod listeners;
mod load_balancers;
mod making;
mod order;
mod read;
pub mod report;
mod step;
mod target_groups;
mod work;

pub use current::document as current;
pub use difference::Unnamed;
pub use document::Document;
pub use read::read;
pub use work::{Made, Refused, Wish, work};
