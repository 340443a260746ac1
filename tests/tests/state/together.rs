//! Several nodes write at once.

use std::thread;

use anyhow::Result;
use lab::require_root;

use crate::cluster::{Cluster, Nodes};

#[test]
fn nodes_that_write_at_once_lose_no_change_of_each_other() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    let nodes = [cluster.node("a")?, cluster.node("b")?, cluster.node("c")?];
    thread::scope(|scope| {
        for (number, node) in nodes.iter().enumerate() {
            for client in 0..4 {
                scope.spawn(move || {
                    for change in 0..20 {
                        assert!(node.make_group(&format!("n{number}-c{client}-{change}")));
                    }
                });
            }
        }
    });
    for node in &nodes {
        let state = node.wait_for(240)?;
        assert_eq!((state.generation, state.target_groups.len()), (240, 240));
        assert!(state == nodes[0].state());
    }
    Ok(())
}

/// All change the same record.
#[test]
fn no_change_of_a_record_undoes_another() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    let nodes = [cluster.node("a")?, cluster.node("b")?];
    assert!(nodes[0].make_group("web"));
    // The other node knows of it at once: what it does not know it asks for.
    let id = nodes[0].state().target_groups["web"].id;
    let arn = format!("arn:aws:elasticloadbalancing:local:000000000000:targetgroup/web/{id}");
    thread::scope(|scope| {
        for (number, node) in nodes.iter().enumerate() {
            let arn = &arn;
            scope.spawn(move || {
                for change in 0..20 {
                    let tag = format!("Tags.member.1.Key=n{number}-{change}&Tags.member.1.Value=x");
                    let answer = node.ask(&format!("AddTags&ResourceArns.member.1={arn}&{tag}"));
                    assert_eq!(answer.status, 200, "{}", answer.body);
                }
            });
        }
    });
    for node in &nodes {
        assert_eq!(node.wait_for(41)?.target_groups["web"].tags.len(), 40);
    }
    Ok(())
}

/// More than etcd takes in one flat transaction.
#[test]
fn many_changes_are_one() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    let node = cluster.node("a")?;
    thread::scope(|scope| {
        for client in 0..300 {
            let node = &node;
            scope.spawn(move || assert!(node.make_group(&format!("g{client}"))));
        }
    });
    assert_eq!(node.state().target_groups.len(), 300);
    Ok(())
}
