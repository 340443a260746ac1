//! Follows the state in etcd, at one member after the other, and writes to it.
//!
//! ```text
//!   join: connect ─► list ─► is it our state? ─► watch ─► follow: changes, commands
//!     ▲                                                      │ the watch ends, a member is silent
//!     └────────────── the next member, after a pause ◄───────┘
//! ```

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use etcd_client::Error as EtcdError;
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{info, warn};

use super::client::{Changes, Committed, Member};
use super::configuration::Access;
use super::keys::{Head, Keys, random};
use super::replica::{Replica, count};
use super::shared::{Command, Commit, Trouble, View};
use crate::api::domain::{State, Unkept};
use crate::api::store::entry::{Edits, entries_of};
use crate::api::store::format::FORMAT;

/// The pause before another member is tried, and the longest when none of them answers: a node whose way is mended is to
/// have caught up within 2 s, and an attempt into nothing takes up to 1 s of them, until its next packet is sent.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How far back it is looked for an attempt whose answer was lost.
const HISTORY: usize = 1000;

/// The connection to etcd, and what is known through it.
pub(super) struct Follower {
    access: Access,
    keys: Keys,
    /// Which of the endpoints is spoken to.
    at: usize,
    member: Option<Member>,
    replica: Option<Replica>,
    /// Which state this node's is.
    lineage: Option<String>,
    view: Arc<View>,
    cache: Sender<Replica>,
    commands: UnboundedReceiver<Command>,
    /// Told how the first attempt to join ended.
    first: Option<Sender<Result<(), Trouble>>>,
}

/// What is wrong with the state in etcd, so that it is not this node's: trying again does not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotOurs(String);

impl Follower {
    pub(super) fn new(
        access: Access,
        prefix: &str,
        lineage: Option<String>,
        view: Arc<View>,
        cache: Sender<Replica>,
        commands: UnboundedReceiver<Command>,
        first: Sender<Result<(), Trouble>>,
    ) -> Follower {
        let keys = Keys::under(prefix);
        let first = Some(first);
        Follower { access, keys, at: 0, member: None, replica: None, lineage, view, cache, commands, first }
    }

    /// Follows for ever.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            match self.join().await {
                Ok(changes) => {
                    failures = 0;
                    self.settle(None);
                    let error = self.follow(changes).await;
                    info!("looking for the state at another member of etcd: {error:#}");
                }
                Err(error) => {
                    failures += 1;
                    let is_away = error.downcast_ref::<NotOurs>().is_none();
                    if failures >= self.access.endpoints.len() || !is_away {
                        self.settle(Some(Trouble(format!("{error:#}"))));
                    }
                }
            }
            self.leave();
            let pause = PAUSE.saturating_mul(u32::try_from(failures).unwrap_or(u32::MAX));
            self.pause(pause.min(LONGEST_PAUSE)).await;
        }
    }

    /// Waits; who asks for something that can't be had at the moment is told so.
    async fn pause(&mut self, pause: Duration) {
        let sleep = tokio::time::sleep(pause);
        tokio::pin!(sleep);
        loop {
            let trouble = self.view.trouble();
            tokio::select! {
                () = &mut sleep => return,
                Some(command) = self.commands.recv(), if trouble.is_some() => {
                    command.refuse(trouble.expect("it was just looked at"));
                }
            }
        }
    }

    fn settle(&mut self, trouble: Option<Trouble>) {
        let is_other = self.view.trouble() != trouble;
        self.view.set_trouble(trouble.clone());
        if let Some(first) = self.first.take() {
            // Whoever opens the store may have given up.
            let _ = first.send(trouble.map_or(Ok(()), Err));
        } else if let Some(trouble) = trouble.filter(|_| is_other) {
            warn!("the shared state can't be changed: {trouble}");
        }
    }

    /// Leaves the member that is spoken to.
    fn leave(&mut self) {
        self.member = None;
        self.at = (self.at + 1) % self.access.endpoints.len();
    }

    async fn member(&mut self) -> anyhow::Result<&mut Member> {
        if self.member.is_none() {
            let endpoint = &self.access.endpoints[self.at];
            self.member = Some(Member::connect(&self.access, endpoint, self.keys.clone()).await?);
        }
        Ok(self.member.as_mut().expect("it was just made"))
    }

    async fn join(&mut self) -> anyhow::Result<Changes> {
        self.list().await?;
        let revision = self.replica.as_ref().map_or(0, |replica| replica.revision);
        self.member().await?.watch(revision).await
    }

    /// Lists everything, and takes it over.
    async fn list(&mut self) -> anyhow::Result<()> {
        let replica = Replica::of(self.member().await?.list().await?)?;
        let known = self.view.newest();
        let Some(head) = &replica.head else {
            if known.generation == 0 {
                self.replica = Some(replica);
                return Ok(());
            }
            warn!("there is no state in etcd: this node's, of generation {}, is put there", known.generation);
            return self.write_all(0, &known).await;
        };
        self.check(head, known.generation)?;
        if replica.is_old() {
            let mut state = State::clone(&replica.state);
            state.generation += 1;
            return self.write_all(replica.head_revision, &Arc::new(state)).await;
        }
        self.take(replica);
        Ok(())
    }

    /// Whether the state in etcd is the one that this node has an older copy of.
    fn check(&self, head: &Head, known: u64) -> Result<(), NotOurs> {
        let why = match &self.lineage {
            None if known > 0 => format!(
                "this node has a state of its own (generation {known}) and there is another one in etcd: save this \
                 node's with sluice state export, and start with an empty state directory"
            ),
            Some(lineage) if *lineage != head.lineage => "the state in etcd is another one than the state of this \
                 node, which was begun there later or elsewhere: save this node's with sluice state export, and start \
                 with an empty state directory, or name the right endpoints and prefix"
                .to_owned(),
            _ if head.generation < known => format!(
                "the state in etcd is of generation {}, but {known} is known here: it was taken back to an older one; \
                 if that is meant, start every node with an empty state directory, or else save this node's with sluice \
                 state export and bring that back",
                head.generation
            ),
            _ => return Ok(()),
        };
        Err(NotOurs(why))
    }

    fn take(&mut self, replica: Replica) {
        self.lineage = replica.head.as_ref().map(|head| head.lineage.clone());
        if replica.state.generation != self.view.newest().generation {
            self.view.publish(replica.state.clone());
        }
        // Without a disk for it, the state still is what it is.
        let _ = self.cache.send(replica.clone());
        self.replica = Some(replica);
    }

    /// Writes all of a state, if nothing was written since a revision, and takes over what is there then.
    async fn write_all(&mut self, base: i64, state: &Arc<State>) -> anyhow::Result<()> {
        let edits = entries_of(state).into_iter().map(|(key, value)| (key, Some(value))).collect();
        let head = self.head_of(state);
        self.member().await?.commit(base, &head, &edits).await?;
        let listed = self.member().await?.list().await?;
        let replica = Replica::of(listed)?;
        let Some(head) = &replica.head else { bail!("etcd lost what was just written") };
        self.check(head, state.generation)?;
        self.take(replica);
        Ok(())
    }

    fn head_of(&self, state: &State) -> Head {
        Head {
            format: FORMAT,
            generation: state.generation,
            entries: count(state),
            lineage: self.lineage.clone().unwrap_or_else(random),
            attempt: random(),
        }
    }

    /// Takes in changes and carries out commands until the connection is of no use any more: why it is not.
    async fn follow(&mut self, mut changes: Changes) -> anyhow::Error {
        loop {
            tokio::select! {
                told = changes.next() => {
                    let replica = self.replica.as_ref().context("nothing was listed");
                    match told.and_then(|told| replica?.after(told)) {
                        Ok(Some(replica)) => self.take(replica),
                        Ok(None) => {}
                        Err(error) => return error,
                    }
                }
                Some(command) = self.commands.recv() => {
                    match command {
                        Command::Commit(commit) => self.commit(commit).await,
                        Command::News(generation, reply) => {
                            // Who does not wait any longer needs no answer.
                            let _ = reply.send(self.news(generation).await);
                        }
                    }
                    if self.member.is_none() {
                        return anyhow!("the member did not answer");
                    }
                }
            }
        }
    }

    async fn news(&mut self, generation: u64) -> anyhow::Result<Option<Arc<State>>> {
        let asked = async {
            let head = self.member().await?.head(None).await?;
            if head.is_some_and(|(head, _)| head.generation > generation) {
                self.list().await?;
            }
            anyhow::Ok(())
        };
        if let Err(error) = asked.await {
            self.leave();
            return Err(error);
        }
        let newest = self.view.newest();
        Ok((newest.generation > generation).then_some(newest))
    }

    async fn commit(&mut self, commit: Commit) {
        let Commit { base, state, edits, deadline, reply } = commit;
        if Instant::now() >= deadline {
            // Whoever asked was told that it is not known, and may have asked for something else since.
            let _ = reply.send(Err(Unkept::Unavailable(anyhow!("etcd was away for too long"))));
            return;
        }
        let kept = self.commit_surely(base, state, &edits, deadline).await;
        let _ = reply.send(kept);
    }

    /// Writes a change; tries again where an answer is lost, and finds out whether it was written then.
    async fn commit_surely(
        &mut self,
        base: u64,
        state: Arc<State>,
        edits: &Edits,
        deadline: Instant,
    ) -> Result<(), Unkept> {
        let replica = self.replica.as_ref().filter(|replica| replica.state.generation == base);
        let Some(base) = replica.map(|replica| replica.head_revision) else { return Err(Unkept::Conflict) };
        let head = self.head_of(&state);
        let mut is_uncertain = false;
        loop {
            let error = match self.attempt(base, &head, edits).await {
                Ok(Committed::Done(revision)) => {
                    let head_revision = revision;
                    self.take(Replica { state, head: Some(head), head_revision, revision });
                    return Ok(());
                }
                Ok(Committed::Lost(there)) if is_uncertain => {
                    return match self.was_written(base, &head, there).await {
                        Ok(true) => Ok(()),
                        Ok(false) => Err(Unkept::Conflict),
                        Err(error) => Err(Unkept::Unknown(error)),
                    };
                }
                Ok(Committed::Lost(_)) => return Err(Unkept::Conflict),
                Err(error) if is_refusal(&error) => return Err(Unkept::Unavailable(error)),
                Err(error) => error,
            };
            is_uncertain |= self.member.is_some();
            self.leave();
            if Instant::now() >= deadline {
                let unkept = if is_uncertain { Unkept::Unknown } else { Unkept::Unavailable };
                return Err(unkept(error));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(&mut self, base: i64, head: &Head, edits: &Edits) -> anyhow::Result<Committed> {
        self.member().await?.commit(base, head, edits).await
    }

    /// Whether the attempt of `head` was written after the revision `base`, though others may have written since.
    async fn was_written(
        &mut self,
        base: i64,
        head: &Head,
        mut there: Option<(Head, i64)>,
    ) -> anyhow::Result<bool> {
        for _ in 0..HISTORY {
            match there {
                Some((other, revision)) if revision > base => {
                    if other.attempt == head.attempt {
                        return Ok(true);
                    }
                    there = self.member().await?.head(Some(revision - 1)).await?;
                }
                _ => return Ok(false),
            }
        }
        bail!("others wrote {HISTORY} times since")
    }
}

/// Whether etcd has looked at a request and did not carry it out: to repeat it makes no sense.
fn is_refusal(error: &anyhow::Error) -> bool {
    let Some(EtcdError::GRpcStatus(status)) = error.downcast_ref::<EtcdError>() else { return false };
    // tonic's type is not named here, to need no dependency for it: numbers of gRPC's codes.
    const INVALID_ARGUMENT: i32 = 3;
    const PERMISSION_DENIED: i32 = 7;
    const RESOURCE_EXHAUSTED: i32 = 8;
    [INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED].contains(&i32::from(status.code()))
}
