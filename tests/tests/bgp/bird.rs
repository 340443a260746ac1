//! BIRD as the router.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::router::Bird;
use lab::stall::Stall;
use lab::wait;
use lb_userspace::announce::bfd::{self, State};
use lb_userspace::announce::bgp::Peer;

use crate::world::*;

fn until(bird: &Bird, what: &str, look: impl Fn() -> Result<()>) {
    if let Err(error) = wait::until(what, SOON, look) {
        panic!("{error:#}\n{}", bird.evidence());
    }
}

fn until_said(bird: &Bird, question: &str, words: &[&str]) {
    until(bird, &format!("{words:?} in `{question}`"), || {
        let answer = bird.ask(question)?;
        let missing = words.iter().find(|word| !answer.contains(**word));
        ensure!(missing.is_none(), "{missing:?} is not in {answer}");
        Ok(())
    });
}

#[test]
fn bird_takes_what_is_announced() {
    let Some(_turn) = lab::among_others() else { return };
    let world = World::new(2).unwrap();
    let mut first = over_ipv4(0);
    first.communities = vec!["65000:1".parse().unwrap()];
    first.large_communities = vec!["4200000001:5:6".parse().unwrap()];
    let second = Peer { ttl_security: true, ..over_ipv6(1) };
    let bird = Bird::start(&world.router, &World::routing([&first, &second].map(neighbour_of))).unwrap();
    let vips = announced(&[VIP4, VIP6]);
    let one = Speaking::start(&world.nodes[0], speaker(0, [first]), vips.clone()).unwrap();
    let _two = Speaking::start(&world.nodes[1], speaker(1, [second]), vips.clone()).unwrap();
    let by = |next_hops: [&[&str]; 2]| {
        for (vip, next_hops) in [VIP4, VIP6].into_iter().zip(next_hops) {
            until(&bird, "the routes", || world.has_next_hops(vip, next_hops));
        }
    };
    let both: [&[&str]; 2] = [&["10.205.0.11", "fd05::12"], &["fd05::11", "fd05::12"]];
    by(both);
    until_said(
        &bird,
        "show route all protocol node0",
        &["BGP.as_path: 4200000001", "BGP.community: (65000,1)", "BGP.large_community: (4200000001, 5, 6)"],
    );
    one.want(draining(&[VIP4, VIP6]));
    by([&["fd05::12"], &["fd05::12"]]);
    one.want(vips);
    by(both);

    bird.order("reload in node0").unwrap();
    one.wait(ROUTER4, "a route refresh", |status| status.counters.route_refreshes > 0).unwrap();
    one.stop("node lb1 is being upgraded");
    by([&["fd05::12"], &["fd05::12"]]);
    until(&bird, "the shutdown's text", || {
        let log = bird.process.log();
        ensure!(log.contains("node lb1 is being upgraded"), "{log}");
        Ok(())
    });
}

#[test]
fn bird_and_bfd_part_within_its_time() {
    let Some(_alone) = lab::alone() else { return };
    let interval = Duration::from_millis(100);
    let timers = bfd::Timers { transmit: interval, receive: interval, multiplier: 3 };
    let peer = Peer { bfd: Some(timers), md5_password: Some("secret".to_owned()), ..over_ipv4(0) };
    let world = World::new(1).unwrap();
    let mut neighbour = neighbour_of(&peer);
    neighbour.bfd = Some(100);
    let bird = Bird::start(&world.router, &World::routing([neighbour])).unwrap();
    let speaking = Speaking::start(&world.nodes[0], speaker(0, [peer]), announced(&[VIP4])).unwrap();
    let is_up = |status: &bfd::Status| status.state == State::Up;
    let ready = speaking.wait(ROUTER4, "BGP and BFD", |status| {
        status.announced == 1 && status.bfd.as_ref().is_some_and(is_up)
    });
    if let Err(error) = ready {
        panic!("{error:#}\n{}", bird.evidence());
    }
    let stall = Stall::watch();
    let unplugged_at = Instant::now();
    world.unplug(0).unwrap();
    let status = speaking.wait_error(ROUTER4, "BFD Down (6/10)").unwrap();
    let took = status.last_error.as_ref().unwrap().0 - unplugged_at;
    let stall = stall.longest();
    assert!(took < PARTED + WOKEN * stall, "{took:?}, and threads waited for {stall:?}");
    until(&bird, "the router's view", || world.has_next_hops(VIP4, &[]));
    world.plug_in(0).unwrap();
    until(&bird, "the way back", || world.has_next_hops(VIP4, &["10.205.0.11"]));
}
