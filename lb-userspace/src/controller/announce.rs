//! The controller's part of announcing: what the node knows of each VIP, operators' orders, and what routers are told
//! of both.
//!
//! All is looked at anew after every change, at most so often ([`PACE`]). The controller alone knows when the node is
//! fit; what other nodes tell decides only whether an unfit VIP is left to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tracing::{info, warn};

use super::chronicle;
use super::node::Node;
use crate::announce::announcer::Announcer;
use crate::announce::bgp::{SessionState, SessionStatus};
use crate::announce::fitness::{Company, Fitness, Goes, Look, State};
use crate::announce::kernel_table::{self, Ending, Survivor};
use crate::announce::orders::{Moment, Orders, Remaining};
use crate::announce::orders_file::OrdersFile;
use crate::announce::report::{
    BfdReport, DrainReport, RoutersReport, SessionReport, TableReport, ZoneShiftReport,
};
use crate::announce::routes::{Answer, Order, Ordered};
use crate::announce::{Announcement, Configuration, Wanted, bfd};
use crate::config;
use crate::health::{HealthState, HealthStatus, Reason};
use crate::membership::{Grade, Stance, UnfitVip};
use crate::model::{Desired, LoadBalancer, TargetKey};
use crate::next_hop::{Interface, Unresolved};
use crate::privileges::Network;
use crate::reconcile;
use crate::status::report::AnnouncementReport;

/// The least time between two looks at everything: with thousands of targets each takes about a millisecond.
const PACE: Duration = Duration::from_millis(20);

/// How long routers have to find other ways before the sessions end with the controller; the data plane goes on. They took
/// less than 0.1 s.
const LAST_DRAIN: Duration = Duration::from_secs(1);

/// The same where packets are not forwarded any more then: routers took up to 1.9 s on a machine that was busy with a build.
pub(super) const ROUTERS_MOVE: Duration = Duration::from_secs(3);

/// How long routes that an earlier controller has left in a kernel table stay though the node is not fit yet: so long may
/// the first checks take. Its data plane has gone on forwarding.
const HOLD: Duration = Duration::from_secs(30);

/// What routers are told, and why.
pub(super) struct Announcing {
    configuration: Option<Configuration>,
    announcer: Announcer,
    fitness: Fitness,
    orders: Orders,
    file: OrdersFile,
    interfaces: Option<Arc<BTreeMap<u32, Interface>>>,
    /// How the node stands to the VIPs that it announces.
    stances: BTreeMap<IpAddr, Stance>,
    looked_at: Option<Instant>,
    deadline: Option<Instant>,
}

/// A VIP as the node sees it at one moment.
struct Sight {
    look: Look,
    grade: Grade,
    /// Whether targets are only assumed to be healthy.
    is_assumed: bool,
}

impl Announcing {
    /// Begins with the orders that are kept in `directory`; nothing is announced yet. Whether the data plane is pinned
    /// says what became of it without a controller.
    pub(super) fn open(
        configuration: Option<Configuration>,
        directory: &Path,
        is_pinned: bool,
        helper: Network,
        survivor: Option<Survivor>,
    ) -> Announcing {
        let file = OrdersFile::within(directory);
        let rules = configuration.as_ref().map(|configuration| configuration.rules).unwrap_or_default();
        let announcer =
            Announcer::start(if is_pinned { HOLD } else { Duration::ZERO }, Some(helper), survivor);
        announcer.apply(configuration.as_ref().map(|configuration| configuration.by.clone()));
        Announcing {
            configuration,
            announcer,
            fitness: Fitness::new(rules),
            orders: file.load(),
            file,
            interfaces: None,
            stances: BTreeMap::new(),
            looked_at: None,
            deadline: None,
        }
    }

    /// Whether the configuration is another one, which is in force then.
    fn reconfigure(&mut self, configuration: Option<Configuration>) -> bool {
        if self.configuration == configuration {
            return false;
        }
        let (by, rules) = configuration
            .as_ref()
            .map(|configuration| (configuration.by.clone(), configuration.rules))
            .unzip();
        self.fitness.set_rules(rules.unwrap_or_default());
        self.announcer.apply(by);
        self.configuration = configuration;
        self.looked_at = None;
        true
    }

    /// Takes over the state of the host's interfaces.
    pub(super) fn set_interfaces(&mut self, interfaces: &Arc<BTreeMap<u32, Interface>>) {
        self.interfaces = Some(Arc::clone(interfaces));
    }

    /// When [`Node::announce`] has something to do without an event.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Keeps orders, and then obeys them.
    fn obey(&mut self, orders: Orders) -> anyhow::Result<()> {
        self.file.save(&orders)?;
        self.orders = orders;
        self.looked_at = None;
        Ok(())
    }
}

impl Node {
    /// Takes over a whole configuration, or keeps the present one; whether it was taken.
    pub(super) async fn reload_all(&mut self, desired: Desired, announce: Option<Configuration>) -> bool {
        let generation = self.configuration.generation;
        let taken = self.reload(Ok(desired));
        if taken && self.announcing.reconfigure(announce) && self.configuration.generation == generation {
            self.configuration.generation += 1;
            info!("configuration applied: {}", config::summary(self.desired()));
        }
        taken
    }

    /// Tells routers what follows from what the node knows now.
    pub(super) fn announce(&mut self) {
        let now = Moment::now();
        self.announcing.deadline = None;
        if let Some(earliest) = self.announcing.looked_at.map(|at| at + PACE)
            && earliest > now.instant
        {
            self.announcing.deadline = Some(earliest);
            return;
        }
        self.announcing.looked_at = Some(now.instant);
        self.expire_orders(now);
        let seen = if self.announcing.configuration.is_some() { self.looks(now) } else { BTreeMap::new() };
        let looks: BTreeMap<IpAddr, Look> =
            seen.iter().map(|(vip, sight)| (*vip, sight.look.clone())).collect();
        let announcing = &mut self.announcing;
        let before: BTreeMap<IpAddr, State> =
            announcing.fitness.standings().map(|(vip, standing)| (vip, standing.state)).collect();
        if announcing.fitness.look(&looks, now.instant) {
            log_changes(&before, &announcing.fitness);
            chronicle::note_vips(&self.journal, &before, &announcing.fitness);
        }
        announcing.announcer.tell(announcing.fitness.wanted());
        self.take_stances(&seen);
        let announcing = &mut self.announcing;
        let deadlines = [announcing.fitness.next_deadline(), announcing.orders.next_deadline(now)];
        announcing.deadline = deadlines.into_iter().flatten().min();
    }

    fn expire_orders(&mut self, now: Moment) {
        let zone = self.desired().node.zone.clone();
        let announcing = &mut self.announcing;
        if announcing.orders.expire(&zone, now.wall) {
            info!("the zone shift has ended");
            if let Err(problem) = announcing.file.save(&announcing.orders) {
                // Its end is in the file.
                warn!("{problem:#}");
            }
        }
    }

    /// Notes how the node stands to what it announces now; the others hear of a change soon.
    fn take_stances(&mut self, seen: &BTreeMap<IpAddr, Sight>) {
        let announced = self.announcing.fitness.standings().filter_map(|(vip, standing)| {
            let is_draining = standing.state == State::Draining;
            let is_announced = is_draining || standing.state == State::Announced;
            let sight = seen.get(&vip)?;
            let leaves = is_draining || sight.is_assumed || sight.look.company == Company::Untold;
            is_announced.then_some((vip, Stance { grade: sight.grade, leaves }))
        });
        let stances: BTreeMap<IpAddr, Stance> = announced.collect();
        if stances != self.announcing.stances {
            self.announcing.stances = stances;
            if let Some(shared) = &self.sharing {
                shared.membership.hurry();
            }
        }
    }

    fn looks(&self, now: Moment) -> BTreeMap<IpAddr, Sight> {
        let broken = self.broken();
        let load_balancers = self.desired().load_balancers.iter();
        load_balancers.flat_map(|(name, balancer)| self.looks_at(name, balancer, &broken, now)).collect()
    }

    /// The VIPs of one load balancer.
    fn looks_at(
        &self,
        name: &str,
        load_balancer: &LoadBalancer,
        broken: &Option<String>,
        now: Moment,
    ) -> Vec<(IpAddr, Sight)> {
        let is_ready = |vip: &IpAddr| self.announcing.fitness.is_ready(*vip);
        let is_ready = load_balancer.vips.iter().all(is_ready);
        let is_carried = load_balancer.vips.iter().all(|vip| self.carried.contains(vip));
        let unready = match is_ready {
            true => None,
            false => self.stale().filter(|_| !is_carried).or_else(|| self.unready(name)),
        };
        let unreachable = self.unreachable(name);
        let stale = self.stale().filter(|_| is_ready);
        let is_assumed = self.reconciler.assumes(name);
        let zone = &self.desired().node.zone;
        let look = |(vip, fitness): (IpAddr, reconcile::Fitness)| {
            let is_zonal = load_balancer.vip_zones.get(&vip) == Some(zone);
            let other_zone = match &fitness {
                reconcile::Fitness::OtherZone(zone) => Some(zone.clone()),
                _ => None,
            };
            let (unfit, goes) = reason_to_go(&fitness, unreachable.as_deref(), stale.as_deref());
            let is_useless = || unreachable.is_some() || self.reconciler.has_nobody(name);
            let grade = match (&unfit, goes) {
                (None, _) => Grade::Fit,
                (Some(_), Goes::AsConfigured) if is_useless() => Grade::Useless,
                (Some(_), _) => Grade::Weak,
            };
            let company = match (&unfit, goes) {
                (None, _) | (_, Goes::NotYet) => Company::Unknown,
                _ => self.company(vip, grade, now),
            };
            let look = Look {
                other_zone,
                broken: broken.clone(),
                unready: unready.clone(),
                unfit,
                goes,
                leaving: self.announcing.orders.leaving(zone, is_zonal, now),
                company,
            };
            (vip, Sight { look, grade, is_assumed })
        };
        self.reconciler.fitness(name).into_iter().map(look).collect()
    }

    /// Who else announces a VIP that this node serves so.
    fn company(&self, vip: IpAddr, grade: Grade, now: Moment) -> Company {
        let is_announced = self.announcing.fitness.is_announced(vip);
        self.sharing.as_ref().map_or(Company::Unknown, |shared| {
            shared.membership.company(vip, grade, is_announced, now.instant)
        })
    }

    /// The VIPs that routers hear of, and those of them that the node is unfit for or leaves.
    pub(super) fn declared(&self) -> (Vec<IpAddr>, Vec<UnfitVip>) {
        let announcer = &self.announcing.announcer;
        let table = announcer.table();
        let is_spoken = announcer.sessions().iter().any(|session| session.state == SessionState::Established);
        let is_heard = |vip: &IpAddr| match &table {
            Some(table) => {
                table.vips.get(vip).is_some_and(|state| !matches!(state, kernel_table::State::Failed(_)))
            }
            None => is_spoken,
        };
        let heard = self.announcing.stances.iter().filter(|(vip, _)| is_heard(vip));
        let unfit = |(vip, stance): (&IpAddr, &Stance)| {
            let Stance { grade, leaves } = *stance;
            (*stance != Stance::FIT).then_some(UnfitVip { vip: *vip, grade, leaves })
        };
        (heard.clone().map(|(vip, _)| *vip).collect(), heard.filter_map(unfit).collect())
    }

    /// Why the node can't forward packets of any VIP, if it can't.
    fn broken(&self) -> Option<String> {
        let wanted = &self.desired().node.interfaces;
        if let Some(missing) = wanted.iter().find(|name| !self.attachments.contains_key(*name)) {
            return Some(format!("the balancer is not on {missing}"));
        }
        let interfaces = self.announcing.interfaces.as_ref()?;
        let is_up = |index: u32| interfaces.get(&index).is_some_and(|interface| interface.up);
        let is_any_up = self.attachments.values().any(|attachment| is_up(attachment.interface));
        (!is_any_up).then(|| format!("no interface with the balancer is up: {}", wanted.join(", ")))
    }

    /// Why the node forwards by what was right before, if it does. What brought it there may do so on every node, so it is
    /// no reason to go where nobody does better.
    fn stale(&self) -> Option<String> {
        let why = self.publications.failure.as_ref()?;
        Some(format!("the maps are not as they should be: {why}"))
    }

    /// What the node has yet to learn before packets of a load balancer come: who had the slots before it, how the
    /// targets do, and how they are reached.
    fn unready(&self, load_balancer: &str) -> Option<String> {
        let groups = self.reconciler.used_groups(load_balancer);
        groups.into_iter().find_map(|group| {
            self.untold(group).or_else(|| self.unchecked(group)).or_else(|| self.unresolved(group))
        })
    }

    fn untold(&self, group: &str) -> Option<String> {
        let asked = self.reconciler.untold(group).len();
        if asked > 0 {
            return Some(format!(
                "target group {group}: {asked} targets have not told which slots their connections use"
            ));
        }
        let unasked = self.reconciler.unasked(group).len();
        (unasked > 0)
            .then(|| format!("target group {group}: {unasked} targets were not asked for their agents yet"))
    }

    fn unchecked(&self, group: &str) -> Option<String> {
        let unchecked = HealthStatus::because(HealthState::Initial, Reason::InitialHealthChecking);
        let is_unchecked = |address: &IpAddr| {
            let key = TargetKey { target_group: group.to_owned(), address: *address };
            self.observers.health.status(&key).is_some_and(|status| status == unchecked)
        };
        let count = self.reconciler.used_addresses(group).filter(is_unchecked).count();
        (count > 0).then(|| format!("target group {group}: {count} targets were not checked yet"))
    }

    fn unresolved(&self, group: &str) -> Option<String> {
        let is_unknown = |address: &IpAddr| {
            let way = self.reconciler.next_hops().get(address);
            matches!(way, None | Some(Err(Unresolved::NeighbourPending { .. })))
        };
        let count = self.reconciler.used_addresses(group).filter(is_unknown).count();
        (count > 0).then(|| format!("target group {group}: the ways to {count} targets are being looked up"))
    }

    /// Target groups of which no target has a next hop. Where it is not known how other nodes do, that is a reason only if
    /// it is so of all groups: one whose last target is switched off would else take the others' clients, and on every
    /// node.
    fn unreachable(&self, load_balancer: &str) -> Option<String> {
        let is_cut_off = |group: &&str| {
            let mut ways =
                self.reconciler.used_addresses(group).map(|at| self.reconciler.next_hops().get(&at));
            !ways.any(|way| matches!(way, None | Some(Ok(_) | Err(Unresolved::NeighbourPending { .. }))))
        };
        let mut groups = self.reconciler.used_groups(load_balancer);
        groups.retain(|group| self.reconciler.used_addresses(group).next().is_some());
        let is_alone = self.sharing.is_none();
        if is_alone && !groups.iter().all(is_cut_off) {
            return None;
        }
        let cut_off = groups.into_iter().find(is_cut_off)?;
        Some(format!("target group {cut_off}: no target has a next hop"))
    }

    /// Does what an operator orders, and tells what became of it.
    pub(super) fn order(&mut self, ordered: Ordered) {
        let answer = self.try_order(ordered.order).map_err(|problem| format!("{problem:#}"));
        match &answer {
            Ok(Answer { done }) => {
                info!("an operator's order: {done}");
                self.note_order(done);
            }
            Err(problem) => warn!("an operator's order is refused: {problem}"),
        }
        // Who ordered may have gone; the order is in force.
        drop(ordered.answer.send(answer));
    }

    fn try_order(&mut self, order: Order) -> anyhow::Result<Answer> {
        let Some(configuration) = &self.announcing.configuration else {
            bail!(
                "this node announces nothing, so there is nothing to withdraw: the configuration has no section \
                 \"announce\""
            );
        };
        let (drain, zone) = (configuration.drain, self.desired().node.zone.clone());
        let (mut orders, now) = (self.announcing.orders.clone(), Moment::now().wall);
        let done = match order {
            Order::Drain { after_seconds, force } => {
                let after = after_seconds.map_or(drain, Duration::from_secs);
                let remaining = match orders.drain {
                    None => self.remaining(|_| true),
                    Some(_) => Remaining::Unasked,
                };
                orders.drain(after, now)?;
                let told = if force { remaining.told() } else { remaining.allow()? };
                format!("the node drains: its VIPs are withdrawn in {} s{told}", after.as_secs())
            }
            Order::Undrain if orders.undrain() => {
                "the node drains no more: its VIPs are announced while they are fit".to_owned()
            }
            Order::Undrain => "the node did not drain".to_owned(),
            Order::Shift { zone: asked, for_seconds, force } => {
                let own = self.zonal_vips();
                let remaining = match orders.active_shift(&zone, now) {
                    None => self.remaining(|vip| own.contains(&vip)),
                    Some(_) => Remaining::Unasked,
                };
                orders.shift(&asked, &zone, Duration::from_secs(for_seconds), drain, now)?;
                let told = if force { remaining.told() } else { remaining.allow()? };
                format!(
                    "zone {zone} is shifted away for {for_seconds} s: its own VIPs ({} here) are withdrawn{told}",
                    own.len()
                )
            }
            Order::Unshift { zone: asked } => match orders.unshift(&asked, &zone, now)? {
                true => format!("zone {zone} is not shifted away any more"),
                false => format!("zone {zone} was not shifted away"),
            },
        };
        self.announcing.obey(orders).context("the order is not in force")?;
        Ok(Answer { done })
    }

    fn zonal_vips(&self) -> BTreeSet<IpAddr> {
        let zone = &self.desired().node.zone;
        let zones = self.desired().load_balancers.values().flat_map(|balancer| &balancer.vip_zones);
        zones.filter(|(_, vip_zone)| *vip_zone == zone).map(|(vip, _)| *vip).collect()
    }

    /// Who announces the VIPs that an order withdraws here, beside this node.
    fn remaining(&self, is_concerned: impl Fn(IpAddr) -> bool) -> Remaining {
        let Some(shared) = &self.sharing else { return Remaining::Unasked };
        let fitness = &self.announcing.fitness;
        let vips = fitness.standings().map(|(vip, _)| vip);
        let announced = vips.filter(|vip| is_concerned(*vip) && fitness.is_announced(*vip));
        match shared.membership.announced_by_none(announced, Instant::now()) {
            Ok(vips) => Remaining::AllBut(vips),
            Err(why) => Remaining::Unknown(why),
        }
    }

    /// Tells routers that the node goes, first as a way of last resort, so that none of them is without a way. Routes in
    /// a kernel table stay as long as the data plane does.
    pub(super) async fn leave(&mut self) {
        let ending = if self.data_plane.pins().is_some() { Ending::Keep } else { Ending::Withdraw };
        let announcer = &mut self.announcing.announcer;
        let is_heard = |session: &Arc<SessionStatus>| {
            session.state == SessionState::Established && session.announced > 0
        };
        let is_written = announcer.table().is_some_and(|table| !table.vips.is_empty());
        if announcer.sessions().iter().any(is_heard) || (is_written && ending == Ending::Withdraw) {
            let draining: Wanted =
                announcer.told().keys().map(|vip| (*vip, Announcement::Draining)).collect();
            announcer.tell(draining);
            let time = match ending {
                Ending::Keep => LAST_DRAIN,
                Ending::Withdraw => ROUTERS_MOVE,
            };
            tokio::time::sleep(time).await;
        }
        let name = self.reconciler.desired().node.name.clone();
        self.announcing.announcer.stop(&format!("the controller of node {name} ends"), ending).await;
    }

    /// The VIPs as routers are told of them.
    pub(super) fn announcements(&self) -> Vec<AnnouncementReport> {
        let report = |(vip, standing): (IpAddr, &crate::announce::fitness::Standing)| AnnouncementReport {
            vip,
            announced: matches!(standing.state, State::Announced | State::Draining),
            state: standing.state.as_str().to_owned(),
            reason: standing.why.clone(),
            since_seconds: standing.since.elapsed().as_secs_f64(),
        };
        self.announcing.fitness.standings().map(report).collect()
    }

    /// How routers are told.
    pub(super) fn routers(&self) -> Option<RoutersReport> {
        let announcing = &self.announcing;
        let configuration = announcing.configuration.as_ref()?;
        let (now, zone) = (Moment::now().wall, &self.desired().node.zone);
        let since = |at| now.duration_since(at).unwrap_or_default().as_secs_f64();
        let until = |at: std::time::SystemTime| at.duration_since(now).unwrap_or_default().as_secs_f64();
        Some(RoutersReport {
            by: configuration.by.name().to_owned(),
            problem: announcing
                .announcer
                .problem()
                .or_else(|| announcing.announcer.table().and_then(|table| table.error.clone())),
            drain: announcing.orders.drain.as_ref().map(|drain| DrainReport {
                since_seconds: since(drain.since),
                withdraw_in_seconds: until(drain.withdraw_at),
            }),
            zone_shift: announcing.orders.active_shift(zone, now).map(|shift| ZoneShiftReport {
                zone: shift.zone.clone(),
                since_seconds: since(shift.since),
                withdraw_in_seconds: until(shift.withdraw_at),
                ends_in_seconds: until(shift.until),
            }),
            sessions: announcing.announcer.sessions().iter().map(|status| session(status)).collect(),
            table: announcing.announcer.table().map(|status| table(&status)),
        })
    }
}

/// Why the node is unfit for a VIP, if it is, and what that is a reason for: what its targets' health says comes first, then
/// that none of a group's can be reached, then that the maps are those of an earlier state.
fn reason_to_go(
    fitness: &reconcile::Fitness,
    unreachable: Option<&str>,
    stale: Option<&str>,
) -> (Option<String>, Goes) {
    use reconcile::Fitness::{Fit, OtherZone, Undecided, Unfit};
    match (fitness, unreachable, stale) {
        (OtherZone(_), ..) | (Fit, None, None) => (None, Goes::AsConfigured),
        (Unfit(why), ..) => (Some(why.join("; ")), Goes::AsConfigured),
        (_, Some(why), _) => (Some(why.to_owned()), Goes::AsConfigured),
        (_, _, Some(why)) => (Some(why.to_owned()), Goes::ForBetter),
        (Undecided { why, some_failed: true }, ..) => (Some(why.join("; ")), Goes::ForBetter),
        (Undecided { why, some_failed: false }, ..) => (Some(why.join("; ")), Goes::NotYet),
    }
}

fn log_changes(before: &BTreeMap<IpAddr, State>, fitness: &Fitness) {
    for (vip, standing) in fitness.standings() {
        let was = before.get(&vip);
        if was == Some(&standing.state) {
            continue;
        }
        let why = standing.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let state = standing.state.as_str();
        let was_announced = matches!(was, Some(State::Announced | State::Draining));
        match standing.state {
            State::Withdrawn if was_announced => warn!("VIP {vip} is {state}{why}"),
            _ => info!("VIP {vip} is {state}{why}"),
        }
    }
    for vip in before.keys().filter(|vip| fitness.standings().all(|(other, _)| other != **vip)) {
        info!("VIP {vip} is no more");
    }
}

fn session(status: &SessionStatus) -> SessionReport {
    SessionReport {
        peer: status.peer,
        state: status.state.name().to_owned(),
        since_seconds: status.since.elapsed().as_secs_f64(),
        announced: status.announced as u64,
        draining: status.draining as u64,
        withheld: status.withheld.as_ref().map(|(count, why)| format!("{count} VIPs: {why}")),
        last_error: status.last_error.as_ref().map(|(_, why)| why.clone()),
        established: status.counters.established,
        bfd: status.bfd.as_ref().map(bfd_session),
    }
}

fn table(status: &kernel_table::Status) -> TableReport {
    let count = |state: kernel_table::State| status.vips.values().filter(|at| **at == state).count() as u64;
    let failed = status.vips.iter().filter_map(|(vip, state)| match state {
        kernel_table::State::Failed(why) => Some(format!("{vip}: {why}")),
        _ => None,
    });
    TableReport {
        announced: count(kernel_table::State::Announced),
        draining: count(kernel_table::State::Draining),
        held: count(kernel_table::State::Held),
        failed: failed.collect(),
        repaired: status.repaired,
    }
}

fn bfd_session(status: &bfd::Status) -> BfdReport {
    BfdReport {
        state: status.state.name().to_owned(),
        since_seconds: status.since.elapsed().as_secs_f64(),
        detection_milliseconds: status.detection.as_millis() as u64,
        downs: status.downs,
        last_down: status.last_down.as_ref().map(ToString::to_string),
    }
}
