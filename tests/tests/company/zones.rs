//! Zonal VIPs over several nodes: who announces them, and which targets they lead to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, ensure};

use crate::alone;
use crate::world::{Plan, World};

const VIP_A: Ipv4Addr = Ipv4Addr::new(10, 200, 1, 1);
const VIP_B: Ipv4Addr = Ipv4Addr::new(10, 200, 2, 1);

/// Two nodes in one zone and one in another, two targets in each.
const TWO_ZONES: Plan = Plan {
    nodes: &["a", "a", "b"],
    targets: &["a", "b", "a", "b"],
    vips: &[("a", VIP_A), ("b", VIP_B)],
    health_view: "own",
};

#[test]
fn each_zone_s_vip_is_its_nodes_and_leads_to_its_targets_or_to_all_across_zones() {
    let Some(_alone) = alone() else { return };
    World::start(&TWO_ZONES).unwrap().play(|world| {
        // That waits until each VIP is announced by its zone's nodes.
        world.create()?;
        route(world)?;
        serve(world, VIP_A, &["t1", "t3"])?;
        serve(world, VIP_B, &["t2", "t4"])?;
        world.until("equal tables in a zone", || {
            let digests = world.digests()?;
            ensure!(digests[0] == digests[1] && digests[0] != digests[2], "{digests:?}");
            Ok(())
        })?;
        expect_states(world, "unused")?;
        world.set_attribute("load_balancing.cross_zone.enabled", "true")?;
        world.until("equal tables everywhere", || {
            let digests = world.digests()?;
            ensure!(digests.iter().all(|one| *one == digests[0]), "{digests:?}");
            Ok(())
        })?;
        expect_states(world, "healthy")?;
        for vip in [VIP_A, VIP_B] {
            serve(world, vip, &["t1", "t2", "t3", "t4"])?;
        }
        ensure!(world.announcers(VIP_A.into())? == [0, 1], "{}", world.reasons(VIP_A.into())?);
        ensure!(world.announcers(VIP_B.into())? == [2], "{}", world.reasons(VIP_B.into())?);
        world.set_attribute("load_balancing.cross_zone.enabled", "false")?;
        world.until("each zone its own again", || {
            let digests = world.digests()?;
            ensure!(digests[0] == digests[1] && digests[0] != digests[2], "{digests:?}");
            Ok(())
        })?;
        serve(world, VIP_A, &["t1", "t3"])?;
        serve(world, VIP_B, &["t2", "t4"])
    });
}

/// The router sends each VIP's packets to those who announce it, as a routing daemon would have told it.
fn route(world: &World) -> Result<()> {
    for vip in [VIP_A, VIP_B] {
        let announcers = world.announcers(vip.into())?;
        let hops = announcers.iter().map(|at| format!(" nexthop via {} dev nodes", world.lab.nodes[*at].v4));
        world.lab.router.ip(&format!("route replace {vip}{}", hops.collect::<String>()))?;
    }
    Ok(())
}

/// Waits until a VIP leads to all of these targets, and then to no other one.
fn serve(world: &World, vip: Ipv4Addr, expected: &[&str]) -> Result<()> {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    world.until(&format!("{vip} to lead to {expected:?}"), || {
        let answers = (0..40).map(|_| world.lab.get(vip.into()));
        let serving = answers.map(|answer| Ok(answer?.target)).collect::<Result<BTreeSet<String>>>()?;
        ensure!(serving == expected, "it leads to {serving:?}");
        Ok(())
    })
}

/// Waits until each node says that the other zone's targets are in that state, and its own healthy.
fn expect_states(world: &World, elsewhere: &str) -> Result<()> {
    for (node, zone) in TWO_ZONES.nodes.iter().enumerate() {
        for (target, own) in TWO_ZONES.targets.iter().enumerate() {
            let state = if own == zone { "healthy" } else { elsewhere };
            world.until_target(node, target, &format!("target {target} {state}"), |at| at.state == state)?;
        }
    }
    let address: IpAddr = world.lab.targets[0].v4.into();
    ensure!(crate::world::target_of(&world.lab.nodes[0].status()?, address)?.zone == "a", "another zone");
    Ok(())
}
