//! Where the state is kept: written before an answer is sent.

use super::transaction::{Changes, State};

/// Keeps the state.
pub trait Store: Send {
    /// Reads the state that was kept last.
    ///
    /// # Errors
    /// When it can't be read, or is not what was kept.
    fn load(&mut self) -> anyhow::Result<State>;

    /// Keeps `state`, of which `changes` tells what differs from what was kept last. After an error nothing of it may
    /// be kept.
    ///
    /// # Errors
    /// When it can't be written.
    fn keep(&mut self, state: &State, changes: &Changes) -> anyhow::Result<()>;
}

/// Keeps nothing: the state is gone with the process.
#[derive(Debug, Clone, Copy)]
pub struct Ephemeral;

impl Store for Ephemeral {
    fn load(&mut self) -> anyhow::Result<State> {
        Ok(State::default())
    }

    fn keep(&mut self, _: &State, _: &Changes) -> anyhow::Result<()> {
        Ok(())
    }
}
