//! The task that keeps the next hops current.
//!
//! ```text
//!   notification ─► links, neighbours ─┬─ 10 ms later ─► look everything up ─┬─► publish if it differs
//!   every 10 s ───────────────────────►┘                                     │
//!   other targets ─────────────────────────────────────► look the new ones up ┘
//! ```
//!
//! Everything is looked up again after any change of the network: a thousand targets take some 6 ms, which is less
//! than it would take to be right about which of them a change of routes concerns. A target that comes among
//! thousands is looked up alone: it would wait a tenth of a second for 16,000 others. When a socket dies or the kernel
//! doesn't answer, what was published stays, and the task begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::links::{Interface, Links};
use super::neighbours::{Hop, Neighbours};
use super::notifications::{Notification, Notifications};
use super::requests::Requests;
use super::resolve::{resolve, way};
use super::route::RouteAnswer;
use super::{Resolution, Resolutions};
use crate::netlink::RequestError;
use crate::privileges::Network;

/// The next hops of a set of targets, kept current until this is dropped.
///
/// Neighbours that targets need are entered as *managed* ones (`ip neigh` shows `managed proto 214`), so that
/// the kernel keeps them resolved. Those of targets that are gone become ordinary ones again. At the end they
/// stay as they are, because the data plane goes on without the controller; the next run finds them, and
/// releases what it doesn't want. A permanent entry is the operator's, and is only read.
///
/// A neighbour that changes its MAC address without announcing it is noticed when the kernel next probes it:
/// after up to 30 s, less with a smaller `net.ipv4.neigh.IF.base_reachable_time_ms` (and `ipv6`).
#[derive(Debug)]
pub struct NextHops {
    targets: watch::Sender<Option<BTreeSet<IpAddr>>>,
    resolutions: watch::Receiver<Arc<Resolutions>>,
    interfaces: watch::Receiver<Arc<BTreeMap<u32, Interface>>>,
    /// Ends with this.
    _task: JoinSet<()>,
}

impl NextHops {
    /// Opens the sockets in the network namespace of the calling thread, reads the interfaces and the
    /// neighbours, and starts to follow them. Needs a tokio runtime; to resolve neighbours, CAP_NET_ADMIN.
    pub async fn start() -> anyhow::Result<NextHops> {
        NextHops::start_through(None).await
    }

    /// The same; where there is a helper, it has neighbours resolved, and this process needs no capability.
    pub async fn start_through(helper: Option<Network>) -> anyhow::Result<NextHops> {
        let (targets, targets_changed) = watch::channel(None);
        let (resolutions_sender, resolutions) = watch::channel(Arc::default());
        let (interfaces_sender, interfaces) = watch::channel(Arc::default());
        let kernel = Kernel::connect().await?;
        interfaces_sender.send_replace(kernel.links.share());
        let follower = Follower {
            kernel,
            targets: targets_changed,
            answers: BTreeMap::new(),
            wanted: BTreeSet::new(),
            asked: BTreeSet::new(),
            due: None,
            resolutions: resolutions_sender,
            interfaces: interfaces_sender,
            helper,
        };
        let mut task = JoinSet::new();
        task.spawn(follower.run());
        Ok(NextHops { targets, resolutions, interfaces, _task: task })
    }

    /// Says which targets are to be resolved from now on; others are forgotten.
    pub fn set_targets(&self, targets: BTreeSet<IpAddr>) {
        self.targets.send_if_modified(|current| {
            let differs = current.as_ref() != Some(&targets);
            *current = Some(targets);
            differs
        });
    }

    /// The resolutions of the targets; changes only when their content does. A new target appears in it
    /// within milliseconds, first as pending if its neighbour is not known yet.
    pub fn watch(&self) -> watch::Receiver<Arc<Resolutions>> {
        self.resolutions.clone()
    }

    /// All interfaces of this host by index; changes only when their content does.
    pub fn interfaces(&self) -> watch::Receiver<Arc<BTreeMap<u32, Interface>>> {
        self.interfaces.clone()
    }
}

/// The sockets, and what the kernel has said on them.
struct Kernel {
    requests: Requests,
    notifications: Notifications,
    links: Links,
    neighbours: Neighbours,
    /// Whether notifications were lost since the last listing.
    lost: bool,
}

impl Kernel {
    async fn connect() -> anyhow::Result<Kernel> {
        // Listening comes first: what changes between the two is then told twice, not never.
        let notifications = Notifications::open()?;
        let requests = Requests::open()?;
        let (links, neighbours) = (Links::default(), Neighbours::default());
        let mut kernel = Kernel { requests, notifications, links, neighbours, lost: true };
        kernel.synchronize().await?;
        Ok(kernel)
    }

    async fn synchronize(&mut self) -> anyhow::Result<()> {
        let links = self.requests.links().await.context("listing the interfaces (RTM_GETLINK)")?;
        let neighbours = self.requests.neighbours().await.context("listing the neighbours (RTM_GETNEIGH)")?;
        self.links = Links::from_dump(&links);
        self.neighbours.resynchronize(&neighbours);
        self.lost = false;
        Ok(())
    }
}

struct Follower {
    kernel: Kernel,
    targets: watch::Receiver<Option<BTreeSet<IpAddr>>>,
    /// What the kernel answered for each target.
    answers: BTreeMap<IpAddr, RouteAnswer>,
    /// The neighbours that the targets' routes lead to.
    wanted: BTreeSet<Hop>,
    /// Those that the kernel was asked to resolve since the last refresh or since they were lost.
    asked: BTreeSet<Hop>,
    /// When to look everything up again.
    due: Option<Instant>,
    resolutions: watch::Sender<Arc<Resolutions>>,
    interfaces: watch::Sender<Arc<BTreeMap<u32, Interface>>>,
    /// Who has neighbours resolved, if that is not this process.
    helper: Option<Network>,
}

impl Follower {
    async fn run(mut self) {
        while let Err(error) = self.follow().await {
            warn!("next hops are not followed for a moment, the last known ones stay: {error:#}");
            self.reconnect().await;
            info!("next hops are followed again");
        }
    }

    /// Ends well when nobody can ask for targets any more.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.due.unwrap_or_else(|| Instant::now() + REFRESH);
            tokio::select! {
                notification = self.kernel.notifications.next() => {
                    self.absorb(notification.context("reading netlink notifications")?);
                }
                changed = self.targets.changed() => match changed {
                    Ok(()) => self.look_newcomers_up().await?,
                    Err(_) => return Ok(()),
                },
                _ = refresh.tick() => {
                    self.asked.clear();
                    self.due = Some(Instant::now());
                }
                () = sleep_until(due) => {
                    self.due = None;
                    self.look_everything_up().await?;
                }
            }
        }
    }

    async fn reconnect(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match Kernel::connect().await {
                Ok(mut kernel) => {
                    std::mem::swap(&mut kernel.neighbours, &mut self.kernel.neighbours);
                    kernel.lost = true;
                    self.kernel = kernel;
                    self.asked.clear();
                    return;
                }
                Err(error) => warn!("next hops are still not followed, trying again: {error:#}"),
            }
        }
    }

    fn absorb(&mut self, notification: Notification) {
        match notification {
            Notification::Link(message) => {
                let changed = self.kernel.links.update(&message);
                self.link_changed(changed);
            }
            Notification::LinkGone(message) => {
                let gone = self.kernel.links.remove(&message);
                gone.into_iter().for_each(|index| self.kernel.neighbours.forget_interface(index));
                self.link_changed(gone);
            }
            Notification::Neighbour(message) => {
                let changed = self.kernel.neighbours.update(&message);
                self.neighbour_changed(changed);
            }
            Notification::NeighbourGone(message) => {
                let gone = self.kernel.neighbours.remove(&message);
                gone.into_iter().for_each(|hop| _ = self.asked.remove(&hop));
                self.neighbour_changed(gone);
            }
            Notification::Routes => self.schedule(),
            Notification::Lost => {
                debug!("netlink notifications were lost: reading interfaces and neighbours again");
                self.kernel.lost = true;
                self.schedule();
            }
        }
    }

    fn link_changed(&mut self, index: Option<u32>) {
        let Some(index) = index else { return };
        self.asked.retain(|hop| hop.interface != index);
        self.publish_interfaces();
        self.schedule();
    }

    /// Neighbours that no target needs are no reason to look anything up: a big segment has many.
    fn neighbour_changed(&mut self, hop: Option<Hop>) {
        if hop.is_some_and(|hop| self.wanted.contains(&hop)) {
            self.schedule();
        }
    }

    /// Changes come in bursts: the first one sets the time, later ones don't postpone it.
    fn schedule(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + DEBOUNCE);
    }

    async fn look_everything_up(&mut self) -> anyhow::Result<()> {
        if self.kernel.lost {
            self.kernel.synchronize().await?;
            self.asked.clear();
            self.publish_interfaces();
        }
        let Some(targets) = self.targets.borrow().clone() else { return Ok(()) };
        self.answers = self.routes(&targets).await?;
        self.settle().await
    }

    /// Looks up the targets that are new; what is known of the others stays.
    async fn look_newcomers_up(&mut self) -> anyhow::Result<()> {
        if self.kernel.lost {
            self.due = Some(Instant::now());
            return Ok(());
        }
        let Some(targets) = self.targets.borrow_and_update().clone() else { return Ok(()) };
        let newcomers = targets.iter().filter(|target| !self.answers.contains_key(target)).copied().collect();
        let answers = self.routes(&newcomers).await?;
        self.answers.retain(|target, _| targets.contains(target));
        self.answers.extend(answers);
        self.settle().await
    }

    async fn routes(&mut self, targets: &BTreeSet<IpAddr>) -> anyhow::Result<BTreeMap<IpAddr, RouteAnswer>> {
        self.kernel.requests.routes(targets).await.context("looking up routes (RTM_GETROUTE)")
    }

    /// Follows the neighbours that the answers lead to, and publishes.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.wanted = hops(&self.answers, &self.kernel.links);
        self.asked.retain(|hop| self.wanted.contains(hop));
        self.ask_for_neighbours().await?;
        self.release_neighbours().await?;
        self.kernel.neighbours.forget_all_but(&self.wanted);
        self.publish();
        Ok(())
    }

    /// Once a refresh period at most, so that the notification of our own request doesn't cause another one.
    async fn ask_for_neighbours(&mut self) -> anyhow::Result<()> {
        let hops: Vec<Hop> = self.wanted.difference(&self.asked).copied().collect();
        let hops: Vec<Hop> =
            hops.into_iter().filter(|hop| self.kernel.neighbours.of(*hop).needs_request()).collect();
        self.asked.extend(&hops);
        for (hop, outcome) in self.keep(&hops).await {
            match outcome {
                Ok(()) => {}
                Err(RequestError::Kernel(error)) => {
                    debug!(
                        "the kernel refuses to resolve {} on interface {}: {error}",
                        hop.address, hop.interface
                    );
                    self.kernel.neighbours.refuse(hop, error);
                }
                // What it knows of the neighbour is newer, and comes here, too.
                Err(RequestError::Refused) => {}
                Err(error) => return Err(error).context("asking for a neighbour (RTM_NEWNEIGH)"),
            }
        }
        Ok(())
    }

    async fn keep(&self, hops: &[Hop]) -> Vec<(Hop, Result<(), RequestError>)> {
        match &self.helper {
            Some(helper) => helper.keep_neighbours(hops).await,
            None => {
                let mut outcomes = Vec::new();
                for hop in hops {
                    outcomes.push((*hop, self.kernel.requests.keep_resolved(*hop).await));
                }
                outcomes
            }
        }
    }

    async fn release_neighbours(&mut self) -> anyhow::Result<()> {
        for (hop, outcome) in self.release(&self.kernel.neighbours.abandoned(&self.wanted)).await {
            match outcome {
                Ok(()) => {}
                // It went meanwhile, or the interface did.
                Err(error @ (RequestError::Kernel(_) | RequestError::Refused)) => {
                    debug!(
                        "neighbour {} on interface {} is not released: {error}",
                        hop.address, hop.interface
                    );
                }
                Err(error) => return Err(error).context("releasing a neighbour (RTM_NEWNEIGH)"),
            }
            self.kernel.neighbours.release(hop);
        }
        Ok(())
    }

    async fn release(&self, hops: &[Hop]) -> Vec<(Hop, Result<(), RequestError>)> {
        match &self.helper {
            Some(helper) => helper.release_neighbours(hops).await,
            None => {
                let mut outcomes = Vec::new();
                for hop in hops {
                    outcomes.push((*hop, self.kernel.requests.release(*hop).await));
                }
                outcomes
            }
        }
    }

    fn publish(&self) {
        let (links, neighbours) = (&self.kernel.links, &self.kernel.neighbours);
        let resolution = |(target, answer): (&IpAddr, &RouteAnswer)| -> (IpAddr, Resolution) {
            (*target, resolve(*target, answer, links, neighbours))
        };
        replace_if_different(&self.resolutions, Arc::new(self.answers.iter().map(resolution).collect()));
    }

    fn publish_interfaces(&self) {
        replace_if_different(&self.interfaces, self.kernel.links.share());
    }
}

fn hops(answers: &BTreeMap<IpAddr, RouteAnswer>, links: &Links) -> BTreeSet<Hop> {
    let ways = answers.iter().filter_map(|(target, answer)| way(*target, answer, links).ok());
    ways.map(|way| way.hop).collect()
}

fn replace_if_different<T: PartialEq>(sender: &watch::Sender<T>, new: T) {
    sender.send_if_modified(|current| {
        let differs = *current != new;
        if differs {
            *current = new;
        }
        differs
    });
}

const DEBOUNCE: Duration = Duration::from_millis(10);

/// For what no notification tells: a path MTU that was learnt or has expired, a neighbour that goes stale on
/// a kernel without managed entries, routes of IPv4 that went with their interface.
const REFRESH: Duration = Duration::from_secs(10);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
