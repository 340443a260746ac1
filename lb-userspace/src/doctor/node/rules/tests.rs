//! The rules as a table: what is changed of a sound node's facts, and which causes are found then.

use std::net::IpAddr;

use super::*;
use crate::doctor::finding::Level;
use crate::doctor::kernel::Held;
use crate::doctor::node::{Outcome, Probed};
use crate::doctor::probe::{Answer, Service, Transport};
use crate::next_hop::{Interface, NextHop, Unresolved};
use crate::status::report::{InterfaceReport, NextHopReport, OwnerReport, Report, TargetReport};
use crate::status::sample;

const VIPS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const TARGETS: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The service of this VIP.
pub(in crate::doctor::node) fn service(vip: &str) -> Service {
    Service { vip: address(vip), port: 80, transport: Transport::Tcp }
}

/// The way to a target of the sound node.
pub(in crate::doctor::node) fn way() -> NextHop {
    NextHop {
        interface: 2,
        interface_name: "eth0".into(),
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        source: address("10.0.0.100"),
        mtu: 1600,
        neighbour_silent: false,
    }
}

fn interface() -> Interface {
    Interface {
        index: 2,
        name: "eth0".into(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: 1600,
        up: true,
        kind: None,
        xdp_program: Some(41),
    }
}

fn report() -> Report {
    let mut report = sample::report();
    report.interfaces.retain(|at| at.name == "eth0");
    report.reasons.clear();
    let load_balancer = report.load_balancers.get_mut("web").unwrap();
    load_balancer.vips = VIPS.map(address).to_vec();
    load_balancer.listeners.truncate(1);
    let listener = &mut load_balancer.listeners[0];
    (listener.protocol, listener.port) = ("TCP".into(), "80".into());
    listener.forward.truncate(1);
    let group = report.target_groups.get_mut("web").unwrap();
    let sound = group.targets[0].clone();
    group.targets = TARGETS.map(|id| TargetReport { id: address(id), ..sound.clone() }).to_vec();
    report
}

/// A node with two targets, on which nothing is wrong.
pub(in crate::doctor::node) fn facts() -> Facts {
    let held = |text: &str| Held { address: address(text), prefix: 24, interface: "eth0".into() };
    let probed = |target: &str, vip: &str| Probed {
        target_group: "web".into(),
        target: address(target),
        service: service(vip),
        outcome: Outcome::Answered(Answer::Served),
    };
    Facts {
        report: report(),
        desired: None,
        interfaces: [("eth0".to_owned(), interface())].into(),
        addresses: ["10.0.0.100", "10.0.0.101", "fd00::100", "fe80::1"].map(held).into(),
        ways: TARGETS.map(|id| (address(id), Ok(way()))).into(),
        unprobed: None,
        probed: TARGETS.iter().flat_map(|id| VIPS.map(|vip| probed(id, vip))).collect(),
        direct: Default::default(),
        other_sources: Default::default(),
        full: TARGETS.map(|id| (key(id), (1500, Answer::Served))).into(),
        drops: Vec::new(),
    }
}

fn key(target: &str) -> (String, IpAddr) {
    ("web".to_owned(), address(target))
}

/// Everything that is wrong, as `cause object`.
fn wrong(facts: &Facts) -> Vec<String> {
    let wrong = findings(facts).into_iter().filter(|finding| finding.level != Level::Ok);
    wrong.map(|finding| format!("{} {}", finding.cause.name(), finding.object)).collect()
}

fn expect(change: impl FnOnce(&mut Facts), expected: &[&str]) {
    let mut facts = facts();
    change(&mut facts);
    assert_eq!(wrong(&facts), expected, "{:#?}", findings(&facts));
}

fn answer(facts: &mut Facts, outcome: &Outcome, is_meant: impl Fn(&Probed) -> bool) {
    for probed in facts.probed.iter_mut().filter(|probed| is_meant(probed)) {
        probed.outcome = outcome.clone();
    }
}

fn first_target(probed: &Probed) -> bool {
    probed.target == address(TARGETS[0])
}

fn silence(facts: &mut Facts) {
    answer(facts, &Outcome::Answered(Answer::Silent), first_target);
    facts.full.remove(&key(TARGETS[0]));
    facts.direct.insert(key(TARGETS[0]), None);
}

fn target(facts: &mut Facts) -> &mut TargetReport {
    &mut facts.report.target_groups.get_mut("web").unwrap().targets[0]
}

#[test]
fn on_a_sound_node_nothing_is_wrong_and_every_object_is_named() {
    expect(|_| (), &[]);
    let objects: Vec<String> = findings(&facts()).into_iter().map(|finding| finding.object).collect();
    assert_eq!(
        objects,
        ["controller of lb1", "interface eth0", "target web/10.0.0.1", "target web/10.0.0.2"]
    );
}

#[test]
fn interfaces_are_judged_by_what_the_kernel_has_there() {
    let with = |change: fn(&mut Interface)| {
        move |facts: &mut Facts| change(facts.interfaces.get_mut("eth0").unwrap())
    };
    expect(with(|at| at.up = false), &["interface-down interface eth0"]);
    expect(with(|at| at.xdp_program = None), &["xdp-missing interface eth0"]);
    expect(with(|at| at.xdp_program = Some(7)), &["xdp-missing interface eth0"]);
    expect(|facts| facts.interfaces.clear(), &["interface-down interface eth0"]);
    let generic = |facts: &mut Facts| {
        let reported = &mut facts.report.interfaces[0];
        *reported = InterfaceReport {
            mode: "generic".into(),
            fallback_reason: Some("too large".into()),
            ..reported.clone()
        };
    };
    expect(generic, &["xdp-generic interface eth0"]);
}

#[test]
fn a_way_that_the_kernel_does_not_have_is_the_only_finding_of_its_target() {
    let (interface, id) = ("eth0".to_owned(), address(TARGETS[0]));
    for (problem, cause) in [
        (Unresolved::NoRoute { target: id }, "no-route"),
        (Unresolved::Refused { target: id, kind: "blackhole" }, "no-route"),
        (Unresolved::Local { target: id }, "no-route"),
        (
            Unresolved::NeighbourSilent { target: id, neighbour: id, interface: interface.clone() },
            "no-neighbour",
        ),
        (
            Unresolved::NeighbourPending { target: id, neighbour: id, interface: interface.clone() },
            "no-neighbour",
        ),
        (Unresolved::InterfaceDown { target: id, interface }, "interface-down"),
    ] {
        let cut = |facts: &mut Facts| {
            facts.ways.insert(id, Err(problem));
            facts.probed.retain(|probed| probed.target != id);
            target(facts).state = "unhealthy".into();
            target(facts).next_hop = NextHopReport::Unresolved { problem: "no way".into() };
        };
        expect(cut, &[&format!("{cause} target web/10.0.0.1")]);
    }
}

#[test]
fn answers_tell_what_the_target_lacks() {
    for (outcome, cause) in [
        (Answer::NoTunnel, "agent-missing"),
        (Answer::Refused, "port-closed"),
        (Answer::Undelivered("10.0.0.9 says: unreachable".into()), "target-silent"),
        (Answer::NotSent("no address".into()), "not-probed"),
    ] {
        let change = |facts: &mut Facts| {
            answer(facts, &Outcome::Answered(outcome), first_target);
            facts.full.remove(&key(TARGETS[0]));
        };
        expect(change, &[&format!("{cause} target web/10.0.0.1")]);
    }
    expect(|facts| answer(facts, &Outcome::Unconfirmed, first_target), &[]);
}

#[test]
fn silence_is_told_apart_by_all_else_that_answers() {
    expect(silence, &["tunnel-silent target web/10.0.0.1"]);
    let mut known = facts();
    silence(&mut known);
    let told = |facts: &Facts| findings(facts).into_iter().find(|at| at.level == Level::Fail).unwrap().what;
    assert!(told(&known).contains("its agent knows this node"), "{}", told(&known));
    target(&mut known).agent = None;
    assert!(told(&known).contains("its agent does not know 10.0.0.100"), "{}", told(&known));
    let elsewhere = |facts: &mut Facts| {
        silence(facts);
        facts.other_sources.insert(key(TARGETS[0]), address("10.0.0.101"));
    };
    expect(elsewhere, &["source-filtered target web/10.0.0.1"]);
    let dead = |facts: &mut Facts| {
        silence(facts);
        facts.direct.insert(key(TARGETS[0]), Some("no answer".into()));
    };
    expect(dead, &["target-silent target web/10.0.0.1"]);
    let unplugged = |facts: &mut Facts| {
        dead(facts);
        facts.ways.insert(address(TARGETS[0]), Ok(NextHop { neighbour_silent: true, ..way() }));
    };
    expect(unplugged, &["no-neighbour target web/10.0.0.1"]);
}

#[test]
fn one_silent_vip_among_others_is_missing_and_one_silent_port_filtered() {
    let silent = Outcome::Answered(Answer::Silent);
    let is_second_vip = |probed: &Probed| first_target(probed) && probed.service.vip == address(VIPS[1]);
    expect(|facts| answer(facts, &silent, is_second_vip), &["vip-missing target web/10.0.0.1"]);
    let second_port = |facts: &mut Facts| {
        let mut probed = facts.probed[0].clone();
        (probed.service.port, probed.outcome) = (443, silent.clone());
        facts.probed.push(probed);
    };
    expect(second_port, &["port-silent target web/10.0.0.1"]);
}

#[test]
fn a_way_is_narrow_by_its_mtu_or_loses_what_should_fit() {
    let narrow = |facts: &mut Facts| {
        facts.ways.insert(address(TARGETS[0]), Ok(NextHop { mtu: 1519, ..way() }));
    };
    expect(narrow, &["mtu-small target web/10.0.0.1"]);
    expect(
        |facts| {
            facts.ways.insert(address(TARGETS[0]), Ok(NextHop { mtu: 1520, ..way() }));
        },
        &[],
    );
    for lost in [Answer::Silent, Answer::TooBig(1400), Answer::NotSent("too long".into())] {
        let change = |facts: &mut Facts| drop(facts.full.insert(key(TARGETS[0]), (1500, lost)));
        expect(change, &["path-mtu target web/10.0.0.1"]);
    }
}

#[test]
fn a_check_that_fails_is_a_finding_only_where_packets_come_through() {
    let fail = |facts: &mut Facts| {
        target(facts).state = "unhealthy".into();
        target(facts).reason = Some("Target.ResponseCodeMismatch".into());
        target(facts).description = Some("HTTP status 404".into());
    };
    expect(fail, &["check-failed target web/10.0.0.1"]);
    let behind_silence = |facts: &mut Facts| {
        fail(facts);
        silence(facts);
    };
    expect(behind_silence, &["tunnel-silent target web/10.0.0.1"]);
    let mut facts = facts();
    behind_silence(&mut facts);
    let told = findings(&facts).into_iter().find(|finding| finding.level == Level::Fail).unwrap();
    assert!(told.what.ends_with("(health check 3.5 s ago: unhealthy, HTTP status 404)"), "{}", told.what);
}

#[test]
fn a_check_is_stale_after_three_intervals() {
    let checked = |ago: Option<f64>, interval: f64| {
        move |facts: &mut Facts| {
            target(facts).checks.last_seconds_ago = ago;
            target(facts).checks.interval_seconds = interval;
        }
    };
    expect(checked(Some(31.0), 10.0), &[]);
    expect(checked(Some(31.1), 10.0), &["check-stale target web/10.0.0.1"]);
    expect(checked(None, 10.0), &["check-stale target web/10.0.0.1"]);
    expect(checked(None, 0.0), &[]);
}

#[test]
fn targets_that_get_no_new_flows_are_not_judged() {
    for state in ["draining", "unused"] {
        let change = |facts: &mut Facts| {
            silence(facts);
            target(facts).state = state.into();
        };
        expect(change, &[]);
    }
}

#[test]
fn what_concerns_the_whole_node_is_told_once() {
    let own_vip = |facts: &mut Facts| {
        facts.addresses.push(Held { address: address(VIPS[0]), prefix: 32, interface: "lo".into() });
    };
    expect(own_vip, &["vip-on-node VIP 192.0.2.1"]);
    expect(|facts| facts.unprobed = Some("no right".into()), &["not-probed tunnels"]);
    expect(
        |facts| facts.drops.push(("no_target".into(), "No target.".into(), 3)),
        &["drops-rising reason no_target"],
    );
    expect(
        |facts| facts.report.configuration.rejected = Some("line 1".into()),
        &["configuration-rejected controller of lb1"],
    );
    expect(
        |facts| facts.report.publications.failure = Some("adding a VIP".into()),
        &["maps-stale controller of lb1"],
    );
    let without_certificate = |facts: &mut Facts| {
        let (url, problems) = ("https://10.0.0.100:8440".into(), vec!["no certificate".into()]);
        facts.report.configuration.owner = OwnerReport::Api { url, changes: 0, problems, inventory: None };
    };
    expect(without_certificate, &["api-impaired API of lb1"]);
    let empty = |facts: &mut Facts| {
        facts.report.target_groups.get_mut("web").unwrap().targets.clear();
    };
    expect(empty, &["no-target listener TCP 80 of 192.0.2.1 2001:db8::1"]);
}
