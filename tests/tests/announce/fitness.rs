//! A node is in its router's table when it can take packets, and only then.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::traffic::Traffic;
use lab::{VIP4, VIP6};
use serde_json::{Value, json};

use crate::alone;
use crate::world::{PATIENCE, World, announcement};

/// One healthy target is enough, and none is too few.
fn needs_a_healthy_target(_: usize, configuration: &mut Value) {
    configuration["target_groups"][0]["minimum_healthy"] = json!({ "failover": { "count": 1 } });
}

#[test]
fn a_vip_is_withdrawn_while_too_few_targets_are_healthy_and_comes_back_after_the_hold_down() {
    let Some(_alone) = alone() else { return };
    World::new(1, 2).unwrap().play(|world| {
        world.start(needs_a_healthy_target)?;
        let vips = [VIP4.into(), VIP6.into()];
        for vip in vips {
            world.until_routed(vip, &[0])?;
            ensure!(world.until_state(0, vip, "announced")?.reason.is_none(), "there is a reason");
            world.lab.get(vip)?;
        }
        world.lab.targets.iter_mut().for_each(lab::topology::Target::stop_server);
        for vip in vips {
            let why = world.until_state(0, vip, "withdrawn")?.reason.context("it has a reason")?;
            ensure!(why.contains("target group web: 0 of 2 targets are healthy"), "{why}");
            world.until_routed(vip, &[])?;
        }
        // One is enough, and the other would be waited for while the VIPs are held.
        world.lab.targets[0].start_server(&vips)?;
        let since = world.until_state(0, vips[0], "held")?.since_seconds;
        let (looked, held_before) = (Instant::now(), Duration::from_secs_f64(since));
        world.is_routed(vips[0], &[])?;
        world.until_state(0, vips[0], "announced")?;
        let held = held_before + looked.elapsed();
        ensure!(held > Duration::from_secs(3), "it was held for {held:?}");
        vips.into_iter().try_for_each(|vip| world.until_routed(vip, &[0]))?;
        sessions_are_told(world)
    });
}

/// A listener joins with a target group without targets, and then these come: clients of the other listener notice
/// nothing.
#[test]
fn a_listener_that_joins_with_targets_that_nobody_checked_yet_withdraws_nothing() {
    let Some(_alone) = alone() else { return };
    World::new(1, 2).unwrap().play(|world| {
        world.start(needs_a_healthy_target)?;
        world.until_routed(VIP4.into(), &[0])?;
        let mut configuration = world.configuration(0, needs_a_healthy_target);
        let mut group = configuration["target_groups"][0].clone();
        let targets = group["targets"].take();
        group["name"] = json!("more");
        group["targets"] = json!([]);
        let mut listener = configuration["load_balancers"][0]["listeners"][0].clone();
        listener["port"] = json!(8081);
        listener["forward"] = json!([{ "target_group": "more" }]);
        configuration["target_groups"].as_array_mut().context("a list")?.push(group);
        configuration["load_balancers"][0]["listeners"].as_array_mut().context("a list")?.push(listener);
        for (generation, targets) in [(2, json!([])), (3, targets)] {
            configuration["target_groups"][1]["targets"] = targets;
            world.lab.nodes[0].write_configuration(&configuration)?;
            world.lab.wait_for(0, "the configuration", PATIENCE, |report| {
                ensure!(report.configuration.generation == generation, "{:?}", report.configuration);
                let more = &report.target_groups["more"].targets;
                ensure!(more.iter().all(|target| target.state == "healthy"), "{more:?}");
                Ok(())
            })?;
        }
        let events = world.order(0, &["events"])?;
        let vip = VIP4.to_string();
        let told: Vec<&str> =
            events.lines().filter(|line| line.contains(&vip) && line.contains('→')).collect();
        ensure!(told.len() == 1 && told[0].contains("→ announced"), "{told:#?}");
        Ok(())
    });
}

/// The status and its text have the session.
fn sessions_are_told(world: &World) -> Result<()> {
    let report = world.lab.nodes[0].status()?;
    let routers = report.routers.as_ref().context("the status has routers")?;
    let session = routers.sessions.first().context("there is a session")?;
    ensure!(session.state == "Established" && session.announced == 2, "{session:?}");
    ensure!(routers.drain.is_none() && routers.problem.is_none(), "{routers:?}");
    let text = world.order(0, &["node", "status"])?;
    ensure!(text.contains("10.202.0.1") && text.contains("Established"), "{text}");
    Ok(())
}

#[test]
fn without_other_nodes_in_sight_an_unfit_vip_stays_where_that_is_configured() {
    let Some(_alone) = alone() else { return };
    World::new(1, 1).unwrap().play(|world| {
        world.start(|node, configuration| {
            needs_a_healthy_target(node, configuration);
            configuration["announce"]["when_unfit"] = json!("keep");
        })?;
        world.until_routed(VIP4.into(), &[0])?;
        world.lab.targets[0].stop_server();
        world.lab.wait_for(0, "the reason to keep it", PATIENCE, |report| {
            let found = announcement(report, VIP4.into())?;
            ensure!(found.announced, "it is {}", found.state);
            let why = found.reason.as_deref().unwrap_or_default();
            ensure!(why.contains("no other node is known to announce it"), "{why}");
            Ok(())
        })?;
        world.is_routed(VIP4.into(), &[0])
    });
}

#[test]
fn a_controller_that_ends_and_starts_again_loses_nothing_where_another_node_is() {
    let Some(_alone) = alone() else { return };
    World::new(2, 2).unwrap().play(|world| {
        world.start(|_, _| ())?;
        world.until_routed(VIP4.into(), &[0, 1])?;
        world.until_routed(VIP6.into(), &[0, 1])?;
        let traffic = Traffic::start(&world.lab, Duration::from_millis(2))?;
        // Its data plane ends with it.
        world.lab.nodes[0].stop_controller()?;
        world.until_routed(VIP4.into(), &[1])?;
        let configuration = world.configuration(0, |_, _| ());
        world.lab.start_controller(0, &configuration)?;
        world.until_routed(VIP4.into(), &[0, 1])?;
        world.until_routed(VIP6.into(), &[0, 1])?;
        let tally = traffic.stop();
        ensure!(tally.failed == 0 && tally.requests() > 100, "{tally}");
        Ok(())
    });
}

#[test]
fn a_changed_section_is_applied_while_the_controller_runs() {
    let Some(_alone) = alone() else { return };
    World::new(1, 1).unwrap().play(|world| {
        world.start(|_, configuration| {
            configuration.as_object_mut().expect("an object").remove("announce");
        })?;
        let report = world.lab.nodes[0].status()?;
        ensure!(report.routers.is_none() && report.announcements.is_empty(), "{:?}", report.announcements);
        let refused = world.order(0, &["node", "drain"]).expect_err("there is nothing to drain");
        ensure!(format!("{refused:#}").contains("no section \"announce\""), "{refused:#}");
        let configuration = world.configuration(0, |_, _| ());
        world.lab.nodes[0].write_configuration(&configuration)?;
        world.until_routed(VIP4.into(), &[0])?;
        let generation = world.lab.nodes[0].status()?.configuration.generation;
        ensure!(generation == 2, "the generation is {generation}");
        let mut without = configuration;
        without.as_object_mut().context("an object")?.remove("announce");
        world.lab.nodes[0].write_configuration(&without)?;
        world.until_routed(VIP4.into(), &[])
    });
}
