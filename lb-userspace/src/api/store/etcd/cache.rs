//! The last good state on this node's disk, and which state it is: what the node starts with while etcd is away.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use tracing::warn;

use super::replica::Replica;
use crate::api::domain::{Changes, State, Store};
use crate::api::store::embedded::Embedded;

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

/// What makes one state of another.
fn difference(from: &State, to: &State) -> Changes {
    Changes {
        load_balancers: differing(&from.load_balancers, &to.load_balancers),
        target_groups: differing(&from.target_groups, &to.target_groups),
        last_vips: differing(&from.last_vips, &to.last_vips),
    }
}

fn differing<T: Clone + PartialEq>(
    from: &BTreeMap<String, T>,
    to: &BTreeMap<String, T>,
) -> BTreeMap<String, Option<T>> {
    let names = from.keys().chain(to.keys().filter(|name| !from.contains_key(*name)));
    let differing = names.filter(|name| from.get(*name) != to.get(*name));
    differing.map(|name| (name.clone(), from.get(name).cloned())).collect()
}
