//! The embedded database: one table of entries, each a [`Frame`], and one entry about all of them. Every write is one
//! transaction, on the disk when it returns.
//!
//! redb was chosen for being written in Rust without `unsafe` C below it, for copy-on-write pages with checksums (an
//! overwritten page is never needed to come back from a crash), and for being one file. Commits are in two phases: a
//! damaged newest commit is then refused instead of being taken back to the one before.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, anyhow, bail};
use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use serde::{Deserialize, Serialize};

use super::entry::{Edits, Entries};
use super::format::FORMAT;
use super::frame::Frame;

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("state");

/// The key of the entry about all others.
const ABOUT: &str = "about";

/// What the entry about all others says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// The version of what is kept.
    pub(super) format: u32,
    /// How many entries there are.
    pub(super) entries: usize,
}

/// Everything that a file keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    /// The version of the entries.
    pub(super) format: u32,
    /// The generation of the state.
    pub(super) generation: u64,
    /// The state.
    pub(super) entries: Entries,
}

/// An open database.
pub(super) struct Tables {
    database: Database,
}

impl Tables {
    /// Makes a new database of an empty file.
    pub(super) fn create(file: impl StorageBackend) -> anyhow::Result<Tables> {
        guarded(|| Ok(Tables { database: builder().create_with_backend(file)? }))
    }

    /// Opens a database, after checking every page of it.
    ///
    /// # Errors
    /// If the file is damaged. A crash does not damage it.
    pub(super) fn open(file: impl StorageBackend) -> anyhow::Result<Tables> {
        // What is empty would be made a new database, and all that was there would be gone without a word.
        if file.len()? == 0 {
            bail!("it is empty");
        }
        Tables::create(file)
    }

    /// Reads everything.
    pub(super) fn read(&self) -> anyhow::Result<Contents> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(TABLE)?;
            let mut frames = Vec::new();
            for entry in table.iter()? {
                let (key, bytes) = entry?;
                frames.push(whole(key.value(), bytes.value())?);
            }
            contents(frames)
        })
    }

    /// Writes what changed, of which there are `entries` then, as the state's next generation.
    pub(super) fn write(&mut self, generation: u64, entries: usize, edits: &Edits) -> anyhow::Result<()> {
        guarded(|| {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            {
                let mut table = transaction.open_table(TABLE)?;
                for (key, value) in edits {
                    match value {
                        Some(value) => drop(table.insert(&**key, &*frame(key, generation, value)?)?),
                        None => drop(table.remove(&**key)?),
                    }
                }
                let about = About { format: FORMAT, entries };
                table.insert(ABOUT, &*frame(ABOUT, generation, &about)?)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }
}

/// The state that frames of one file are, without which none is missing.
fn contents(frames: Vec<Frame>) -> anyhow::Result<Contents> {
    let (about, frames): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| frame.key == ABOUT);
    let [Frame { generation, value, .. }] = &about[..] else { bail!("it does not say what it is about") };
    let About { format, entries } = serde_json::from_value(value.clone()).context(ABOUT)?;
    if frames.len() != entries {
        bail!("it has {} entries of {entries}", frames.len());
    }
    if let Some(frame) = frames.iter().find(|frame| frame.generation > *generation) {
        bail!("{}: is of generation {}, the state of {generation}", frame.key, frame.generation);
    }
    let entries = frames.into_iter().map(|frame| (frame.key, frame.value)).collect();
    Ok(Contents { format, generation: *generation, entries })
}

/// What can still be found in the bytes of a file that can't be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Salvage {
    /// The newest version of every entry that was found; some may have been removed since.
    pub(super) contents: Contents,
    /// How many entries there should be; none if even that is unknown.
    pub(super) expected: Option<usize>,
}

/// Looks for whole frames in `bytes`, newest first.
pub(super) fn salvage(bytes: &[u8]) -> Salvage {
    let mut newest = std::collections::BTreeMap::<String, Frame>::new();
    for frame in Frame::scan(bytes) {
        if newest.get(&frame.key).is_none_or(|other| other.generation < frame.generation) {
            newest.insert(frame.key.clone(), frame);
        }
    }
    let about = newest.remove(ABOUT);
    let said = about.as_ref().and_then(|frame| serde_json::from_value::<About>(frame.value.clone()).ok());
    let generations = newest.values().chain(&about).map(|frame| frame.generation);
    let contents = Contents {
        format: said.map_or(FORMAT, |about| about.format),
        generation: generations.max().unwrap_or(0),
        entries: newest.into_values().map(|frame| (frame.key, frame.value)).collect(),
    };
    Salvage { contents, expected: said.map(|about| about.entries) }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    // The state is held in memory besides: this is for the pages of one write.
    builder.set_cache_size(4 << 20).set_check_integrity_on_open(true);
    builder
}

fn frame(key: &str, generation: u64, value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    Ok(Frame { key: key.to_owned(), generation, value: serde_json::to_value(value)? }.encode())
}

fn whole(key: &str, bytes: &[u8]) -> anyhow::Result<Frame> {
    let frame = Frame::decode(bytes).with_context(|| key.to_owned())?;
    if frame.key != key {
        bail!("{key}: is {} in truth", frame.key);
    }
    Ok(frame)
}

/// A file that nobody would believe may make the database panic: that is an error like any other.
fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("the database gave up: {}", text.unwrap_or("it does not say why")))
    })
}
