//! Checks all wanted targets, each at its interval, and tells what changes.
//!
//! One tokio task a target: a slow target delays nobody, and checks of one target can't overlap. A waiting task
//! is a timer and about a kilobyte; a connection's state lives only while its check runs. 16,000 targets at one
//! HTTP check per 10 s took a quarter of a core in a debug build, and 84 MB at the peak of the first round.
//!
//! When all of those are dead and the time-out is 5 s, 8,000 sockets are open at once. At most half of the
//! process's file limit is used for checks, so that everything else can always open its own; checks beyond that
//! wait for their turn, and their time-out starts with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::state::{Outcome, Thresholds, Transition};
use super::status::HealthStatus;
use super::watched::{CheckStatistics, Era, Watched};
use super::{probe, schedule};
use crate::metrics::histogram::{Durations, Histogram};
use crate::model::{HealthCheck, TargetKey};

/// A target's status has changed: its state, or the reason or description within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthEvent {
    /// The target.
    pub target: TargetKey,
    /// Its status from now on.
    pub status: HealthStatus,
    /// When the check ended that decided it.
    pub decided_at: Instant,
}

/// How one target is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCheck {
    /// The port that is checked: what [`HealthCheck::port`] means for this target.
    pub port: u16,
    /// The rest; its `port` is not looked at.
    pub health_check: Arc<HealthCheck>,
}

/// One target at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSnapshot {
    /// Its status.
    pub status: HealthStatus,
    /// Its checks, counted.
    pub statistics: CheckStatistics,
}

/// The checks of all targets; dropping it ends them.
///
/// A target is `initial` from the `reconcile` that first wants it, without an event. Events of one target come
/// in order, and none of a removed target is sent after the `reconcile` that removed it; one that was sent
/// before may still be in the channel, so a receiver that removes and re-adds targets asks [`Self::status`].
#[derive(Debug)]
pub struct HealthChecker {
    checks: BTreeMap<TargetKey, RunningCheck>,
    /// How long passed checks took, by target group.
    durations: BTreeMap<String, Arc<Histogram>>,
    rim: Rim,
}

impl HealthChecker {
    /// A checker of no target yet, and where its events come out. How many checks may run at once is derived
    /// from the file limit (RLIMIT_NOFILE) of this moment: raise that first.
    pub fn new() -> (HealthChecker, UnboundedReceiver<HealthEvent>) {
        let (events, receiver) = unbounded_channel();
        let rim = Rim { events, permits: Arc::new(Semaphore::new(concurrent_checks())) };
        (HealthChecker { checks: BTreeMap::new(), durations: BTreeMap::new(), rim }, receiver)
    }

    /// Makes the checks be those of `wanted`: starts those of new targets, ends those of targets that are gone,
    /// and restarts those that changed, whose targets keep their state while the thresholds count anew.
    ///
    /// Must be called within a tokio runtime with I/O and time.
    pub fn reconcile(&mut self, wanted: &BTreeMap<TargetKey, TargetCheck>) {
        let others = self.others(wanted);
        for (target, check) in &others {
            let watched = self.checks.get(*target).map(|running| Arc::clone(&running.watched));
            let watched = watched.unwrap_or_else(|| Arc::new(Watched::new()));
            let durations = self.durations.entry(target.target_group.clone()).or_default();
            let running = RunningCheck::start(target, check, watched, others.len(), durations, &self.rim);
            self.checks.insert((*target).clone(), running);
        }
        if self.checks.len() > wanted.len() {
            self.checks.retain(|target, _| wanted.contains_key(target));
            self.forget_groups();
        }
    }

    /// What is wanted and does not run so. Both are in order, and go side by side: there may be many, and few others.
    fn others<'a>(
        &self,
        wanted: &'a BTreeMap<TargetKey, TargetCheck>,
    ) -> Vec<(&'a TargetKey, &'a TargetCheck)> {
        let mut running = self.checks.iter().peekable();
        let is_other = |(target, check): &(&TargetKey, &TargetCheck)| {
            while running.next_if(|(earlier, _)| earlier < target).is_some() {}
            running.next_if(|(same, _)| same == target).is_none_or(|(_, running)| running.check != **check)
        };
        wanted.iter().filter(is_other).collect()
    }

    /// Forgets the histograms of groups that have no target any more. Targets of a group are next to one another.
    fn forget_groups(&mut self) {
        let mut groups: Vec<&String> = self.checks.keys().map(|target| &target.target_group).collect();
        groups.dedup();
        self.durations.retain(|group, _| groups.binary_search(&group).is_ok());
    }

    /// How long passed checks took, by target group, since the group's first target was checked.
    pub fn durations(&self) -> BTreeMap<String, Durations> {
        self.durations.iter().map(|(group, durations)| (group.clone(), durations.durations())).collect()
    }

    /// The present status of a target, if it is checked.
    pub fn status(&self, target: &TargetKey) -> Option<HealthStatus> {
        self.checks.get(target).map(|running| running.watched.read().0)
    }

    /// The present status and counts of every target that is checked.
    pub fn snapshot(&self) -> BTreeMap<TargetKey, TargetSnapshot> {
        let read = |(target, running): (&TargetKey, &RunningCheck)| {
            let (status, statistics) = running.watched.read();
            (target.clone(), TargetSnapshot { status, statistics })
        };
        self.checks.iter().map(read).collect()
    }
}

/// How many checks may run at once: half of the files that the process may open, 16 to 16,384.
fn concurrent_checks() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 2).unwrap_or(usize::MAX).clamp(16, 16_384)
}

/// What all tasks share.
#[derive(Debug, Clone)]
struct Rim {
    events: UnboundedSender<HealthEvent>,
    permits: Arc<Semaphore>,
}

/// The task of one target; dropping it ends the task, and nothing of it is told any more.
#[derive(Debug)]
struct RunningCheck {
    check: TargetCheck,
    watched: Arc<Watched>,
    era: Era,
    task: AbortHandle,
}

impl RunningCheck {
    /// Starts it as one of `newcomers`.
    fn start(
        target: &TargetKey,
        check: &TargetCheck,
        watched: Arc<Watched>,
        newcomers: usize,
        durations: &Arc<Histogram>,
        rim: &Rim,
    ) -> RunningCheck {
        let era = watched.begin_era();
        let watch = Watch {
            target: target.clone(),
            check: check.clone(),
            era,
            watched: Arc::clone(&watched),
            newcomers,
            durations: Arc::clone(durations),
            rim: rim.clone(),
        };
        let task = tokio::spawn(watch.run()).abort_handle();
        RunningCheck { check: check.clone(), watched, era, task }
    }
}

impl Drop for RunningCheck {
    fn drop(&mut self) {
        // An aborted task may still be taking in an outcome on another thread.
        self.watched.end_era(self.era);
        self.task.abort();
    }
}

/// What a target's task knows.
struct Watch {
    target: TargetKey,
    check: TargetCheck,
    watched: Arc<Watched>,
    durations: Arc<Histogram>,
    era: Era,
    /// How many targets came with this one.
    newcomers: usize,
    rim: Rim,
}

impl Watch {
    async fn run(self) {
        let mut random = fastrand::Rng::new();
        let interval = self.check.health_check.interval;
        let mut start = Instant::now() + schedule::first_delay(interval, self.newcomers, &mut random);
        let mut could_ask = true;
        loop {
            tokio::time::sleep_until(start.into()).await;
            let (started, outcome) = self.check().await;
            let ended = Instant::now();
            if let Outcome::Passed { latency } = &outcome {
                self.durations.observe(*latency);
            }
            could_ask = self.tell_whether_asked(could_ask, &outcome);
            self.take_in(&outcome, ended);
            start = schedule::next_start(started, ended, self.check.health_check.interval, &mut random);
        }
    }

    /// When the check began, and how it ended.
    async fn check(&self) -> (Instant, Outcome) {
        let _permit = self.rim.permits.acquire().await.expect("the semaphore is never closed");
        let target = SocketAddr::new(self.target.address, self.check.port);
        let started = Instant::now();
        // Boxed, so that a waiting task does not carry the room for a connection's state.
        (started, Box::pin(probe::check(target, &self.check.health_check)).await)
    }

    fn take_in(&self, outcome: &Outcome, decided_at: Instant) {
        let thresholds = Thresholds::from(&*self.check.health_check);
        self.watched.record(self.era, outcome, decided_at, thresholds, |Transition { from, status }| {
            if from == status.state {
                debug!(target_key = %self.target, "target is still {status}");
            } else {
                info!(target_key = %self.target, "target was {from}, is {status}");
            }
            let event = HealthEvent { target: self.target.clone(), status, decided_at };
            // Without a receiver the controller is about to stop, and this task with it.
            let _ = self.rim.events.send(event);
        });
    }

    /// Warns once when checks begin to be impossible; returns whether this one was made.
    fn tell_whether_asked(&self, could_ask: bool, outcome: &Outcome) -> bool {
        let Outcome::NotMade(problem) = outcome else { return true };
        if could_ask {
            warn!(
                target_key = %self.target,
                "health check not made, its state is kept: {problem}; raise the file limit (LimitNOFILE)"
            );
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{HealthState, Reason};
    use crate::model::{CheckPort, Probe, StatusCodes};
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// An HTTP server on loopback whose status code can be changed, and that counts its requests.
    struct Server {
        port: u16,
        code: Arc<AtomicU16>,
        requests: Arc<AtomicUsize>,
    }

    impl Server {
        async fn start(code: u16) -> Server {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let (code, requests) = (Arc::new(AtomicU16::new(code)), Arc::new(AtomicUsize::new(0)));
            let server = Server { port, code: Arc::clone(&code), requests: Arc::clone(&requests) };
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    requests.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.read(&mut [0; 1024]).await;
                    let code = code.load(Ordering::SeqCst);
                    let answer = format!("HTTP/1.1 {code} x\r\nContent-Length: 0\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            server
        }

        fn health_check(&self) -> HealthCheck {
            let matcher = StatusCodes(vec![(200, 399)]);
            HealthCheck {
                probe: Probe::Http { path: "/".to_owned(), matcher },
                port: CheckPort::Port(self.port),
                interval: Duration::from_millis(20),
                timeout: Duration::from_secs(5),
                healthy_threshold: 2,
                unhealthy_threshold: 3,
            }
        }
    }

    fn key(target_group: &str) -> TargetKey {
        TargetKey { target_group: target_group.to_owned(), address: IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    fn wanted<const N: usize>(checks: [(&str, HealthCheck); N]) -> BTreeMap<TargetKey, TargetCheck> {
        let check = |health_check: HealthCheck| TargetCheck {
            port: health_check.port.of(1),
            health_check: Arc::new(health_check),
        };
        checks.into_iter().map(|(group, health_check)| (key(group), check(health_check))).collect()
    }

    /// The next event in which a target of `state` is told.
    async fn next(events: &mut UnboundedReceiver<HealthEvent>, state: HealthState) -> HealthEvent {
        let mut seen = Vec::new();
        let found = timeout(DEADLINE, async {
            loop {
                let event = events.recv().await.expect("the checker lives");
                if event.status.state == state {
                    return event;
                }
                seen.push(event);
            }
        });
        found.await.unwrap_or_else(|_| panic!("no {state} within {DEADLINE:?}, but {seen:?}"))
    }

    async fn poll_until(what: &str, condition: impl Fn() -> bool) {
        let polling = timeout(DEADLINE, async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        });
        polling.await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
    }

    #[tokio::test]
    async fn a_target_becomes_healthy_fails_and_comes_back() {
        let server = Server::start(200).await;
        let (mut checker, mut events) = HealthChecker::new();
        checker.reconcile(&wanted([("web", server.health_check())]));
        assert_eq!(checker.status(&key("web")).unwrap().state, HealthState::Initial);

        let event = next(&mut events, HealthState::Healthy).await;
        assert_eq!(event.target, key("web"));
        assert_eq!(event.status, HealthStatus::healthy());

        server.code.store(503, Ordering::SeqCst);
        let event = next(&mut events, HealthState::Unhealthy).await;
        assert_eq!(event.status.reason, Some(Reason::ResponseCodeMismatch));
        assert!(event.decided_at <= Instant::now());

        server.code.store(200, Ordering::SeqCst);
        next(&mut events, HealthState::Healthy).await;
        let snapshot = &checker.snapshot()[&key("web")];
        assert!(snapshot.statistics.failed >= 3, "{snapshot:?}");
        assert!(snapshot.statistics.passed >= 3, "{snapshot:?}");
        assert!(snapshot.statistics.last_latency.is_some(), "{snapshot:?}");
        assert!(checker.durations()["web"].count() >= 3, "{:?}", checker.durations());
        checker.reconcile(&BTreeMap::new());
        assert!(checker.durations().is_empty());
    }

    #[tokio::test]
    async fn an_unchanged_status_is_told_once() {
        let server = Server::start(200).await;
        let (mut checker, mut events) = HealthChecker::new();
        checker.reconcile(&wanted([("web", server.health_check())]));
        next(&mut events, HealthState::Healthy).await;
        poll_until("ten requests", || server.requests.load(Ordering::SeqCst) >= 10).await;
        assert!(events.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_equal_check_goes_on_and_a_changed_one_keeps_the_state() {
        let server = Server::start(200).await;
        let (mut checker, mut events) = HealthChecker::new();
        let mut health_check = server.health_check();
        checker.reconcile(&wanted([("web", health_check.clone())]));
        next(&mut events, HealthState::Healthy).await;
        let era = checker.checks[&key("web")].era;
        checker.reconcile(&wanted([("web", health_check.clone())]));
        assert_eq!(checker.checks[&key("web")].era, era);

        health_check.probe = Probe::Http { path: "/".to_owned(), matcher: StatusCodes(vec![(201, 201)]) };
        checker.reconcile(&wanted([("web", health_check)]));
        assert_ne!(checker.checks[&key("web")].era, era);
        assert_eq!(checker.status(&key("web")), Some(HealthStatus::healthy()));
        let event = next(&mut events, HealthState::Unhealthy).await;
        assert_eq!(event.status.description.as_deref(), Some("HTTP status 200 is not one of 201"));
    }

    #[tokio::test]
    async fn a_removed_target_is_no_longer_asked_and_starts_anew_when_it_returns() {
        let (gone, stays) = (Server::start(200).await, Server::start(200).await);
        let (mut checker, mut events) = HealthChecker::new();
        checker.reconcile(&wanted([("gone", gone.health_check()), ("stays", stays.health_check())]));
        next(&mut events, HealthState::Healthy).await;
        next(&mut events, HealthState::Healthy).await;

        checker.reconcile(&wanted([("stays", stays.health_check())]));
        assert_eq!(checker.status(&key("gone")), None);
        // A request that is on its way may still arrive; after the other target's next ones nothing can.
        let settle = stays.requests.load(Ordering::SeqCst) + 2;
        poll_until("the other target is asked", || stays.requests.load(Ordering::SeqCst) >= settle).await;
        let asked = gone.requests.load(Ordering::SeqCst);
        let later = stays.requests.load(Ordering::SeqCst) + 5;
        poll_until("the other target is asked on", || stays.requests.load(Ordering::SeqCst) >= later).await;
        assert_eq!(gone.requests.load(Ordering::SeqCst), asked);
        assert!(events.try_recv().is_err());

        checker.reconcile(&wanted([("gone", gone.health_check())]));
        assert_eq!(checker.status(&key("gone")).unwrap().state, HealthState::Initial);
        assert_eq!(next(&mut events, HealthState::Healthy).await.target, key("gone"));
    }

    #[tokio::test]
    async fn a_target_that_never_answers_delays_no_other() {
        let server = Server::start(200).await;
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let silent = HealthCheck {
            port: CheckPort::Port(silent.local_addr().unwrap().port()),
            ..server.health_check()
        };
        let (mut checker, mut events) = HealthChecker::new();
        let silent = HealthCheck { timeout: 2 * DEADLINE, ..silent };
        checker.reconcile(&wanted([("silent", silent), ("web", server.health_check())]));
        assert_eq!(next(&mut events, HealthState::Healthy).await.target, key("web"));
        poll_until("the other target is asked on", || server.requests.load(Ordering::SeqCst) >= 10).await;
        assert_eq!(checker.status(&key("silent")).unwrap().state, HealthState::Initial);
    }
}
