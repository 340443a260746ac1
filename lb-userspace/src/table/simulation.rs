//! Random membership and health changes under live flows: does a flow ever leave a target that lives?
//!
//! The data plane is modelled packet by packet, with its flow table, as the slots tell it; and where a slot has a
//! chain, targets that hand on what is not their own. A flow is broken when a packet of it reaches another target
//! although its own has lived on since the flow began.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use lb_common::{ChainWord, Slot, SlotState, TargetId};

use super::member::Member;
use super::{Fate, Regime, SlotTable, TableSize, maglev, mix, overlay};

const IDLE: u64 = 60;
const DRAIN: u64 = 100;
const SECONDS: u64 = 3000;
const TARGETS: u16 = 40;

#[test]
fn no_flow_leaves_a_living_target() {
    for seed in 0..6 {
        let mut simulation = Simulation::new(seed, Encoding::Right);
        simulation.run();
        let Tally { packets, look_ups, broken, resizes, .. } = simulation.tally;
        println!("seed {seed}: {packets} packets, {look_ups} look-ups, {resizes} resizes, {broken} broken");
        assert_eq!(broken, 0, "seed {seed}");
        assert!(packets > 50_000 && look_ups > packets / 100, "seed {seed} tries too little");
    }
}

/// Nodes are lost, and with them their flow tables.
#[test]
fn with_second_chances_no_flow_leaves_a_living_target_though_nodes_are_lost() {
    for seed in 0..3 {
        let mut simulation = Simulation::new(seed, Encoding::Right);
        simulation.regimes = Regimes::SecondChance;
        simulation.run();
        let Tally { packets, hops, broken, deferred, questions, .. } = simulation.tally;
        println!(
            "seed {seed}: {packets} packets, {hops} hops, {deferred} deferred, {questions} questions, {broken} broken"
        );
        assert_eq!(broken, 0, "seed {seed}");
        assert!(packets > 50_000 && hops > packets / 1000 && questions > 50, "seed {seed} tries too little");
    }
}

#[test]
fn no_flow_breaks_when_agents_come_and_go() {
    for seed in 0..3 {
        let mut simulation = Simulation::new(seed, Encoding::Right);
        simulation.regimes = Regimes::Both;
        simulation.run();
        let Tally { hops, look_ups, broken, .. } = simulation.tally;
        assert_eq!(broken, 0, "seed {seed}: {hops} hops, {look_ups} look-ups");
    }
}

/// Shows that the tests above can fail: without the chain, the loss of a node breaks what the flow table knew.
#[test]
fn flows_would_break_if_nodes_were_lost_without_second_chances() {
    let mut simulation = Simulation::new(0, Encoding::Right);
    simulation.regimes = Regimes::FlowTableOfLostNodes;
    simulation.run();
    assert!(simulation.tally.broken > 10, "{} broken", simulation.tally.broken);
}

/// Shows that the test above can fail: taking A, B, A for stable breaks what began on B.
#[test]
fn flows_would_break_if_a_slot_that_changed_back_were_stable() {
    let broken: u64 = (0..2)
        .map(|seed| {
            let mut simulation = Simulation::new(seed, Encoding::EqualIsStable);
            simulation.run();
            simulation.tally.broken
        })
        .sum();
    assert!(broken > 10, "{broken} broken");
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Right,
    /// Current and previous being equal is told to the data plane as it is, which reads it as stable.
    EqualIsStable,
}

/// Who keeps flows, and whether nodes are lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Regimes {
    FlowTable,
    FlowTableOfLostNodes,
    SecondChance,
    Both,
}

#[derive(Default)]
struct Tally {
    packets: u64,
    look_ups: u64,
    /// Packets that a target handed on.
    hops: u64,
    /// Slots that waited, over all seconds.
    deferred: u64,
    questions: u64,
    broken: u64,
    resizes: u64,
}

struct Registered {
    weight: u64,
    removed_at: Option<u64>,
}

struct Flow {
    target: TargetId,
    generation: u32,
    next_packet: u64,
    end: u64,
}

/// One node: what it was told, what it has decided, and the packets that pass it.
struct Simulation {
    random: fastrand::Rng,
    encoding: Encoding,
    regimes: Regimes,
    start: Instant,
    now: u64,
    registered: BTreeMap<TargetId, Registered>,
    alive: HashSet<TargetId>,
    /// How often a target died: flows of its older lives are lost.
    generations: HashMap<TargetId, u32>,
    wanted: TableSize,
    table: SlotTable,
    data_plane: DataPlane,
    flows: HashMap<u64, Flow>,
    tally: Tally,
}

impl Simulation {
    fn new(seed: u64, encoding: Encoding) -> Self {
        let start = Instant::now();
        let mut simulation = Simulation {
            random: fastrand::Rng::with_seed(seed),
            encoding,
            regimes: Regimes::FlowTable,
            start,
            now: 0,
            registered: BTreeMap::new(),
            alive: HashSet::new(),
            generations: HashMap::new(),
            wanted: TableSize::SMALLEST,
            table: SlotTable::new(&[TargetId::NONE; 256], start),
            data_plane: DataPlane::default(),
            flows: HashMap::new(),
            tally: Tally::default(),
        };
        (1..=8).for_each(|id| simulation.register(TargetId(id)));
        simulation.reassign();
        simulation
    }

    fn run(&mut self) {
        for now in 1..=SECONDS {
            self.now = now;
            self.choose_regime();
            self.remove_the_drained();
            if self.random.f64() < 0.03 {
                self.disturb();
            }
            self.tick();
            self.ask();
            (0..6).for_each(|_| self.begin_flow());
            self.go_on();
        }
    }

    fn choose_regime(&mut self) {
        match self.regimes {
            Regimes::FlowTable => {}
            Regimes::SecondChance => self.table.enter(Regime::SecondChance),
            Regimes::Both if self.random.f64() < 0.01 => {
                let regime = if self.random.bool() { Regime::SecondChance } else { Regime::FlowTable };
                self.table.enter(regime);
                self.reassign();
            }
            Regimes::Both | Regimes::FlowTableOfLostNodes => {}
        }
        let is_lost = matches!(self.regimes, Regimes::SecondChance | Regimes::FlowTableOfLostNodes);
        if is_lost && self.random.f64() < 0.02 {
            self.data_plane.entries.clear();
        }
    }

    /// Lets every target that should be asked tell which slots it has flows in.
    fn ask(&mut self) {
        let now = self.at(self.now);
        for target in self.table.questions(now) {
            self.tally.questions += 1;
            let generation = self.generation(target);
            let mut used = vec![false; self.table.size().slots()];
            for (hash, flow) in &self.flows {
                if (flow.target, flow.generation) == (target, generation) {
                    used[self.data_plane.at(*hash)] = true;
                }
            }
            let fate = self.fate();
            self.table.told(target, &|slot| used[slot], now, now, &fate);
            self.tell_data_plane();
        }
        self.tally.deferred += self.table.waiting().deferred as u64;
    }

    fn register(&mut self, target: TargetId) {
        self.registered.insert(target, Registered { weight: self.random.u64(1..4), removed_at: None });
        self.alive.insert(target);
    }

    fn remove_the_drained(&mut self) {
        let over = |registered: &Registered| registered.removed_at.is_some_and(|at| at <= self.now);
        let over: Vec<TargetId> =
            self.registered.iter().filter(|(_, it)| over(it)).map(|(&target, _)| target).collect();
        for target in over {
            self.registered.remove(&target);
            self.die(target);
        }
    }

    fn die(&mut self, target: TargetId) {
        self.alive.remove(&target);
        *self.generations.entry(target).or_default() += 1;
        self.table.died(target, self.at(self.now));
        self.reassign();
    }

    /// One random change of membership, weight, health or size.
    fn disturb(&mut self) {
        let serving = self.pick(|this, target| this.serves(target));
        let enough = self.registered.keys().filter(|&&target| self.serves(target)).count() > 2;
        match self.random.u8(0..7) {
            0 => {
                let target = TargetId(self.random.u16(1..=TARGETS));
                if self.registered.len() < 20 && !self.registered.contains_key(&target) {
                    self.register(target);
                }
            }
            1 if enough => self.edit(serving, |this, it| it.removed_at = Some(this + DRAIN)),
            2 => {
                let draining = self.pick(|this, target| this.registered[&target].removed_at.is_some());
                self.edit(draining, |_, it| it.removed_at = None);
            }
            3 if enough => serving.into_iter().for_each(|target| self.die(target)),
            4 => {
                let dead = self.pick(|this, target| !this.alive.contains(&target));
                self.alive.extend(dead);
            }
            5 => {
                let weight = self.random.u64(1..4);
                self.edit(serving, |_, it| it.weight = weight);
            }
            _ => self.wanted = TableSize::from_log2(self.random.u8(8..11)).unwrap(),
        }
        self.reassign();
    }

    fn pick(&mut self, eligible: impl Fn(&Self, TargetId) -> bool) -> Option<TargetId> {
        let all: Vec<TargetId> =
            self.registered.keys().copied().filter(|&target| eligible(self, target)).collect();
        if all.is_empty() { None } else { Some(all[self.random.usize(0..all.len())]) }
    }

    fn edit(&mut self, target: Option<TargetId>, edit: impl FnOnce(u64, &mut Registered)) {
        if let Some(registered) = target.and_then(|target| self.registered.get_mut(&target)) {
            edit(self.now, registered);
        }
    }

    fn serves(&self, target: TargetId) -> bool {
        self.alive.contains(&target) && self.registered[&target].removed_at.is_none()
    }

    fn reassign(&mut self) {
        let owners = self.owners();
        let before: Vec<Slot> = self.table.encoded().collect();
        let fate = self.fate();
        self.table.reassign(&owners, self.start + Duration::from_secs(self.now), &fate);
        self.tell_data_plane();
        if self.encoding == Encoding::EqualIsStable && before.len() == self.data_plane.slots.len() {
            self.data_plane.take_equal_for_stable(&before);
        }
    }

    fn fate(&self) -> impl Fn(TargetId) -> Fate + use<> {
        let alive = self.alive.clone();
        let leaves: HashMap<TargetId, bool> =
            self.registered.iter().map(|(target, it)| (*target, it.removed_at.is_some())).collect();
        move |target: TargetId| match leaves.get(&target) {
            Some(true) if alive.contains(&target) => Fate::Leaves { window: Duration::from_secs(DRAIN) },
            Some(false) if alive.contains(&target) => Fate::Stays { window: Duration::from_secs(IDLE) },
            _ => Fate::Dead,
        }
    }

    fn owners(&self) -> Vec<TargetId> {
        let ids: Vec<TargetId> = self.registered.keys().copied().collect();
        let members: Vec<Member> = self
            .registered
            .iter()
            .map(|(target, it)| Member { identity: mix(target.0.into()), weight: it.weight, group: 0 })
            .collect();
        let mut available: Vec<bool> = ids.iter().map(|&target| self.serves(target)).collect();
        if !available.contains(&true) {
            available = ids.iter().map(|target| self.alive.contains(target)).collect();
        }
        let base = maglev::build(&members, self.wanted.slots());
        let owners = overlay::assign(&base, &members, &available);
        owners.into_iter().map(|owner| owner.map_or(TargetId::NONE, |owner| ids[owner.at()])).collect()
    }

    fn tick(&mut self) {
        let (now, start) = (self.at(self.now), self.start);
        let seen = |slot: usize| {
            self.data_plane.last_exception(slot).map(|second| start + Duration::from_secs(second))
        };
        let changed = self.table.tick(now, &seen, Duration::from_secs(IDLE), &self.fate());
        let resized = self.wanted != self.table.size() && self.table.resize(self.wanted);
        self.tally.resizes += u64::from(resized);
        if changed > 0 || resized {
            self.tell_data_plane();
        }
        self.data_plane.expire(self.now, &self.alive);
    }

    fn tell_data_plane(&mut self) {
        (self.data_plane.slots, self.data_plane.chains) = self.table.with_chains().unzip();
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn begin_flow(&mut self) {
        let hash = self.random.u64(..);
        let target = self.route(hash, Packet::Syn, TargetId::NONE);
        let flow = Flow {
            target,
            generation: self.generation(target),
            next_packet: self.now + self.random.u64(1..IDLE),
            end: self.now + self.random.u64(5..1500),
        };
        self.flows.insert(hash, flow);
    }

    fn generation(&self, target: TargetId) -> u32 {
        self.generations.get(&target).copied().unwrap_or(0)
    }

    /// Sends the packets that are due.
    fn go_on(&mut self) {
        let mut due: Vec<u64> = self
            .flows
            .iter()
            .filter(|(_, flow)| flow.next_packet <= self.now)
            .map(|(&hash, _)| hash)
            .collect();
        due.sort_unstable();
        for hash in due {
            let Flow { target, generation, end, .. } = self.flows[&hash];
            let lost = !self.alive.contains(&target) || self.generation(target) != generation;
            if lost || end <= self.now {
                self.flows.remove(&hash);
            } else if self.route(hash, Packet::Other, target) == target {
                let next_packet = self.now + self.random.u64(1..IDLE);
                self.flows.get_mut(&hash).unwrap().next_packet = next_packet;
            } else {
                self.tally.broken += 1;
                self.flows.remove(&hash);
            }
        }
    }

    /// Where a packet of the flow with this hash ends, which `owner` has a socket of.
    fn route(&mut self, hash: u64, packet: Packet, owner: TargetId) -> TargetId {
        self.tally.packets += 1;
        if let Some(chain) = self.data_plane.chain(hash) {
            let hands =
                if packet == Packet::Syn { 0 } else { chain.iter().position(|it| *it == owner).unwrap_or(0) };
            self.tally.hops += hands as u64;
            return chain[hands];
        }
        self.tally.look_ups += u64::from(self.data_plane.slot(hash).state() != SlotState::Stable);
        self.data_plane.route(hash, packet, self.now, &self.alive)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Packet {
    Syn,
    Other,
}

/// The exceptions-only flow table, and what the data plane does by a slot's state.
#[derive(Default)]
struct DataPlane {
    slots: Vec<Slot>,
    chains: Vec<ChainWord>,
    /// Target and second of the last packet, by the flow's hash.
    entries: HashMap<u64, (TargetId, u64)>,
    /// When an exception was last met, by the top 12 bits of the hash, so that it outlives a change of size.
    marks: HashMap<u64, u64>,
}

impl DataPlane {
    fn slot(&self, hash: u64) -> Slot {
        self.slots[self.at(hash)]
    }

    fn at(&self, hash: u64) -> usize {
        (hash >> (64 - self.slots.len().trailing_zeros())) as usize
    }

    /// The owners of the flow's slot, newest first, if packets name them.
    fn chain(&self, hash: u64) -> Option<Vec<TargetId>> {
        let (slot, chain) = (self.slot(hash), self.chains[self.at(hash)]);
        let all = [slot.current(), slot.previous(), chain.oldest(slot)];
        chain.is_chain_of(slot).then(|| all.into_iter().filter(|target| !target.is_none()).collect())
    }

    fn route(&mut self, hash: u64, packet: Packet, now: u64, alive: &HashSet<TargetId>) -> TargetId {
        let slot = self.slot(hash);
        match (slot.state(), packet) {
            (SlotState::Stable, _) => slot.current(),
            (SlotState::Changing, Packet::Syn) => self.remember(hash, slot.current(), now),
            (SlotState::Exceptions, Packet::Syn) => {
                self.entries.remove(&hash);
                slot.current()
            }
            (state, Packet::Other) => match self.entries.get(&hash).copied() {
                Some((target, _)) if alive.contains(&target) => {
                    if target != slot.current() {
                        self.marks.insert(hash >> 52, now);
                    }
                    self.remember(hash, target, now)
                }
                _ if state == SlotState::Changing => self.remember(hash, slot.previous(), now),
                _ => slot.current(),
            },
        }
    }

    fn remember(&mut self, hash: u64, target: TargetId, now: u64) -> TargetId {
        self.entries.insert(hash, (target, now));
        target
    }

    fn expire(&mut self, now: u64, alive: &HashSet<TargetId>) {
        self.entries.retain(|_, (target, seen)| now - *seen <= IDLE && alive.contains(target));
    }

    fn last_exception(&self, slot: usize) -> Option<u64> {
        let marks = 4096 / self.slots.len() as u64;
        (0..marks).filter_map(|mark| self.marks.get(&(slot as u64 * marks + mark))).max().copied()
    }

    fn take_equal_for_stable(&mut self, before: &[Slot]) {
        for (slot, before) in self.slots.iter_mut().zip(before) {
            let back = before.state() == SlotState::Changing && before.previous() == slot.current();
            if back && slot.state() == SlotState::Exceptions {
                *slot = Slot::stable(slot.current());
            }
        }
    }
}
