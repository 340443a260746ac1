//! Where the state is kept: written before an answer is sent.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;

use super::transaction::{Changes, State};

/// Keeps the state, alone or for several nodes. A state is known by its generation: two states of one store that have
/// the same generation are the same state.
pub trait Store: Send {
    /// Reads the state that was kept last.
    ///
    /// # Errors
    /// When it can't be read, or is not what was kept.
    fn load(&mut self) -> anyhow::Result<State>;

    /// Keeps `state`, which was made of the state of generation `base` by `changes`, as a whole. It returns when a power
    /// cut loses nothing of it any more.
    ///
    /// # Errors
    /// When it is not kept, or not known to be. Then nothing of it is, or all of it.
    fn keep(&mut self, base: u64, state: &State, changes: &Changes) -> Result<(), Unkept>;

    /// The newest state that is known here, if it is newer than `generation`: somebody else made it. This waits for
    /// nothing.
    fn news(&mut self, _generation: u64) -> Option<State> {
        None
    }

    /// The newest state, if it is newer than `generation`. This asks whoever knows for certain, and waits for the answer
    /// as long as [`Store::keep`] would.
    fn certain_news(&mut self, generation: u64) -> Option<State> {
        self.news(generation)
    }

    /// How the state is shared with other nodes; none if it is not.
    fn sharing(&self) -> Option<Arc<dyn Sharing>> {
        None
    }

    /// Tells the newest generation that others have made; none if there are no others.
    fn watch(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// What a store that nodes share knows at any moment, without waiting.
pub trait Sharing: Send + Sync {
    /// The newest generation that is known here.
    fn generation(&self) -> u64;

    /// Why the store can't be used at the moment, if it can't.
    fn problem(&self) -> Option<String>;
}

/// Why a state is not kept.
#[derive(Debug, Error)]
pub enum Unkept {
    /// It is not based on the newest state: somebody else was faster.
    #[error("the state was changed elsewhere in the same moment")]
    Conflict,
    /// It can't be written.
    #[error(transparent)]
    Unavailable(#[from] anyhow::Error),
    /// It may have been written, or may still be: the answer was lost. [`Store::news`] will tell.
    #[error(transparent)]
    Unknown(anyhow::Error),
}

/// Keeps nothing: the state is gone with the process.
#[derive(Debug, Clone, Copy)]
pub struct Ephemeral;

impl Store for Ephemeral {
    fn load(&mut self) -> anyhow::Result<State> {
        Ok(State::default())
    }

    fn keep(&mut self, _: u64, _: &State, _: &Changes) -> Result<(), Unkept> {
        Ok(())
    }
}
