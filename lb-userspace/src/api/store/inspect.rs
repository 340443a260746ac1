//! Looks at a store without changing it, however damaged it is.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::audit;
use super::directory::Directory;
use super::document::Document;
use super::entry::state_of;
use super::format;
use super::tables::{Contents, Tables, salvage};
use crate::api::domain::State;

/// What a look at a store came to.
pub(super) struct Inspected {
    /// Nothing, if it can't be used as it is: then why.
    pub(super) state: Result<State, String>,
    /// What is wrong with the state.
    pub(super) findings: Vec<String>,
    /// As much as there is.
    pub(super) document: Document,
}

/// Looks at the store in a directory.
///
/// # Errors
/// If there is none, or another process has it.
pub(super) fn inspect(directory: &Directory) -> anyhow::Result<Inspected> {
    let path = directory.state();
    if !fs::exists(&path)? {
        bail!("there is no state in {}", directory.path().display());
    }
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(match usable(&bytes, directory.acknowledged()) {
        Ok(state) => {
            Inspected { findings: audit::findings(&state), document: Document::of(&state), state: Ok(state) }
        }
        Err(error) => Inspected {
            state: Err(format!("{error:#}")),
            findings: Vec::new(),
            document: Document::of_salvage(salvage(&bytes)),
        },
    })
}

/// The store in `path`, taken for as long as the directory is.
pub(super) fn take(path: &Path) -> anyhow::Result<Directory> {
    if !fs::exists(path)? {
        bail!("there is no directory {}: --state-directory DIR names the state's", path.display());
    }
    Directory::take_existing(path)
}

/// The state that a file of these bytes has.
pub(super) fn usable(bytes: &[u8], acknowledged: u64) -> anyhow::Result<State> {
    let Contents { format, generation, mut entries } = Tables::open(in_memory(bytes)?)?.read()?;
    if generation < acknowledged {
        bail!("it is an older one: of generation {generation}, but {acknowledged} was acknowledged");
    }
    format::migrate(format, &mut entries)?;
    Ok(state_of(generation, entries)?)
}

/// A file in memory with these bytes.
pub(super) fn in_memory(bytes: &[u8]) -> anyhow::Result<InMemoryBackend> {
    let backend = InMemoryBackend::new();
    backend.set_len(bytes.len() as u64)?;
    backend.write(0, bytes)?;
    Ok(backend)
}
