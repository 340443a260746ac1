//! Whatever an earlier controller has left: the next one needs the same of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::super::Reconciler;
use super::*;
use crate::config;
use crate::data_plane::Capacity;
use crate::next_hop::{NextHop, Resolutions};

const DRAINING: Duration = Duration::from_secs(100);
const IDLE: Duration = Duration::from_secs(60);

/// What is wanted of each target: its weight, if it is registered.
type Fleet = [Option<u16>; 5];

fn address(number: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, 1 + number as u8])
}

fn key(number: usize) -> TargetKey {
    TargetKey { target_group: "web".into(), address: address(number) }
}

/// `web` behind a listener with an action of its own, and with `api` behind another; `api` has one target.
fn desired(fleet: Fleet) -> Desired {
    let target = |(number, weight): (usize, &Option<u16>)| {
        weight.map(
            |weight| json!({ "id": address(number), "weight": weight, "zone": format!("z{}", number % 2) }),
        )
    };
    let targets: Vec<_> = fleet.iter().enumerate().filter_map(target).collect();
    let group = |name: &str, targets: Vec<serde_json::Value>| {
        json!({ "name": name, "protocol": "TCP", "port": 80, "draining_seconds": DRAINING.as_secs(),
            "idle_timeout_seconds": IDLE.as_secs(), "targets": targets })
    };
    let listener = |forward: serde_json::Value| json!({ "protocol": "TCP", "port": 80, "forward": forward });
    let web = json!([ { "target_group": "web" } ]);
    let both = json!([ { "target_group": "web", "weight": 2 }, { "target_group": "api", "weight": 1 } ]);
    let text = json!({
        "node": { "name": "lb1", "zone": "z0", "interfaces": ["eth0"] },
        "load_balancers": [
            { "name": "web", "vips": ["10.200.1.1", "fc00:1::1"], "listeners": [ listener(web) ] },
            { "name": "api", "vips": ["10.200.1.2"], "allow": [ { "sources": ["10.0.0.0/8"] } ],
              "listeners": [ listener(both) ] } ],
        "target_groups": [ group("web", targets), group("api", vec![json!({ "id": "10.0.1.1", "zone": "z1" })]) ]
    });
    config::parse("test.json", &text.to_string()).expect("the test's configuration is good")
}

fn capacity() -> Capacity {
    Capacity { targets: 16, ..Capacity::default() }
}

fn next_hop(number: usize) -> NextHop {
    NextHop {
        interface: 7,
        interface_name: "eth0".into(),
        source: IpAddr::from([10, 0, 0, 250]),
        source_mac: [2; 6],
        destination_mac: [4, 4, 4, 4, 4, number as u8],
        mtu: 1500,
        neighbour_silent: false,
    }
}

/// One thing that happens to a controller.
#[derive(Debug, Clone)]
enum Step {
    Apply(Fleet),
    Pass(usize),
    Fail(usize),
    Wait(u64),
    Released,
}

fn step() -> impl Strategy<Value = Step> {
    let weight = prop_oneof![1 => Just(None), 3 => (0u16..4).prop_map(Some)];
    prop_oneof![
        3 => prop::array::uniform5(weight).prop_map(Step::Apply),
        3 => (0usize..5).prop_map(Step::Pass),
        2 => (0usize..5).prop_map(Step::Fail),
        2 => (0u64..90).prop_map(Step::Wait),
        1 => Just(Step::Released),
    ]
}

struct Run {
    reconciler: Reconciler,
    fleet: Fleet,
    now: Instant,
}

impl Run {
    fn new(fleet: Fleet) -> Run {
        let now = Instant::now();
        let mut reconciler = Reconciler::new(desired(fleet), capacity(), now).unwrap();
        let known: Resolutions = (0..4).map(|number| (address(number), Ok(next_hop(number)))).collect();
        reconciler.set_next_hops(known);
        Run { reconciler, fleet, now }
    }

    fn make(&mut self, step: &Step) {
        match step {
            Step::Apply(fleet) => {
                self.fleet = *fleet;
                self.reconciler.apply(desired(*fleet), self.now).unwrap();
            }
            Step::Pass(number) => self.observe(*number, HealthStatus::healthy()),
            Step::Fail(number) => {
                self.observe(*number, HealthStatus::because(HealthState::Unhealthy, Reason::Timeout));
            }
            Step::Wait(seconds) => self.now += Duration::from_secs(*seconds),
            Step::Released => {
                let leaving = self.reconciler.leaving().clone();
                self.reconciler.released(&leaving);
            }
        }
        // Nothing is written before.
        self.reconciler.tick(self.now, &|_, _| None);
    }

    fn observe(&mut self, number: usize, health: HealthStatus) {
        self.reconciler.observe(&key(number), health, self.now);
        self.reconciler.settle(self.now);
    }

    fn adopted(&self) -> Reconciler {
        let held = self.held();
        Reconciler::adopt(desired(self.fleet), capacity(), &held, self.now).unwrap()
    }

    /// The maps of a controller that was killed before it forgot those that leave.
    fn held(&self) -> Contents {
        let mut held = self.reconciler.contents();
        for id in self.reconciler.leaving() {
            let gone = TargetName {
                identity: 77 + u64::from(id.0),
                ..TargetName::clone(held.names.targets.values().next().expect("`api` has a target"))
            };
            Arc::make_mut(&mut held.names.targets).insert(*id, Arc::new(gone));
        }
        held
    }
}

/// In words, without the tables' thousands of slots.
fn difference(ours: &Contents, theirs: &Contents) -> Option<String> {
    for (forward, table) in &theirs.tables {
        let Some(own) = ours.tables.get(forward) else { return Some(format!("no table {forward}")) };
        if own.log2 != table.log2 {
            return Some(format!("table {forward} has 2^{} slots, not 2^{}", own.log2, table.log2));
        }
        let mut pairs = own.slots.iter().zip(table.slots.iter()).enumerate();
        if let Some((slot, pair)) = pairs.find(|(_, (own, other))| own != other) {
            return Some(format!("slot {slot} of table {forward}: {pair:?}"));
        }
    }
    if ours.names != theirs.names {
        return Some(format!("{:#?}\ninstead of\n{:#?}", ours.names, theirs.names));
    }
    if ours.targets != theirs.targets {
        return Some(format!("{:#?}\ninstead of\n{:#?}", ours.targets, theirs.targets));
    }
    (ours != theirs).then(|| "another part".to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_controller_that_starts_again_needs_nothing_written(
        fleet in prop::array::uniform5(prop_oneof![Just(None), Just(Some(1u16))]),
        steps in prop::collection::vec(step(), 0..10),
    ) {
        let mut run = Run::new(fleet);
        for step in &steps {
            run.make(step);
            let adopted = run.adopted();
            prop_assert_eq!(difference(&adopted.contents(), &run.reconciler.contents()), None);
            prop_assert_eq!(adopted.leaving(), run.reconciler.leaving());
        }
    }
}

#[test]
fn an_unhealthy_target_stays_so_until_a_check_of_the_new_controller_has_decided() {
    let mut run = Run::new([Some(1); 5]);
    (0..5).for_each(|number| run.make(&Step::Pass(number)));
    run.make(&Step::Fail(1));
    let mut adopted = run.adopted();
    let held = run.reconciler.contents();
    let undecided = HealthStatus::because(HealthState::Initial, Reason::InitialHealthChecking);
    (0..5).for_each(|number| adopted.observe(&key(number), undecided.clone(), run.now));
    adopted.settle(run.now);
    assert_eq!(difference(&adopted.contents(), &held), None);
    adopted.observe(&key(1), HealthStatus::healthy(), run.now);
    adopted.settle(run.now);
    assert_ne!(adopted.contents().tables, held.tables);
}

#[test]
fn a_target_that_was_added_while_no_controller_ran_serves_after_its_first_passed_check() {
    let mut run = Run::new([Some(1), Some(1), None, None, None]);
    (0..2).for_each(|number| run.make(&Step::Pass(number)));
    run.fleet[2] = Some(1);
    let mut adopted = run.adopted();
    let id = adopted.registry().record(&key(2)).unwrap().id;
    let serves = |reconciler: &Reconciler| {
        reconciler.contents().tables[&1].slots.iter().any(|slot| slot.current() == id)
    };
    assert!(!serves(&adopted));
    adopted.observe(&key(2), HealthStatus::healthy(), run.now);
    adopted.settle(run.now);
    assert!(serves(&adopted));
}

#[test]
fn a_target_that_was_removed_while_no_controller_ran_drains_from_now_on() {
    let mut run = Run::new([Some(1), Some(1), Some(1), None, None]);
    (0..3).for_each(|number| run.make(&Step::Pass(number)));
    let before = run.adopted();
    let id = before.registry().record(&key(0)).unwrap().id;
    run.fleet[0] = None;
    let adopted = run.adopted();
    let record = adopted.registry().record(&key(0)).unwrap();
    assert_eq!((record.id, record.draining_until), (id, Some(run.now + DRAINING)));
    let contents = adopted.contents();
    assert!(contents.tables[&1].slots.iter().any(|slot| slot.previous() == id && slot.current() != id));
}

#[test]
fn the_ids_of_a_group_that_is_gone_leave() {
    let run = Run::new([Some(1); 5]);
    let mut held = run.held();
    let changed: Vec<_> = held.names.targets.keys().copied().collect();
    let names = Arc::make_mut(&mut held.names.targets).values_mut().map(Arc::make_mut);
    names.for_each(|name| name.identity = !name.identity);
    let adopted = Reconciler::adopt(desired([Some(1); 5]), capacity(), &held, run.now).unwrap();
    assert!(changed.iter().all(|id| adopted.leaving().contains(id)));
    let ids: Vec<_> = adopted.registry().iter().map(|(_, record)| record.id).collect();
    assert!(ids.iter().all(|id| !changed.contains(id)));
}

#[test]
fn an_address_is_read_from_a_target_as_it_was_written() {
    for address in ["10.0.0.1", "fd00::1", "2001:db8::7"] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(address_of(&Target::NONE.at(address)), Some(address));
    }
    assert_eq!(address_of(&Target::NONE), None);
}
