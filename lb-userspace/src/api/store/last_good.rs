//! The last generation that this node could carry, on its own disk: what it starts with when others made a newer one that
//! it has no room for.
//!
//! It stands beside the newest state, in a directory of its own, and is written behind the data plane, by a thread: if
//! that falls behind, it is the newest that counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use tracing::warn;

use super::embedded::Embedded;
use crate::api::domain::{Changes, State, Store};

/// The directory, below that of the state.
const DIRECTORY: &str = "last-good";

/// The last generation that could be carried, and who keeps it.
pub struct LastGood {
    /// What was found.
    found: Option<State>,
    /// None once nothing is to be kept any more.
    states: Option<Sender<State>>,
    thread: Option<JoinHandle<()>>,
}

impl LastGood {
    /// Opens it below the directory of the state, which has generation `newest`: what is newer than that is of another
    /// state, and is forgotten; so is what can't be read.
    ///
    /// # Errors
    /// If it can't be kept there.
    pub fn open(directory: &Path, newest: u64) -> anyhow::Result<LastGood> {
        let path = directory.join(DIRECTORY);
        let (store, state) = match load(&path) {
            Ok((store, state)) if state.generation <= newest => (store, state),
            Ok(_) => begin_anew(&path)?,
            Err(problem) => {
                warn!("the last good generation of the state can't be read, and is forgotten: {problem:#}");
                begin_anew(&path)?
            }
        };
        let found = (state.generation > 0).then(|| state.clone());
        let (states, received) = channel();
        let thread = thread::Builder::new().name("state-last-good".to_owned());
        let thread = thread.spawn(move || follow(store, state, &received)).context("starting a thread")?;
        Ok(LastGood { found, states: Some(states), thread: Some(thread) })
    }

    /// What was kept by an earlier run, if anything.
    pub fn found(&self) -> Option<&State> {
        self.found.as_ref()
    }

    /// The data plane carries that.
    pub fn keep(&self, state: &State) {
        if let Some(states) = &self.states {
            // The thread ends with this only.
            let _ = states.send(state.clone());
        }
    }
}

impl Drop for LastGood {
    /// What is to be kept is kept then.
    fn drop(&mut self) {
        drop(self.states.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that keeps the last good generation panicked");
        }
    }
}

fn load(path: &Path) -> anyhow::Result<(Embedded, State)> {
    let mut store = Embedded::open(path)?;
    let state = store.load()?;
    Ok((store, state))
}

fn begin_anew(path: &Path) -> anyhow::Result<(Embedded, State)> {
    fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))?;
    load(path)
}

fn follow(mut store: Embedded, mut kept: State, states: &Receiver<State>) {
    while let Some(state) = newest(states) {
        if state.generation <= kept.generation {
            continue;
        }
        let changes = difference(&kept, &state);
        match store.keep(kept.generation, &state, &changes) {
            Ok(()) => kept = state,
            Err(problem) => warn!("the last good generation is not on this node's disk: {problem:#}"),
        }
    }
}

fn newest(states: &Receiver<State>) -> Option<State> {
    let first = states.recv().ok()?;
    states.try_iter().chain([first]).max_by_key(|state| state.generation)
}

/// What makes one state of another.
pub(super) fn difference(from: &State, to: &State) -> Changes {
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

#[cfg(test)]
mod tests {
    use super::super::tests::Scratch;
    use super::*;

    fn state(generation: u64, vips: &[&str]) -> State {
        let last_vips = vips.iter().map(|pool| ((*pool).to_owned(), "10.200.1.1".parse().unwrap()));
        State { generation, last_vips: last_vips.collect(), ..State::default() }
    }

    #[test]
    fn what_was_carried_last_is_found_by_the_next_run() {
        let scratch = Scratch::new();
        let open = |newest| LastGood::open(&scratch.path, newest).unwrap();
        let first = open(5);
        assert!(first.found().is_none());
        first.keep(&state(4, &["a"]));
        first.keep(&state(5, &["a", "b"]));
        drop(first);
        let second = open(7);
        assert_eq!(second.found(), Some(&state(5, &["a", "b"])));
        second.keep(&state(7, &["b"]));
        // One that is older is of no use.
        second.keep(&state(6, &["a"]));
        drop(second);
        assert_eq!(open(8).found(), Some(&state(7, &["b"])));
    }

    #[test]
    fn what_is_of_another_state_or_damaged_is_forgotten() {
        let scratch = Scratch::new();
        let keep = || LastGood::open(&scratch.path, 9).unwrap().keep(&state(9, &["a"]));
        keep();
        assert!(LastGood::open(&scratch.path, 3).unwrap().found().is_none(), "the state began anew");
        keep();
        fs::write(scratch.path.join(DIRECTORY).join("state.redb"), "no database").unwrap();
        let opened = LastGood::open(&scratch.path, 9).unwrap();
        assert!(opened.found().is_none());
        opened.keep(&state(9, &["a"]));
        drop(opened);
        assert_eq!(LastGood::open(&scratch.path, 9).unwrap().found(), Some(&state(9, &["a"])));
    }
}
