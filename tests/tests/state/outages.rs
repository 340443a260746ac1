//! Members of etcd die and come back; nodes are cut off; etcd forgets. Nothing that was acknowledged is lost, and what a
//! node knows it goes on with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{require_root, wait};
use lb_userspace::api::domain::State;

use crate::cluster::{Cluster, Nodes, taken_back};
use crate::node::{Node, plain};

/// Each member is killed in its turn, so the leader is, too.
#[test]
fn no_member_s_death_loses_an_acknowledged_change() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start(3)?;
    let nodes = [cluster.node("a")?, cluster.node("b")?];
    let is_over = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| -> Result<Vec<String>> {
        let writers: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(number, node)| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let names = (0..).map(|change| format!("w{number}-{change}"));
                    let names = names.take_while(|_| !is_over.load(Ordering::Relaxed));
                    names.take(1400).filter(|name| node.make_group(name)).collect::<Vec<_>>()
                })
            })
            .collect();
        let killed = (0..3).try_for_each(|number| {
            cluster.kill(number);
            for node in &nodes {
                node.wait_for_change(&format!("after-{number}-{}", node.state().generation))?;
            }
            cluster.start_all()
        });
        is_over.store(true, Ordering::Relaxed);
        let names = writers.into_iter().flat_map(|writer| writer.join().expect("no panic")).collect();
        killed.map(|()| names)
    })?;
    let last = nodes[0].wait_for_change("last")?;
    let generation = nodes[0].state().generation;
    for node in &nodes {
        let state = node.wait_for(generation)?;
        assert!(state == nodes[0].state());
        for name in acknowledged.iter().chain([&last]) {
            assert!(state.target_groups.contains_key(name), "{name} was acknowledged and is gone");
        }
    }
    Ok(())
}

#[test]
fn while_all_members_are_away_a_node_tells_what_it_knows_and_changes_nothing() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start(3)?;
    let (a, b) = (cluster.node("a")?, cluster.node("b")?);
    assert!(a.make_group("before"));
    let before = b.wait_for(1)?;
    cluster.kill_all();
    assert!(!a.make_group("meanwhile"));
    for node in [&a, &b] {
        assert_eq!(node.ask("DescribeTargetGroups&Names.member.1=before").status, 200);
        assert!(node.state() == before);
    }
    drop(b);
    let b = cluster.node("b")?;
    assert!(b.state() == before, "the last good state is on the disk");
    assert!(cluster.node("new").is_err(), "a node that never knew a state must not serve an empty one");
    cluster.start_all()?;
    let name = a.wait_for_change("after")?;
    let state = b.wait_for(a.state().generation)?;
    assert!(state.target_groups.contains_key("before") && state.target_groups.contains_key(&name));
    assert!(!state.target_groups.contains_key("meanwhile"), "it was refused, so it must not appear");
    Ok(())
}

#[test]
fn a_node_that_was_cut_off_catches_up() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start(3)?;
    let directory = cluster.host.lease().directory().to_owned();
    let endpoints = cluster.endpoints();
    let a = Node::start(&cluster.host, &directory.join("a"), plain(endpoints[..2].to_vec()))?;
    let b = Node::start(&cluster.host, &directory.join("b"), plain(endpoints[2..].to_vec()))?;
    assert!(a.make_group("first"));
    b.wait_for(1)?;
    cluster.kill(2);
    // It may have been the leader, and until there is another one no change can be made.
    wait::until("a leader of the others", Duration::from_secs(30), || cluster.leader())?;
    for change in 0..50 {
        assert!(a.make_group(&format!("meanwhile-{change}")), "two of three members are enough");
    }
    assert_eq!(b.state().generation, 1);
    // What was compacted away can't be told one by one any more.
    let revision = a.state().generation.to_string();
    cluster.start_all()?;
    cluster.control(&["compact", &revision])?;
    assert!(b.wait_for(51)? == a.state());
    b.wait_for_change("of-b")?;
    a.wait_for(52)?;
    Ok(())
}

#[test]
fn an_etcd_that_forgot_everything_is_told_it_again() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start(1)?;
    let a = cluster.node("a")?;
    for change in 0..150 {
        assert!(a.make_group(&format!("g{change}")));
    }
    let known = a.state();
    cluster.kill_all();
    cluster.wipe()?;
    cluster.start_all()?;
    let name = a.wait_for_change("after")?;
    let other = cluster.node("b")?.state();
    assert_eq!(other.target_groups.len(), known.target_groups.len() + 1);
    assert!(other.target_groups.contains_key(&name));
    Ok(())
}

/// Were it taken for the state, everything that the node serves would be withdrawn; and were it a reason not to start,
/// so it would be with each restart.
#[test]
fn another_state_in_etcd_is_not_taken_for_the_node_s_own() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start(1)?;
    let a = cluster.node("a")?;
    assert!(a.make_group("mine"));
    let mine = a.state();
    drop(a);
    cluster.kill_all();
    cluster.wipe()?;
    cluster.start_all()?;
    let b = cluster.node("b")?;
    assert!(b.make_group("another"));
    let a = cluster.node("a")?;
    goes_on_with(&a, &mine, "is another one")?;
    drop(a);
    goes_on_with(&cluster.node("a")?, &mine, "sluice state export")?;
    assert!(b.state().target_groups.keys().eq(["another"]), "what is in etcd is left alone");
    Ok(())
}

/// As after a restore from a backup. Upgrades restart one node after the other: none of them may stay away.
#[test]
fn a_node_starts_with_what_it_knows_where_etcd_was_taken_back() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut cluster = Cluster::start(1)?;
    let a = cluster.node("a")?;
    assert!(a.make_group("before"));
    taken_back(&mut cluster, || a.wait_for_change("after").map(drop))?;
    let known = a.state();
    goes_on_with(&a, &known, "taken back to an older one")?;
    drop(a);
    goes_on_with(&cluster.node("a")?, &known, "taken back to an older one")
}

/// It tells what it knows and why that can't be changed, and changes nothing.
fn goes_on_with(node: &Node, state: &State, why: &str) -> Result<()> {
    wait::until("the trouble to be told", Duration::from_secs(20), || {
        let problem = node.problem().context("no trouble is told")?;
        ensure!(problem.contains(why), "{problem}");
        Ok(())
    })?;
    assert!(node.state() == *state);
    assert!(!node.make_group("meanwhile"));
    assert!(node.state() == *state);
    Ok(())
}
