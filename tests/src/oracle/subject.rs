//! The program under test: loaded, its maps filled as a model node says, and read back.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use aya::TestRunOptions;
use aya::maps::MapData;
use aya::programs::{ProgramInfo, TestRun as _};
use lb_common::encapsulation;
use lb_common::flow_log::Share;
use lb_common::flow_table::{FlowEntry, FlowSet};
use lb_common::fragments::{FragmentEntry, Identity};
use lb_common::hash::HashKey;
use lb_common::listener::{Listener, ListenerKey, QuicServerKey, Traffic};
use lb_common::packet::{self, MacAddress};
use lb_common::{ChainWord, Reason, Slot, TargetId, maps};
use lb_userspace::data_plane::mapped::MappedArray;
use lb_userspace::data_plane::{Capacity, DataPlane, Maps};
use lb_userspace::model::{AllowedSources, NewFlowLimits, Oversized, Policy, Prefix, SourceLimit};

use super::epoch::Change;
use super::world::{COUNTERS, FLOW_SETS_LOG2, FORWARDS, FRAGMENT_SETS_LOG2, TARGETS};
use crate::model::{self, Action, Affinity, Counters, FlowTable, Fragments, ServerId, Tracking};

/// More than a test packet with any encapsulation has.
pub(super) const ROOM: usize = super::frames::LONGEST + 256;

/// Binary logarithm of the slots of all tables: room for many versions of them. Freeing old ones waits for every
/// processor, and clears the marks of stable slots; so it is done between epochs, and seldom.
const SLOTS_LOG2: u8 = 18;
/// Lists of at most 6 prefixes each that fit twice, so that the epoch that comes to the end of them has room.
const MOST_LISTS: u32 = 400;
/// No frame of so many bytes is answered for being too big: Ethernet, and the smallest size that can be told.
const SHORTEST_TOO_BIG: usize = 14 + 68;

/// The loaded balancer.
pub(super) struct Subject {
    data_plane: DataPlane,
    flows: MappedArray<FlowSet>,
    /// What was there before the epoch's first frame.
    before: Counts,
    listeners: Vec<ListenerKey>,
    vips: Vec<[u32; 4]>,
    quic_servers: BTreeSet<(u32, ServerId)>,
    /// Allow-lists that were written since those that are not used any more were last removed.
    lists: u32,
    /// Slots that were written since the memory of replaced tables was last freed.
    written: usize,
}

/// All counters, densely.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Counts {
    reasons: Vec<u64>,
    listeners: Vec<Traffic>,
    targets: Vec<Traffic>,
}

impl Subject {
    /// Loads the balancer with small maps.
    pub(super) fn load(key: [u64; 2]) -> Result<Subject> {
        let capacity = Capacity {
            listeners: 64,
            vips: 16,
            forwards: FORWARDS + 1,
            targets: u32::from(TARGETS) + 1,
            slots_log2: SLOTS_LOG2,
            flow_sets_log2: FLOW_SETS_LOG2,
            allowed_prefixes: 2048,
            fragment_sets_log2: FRAGMENT_SETS_LOG2,
            interfaces: 16,
        };
        let data_plane = DataPlane::load(capacity, HashKey { k0: key[0], k1: key[1] })?;
        let info = data_plane.balancer()?.info().context("asking the kernel about the balancer")?;
        let flows = MappedArray::new(map(&info, maps::FLOWS)?, 1 << FLOW_SETS_LOG2)?;
        Ok(Subject {
            data_plane,
            flows,
            before: Counts::default(),
            listeners: Vec::new(),
            vips: Vec::new(),
            quic_servers: BTreeSet::new(),
            lists: 0,
            written: 0,
        })
    }

    /// Fills the maps as `node` has it, with an empty flow table and counters that start here.
    pub(super) fn install(&mut self, node: &model::Node) -> Result<()> {
        let maps = &mut self.data_plane.maps;
        if self.written > 1 << (SLOTS_LOG2 - 1) {
            maps.reclaim();
            self.written = 0;
        }
        self.vips.drain(..).try_for_each(|vip| maps.remove_vip(vip))?;
        maps.set_interface(node.interface, MacAddress::new(node.mac))?;
        maps.set_flow_log_share(Share::new(0.5))?;
        maps.set_oversized(if node.answers_oversized { Oversized::Answer } else { Oversized::Drop })?;
        for vip in &node.vips {
            maps.add_vip(words(*vip))?;
            self.vips.push(words(*vip));
        }
        for counter in 0..COUNTERS {
            match node.policies.get(&counter) {
                Some(policy) => maps.policies.set(counter, &entry_of_policy(policy))?,
                None => maps.policies.remove(counter),
            }
        }
        self.lists += 2 * u32::from(COUNTERS);
        if self.lists > MOST_LISTS {
            maps.policies.reclaim()?;
            self.lists = 0;
        }
        set_listeners(maps, &mut self.listeners, node)?;
        set_quic_servers(maps, &mut self.quic_servers, node)?;
        for forward in 1..=FORWARDS {
            maps.unpublish(forward);
            if let Some(table) = node.tables.get(&forward) {
                publish(maps, forward, &table.slots, &table.chains)?;
                self.written += table.slots.len();
            }
        }
        (1..=TARGETS).for_each(|id| set_target(maps, TargetId(id), node.targets.get(&TargetId(id))));
        maps.sweep_flows(|_| true);
        maps.forget_fragments();
        self.before = self.counts()?;
        Ok(())
    }

    /// Makes a change of an epoch.
    pub(super) fn change(&mut self, change: &Change) -> Result<()> {
        let maps = &mut self.data_plane.maps;
        match change {
            Change::Table(forward, slots, chains) => {
                self.written += slots.len();
                publish(maps, *forward, slots, chains)
            }
            Change::Policy(counter, policy) => {
                self.lists += 2;
                maps.policies.set(*counter, &entry_of_policy(policy))
            }
            Change::QuicServer(forward, id, target) => {
                set_quic_server(maps, &mut self.quic_servers, (*forward, *id), *target)
            }
            Change::Target(id, target) => {
                set_target(maps, *id, Some(target));
                Ok(())
            }
        }
    }

    /// Runs the balancer on a frame of 14 bytes or more, which the kernel lets come in by the loopback interface.
    /// The limit of answers is never reached.
    /// The frame afterwards is in `room`, with the length that is returned.
    pub(super) fn run(&mut self, frame: &[u8], room: &mut [u8]) -> Result<(Action, usize)> {
        if frame.len() > SHORTEST_TOO_BIG {
            self.data_plane.maps.lift_answer_limit()?;
        }
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(room), ..TestRunOptions::default() };
        let run = self.data_plane.balancer()?.test_run(options).context("running the balancer")?;
        Ok((action(run.return_value)?, run.data_size_out as usize))
    }

    /// The first way in which the flow table differs from the model's, in words.
    pub(super) fn flows_differ(&self, flows: &FlowTable) -> Option<String> {
        for (at, (set, expected)) in self.flows.values().iter().zip(flows.sets()).enumerate() {
            for (way, (cell, expected)) in set.0.iter().zip(expected).enumerate() {
                let word = expected.map_or(0, |entry| {
                    let seen = lb_common::flow_table::Tick(entry.seen);
                    FlowEntry::new(entry.tag, entry.target, seen).0
                });
                let entry = FlowEntry(cell.load());
                if entry.0 != word {
                    return Some(format!(
                        "flow table, set {at}, way {way}: the model has {expected:?}, the program {entry:?} (tag {:#x}, {:?}, {:?})",
                        entry.tag(),
                        entry.target(),
                        entry.seen()
                    ));
                }
            }
        }
        None
    }

    /// The first way in which the fragment table differs from the model's, in words.
    pub(super) fn fragments_differ(&self, fragments: &Fragments) -> Option<String> {
        for (at, (set, expected)) in
            self.data_plane.maps.fragment_sets().iter().zip(fragments.sets()).enumerate()
        {
            for (way, (cell, expected)) in set.0.iter().zip(expected).enumerate() {
                let word = expected.map_or(0, |entry| {
                    let ports = [entry.ports.source, entry.ports.destination].map(u16::to_be_bytes).concat();
                    let ports = lb_common::fragments::Ports {
                        both: u32::from_ne_bytes(ports.try_into().expect("two ports are four bytes")),
                        protocol: entry.protocol,
                    };
                    let came = lb_common::flow_table::Tick(entry.came);
                    FragmentEntry::new(Identity(u64::from(entry.tag) << 40), ports, came).0
                });
                let entry = cell.load();
                if entry != word {
                    return Some(format!(
                        "fragment table, set {at}, way {way}: the model has {expected:?} ({word:#x}), the program {entry:#x}"
                    ));
                }
            }
        }
        None
    }

    /// The first counter or mark that differs from the model's, in words.
    pub(super) fn totals_differ(&self, node: &model::Node) -> Result<Option<String>> {
        let (model, program) = (Counts::of(&node.counters), self.counts()?.since(&self.before));
        if model != program {
            return Ok(Some(format!("counters:\n{}", model.difference(&program))));
        }
        for (forward, table) in &node.tables {
            for (slot, expected) in table.marks.iter().enumerate() {
                let mark = self.data_plane.maps.last_exception(*forward, slot as u32);
                let mark = mark.map_or(0, |tick| tick.0);
                if mark != *expected {
                    return Ok(Some(format!(
                        "mark of slot {slot} of table {forward}: the model has {expected}, the program {mark}"
                    )));
                }
            }
        }
        Ok(None)
    }

    fn counts(&self) -> Result<Counts> {
        let maps = &self.data_plane.maps;
        Ok(Counts {
            reasons: maps.reasons()?.into_iter().map(|(_, count)| count).collect(),
            listeners: (0..COUNTERS).map(|at| maps.listener_traffic(at)).collect::<Result<_>>()?,
            targets: (0..=TARGETS).map(|at| maps.target_traffic(TargetId(at))).collect::<Result<_>>()?,
        })
    }
}

impl Counts {
    fn of(counters: &Counters) -> Counts {
        let reasons = Reason::ALL.iter();
        let traffic =
            |of: &std::collections::BTreeMap<u16, Traffic>, at| of.get(&at).copied().unwrap_or_default();
        Counts {
            reasons: reasons.map(|at| counters.reasons.get(&(*at as u8)).copied().unwrap_or(0)).collect(),
            listeners: (0..COUNTERS).map(|at| traffic(&counters.listeners, at)).collect(),
            targets: (0..=TARGETS).map(|at| traffic(&counters.targets, at)).collect(),
        }
    }

    fn since(mut self, before: &Counts) -> Counts {
        self.reasons.iter_mut().zip(&before.reasons).for_each(|(now, then)| *now -= then);
        let traffic = self.listeners.iter_mut().zip(&before.listeners);
        for (now, then) in traffic.chain(self.targets.iter_mut().zip(&before.targets)) {
            now.packets -= then.packets;
            now.bytes -= then.bytes;
        }
        self
    }

    fn difference(&self, program: &Counts) -> String {
        let mut lines = String::new();
        let mut line = |what: String, model: &dyn std::fmt::Debug, program: &dyn std::fmt::Debug| {
            lines.push_str(&format!("  {what}: the model has {model:?}, the program {program:?}\n"));
        };
        for (at, (one, other)) in self.reasons.iter().zip(&program.reasons).enumerate() {
            if one != other {
                line(format!("reason {}", Reason::ALL[at].name()), one, other);
            }
        }
        for (what, model, program) in
            [("listener", &self.listeners, &program.listeners), ("target", &self.targets, &program.targets)]
        {
            for (at, (one, other)) in model.iter().zip(program).enumerate() {
                if one != other {
                    line(format!("{what} {at}"), one, other);
                }
            }
        }
        lines
    }
}

/// Makes the listeners those of `node`. Removing one waits for every processor, so those that stay do stay.
fn set_listeners(maps: &mut Maps, there: &mut Vec<ListenerKey>, node: &model::Node) -> Result<()> {
    let key =
        |(vip, protocol, port): &(IpAddr, u8, u16)| ListenerKey::new(words(*vip), port.to_be(), *protocol);
    let wanted: Vec<ListenerKey> = node.listeners.keys().map(key).collect();
    let gone = there.iter().filter(|key| !wanted.contains(key));
    gone.copied().try_for_each(|key| maps.remove_listener(key))?;
    for (key, listener) in wanted.iter().zip(node.listeners.values()) {
        let mut entry = entry_of_listener(*listener);
        // Of which the model knows nothing: the log changes no packet's way.
        entry.flags |= if listener.counter % 2 == 0 { Listener::FLAG_LOGGED } else { 0 };
        if node.policies.contains_key(&listener.counter) {
            entry.flags |= Listener::FLAG_POLICY;
        }
        maps.set_listener(*key, entry)?;
    }
    *there = wanted;
    Ok(())
}

/// Makes the server ids those of `node`; those that go make room for those that come.
fn set_quic_servers(
    maps: &mut Maps,
    there: &mut BTreeSet<(u32, ServerId)>,
    node: &model::Node,
) -> Result<()> {
    let gone = there.iter().filter(|key| !node.quic_servers.contains_key(key));
    let gone: Vec<_> = gone.copied().collect();
    gone.into_iter().try_for_each(|key| set_quic_server(maps, there, key, None))?;
    let mut wanted = node.quic_servers.iter();
    wanted.try_for_each(|(key, target)| set_quic_server(maps, there, *key, Some(*target)))
}

fn set_quic_server(
    maps: &mut Maps,
    there: &mut BTreeSet<(u32, ServerId)>,
    key: (u32, ServerId),
    target: Option<TargetId>,
) -> Result<()> {
    let entry = QuicServerKey::new(key.0, packet::ServerId::new(key.1));
    match target {
        Some(target) => {
            there.insert(key);
            maps.set_quic_server(entry, target)
        }
        None if there.remove(&key) => maps.remove_quic_server(entry),
        None => Ok(()),
    }
}

fn publish(maps: &mut Maps, forward: u32, slots: &[Slot], chains: &[ChainWord]) -> Result<()> {
    maps.publish_chains(forward, slots.len().ilog2() as u8, slots, chains)
}

fn set_target(maps: &Maps, id: TargetId, target: Option<&model::Target>) {
    maps.set_target(id, &target.map_or(lb_common::Target::NONE, entry_of_target));
}

fn entry_of_target(target: &model::Target) -> lb_common::Target {
    let nowhere = model::NextHop { interface: 0, source: [0; 6], destination: [0; 6] };
    let next_hop = target.next_hop.unwrap_or(nowhere);
    let mut entry = encapsulation::Tunnel {
        interface: next_hop.interface,
        source_mac: next_hop.source,
        destination_mac: next_hop.destination,
        ends: match target.ends {
            model::Ends::V4(source, destination) => encapsulation::Ends::V4(source, destination),
            model::Ends::V6(source, destination) => encapsulation::Ends::V6(source, destination),
        },
        gue: target.gue,
        mtu: target.mtu,
    }
    .target();
    if target.next_hop.is_none() {
        entry.way = encapsulation::Way(0);
    }
    if target.keeps_flows {
        entry.way = entry.way.keeping_flows();
    }
    entry.entropy = u32::from_ne_bytes(target.spread);
    entry
}

/// Limits are so large that no epoch reaches them: what begins a flow is counted all the same.
fn entry_of_policy(policy: &model::Policy) -> Policy {
    let sources = |list: &Vec<(IpAddr, u8)>| {
        let prefix = |(address, bits): &(IpAddr, u8)| {
            Prefix::new(*address, *bits).expect("the world's prefixes have no bits behind them")
        };
        Arc::new(AllowedSources(list.iter().map(|entry| (prefix(entry), 0)).collect()))
    };
    let per_source = SourceLimit { per_second: 100_000, ipv4_bits: 32, ipv6_bits: 64 };
    let limits = NewFlowLimits { all: Some(10_000_000), per_source: Some(per_source) };
    Policy {
        tcp: policy.tcp.as_ref().map(sources),
        udp: policy.udp.as_ref().map(sources),
        limits: if policy.counts { limits } else { NewFlowLimits::default() },
    }
}

fn entry_of_listener(listener: model::Listener) -> Listener {
    let tracking = match listener.tracking {
        Tracking::Changed => Listener::TRACK_CHANGED,
        Tracking::Always => Listener::TRACK_ALWAYS,
        Tracking::Never => Listener::TRACK_NEVER,
    };
    let affinity = match listener.affinity {
        Affinity::Flow => 0,
        Affinity::Client => Listener::FLAG_SOURCE_AFFINITY,
    };
    let tunnels = if listener.leaves_tunnels { Listener::FLAG_LEAVES_TUNNELS } else { 0 };
    let quic = if listener.is_quic { Listener::FLAG_QUIC } else { 0 };
    Listener {
        forward: listener.forward,
        counter: listener.counter,
        idle: listener.idle,
        tracking,
        flags: affinity | tunnels | quic,
    }
}

/// An address as the maps' keys have it: IPv4 mapped into IPv6 (RFC 4291, 2.5.5.2).
fn words(address: IpAddr) -> [u32; 4] {
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    std::array::from_fn(|at| {
        u32::from_ne_bytes(octets[at * 4..at * 4 + 4].try_into().expect("four of sixteen bytes"))
    })
}

fn action(number: u32) -> Result<Action> {
    Ok(match number {
        0 => Action::Aborted,
        1 => Action::Drop,
        2 => Action::Pass,
        3 => Action::Tx,
        4 => Action::Redirect,
        other => bail!("the program returned {other}, which is no XDP action"),
    })
}

/// A descriptor of one of the program's maps.
fn map(program: &ProgramInfo, name: &str) -> Result<OwnedFd> {
    for id in program.map_ids()?.context("the kernel lists no program's maps")? {
        let map = MapData::from_id(id)?;
        if map.info()?.name_as_str() == Some(name) {
            return map.fd().as_fd().try_clone_to_owned().context("duplicating a map's descriptor");
        }
    }
    bail!("the program has no map `{name}`")
}
