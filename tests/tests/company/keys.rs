//! A node with a hash key of its own is seen, although its tables are those of the others.

use std::fs;

use anyhow::{Context, Result, ensure};
use lb_userspace::status::report::MemberReport;

use crate::alone;
use crate::world::{ONE_ZONE, World};

#[test]
fn a_node_with_another_hash_key_is_told_of_until_it_has_the_others_key() {
    let Some(_alone) = alone() else { return };
    World::start(&ONE_ZONE).unwrap().play(|world| {
        world.create()?;
        for node in 0..3 {
            ensure!(strangers(world, node)?.is_empty(), "node {node}: {:?}", strangers(world, node)?);
        }
        restart_with_key(world, 2, "00112233445566778899aabbccddeeff\n")?;
        world.until("the stranger to be told of", || {
            let told = (0..3).map(|node| strangers(world, node)).collect::<Result<Vec<_>>>()?;
            ensure!(told == [&["lb3"][..], &["lb3"], &["lb1", "lb2"]], "{told:?}");
            let digests = world.digests()?;
            ensure!(digests.iter().all(|own| *own == digests[0]), "the tables are the same: {digests:?}");
            Ok(())
        })?;
        let node = &world.lab.nodes[0];
        let listed = node.sluice(&["node", "ls"])?;
        ensure!(listed.contains("lb3 has another hash key: ") && listed.contains("ANOTHER"), "{listed}");
        for said in [listed, node.sluice(&["status"])?, node.sluice(&["events"])?] {
            ensure!(said.contains("another hash key") && said.contains("`sluice detach`"), "{said}");
        }
        let key = fs::read_to_string(world.lab.nodes[0].runtime_directory()?.join("hash.key"))?;
        restart_with_key(world, 2, &key)?;
        world.until("all to have one key", || {
            let told = (0..3).map(|node| strangers(world, node)).collect::<Result<Vec<_>>>()?;
            ensure!(told.iter().all(Vec::is_empty), "{told:?}");
            world.until_present()
        })
    });
}

/// The nodes that have another key, as a node sees it.
fn strangers(world: &World, node: usize) -> Result<Vec<String>> {
    let shared = world.lab.nodes[node].status()?.shared_state.context("no shared state")?;
    let differs = |member: &&MemberReport| member.hash_key_differs && member.tables_differ;
    Ok(shared.members.iter().filter(differs).map(|member| member.name.clone()).collect())
}

/// The node's data plane ends with its controller, so that another key is taken.
fn restart_with_key(world: &mut World, node: usize, key: &str) -> Result<()> {
    world.lab.nodes[node].stop_controller()?;
    fs::write(world.lab.nodes[node].runtime_directory()?.join("hash.key"), key)?;
    let configuration = world.configuration(node);
    world.lab.start_controller(node, &configuration)
}
