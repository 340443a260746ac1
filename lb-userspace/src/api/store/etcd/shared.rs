//! The store as the engine sees it: what is known is answered at once, what is to be certain is asked of the follower.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender as Reply, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use super::cache::Cache;
use super::configuration::Etcd;
use super::follower::Follower;
use crate::api::domain::{Changes, Sharing, State, Store, Unkept};
use crate::api::store::entry::{Edits, edits_of};

/// How long a change is tried to be written.
const PATIENCE: Duration = Duration::from_secs(6);

/// Opens the shared store, with the last good state of this node in `directory`.
///
/// # Errors
/// If etcd can't be used, or has another state, and there is no last good one that was in etcd.
pub(in crate::api::store) fn open(etcd: &Etcd, directory: &Path) -> anyhow::Result<Box<dyn Store>> {
    let access = etcd.access()?;
    let cache = Cache::open(directory)?;
    let view = Arc::new(View::of(cache.state().clone()));
    let lineage = cache.lineage().map(str::to_owned);
    let is_known = lineage.is_some() && cache.state().generation > 0;
    let (to_cache, cache) = cache.follow()?;
    let (commands, received) = mpsc::unbounded_channel();
    let (first, first_outcome) = channel();
    let follower = Follower::new(access, &etcd.prefix, lineage, view.clone(), to_cache, received, first);
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = Arc::clone(&view);
    let thread = thread::Builder::new().name("state-etcd".to_owned()).spawn(move || {
        let following = async {
            tokio::select! {
                () = follower.run() => {}
                _ = stopped => {}
            }
        };
        if catch_unwind(AssertUnwindSafe(|| runtime.block_on(following))).is_err() {
            told.set_trouble(Some(ended()));
        }
    });
    let threads = vec![thread.context("starting a thread")?, cache];
    let shared = Shared { view, commands, stop: Some(stop), threads };
    match first_outcome.recv().unwrap_or_else(|_| Err(ended())) {
        Ok(()) => {}
        // One that is running goes on with it too, and one that does not start announces no VIP: were it otherwise, an
        // etcd that is not ours any more would end all nodes, one restart after the other.
        Err(trouble) if is_known => {
            warn!(
                "started with the last good state of this node, generation {}, which can't be changed: {trouble}",
                shared.view.generation()
            );
        }
        Err(error) => return Err(anyhow!("{error}")),
    }
    Ok(Box::new(shared))
}

fn ended() -> Trouble {
    Trouble(
        "what follows etcd in this process has panicked, as the log says: restart this node's sluice"
            .to_owned(),
    )
}

/// Why etcd can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Trouble(pub(super) String);

/// What is known here.
#[derive(Debug)]
pub(super) struct View {
    newest: Mutex<Arc<State>>,
    trouble: Mutex<Option<Trouble>>,
    generations: watch::Sender<u64>,
}

impl View {
    fn of(state: Arc<State>) -> View {
        let generations = watch::Sender::new(state.generation);
        View { newest: Mutex::new(state), trouble: Mutex::new(None), generations }
    }

    /// The newest state that is known here.
    pub(super) fn newest(&self) -> Arc<State> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a state the newest.
    pub(super) fn publish(&self, state: Arc<State>) {
        let generation = state.generation;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.generations.send_replace(generation);
    }

    /// Notes why etcd can't be used, or that it can.
    pub(super) fn set_trouble(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why etcd can't be used; nothing if it can.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sharing for View {
    fn generation(&self) -> u64 {
        *self.generations.borrow()
    }

    fn problem(&self) -> Option<String> {
        self.trouble().map(|Trouble(text)| text)
    }
}

/// What the follower is asked.
pub(super) enum Command {
    /// To write.
    Commit(Commit),
    /// For the newest state that there is, if it is newer than a generation.
    News(u64, Reply<anyhow::Result<Option<Arc<State>>>>),
}

/// A change to be written.
pub(super) struct Commit {
    /// The generation that it is based on.
    pub(super) base: u64,
    /// What it makes.
    pub(super) state: Arc<State>,
    /// What differs.
    pub(super) edits: Edits,
    /// When nobody waits for it any longer.
    pub(super) deadline: Instant,
    /// Where its end is told.
    pub(super) reply: Reply<Result<(), Unkept>>,
}

impl Command {
    /// Answers it with why it can't be carried out.
    pub(super) fn refuse(self, trouble: Trouble) {
        // Who does not wait any longer needs no answer.
        match self {
            Command::Commit(commit) => drop(commit.reply.send(Err(Unkept::Unavailable(trouble.into())))),
            Command::News(_, reply) => drop(reply.send(Err(trouble.into()))),
        }
    }
}

struct Shared {
    view: Arc<View>,
    commands: mpsc::UnboundedSender<Command>,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Shared {
    /// The newest state, if it is newer than a generation, from etcd itself.
    fn ask(&self, generation: u64) -> anyhow::Result<Option<Arc<State>>> {
        if let Some(trouble) = self.view.trouble() {
            return Err(trouble.into());
        }
        let (reply, answer) = channel();
        let _ = self.commands.send(Command::News(generation, reply));
        answer.recv_timeout(PATIENCE).context("etcd does not answer")?
    }
}

impl Store for Shared {
    fn load(&mut self) -> anyhow::Result<State> {
        let newest = self.view.newest();
        match self.ask(newest.generation) {
            Ok(Some(state)) => Ok(State::clone(&state)),
            Ok(None) => Ok(State::clone(&self.view.newest())),
            Err(error) => {
                warn!("the state is the newest that is known here: {error:#}");
                Ok(State::clone(&newest))
            }
        }
    }

    fn keep(&mut self, base: u64, state: &State, changes: &Changes) -> Result<(), Unkept> {
        if let Some(trouble) = self.view.trouble() {
            return Err(Unkept::Unavailable(trouble.into()));
        }
        let (reply, answer) = channel();
        let edits = edits_of(state, changes);
        let deadline = Instant::now() + PATIENCE;
        let commit = Commit { base, state: Arc::new(state.clone()), edits, deadline, reply };
        let _ = self.commands.send(Command::Commit(commit));
        // The follower gives up by itself, but perhaps only after one more answer that does not come.
        match answer.recv_timeout(2 * PATIENCE) {
            Ok(kept) => kept,
            Err(RecvTimeoutError::Timeout) => Err(Unkept::Unknown(anyhow!("etcd does not answer"))),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Unkept::Unknown(anyhow!("the follower of etcd ended before it answered")))
            }
        }
    }

    fn news(&mut self, generation: u64) -> Option<State> {
        let newest = self.view.newest();
        (newest.generation > generation).then(|| State::clone(&newest))
    }

    fn certain_news(&mut self, generation: u64) -> Option<State> {
        match self.ask(generation) {
            Ok(state) => state.map(|state| State::clone(&state)),
            Err(_) => self.news(generation),
        }
    }

    fn sharing(&self) -> Option<Arc<dyn Sharing>> {
        Some(Arc::clone(&self.view) as Arc<dyn Sharing>)
    }

    fn watch(&self) -> Option<watch::Receiver<u64>> {
        Some(self.view.generations.subscribe())
    }
}

impl Drop for Shared {
    /// Whoever opens the directory next finds it free.
    fn drop(&mut self) {
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a thread of the shared store panicked");
            }
        }
    }
}
