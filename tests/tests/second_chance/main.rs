//! Connections through several nodes behind a router that spreads flows by their 5-tuples: the scenarios of second
//! chances at a size that fits every run of the tests (`cargo xtask scenario` has the full one).

mod strays;

use std::time::Duration;

use anyhow::Result;
use lab::alone;
use lab::crowd::{Crowd, Patience, Tally};
use lab::scenario::cluster::{Agents, Chains, Cluster, Standing};
use lab::scenario::{Options, play};

/// How many connections a story has.
const CONNECTIONS: usize = 400;

fn small(rounds: u32) -> Options {
    let (connections, targets) = (Some(CONNECTIONS as u32), Some(6));
    Options { connections, rounds: Some(rounds), targets, ..Options::default() }
}

#[test]
fn no_connection_breaks_when_nodes_are_lost_and_come_back_while_targets_come_and_drain() {
    let Some(_alone) = alone() else { return };
    play("second-chance", &small(2)).unwrap();
}

#[test]
fn without_second_chances_the_same_breaks_connections() {
    let Some(_alone) = alone() else { return };
    // One node after another, none twice in a row: those that come back have something to be wrong about.
    play("without-second-chance", &Options { seed: Some(1), ..small(3) }).unwrap();
}

#[test]
fn draining_twice_in_a_row_keeps_all_connections() {
    let Some(_alone) = alone() else { return };
    play("drain-twice", &small(1)).unwrap();
}

#[test]
fn owners_leave_their_chains_when_they_tell_that_they_have_no_connections() {
    let Some(_alone) = alone() else { return };
    let story = || -> Result<(Tally, Chains, Chains)> {
        let mut standings = [Standing::Out; 6];
        standings[..3].fill(Standing::Serving);
        let mut cluster = Cluster::start(2, Agents::HandOn, &standings)?;
        let mut crowd = Crowd::start(&cluster.lab, Patience::CALM)?;
        crowd.open(CONNECTIONS)?;
        cluster.change(&[Standing::Serving; 6])?;
        let before = cluster.chains(1)?;
        let after = cluster.wait_for_fewer_chains(1, CONNECTIONS as u32)?;
        cluster.lose(0)?;
        std::thread::sleep(Duration::from_secs(4));
        Ok((crowd.finish(), before, after))
    };
    let (tally, before, after) = story().unwrap();
    println!("{} broken; {before:?}, then {after:?}", tally.broken.len());
    tally.is_whole(CONNECTIONS).unwrap();
    // Half of the slots moved, so about half of the connections have a former owner.
    assert!(after.chained > 100, "{before:?}, then {after:?}");
}
