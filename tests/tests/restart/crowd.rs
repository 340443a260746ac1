//! A crowd of connections while the controller is killed in the midst of changes, and ended and started again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::crowd::{Crowd, Patience};
use lab::{Lab, configuration, echo};
use lb_userspace::status::report::Report;
use serde_json::{Value, json};

use crate::pinned::Pinned;
use crate::{alone, number};

/// Connections that must not break.
const CONNECTIONS: usize = 400;
/// How often the controller is asked to end after that.
const RESTARTS: usize = 5;

/// What goes up only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Counted(u64);

#[test]
fn no_connection_breaks_while_the_controller_is_killed_amid_changes_and_started_again() {
    let Some(_alone) = alone() else { return };
    let lab = Lab::builder().targets(4).build().unwrap();
    Pinned::new(lab).unwrap().play(|pinned| {
        pinned.lab.start_servers()?;
        pinned.lab.start_agents()?;
        pinned.start(&echoes(&pinned.lab, 4))?;
        pinned.healthy()?;
        let mut crowd = Crowd::start(&pinned.lab, Patience::CALM)?;
        crowd.open(CONNECTIONS)?;
        let mut counted = Counted(0);
        for kill in 0..number("SLUICE_TEST_KILLS", 15) {
            change_and_kill(pinned, kill, &mut counted)?;
            expect_whole(&crowd, &format!("kill {kill}"))?;
        }
        pinned.lab.nodes[0].write_configuration(&echoes(&pinned.lab, 4))?;
        for restart in 0..RESTARTS {
            let report = pinned.start(&echoes(&pinned.lab, 4))?;
            count(&report, &mut counted)?;
            if restart > 0 {
                expect_nothing_written(pinned)?;
            }
            crowd.open(20)?;
            pinned.healthy()?;
            pinned.terminate()?;
            expect_whole(&crowd, &format!("restart {restart}"))?;
        }
        let tally = crowd.finish();
        ensure!(tally.broken.is_empty(), "{} connections broke: {:?}", tally.broken.len(), tally.broken);
        expect_the_tables_of_a_clean_start(pinned)
    });
}

/// The four targets, or the first of them.
fn echoes(lab: &Lab, targets: usize) -> Value {
    let addresses: Vec<_> = lab.targets[..targets].iter().map(|target| target.v4.into()).collect();
    let mut group = configuration::target_group("echo", "TCP", echo::PORT, &addresses);
    // Nothing has drained until all is over: no connection may break.
    group["draining_seconds"] = 3600.into();
    group["idle_timeout_seconds"] = 240.into();
    group["health_check"]["timeout_seconds"] = 5.into();
    group["health_check"]["interval_seconds"] = 5.into();
    group["health_check"]["unhealthy_threshold"] = 10.into();
    json!({
        "node": { "name": "lb", "zone": "a", "interfaces": [] },
        "load_balancers": [ { "name": "echo", "vips": lab.vips, "listeners": [
            { "protocol": "TCP", "port": echo::PORT, "forward": [ { "target_group": "echo" } ] } ] } ],
        "target_groups": [ group ]
    })
}

/// Makes a change, kills the controller at any moment of it, and starts it again.
fn change_and_kill(pinned: &mut Pinned, kill: usize, counted: &mut Counted) -> Result<()> {
    let configuration = echoes(&pinned.lab, if kill.is_multiple_of(2) { 3 } else { 4 });
    pinned.lab.nodes[0].write_configuration(&configuration)?;
    // The file is read 50 ms after it was written; then tables are computed and written.
    std::thread::sleep(Duration::from_micros(fastrand::u64(45_000..75_000)));
    pinned.kill()?;
    if kill.is_multiple_of(3) {
        // Or at any moment of a start.
        pinned.lab.nodes[0].start_controller(&configuration)?;
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..3000)));
        pinned.kill()?;
    }
    let report = pinned.start(&configuration)?;
    count(&report, counted)
}

fn expect_whole(crowd: &Crowd, when: &str) -> Result<()> {
    let tally = crowd.tally();
    ensure!(tally.broken.is_empty(), "{when}: {} connections broke: {:?}", tally.broken.len(), tally.broken);
    ensure!(tally.misdelivered.is_empty(), "{when}: {:?}", tally.misdelivered);
    Ok(())
}

fn count(report: &Report, before: &mut Counted) -> Result<()> {
    let load_balancer = report.load_balancers.get("echo").context("the status has no load balancer")?;
    let now = Counted(load_balancer.listeners[0].packets);
    ensure!(now >= *before && now > Counted(0), "{before:?} packets were counted, now {now:?}");
    *before = now;
    Ok(())
}

fn expect_nothing_written(pinned: &Pinned) -> Result<()> {
    let log = pinned.log();
    let last = log.lines().rev().find(|line| line.contains("going on from")).context("it did not go on")?;
    ensure!(last.ends_with("0 targets, 0 tables and 0 listeners were written"), "{last}");
    Ok(())
}

fn expect_the_tables_of_a_clean_start(pinned: &mut Pinned) -> Result<()> {
    let digest = |report: &Report| report.load_balancers["echo"].listeners[0].table_digest.clone();
    let configuration = echoes(&pinned.lab, 4);
    pinned.start(&configuration)?;
    let grown = digest(&pinned.healthy()?);
    pinned.terminate()?;
    pinned.sluice(&["detach"])?;
    pinned.start(&configuration)?;
    let clean = digest(&pinned.healthy()?);
    ensure!(grown == clean, "the table is {grown}, of a clean start {clean}");
    Ok(())
}
