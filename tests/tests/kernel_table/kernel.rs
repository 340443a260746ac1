//! The table in the kernel, without a daemon.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::host::Host;
use lab::wait;
use lb_userspace::announce::Wanted;
use lb_userspace::announce::kernel_table::{Configuration, Ending, State};

use crate::world::*;

fn vip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn until_routed(node: &Host, configuration: &Configuration, announced: &[&str], drained: &[&str]) {
    let found = || -> Result<()> {
        for (protocol, vips) in
            [(configuration.protocol, announced), (configuration.draining_protocol, drained)]
        {
            let routes = routed(node, configuration.table, protocol)?;
            ensure!(routes == vips.iter().map(|text| vip(text)).collect(), "proto {protocol}: {routes:?}");
        }
        Ok(())
    };
    if let Err(error) = wait::until("the routes", SOON, found) {
        panic!("{error:#}\n{:#?}", table(node, configuration.table));
    }
}

#[test]
fn vips_have_a_route_of_their_own_that_says_whether_they_drain() {
    let Some(_turn) = lab::among_others() else { return };
    let node = lone_host().unwrap();
    for table in [214, 70_000] {
        let configuration = Configuration { table, ..Configuration::default() };
        let main = node.ip("route show").unwrap();
        let keeping = Keeping::start(&node, configuration, announced(&[VIP4, VIP6])).unwrap();
        until_routed(&node, &configuration, &[VIP4, VIP6], &[]);
        keeping.wait("the status", |status| status.vips.values().all(|it| *it == State::Announced)).unwrap();
        keeping.want(draining(&[VIP4, VIP6]));
        until_routed(&node, &configuration, &[], &[VIP4, VIP6]);
        keeping.wait("the status", |status| status.vips.values().all(|it| *it == State::Draining)).unwrap();
        keeping.want(announced(&[VIP6]));
        until_routed(&node, &configuration, &[VIP6], &[]);
        assert_eq!(node.ip("route show").unwrap(), main, "no other table changes");
        keeping.stop(Ending::Withdraw).unwrap();
        assert_eq!(crate::world::table(&node, table).unwrap(), [""; 0], "all is withdrawn when it returns");
    }
}

#[test]
fn a_restart_touches_nothing_that_stays() {
    let Some(_turn) = lab::among_others() else { return };
    let node = lone_host().unwrap();
    let configuration = Configuration::default();
    let first = Keeping::start(&node, configuration, announced(&[VIP4, VIP6, "10.200.1.2"])).unwrap();
    until_routed(&node, &configuration, &[VIP4, VIP6, "10.200.1.2"], &[]);
    first.stop(Ending::Keep).unwrap();
    let mut monitor = node.spawn(Command::new("ip").args(["monitor", "route"]), "monitor.log").unwrap();
    // Whether it listens is seen by a route that comes and goes.
    wait::until("the monitor", SOON, || {
        node.ip("route replace blackhole 10.200.9.9/32 table 99")?;
        node.ip("route del blackhole 10.200.9.9/32 table 99")?;
        ensure!(monitor.log().contains("10.200.9.9"), "it says nothing");
        monitor.check_running()
    })
    .unwrap();
    let wanted = announced(&[VIP4, VIP6, "10.200.1.3"]);
    let _second = Keeping::start(&node, configuration, wanted).unwrap();
    until_routed(&node, &configuration, &[VIP4, VIP6, "10.200.1.3"], &[]);
    wait::until("the monitor's word of the change", SOON, || {
        let log = monitor.log();
        ensure!(log.contains("10.200.1.3") && log.contains("10.200.1.2"), "{log}");
        ensure!(!log.contains(VIP4) && !log.contains(VIP6), "what stays was touched:\n{log}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_earlier_runs_routes_are_held_until_it_is_known_what_is_wanted() {
    let Some(_turn) = lab::among_others() else { return };
    let node = lone_host().unwrap();
    // Long enough for three looks of a busy machine.
    let configuration = Configuration { hold: Duration::from_secs(15), ..Configuration::default() };
    let earlier = Keeping::start(&node, configuration, announced(&[VIP4, VIP6])).unwrap();
    until_routed(&node, &configuration, &[VIP4, VIP6], &[]);
    drop(earlier);
    let keeping = Keeping::start(&node, configuration, Wanted::new()).unwrap();
    keeping.wait("held routes", |status| status.vips.get(&vip(VIP4)) == Some(&State::Held)).unwrap();
    keeping.want(announced(&[VIP6]));
    keeping.wait("a decision", |status| status.vips.get(&vip(VIP6)) == Some(&State::Announced)).unwrap();
    assert_eq!(keeping.status().vips.get(&vip(VIP4)), Some(&State::Held));
    until_routed(&node, &configuration, &[VIP6], &[]);
    let status = keeping.wait("the hold's end", |status| status.vips.len() == 1).unwrap();
    assert_eq!(status.repaired, 0);
}

#[test]
fn what_somebody_takes_away_comes_back_at_once_and_a_fight_is_bounded() {
    let Some(_alone) = lab::alone() else { return };
    let node = lone_host().unwrap();
    let configuration = Configuration::default();
    let keeping = Keeping::start(&node, configuration, announced(&[VIP4, VIP6])).unwrap();
    until_routed(&node, &configuration, &[VIP4, VIP6], &[]);
    node.ip("route flush table 214").unwrap();
    node.ip("-6 route flush table 214").unwrap();
    until_routed(&node, &configuration, &[VIP4, VIP6], &[]);
    node.ip(&format!("route replace unicast {VIP4}/32 dev lo metric 100 table 214 proto 214")).unwrap();
    wait::until("the blackhole again", SOON, || {
        let routes = table(&node, 214)?;
        ensure!(routes.iter().filter(|line| line.starts_with("blackhole")).count() == 2, "{routes:#?}");
        Ok(())
    })
    .unwrap();
    // Routes of ours that nobody wants are an error of somebody, too.
    node.ip("route add blackhole 10.200.7.0/24 table 214 proto 215").unwrap();
    wait::until("no stray route", SOON, || {
        let routes = table(&node, 214)?;
        ensure!(!routes.iter().any(|line| line.contains("10.200.7.0")), "{routes:#?}");
        Ok(())
    })
    .unwrap();
    let before = keeping.wait("repairs", |status| status.repaired >= 4).unwrap().repaired;
    let (fight, begun) = (50, Instant::now());
    for _ in 0..fight {
        // It may be away already.
        let _ = node.ip(&format!("route del blackhole {VIP4}/32 table 214"));
        std::thread::sleep(Duration::from_millis(30));
    }
    let repaired = keeping.status().repaired - before;
    // Ten at once, one more a second, and one that was due at each end.
    let most = 12 + begun.elapsed().as_secs();
    assert!(
        (1..=most).contains(&repaired),
        "{repaired} repairs of at most {most} in a fight of {fight} blows"
    );
    until_routed(&node, &configuration, &[VIP4, VIP6], &[]);
    keeping.wait("peace", |status| status.vips.values().all(|state| *state == State::Announced)).unwrap();
}

#[test]
fn other_programs_routes_stay_and_are_named_where_they_are_in_the_way() {
    let Some(_turn) = lab::among_others() else { return };
    let node = lone_host().unwrap();
    let configuration = Configuration::default();
    node.ip(&format!("route add blackhole {VIP4}/32 metric 100 table 214 proto static")).unwrap();
    node.ip("route add blackhole 10.200.8.0/24 table 214 proto static").unwrap();
    let keeping = Keeping::start(&node, configuration, announced(&[VIP4, VIP6])).unwrap();
    let status = keeping.wait("a failure", |status| status.vips.len() == 2).unwrap();
    assert_eq!(status.vips[&vip(VIP6)], State::Announced);
    let State::Failed(words) = &status.vips[&vip(VIP4)] else { panic!("{status:#?}") };
    assert!(words.contains("another program") && words.contains("table 214"), "{words}");
    node.ip(&format!("route del blackhole {VIP4}/32 metric 100 table 214 proto static")).unwrap();
    until_routed(&node, &configuration, &[VIP4, VIP6], &[]);
    keeping.stop(Ending::Withdraw).unwrap();
    let left = table(&node, 214).unwrap();
    assert!(left.len() == 1 && left[0].contains("10.200.8.0/24"), "{left:#?}");
}

#[test]
fn another_configuration_moves_the_routes() {
    let Some(_turn) = lab::among_others() else { return };
    let node = lone_host().unwrap();
    let old = Configuration::default();
    let keeping = Keeping::start(&node, old, announced(&[VIP4, VIP6])).unwrap();
    until_routed(&node, &old, &[VIP4, VIP6], &[]);
    let new = Configuration { table: 300, protocol: 220, ..old };
    keeping.apply(new).unwrap();
    until_routed(&node, &new, &[VIP4, VIP6], &[]);
    until_routed(&node, &old, &[], &[]);
    let error = keeping.apply(Configuration { table: 254, ..old }).unwrap_err().to_string();
    assert!(error.contains("main"), "{error}");
    keeping.stop(Ending::Withdraw).unwrap();
    assert_eq!(table(&node, 300).unwrap(), [""; 0]);
}

#[test]
fn a_storm_of_routes_in_other_tables_and_lost_notifications_are_survived() {
    let Some(_turn) = lab::among_others() else { return };
    let node = lone_host().unwrap();
    let configuration = Configuration::default();
    let vips: Vec<String> = (0..1000).map(|n| format!("10.201.{}.{}", n / 250, n % 250)).collect();
    let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
    let keeping = Keeping::start(&node, configuration, announced(&vips)).unwrap();
    until_routed(&node, &configuration, &vips, &[]);
    let batch: String =
        (0..40_000u32).map(|n| format!("route add blackhole 10.100.{}.{}/32\n", n >> 8, n & 255)).collect();
    let path = node.lease().directory().join("storm.batch");
    std::fs::write(&path, batch + "route flush table 214\n").unwrap();
    node.ip(&format!("-batch {}", path.display())).unwrap();
    until_routed(&node, &configuration, &vips, &[]);
    assert_eq!(keeping.status().error, None);
    let found: BTreeSet<IpAddr> = keeping.status().vips.keys().copied().collect();
    assert_eq!(found.len(), 1000);
}
