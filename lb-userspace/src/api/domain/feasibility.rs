//! Whether the data plane can carry a state: asked before it is kept.

use std::sync::Arc;

use super::transaction::State;
use crate::api::inventory::Inventory;
use crate::api::protocol::ApiError;

/// Knows what the data plane can't carry.
pub trait Feasibility: Send {
    /// Checks a state that nothing else is wrong with.
    ///
    /// # Errors
    /// What it can't carry, in the protocol's words.
    fn check(&mut self, state: &State, inventory: &Arc<Inventory>) -> Result<(), ApiError>;
}

/// Where there is no data plane to ask.
#[derive(Debug, Clone, Copy)]
pub struct Anything;

impl Feasibility for Anything {
    fn check(&mut self, _: &State, _: &Arc<Inventory>) -> Result<(), ApiError> {
        Ok(())
    }
}
