//! The reconciler as a whole: what the maps must hold after each kind of change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_common::flow_table::Tick;
use lb_common::listener::Listener;
use lb_common::{Slot, SlotState, TargetId};

use super::*;
use crate::config;
use crate::data_plane::Capacity;
use crate::health::{HealthState, HealthStatus, Reason};
use crate::model::{Desired, TargetKey};
use crate::next_hop::{NextHop, Resolutions};

mod attributes;
mod scale;
mod server_ids;
mod succession;

const DRAINING: Duration = Duration::from_secs(100);
const IDLE: Duration = Duration::from_secs(60);

/// A configuration of one load balancer and the target group `web` with these targets (id, weight, zone).
fn desired(targets: &[(&str, u16, &str)]) -> Desired {
    desired_with(targets, true)
}

fn desired_with(targets: &[(&str, u16, &str)], cross_zone: bool) -> Desired {
    let targets: Vec<_> = targets
        .iter()
        .map(|(id, weight, zone)| serde_json::json!({ "id": id, "weight": weight, "zone": zone }))
        .collect();
    let text = serde_json::json!({
        "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
        "load_balancers": [ { "name": "web", "vips": ["10.200.1.1", "fc00:1::1"],
            "listeners": [ { "protocol": "TCP", "port": 80, "forward": [ { "target_group": "web" } ] } ] } ],
        "target_groups": [ { "name": "web", "protocol": "TCP", "port": 80, "draining_seconds": DRAINING.as_secs(),
            "terminate_on_deregistration": true, "idle_timeout_seconds": IDLE.as_secs(), "cross_zone": cross_zone,
            "targets": targets } ]
    });
    config::parse("test.json", &text.to_string()).expect("the test's configuration is good")
}

struct Bench {
    reconciler: Reconciler,
    now: Instant,
}

impl Bench {
    fn new(desired: Desired) -> Bench {
        let now = Instant::now();
        let capacity = Capacity { targets: 16, ..Capacity::default() };
        Bench { reconciler: Reconciler::new(desired, capacity, now).expect("it fits"), now }
    }

    fn with_all_healthy(targets: &[(&str, u16, &str)]) -> Bench {
        let mut bench = Bench::new(desired(targets));
        targets.iter().for_each(|(id, ..)| bench.observe(id, HealthStatus::healthy()));
        bench
    }

    fn observe(&mut self, id: &str, health: HealthStatus) {
        self.reconciler.observe(&key(id), health, self.now);
        self.reconciler.settle(self.now);
    }

    fn fail(&mut self, id: &str) {
        self.observe(id, HealthStatus::because(HealthState::Unhealthy, Reason::Timeout));
    }

    fn apply(&mut self, desired: Desired) {
        self.reconciler.apply(desired, self.now).expect("it fits");
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.reconciler.tick(self.now, &|_, _| None);
    }

    fn slots(&self) -> Vec<Slot> {
        let contents = self.reconciler.contents();
        contents.tables.values().next().expect("one table").slots.to_vec()
    }

    fn id(&self, id: &str) -> TargetId {
        self.reconciler.registry().iter().find(|(known, _)| **known == key(id)).expect("a known target").1.id
    }

    /// How many slots send new flows to the target.
    fn share(&self, id: &str) -> usize {
        let id = self.id(id);
        self.slots().iter().filter(|slot| slot.current() == id).count()
    }

    fn count(&self, state: SlotState) -> usize {
        self.slots().iter().filter(|slot| slot.state() == state).count()
    }
}

fn key(id: &str) -> TargetKey {
    TargetKey { target_group: "web".into(), address: id.parse().expect("an address") }
}

const THREE: [(&str, u16, &str); 3] = [("10.0.0.1", 1, "a"), ("10.0.0.2", 1, "a"), ("10.0.0.3", 1, "b")];

#[test]
fn every_vip_has_the_listener_and_they_share_one_table() {
    let bench = Bench::new(desired(&THREE));
    let contents = bench.reconciler.contents();
    assert_eq!(contents.vips.len(), 2);
    let forwards: Vec<u32> = contents.listeners.values().map(|listener| listener.forward).collect();
    assert_eq!(forwards, [1, 1]);
    assert_eq!(contents.tables.len(), 1);
}

#[test]
fn targets_that_were_there_at_the_start_serve_before_their_first_check_has_ended() {
    let mut bench = Bench::new(desired(&THREE));
    assert!(THREE.iter().all(|(id, ..)| bench.share(id) > 64));
    bench.observe("10.0.0.1", HealthStatus::healthy());
    assert_eq!(bench.count(SlotState::Stable), bench.slots().len(), "the first passed check moves nothing");
}

#[test]
fn a_target_that_comes_later_serves_after_its_first_passed_check() {
    let mut bench = Bench::with_all_healthy(&THREE[..2]);
    bench.apply(desired(&THREE));
    assert_eq!(bench.share("10.0.0.3"), 0);
    bench.observe("10.0.0.3", HealthStatus::healthy());
    assert!(bench.share("10.0.0.3") > 64);
    assert!(bench.count(SlotState::Changing) > 64, "the others' flows are kept");
}

#[test]
fn an_unhealthy_target_gets_no_flow_from_the_moment_its_state_flips() {
    let mut bench = Bench::with_all_healthy(&THREE);
    let before = bench.slots();
    bench.fail("10.0.0.2");
    let dead = bench.id("10.0.0.2");
    let after = bench.slots();
    assert!(after.iter().all(|slot| slot.current() != dead && slot.previous() != dead));
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!(moved, before.iter().filter(|slot| slot.current() == dead).count(), "only its own slots move");
    assert!(!bench.reconciler.contents().targets[&dead].way.keeps_flows());
    bench.observe("10.0.0.2", HealthStatus::healthy());
    let back: Vec<TargetId> = bench.slots().iter().map(|slot| slot.current()).collect();
    assert_eq!(back, before.iter().map(|slot| slot.current()).collect::<Vec<_>>());
}

#[test]
fn when_no_target_is_healthy_all_are_used() {
    let mut bench = Bench::with_all_healthy(&THREE);
    THREE.iter().for_each(|(id, ..)| bench.fail(id));
    assert!(bench.reconciler.fails_open("web"));
    assert!(THREE.iter().all(|(id, ..)| bench.share(id) > 64));
    let targets = bench.reconciler.contents().targets;
    assert!(targets.values().all(|target| target.way.keeps_flows()), "and so are their known flows");
    bench.observe("10.0.0.3", HealthStatus::healthy());
    assert_eq!(bench.share("10.0.0.3"), bench.slots().len());
}

#[test]
fn a_removed_target_drains_and_then_goes() {
    let mut bench = Bench::with_all_healthy(&THREE);
    let leaving = bench.id("10.0.0.1");
    bench.apply(desired(&THREE[1..]));
    assert_eq!(bench.share("10.0.0.1"), 0);
    assert!(bench.slots().iter().any(|slot| slot.previous() == leaving), "unknown flows are still its own");
    assert!(bench.reconciler.contents().targets[&leaving].way.keeps_flows());
    assert!(bench.reconciler.health_checks().contains_key(&key("10.0.0.1")), "it is still checked");
    bench.pass(DRAINING);
    assert!(!bench.reconciler.contents().targets.contains_key(&leaving));
    assert!(bench.slots().iter().all(|slot| slot.current() != leaving && slot.previous() != leaving));
    assert!(bench.reconciler.leaving().contains(&leaving));
}

#[test]
fn a_draining_target_that_is_wanted_again_serves_again() {
    let mut bench = Bench::with_all_healthy(&THREE);
    let (before, id) = (bench.share("10.0.0.1"), bench.id("10.0.0.1"));
    bench.apply(desired(&THREE[1..]));
    bench.apply(desired(&THREE));
    assert_eq!((bench.share("10.0.0.1"), bench.id("10.0.0.1")), (before, id));
    assert_eq!(bench.count(SlotState::Exceptions), before, "flows that began elsewhere meanwhile live on");
}

#[test]
fn the_last_targets_serve_while_they_drain() {
    let mut bench = Bench::with_all_healthy(&THREE[..1]);
    bench.apply(desired(&[]));
    assert_eq!(bench.share("10.0.0.1"), bench.slots().len());
    bench.pass(DRAINING);
    assert!(bench.slots().iter().all(|slot| slot.current().is_none()));
}

#[test]
fn a_draining_target_that_dies_goes_at_once() {
    let mut bench = Bench::with_all_healthy(&THREE);
    let leaving = bench.id("10.0.0.1");
    bench.apply(desired(&THREE[1..]));
    bench.fail("10.0.0.1");
    bench.pass(Duration::ZERO);
    assert!(bench.reconciler.leaving().contains(&leaving));
}

#[test]
fn an_id_is_given_again_only_after_the_data_plane_has_forgotten_it() {
    let mut bench = Bench::with_all_healthy(&THREE);
    let old = bench.id("10.0.0.1");
    bench.fail("10.0.0.1");
    bench.apply(desired(&THREE[1..]));
    bench.apply(desired(&[("10.0.0.9", 1, "a"), THREE[1], THREE[2]]));
    assert_ne!(bench.id("10.0.0.9"), old);
    let leaving = bench.reconciler.leaving().clone();
    bench.reconciler.released(&leaving);
    bench.apply(desired(&[("10.0.0.8", 1, "a"), ("10.0.0.9", 1, "a"), THREE[1], THREE[2]]));
    assert_eq!(bench.id("10.0.0.8"), old);
}

#[test]
fn weights_share_the_slots() {
    let bench = Bench::with_all_healthy(&[("10.0.0.1", 3, "a"), ("10.0.0.2", 1, "a"), ("10.0.0.3", 0, "a")]);
    let slots = bench.slots().len();
    assert_eq!((bench.share("10.0.0.1"), bench.share("10.0.0.3")), (slots / 4 * 3, 0));
}

#[test]
fn without_cross_zone_only_the_nodes_own_zone_is_used() {
    let mut bench = Bench::new(desired_with(&THREE, false));
    assert_eq!(bench.share("10.0.0.3"), 0);
    bench.fail("10.0.0.1");
    bench.fail("10.0.0.2");
    assert!(bench.reconciler.fails_open("web"), "a target elsewhere is no help");
    assert_eq!(bench.share("10.0.0.3"), 0);
}

#[test]
fn changed_slots_are_quiet_again_when_their_time_has_passed() {
    let mut bench = Bench::with_all_healthy(&THREE);
    bench.apply(desired(&[("10.0.0.1", 2, "a"), THREE[1], THREE[2]]));
    assert!(bench.count(SlotState::Changing) > 0);
    bench.pass(IDLE + Duration::from_secs(1));
    assert!(bench.count(SlotState::Exceptions) > 0);
    bench.pass(IDLE + Duration::from_secs(1));
    assert_eq!(bench.count(SlotState::Stable), bench.slots().len());
    assert_eq!(bench.reconciler.next_deadline(), None);
}

#[test]
fn more_targets_than_ids_are_refused_and_nothing_changes() {
    let mut bench = Bench::with_all_healthy(&THREE);
    let before = bench.slots();
    let addresses: Vec<String> = (1..=16).map(|at| format!("10.0.1.{at}")).collect();
    let many: Vec<_> = addresses.iter().map(|address| (address.as_str(), 1, "a")).collect();
    let error = bench.reconciler.apply(desired(&many), bench.now).unwrap_err();
    assert!(error.to_string().contains("more than the 15"), "{error}");
    assert_eq!(bench.slots(), before);
}

#[test]
fn a_target_without_a_next_hop_keeps_its_slots() {
    let mut bench = Bench::with_all_healthy(&THREE);
    let address: IpAddr = "10.0.0.1".parse().unwrap();
    let next_hop = NextHop {
        interface: 7,
        interface_name: "eth0".into(),
        source_mac: [2; 6],
        destination_mac: [4; 6],
        source: "10.0.0.254".parse().unwrap(),
        mtu: 1500,
        neighbour_silent: false,
    };
    bench.reconciler.set_next_hops(Resolutions::from(BTreeMap::from([(address, Ok(next_hop))])));
    let targets = bench.reconciler.contents().targets;
    assert_eq!(targets[&bench.id("10.0.0.1")].way.interface(), 7);
    assert_eq!(targets[&bench.id("10.0.0.2")].way.kind(), None);
    assert!(bench.share("10.0.0.2") > 64);
}

/// A configuration with one listener on port 443 and its target group `web` (field by field), whose targets are
/// (id, server id).
fn quic(fields: serde_json::Value, targets: &[(&str, u64)]) -> Desired {
    let targets: Vec<_> = targets
        .iter()
        .map(|(id, number)| serde_json::json!({ "id": id, "quic_server_id": format!("0x{number:016x}") }))
        .collect();
    one_listener("QUIC", serde_json::json!(443), fields, targets)
}

fn one_listener(
    protocol: &str,
    port: serde_json::Value,
    fields: serde_json::Value,
    targets: Vec<serde_json::Value>,
) -> Desired {
    let mut group = serde_json::json!(
        { "name": "web", "protocol": protocol, "port": 443, "draining_seconds": 100, "targets": targets });
    group.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let text = serde_json::json!({
        "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
        "load_balancers": [ { "name": "web", "vips": ["10.200.1.1"],
            "listeners": [ { "protocol": protocol, "port": port, "forward": [ { "target_group": "web" } ] } ] } ],
        "target_groups": [ group ]
    });
    config::parse("test.json", &text.to_string()).expect("the test's configuration is good")
}

const IDS: [(&str, u64); 3] = [("10.0.0.1", 0xa1), ("10.0.0.2", 0xa2), ("10.0.0.3", 0xa3)];

impl Bench {
    fn quic(targets: &[(&str, u64)]) -> Bench {
        let mut bench = Bench::new(quic(serde_json::json!({}), targets));
        targets.iter().for_each(|(id, _)| bench.observe(id, HealthStatus::healthy()));
        bench
    }

    /// Whom packets with this server id go to.
    fn owner(&self, number: u64) -> Option<TargetId> {
        let server_id = crate::model::QuicServerId(number.to_be_bytes());
        self.reconciler.contents().quic_servers.get(&(1, server_id)).copied()
    }

    fn refusal(&mut self, desired: Desired) -> String {
        self.reconciler.apply(desired, self.now).expect_err("it is refused").to_string()
    }
}

#[test]
fn a_quic_listener_is_udp_with_its_targets_server_ids() {
    let bench = Bench::quic(&IDS);
    let contents = bench.reconciler.contents();
    let listeners: Vec<_> = contents.listeners.iter().collect();
    let [((_, port, protocol), listener)] = listeners[..] else { panic!("{listeners:?}") };
    assert_eq!((*port, *protocol, listener.flags), (443, 17, Listener::FLAG_QUIC));
    assert_eq!(listener.tracking, Listener::TRACK_CHANGED);
    for (id, number) in IDS {
        assert_eq!(bench.owner(number), Some(bench.id(id)));
    }
    assert_eq!(contents.quic_servers.len(), 3);
}

#[test]
fn a_draining_quic_target_keeps_its_server_id_until_it_is_gone() {
    let mut bench = Bench::quic(&IDS);
    let leaving = bench.id("10.0.0.1");
    bench.apply(quic(serde_json::json!({}), &IDS[1..]));
    assert_eq!(bench.owner(0xa1), Some(leaving));
    let error = bench.refusal(quic(serde_json::json!({}), &[("10.0.0.9", 0xa1), IDS[1], IDS[2]]));
    assert!(error.contains("0x00000000000000a1") && error.contains("web/10.0.0.1"), "{error}");
    assert_eq!(bench.owner(0xa1), Some(leaving), "nothing changed");
    bench.pass(DRAINING);
    assert_eq!(bench.owner(0xa1), None);
    bench.apply(quic(serde_json::json!({}), &[("10.0.0.9", 0xa1), IDS[1], IDS[2]]));
    assert_eq!(bench.owner(0xa1), Some(bench.id("10.0.0.9")));
}

#[test]
fn a_registered_targets_server_id_does_not_change() {
    let mut bench = Bench::quic(&IDS);
    let error = bench.refusal(quic(serde_json::json!({}), &[("10.0.0.1", 0xff), IDS[1], IDS[2]]));
    assert!(error.contains("web/10.0.0.1") && error.contains("0x00000000000000ff"), "{error}");
    let swapped = [("10.0.0.1", 0xa2), ("10.0.0.2", 0xa1), IDS[2]];
    assert!(bench.refusal(quic(serde_json::json!({}), &swapped)).contains("drained"));
    assert_eq!(bench.owner(0xa1), Some(bench.id("10.0.0.1")));
}

#[test]
fn the_server_id_of_a_target_that_does_not_drain_is_free_at_once() {
    for dies in [false, true] {
        let mut bench = Bench::quic(&IDS);
        let fields = if dies { serde_json::json!({}) } else { serde_json::json!({ "draining_seconds": 0 }) };
        if dies {
            bench.fail("10.0.0.1");
        }
        bench.apply(quic(fields, &[("10.0.0.9", 0xa1), IDS[1], IDS[2]]));
        assert_eq!(bench.owner(0xa1), Some(bench.id("10.0.0.9")));
    }
}

#[test]
fn packets_that_name_a_dead_quic_target_find_that_it_keeps_no_flows() {
    let mut bench = Bench::quic(&IDS);
    bench.fail("10.0.0.1");
    let dead = bench.owner(0xa1).expect("it is still registered");
    assert!(!bench.reconciler.contents().targets[&dead].way.keeps_flows());
}

#[test]
fn a_tcp_udp_listener_is_two_with_one_table_and_one_counter() {
    let fields = serde_json::json!({ "udp_tracking": "always", "stickiness": "source_ip" });
    let bench = Bench::new(one_listener("TCP_UDP", serde_json::json!("any"), fields, vec![]));
    let contents = bench.reconciler.contents();
    let of = |protocol| {
        let (_, listener) = contents
            .listeners
            .iter()
            .find(|((_, port, number), _)| (*port, *number) == (0, protocol))
            .expect("there");
        *listener
    };
    let (tcp, udp) = (of(6), of(17));
    assert_eq!((tcp.forward, tcp.counter), (udp.forward, udp.counter));
    assert_eq!((tcp.tracking, udp.tracking), (Listener::TRACK_CHANGED, Listener::TRACK_ALWAYS));
    assert_eq!((tcp.idle, udp.idle), (Tick::covering_seconds(350), Tick::covering_seconds(120)));
    assert_eq!(tcp.flags, Listener::FLAG_SOURCE_AFFINITY);
    assert_eq!(udp.flags, Listener::FLAG_SOURCE_AFFINITY | Listener::FLAG_LEAVES_TUNNELS);
}

#[test]
fn both_halves_of_a_tcp_udp_listener_need_room() {
    let desired = one_listener("TCP_UDP", serde_json::json!(443), serde_json::json!({}), vec![]);
    let capacity = Capacity { listeners: 2, ..Capacity::default() };
    let error = Reconciler::new(desired, capacity, Instant::now()).unwrap_err().to_string();
    assert!(error.starts_with("2 listeners"), "{error}");
}

#[test]
fn more_quic_server_ids_than_room_are_refused() {
    let targets: Vec<String> = (1..=20).map(|at| format!("10.0.1.{at}")).collect();
    let targets: Vec<_> = targets.iter().enumerate().map(|(at, id)| (id.as_str(), at as u64)).collect();
    let capacity = Capacity { targets: 16, ..Capacity::default() };
    let desired = quic(serde_json::json!({}), &targets);
    let error = Reconciler::new(desired, capacity, Instant::now()).unwrap_err().to_string();
    assert!(error.starts_with("20 QUIC server ids"), "{error}");
}

/// Two TCP listeners, of which the first is limited; `allow` as in a file.
fn desired_with_policies(allow: &serde_json::Value) -> Desired {
    let mut text = serde_json::json!({
        "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
        "load_balancers": [ { "name": "web", "vips": ["10.200.1.1", "fc00:1::1"], "listeners": [
            { "protocol": "TCP", "port": 80, "forward": [ { "target_group": "web" } ],
              "new_flows_per_second": 10 },
            { "protocol": "TCP_UDP", "port": 53, "forward": [ { "target_group": "dns" } ] } ] } ],
        "target_groups": [ { "name": "web", "protocol": "TCP", "port": 80, "targets": [] },
            { "name": "dns", "protocol": "TCP_UDP", "port": 53, "targets": [] } ]
    });
    if !allow.is_null() {
        text["load_balancers"][0]["allow"] = allow.clone();
    }
    config::parse("test.json", &text.to_string()).expect("the test's configuration is good")
}

/// Flags by port and protocol, and how many sources each counter's listener has for TCP and UDP.
fn policies(bench: &Bench) -> (Vec<bool>, Vec<[Option<usize>; 2]>) {
    let contents = bench.reconciler.contents();
    let flags = contents.listeners.values().map(|listener| listener.has(Listener::FLAG_POLICY)).collect();
    let count =
        |list: &Option<std::sync::Arc<crate::model::AllowedSources>>| list.as_ref().map(|list| list.0.len());
    (flags, contents.policies.values().map(|policy| [count(&policy.tcp), count(&policy.udp)]).collect())
}

#[test]
fn only_listeners_with_a_policy_have_the_flag_and_rules_go_where_they_belong() {
    let mut bench = Bench::new(desired_with_policies(&serde_json::Value::Null));
    // The order of the listeners: each VIP's port 53 TCP, 53 UDP, 80 TCP.
    assert_eq!(policies(&bench), ([false, false, true].repeat(2), vec![[None, None]]));
    let rules = serde_json::json!([
        { "sources": ["192.0.2.0/24", "2001:db8::/32"] },
        { "sources": ["192.0.2.0/24", "10.0.0.0/8"], "protocol": "UDP", "ports": [53] },
    ]);
    bench.apply(desired_with_policies(&rules));
    let (flags, mut lists) = policies(&bench);
    lists.sort_unstable();
    assert_eq!((flags, lists), ([true].repeat(6), vec![[Some(2), None], [Some(2), Some(3)]]));
    bench.apply(desired_with_policies(&serde_json::Value::Null));
    assert_eq!(policies(&bench), ([false, false, true].repeat(2), vec![[None, None]]));
}

#[test]
fn more_prefixes_than_there_is_room_for_are_refused_and_equal_lists_count_once() {
    let prefixes: Vec<String> = (0..100).map(|host| format!("192.0.2.{host}")).collect();
    let desired = desired_with_policies(&serde_json::json!([{ "sources": prefixes }]));
    let capacity = |allowed_prefixes| Capacity { allowed_prefixes, ..Capacity::default() };
    let new = |room| Reconciler::new(desired.clone(), capacity(room), Instant::now());
    assert!(new(100).is_ok());
    let refused = new(99).unwrap_err().to_string();
    assert_eq!(refused, "100 prefixes of allow-lists are more than the 99 that the balancer was loaded for");
}
