//! The sessions of a speaker: one task for each peer that gives a [`Machine`] the time and what happens, and does
//! what it says.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tracing::{info, warn};

use super::connection::{Connection, News};
use super::machine::{Action, Event, Machine};
use super::status::{SessionState, SessionStatus};
use super::{Peer, Speaker};
use crate::announce::{Wanted, bfd};

/// A router that takes nothing of what it is sent for so long is not worth a session (RFC 9687); with a longer hold
/// time, for twice that.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// BFD begins so long after BGP. FRR begins its BFD session anew when BGP comes up and it learns its own address; where
/// that takes down one that was up, it ends BGP again.
const BFD_AFTER: Duration = Duration::from_secs(1);

/// The running sessions of a speaker. Dropping them ends the connections without a word, as a crash would.
#[derive(Debug)]
pub struct Sessions {
    wanted: watch::Receiver<Arc<Wanted>>,
    /// In the order of the configuration.
    sessions: Vec<Session>,
}

#[derive(Debug)]
struct Session {
    speaker: Arc<Speaker>,
    peer: Peer,
    status: watch::Receiver<Arc<SessionStatus>>,
    /// Or why it could not be started.
    task: Result<Task, String>,
}

#[derive(Debug)]
struct Task {
    /// The peer as it is configured now.
    peer: watch::Sender<Peer>,
    stop: Option<oneshot::Sender<String>>,
    handle: JoinHandle<()>,
}

/// What routers are told when they are no longer announced to, or otherwise.
const RECONFIGURED: &str = "the configuration of this node has changed";

/// Starts a session with each of the speaker's peers, which is told `wanted` and all its changes. Peers that are
/// watched by BFD need the thread that `bfd` is. A peer whose session can't be started is one of the
/// [problems](Sessions::problems), and keeps nobody from the others.
///
/// Must be called within a tokio runtime with I/O and time.
///
/// # Errors
/// When the configuration is invalid.
pub fn start(
    speaker: &Speaker,
    wanted: &watch::Receiver<Arc<Wanted>>,
    bfd: Option<&bfd::Service>,
) -> Result<Sessions> {
    speaker.validate()?;
    let mut sessions = Sessions { wanted: wanted.clone(), sessions: Vec::new() };
    sessions.start_missing(speaker, bfd);
    Ok(sessions)
}

impl Sessions {
    /// Makes the sessions those of `speaker`: what is configured as before goes on undisturbed, and is told anew what
    /// routes carry where that has changed; other sessions end, new ones begin, and those that could not be started are
    /// tried again. Takes about a second where a session ends.
    ///
    /// # Errors
    /// When the configuration is invalid; then nothing has changed.
    pub async fn apply(&mut self, speaker: &Speaker, bfd: Option<&bfd::Service>) -> Result<()> {
        speaker.validate()?;
        let (kept, gone) = self
            .sessions
            .drain(..)
            .partition(|session| speaker.peers.iter().any(|peer| session.is(speaker, peer)));
        self.sessions = kept;
        stop_all(gone, RECONFIGURED).await;
        self.start_missing(speaker, bfd);
        Ok(())
    }

    /// Why sessions could not be started, for each router that has none; the others have theirs.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.sessions.iter().filter_map(|session| session.task.as_ref().err()).map(String::as_str)
    }

    /// Whether any session was started.
    pub fn has_any(&self) -> bool {
        self.sessions.iter().any(|session| session.task.is_ok())
    }

    /// The present state of every session, in the order of the configuration.
    pub fn status(&self) -> Vec<Arc<SessionStatus>> {
        self.sessions.iter().map(|session| session.status.borrow().clone()).collect()
    }

    /// The state of the session with `peer`, to be watched.
    pub fn watch(&self, peer: IpAddr) -> Option<watch::Receiver<Arc<SessionStatus>>> {
        let found = self.sessions.iter().find(|session| session.peer.address == peer);
        found.map(|session| session.status.clone())
    }

    /// Ends every session: withdraws all VIPs, and tells the routers `text` (RFC 9003; at most 255 bytes of it).
    /// Takes about a second at most.
    pub async fn stop(mut self, text: &str) {
        stop_all(self.sessions.drain(..).collect(), text).await;
    }

    /// One router's trouble is not another's: what runs goes on, and what can be started is.
    fn start_missing(&mut self, speaker: &Speaker, bfd: Option<&bfd::Service>) {
        let shared = Arc::new(speaker.clone());
        let mut before: Vec<Session> = self.sessions.drain(..).collect();
        for peer in &speaker.peers {
            let found = before.iter().position(|session| session.is(speaker, peer));
            let session = match found.map(|position| before.swap_remove(position)) {
                Some(mut running) if running.task.is_ok() => {
                    running.become_configured(peer);
                    running
                }
                failed => Session::start(&shared, peer, self.wanted.clone(), bfd)
                    .unwrap_or_else(|problem| Session::failed(&shared, peer, failed, &problem)),
            };
            self.sessions.push(session);
        }
    }
}

/// All at the same time.
async fn stop_all(mut sessions: Vec<Session>, text: &str) {
    let mut tasks: Vec<&mut Task> =
        sessions.iter_mut().filter_map(|session| session.task.as_mut().ok()).collect();
    for task in &mut tasks {
        if let Some(stop) = task.stop.take() {
            // A task that panicked has no connection any more.
            let _ = stop.send(text.to_owned());
        }
    }
    for task in tasks {
        let _ = (&mut task.handle).await;
    }
}

impl Session {
    fn start(
        speaker: &Arc<Speaker>,
        peer: &Peer,
        mut wanted: watch::Receiver<Arc<Wanted>>,
        bfd: Option<&bfd::Service>,
    ) -> Result<Session> {
        let bfd = watch_peer(peer, bfd)?;
        let first = wanted.borrow_and_update().clone();
        let machine = Machine::new(speaker.clone(), peer.clone(), first, Instant::now(), fastrand::u64(..));
        let (sender, status) = watch::channel(Arc::new(machine.status()));
        let (stop, stopping) = oneshot::channel();
        let (change, configured) = watch::channel(peer.clone());
        let connection = Connection::None;
        let runner = Runner {
            peer: peer.clone(),
            configured,
            machine,
            connection,
            status: sender,
            wanted,
            stopping,
            bfd,
            bfd_at: None,
        };
        let (speaker, peer) = (speaker.clone(), peer.clone());
        let task = Task { peer: change, stop: Some(stop), handle: tokio::spawn(runner.run()) };
        Ok(Session { speaker, peer, status, task: Ok(task) })
    }

    /// The place of one that can't be started: its router is among the others in the status, with the reason. `before`
    /// is the last attempt, if there was one.
    fn failed(
        speaker: &Arc<Speaker>,
        peer: &Peer,
        before: Option<Session>,
        problem: &anyhow::Error,
    ) -> Session {
        let (now, problem) = (Instant::now(), format!("{problem:#}"));
        let machine = Machine::new(speaker.clone(), peer.clone(), Arc::default(), now, 0);
        let status = SessionStatus {
            since: before.map_or(now, |before| before.status.borrow().since),
            last_error: Some((now, problem.clone())),
            ..machine.status()
        };
        let (_, status) = watch::channel(Arc::new(status));
        Session { speaker: speaker.clone(), peer: peer.clone(), status, task: Err(problem) }
    }

    /// Where it is a session for `peer` already, nothing happens.
    fn become_configured(&mut self, peer: &Peer) {
        if self.peer != *peer {
            self.peer = peer.clone();
            if let Ok(task) = &self.task {
                task.peer.send_replace(peer.clone());
            }
        }
    }

    /// Whether it is the session that `speaker` has with `peer`, but for what routes carry.
    fn is(&self, speaker: &Speaker, peer: &Peer) -> bool {
        let own = |speaker: &Speaker| (speaker.local_as, speaker.router_id);
        own(&self.speaker) == own(speaker) && self.peer.shares_session(peer)
    }
}

fn watch_peer(peer: &Peer, service: Option<&bfd::Service>) -> Result<Option<bfd::Session>> {
    let Some(timers) = peer.bfd else { return Ok(None) };
    let service = service.with_context(|| format!("peer {}: BFD is not running", peer.address))?;
    let session = service.watch(peer.address, peer.source, timers);
    session.map(Some).with_context(|| format!("watching peer {} by BFD", peer.address))
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// One session's machine and rim.
struct Runner {
    peer: Peer,
    configured: watch::Receiver<Peer>,
    machine: Machine,
    connection: Connection,
    status: watch::Sender<Arc<SessionStatus>>,
    wanted: watch::Receiver<Arc<Wanted>>,
    stopping: oneshot::Receiver<String>,
    bfd: Option<bfd::Session>,
    /// When BFD is to be switched on.
    bfd_at: Option<Instant>,
}

/// What a session waits for.
enum Woken {
    News(News),
    Wanted,
    Configured,
    Bfd,
    Stop(String),
    Deadline,
}

impl Runner {
    async fn run(mut self) {
        self.handle(Event::Tick).await;
        while self.machine.state() != SessionState::Stopped {
            let woken = self.wait().await;
            if !matches!(woken, Woken::News(_)) {
                self.catch_up().await;
            }
            match woken {
                Woken::News(news) => self.take(news).await,
                Woken::Wanted => {
                    let wanted = self.wanted.borrow_and_update().clone();
                    self.handle(Event::Wanted(wanted)).await;
                }
                Woken::Configured => {
                    self.peer = self.configured.borrow_and_update().clone();
                    info!(peer = %self.peer.address, "BGP routes carry something else now");
                    let peer = self.peer.clone();
                    self.handle(Event::Peer(&peer)).await;
                }
                Woken::Bfd => self.bfd_changed().await,
                Woken::Stop(text) => self.handle(Event::Stop(&text)).await,
                Woken::Deadline => self.deadline().await,
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let stuck_at = self.connection.stuck_since().map(|since| since + self.stuck_after());
        let deadline = [self.machine.deadline(), stuck_at, self.bfd_at].into_iter().flatten().min();
        let deadline = pin!(async {
            match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        });
        let has_room = self.connection.has_room();
        let bfd = pin!(async {
            match &mut self.bfd {
                Some(session) => session.changed().await,
                None => std::future::pending().await,
            }
        });
        tokio::select! {
            biased;
            Ok(text) = &mut self.stopping => Woken::Stop(text),
            () = bfd => Woken::Bfd,
            () = deadline => Woken::Deadline,
            Ok(()) = self.configured.changed(), if has_room => Woken::Configured,
            Ok(()) = self.wanted.changed(), if has_room => Woken::Wanted,
            news = self.connection.news() => Woken::News(news),
        }
    }

    /// What came is looked at before the time: after a stall of this process the router's messages are there. Not all
    /// that comes, or who sends faster than it is read keeps this from sending.
    async fn catch_up(&mut self) {
        let is_due = self.machine.deadline().is_some_and(|deadline| deadline <= Instant::now());
        if let Some(news) = is_due.then(|| self.connection.waiting()).flatten() {
            self.take(news).await;
        }
    }

    async fn take(&mut self, news: News) {
        match news {
            News::Connected => self.handle(Event::Connected).await,
            News::Disconnected(reason) => self.handle(Event::Disconnected(&reason)).await,
            News::Bytes(bytes) => self.handle(Event::Bytes(&bytes)).await,
        }
    }

    async fn handle(&mut self, event: Event<'_>) {
        let before = self.machine.state();
        let actions = self.machine.handle(Instant::now(), event);
        self.watch_while_established(before);
        self.publish(before);
        for action in actions {
            match action {
                Action::Connect => self.connection = Connection::connect(&self.peer),
                Action::Send(bytes) => self.connection.send(&bytes),
                Action::Close => self.connection.close().await,
            }
        }
    }

    /// BFD watches what is established, and nothing else: see [`BFD_AFTER`].
    fn watch_while_established(&mut self, before: SessionState) {
        let Some(bfd) = &self.bfd else { return };
        let (was, is) =
            (before == SessionState::Established, self.machine.state() == SessionState::Established);
        if is && !was {
            self.bfd_at = Some(Instant::now() + BFD_AFTER);
        } else if was && !is {
            self.bfd_at = None;
            bfd.switch_off();
        }
    }

    /// Lets everybody know the state, and the log what operators ask about.
    fn publish(&self, before: SessionState) {
        let mut status = self.machine.status();
        status.bfd = self.bfd.as_ref().map(bfd::Session::status);
        let (peer, state) = (status.peer, status.state);
        if state == SessionState::Established && before != state {
            info!(%peer, announced = status.announced, draining = status.draining, "BGP session established");
        } else if before == SessionState::Established && state != before {
            // One that is stopped may remember an earlier attempt's error.
            let error = status.last_error.as_ref().filter(|_| state != SessionState::Stopped);
            let reason = error.map_or("stopped", |(_, reason)| reason.as_str());
            warn!(%peer, reason, "BGP session ended");
        }
        self.status.send_if_modified(|published| {
            let is_new = **published != status;
            if is_new {
                *published = Arc::new(status);
            }
            is_new
        });
    }

    async fn bfd_changed(&mut self) {
        match self.bfd.as_mut().and_then(bfd::Session::take_silence) {
            Some(time) => self.handle(Event::BfdDown(&bfd::Down::Silence(time).to_string())).await,
            None => self.publish(self.machine.state()),
        }
    }

    async fn deadline(&mut self) {
        if let (Some(bfd), Some(_)) = (&self.bfd, self.bfd_at.take_if(|at| *at <= Instant::now())) {
            bfd.switch_on();
        }
        let is_stuck =
            self.connection.stuck_since().is_some_and(|since| since.elapsed() >= self.stuck_after());
        if !is_stuck {
            return self.handle(Event::Tick).await;
        }
        // Nothing that is sent now would reach it.
        self.connection = Connection::None;
        let reason =
            format!("the router took nothing of what it was sent for {} s", self.stuck_after().as_secs());
        self.handle(Event::Disconnected(&reason)).await;
    }

    fn stuck_after(&self) -> Duration {
        STUCK_AFTER.max(self.peer.hold_time * 2)
    }
}
