//! The node: the one owner of all state. It joins the reconciler with the data plane and the observers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lb_common::hash::HashKey;
use lb_common::packet::MacAddress;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::Options;
use super::announce::Announcing;
use super::chronicle::{self, Chronicle};
use super::health_board::News;
use super::health_views::HealthViews;
use super::observers::{Observers, Sources};
use super::pace::{Pace, processor_time};
use super::sharing::Shared;
use crate::api::calendar::Timestamp;
use crate::api::health_board::HealthBoard;
use crate::config;
pub(super) use crate::data_plane::maps::tick_now;
use crate::data_plane::{Writer, Written};
use crate::events::Journal;
use crate::flow_log::FlowLog;
use crate::health::{HealthEvent, HealthStatus};
use crate::model::{Desired, TargetKey};
use crate::next_hop::{self, Interface, Resolutions};
use crate::presence::AgentEvent;
use crate::presence::asker::Told;
use crate::privileges::{Attached, Network, Plane, Programs};
use crate::reconcile::{Reconciler, Refused, check_room};
use crate::status::report::{ConfigurationReport, OwnerReport, PublicationReport, Report};

/// After a failed write, the time until the next try.
const RETRY: Duration = Duration::from_secs(1);

/// Between two looks at whom to ask for connections, while slots have chains.
const QUESTIONS: Duration = Duration::from_secs(2);

/// One node's state.
pub(super) struct Node {
    pub(super) data_plane: Plane,
    pub(super) reconciler: Reconciler,
    pub(super) observers: Observers,
    pub(super) attachments: BTreeMap<String, Attached>,
    pub(super) configuration: ConfigurationReport,
    pub(super) publications: PublicationReport,
    pub(super) started: Instant,
    /// Whether the capturing program has the live one's place.
    pub(super) is_capturing: bool,
    /// Writes what the programs tell of flows.
    pub(super) flow_log: FlowLog,
    /// Whether load balancers ask for a log that the node does not keep.
    pub(super) is_without_flow_log: bool,
    writer: Writer,
    /// The moments at which the health checks ended whose effect is not written yet.
    decisions: Vec<Instant>,
    pub(super) retry: Option<Instant>,
    /// The VIPs that were in the maps at the start: packets to them go on whether the maps can be written or not.
    pub(super) carried: BTreeSet<IpAddr>,
    /// When the maps follow what can wait.
    pace: Pace,
    /// When agents are next to be asked for their connections.
    questions: Option<Instant>,
    /// Where the API reads the targets' health, if it owns the state.
    pub(super) health_board: Option<Arc<HealthBoard>>,
    /// What is not told there yet.
    pub(super) news: News,
    /// The targets' health as this node and the others see it.
    pub(super) health_views: HealthViews,
    /// What routers are told.
    pub(super) announcing: Announcing,
    /// Who shares the API's state with the node, if anybody could.
    pub(super) sharing: Option<Shared>,
    /// What changed, for people.
    pub(super) journal: Arc<Journal>,
    /// What the journal knows of things that last.
    pub(super) chronicle: Chronicle,
}

impl Node {
    /// Loads the program and fills its maps, in which an earlier controller may have left something; no other
    /// interface is attached yet than those that it had attached. Why that is not `desired` but `fallback`, if so.
    ///
    /// # Errors
    /// If the program can't be loaded, or neither `desired` nor `fallback` fits.
    pub(super) async fn start(
        desired: Desired,
        fallback: Option<Desired>,
        options: &Options,
        hash_key: HashKey,
        programs: Programs,
        network: Network,
        announcing: Announcing,
    ) -> anyhow::Result<(Node, Option<String>)> {
        let (file, capacity) = (options.file(), options.capacity());
        // Before what is pinned is moved to sizes that the state does not fit.
        let (desired, fallback, too_much) = match (check_room(&desired, capacity), fallback) {
            (Err(why), Some(fallback)) => (fallback, None, Some(why.to_string())),
            (_, fallback) => (desired, fallback, None),
        };
        check_room(&desired, capacity).with_context(|| file.clone())?;
        let mut data_plane = programs.load(capacity, hash_key)?;
        let records = data_plane.take_flow_records().context("the flow log's records are taken already")?;
        let flow_log = FlowLog::start(records).context("starting the flow log's thread")?;
        let held = data_plane.maps.adopt().context("reading what is in the maps")?;
        let adopt = |desired| Reconciler::adopt(desired, capacity, &held, Instant::now());
        let (reconciler, refused) = match (adopt(desired), fallback) {
            (Err(why), Some(fallback)) => (adopt(fallback), Some(why.to_string())),
            (adopted, _) => (adopted, too_much),
        };
        let reconciler = reconciler.with_context(|| file.clone())?;
        let carried = held.vips.clone();
        let going_on = (!held.names.targets.is_empty()).then_some((held.targets.len(), held.tables.len()));
        let observers =
            Observers::start(network).await.context("following the kernel's routes and neighbours")?;
        let mut node = Node {
            data_plane,
            reconciler,
            observers,
            attachments: BTreeMap::new(),
            configuration: ConfigurationReport {
                file,
                generation: 1,
                rejected: None,
                owner: OwnerReport::File,
            },
            publications: PublicationReport::default(),
            started: Instant::now(),
            is_capturing: false,
            flow_log,
            is_without_flow_log: false,
            writer: Writer::holding(held),
            decisions: Vec::new(),
            retry: None,
            carried,
            pace: Pace::default(),
            questions: None,
            health_board: None,
            news: News::default(),
            health_views: HealthViews::default(),
            announcing,
            sharing: None,
            journal: Arc::new(Journal::begin(Timestamp::now())),
            chronicle: Chronicle::default(),
        };
        node.observers.follow(&mut node.reconciler);
        node.tell_flow_log();
        let next_hops = node.observers.first_next_hops(&node.reconciler).await;
        node.set_next_hops(&next_hops);
        node.write_first(going_on)?;
        Ok((node, refused))
    }

    /// Makes the maps for the first time as they must be; `held` is how many targets and tables were in them.
    ///
    /// # Errors
    /// If that fails, and there was nothing in them that packets can go on with.
    fn write_first(&mut self, held: Option<(usize, usize)>) -> anyhow::Result<()> {
        match (self.reconcile(), held) {
            (Ok(Written { tables, targets, listeners, .. }), Some((held_targets, held_tables))) => info!(
                "going on from {held_targets} targets and {held_tables} tables that an earlier controller has left: \
                 {targets} targets, {tables} tables and {listeners} listeners were written"
            ),
            (Ok(_), None) => {}
            (Err(problem), None) => return Err(problem),
            (Err(problem), Some(_)) => self.note_failure(Some(format!("{problem:#}"))),
        }
        Ok(())
    }

    /// Takes note of why the maps are not as they should be, if they are not.
    fn note_failure(&mut self, failure: Option<String>) {
        if let Some(why) = &failure {
            error!("the maps are not as they should be, and will be tried again: {why}");
        }
        self.publications.failure = failure;
    }

    /// Where the node's observations come from; to be called once.
    pub(super) fn take_sources(&mut self) -> Sources {
        self.observers.take_sources()
    }

    /// The desired state in force.
    pub(super) fn desired(&self) -> &Desired {
        self.reconciler.desired()
    }

    /// Puts the balancer on the configured interfaces, and takes it off all others that an earlier controller had put
    /// it on.
    ///
    /// # Errors
    /// If one can't have it; those that had it already keep it, the others have not got it then.
    pub(super) fn attach_at_start(&mut self) -> anyhow::Result<()> {
        let interfaces = self.desired().node.interfaces.clone();
        let left: BTreeSet<u32> = self.data_plane.left().iter().copied().collect();
        if let Err(problem) = self.attach(&interfaces) {
            let attached = self.attachments.iter();
            let kept: Vec<String> = attached
                .filter(|(_, attachment)| left.contains(&attachment.interface))
                .map(|(name, _)| name.clone())
                .collect();
            self.detach_except(&kept)?;
            return Err(problem);
        }
        self.data_plane.detach_left()
    }

    /// Puts the balancer on these interfaces.
    ///
    /// # Errors
    /// If one can't have it; those before it have.
    pub(super) fn attach(&mut self, interfaces: &[String]) -> anyhow::Result<()> {
        for name in interfaces {
            if !self.attachments.contains_key(name) {
                let attachment = self.attach_to(name)?;
                self.attachments.insert(name.clone(), attachment);
            }
        }
        Ok(())
    }

    /// Takes the balancer off all other interfaces.
    fn detach_except(&mut self, interfaces: &[String]) -> anyhow::Result<()> {
        let gone: Vec<String> =
            self.attachments.keys().filter(|name| !interfaces.contains(name)).cloned().collect();
        for name in gone {
            self.attachments.remove(&name);
            self.data_plane.detach(&name).with_context(|| format!("interface {name}"))?;
            info!("{name}: the balancer is off it");
        }
        Ok(())
    }

    fn attach_to(&mut self, name: &str) -> anyhow::Result<Attached> {
        let attachment = self.data_plane.attach(name)?;
        match &attachment.fallback_reason {
            None => info!("{name}: native XDP, program {}", attachment.program_id),
            Some(reason) => warn!(
                "{name}: generic XDP, program {}, which is several times slower; native was refused: {reason}",
                attachment.program_id
            ),
        }
        Ok(attachment)
    }

    /// Takes over what the configuration file says, or keeps the present state; whether it was taken.
    pub(super) fn reload(&mut self, loaded: anyhow::Result<Desired>) -> bool {
        let before = self.desired().clone();
        let taken = match loaded {
            Ok(desired) => self.try_reload(desired),
            Err(problem) => Err(problem),
        };
        match &taken {
            Ok(false) => {}
            Ok(true) => {
                self.configuration.generation += 1;
                self.configuration.rejected = None;
                info!("configuration applied: {}", config::summary(self.desired()));
                self.note_applied(&before);
            }
            Err(problem) => {
                error!("the configuration is refused, the running one stays:\n{problem:#}");
                self.note_refused(&format!("{problem:#}"));
                self.configuration.rejected = Some(format!("{problem:#}"));
            }
        }
        taken.is_ok()
    }

    fn try_reload(&mut self, desired: Desired) -> anyhow::Result<bool> {
        if desired == *self.desired() {
            self.configuration.rejected = None;
            return Ok(false);
        }
        if desired.metrics_address != self.desired().metrics_address {
            warn!("metrics_address: the change takes effect at the next start");
        }
        let (old, new) = (self.desired().node.interfaces.clone(), desired.node.interfaces.clone());
        // The interfaces come first: what can fail must fail while the running state is still whole.
        let taken = match self.attach(&new) {
            Ok(()) => self.take_over(desired).map_err(anyhow::Error::from),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = taken {
            self.detach_except(&old)?;
            return Err(problem.context(self.configuration.file.clone()));
        }
        self.detach_except(&new)?;
        Ok(true)
    }

    /// Takes over a desired state with the interfaces that there are.
    ///
    /// # Errors
    /// If it can't follow the present one, which stays then.
    pub(super) fn take_over(&mut self, desired: Desired) -> Result<(), Refused> {
        self.news.of_groups(self.reconciler.desired(), &desired);
        let changed = chronicle::changed_groups(self.reconciler.desired(), &desired);
        self.reconciler.apply(desired, Instant::now())?;
        self.note_desired(changed);
        self.observers.follow(&mut self.reconciler);
        self.tell_flow_log();
        Ok(())
    }

    /// Takes over a change of a target's health.
    pub(super) fn observe(&mut self, event: HealthEvent) {
        let in_force = self.combine(&event.target, event.status);
        self.take_health(&event.target, in_force, event.decided_at);
        self.decisions.push(event.decided_at);
    }

    /// Takes over the health of a target that is in force.
    pub(super) fn take_health(&mut self, target: &TargetKey, status: HealthStatus, decided_at: Instant) {
        let before = self.health_state(target);
        self.reconciler.observe(target, status, decided_at);
        self.note_health(target, before);
        self.news.of_target(target.clone());
    }

    /// Takes over what is known of a target's agent.
    pub(super) fn observe_agent(&mut self, event: AgentEvent) {
        self.note_agent(&event);
        self.reconciler.observe_agent(event.address, event.state);
    }

    /// Takes over what an agent told of its connections.
    pub(super) fn take_connections(&mut self, told: &Told) {
        self.observers.asker.answered(told);
        // What was learnt may let the next one be asked.
        self.questions = None;
        match &told.used {
            Ok(used) => self.reconciler.told(told.address, used, told.asked, Instant::now()),
            Err(_) => self.reconciler.not_told(told.address),
        }
    }

    /// Asks agents for their connections where former owners of slots wait for that.
    fn ask_agents(&mut self, now: Instant) {
        if !self.reconciler.may_have_questions() {
            self.questions = None;
        } else if self.questions.is_none_or(|at| at <= now) {
            let key = self.data_plane.maps.hash_key();
            self.observers.asker.ask(self.reconciler.questions(now), key, now);
            self.questions = Some(now + QUESTIONS);
        }
    }

    /// Takes over how targets are reached.
    pub(super) fn set_next_hops(&mut self, next_hops: &Arc<Resolutions>) {
        let known = self.reconciler.next_hops();
        for address in next_hop::differences(known, next_hops) {
            if let (Some(Ok(_)) | None, Some(Err(problem))) = (known.get(&address), next_hops.get(&address)) {
                warn!("target {address}: {problem}");
            }
        }
        self.note_next_hops(next_hops);
        self.reconciler.set_next_hops(Arc::clone(next_hops));
        self.news.of_ways();
    }

    /// Takes over new MAC addresses of the interfaces that the balancer is on, and interfaces that were made again.
    pub(super) fn set_interfaces(&mut self, interfaces: &Arc<BTreeMap<u32, Interface>>) {
        self.announcing.set_interfaces(interfaces);
        self.attach_made_again(interfaces);
        for attachment in self.attachments.values() {
            let mac = interfaces.get(&attachment.interface).and_then(|interface| interface.mac);
            if let Some(mac) = mac
                && let Err(problem) =
                    self.data_plane.maps.set_interface(attachment.interface, MacAddress::new(mac))
            {
                error!("{problem:#}");
            }
        }
    }

    /// Puts the balancer on configured interfaces that were deleted and made again: their names have other indices now.
    fn attach_made_again(&mut self, interfaces: &BTreeMap<u32, Interface>) {
        for name in self.desired().node.interfaces.clone() {
            let Some(found) = interfaces.values().find(|interface| interface.name == name) else { continue };
            let attached = self.attachments.get(&name).map(|attached| attached.interface);
            if attached == Some(found.index) {
                continue;
            }
            info!("{name}: it is another interface than before, with index {}", found.index);
            if attached.is_some() {
                self.attachments.remove(&name);
                if let Err(problem) = self.data_plane.detach(&name) {
                    warn!("{name}: taking the balancer off what it was before: {problem:#}");
                }
            }
            match self.attach_to(&name) {
                Ok(attached) => _ = self.attachments.insert(name, attached),
                Err(problem) => error!("{name}: the balancer is not on it: {problem:#}"),
            }
        }
    }

    /// Answers who wants to see the status.
    pub(super) fn answer(&mut self, answer: oneshot::Sender<Report>) {
        match self.report() {
            // Who asked may have gone.
            Ok(report) => drop(answer.send(report)),
            Err(problem) => error!("the status can't be read: {problem:#}"),
        }
    }

    /// When [`Node::reconcile`] has something to do without an event.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let due = [self.retry, self.questions, self.reconciler.next_deadline()].into_iter().flatten().min();
        self.pace.next_deadline(due).into_iter().chain(self.announcing.next_deadline()).min()
    }

    /// Makes the maps as they must be now, or soon, if that `can_wait`; then the API is told of the targets' health.
    pub(super) fn follow(&mut self, can_wait: bool) {
        if can_wait && self.pace.puts_off(Instant::now()) {
            return;
        }
        let failure = self.reconcile().err().map(|error| format!("{error:#}"));
        self.note_failure(failure);
        self.post_health();
    }

    /// Makes the maps as they must be now.
    fn reconcile(&mut self) -> anyhow::Result<Written> {
        let (now, time_before) = (Instant::now(), processor_time());
        self.reconciler.settle(now);
        let (maps, clock) = (&self.data_plane.maps, tick_now());
        self.reconciler.tick(now, &|forward, slot| {
            let marked = maps.last_exception(forward, slot as u32)?;
            now.checked_sub(Duration::from_nanos(u64::from(clock.since(marked)) << 30))
        });
        self.observers.follow_membership(&mut self.reconciler);
        self.ask_agents(now);
        let written = self.write();
        let done = Instant::now();
        self.pace.worked(processor_time().saturating_sub(time_before), done);
        self.retry = written.is_err().then(|| done + RETRY);
        written
    }

    fn write(&mut self) -> anyhow::Result<Written> {
        let begun = Instant::now();
        let contents = self.reconciler.contents();
        let leaving = self.reconciler.leaving().clone();
        self.data_plane.maps.set_oversized(self.reconciler.desired().node.oversized)?;
        self.data_plane.maps.set_flow_log_share(self.flow_log_share())?;
        let written = self.writer.write(&mut self.data_plane.maps, &contents, &leaving)?;
        self.reconciler.released(&written.released);
        self.publications.tables += written.tables as u64;
        if written.tables + written.targets + written.listeners > 0 {
            self.publications.last_write_seconds = begun.elapsed().as_secs_f64();
        }
        self.record_decisions(written.published_at.unwrap_or(begun));
        Ok(written)
    }

    /// Takes note that all decisions are in force since `published_at`.
    fn record_decisions(&mut self, published_at: Instant) {
        let decisions = std::mem::take(&mut self.decisions);
        let times = decisions.iter().map(|decided_at| published_at.duration_since(*decided_at));
        let publications = &mut self.publications;
        times.clone().for_each(|took| publications.decisions.add(took));
        let (Some(last), Some(longest)) = (times.clone().next_back(), times.max()) else { return };
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        match decisions.len() {
            1 => info!("tables in force {:.2} ms after the deciding check ended", milliseconds(last)),
            checks => info!(
                "tables in force {:.2} to {:.2} ms after the {checks} deciding checks ended",
                milliseconds(last),
                milliseconds(longest)
            ),
        }
        publications.last_decision_seconds = Some(last.as_secs_f64());
        let before = publications.max_decision_seconds.unwrap_or_default();
        publications.max_decision_seconds = Some(before.max(longest.as_secs_f64()));
    }

    /// Ends: what is pinned goes on forwarding, what is not is taken off all interfaces. Routers are told before.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.leave().await;
        if let Some(pins) = self.data_plane.pins() {
            let pins = pins.display().to_string();
            if self.is_capturing {
                self.end_capture();
            }
            info!(
                "stopped: the data plane goes on forwarding, as it is now; the next controller takes it over, `sluice \
                 detach --pins {pins}` ends it"
            );
            return Ok(());
        }
        for name in std::mem::take(&mut self.attachments).into_keys() {
            self.data_plane.detach(&name).with_context(|| format!("interface {name}"))?;
        }
        info!("stopped: the interfaces are as they were");
        Ok(())
    }

    /// Ends because the helper has: nobody can attach anything or find the way to new targets any more, and this process
    /// can't start another one. Whoever has started it (systemd) starts both anew.
    pub(super) async fn stop_without_helper(mut self, how: &str) -> anyhow::Result<()> {
        error!("the privileged helper has ended: {how}");
        self.leave().await;
        let goes_on = match self.data_plane.pins() {
            Some(_) => "the data plane goes on forwarding, as it is now; the next controller takes it over",
            None => "the data plane, which was pinned nowhere, has ended with it",
        };
        bail!("the privileged helper has ended ({how}): {goes_on}")
    }
}
