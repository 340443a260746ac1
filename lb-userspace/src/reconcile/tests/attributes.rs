//! What target groups and listeners say of health, flows and idle times, and what the maps then hold.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::fitness::Fitness;
use super::*;
use crate::model::{FlowLogging, LogPlace, Sample, Target, TargetGroup};

/// Four targets in two zones behind one TCP listener, all healthy; `fields` are the group's.
fn bench(fields: Value) -> Bench {
    let targets = |zone| move |id| json!({ "id": format!("10.0.0.{id}"), "zone": zone });
    let all = (1..=2).map(targets("a")).chain((3..=4).map(targets("b"))).collect();
    let mut bench = Bench::new(one_listener("TCP", json!(443), fields, all));
    (1..=4).for_each(|id| bench.observe(&address(id), HealthStatus::healthy()));
    bench
}

fn address(id: u8) -> String {
    format!("10.0.0.{id}")
}

impl Bench {
    /// Takes a target out of the group.
    fn remove(&mut self, id: u8) {
        self.change(|group| drop(group.targets.remove(&address(id).parse().expect("an address"))));
    }

    fn change(&mut self, change: impl FnOnce(&mut TargetGroup)) {
        let mut desired = self.reconciler.desired().clone();
        change(Arc::make_mut(desired.target_groups.get_mut("web").expect("there")));
        self.apply(desired);
    }

    fn state(&self, id: u8) -> HealthState {
        self.reconciler.registry().record(&key(&address(id))).expect("known").health.state
    }

    fn serving(&self) -> Vec<u8> {
        (1..=4).filter(|id| self.share(&address(*id)) > 0).collect()
    }

    fn fitness(&self) -> String {
        let fitness = self.reconciler.fitness("web");
        fitness[&"10.200.1.1".parse::<IpAddr>().expect("an address")].to_string()
    }

    /// Why its fitness is not known yet.
    fn undecided(&self) -> Option<String> {
        match &self.reconciler.fitness("web")[&"10.200.1.1".parse::<IpAddr>().expect("an address")] {
            Fitness::Undecided { why, some_failed } => Some(format!("{} {some_failed}", why.join("; "))),
            _ => None,
        }
    }

    fn keeps_flows(&self, id: TargetId) -> bool {
        self.reconciler.contents().targets.get(&id).is_some_and(|target| target.way.keeps_flows())
    }
}

#[test]
fn listeners_are_logged_where_load_balancer_and_node_both_want_it() {
    let mut bench = bench(json!({}));
    let logging = FlowLogging {
        directory: "/f".into(),
        sample: Sample::new(1.0).expect("all"),
        maximum_bytes: 1 << 20,
    };
    for (asks, keeps) in [(true, true), (true, false), (false, true), (true, true), (false, false)] {
        let mut desired = bench.reconciler.desired().clone();
        desired.node.flow_log = keeps.then(|| logging.clone());
        let load_balancer = desired.load_balancers.values_mut().next().expect("there");
        Arc::make_mut(load_balancer).flow_log = asks.then(LogPlace::default);
        bench.apply(desired);
        let listeners = bench.reconciler.contents().listeners;
        let logged = |listener: &lb_common::listener::Listener| {
            listener.has(lb_common::listener::Listener::FLAG_LOGGED)
        };
        assert!(listeners.values().all(|listener| logged(listener) == (asks && keeps)), "{asks} {keeps}");
        assert!(!listeners.is_empty());
    }
}

#[test]
fn under_the_routing_threshold_all_targets_get_flows() {
    let mut bench = bench(json!({ "minimum_healthy": { "routing": { "count": 1, "percent": 50 } } }));
    let dead = bench.id("10.0.0.1");
    bench.fail("10.0.0.1");
    bench.fail("10.0.0.2");
    assert_eq!((bench.serving(), bench.reconciler.fails_open("web")), (vec![3, 4], false));
    bench.fail("10.0.0.3");
    assert_eq!((bench.serving(), bench.reconciler.fails_open("web")), (vec![1, 2, 3, 4], true));
    assert!(bench.keeps_flows(dead), "so its flows are worth keeping");
    bench.observe("10.0.0.2", HealthStatus::healthy());
    assert_eq!(bench.serving(), [2, 4]);
}

#[test]
fn a_target_that_was_not_checked_yet_is_no_failed_one() {
    let mut bench = bench(json!({ "minimum_healthy": { "routing": { "percent": 90 } } }));
    bench.change(|group| {
        let target = group.targets.values().next().expect("there").clone();
        group.targets.insert("10.0.0.5".parse().expect("an address"), target);
    });
    assert!(!bench.reconciler.fails_open("web"));
    bench.fail("10.0.0.5");
    assert!(bench.reconciler.fails_open("web"), "four of five are 80 %");
}

#[test]
fn thresholds_are_of_the_nodes_own_zone_without_cross_zone() {
    let fields = |cross_zone| {
        json!({ "cross_zone": cross_zone,
                "minimum_healthy": { "routing": { "count": 2 }, "failover": { "count": 2, "percent": 60 } } })
    };
    let mut zonal = bench(fields(false));
    let mut global = bench(fields(true));
    for bench in [&mut zonal, &mut global] {
        assert_eq!(bench.fitness(), "fit");
        bench.fail("10.0.0.1");
    }
    assert_eq!(
        zonal.fitness(),
        "target group web: 1 of 2 targets in zone a are healthy, fewer than 2 or than 60 %"
    );
    assert_eq!(zonal.serving(), [1, 2], "and all of its own zone's get flows");
    assert_eq!((global.fitness(), global.serving()), ("fit".to_owned(), vec![2, 3, 4]));
    global.fail("10.0.0.3");
    assert!(global.fitness().contains("2 of 4 targets are healthy"), "{}", global.fitness());
    assert_eq!(global.serving(), [2, 4], "routing asks for less");
}

#[test]
fn a_group_has_no_say_without_targets_and_none_yet_while_these_are_unchecked() {
    let mut bench = bench(json!({ "minimum_healthy": { "failover": { "count": 2 } } }));
    let registered = bench.reconciler.desired().target_groups["web"].targets.clone();
    bench.change(|group| group.targets.clear());
    assert_eq!(bench.fitness(), "fit", "no node serves them");
    bench.change(|group| group.absent = 1);
    assert!(
        bench.fitness().contains("0 of 0 targets are healthy"),
        "others may know what this node does not"
    );
    bench.change(|group| group.absent = 0);
    bench.change(|group| {
        group.targets =
            registered.iter().map(|(at, target)| (*at, Target { weight: 0, ..target.clone() })).collect();
    });
    assert_eq!(bench.fitness(), "fit");
    let one = registered.values().next().expect("there").clone();
    bench.change(|group| {
        group.targets = (5..=7).map(|id| (address(id).parse().expect("an address"), one.clone())).collect();
    });
    assert_eq!(
        bench.undecided().expect("nobody knows them"),
        "target group web: 0 of 0 targets are healthy (3 more not checked yet), fewer than 2 false"
    );
    bench.observe(&address(5), HealthStatus::healthy());
    bench.fail(&address(6));
    let last = bench.undecided().expect("it is up to the last");
    assert!(last.contains("1 of 2 targets are healthy (1 more not") && last.ends_with("true"), "{last}");
    bench.fail(&address(7));
    assert_eq!(
        (bench.undecided(), bench.fitness().contains("1 of 3 targets are healthy, fewer")),
        (None, true)
    );
    bench.observe(&address(7), HealthStatus::healthy());
    assert_eq!(bench.fitness(), "fit");
}

#[test]
fn a_vip_of_another_zone_is_not_this_nodes_to_announce() {
    let mut bench = bench(json!({}));
    (1..=4).for_each(|id| bench.fail(&address(id)));
    assert_eq!(bench.fitness(), "fit", "without a threshold it always is");
    let mut desired = bench.reconciler.desired().clone();
    let web = Arc::make_mut(desired.load_balancers.get_mut("web").expect("there"));
    web.vip_zones.insert("10.200.1.1".parse().expect("an address"), "b".to_owned());
    bench.apply(desired);
    assert_eq!(bench.fitness(), "the VIP is zone b's");
    assert!(bench.reconciler.fitness("none").is_empty());
}

#[test]
fn an_unhealthy_target_keeps_its_flows_for_the_interval_and_then_loses_them() {
    let mut bench = bench(json!({ "unhealthy_draining_seconds": 600 }));
    let id = bench.id("10.0.0.1");
    bench.fail("10.0.0.1");
    assert_eq!((bench.state(1), bench.serving()), (HealthState::UnhealthyDraining, vec![2, 3, 4]));
    assert!(bench.keeps_flows(id) && bench.slots().iter().any(|slot| slot.previous() == id));
    bench.pass(Duration::from_secs(599));
    bench.fail("10.0.0.1");
    assert_eq!(bench.state(1), HealthState::UnhealthyDraining, "a further failed check puts nothing off");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.state(1), HealthState::Unhealthy);
    assert!(!bench.keeps_flows(id) && bench.slots().iter().all(|slot| slot.previous() != id));
    bench.fail("10.0.0.1");
    assert_eq!(bench.state(1), HealthState::Unhealthy);
}

#[test]
fn an_unhealthy_target_that_passes_again_serves_again() {
    let mut bench = bench(json!({ "unhealthy_draining_seconds": 600 }));
    let before = bench.share("10.0.0.1");
    bench.fail("10.0.0.1");
    bench.observe("10.0.0.1", HealthStatus::healthy());
    assert_eq!((bench.state(1), bench.share("10.0.0.1")), (HealthState::Healthy, before));
    bench.pass(Duration::from_secs(601));
    assert_eq!(bench.state(1), HealthState::Healthy);
    bench.fail("10.0.0.1");
    bench.change(|group| group.unhealthy_flows = crate::model::UnhealthyFlows::Terminate);
    assert_eq!(bench.state(1), HealthState::Unhealthy, "a group that no longer says so ends it");
}

#[test]
fn by_default_an_unhealthy_targets_flows_are_lost_at_once() {
    let mut bench = bench(json!({}));
    let id = bench.id("10.0.0.1");
    bench.fail("10.0.0.1");
    assert_eq!(bench.state(1), HealthState::Unhealthy);
    assert!(!bench.keeps_flows(id) && bench.count(SlotState::Stable) == bench.slots().len());
}

#[test]
fn flows_of_a_removed_target_are_cut_when_its_draining_ends_if_the_group_says_so() {
    let mut bench = bench(json!({ "terminate_on_deregistration": true }));
    let id = bench.id("10.0.0.1");
    bench.remove(1);
    bench.pass(DRAINING - Duration::from_secs(1));
    assert!(bench.keeps_flows(id));
    bench.pass(Duration::from_secs(1));
    assert!(!bench.keeps_flows(id) && bench.reconciler.leaving().contains(&id));
    assert!(bench.slots().iter().all(|slot| slot.current() != id && slot.previous() != id));
}

#[test]
fn flows_of_a_removed_target_live_on_until_they_are_idle_if_not() {
    let mut bench = bench(json!({}));
    let (id, idle) = (bench.id("10.0.0.1"), Duration::from_secs(350));
    bench.remove(1);
    bench.pass(DRAINING);
    assert!(bench.keeps_flows(id), "its draining time is over, its flows are not");
    assert_eq!(bench.share("10.0.0.1"), 0);
    assert!(
        bench.slots().iter().any(|slot| slot.previous() == id),
        "silent flows may live for the idle time-out"
    );
    bench.pass(idle);
    assert!(bench.slots().iter().all(|slot| slot.previous() != id));
    let seen = |bench: &mut Bench, at| bench.reconciler.tick(bench.now, &|_, _| Some(at));
    for _ in 0..20 {
        let at = bench.now;
        bench.now += idle;
        seen(&mut bench, at + Duration::from_secs(1));
        assert!(bench.keeps_flows(id), "for as long as packets of them come");
    }
    bench.pass(idle);
    bench.pass(Duration::from_secs(10));
    assert!(!bench.keeps_flows(id) && bench.reconciler.leaving().contains(&id));
    assert_eq!(bench.count(SlotState::Stable), bench.slots().len());
}

#[test]
fn a_lingering_target_that_is_wanted_again_serves_again_and_one_that_dies_goes() {
    let mut bench = bench(json!({}));
    let (id, group) = (bench.id("10.0.0.1"), bench.reconciler.desired().clone());
    bench.remove(1);
    bench.pass(DRAINING);
    bench.apply(group);
    assert_eq!((bench.id("10.0.0.1"), bench.serving()), (id, vec![1, 2, 3, 4]));
    bench.remove(1);
    bench.pass(DRAINING);
    bench.fail("10.0.0.1");
    bench.pass(Duration::ZERO);
    assert!(bench.reconciler.leaving().contains(&id));
}

#[test]
fn a_draining_time_of_zero_takes_new_flows_away_and_no_others() {
    let mut bench = bench(json!({ "draining_seconds": 0 }));
    let id = bench.id("10.0.0.1");
    bench.remove(1);
    bench.pass(Duration::ZERO);
    assert!(bench.keeps_flows(id) && bench.share("10.0.0.1") == 0);
}

#[test]
fn udp_flows_end_with_the_draining_time_by_default() {
    let targets = [json!({ "id": "10.0.0.1" }), json!({ "id": "10.0.0.2" })];
    let mut bench = Bench::new(one_listener("UDP", json!(443), json!({}), targets.to_vec()));
    let id = bench.id("10.0.0.1");
    bench.remove(1);
    bench.pass(DRAINING);
    assert!(bench.reconciler.leaving().contains(&id));
}

#[test]
fn a_listeners_idle_time_out_comes_before_its_groups() {
    let mut bench = bench(json!({}));
    let mut desired = bench.reconciler.desired().clone();
    let web = Arc::make_mut(desired.load_balancers.get_mut("web").expect("there"));
    web.listeners[0].idle_timeout = Some(Duration::from_secs(6000));
    let mut second = web.listeners[0].clone();
    second.port = crate::model::ListenerPort::Port(444);
    second.idle_timeout = None;
    web.listeners.push(second);
    bench.apply(desired);
    let idles: Vec<u16> =
        bench.reconciler.contents().listeners.values().map(|listener| listener.idle).collect();
    assert_eq!(idles, [6000, 350].map(Tick::covering_seconds));
    assert_eq!(
        bench.reconciler.longest_idle("web"),
        Duration::from_secs(6000),
        "the table's is the longer one"
    );
}

#[test]
fn a_check_of_the_traffic_port_asks_each_target_at_its_own() {
    let targets = vec![json!({ "id": "10.0.0.1", "port": 8080 }), json!({ "id": "10.0.0.2" })];
    let bench = Bench::new(one_listener("TCP", json!(443), json!({}), targets.clone()));
    let ports = |bench: &Bench| -> Vec<u16> {
        bench.reconciler.health_checks().values().map(|check| check.port).collect()
    };
    assert_eq!(ports(&bench), [8080, 443]);
    let fields = json!({ "health_check": { "port": 9000 } });
    assert_eq!(ports(&Bench::new(one_listener("TCP", json!(443), fields, targets))), [9000, 9000]);
}

#[test]
fn a_change_of_one_group_computes_no_other_tables() {
    let group = |name: &str, id: &str| json!({ "name": name, "protocol": "TCP", "port": 80, "targets": [{ "id": id }, { "id": "10.0.0.9" }] });
    let listener =
        |port, name: &str| json!({ "protocol": "TCP", "port": port, "forward": [{ "target_group": name }] });
    let text = json!({
        "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
        "load_balancers": [{ "name": "x", "vips": ["10.200.1.1"], "listeners": [listener(80, "web"), listener(81, "one")] }],
        "target_groups": [group("web", "10.0.0.1"), group("one", "10.0.0.2")]
    });
    let desired = config::parse("test.json", &text.to_string()).expect("good");
    let mut bench = Bench::new(desired);
    let before = bench.reconciler.contents().tables;
    bench.remove(1);
    let after = bench.reconciler.contents().tables;
    let same = before.iter().filter(|(at, table)| Arc::ptr_eq(&table.slots, &after[at].slots)).count();
    assert_eq!((before.len(), same), (2, 1));
}
