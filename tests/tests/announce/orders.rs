//! Operators' orders: drains and zone shifts.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::traffic::Traffic;
use lab::{VIP4, VIP6};
use serde_json::{Value, json};

use crate::alone;
use crate::world::World;

#[test]
fn a_drain_under_load_loses_nothing_and_outlives_the_controller() {
    let Some(_alone) = alone() else { return };
    World::new(2, 2).unwrap().play(|world| {
        world.start(|_, _| ())?;
        let vips: [IpAddr; 2] = [VIP4.into(), VIP6.into()];
        vips.into_iter().try_for_each(|vip| world.until_routed(vip, &[0, 1]))?;
        let traffic = Traffic::start(&world.lab, Duration::from_millis(2))?;
        let said = world.order(0, &["node", "drain", "--after", "3s"])?;
        ensure!(said.contains("VIPs draining") && said.contains("drained: no packet came"), "{said}");
        for vip in vips {
            world.is_routed(vip, &[1])?;
            world.until_state(0, vip, "withdrawn")?;
        }

        world.lab.nodes[0].stop_controller()?;
        let configuration = world.configuration(0, |_, _| ());
        world.lab.start_controller(0, &configuration)?;
        world.lab.wait_for_all(0, "healthy", crate::world::PATIENCE)?;
        let why = world.until_state(0, vips[0], "withdrawn")?.reason.context("it has a reason")?;
        ensure!(why.contains("drained by an operator"), "{why}");
        world.is_routed(vips[0], &[1])?;

        let said = world.order(0, &["node", "undrain"])?;
        ensure!(said.contains("drains no more"), "{said}");
        vips.into_iter().try_for_each(|vip| world.until_routed(vip, &[0, 1]))?;
        ensure!(world.order(0, &["node", "undrain"])?.contains("did not drain"), "it did");
        let tally = traffic.stop();
        ensure!(tally.failed == 0 && tally.requests() > 100, "{tally}");
        Ok(())
    });
}

/// The first node is in zone a and the second one in zone b; each zone has a VIP of its own.
fn zonal(node: usize, configuration: &mut Value) {
    configuration["node"]["zone"] = json!(["a", "b"][node]);
    configuration["load_balancers"][0]["vips"] =
        json!([{ "address": VIP4, "zone": "a" }, { "address": VIP6, "zone": "b" }]);
    configuration["announce"]["drain_seconds"] = json!(0);
}

#[test]
fn a_zones_vip_is_announced_by_its_nodes_and_a_zone_shift_ends_by_itself() {
    let Some(_alone) = alone() else { return };
    World::new(2, 2).unwrap().play(|world| {
        world.start(zonal)?;
        let (of_a, of_b): (IpAddr, IpAddr) = (VIP4.into(), VIP6.into());
        world.until_routed(of_a, &[0])?;
        world.until_routed(of_b, &[1])?;
        let why = world.until_state(1, of_a, "other_zone")?.reason.context("it has a reason")?;
        ensure!(why.contains("zone a"), "{why}");

        for (arguments, words) in [
            (["zone", "shift", "b", "--for", "2h"], "this node is in zone \"a\", not \"b\""),
            (["zone", "shift", "a", "--for", "73h"], "1 s to 72 h and ends by itself"),
        ] {
            let refused = world.order(0, &arguments).expect_err("it is refused");
            ensure!(format!("{refused:#}").contains(words), "{refused:#}");
        }
        let begun = Instant::now();
        let said = world.order(0, &["zone", "shift", "a", "--for", "20s"])?;
        ensure!(said.contains("shifted away for 20 s") && said.contains("1 here"), "{said}");
        let why = world.until_state(0, of_a, "withdrawn")?.reason.context("it has a reason")?;
        ensure!(why.contains("zone a is shifted away"), "{why}");
        world.until_routed(of_a, &[])?;
        world.is_routed(of_b, &[1])?;
        world.until_routed(of_a, &[0])?;
        let took = begun.elapsed();
        ensure!(took > Duration::from_secs(19), "the shift ended after {took:?}");

        world.order(0, &["zone", "shift", "a", "--for", "2h"])?;
        world.until_routed(of_a, &[])?;
        ensure!(world.order(0, &["zone", "unshift", "a"])?.contains("not shifted away any more"), "it is");
        world.until_routed(of_a, &[0])
    });
}
