//! The examples of `packaging` for routers, as they are but for addresses and BFD's intervals: two nodes announce to each
//! as it asks them to.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::route_changes::RouteChanges;
use lab::router::{Bird, Frr};
use lab::wait;
use lb_userspace::announce::bfd::{self, State};
use lb_userspace::announce::bgp::Peer;

use crate::world::*;

const FRR: &str = include_str!("../../../packaging/examples/router-frr.conf");
const BIRD: &str = include_str!("../../../packaging/examples/router-bird.conf");

/// What no VIP's network has, so that the router must not take it.
const STRANGER: &str = "192.0.2.7";

/// BFD's intervals, which here are longer than the examples': how soon a node is given up is not what is tested.
const BFD: Duration = Duration::from_secs(1);

/// The words of the examples that tell BFD's intervals, and what stands for them here.
const INTERVALS: [[&str; 2]; 3] = [
    ["receive-interval 100\n", "receive-interval 1000\n"],
    ["transmit-interval 100\n", "transmit-interval 1000\n"],
    ["bfd { interval 100 ms;", "bfd { interval 1000 ms;"],
];

fn of_this_lab(example: &str) -> String {
    let here = example.replace("10.0.1.", "10.205.0.").replace("fd00:1::", "fd05::");
    INTERVALS.iter().fold(here, |text, [theirs, ours]| text.replace(theirs, ours))
}

fn timers() -> bfd::Timers {
    bfd::Timers { transmit: BFD, receive: BFD, multiplier: 3 }
}

fn with_password(peer: Peer) -> Peer {
    Peer { md5_password: Some("change-me".to_owned()), ..peer }
}

fn until(what: &str, evidence: &dyn Fn() -> String, look: impl Fn() -> Result<()>) {
    if let Err(error) = wait::until(what, SOON, look) {
        panic!("{error:#}\n{}", evidence());
    }
}

/// Both nodes' VIPs are taken and nothing else, one that drains is the last choice, routes are replaced and never gone
/// meanwhile, and BFD is up where it is asked for.
fn both_nodes_are_heard(world: &World, [first, second]: [Peer; 2], evidence: &dyn Fn() -> String) {
    let vips = announced(&[VIP4, VIP6, STRANGER]);
    let routers = [&first, &second].map(|peer| (peer.address, peer.bfd.is_some()));
    let nodes = [(0, first), (1, second)].map(|(number, peer)| {
        Speaking::start(&world.nodes[usize::from(number)], speaker(number, [peer]), vips.clone()).unwrap()
    });
    let by = |next_hops: [&[&str]; 2]| {
        for (vip, next_hops) in [VIP4, VIP6].into_iter().zip(next_hops) {
            until("the router's routes", evidence, || world.has_next_hops(vip, next_hops));
        }
    };
    let both: [&[&str]; 2] = [&["10.205.0.11", "fd05::12"], &["fd05::11", "fd05::12"]];
    by(both);
    world.has_next_hops(STRANGER, &[]).unwrap();
    for (node, (router, has_bfd)) in nodes.iter().zip(routers) {
        let is_up = |status: &bfd::Status| status.state == State::Up;
        let is_watched =
            node.wait(router, "BFD", |status| !has_bfd || status.bfd.as_ref().is_some_and(is_up));
        is_watched.unwrap_or_else(|error| panic!("{error:#}\n{}", evidence()));
    }
    let changes = RouteChanges::of(&world.router).unwrap();
    nodes[0].want(draining(&[VIP4, VIP6]));
    by([&["fd05::12"], &["fd05::12"]]);
    nodes[1].want(announced(&[]));
    by([&["10.205.0.11"], &["fd05::11"]]);
    let vips_alone = [VIP4, VIP6].map(|vip| vip.parse().unwrap());
    changes.were_never_gone(&vips_alone).unwrap();
    nodes[0].want(vips);
    until("that nothing else is taken", evidence, || {
        let routes = world.router.ip("-4 route show")?;
        ensure!(!routes.contains(STRANGER), "{routes}");
        Ok(())
    });
}

#[test]
fn frr_as_in_its_example_takes_vips_of_nodes_and_nothing_else() {
    let Some(_alone) = lab::alone() else { return };
    let world = World::new(2).unwrap();
    let frr = Frr::configured(&world.router, &of_this_lab(FRR)).unwrap();
    let first = Peer { bfd: Some(timers()), ..over_ipv4(0) };
    let second = Peer { ttl_security: true, ..over_ipv6(1) };
    both_nodes_are_heard(&world, [first, second].map(with_password), &|| frr.evidence());
}

#[test]
fn bird_as_in_its_example_takes_vips_of_nodes_and_nothing_else() {
    let Some(_alone) = lab::alone() else { return };
    let world = World::new(2).unwrap();
    let bird = Bird::configured(&world.router, &of_this_lab(BIRD)).unwrap();
    let secured = |peer: Peer| Peer { bfd: Some(timers()), ttl_security: true, ..peer };
    let peers = [over_ipv4(0), over_ipv6(1)].map(secured).map(with_password);
    both_nodes_are_heard(&world, peers, &|| bird.evidence());
}

#[test]
fn both_examples_ask_for_the_intervals_that_are_longer_here() {
    for (example, changed) in [(FRR, 2), (BIRD, 1)] {
        let changes = INTERVALS.iter().map(|[theirs, _]| example.matches(theirs).count());
        assert_eq!(changes.sum::<usize>(), changed);
    }
}
