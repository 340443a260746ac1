//! The maps' contents: what is in them, and how each is changed while packets flow.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues};
use lb_common::encapsulation::Way;
use lb_common::flow_log::Share;
use lb_common::flow_table::{FlowEntry, FlowSet, Tick};
use lb_common::fragments::FragmentSet;
use lb_common::hash::HashKey;
use lb_common::listener::{
    Forward, Listener, ListenerKey, ListenerLine, QuicServerKey, Traffic, clients_hash_state,
};
use lb_common::maps::{
    self as names, CHAINS_PER_LINE, ChainLine, EXCEPTIONS_PER_LINE, ExceptionLine, SLOTS_PER_LINE, Settings,
    SlotLine,
};
use lb_common::packet::MacAddress;
use lb_common::policy::sources_hash_state;
use lb_common::shared::Shared;
use lb_common::{ChainWord, Reason, Slot, SlotState, Target, TargetId};
use rustix::thread::{MembarrierCommand, membarrier};
use rustix::time::{ClockId, clock_gettime};

use super::arena::{Arena, Block};
use super::carried::Carried;
use super::listeners::{self, Listeners};
use super::mapped::{MappedArray, TargetWords};
use super::names::NameMaps;
use super::policies::Policies;
use super::{Capacity, LoadedMaps};
use crate::model::Oversized;

/// All maps of the balancer.
pub struct Maps {
    settings_map: Array<MapData, Settings>,
    /// What is in it.
    settings: Settings,
    pub(super) listeners: Listeners,
    pub(super) listener_lines: MappedArray<ListenerLine>,
    hash_key: HashKey,
    pub(super) vips: HashMap<MapData, [u32; 4], u32>,
    pub(super) quic_servers: HashMap<MapData, QuicServerKey, u32>,
    interfaces: Array<MapData, u64>,
    answer_limit: PerCpuArray<MapData, u64>,
    processors: usize,
    reason_counters: PerCpuArray<MapData, u64>,
    pub(super) listener_counters: PerCpuArray<MapData, Traffic>,
    pub(super) target_counters: PerCpuArray<MapData, Traffic>,
    /// What their predecessors had counted.
    pub(super) carried: Carried,
    pub(super) forwards: MappedArray<Shared<u64>>,
    slots: MappedArray<SlotLine>,
    exceptions: MappedArray<ExceptionLine>,
    chains: MappedArray<ChainLine>,
    flows: MappedArray<FlowSet>,
    fragments: MappedArray<FragmentSet>,
    pub(super) targets: MappedArray<TargetWords>,
    /// What stands before listeners.
    pub policies: Policies,
    /// Whose the numbers are.
    pub names: NameMaps,
    pub(super) arena: Arena,
    pub(super) tables: BTreeMap<u32, Block>,
    /// Replaced tables, and by what.
    retired: Vec<(Block, Option<Block>)>,
    capacity: Capacity,
}

impl Maps {
    /// Takes them into hand.
    ///
    /// # Errors
    /// If one is not there, or of another shape than this build's.
    pub(crate) fn take(maps: &mut LoadedMaps, capacity: Capacity, hash_key: HashKey) -> anyhow::Result<Maps> {
        let slots = 1u32 << capacity.slots_log2;
        let places = listeners::places(capacity.listeners);
        let flow_set_mask = (1 << capacity.flow_sets_log2) - 1;
        let settings = Settings {
            clients: clients_hash_state(hash_key),
            sources: sources_hash_state(hash_key),
            hash_key,
            flow_set_mask,
            listener_mask: places - 1,
            listener_shift: u64::BITS - places.trailing_zeros(),
            fragment_set_mask: (1 << capacity.fragment_sets_log2) - 1,
            flags: 0,
            flow_log_share: 0,
        };
        let mut settings_map: Array<_, Settings> = maps.typed(names::SETTINGS)?;
        let held = settings_map.get(&0, 0).context("reading the balancer's settings")?;
        // The flags and the share are what an earlier controller has found; all else follows from what the maps are.
        let settings = Settings { flags: held.flags, flow_log_share: held.flow_log_share, ..settings };
        if settings != held {
            settings_map.set(0, settings, 0).context("writing the balancer's settings")?;
        }
        Ok(Maps {
            settings_map,
            settings,
            listeners: Listeners::default(),
            listener_lines: maps.mapped(names::LISTENERS, places)?,
            hash_key,
            vips: maps.typed(names::VIPS)?,
            quic_servers: maps.typed(names::QUIC_SERVERS)?,
            interfaces: maps.typed(names::INTERFACES)?,
            answer_limit: maps.typed(names::ANSWER_LIMIT)?,
            processors: processors()?,
            reason_counters: maps.typed(names::REASON_COUNTERS)?,
            listener_counters: maps.typed(names::LISTENER_COUNTERS)?,
            target_counters: maps.typed(names::TARGET_COUNTERS)?,
            carried: Carried {
                reasons: maps.mapped(names::REASONS_CARRIED, Carried::REASONS)?,
                listeners: maps.mapped(names::LISTENERS_CARRIED, capacity.listeners)?,
                targets: maps.mapped(names::TARGETS_CARRIED, capacity.targets)?,
            },
            forwards: maps.mapped(names::FORWARDS, capacity.forwards)?,
            slots: maps.mapped(names::SLOTS, slots / SLOTS_PER_LINE)?,
            exceptions: maps.mapped(names::EXCEPTIONS, slots / EXCEPTIONS_PER_LINE)?,
            chains: maps.mapped(names::CHAINS, slots / CHAINS_PER_LINE)?,
            flows: maps.mapped(names::FLOWS, 1 << capacity.flow_sets_log2)?,
            fragments: maps.mapped(names::FRAGMENTS, 1 << capacity.fragment_sets_log2)?,
            targets: maps.mapped(names::TARGETS, capacity.targets)?,
            policies: Policies::new(
                maps.mapped(names::POLICIES, capacity.listeners)?,
                maps.typed(names::ALLOWED)?,
                capacity.allowed_prefixes,
            ),
            names: NameMaps {
                targets: maps.mapped(names::TARGET_NAMES, capacity.targets)?,
                forwards: maps.mapped(names::FORWARD_NAMES, capacity.forwards)?,
                listeners: maps.mapped(names::LISTENER_NAMES, capacity.listeners)?,
            },
            arena: Arena::new(capacity.slots_log2),
            tables: BTreeMap::new(),
            retired: Vec::new(),
            capacity,
        })
    }

    /// How big the maps are.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// The key of the flows' hash.
    pub fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    /// Sets what becomes of packets that are too big although their senders would allow fragments.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_oversized(&mut self, oversized: Oversized) -> anyhow::Result<()> {
        self.set_flag(Settings::ANSWER_OVERSIZED, oversized == Oversized::Answer)
    }

    /// Sets the share of the flows of logged listeners that are told of.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_flow_log_share(&mut self, share: Share) -> anyhow::Result<()> {
        self.set_settings(Settings { flow_log_share: share.0, ..self.settings })
    }

    /// Sets whether a listener of any port is looked for.
    pub(super) fn settle_any_port(&mut self) -> anyhow::Result<()> {
        self.set_flag(Settings::ANY_PORT, self.listeners.has_any_port())
    }

    fn set_flag(&mut self, flag: u32, holds: bool) -> anyhow::Result<()> {
        let flags = if holds { self.settings.flags | flag } else { self.settings.flags & !flag };
        self.set_settings(Settings { flags, ..self.settings })
    }

    fn set_settings(&mut self, settings: Settings) -> anyhow::Result<()> {
        if settings != self.settings {
            self.settings_map.set(0, settings, 0).context("writing the balancer's settings")?;
            self.settings = settings;
        }
        Ok(())
    }

    /// Lets every processor answer as if it had not answered any packet yet.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn lift_answer_limit(&mut self) -> anyhow::Result<()> {
        let none = PerCpuValues::try_from(vec![0; self.processors])?;
        self.answer_limit.set(0, none, 0).context("lifting the limit of answers")
    }

    /// Sets the MAC address whose frames the balancer takes on an interface.
    ///
    /// # Errors
    /// If the interface's index is beyond the capacity.
    pub fn set_interface(&mut self, index: u32, mac: MacAddress) -> anyhow::Result<()> {
        set_interface(&mut self.interfaces, self.capacity, index, mac)
    }

    /// The MAC address whose frames the balancer takes on an interface.
    ///
    /// # Errors
    /// If the interface's index is beyond the capacity.
    pub fn interface(&self, index: u32) -> anyhow::Result<[u8; 6]> {
        let bits = self.interfaces.get(&index, 0).context("reading an interface's MAC address")?;
        let [a, b, c, d, e, f, _, _] = bits.to_le_bytes();
        Ok([a, b, c, d, e, f])
    }

    /// Adds or replaces a listener; a packet sees the old or the new one.
    ///
    /// # Errors
    /// If the map is full.
    pub fn set_listener(&mut self, key: ListenerKey, listener: Listener) -> anyhow::Result<()> {
        // Packets look for it from then on: a moment too early does no harm.
        if key.is_of_any_port() {
            self.set_flag(Settings::ANY_PORT, true)?;
        }
        self.listeners.set(self.listener_lines.values(), key, listener, self.hash_key, grace_period)
    }

    /// Removes a listener.
    ///
    /// # Errors
    /// If it is not there.
    pub fn remove_listener(&mut self, key: ListenerKey) -> anyhow::Result<()> {
        self.listeners.remove(self.listener_lines.values(), key)?;
        self.settle_any_port()
    }

    /// Adds a VIP (bytes as on the wire, IPv4 mapped into IPv6), so that it answers pings.
    ///
    /// # Errors
    /// If the map is full.
    pub fn add_vip(&mut self, vip: [u32; 4]) -> anyhow::Result<()> {
        self.vips
            .insert(vip, 1, 0)
            .with_context(|| format!("adding a VIP: the balancer was loaded for {}", self.capacity.vips))
    }

    /// Removes a VIP.
    ///
    /// # Errors
    /// If it is not there.
    pub fn remove_vip(&mut self, vip: [u32; 4]) -> anyhow::Result<()> {
        self.vips.remove(&vip).context("removing a VIP")
    }

    /// Sets whose a QUIC server id is; a packet sees the old or the new owner.
    ///
    /// # Errors
    /// If the map is full.
    pub fn set_quic_server(&mut self, key: QuicServerKey, target: TargetId) -> anyhow::Result<()> {
        self.quic_servers.insert(key, u32::from(target.0), 0).with_context(|| {
            let room = self.capacity.quic_servers();
            format!("adding a QUIC server id: the balancer was loaded for {room} of registered and draining targets")
        })
    }

    /// Removes a QUIC server id.
    ///
    /// # Errors
    /// If it is not there.
    pub fn remove_quic_server(&mut self, key: QuicServerKey) -> anyhow::Result<()> {
        self.quic_servers.remove(&key).context("removing a QUIC server id")
    }

    /// Writes a target's entry. Where only the next hop's MAC address or the flags change, packets in flight see
    /// the old or the new one; otherwise the target has no next hop for the moment of the writing, so that no
    /// packet that meets it then leaves with half of two headers. Its known flows are kept throughout: a packet
    /// that is lost is sent again, one that goes to another target resets its connection.
    pub fn set_target(&self, id: TargetId, target: &Target) {
        let words = &self.targets.values()[id.0 as usize].0;
        let new = target_words(target);
        let changed: Vec<usize> = (1..16).filter(|at| words[*at].load() != new[*at]).collect();
        if changed.len() > 1 {
            words[0].store(target.way.without_next_hop().0);
        }
        for at in changed {
            words[at].store(new[at]);
        }
        words[0].store(new[0]);
    }

    /// Writes a new version of the table of the forward action `forward` (2^`log2` slots) beside the old one and
    /// publishes it by one store. The marks of exceptions move with it. The old version's memory is free after
    /// [`Maps::reclaim`].
    ///
    /// # Errors
    /// If the tables' memory is used up; the old version stays in force.
    pub fn publish(&mut self, forward: u32, log2: u8, slots: &[Slot]) -> anyhow::Result<()> {
        self.publish_chains(forward, log2, slots, &[])
    }

    /// The same for a table of which some slots have chains: `chains` has a word for each slot, or none at all.
    ///
    /// # Errors
    /// As [`Maps::publish`].
    pub fn publish_chains(
        &mut self,
        forward: u32,
        log2: u8,
        slots: &[Slot],
        chains: &[ChainWord],
    ) -> anyhow::Result<()> {
        let block = self.room_for(log2)?;
        let chains = chains.iter().copied().chain(std::iter::repeat(ChainWord::NONE));
        for ((index, slot), chain) in (block.first..).zip(slots).zip(chains) {
            self.slot(index).store(slot.0);
            self.chain(index).store(chain.0);
        }
        let old = self.tables.insert(forward, block);
        self.carry_marks(old, block, |_| None);
        self.forwards.values()[forward as usize].store(Forward::new(block.first, block.log2).0);
        self.retired.extend(old.map(|old| (old, Some(block))));
        Ok(())
    }

    fn room_for(&mut self, log2: u8) -> anyhow::Result<Block> {
        if let Some(block) = self.arena.take(log2) {
            return Ok(block);
        }
        self.reclaim();
        self.arena.take(log2).with_context(|| {
            format!(
                "a table of {} slots finds no room: {} of {} slots are free, in smaller pieces",
                1u64 << log2,
                self.arena.free_slots(),
                1u64 << self.capacity.slots_log2
            )
        })
    }

    /// Unpublishes a forward action's table; its listeners must be gone.
    pub fn unpublish(&mut self, forward: u32) {
        self.forwards.values()[forward as usize].store(Forward::NONE.0);
        self.retired.extend(self.tables.remove(&forward).map(|old| (old, None)));
    }

    /// Frees the memory of replaced tables, once no packet can be reading it any more. What packets marked in
    /// them until then goes to their successors.
    pub fn reclaim(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        grace_period();
        for (old, successor) in std::mem::take(&mut self.retired) {
            if let Some(new) = successor {
                self.carry_marks(Some(old), new, |index| mark(self.mark(index).load()));
            }
            self.arena.give_back(old);
        }
    }

    /// Copies the marks of the table `old` into `new`, whose slots may be twice, half or as many. What a packet
    /// marked in `new` meanwhile (`present` reads it) is kept if it is later.
    fn carry_marks(&self, old: Option<Block>, new: Block, present: impl Fn(u32) -> Option<Tick>) {
        for at in 0..1u32 << new.log2 {
            let index = new.first + at;
            // A stable slot has no exceptions, and a mark that stays for 9 hours would look fresh.
            let mark = match Slot(self.slot(index).load()).state() {
                SlotState::Stable => None,
                _ => later(old.and_then(|old| self.inherited_mark(old, new.log2, at)), present(index)),
            };
            self.mark(index).store(mark.map_or(0, |tick| tick.0));
        }
    }

    fn inherited_mark(&self, old: Block, log2: u8, at: u32) -> Option<Tick> {
        let parents = old.log2.saturating_sub(log2);
        let first = old.first + (at << parents >> log2.saturating_sub(old.log2));
        (first..first + (1 << parents))
            .fold(None, |latest, index| later(latest, mark(self.mark(index).load())))
    }

    /// When a packet of the slot last went elsewhere than the slot says; none if never.
    pub fn last_exception(&self, forward: u32, slot: u32) -> Option<Tick> {
        let block = self.tables.get(&forward)?;
        mark(self.mark(block.first + slot).load())
    }

    /// Calls `visit` with each entry of the flow table, the free ones left out.
    pub fn for_each_flow(&self, mut visit: impl FnMut(FlowEntry)) {
        let entries = self.flows.values().iter().flat_map(|set| set.0.iter());
        entries.map(|entry| FlowEntry(entry.load())).filter(|entry| entry.0 != 0).for_each(&mut visit);
    }

    /// Frees the entries of the flow table that `gone` says are not needed any more. An entry that a packet
    /// refreshes meanwhile stays.
    pub fn sweep_flows(&self, gone: impl Fn(FlowEntry) -> bool) -> usize {
        let entries = self.flows.values().iter().flat_map(|set| set.0.iter());
        entries
            .filter(|cell| {
                let entry = FlowEntry(cell.load());
                entry.0 != 0 && gone(entry) && cell.replace_if(entry.0, 0)
            })
            .count()
    }

    /// The fragment table: what is awaited of datagrams that come in fragments.
    pub fn fragment_sets(&self) -> &[FragmentSet] {
        self.fragments.values()
    }

    /// Forgets the ports of all datagrams of which fragments are still to come.
    pub fn forget_fragments(&self) {
        let entries = self.fragments.values().iter().flat_map(|set| set.0.iter());
        entries.for_each(|entry| entry.store(0));
    }

    /// Packets by reason, summed over the processors.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn reasons(&self) -> anyhow::Result<Vec<(Reason, u64)>> {
        let count = |reason: &Reason| {
            let values =
                self.reason_counters.get(&(*reason as u32), 0).context("reading a reason's counter")?;
            Ok((*reason, values.iter().sum::<u64>() + self.carried.reason(*reason as u32)))
        };
        Reason::ALL.iter().map(count).collect()
    }

    /// Traffic of a listener's counter, summed over the processors.
    ///
    /// # Errors
    /// If the counter is beyond the capacity.
    pub fn listener_traffic(&self, counter: u16) -> anyhow::Result<Traffic> {
        let values =
            self.listener_counters.get(&counter.into(), 0).context("reading a listener's counter")?;
        Ok(total(&values, self.carried.listener(counter)))
    }

    /// Traffic of a target, summed over the processors.
    ///
    /// # Errors
    /// If the id is beyond the capacity.
    pub fn target_traffic(&self, id: TargetId) -> anyhow::Result<Traffic> {
        let values = self.target_counters.get(&id.0.into(), 0).context("reading a target's counter")?;
        Ok(total(&values, self.carried.target(id)))
    }

    pub(super) fn slot(&self, index: u32) -> &Shared<u32> {
        &self.slots.values()[(index / SLOTS_PER_LINE) as usize].0[(index % SLOTS_PER_LINE) as usize]
    }

    pub(super) fn chain(&self, index: u32) -> &Shared<u16> {
        let line = &self.chains.values()[(index / CHAINS_PER_LINE) as usize];
        &line.0[(index % CHAINS_PER_LINE) as usize]
    }

    fn mark(&self, index: u32) -> &Shared<u16> {
        let line = &self.exceptions.values()[(index / EXCEPTIONS_PER_LINE) as usize];
        &line.0[(index % EXCEPTIONS_PER_LINE) as usize]
    }
}

/// Sets the MAC address whose frames the balancer takes on an interface.
pub(super) fn set_interface(
    interfaces: &mut Array<MapData, u64>,
    capacity: Capacity,
    index: u32,
    mac: MacAddress,
) -> anyhow::Result<()> {
    ensure!(
        index < capacity.interfaces,
        "the interface's index {index} is beyond the {} that the balancer was loaded for",
        capacity.interfaces
    );
    interfaces.set(index, mac.to_bits(), 0).context("writing an interface's MAC address")
}

/// Returns when every packet that was being processed at the call has left the programs: they run inside RCU
/// read-side sections, and `MEMBARRIER_CMD_GLOBAL` (Linux 4.3) is `synchronize_rcu`.
pub fn grace_period() {
    if membarrier(MembarrierCommand::Global).is_err() {
        // Kernels with `nohz_full` refuse it; a packet stays in a program for microseconds.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The present moment of the clock by which the program marks flows and slots.
pub fn tick_now() -> Tick {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Tick::from_nanoseconds(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// What a mark in the map says: zero is never.
pub(super) fn mark(word: u16) -> Option<Tick> {
    (word != 0).then_some(Tick(word))
}

/// The later of two marks less than 9 hours apart.
pub(super) fn later(one: Option<Tick>, other: Option<Tick>) -> Option<Tick> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.since(other) < 1 << 15 { one } else { other }),
        (one, other) => one.or(other),
    }
}

/// What [`target_words`] gave.
pub(super) fn target_of(words: &TargetWords) -> Target {
    let words = words.0.each_ref().map(Shared::<u64>::load);
    let mut target = Target { way: Way(words[0]), ..Target::NONE };
    (target.checksum, target.entropy) = (words[1] as u32, (words[1] >> 32) as u32);
    for (bytes, word) in target.header.chunks_mut(8).zip(&words[2..11]) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    for (half, word) in target.address.chunks_mut(2).zip(&words[11..13]) {
        for (part, bytes) in half.iter_mut().zip(word.to_ne_bytes().chunks(4)) {
            *part = u32::from_ne_bytes(bytes.try_into().expect("eight bytes are twice four"));
        }
    }
    target.reserved.copy_from_slice(&words[13..]);
    target
}

fn target_words(target: &Target) -> [u64; 16] {
    let mut words = [0; 16];
    words[0] = target.way.0;
    words[1] = u64::from(target.checksum) | u64::from(target.entropy) << 32;
    for (word, bytes) in words[2..11].iter_mut().zip(target.header.chunks(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().expect("72 is a multiple of 8"));
    }
    let [a, b, c, d] = target.address.map(u32::to_ne_bytes);
    words[11] = u64::from_ne_bytes([a, b].concat().try_into().expect("twice four bytes"));
    words[12] = u64::from_ne_bytes([c, d].concat().try_into().expect("twice four bytes"));
    words[13..].copy_from_slice(&target.reserved);
    words
}

/// Sets a listener's counter to zero, before it is used for another one.
pub(super) fn clear_listener_traffic(
    traffic: &mut PerCpuArray<MapData, Traffic>,
    carried: &Carried,
    counter: u16,
) -> anyhow::Result<()> {
    carried.clear_listener(counter)?;
    traffic.set(counter.into(), zeros()?, 0).context("clearing a listener's counter")
}

/// Sets a target's counter to zero, before its id is used for another one.
pub(super) fn clear_target_traffic(
    traffic: &mut PerCpuArray<MapData, Traffic>,
    carried: &Carried,
    id: TargetId,
) -> anyhow::Result<()> {
    carried.clear_target(id)?;
    traffic.set(id.0.into(), zeros()?, 0).context("clearing a target's counter")
}

/// What all processors have counted, and what was carried over.
pub(super) fn total(values: &PerCpuValues<Traffic>, carried: Traffic) -> Traffic {
    values.iter().fold(carried, |sum, traffic| Traffic {
        packets: sum.packets + traffic.packets,
        bytes: sum.bytes + traffic.bytes,
    })
}

fn zeros() -> anyhow::Result<PerCpuValues<Traffic>> {
    Ok(PerCpuValues::try_from(vec![Traffic::default(); processors()?])?)
}

fn processors() -> anyhow::Result<usize> {
    aya::util::nr_cpus().map_err(|(file, error)| {
        anyhow::Error::new(error).context(format!("reading the number of processors from {file}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_as_it_was_written() {
        let mut target = Target { way: Way(3), checksum: 4, entropy: 5, ..Target::NONE };
        target = target.at("2001:db8::7".parse().unwrap());
        target.header = std::array::from_fn(|at| at as u8);
        target.reserved = [6, 7, 8];
        let words = TargetWords(target_words(&target).map(Shared::<u64>::new));
        assert_eq!(target_of(&words), target);
    }
}
