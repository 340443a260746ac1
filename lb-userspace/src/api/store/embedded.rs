//! The store of a single node: a database in a directory of its own.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use redb::backends::FileBackend;
use tracing::{info, warn};

use super::audit;
use super::directory::Directory;
use super::entry::{edits_of, entries_of, state_of};
use super::format::{self, FORMAT};
use super::tables::{Contents, Tables};
use crate::api::calendar::Timestamp;
use crate::api::domain::{Changes, State, Store, Unkept};

/// A store in a directory.
pub(super) struct Embedded {
    directory: Directory,
    /// None after a write that failed: what became of it is not known, and the next one writes everything anew.
    tables: Option<Tables>,
}

impl Embedded {
    /// Opens the store in `path`; makes a new one where none ever was.
    ///
    /// # Errors
    /// If another process has it, or it is not what was kept: the message says what to do.
    pub(super) fn open(path: &Path) -> anyhow::Result<Embedded> {
        let directory = Directory::take(path)?;
        let mut store = Embedded { directory, tables: None };
        if store.is_new()? {
            store.write_anew(&State::default())?;
        }
        let contents = store.read()?;
        if contents.format < FORMAT {
            let kept = store.directory.keep_old(&format!("format-{}", contents.format), Timestamp::now())?;
            let state = migrated(contents)?;
            store.write_anew(&state)?;
            info!("the state is in a newer format now; the older one is kept as {}", kept.display());
        }
        Ok(store)
    }

    /// Makes a store in a directory, whatever is there.
    pub(super) fn write(directory: Directory, state: &State) -> anyhow::Result<()> {
        Embedded { directory, tables: None }.write_anew(state)
    }

    fn is_new(&self) -> anyhow::Result<bool> {
        let path = self.directory.state();
        if fs::exists(&path).with_context(|| format!("looking for {}", path.display()))? {
            return Ok(false);
        }
        match self.directory.acknowledged() {
            0 => Ok(true),
            generation => bail!(
                "{} is gone, but {generation} changes were acknowledged: put it back, or make a new one of an export \
                 with sluice state import --state-directory {}",
                path.display(),
                self.directory.path().display()
            ),
        }
    }

    /// Reads what is kept, from the file.
    fn read(&mut self) -> anyhow::Result<Contents> {
        let tables = match self.tables.take() {
            Some(tables) => tables,
            None => open_tables(&self.directory).with_context(|| self.way_back())?,
        };
        let contents = tables.read().with_context(|| self.way_back())?;
        let acknowledged = self.directory.acknowledged();
        if contents.generation < acknowledged {
            return Err(anyhow::anyhow!(
                "it is an older one: of generation {}, but {acknowledged} was acknowledged",
                contents.generation
            ))
            .with_context(|| self.way_back());
        }
        self.tables = Some(tables);
        Ok(contents)
    }

    fn way_back(&self) -> String {
        let (state, directory) = (self.directory.state(), self.directory.path().display());
        format!(
            "the state in {} can't be used, and nothing was changed. Look at it with sluice state check \
             --state-directory {directory}; save what is there with sluice state export --state-directory {directory} \
             > state.json; make a new one of that, or of an earlier export, with sluice state import --replace \
             --state-directory {directory} state.json",
            state.display()
        )
    }

    /// Puts a new file with all of `state` into the old one's place.
    fn write_anew(&mut self, state: &State) -> anyhow::Result<()> {
        self.tables = None;
        let mut tables = Tables::create(FileBackend::new(self.directory.new_file()?)?)?;
        let entries = entries_of(state);
        let count = entries.len();
        let edits = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
        tables.write(state.generation, count, &edits)?;
        self.directory.publish()?;
        self.directory.acknowledge(state.generation);
        self.tables = Some(tables);
        Ok(())
    }

    fn write_changes(&mut self, state: &State, changes: &Changes) -> anyhow::Result<()> {
        let Some(mut tables) = self.tables.take() else {
            warn!("the state is written anew, as what became of the last change is not known");
            return self.write_anew(state);
        };
        let count = state.load_balancers.len() + state.target_groups.len() + state.last_vips.len();
        tables.write(state.generation, count, &edits_of(state, changes))?;
        self.directory.acknowledge(state.generation);
        self.tables = Some(tables);
        Ok(())
    }
}

fn open_tables(directory: &Directory) -> anyhow::Result<Tables> {
    let file = fs::File::options().read(true).write(true).open(directory.state())?;
    Tables::open(FileBackend::new(file)?)
}

fn migrated(contents: Contents) -> anyhow::Result<State> {
    let Contents { format, generation, mut entries } = contents;
    format::migrate(format, &mut entries)?;
    Ok(state_of(generation, entries)?)
}

impl Store for Embedded {
    fn load(&mut self) -> anyhow::Result<State> {
        let contents = self.read()?;
        let state = migrated(contents).with_context(|| self.way_back())?;
        for finding in audit::findings(&state) {
            warn!("the state is not as it should be: {finding}");
        }
        Ok(state)
    }

    fn keep(&mut self, _: u64, state: &State, changes: &Changes) -> Result<(), Unkept> {
        let shown = self.directory.state();
        self.write_changes(state, changes).with_context(|| format!("writing to {}", shown.display()))?;
        Ok(())
    }
}
