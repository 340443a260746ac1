//! The last good state on this node's disk, and which state it is: what the node starts with while etcd is away.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use tracing::warn;

use super::replica::Replica;
use crate::api::domain::{State, Store};
use crate::api::store::embedded::Embedded;
use crate::api::store::last_good::difference;

/// A store of this node, which follows the shared one.
pub(super) struct Cache {
    store: Embedded,
    state: Arc<State>,
    lineage: Option<String>,
    lineage_file: PathBuf,
}

impl Cache {
    /// Opens the store in a directory.
    ///
    /// # Errors
    /// If it can't be used.
    pub(super) fn open(directory: &Path) -> anyhow::Result<Cache> {
        let mut store = Embedded::open(directory)?;
        let state = Arc::new(store.load()?);
        let lineage_file = directory.join("lineage");
        let is_known = fs::exists(&lineage_file).with_context(|| lineage_file.display().to_string())?;
        let lineage = is_known.then(|| fs::read_to_string(&lineage_file)).transpose();
        let lineage = lineage.with_context(|| format!("reading {}", lineage_file.display()))?;
        Ok(Cache { store, state, lineage, lineage_file })
    }

    /// The state that it has.
    pub(super) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Which state it has; none if it never was in etcd.
    pub(super) fn lineage(&self) -> Option<&str> {
        self.lineage.as_deref()
    }

    /// Follows what is sent until nothing can be sent any more. It may fall behind: it is the newest that counts.
    pub(super) fn follow(mut self) -> anyhow::Result<(Sender<Replica>, JoinHandle<()>)> {
        let (sender, receiver) = channel();
        let thread = thread::Builder::new().name("state-cache".to_owned());
        let thread = thread.spawn(move || {
            while let Some(replica) = newest(&receiver) {
                if let Err(error) = self.write(&replica) {
                    warn!("the last good state is not on this node's disk: {error:#}");
                }
            }
        });
        Ok((sender, thread.context("starting a thread")?))
    }

    fn write(&mut self, replica: &Replica) -> anyhow::Result<()> {
        if let Some(head) = &replica.head
            && self.lineage.as_ref() != Some(&head.lineage)
        {
            fs::write(&self.lineage_file, &head.lineage).context("writing the lineage")?;
            self.lineage = Some(head.lineage.clone());
        }
        let changes = difference(&self.state, &replica.state);
        if replica.state.generation > self.state.generation {
            self.store.keep(self.state.generation, &replica.state, &changes)?;
            self.state = replica.state.clone();
        }
        Ok(())
    }
}

fn newest(receiver: &Receiver<Replica>) -> Option<Replica> {
    let first = receiver.recv().ok()?;
    Some(receiver.try_iter().last().unwrap_or(first))
}
