//! Who keeps flows, through the whole reconciler: what the maps hold, and what is asked of whom.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lb_common::gue::CHAIN_FORMAT;
use lb_common::gue::probe::Capabilities;
use lb_common::hash::HashKey;
use lb_common::{ChainWord, SlotState};
use serde_json::json;

use super::*;
use crate::config;
use crate::data_plane::Capacity;
use crate::health::HealthStatus;
use crate::model::{Desired, TargetKey};
use crate::next_hop::{NextHop, Resolutions};
use crate::presence::Agent;
use crate::presence::connections::Connection;
use crate::presence::slots::{ActionListener, UsedSlots};
use crate::reconcile::{Contents, Reconciler};

const KEY: HashKey = HashKey { k0: 1, k1: 2 };

fn desired(targets: &[&str], fields: serde_json::Value) -> Desired {
    let targets: Vec<_> = targets.iter().map(|id| json!({ "id": id })).collect();
    let mut group = json!({ "name": "web", "protocol": "TCP", "port": 80, "encapsulation": "gue",
        "draining_seconds": 100, "idle_timeout_seconds": 60, "targets": targets });
    group.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let text = json!({
        "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
        "load_balancers": [ { "name": "web", "vips": ["10.200.1.1"], "listeners": [
            { "protocol": group["protocol"], "port": 80, "forward": [ { "target_group": "web" } ] } ] } ],
        "target_groups": [ group ]
    });
    config::parse("test.json", &text.to_string()).expect("the test's configuration is good")
}

struct Bench {
    reconciler: Reconciler,
    now: Instant,
}

impl Bench {
    fn new(targets: &[&str], fields: serde_json::Value) -> Bench {
        let now = Instant::now();
        let capacity = Capacity { targets: 16, ..Capacity::default() };
        let reconciler = Reconciler::new(desired(targets, fields), capacity, now).expect("it fits");
        Bench { reconciler, now }
    }

    /// All targets healthy, with agents.
    fn with_agents(targets: &[&str]) -> Bench {
        let mut bench = Bench::new(targets, json!({}));
        targets.iter().for_each(|id| bench.heal(id));
        targets.iter().for_each(|id| bench.agent(id, present(Capabilities::SECOND_CHANCE)));
        targets.iter().for_each(|id| bench.tell(id, 0));
        bench
    }

    /// A target tells as many connections when it is asked.
    fn tell(&mut self, id: &str, connections: u16) {
        let address = id.parse().unwrap();
        // Who can't have chains is not asked.
        let Some(tables) = self.reconciler.questions(self.now).remove(&address) else { return };
        let used = |behind: Vec<_>| {
            let used = UsedSlots::of(&connections_of(connections), &behind, KEY);
            (behind, used)
        };
        let told: Vec<_> = tables.into_iter().map(used).collect();
        self.reconciler.told(address, &told, self.now, self.now);
    }

    fn heal(&mut self, id: &str) {
        let key = TargetKey { target_group: "web".into(), address: id.parse().unwrap() };
        self.reconciler.observe(&key, HealthStatus::healthy(), self.now);
        self.reconciler.settle(self.now);
    }

    fn agent(&mut self, id: &str, state: AgentState) {
        self.reconciler.observe_agent(id.parse().unwrap(), state);
        self.reconciler.settle(self.now);
    }

    fn apply(&mut self, targets: &[&str]) {
        self.reconciler.apply(desired(targets, json!({})), self.now).expect("it fits");
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.reconciler.tick(self.now, &|_, _| None);
    }

    fn why(&self) -> Option<String> {
        match self.reconciler.keeper("web").expect("the group is known") {
            Keeper::Targets => None,
            Keeper::FlowTable(why) => Some(why.to_string()),
        }
    }

    /// Slots with a chain, and changing ones without.
    fn chained_and_changing(&self) -> (usize, usize) {
        let Contents { tables, .. } = self.reconciler.contents();
        let table = &tables[&1];
        let chain = |at: usize| table.chains.get(at).copied().unwrap_or(ChainWord::NONE);
        let slots = || table.slots.iter().enumerate();
        let chained = slots().filter(|(at, slot)| chain(*at).is_chain_of(**slot)).count();
        let changing = slots().filter(|(_, slot)| slot.state() == SlotState::Changing).count();
        (chained, changing - chained)
    }

    fn share(&self, id: &str) -> usize {
        let registry = self.reconciler.registry();
        let record =
            registry.group("web").find(|(address, _)| address.to_string() == id).expect("known").1.id;
        let slots = self.reconciler.actions().iter().next().unwrap().slots().unwrap();
        slots.slots_by_target().get(&record).copied().unwrap_or(0)
    }
}

fn present(capabilities: Capabilities) -> AgentState {
    AgentState::Present(Agent { version: [0, 1, 0], capabilities, chain_format: CHAIN_FORMAT })
}

const THREE: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

#[test]
fn a_group_whose_targets_all_have_agents_needs_no_flow_table() {
    let mut bench = Bench::with_agents(&THREE);
    assert_eq!(bench.why(), None);
    bench.apply(&THREE[1..]);
    let (chained, changing) = bench.chained_and_changing();
    assert!(chained > 64 && changing == 0, "{chained} chained, {changing} changing");
    bench.pass(101);
    assert!(bench.share("10.0.0.2") > 125);
}

#[test]
fn what_keeps_a_group_with_the_flow_table_is_told() {
    let mut bench = Bench::with_agents(&THREE);
    bench.agent("10.0.0.3", AgentState::Absent);
    assert_eq!(bench.why().unwrap(), "10.0.0.3 has no agent");
    bench.agent("10.0.0.3", present(Capabilities::default()));
    assert!(bench.why().unwrap().starts_with("the agent of 10.0.0.3 hands nothing on"));
    let why = |fields| Bench::new(&THREE, fields).why().unwrap();
    assert_eq!(why(json!({})), "10.0.0.1 was not heard yet");
    assert_eq!(why(json!({ "second_chance": "never" })), "second_chance is \"never\"");
    assert!(why(json!({ "encapsulation": "ipip" })).contains("ipip"));
    assert!(why(json!({ "protocol": "UDP" })).contains("its protocol is UDP"));
    let mixed = Bench::with_agents(&["10.0.0.1", "fd00::1"]);
    assert_eq!(mixed.why().unwrap(), "10.0.0.1 and fd00::1 are of different versions of IP");
}

#[test]
fn a_target_that_comes_gets_slots_only_when_it_is_known_whether_it_has_an_agent() {
    let mut bench = Bench::with_agents(&THREE[..2]);
    bench.apply(&THREE);
    bench.heal("10.0.0.3");
    assert_eq!((bench.share("10.0.0.3"), bench.why()), (0, None));
    bench.agent("10.0.0.3", present(Capabilities::SECOND_CHANCE));
    assert!(bench.share("10.0.0.3") > 64);
    assert_eq!((bench.chained_and_changing().1, bench.why()), (0, None), "the flow table was never needed");
}

#[test]
fn a_target_without_an_agent_ends_second_chances_without_breaking_chains() {
    let mut bench = Bench::with_agents(&THREE[..2]);
    bench.apply(&THREE);
    bench.heal("10.0.0.3");
    let (before, _) = bench.chained_and_changing();
    bench.agent("10.0.0.3", AgentState::Absent);
    assert_eq!(bench.why().unwrap(), "10.0.0.3 has no agent");
    let (chained, changing) = bench.chained_and_changing();
    assert!(chained >= before && changing > 32, "{before}, {chained} chained, {changing} changing");
}

#[test]
fn dead_targets_need_no_agent() {
    let mut bench = Bench::with_agents(&THREE);
    bench.agent("10.0.0.3", AgentState::Absent);
    let key = TargetKey { target_group: "web".into(), address: "10.0.0.3".parse().unwrap() };
    let status = HealthStatus::because(HealthState::Unhealthy, crate::health::Reason::Timeout);
    bench.reconciler.observe(&key, status, bench.now);
    bench.reconciler.settle(bench.now);
    assert_eq!((bench.why(), bench.share("10.0.0.3")), (None, 0));
}

#[test]
fn a_former_owner_is_asked_and_leaves_when_it_has_no_connections() {
    let mut bench = Bench::with_agents(&THREE[..2]);
    bench.apply(&THREE);
    bench.agent("10.0.0.3", present(Capabilities::SECOND_CHANCE));
    bench.heal("10.0.0.3");
    assert!(bench.reconciler.questions(bench.now).is_empty());
    bench.pass(40);
    let questions = bench.reconciler.questions(bench.now);
    let asked = questions[&"10.0.0.1".parse::<IpAddr>().unwrap()].clone();
    let [behind] = &asked[..] else { panic!("{asked:?}") };
    let listeners: Vec<_> = behind.iter().flat_map(ActionListener::asked).collect();
    assert_eq!(listeners, [("10.200.1.1".parse().unwrap(), 80)]);
    let (before, _) = bench.chained_and_changing();
    for address in questions.keys() {
        let used = UsedSlots::of(&connections_of(20), behind, KEY);
        let told = [(vec![], UsedSlots::of(&[], &[], KEY)), (behind.clone(), used)];
        bench.reconciler.told(*address, &told, bench.now, bench.now);
    }
    let (after, _) = bench.chained_and_changing();
    assert!(after > 0 && after < 20 && before > 64, "{before} chains, then {after}");
    bench.pass(100);
    assert_eq!(bench.chained_and_changing().0, after, "what has connections stays");
}

#[test]
fn a_node_that_starts_asks_all_agents_and_learns_who_had_slots_before() {
    let mut bench = Bench::new(&THREE[..2], json!({}));
    THREE[..2].iter().for_each(|id| bench.heal(id));
    assert!(bench.reconciler.questions(bench.now).is_empty(), "nothing is known of agents");
    THREE[..2].iter().for_each(|id| bench.agent(id, present(Capabilities::SECOND_CHANCE)));
    assert_eq!(bench.reconciler.untold("web").len(), 2);
    bench.tell("10.0.0.1", 20);
    let (chained, _) = bench.chained_and_changing();
    assert!((1..20).contains(&chained), "{chained} of its connections are in the other's slots");
    bench.reconciler.not_told("10.0.0.2".parse().unwrap());
    assert_eq!(bench.reconciler.untold("web").len(), 1);
    bench.tell("10.0.0.2", 0);
    assert!(bench.reconciler.untold("web").is_empty());
    assert!(bench.reconciler.questions(bench.now).is_empty());
    assert_eq!(bench.chained_and_changing().0, chained);
}

#[test]
fn a_target_that_comes_later_has_nothing_to_tell() {
    let mut bench = Bench::with_agents(&THREE[..2]);
    bench.apply(&THREE);
    bench.agent("10.0.0.3", present(Capabilities::SECOND_CHANCE));
    assert!(bench.reconciler.untold("web").is_empty());
}

fn connections_of(count: u16) -> Vec<Connection> {
    let to = |port| Connection {
        client: SocketAddr::new("10.201.0.2".parse().unwrap(), port),
        local: SocketAddr::new("10.200.1.1".parse().unwrap(), 80),
    };
    (1..=count).map(to).collect()
}

#[test]
fn what_fits_leaves_room_for_a_chain_whatever_the_slots_do() {
    let mtu = |fields| {
        let mut bench = Bench::new(&["10.0.0.1"], fields);
        let next_hop = NextHop {
            interface: 2,
            interface_name: "eth0".into(),
            source: "10.0.0.9".parse().unwrap(),
            source_mac: [2; 6],
            destination_mac: [4; 6],
            mtu: 1500,
            neighbour_silent: false,
        };
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        bench.reconciler.set_next_hops(Resolutions::from([(address, Ok(next_hop))]));
        bench.reconciler.contents().targets.values().next().unwrap().way.inner_mtu()
    };
    assert_eq!(mtu(json!({})), 1500 - 44);
    assert_eq!(mtu(json!({ "second_chance": "never" })), 1500 - 28);
    assert_eq!(mtu(json!({ "encapsulation": "ipip" })), 1500 - 20);
}
