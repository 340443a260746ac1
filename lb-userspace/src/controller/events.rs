//! Everything that happens to a node, from all its sources, as one stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use super::configuration::ConfigurationFile;
use super::node::Node;
use crate::announce::routes::{Ordered, Orders};
use crate::capture::socket::Ask;
use crate::explain::{Question, Questions};
use crate::health::HealthEvent;
use crate::membership::{Record, Records};
use crate::next_hop::{Interface, Resolutions};
use crate::plan::{Stage, Stages};
use crate::presence::AgentEvent;
use crate::presence::asker::Told;
use crate::status::report::Report;
use crate::status::server::Reports;

/// How long the API's changes gather at least: one projection and one write serve all of them.
const GATHERING: Duration = Duration::from_millis(2);

/// What happened.
pub(super) enum Event {
    /// The process is asked to end.
    Stop,
    /// The configuration should be read again.
    Reload,
    /// The API has changed its state.
    Changed,
    /// A target's health changed.
    Health(HealthEvent),
    /// An agent came or went.
    Agent(AgentEvent),
    /// An agent was asked for its connections.
    Told(Told),
    /// Ways to targets changed.
    NextHops(Arc<Resolutions>),
    /// Interfaces of this host changed.
    Interfaces(Arc<BTreeMap<u32, Interface>>),
    /// Somebody wants to see the status.
    Report(oneshot::Sender<Report>),
    /// Somebody wants packets explained.
    Question(Question),
    /// A capture wants something.
    Capture(Ask),
    /// An operator orders something.
    Order(Ordered),
    /// Somebody wants to rehearse a change.
    Rehearse(oneshot::Sender<Stage>),
    /// The other nodes are to be told of this one.
    Record(oneshot::Sender<Record>),
    /// The other nodes tell something new of themselves.
    Nodes,
    /// Time has passed.
    Tick,
}

impl Event {
    /// Whether the maps may follow it a moment later, with what comes until then.
    pub(super) fn can_wait(&self) -> bool {
        matches!(self, Event::Health(_) | Event::Tick)
    }
}

/// The stream.
pub(super) struct Events {
    queue: mpsc::Receiver<Event>,
}

/// Where others ask for something.
pub(super) struct Doors {
    /// For reports.
    pub(super) reports: Reports,
    /// For explanations.
    pub(super) questions: Questions,
    /// For captures.
    pub(super) captures: mpsc::Sender<Ask>,
    /// Where orders are given.
    pub(super) orders: Orders,
    /// For something to rehearse a change on.
    pub(super) stages: Stages,
    /// For what other nodes are told of this one.
    pub(super) records: Records,
}

impl Events {
    /// Listens to all sources, and to those who ask.
    pub(super) fn listen(
        file: ConfigurationFile,
        changes: Option<watch::Receiver<u64>>,
        node: &mut Node,
    ) -> anyhow::Result<(Events, Doors)> {
        let (sender, queue) = mpsc::channel(1024);
        let (reports, requests) = mpsc::channel(16);
        let (questions, asked) = mpsc::channel(16);
        let (captures, asks) = mpsc::channel(16);
        let (orders, ordered) = mpsc::channel(16);
        let (stages, rehearsals) = mpsc::channel(4);
        let (records, told_of) = mpsc::channel(1);
        let (health, next_hops, interfaces, agents, told) = node.take_sources();
        tokio::spawn(forward_file(file, sender.clone()));
        if let Some(changes) = changes {
            tokio::spawn(forward_changes(changes, sender.clone()));
        }
        tokio::spawn(forward_all(health, sender.clone(), Event::Health));
        tokio::spawn(forward_all(agents, sender.clone(), Event::Agent));
        tokio::spawn(forward_all(told, sender.clone(), Event::Told));
        tokio::spawn(forward_watch(next_hops, sender.clone(), Event::NextHops));
        tokio::spawn(forward_watch(interfaces, sender.clone(), Event::Interfaces));
        tokio::spawn(forward_requests(requests, sender.clone(), Event::Report));
        tokio::spawn(forward_requests(asked, sender.clone(), Event::Question));
        tokio::spawn(forward_requests(asks, sender.clone(), Event::Capture));
        tokio::spawn(forward_requests(ordered, sender.clone(), Event::Order));
        tokio::spawn(forward_requests(rehearsals, sender.clone(), Event::Rehearse));
        tokio::spawn(forward_requests(told_of, sender.clone(), Event::Record));
        if let Some(shared) = &node.sharing {
            tokio::spawn(forward_watch(shared.membership.news(), sender.clone(), |_| Event::Nodes));
        }
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let mut signals = signal(kind).context("listening for SIGINT and SIGTERM")?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() && sender.send(Event::Stop).await.is_ok() {}
            });
        }
        Ok((Events { queue }, Doors { reports, questions, captures, orders, stages, records }))
    }

    /// The next event; [`Event::Tick`] at `deadline` if none comes before.
    pub(super) async fn next(&mut self, deadline: Option<Instant>) -> Event {
        let event = self.queue.recv();
        match deadline {
            None => event.await.unwrap_or(Event::Stop),
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), event).await {
                Ok(event) => event.unwrap_or(Event::Stop),
                Err(_) => Event::Tick,
            },
        }
    }

    /// The events that have come already.
    pub(super) fn pending(&mut self) -> impl Iterator<Item = Event> {
        std::iter::from_fn(|| self.queue.try_recv().ok())
    }
}

async fn forward_file(mut file: ConfigurationFile, events: mpsc::Sender<Event>) {
    loop {
        file.changed().await;
        if events.send(Event::Reload).await.is_err() {
            return;
        }
    }
}

async fn forward_changes(mut changes: watch::Receiver<u64>, events: mpsc::Sender<Event>) {
    while changes.changed().await.is_ok() && events.send(Event::Changed).await.is_ok() {
        tokio::time::sleep(GATHERING).await;
    }
}

async fn forward_all<T>(
    mut observations: mpsc::UnboundedReceiver<T>,
    events: mpsc::Sender<Event>,
    event: fn(T) -> Event,
) {
    while let Some(observation) = observations.recv().await {
        if events.send(event(observation)).await.is_err() {
            return;
        }
    }
}

async fn forward_requests<T>(
    mut requests: mpsc::Receiver<T>,
    events: mpsc::Sender<Event>,
    event: fn(T) -> Event,
) {
    while let Some(request) = requests.recv().await {
        if events.send(event(request)).await.is_err() {
            return;
        }
    }
}

async fn forward_watch<T: Clone>(
    mut watch: watch::Receiver<T>,
    events: mpsc::Sender<Event>,
    event: fn(T) -> Event,
) {
    loop {
        let value = watch.borrow_and_update().clone();
        if events.send(event(value)).await.is_err() || watch.changed().await.is_err() {
            return;
        }
    }
}
