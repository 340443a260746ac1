//! The parts that observe for the node: health checks, next hops and agents, told what to look at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::health::{HealthChecker, HealthEvent};
use crate::next_hop::{Interface, NextHops, Resolutions, Unresolved};
use crate::presence::asker::{Asker, Told};
use crate::presence::{AgentEvent, AgentProber};
use crate::privileges::Network;
use crate::reconcile::Reconciler;

/// How long the start waits for the first next hops: a packet that comes before they are known is dropped.
const FIRST_NEXT_HOPS: Duration = Duration::from_secs(1);

/// Where the observations come from.
pub(super) type Sources = (
    mpsc::UnboundedReceiver<HealthEvent>,
    watch::Receiver<Arc<Resolutions>>,
    watch::Receiver<Arc<BTreeMap<u32, Interface>>>,
    mpsc::UnboundedReceiver<AgentEvent>,
    mpsc::UnboundedReceiver<Told>,
);

/// What is told of health, agents and connections.
type Events = (
    mpsc::UnboundedReceiver<HealthEvent>,
    mpsc::UnboundedReceiver<AgentEvent>,
    mpsc::UnboundedReceiver<Told>,
);

/// Health checks, next hops and agents.
pub(super) struct Observers {
    pub(super) health: HealthChecker,
    next_hops: NextHops,
    agents: AgentProber,
    pub(super) asker: Asker,
    events: Option<Events>,
    membership: Option<u64>,
}

impl Observers {
    pub(super) async fn start(helper: Network) -> anyhow::Result<Observers> {
        let (health, healths) = HealthChecker::new();
        let next_hops = NextHops::start_through(Some(helper)).await?;
        let (agents, presences) = AgentProber::start()?;
        let (asker, answers) = Asker::new();
        let events = Some((healths, presences, answers));
        Ok(Observers { health, next_hops, agents, asker, events, membership: None })
    }

    /// The observations; to be called once.
    pub(super) fn take_sources(&mut self) -> Sources {
        let (health, agents, told) = self.events.take().expect("the sources are taken once, at the start");
        (health, self.next_hops.watch(), self.next_hops.interfaces(), agents, told)
    }

    /// Looks at the targets that the reconciler has now.
    pub(super) fn follow(&mut self, reconciler: &mut Reconciler) {
        self.health.reconcile(&reconciler.health_checks());
        self.next_hops.set_targets(reconciler.addresses());
        let agents = reconciler.agent_addresses();
        reconciler.retain_agents(&agents);
        self.agents.reconcile(agents);
        self.membership = Some(reconciler.registry().membership());
    }

    /// The same, if targets came or went since.
    pub(super) fn follow_membership(&mut self, reconciler: &mut Reconciler) {
        if self.membership != Some(reconciler.registry().membership()) {
            self.follow(reconciler);
        }
    }

    /// The next hops, once each target has one or is known to have none; or what there is after a second.
    pub(super) async fn first_next_hops(&self, reconciler: &Reconciler) -> Arc<Resolutions> {
        let mut watch = self.next_hops.watch();
        let wanted = reconciler.addresses();
        let settled = |known: &Arc<Resolutions>| {
            wanted.iter().all(|address| match known.get(address) {
                None | Some(Err(Unresolved::NeighbourPending { .. })) => false,
                Some(_) => true,
            })
        };
        // An error is the time-out, or an observer that ended: either way what is known now is what there is.
        let _ = tokio::time::timeout(FIRST_NEXT_HOPS, watch.wait_for(settled)).await;
        watch.borrow().clone()
    }
}
