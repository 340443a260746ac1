//! Nodes that can't write their maps go on by what was right before: one leaves its VIPs to the others, all of them stay.

use anyhow::{Context, Result, ensure};
use lab::VIP4;
use lab::freeze::freeze;

use crate::alone;
use crate::world::{ONE_ZONE, World};

#[test]
fn a_change_that_no_node_can_carry_withdraws_no_vip() {
    let Some(_alone) = alone() else { return };
    World::start(&ONE_ZONE).unwrap().play(|world| {
        world.create()?;
        let vip = VIP4.into();
        freeze_vips(world, 0)?;
        another_vip(world, 2)?;
        world.until_announced(vip, &[1, 2])?;
        let told = world.reasons(vip)?;
        ensure!(told.contains("the maps are not as they should be: adding a VIP"), "{told}");
        let told = world.lab.nodes[0].sluice(&["status"])?;
        ensure!(told.contains("STALE: the maps are not as they should be"), "{told}");
        freeze_vips(world, 1)?;
        freeze_vips(world, 2)?;
        another_vip(world, 3)?;
        // Nobody does better any more, so the first one comes back, too.
        world.until("all nodes to be unfit and to announce", || {
            let told = world.reasons(vip)?;
            let kept = told.matches("kept, as no other node announces it and serves it better").count();
            ensure!(kept == 3 && told.matches("the maps are not as they should be").count() == 3, "{told}");
            Ok(())
        })?;
        world.until_announced(vip, &[0, 1, 2])?;
        world.for_a_while(|world| world.announcers(vip).map(|at| at == [0, 1, 2]))?;
        world.lab.get(vip)?;
        // With maps of its own making a node is fit again.
        restart(world, 0)?;
        world.until_announced(vip, &[0])?;
        restart(world, 1)?;
        restart(world, 2)?;
        world.until_announced(vip, &[0, 1, 2])
    });
}

/// From now on no VIP can be added on a node.
fn freeze_vips(world: &World, node: usize) -> Result<()> {
    let controller = world.lab.nodes[node].controller.as_ref().context("it runs no controller")?;
    freeze(controller.id(), "VIPS")
}

/// One more load balancer, of which there is nothing but its VIP.
fn another_vip(world: &World, number: u8) -> Result<()> {
    let mapping = format!(
        "SubnetMappings.member.1.SubnetId=subnet-a&SubnetMappings.member.1.PrivateIPv4Address=10.200.1.{number}"
    );
    let name = format!("web-{number}");
    let balancer = format!("CreateLoadBalancer&Name={name}&Type=network&Scheme=internal&{mapping}");
    world.api(1).done(&balancer).map(drop)
}

fn restart(world: &mut World, node: usize) -> Result<()> {
    world.lab.nodes[node].stop_controller()?;
    let configuration = world.configuration(node);
    world.lab.start_controller(node, &configuration)
}
