//! What one node sees alone is shown as such, and whose word counts is for the policy to say.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::etcd::Cut;
use lb_userspace::status::report::ElsewhereReport;

use crate::alone;
use crate::world::{ONE_ZONE, Plan, World};

const ALONE: ElsewhereReport = ElsewhereReport { healthy_here: false, healthy: 2, unhealthy: 0 };

#[test]
fn by_the_majority_s_word_a_target_that_one_node_can_not_reach_stays_in_service_and_tables_stay_equal() {
    let Some(_alone) = alone() else { return };
    World::start(&Plan { health_view: "majority", ..ONE_ZONE }).unwrap().play(|world| {
        world.create()?;
        until_healthy(world)?;
        world.cut(0, 0, Cut::Begin)?;
        world.until_target(0, 0, "the target to be unhealthy here alone", |target| {
            target.elsewhere == Some(ALONE) && target.state == "healthy"
        })?;
        equal(world)?;
        let shown = world.lab.nodes[0].sluice(&["target", "ls"])?;
        ensure!(shown.contains("here alone"), "{shown}");
        let told = world.api(0).ask(&format!("DescribeTargetHealth&TargetGroupArn={}", world.group))?.1;
        ensure!(told.contains("unhealthy here alone") && told.contains("2 of 3 nodes"), "{told}");
        let told = world.api(1).ask(&format!("DescribeTargetHealth&TargetGroupArn={}", world.group))?.1;
        ensure!(!told.contains("here alone"), "{told}");
        // Longer than what was read of the others counts, and than the leases last.
        let before = world.digests()?;
        world.etcd.kill_all();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            ensure!(world.digests()? == before, "a table changed after {:?}", begun.elapsed());
            std::thread::sleep(Duration::from_millis(100));
        }
        world.etcd.start_all()?;
        world.until_present()?;
        ensure!(world.digests()? == before, "a table changed when the store was back");
        world.cut(1, 0, Cut::Begin)?;
        for node in 0..3 {
            world.until_target(node, 0, "the target to be unhealthy at most nodes", |target| {
                target.state == "unhealthy"
            })?;
        }
        world.until_target(2, 0, "the reason", |target| {
            let words = target.description.as_deref().unwrap_or_default();
            words == "Health checks failed at 2 of 3 nodes; they pass here"
        })?;
        equal(world)?;
        world.cut(0, 0, Cut::End)?;
        world.cut(1, 0, Cut::End)?;
        until_healthy(world)?;
        equal(world)
    });
}

#[test]
fn by_its_own_word_a_node_takes_out_what_it_can_not_reach_and_says_that_it_is_alone() {
    let Some(_alone) = alone() else { return };
    World::start(&ONE_ZONE).unwrap().play(|world| {
        world.create()?;
        until_healthy(world)?;
        equal(world)?;
        world.cut(0, 0, Cut::Begin)?;
        world.until_target(0, 0, "the target to be unhealthy here alone", |target| {
            let words = target.description.as_deref().unwrap_or_default();
            target.elsewhere == Some(ALONE)
                && target.state == "unhealthy"
                && words.contains("unhealthy here alone, healthy at 2 other nodes")
        })?;
        let digests = world.digests()?;
        ensure!(digests[0] != digests[1] && digests[1] == digests[2], "{digests:?}");
        world.until("the event", || {
            let events = world.lab.nodes[0].sluice(&["events"])?;
            ensure!(events.contains("unhealthy here alone: all other nodes"), "{events}");
            Ok(())
        })?;
        world.cut(0, 0, Cut::End)?;
        until_healthy(world)?;
        equal(world)
    });
}

/// Waits until every node has found all targets healthy, and heard of the others.
fn until_healthy(world: &World) -> Result<()> {
    (0..world.lab.nodes.len()).try_for_each(|node| {
        (0..world.lab.targets.len()).try_for_each(|target| {
            world.until_target(node, target, "a healthy target that all see so", |target| {
                target.state == "healthy" && target.elsewhere.is_none()
            })
        })
    })
}

/// Waits until all nodes have the same tables.
fn equal(world: &World) -> Result<()> {
    world.until("equal tables", || {
        let digests = world.digests()?;
        ensure!(digests.iter().all(|one| *one == digests[0]), "tables differ: {digests:?}");
        Ok(())
    })
}
