//! A listener's new action goes on with the flows of its old one, whatever the changes: a small data plane plays flows
//! by the slots' rules, and none may leave a living target.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;

use super::*;

mod deletion;

const GROUPS: [&str; 3] = ["blue", "green", "red"];

/// One load balancer whose listeners 80, 81, ... forward to groups with these weights; each group has three targets.
fn forwarding(listeners: &[&[(&str, u16)]]) -> Desired {
    let parts = |parts: &[(&str, u16)]| -> Vec<_> {
        parts.iter().map(|(name, weight)| json!({ "target_group": name, "weight": weight })).collect()
    };
    let listeners: Vec<_> = listeners
        .iter()
        .enumerate()
        .map(|(at, forward)| json!({ "protocol": "TCP", "port": 80 + at, "forward": parts(forward) }))
        .collect();
    let group = |(at, name): (usize, &&str)| {
        let targets: Vec<_> = (1..=3).map(|host| json!({ "id": format!("10.0.{at}.{host}") })).collect();
        json!({ "name": name, "protocol": "TCP", "port": 80, "idle_timeout_seconds": IDLE.as_secs(),
            "draining_seconds": DRAINING.as_secs(), "targets": targets })
    };
    let groups: Vec<_> = GROUPS.iter().enumerate().map(group).collect();
    let text = json!({ "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
        "load_balancers": [ { "name": "web", "vips": ["10.200.1.1"], "listeners": listeners } ],
        "target_groups": groups });
    config::parse("test.json", &text.to_string()).expect("the test's configuration is good")
}

/// A flow of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flow {
    port: u16,
    hash: u64,
}

/// A reconciler, and a data plane that follows the slots' rules.
struct World {
    bench: Bench,
    contents: Contents,
    /// The flow table: the target, and when the last packet came.
    entries: HashMap<Flow, (TargetId, Instant)>,
    exceptions: HashMap<(u32, usize), Instant>,
    /// Where each living flow began.
    flows: Vec<(Flow, TargetId)>,
}

impl World {
    fn new(desired: Desired) -> World {
        let bench = Bench::new(desired);
        let contents = bench.reconciler.contents();
        World { bench, contents, entries: HashMap::new(), exceptions: HashMap::new(), flows: Vec::new() }
    }

    fn apply(&mut self, desired: Desired) {
        self.bench.apply(desired);
        self.contents = self.bench.reconciler.contents();
    }

    fn pass(&mut self, time: Duration) {
        self.bench.now += time;
        let (now, exceptions) = (self.bench.now, &self.exceptions);
        self.entries.retain(|_, (_, seen)| now - *seen < IDLE);
        self.bench.reconciler.tick(now, &|forward, slot| exceptions.get(&(forward, slot)).copied());
        self.contents = self.bench.reconciler.contents();
    }

    fn slot(&self, flow: Flow) -> (u32, usize, Slot) {
        let vip = "10.200.1.1".parse().unwrap();
        let forward = self.contents.listeners[&(vip, flow.port, 6)].forward;
        let table = &self.contents.tables[&forward];
        let at = (flow.hash >> (64 - table.log2)) as usize;
        (forward, at, table.slots[at])
    }

    fn begin(&mut self, flow: Flow) {
        let (_, _, slot) = self.slot(flow);
        match slot.state() {
            SlotState::Changing => drop(self.entries.insert(flow, (slot.current(), self.bench.now))),
            _ => drop(self.entries.remove(&flow)),
        }
        self.flows.push((flow, slot.current()));
    }

    /// Whom a packet that is no SYN goes to.
    fn packet(&mut self, flow: Flow) -> TargetId {
        let (forward, at, slot) = self.slot(flow);
        let known = self.entries.get(&flow).map(|(target, _)| *target);
        let target = match slot.state() {
            SlotState::Stable => return slot.current(),
            SlotState::Changing => known.unwrap_or(slot.previous()),
            SlotState::Exceptions => known.unwrap_or(slot.current()),
        };
        if known.is_some() || slot.state() == SlotState::Changing {
            self.entries.insert(flow, (target, self.bench.now));
        }
        if target != slot.current() {
            self.exceptions.insert((forward, at), self.bench.now);
        }
        target
    }

    /// Every living flow sends a packet: how many met another target than their own.
    fn strays(&mut self) -> usize {
        let flows = self.flows.clone();
        flows.into_iter().filter(|(flow, target)| self.packet(*flow) != *target).count()
    }

    /// Flows behind a listener, all over the range of hashes.
    fn begin_many(&mut self, port: u16, seed: u64) {
        (0..256).for_each(|at: u64| {
            self.begin(Flow { port, hash: at << 56 | seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8 });
        });
    }

    fn slots_in(&self, state: SlotState) -> usize {
        let slots = self.contents.tables.values().flat_map(|table| table.slots.iter());
        slots.filter(|slot| slot.state() == state).count()
    }
}

#[test]
fn flows_stay_where_they_are_when_a_listener_forwards_to_another_group() {
    let mut world = World::new(forwarding(&[&[("blue", 1)]]));
    world.begin_many(80, 1);
    let index = world.slot(world.flows[0].0).0;
    world.apply(forwarding(&[&[("green", 1)]]));
    assert_eq!(world.slot(world.flows[0].0).0, index, "the action's place in the data plane is the same");
    assert!(world.slots_in(SlotState::Changing) > 0);
    assert_eq!(world.strays(), 0);
    world.begin_many(80, 2);
    for _ in 0..20 {
        world.pass(IDLE / 4);
        assert_eq!(world.strays(), 0);
    }
}

#[test]
fn a_listener_that_was_there_for_all_ports_has_its_flows_kept_by_one_of_them() {
    let mut desired = forwarding(&[&[("blue", 1)], &[("green", 1)]]);
    let balancer = std::sync::Arc::make_mut(desired.load_balancers.get_mut("web").unwrap());
    balancer.listeners.truncate(1);
    balancer.listeners[0].port = crate::model::ListenerPort::Any;
    let mut world = World::new(desired);
    let before = world.contents.tables.values().next().unwrap().slots.clone();
    world.apply(forwarding(&[&[("red", 1)]]));
    let after = world.contents.tables.values().next().unwrap().slots.clone();
    assert!(before.iter().zip(after.iter()).all(|(before, after)| after.previous() == before.current()));
}

#[test]
fn two_listeners_that_part_keep_their_flows_each() {
    let mut world = World::new(forwarding(&[&[("blue", 1)], &[("blue", 1)]]));
    world.begin_many(80, 1);
    world.begin_many(81, 2);
    world.apply(forwarding(&[&[("blue", 1), ("green", 1)], &[("red", 1)]]));
    assert_eq!(world.contents.tables.len(), 2);
    for _ in 0..20 {
        assert_eq!(world.strays(), 0);
        world.pass(IDLE / 4);
    }
}

#[test]
fn two_listeners_that_come_together_keep_their_flows_each_until_both_say_the_same() {
    let mut world = World::new(forwarding(&[&[("blue", 1)], &[("green", 1)]]));
    world.begin_many(80, 1);
    world.begin_many(81, 2);
    world.apply(forwarding(&[&[("blue", 1)], &[("blue", 1)]]));
    assert_eq!((world.contents.tables.len(), world.strays()), (2, 0));
    let mut passes = 0;
    while world.contents.tables.len() > 1 {
        world.pass(IDLE / 4);
        assert_eq!(world.strays(), 0);
        world.flows.retain(|(flow, _)| flow.port == 80 || passes < 8);
        passes += 1;
        assert!(passes < 40, "the tables never join");
    }
    assert_eq!(world.contents.names.forwards.len(), 1);
    assert_eq!(world.strays(), 0);
}

#[test]
fn two_listeners_that_swap_what_they_forward_to_keep_their_flows_each() {
    let mut world = World::new(forwarding(&[&[("blue", 1)], &[("green", 1)]]));
    world.begin_many(80, 1);
    world.begin_many(81, 2);
    for turn in 0..4 {
        let (one, other) = if turn % 2 == 0 { ("green", "blue") } else { ("blue", "green") };
        world.apply(forwarding(&[&[(one, 1)], &[(other, 1)]]));
        assert_eq!((world.contents.tables.len(), world.strays()), (2, 0));
        world.begin_many(80, 3 + turn);
        world.pass(IDLE / 3);
        assert_eq!(world.strays(), 0);
    }
}

#[test]
fn the_protocols_of_one_listener_keep_the_flows_that_each_had() {
    let listener = |protocol: &str, group: &str| json!({ "protocol": protocol, "port": 53, "forward": [{ "target_group": group }] });
    let desired = |listeners: serde_json::Value| {
        let group = |(at, name): (usize, &&str)| {
            json!({ "name": name, "protocol": "TCP_UDP", "port": 53, "health_check": { "port": 53, "protocol": "TCP" },
                "targets": [{ "id": format!("10.0.{at}.1") }, { "id": format!("10.0.{at}.2") }] })
        };
        let groups: Vec<_> = GROUPS.iter().enumerate().map(group).collect();
        let text = json!({ "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
            "load_balancers": [ { "name": "web", "vips": ["10.200.1.1"], "listeners": listeners } ],
            "target_groups": groups });
        config::parse("test.json", &text.to_string()).expect("the test's configuration is good")
    };
    let mut world = World::new(desired(json!([listener("TCP", "blue"), listener("UDP", "green")])));
    let before = world.contents.clone();
    world.apply(desired(json!([listener("TCP_UDP", "blue")])));
    let table = |contents: &Contents, protocol: u8| {
        let vip = "10.200.1.1".parse().unwrap();
        contents.tables[&contents.listeners[&(vip, 53, protocol)].forward].slots.clone()
    };
    assert!(std::sync::Arc::ptr_eq(&table(&before, 6), &table(&world.contents, 6)));
    let (was, is) = (table(&before, 17), table(&world.contents, 17));
    assert!(was.iter().zip(is.iter()).all(|(was, is)| is.previous() == was.current()));
}

#[test]
fn a_controller_that_starts_with_another_action_goes_on_with_the_flows_of_the_one_before() {
    let swapped = forwarding(&[&[("green", 1)], &[("blue", 1)]]);
    let joined = forwarding(&[&[("red", 1)], &[("red", 1)]]);
    for desired in [swapped, joined] {
        let mut world = World::new(forwarding(&[&[("blue", 1)], &[("green", 1)]]));
        world.begin_many(80, 1);
        world.begin_many(81, 2);
        let held = world.contents.clone();
        let adopted = Reconciler::adopt(desired, Capacity::default(), &held, world.bench.now);
        world.bench.reconciler = adopted.expect("it fits");
        world.pass(Duration::ZERO);
        assert!(world.slots_in(SlotState::Changing) > 0);
        for _ in 0..20 {
            assert_eq!(world.strays(), 0);
            world.pass(IDLE / 4);
        }
    }
}

#[test]
fn where_there_is_no_room_for_twins_listeners_that_forward_alike_share_a_table_at_once() {
    for capacity in
        [Capacity { slots_log2: 9, ..Capacity::default() }, Capacity { forwards: 3, ..Capacity::default() }]
    {
        let separate: [&[(&str, u16)]; 3] = [&[("blue", 1)], &[("green", 1)], &[("blue", 1)]];
        let joined: [&[(&str, u16)]; 3] = [&[("blue", 1)], &[("blue", 1)], &[("green", 1)]];
        let now = Instant::now();
        let mut reconciler = Reconciler::new(forwarding(&separate), capacity, now).unwrap();
        reconciler.apply(forwarding(&joined), now).unwrap();
        let contents = reconciler.contents();
        let index = |port| contents.listeners[&("10.200.1.1".parse().unwrap(), port, 6)].forward;
        assert_eq!((index(80), contents.tables.len()), (index(81), 2));
    }
}

#[test]
fn a_past_is_forgotten_when_no_flow_needs_it() {
    let mut world = World::new(forwarding(&[&[("blue", 1)]]));
    world.apply(forwarding(&[&[("green", 1)]]));
    let serves = |world: &World, group: &str| {
        let mut actions = world.bench.reconciler.actions().iter();
        actions.any(|action| action.serves(group))
    };
    assert!(serves(&world, "blue"));
    for _ in 0..3 {
        world.pass(IDLE + Duration::from_secs(1));
    }
    assert_eq!(world.bench.reconciler.next_deadline(), None);
    assert!(!serves(&world, "blue") && serves(&world, "green"));
}

#[test]
fn no_flow_leaves_its_target_however_often_listeners_change() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut weights = [[1_u16, 0, 0], [0, 1, 0]];
        let desired = |weights: &[[u16; 3]; 2]| {
            let parts = weights.map(|weights| GROUPS.into_iter().zip(weights).collect::<Vec<_>>());
            forwarding(&[&parts[0], &parts[1]])
        };
        let mut world = World::new(desired(&weights));
        for step in 0..60 {
            let one = random.usize(0..2);
            let changed = match random.u8(0..4) {
                0 => weights[1 - one],
                _ => [random.u16(0..4), random.u16(0..4), random.u16(0..4)],
            };
            if changed.iter().sum::<u16>() > 0 {
                weights[one] = changed;
            }
            world.apply(desired(&weights));
            assert_eq!(world.strays(), 0, "seed {seed}, step {step}");
            world.begin_many(80 + random.u16(0..2), seed << 32 | step);
            if world.flows.len() > 3000 {
                world.flows.drain(..1000);
            }
            world.pass(IDLE * random.u32(1..9) / 10);
            assert_eq!(world.strays(), 0, "seed {seed}, step {step}, after a while");
        }
    }
}
