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

    /// Checks a state that no operation here has made, or that has another inventory now: what its records name may not
    /// be there either.
    ///
    /// # Errors
    /// What it can't carry, in the protocol's words.
    fn weigh(&mut self, state: &State, inventory: &Arc<Inventory>) -> Result<(), ApiError> {
        self.check(state, inventory)
    }
}

/// Where there is no data plane to ask.
#[derive(Debug, Clone, Copy)]
pub struct Anything;

impl Feasibility for Anything {
    fn check(&mut self, _: &State, _: &Arc<Inventory>) -> Result<(), ApiError> {
        Ok(())
    }
}
