//! The node's state as a report: read from the reconciler, the health checks and the counters.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::{SlotState, TargetId};

use super::node::{Node, tick_now};
use crate::health::{HealthState, HealthStatus, Reason, TargetSnapshot};
use crate::metrics::histogram::Durations;
use crate::model::{Listener, LoadBalancer, Override, Stickiness, TargetGroup, TargetKey, UdpTracking};
use crate::presence::AgentState;
use crate::reconcile::{Action, Keeper, Record, Registry, may_have_chains};
use crate::status::report::{
    AgentReport, ChecksReport, ForwardReport, InterfaceReport, ListenerReport, LoadBalancerReport,
    NextHopReport, OperatorReport, ReasonReport, Report, TargetGroupReport, TargetReport,
};
use crate::table::slots::Waiting;
use crate::table::{OncePerTarget, SlotTable, member};

/// What is summed up once for all targets.
struct Sums {
    /// Slots by target, over all tables.
    slots: BTreeMap<TargetId, u32>,
    /// Slots of all tables that the target's group is in.
    group_slots: BTreeMap<String, u32>,
    /// Living entries of the flow table by target.
    flows: BTreeMap<TargetId, u64>,
    checks: BTreeMap<TargetKey, TargetSnapshot>,
    /// How long passed health checks took, by target group.
    durations: BTreeMap<String, Durations>,
}

/// What targets are called in digests, by their ids.
pub(super) struct Identities<'r> {
    registry: &'r Registry,
    known: OncePerTarget<u64>,
}

impl<'r> Identities<'r> {
    /// Nothing is looked up yet.
    pub(super) fn in_registry(registry: &'r Registry) -> Identities<'r> {
        Identities { registry, known: OncePerTarget::default() }
    }

    /// What the target is called.
    pub(super) fn of(&self, id: TargetId) -> u64 {
        self.known.of(id, || {
            let target = self.registry.by_id(id);
            target.map_or(0, |(key, _)| member::identity(&key.target_group, key.address))
        })
    }
}

impl Node {
    /// The state now.
    pub(super) fn report(&self) -> anyhow::Result<Report> {
        let desired = self.desired();
        let sums = self.sums();
        let identities = Identities::in_registry(self.reconciler.registry());
        let load_balancers = desired.load_balancers.iter().map(|(name, load_balancer)| {
            Ok((name.clone(), self.load_balancer(name, load_balancer, &identities)?))
        });
        let target_groups = desired
            .target_groups
            .iter()
            .map(|(name, group)| Ok((name.clone(), self.target_group(name, group, &sums)?)));
        Ok(Report {
            node: desired.node.name.clone(),
            zone: desired.node.zone.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            hash_key: self.key_fingerprint(),
            configuration: self.configuration.clone(),
            publications: self.publications.clone(),
            interfaces: self.interfaces(),
            load_balancers: load_balancers.collect::<anyhow::Result<_>>()?,
            target_groups: target_groups.collect::<anyhow::Result<_>>()?,
            reasons: self.reasons()?,
            announcements: self.announcements(),
            routers: self.routers(),
            shared_state: self.shared_state(),
            flow_log: self.flow_log.report(),
        })
    }

    fn interfaces(&self) -> Vec<InterfaceReport> {
        let report = |(name, attachment): (&String, &crate::privileges::Attached)| InterfaceReport {
            name: name.clone(),
            index: attachment.interface,
            mode: attachment.mode().to_owned(),
            fallback_reason: attachment.fallback_reason.clone(),
            program_id: attachment.program_id,
        };
        self.attachments.iter().map(report).collect()
    }

    fn load_balancer(
        &self,
        name: &str,
        load_balancer: &LoadBalancer,
        identities: &Identities,
    ) -> anyhow::Result<LoadBalancerReport> {
        let listeners =
            load_balancer.listeners.iter().map(|one| self.listener(name, load_balancer, one, identities));
        Ok(LoadBalancerReport {
            vips: load_balancer.vips.clone(),
            listeners: listeners.collect::<anyhow::Result<_>>()?,
        })
    }

    fn listener(
        &self,
        name: &str,
        load_balancer: &LoadBalancer,
        listener: &Listener,
        identities: &Identities,
    ) -> anyhow::Result<ListenerReport> {
        let actions = self.reconciler.actions_of(&load_balancer.vips, listener);
        let slots: Vec<&SlotTable> = actions.into_iter().filter_map(Action::slots).collect();
        let counter = self.reconciler.counter(name, listener).unwrap_or_default();
        let traffic = self.data_plane.maps.listener_traffic(counter)?;
        let waiting: Vec<Waiting> = slots.iter().map(|slots| slots.waiting()).collect();
        let sum = |count: &dyn Fn(&SlotTable) -> usize| slots.iter().map(|slots| count(slots) as u32).sum();
        let forward = listener
            .forward
            .0
            .iter()
            .map(|part| ForwardReport { target_group: part.target_group.clone(), weight: part.weight });
        Ok(ListenerReport {
            protocol: listener.protocol.to_string(),
            port: listener.port.to_string(),
            forward: forward.collect(),
            slots: sum(&|slots| slots.size().slots()),
            changing_slots: sum(&|slots| slots.count(SlotState::Changing)),
            exception_slots: sum(&|slots| slots.count(SlotState::Exceptions)),
            chained_slots: waiting.iter().map(|at| at.chained as u32).sum(),
            deferred_slots: waiting.iter().map(|at| at.deferred as u32).sum(),
            table_digest: slots.first().map(|slots| slots.digest(|id| identities.of(id))).unwrap_or_default(),
            packets: traffic.packets,
            bytes: traffic.bytes,
        })
    }

    fn target_group(
        &self,
        name: &str,
        group: &TargetGroup,
        sums: &Sums,
    ) -> anyhow::Result<TargetGroupReport> {
        let targets = self
            .reconciler
            .registry()
            .group(name)
            .map(|(address, record)| self.target(name, group, address, record, sums));
        let no_second_chance = match self.reconciler.keeper(name) {
            Some(Keeper::FlowTable(why)) => Some(why.to_string()),
            Some(Keeper::Targets) | None => None,
        };
        Ok(TargetGroupReport {
            protocol: group.protocol.to_string(),
            port: group.port,
            stickiness: match group.stickiness {
                Stickiness::None => "none".to_owned(),
                Stickiness::SourceIp => "source_ip".to_owned(),
            },
            encapsulation: match group.encapsulation {
                crate::model::Encapsulation::Ipip => "ipip".to_owned(),
                crate::model::Encapsulation::Gue => "gue".to_owned(),
            },
            flows_kept_by: if no_second_chance.is_some() { "flow_table" } else { "targets" }.to_owned(),
            no_second_chance,
            untold: self.reconciler.untold(name).into_iter().collect(),
            check_durations: sums.durations.get(name).cloned(),
            fail_open: self.reconciler.is_in_use(name) && self.reconciler.fails_open(name),
            targets: targets.collect::<anyhow::Result<_>>()?,
        })
    }

    fn target(
        &self,
        name: &str,
        group: &TargetGroup,
        address: IpAddr,
        record: &Record,
        sums: &Sums,
    ) -> anyhow::Result<TargetReport> {
        let key = TargetKey { target_group: name.to_owned(), address };
        let ordered = group.targets.get(&address).map(|target| target.operator).unwrap_or_default();
        let status = as_ordered(ordered, self.shown_status(&key, group, record));
        let traffic = self.data_plane.maps.target_traffic(record.id)?;
        let slots = sums.slots.get(&record.id).copied().unwrap_or_default();
        let all_slots = sums.group_slots.get(name).copied().unwrap_or_default();
        Ok(TargetReport {
            id: address,
            port: record.port,
            zone: record.zone.clone(),
            weight: record.weight,
            operator: operator(ordered),
            quic_server_id: record.quic_server_id.map(|id| id.to_string()),
            state: status.state.as_str().to_owned(),
            reason: status.reason.map(|reason| reason.code().to_owned()),
            description: status.description,
            agent: self.agent(name, group, address),
            elsewhere: self.elsewhere(&key),
            checks: checks(group, sums.checks.get(&key)),
            slots,
            share: if all_slots == 0 { 0.0 } else { f64::from(slots) / f64::from(all_slots) },
            next_hop: self.next_hop(address),
            packets: traffic.packets,
            bytes: traffic.bytes,
            exception_flows: sums.flows.get(&record.id).copied().unwrap_or_default(),
        })
    }

    /// What is known of the target's agent, where it is asked for.
    fn agent(&self, name: &str, group: &TargetGroup, address: IpAddr) -> Option<AgentReport> {
        let is_asked = may_have_chains(group) && self.reconciler.is_in_use(name);
        let state = self.reconciler.agent(address);
        let agent = match state {
            AgentState::Present(agent) => Some(agent),
            AgentState::Unknown | AgentState::Absent => None,
        };
        is_asked.then(|| AgentReport {
            state: state.as_str().to_owned(),
            version: agent.map(|agent| agent.version()),
            second_chance: agent.is_some_and(|agent| agent.hands_on()),
        })
    }

    /// What the health checks say, unless the target has no say in it.
    fn shown_status(&self, key: &TargetKey, group: &TargetGroup, record: &Record) -> HealthStatus {
        if record.is_lingering() {
            let text = "Its draining time is over; flows that it had before live on until they are idle";
            HealthStatus::described(HealthState::Unused, Reason::NotRegistered, text)
        } else if record.is_draining() {
            HealthStatus::because(HealthState::Draining, Reason::DeregistrationInProgress)
        } else if !self.reconciler.is_in_use(&key.target_group) {
            HealthStatus::because(HealthState::Unused, Reason::NotInUse)
        } else if !group.cross_zone && record.zone != self.desired().node.zone {
            let text = format!("cross_zone is off and this node is in zone {}", self.desired().node.zone);
            HealthStatus::described(HealthState::Unused, Reason::NotInUse, text)
        } else {
            self.explained(key, record.health.clone())
        }
    }

    pub(super) fn next_hop(&self, address: IpAddr) -> NextHopReport {
        match self.reconciler.next_hops().get(&address) {
            Some(Ok(next_hop)) => NextHopReport::Resolved {
                interface: next_hop.interface_name.clone(),
                mac: next_hop.destination_mac.map(|byte| format!("{byte:02x}")).join(":"),
                mtu: next_hop.mtu,
            },
            Some(Err(problem)) => NextHopReport::Unresolved { problem: problem.to_string() },
            None => NextHopReport::Unresolved { problem: format!("the way to {address} is being looked up") },
        }
    }

    fn reasons(&self) -> anyhow::Result<Vec<ReasonReport>> {
        let counted = self.data_plane.maps.reasons()?;
        let report = |(reason, packets): (lb_common::Reason, u64)| ReasonReport {
            reason: reason.name().to_owned(),
            verdict: reason.verdict().as_str().to_owned(),
            description: reason.description().to_owned(),
            packets,
        };
        Ok(counted.into_iter().filter(|(reason, _)| reason.is_on_node()).map(report).collect())
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums {
            slots: BTreeMap::new(),
            group_slots: BTreeMap::new(),
            flows: self.living_flows(),
            checks: self.observers.health.snapshot(),
            durations: self.observers.health.durations(),
        };
        for action in self.reconciler.actions().iter() {
            let Some(slots) = action.slots() else { continue };
            for (id, count) in slots.slots_by_target() {
                *sums.slots.entry(id).or_default() += count as u32;
            }
            for part in &action.forward.0 {
                *sums.group_slots.entry(part.target_group.clone()).or_default() +=
                    slots.size().slots() as u32;
            }
        }
        sums
    }

    /// Entries of the flow table by target; the table is not looked through while nothing is in it.
    fn living_flows(&self) -> BTreeMap<TargetId, u64> {
        let mut flows = BTreeMap::new();
        let desired = self.desired();
        let tracks = desired.target_groups.values().any(|group| group.udp_tracking == UdpTracking::Always);
        let quiet = self.reconciler.actions().iter().all(|action| {
            action.slots().is_none_or(|slots| {
                slots.count(SlotState::Stable) + slots.waiting().chained == slots.size().slots()
            })
        });
        if quiet && !tracks {
            return flows;
        }
        let now = tick_now();
        self.data_plane.maps.for_each_flow(|entry| {
            if entry.is_living(now, self.idle_ticks(entry.target())) {
                *flows.entry(entry.target()).or_default() += 1;
            }
        });
        flows
    }

    fn idle_ticks(&self, id: TargetId) -> u16 {
        let target = self.reconciler.registry().by_id(id);
        target.map_or(0, |(key, _)| {
            let idle = self.reconciler.longest_idle(&key.target_group);
            lb_common::flow_table::Tick::covering_seconds(idle.as_secs())
        })
    }
}

/// A target that an operator has drained gets no new flows, however well it is.
fn as_ordered(ordered: Override, status: HealthStatus) -> HealthStatus {
    match status.state {
        HealthState::Healthy | HealthState::Initial if ordered.is_drained => HealthStatus::described(
            HealthState::Draining,
            Reason::DeregistrationInProgress,
            "An operator has drained the target; `sluice target enable` ends that",
        ),
        _ => status,
    }
}

fn operator(ordered: Override) -> Option<OperatorReport> {
    let Override { is_drained: drained, weight } = ordered;
    (!ordered.is_none()).then_some(OperatorReport { drained, weight })
}

fn checks(group: &TargetGroup, snapshot: Option<&TargetSnapshot>) -> ChecksReport {
    let statistics = snapshot.map(|snapshot| snapshot.statistics).unwrap_or_default();
    ChecksReport {
        passed: statistics.passed,
        failed: statistics.failed,
        last_seconds: statistics.last_latency.map(|latency| latency.as_secs_f64()),
        last_seconds_ago: statistics.last_end.map(|end| end.elapsed().as_secs_f64()),
        interval_seconds: snapshot.map_or(0.0, |_| group.health_check.interval.as_secs_f64()),
    }
}
