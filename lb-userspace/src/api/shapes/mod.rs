//! The shapes of the API: typed requests and answers, and the one description that requests are checked by.
//!
//! A declaration (see `declare`) makes a type with the name that the service model gives it, and its [`Shape`]. A
//! test compares all of them with the model in the Python package botocore, so nothing here is kept in step by hand.
//! Shapes of what is not served yet (layer 7, TLS) are described too: a request for them is understood, and refused
//! for what it is.

mod actions;
mod basics;
mod capacity;
pub mod check;
mod declare;
mod layer7_actions;
mod limits;
mod listeners;
mod load_balancers;
mod patterns;
mod rules;
mod shape;
mod tags;
mod target_groups;
mod targets;
mod tls;

pub use actions::*;
pub use basics::*;
pub use capacity::*;
pub use declare::{Entries, Model};
pub use layer7_actions::*;
pub use limits::*;
pub use listeners::*;
pub use load_balancers::*;
pub use rules::*;
pub use shape::{Kind, Member, Pattern, Shape};
pub use tags::*;
pub use target_groups::*;
pub use targets::*;
pub use tls::*;
