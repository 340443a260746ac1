//! BIRD and FRR on the nodes, which announce what is in the table.

use anyhow::{Result, ensure};
use lab::router::{Bird, Frr};
use lab::wait;
use lb_userspace::announce::Wanted;
use lb_userspace::announce::kernel_table::{Configuration, Ending};

use crate::world::*;

const BIRD: &str = include_str!("../../../packaging/examples/bird.conf");
const FRR: &str = include_str!("../../../packaging/examples/frr.conf");

/// In the table, and in no network of the examples' VIPs.
const STRANGER: &str = "192.0.2.7";

fn until(what: &str, evidence: impl Fn() -> String, look: impl FnMut() -> Result<()>) {
    if let Err(error) = wait::until(what, SOON, look) {
        panic!("{error:#}\n{}", evidence());
    }
}

#[test]
fn bird_announces_drains_and_withdraws_what_is_in_the_table() {
    let Some(_alone) = lab::alone() else { return };
    bird_follows(Configuration::default());
}

#[test]
fn bird_needs_no_metric_to_tell_draining_and_withdraws_nothing_meanwhile() {
    let Some(_alone) = lab::alone() else { return };
    bird_follows(Configuration { draining_metric: 100, ..Configuration::default() });
}

fn bird_follows(configuration: Configuration) {
    let world = World::new(2).unwrap();
    let router = Bird::start(&world.router, &world.routing()).unwrap();
    let vips = announced(&[VIP4, VIP6, STRANGER]);
    let tables: Vec<Keeping> =
        world.nodes.iter().map(|node| Keeping::start(node, configuration, vips.clone()).unwrap()).collect();
    let daemons: Vec<Bird> = (0..2)
        .map(|number| Bird::configured(&world.nodes[number], &example(BIRD, number)).unwrap())
        .collect();
    let evidence = || daemons.iter().map(Bird::evidence).collect::<String>() + &router.evidence();
    let by = |next_hops: [&[&str]; 2]| {
        for (vip, next_hops) in [VIP4, VIP6].into_iter().zip(next_hops) {
            until("the router's routes", evidence, || world.has_next_hops(vip, next_hops));
        }
    };
    let both: [&[&str]; 2] = [&["10.0.1.11", "10.0.1.12"], &["fd00:1::11", "fd00:1::12"]];
    let second: [&[&str]; 2] = [&["10.0.1.12"], &["fd00:1::12"]];
    by(both);
    world.has_next_hops(STRANGER, &[]).unwrap();
    let imported = || {
        let answer = router.ask("show protocols all node0").unwrap();
        let lines = answer
            .lines()
            .filter(|line| line.contains("Import updates") || line.contains("Import withdraws"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let withdraws = || imported().into_iter().filter(|line| line.contains("withdraws")).collect::<Vec<_>>();
    let before = withdraws();
    tables[0].want(draining(&[VIP4, VIP6]));
    by(second);
    if configuration.metric == configuration.draining_metric {
        assert_eq!(withdraws(), before, "draining is no withdrawal");
    }
    // Draining is a way of last resort, and still one.
    tables[1].want(Wanted::new());
    by([&["10.0.1.11"], &["fd00:1::11"]]);
    for question in ["show route all for 10.200.1.1", "show route all for fc00:1::1"] {
        let answer = router.ask(question).unwrap();
        assert!(answer.contains("BGP.community: (65535,0)"), "{answer}");
    }
    tables[1].want(vips.clone());
    tables[0].want(vips.clone());
    by(both);

    // A restart of what writes the table is nothing to the router.
    let before = imported();
    assert_eq!(before.len(), 4, "{before:#?}");
    let mut tables = tables;
    let second_table = tables.pop().unwrap();
    tables.pop().unwrap().stop(Ending::Keep).unwrap();
    by(both);
    let again = Keeping::start(&world.nodes[0], configuration, vips).unwrap();
    again.wait("the table", |status| status.vips.len() == 3).unwrap();
    by(both);
    assert_eq!(imported(), before, "the router was told nothing");

    again.stop(Ending::Withdraw).unwrap();
    by(second);
    second_table.stop(Ending::Withdraw).unwrap();
    by([&[], &[]]);
}

#[test]
fn frr_announces_drains_and_withdraws_what_is_in_the_table() {
    let Some(_alone) = lab::alone() else { return };
    let world = World::new(2).unwrap();
    let router = Frr::start(&world.router, &world.routing()).unwrap();
    let vips = announced(&[VIP4, STRANGER]);
    let tables: Vec<Keeping> = world
        .nodes
        .iter()
        .map(|node| Keeping::start(node, Configuration::default(), vips.clone()).unwrap())
        .collect();
    let daemons: Vec<Frr> =
        (0..2).map(|number| Frr::configured(&world.nodes[number], &example(FRR, number)).unwrap()).collect();
    let evidence = || {
        let table = daemons[0].vtysh("show ip route table 214").unwrap_or_default();
        table + &daemons.iter().map(Frr::evidence).collect::<String>() + &router.evidence()
    };
    let by = |next_hops: &[&str]| {
        until("the router's route", evidence, || world.has_next_hops(VIP4, next_hops));
    };
    let both = ["10.0.1.11", "10.0.1.12"];
    by(&both);
    tables[0].want(draining(&[VIP4]));
    by(&["10.0.1.12"]);
    until("the community", evidence, || {
        let answer = router.vtysh(&format!("show bgp ipv4 unicast {VIP4}"))?;
        ensure!(answer.contains("Community: graceful-shutdown"), "{answer}");
        Ok(())
    });
    tables[0].want(vips.clone());
    by(&both);
    // Packets to a VIP that are no listener's must not be sent back to where they came from.
    let main = world.nodes[0].ip(&format!("route show {VIP4}")).unwrap();
    assert!(main.starts_with("blackhole"), "{main}");
    // Nor may the table take another address from the node, or announce it.
    assert_eq!(world.nodes[0].ip(&format!("route show {STRANGER}")).unwrap(), "");
    world.has_next_hops(STRANGER, &[]).unwrap();

    let mut tables = tables;
    let second_table = tables.pop().unwrap();
    let version = || -> Result<String> {
        let answer = router.vtysh(&format!("show bgp ipv4 unicast {VIP4}"))?;
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    };
    let before = version().unwrap();
    tables.pop().unwrap().stop(Ending::Keep).unwrap();
    let again = Keeping::start(&world.nodes[0], Configuration::default(), vips).unwrap();
    again.wait("the table", |status| status.vips.len() == 2).unwrap();
    by(&both);
    assert_eq!(version().unwrap(), before, "the router was told nothing");
    again.stop(Ending::Withdraw).unwrap();
    by(&["10.0.1.12"]);
    second_table.stop(Ending::Withdraw).unwrap();
    by(&[]);
}
