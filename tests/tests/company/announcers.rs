//! A VIP is left to nodes that serve it better, and to nobody otherwise.

use anyhow::{Context, Result, ensure};
use lab::VIP4;
use lab::etcd::Cut;
use lab::topology::Target;

use crate::alone;
use crate::world::{ONE_ZONE, World};

#[test]
fn the_last_announcer_goes_on_and_equally_bad_ones_come_back() {
    let Some(_alone) = alone() else { return };
    World::start(&ONE_ZONE).unwrap().play(|world| {
        world.create()?;
        let vip = VIP4.into();
        world.cut_all(0, Cut::Begin)?;
        world.until_announced(vip, &[1, 2])?;
        world.cut_all(1, Cut::Begin)?;
        world.until_announced(vip, &[2])?;
        world.cut_all(2, Cut::Begin)?;
        // Nobody does better any more, so those that went come back.
        world.until_announced(vip, &[0, 1, 2])?;
        (0..3).try_for_each(|node| until_unfit(world, node))?;
        world.for_a_while(|world| world.announcers(vip).map(|at| at == [0, 1, 2]))?;
        // One that starts anew is as unfit as it was.
        world.lab.nodes[0].stop_controller()?;
        let configuration = world.configuration(0);
        world.lab.start_controller(0, &configuration)?;
        // For its first targets' sake it may announce; nobody relies on it before it has checked them.
        let is_there = |world: &World| world.announcers(vip).map(|at| at.ends_with(&[1, 2]));
        world.for_a_while(is_there)?;
        until_unfit(world, 0)?;
        world.until_announced(vip, &[0, 1, 2])?;
        world.cut_all(1, Cut::End)?;
        world.until_announced(vip, &[1])?;
        world.cut_all(0, Cut::End)?;
        world.cut_all(2, Cut::End)?;
        world.until_announced(vip, &[0, 1, 2])
    });
}

#[test]
fn when_all_targets_fail_at_once_and_the_store_goes_too_the_vip_is_never_without_an_announcer() {
    let Some(_alone) = alone() else { return };
    World::start(&ONE_ZONE).unwrap().play(|world| {
        world.create()?;
        let vip = VIP4.into();
        world.lab.targets.iter_mut().for_each(Target::stop_server);
        let mut unfit = [false; 3];
        let is_somewhere = |world: &World| Ok(!world.announcers(vip)?.is_empty());
        world.until("all nodes to be unfit", || {
            ensure!(is_somewhere(world)?, "nobody announces");
            for (at, report) in world.reports()?.iter().enumerate() {
                let reason = report.announcements.first().and_then(|at| at.reason.clone());
                unfit[at] |= reason.is_some_and(|why| why.contains("0 of 2 targets in zone a are healthy"));
            }
            ensure!(unfit == [true; 3], "{unfit:?}");
            Ok(())
        })?;
        world.for_a_while(is_somewhere)?;
        // Those that went because they fell before the others come back.
        world.until_announced(vip, &[0, 1, 2])?;
        world.etcd.kill_all();
        world.for_a_while(|world| world.announcers(vip).map(|at| at == [0, 1, 2]))?;
        world.etcd.start_all()?;
        world.lab.start_servers()?;
        world.until_announced(vip, &[0, 1, 2])
    });
}

#[test]
fn the_last_announcer_is_drained_or_shifted_away_by_force_alone() {
    let Some(_alone) = alone() else { return };
    World::start(&ONE_ZONE).unwrap().play(|world| {
        world.create()?;
        let vip = VIP4.into();
        let drain = ["node", "drain", "--after", "0s", "--no-wait"];
        let order = |world: &World, node: usize, arguments: &[&str]| world.lab.nodes[node].sluice(arguments);
        for (node, left) in [(0, &[1, 2][..]), (1, &[2])] {
            // One that started just now does not count for another's order; it may announce before it does.
            let said = world.until("another node to count", || order(world, node, &drain))?;
            ensure!(!said.contains("no other node announces"), "{said}");
            world.until_announced(vip, left)?;
            until_read(world, 2, node)?;
        }
        let forced = [&drain[..], &["--force"]].concat();
        let shift = ["zone", "shift", "a", "--for", "1h"];
        for (arguments, back) in
            [(&drain[..], ["node", "undrain"].as_slice()), (&shift, &["zone", "unshift", "a"])]
        {
            let refused = order(world, 2, arguments).expect_err("nobody else announces the VIP");
            let words = format!("{refused:#}");
            ensure!(words.contains(&format!("no other node announces VIP {VIP4}")), "{words}");
            ensure!(words.contains("--force"), "{words}");
            ensure!(order(world, 2, back)?.contains(" not "), "the order was in force");
        }
        world.for_a_while(|world| world.announcers(vip).map(|at| at == [2]))?;
        let said = order(world, 2, &forced)?;
        ensure!(said.contains(&format!("; no other node announces VIP {VIP4}")), "{said}");
        world.until_announced(vip, &[])?;
        (0..3).try_for_each(|node| order(world, node, &["node", "undrain"]).map(drop))?;
        world.until_announced(vip, &[0, 1, 2])
    });
}

/// Waits until a node has read that another one announces nothing.
fn until_read(world: &World, node: usize, of: usize) -> Result<()> {
    world.until("the withdrawal to be read", || {
        let shared = world.lab.nodes[node].status()?.shared_state.context("no shared state")?;
        let name = &world.lab.nodes[of].name;
        let other = shared.members.iter().find(|member| member.name == *name).context("it is not there")?;
        ensure!(other.vips.is_empty(), "{other:?}");
        Ok(())
    })
}

/// Waits until a node says that it announces a VIP though it is unfit, or does not as it is.
fn until_unfit(world: &World, node: usize) -> Result<()> {
    world.until("the node to be unfit", || {
        let report = world.lab.nodes[node].status()?;
        let reason = report.announcements.first().and_then(|at| at.reason.clone());
        ensure!(reason.as_ref().is_some_and(|why| why.contains("are healthy, fewer than")), "{reason:?}");
        Ok(())
    })
}
