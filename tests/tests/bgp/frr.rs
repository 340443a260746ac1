//! FRR as the router.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::link;
use lab::router::{Configuration, Frr, Neighbour};
use lab::stall::Stall;
use lab::wait;
use lb_userspace::announce::Wanted;
use lb_userspace::announce::bfd::{self, State};
use lb_userspace::announce::bgp::{Peer, SessionState};

use crate::world::*;

/// Looks at FRR until `look` is content.
fn until(frr: &Frr, what: &str, look: impl Fn() -> Result<()>) {
    if let Err(error) = wait::until(what, SOON, look) {
        panic!("{error:#}\n{}", frr.evidence());
    }
}

/// Waits until what FRR says of a VIP has all these words.
fn until_said(frr: &Frr, vip: &str, words: &[&str]) {
    let question = format!("show bgp {} unicast {vip}", if vip.contains(':') { "ipv6" } else { "ipv4" });
    until(frr, &format!("{words:?} in `{question}`"), || {
        let answer = frr.vtysh(&question)?;
        let missing = words.iter().find(|word| !answer.contains(**word));
        ensure!(missing.is_none(), "{missing:?} is not in {answer}");
        Ok(())
    });
}

/// One node with one session over IPv4, and FRR expecting it.
fn pair(peer: Peer, change: impl FnOnce(&mut Neighbour)) -> (World, Frr, Speaking) {
    let world = World::new(1).unwrap();
    let mut neighbour = neighbour_of(&peer);
    change(&mut neighbour);
    let frr = Frr::start(&world.router, &World::routing([neighbour])).unwrap();
    let speaking = Speaking::start(&world.nodes[0], speaker(0, [peer]), announced(&[VIP4, VIP6])).unwrap();
    (world, frr, speaking)
}

#[test]
fn vips_are_in_the_routers_kernel_by_all_nodes_that_announce_them() {
    let Some(_turn) = lab::among_others() else { return };
    let world = World::new(2).unwrap();
    let (first, second) = (over_ipv4(0), over_ipv6(1));
    let frr = Frr::start(&world.router, &World::routing([&first, &second].map(neighbour_of))).unwrap();
    let vips = announced(&[VIP4, VIP6]);
    let one = Speaking::start(&world.nodes[0], speaker(0, [first]), vips.clone()).unwrap();
    let two = Speaking::start(&world.nodes[1], speaker(1, [second]), vips.clone()).unwrap();
    for (speaking, router) in [(&one, IpAddr::from(ROUTER4)), (&two, ROUTER6.into())] {
        let status = speaking.wait(router, "two VIPs told", |status| status.announced == 2).unwrap();
        assert_eq!(status.withheld, None);
    }
    let by = |next_hops: [&[&str]; 2]| {
        for (vip, next_hops) in [VIP4, VIP6].into_iter().zip(next_hops) {
            until(&frr, "the routes", || world.has_next_hops(vip, next_hops));
        }
    };
    // The second node's IPv4 routes have IPv6 next hops (RFC 8950).
    let both: [&[&str]; 2] = [&["10.205.0.11", "fd05::12"], &["fd05::11", "fd05::12"]];
    by(both);
    one.want(draining(&[VIP4, VIP6]));
    by([&["fd05::12"], &["fd05::12"]]);
    until_said(&frr, VIP4, &["Community: graceful-shutdown"]);
    one.want(vips);
    by(both);
    two.want(Wanted::new());
    by([&["10.205.0.11"], &["fd05::11"]]);
    drop(one);
    by([&[], &[]]);
}

#[test]
fn routes_carry_what_is_configured() {
    let Some(_alone) = lab::alone() else { return };
    let mut peer = over_ipv4(0);
    peer.med = Some(120);
    peer.communities = vec!["65000:1".parse().unwrap(), "65000:77".parse().unwrap()];
    peer.large_communities = vec!["4200000001:5:6".parse().unwrap()];
    peer.next_hop_ipv4 = Some("10.205.0.99".parse().unwrap());
    let (_world, frr, speaking) = pair(peer, |_| ());
    let labels =
        ["4200000001", "metric 120", "Community: 65000:1 65000:77", "Large Community: 4200000001:5:6"];
    until_said(&frr, VIP4, &labels);
    until_said(&frr, VIP6, &labels);
    until_said(&frr, VIP4, &["10.205.0.99 from 10.205.0.11"]);

    frr.vtysh("clear bgp ipv4 unicast * soft in").unwrap();
    let refreshed = speaking.wait(ROUTER4, "a route refresh", |status| status.counters.route_refreshes > 0);
    let status = refreshed.unwrap();
    assert_eq!((status.counters.established, status.announced), (1, 2), "in the same session");
}

#[test]
fn a_thousand_vips_are_told() {
    let Some(_turn) = lab::among_others() else { return };
    let (_world, frr, speaking) = pair(over_ipv4(0), |_| ());
    let vips: Vec<String> = (0..1000).map(|n| format!("10.200.{}.{}", n / 250, n % 250)).collect();
    speaking.want(announced(&vips.iter().map(String::as_str).collect::<Vec<_>>()));
    speaking.wait(ROUTER4, "all told", |status| status.announced == 1000).unwrap();
    let count = |wanted: u64| {
        until(&frr, &format!("{wanted} routes"), || {
            let summary = frr.json("show bgp ipv4 unicast summary json")?;
            let count = summary["peers"]["10.205.0.11"]["pfxRcd"].as_u64().context("no pfxRcd")?;
            ensure!(count == wanted, "{count} routes");
            Ok(())
        });
    };
    count(1000);
    speaking.want(Wanted::new());
    count(0);
}

#[test]
fn within_an_as_routes_have_the_local_preference() {
    let Some(_turn) = lab::among_others() else { return };
    let world = World::new(1).unwrap();
    let peer = Peer { remote_as: NODE_AS, local_preference: 250, ..over_ipv4(0) };
    let routing = Configuration { local_as: NODE_AS, ..World::routing([neighbour_of(&peer)]) };
    let frr = Frr::start(&world.router, &routing).unwrap();
    let speaking = Speaking::start(&world.nodes[0], speaker(0, [peer]), announced(&[VIP4])).unwrap();
    until_said(&frr, VIP4, &["localpref 250", "internal", "Local"]);
    speaking.want(draining(&[VIP4]));
    until_said(&frr, VIP4, &["localpref 0", "graceful-shutdown"]);
}

#[test]
fn the_router_is_told_why_a_session_ends() {
    let Some(_turn) = lab::among_others() else { return };
    let (_world, frr, speaking) = pair(over_ipv4(0), |_| ());
    speaking.wait(ROUTER4, "two VIPs told", |status| status.announced == 2).unwrap();
    speaking.stop("node lb1 is being upgraded");
    until(&frr, "the shutdown's text", || {
        let log = frr.log("bgpd");
        ensure!(log.contains("6/2 (Cease/Administrative Shutdown) \"node lb1 is being upgraded\""), "{log}");
        Ok(())
    });
}

#[test]
fn a_router_of_another_as_is_named() {
    let Some(_turn) = lab::among_others() else { return };
    let (_world, _frr, speaking) = pair(Peer { remote_as: 65123, ..over_ipv4(0) }, |_| ());
    speaking.wait_error(ROUTER4, "the router is of AS 65000, but its remote_as is 65123 here").unwrap();
}

#[test]
fn tcp_md5_lets_the_right_password_through_and_no_other() {
    let Some(_turn) = lab::among_others() else { return };
    for peer in [over_ipv4(0), over_ipv6(0)] {
        let router = peer.address;
        let peer = Peer { md5_password: Some("correct horse".replace(' ', "-")), ..peer };
        let (_world, frr, speaking) = pair(peer, |_| ());
        if let Err(error) = speaking.wait_established(router) {
            panic!("{error:#}\n{}", frr.evidence());
        }
    }
    let wrong = Peer { md5_password: Some("battery-staple".to_owned()), ..over_ipv4(0) };
    let (_world, _frr, speaking) =
        pair(wrong, |neighbour| neighbour.password = Some("correct-horse".to_owned()));
    let status = speaking.wait_error(ROUTER4, "the same md5_password").unwrap();
    assert_eq!(status.counters.established, 0);
}

#[test]
fn ttl_security_is_kept_by_both_sides() {
    let Some(_turn) = lab::among_others() else { return };
    for peer in [over_ipv4(0), over_ipv6(0)] {
        let router = peer.address;
        let (_world, frr, speaking) = pair(Peer { ttl_security: true, ..peer }, |_| ());
        if let Err(error) = speaking.wait_established(router) {
            panic!("{error:#}\n{}", frr.evidence());
        }
    }
    // FRR's packets have a TTL of 1 then, which this side does not take.
    let (_world, _frr, speaking) =
        pair(Peer { ttl_security: true, ..over_ipv4(0) }, |neighbour| neighbour.ttl_security = false);
    speaking.wait_error(ROUTER4, "has it ttl_security for this node, too?").unwrap();
}

#[test]
fn silence_ends_the_session_after_the_hold_time() {
    let Some(_alone) = lab::alone() else { return };
    let peer = Peer { hold_time: Duration::from_secs(3), ..over_ipv4(0) };
    let (world, frr, speaking) = pair(peer, |_| ());
    speaking.wait(ROUTER4, "two VIPs told", |status| status.announced == 2).unwrap();
    let unplugged_at = Instant::now();
    world.unplug(0).unwrap();
    let status = speaking.wait_error(ROUTER4, "Hold Timer Expired (4/0)").unwrap();
    let took = status.last_error.as_ref().unwrap().0 - unplugged_at;
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&took), "{took:?}");
    until(&frr, "the router's view", || world.has_next_hops(VIP4, &[]));
    world.plug_in(0).unwrap();
    until(&frr, "the way back", || world.has_next_hops(VIP4, &["10.205.0.11"]));
}

#[test]
fn bfd_ends_the_session_within_its_time() {
    let Some(_alone) = lab::alone() else { return };
    let interval = Duration::from_millis(100);
    let timers = bfd::Timers { transmit: interval, receive: interval, multiplier: 3 };
    for peer in [over_ipv4(0), over_ipv6(0)] {
        let router = peer.address;
        let (world, frr, speaking) =
            pair(Peer { bfd: Some(timers), ..peer }, |neighbour| neighbour.bfd = Some(100));
        let is_up = |status: &bfd::Status| status.state == State::Up;
        let ready = speaking.wait(router, "BGP and BFD", |status| {
            status.announced == 2 && status.bfd.as_ref().is_some_and(is_up)
        });
        if let Err(error) = ready {
            panic!("{error:#}\n{}", frr.evidence());
        }
        let stall = Stall::watch();
        let unplugged_at = Instant::now();
        world.unplug(0).unwrap();
        let status = speaking.wait_error(router, "BFD Down (6/10)").unwrap();
        let took = status.last_error.as_ref().unwrap().0 - unplugged_at;
        let stall = stall.longest();
        assert!(took < PARTED + WOKEN * stall, "{took:?}, and threads waited for {stall:?}");
        until(&frr, "the router's view", || world.has_next_hops(VIP6, &[]));
        world.plug_in(0).unwrap();
        until(&frr, "the way back", || world.has_next_hops(VIP6, &["fd05::11"]));
        speaking.wait(router, "BFD again", |status| status.bfd.as_ref().is_some_and(is_up)).unwrap();
    }
}

#[test]
fn a_quiet_session_with_bfd_does_not_flap() {
    let Some(_alone) = lab::alone() else { return };
    let interval = Duration::from_millis(500);
    let timers = bfd::Timers { transmit: interval, receive: interval, multiplier: 5 };
    let (_world, frr, speaking) =
        pair(Peer { bfd: Some(timers), ..over_ipv4(0) }, |neighbour| neighbour.bfd = Some(1000));
    // FRR begins its BFD session anew when BGP has come up. Each side gives the other up after five seconds at most.
    let is_up = |bfd: &bfd::Status| bfd.state == State::Up && bfd.since.elapsed() > Duration::from_secs(8);
    let steady = speaking.wait(ROUTER4, "steady BFD", |status| status.bfd.as_ref().is_some_and(is_up));
    let status = steady.unwrap_or_else(|error| panic!("{error:#}\n{}", frr.evidence()));
    let bfd = status.bfd.as_ref().unwrap();
    assert_eq!((bfd.downs, bfd.transmit), (0, interval * 2));
    assert_eq!((status.state, status.counters.established), (SessionState::Established, 1), "{status:?}");
}

#[test]
fn a_new_configuration_leaves_other_sessions_alone() {
    let Some(_alone) = lab::alone() else { return };
    let world = World::new(1).unwrap();
    let (kept, changed) = (over_ipv4(0), over_ipv6(0));
    let frr = Frr::start(&world.router, &World::routing([&kept, &changed].map(neighbour_of))).unwrap();
    let peers = [kept.clone(), changed.clone()];
    let speaking = Speaking::start(&world.nodes[0], speaker(0, peers), announced(&[VIP4])).unwrap();
    for router in [kept.address, changed.address] {
        speaking.wait(router, "a VIP told", |status| status.announced == 1).unwrap();
    }
    let before = speaking.status(kept.address);
    let earlier = speaking.status(changed.address).since;
    let changed = Peer { keepalive: Some(Duration::from_secs(1)), med: Some(7), ..changed };
    speaking.apply(speaker(0, [kept.clone(), changed.clone()])).unwrap();
    speaking.wait(changed.address, "the new session", |status| status.announced == 1).unwrap();
    until_said(&frr, VIP4, &["metric 7"]);
    assert!(speaking.status(changed.address).since > earlier, "it is another session");
    assert_eq!(speaking.status(kept.address).since, before.since);
    speaking.apply(speaker(0, [kept.clone()])).unwrap();
    until(&frr, "the session's end", || {
        let log = frr.log("bgpd");
        ensure!(log.contains("\"the configuration of this node has changed\""), "{log}");
        Ok(())
    });
    assert_eq!(speaking.status(kept.address).since, before.since);
}

#[test]
fn a_router_that_cannot_be_watched_takes_no_session_from_the_others() {
    let Some(_alone) = lab::alone() else { return };
    let world = World::new(1).unwrap();
    let late: IpAddr = "fd05::77".parse().unwrap();
    let unwatchable = Peer { source: late, bfd: Some(bfd::Timers::default()), ..over_ipv6(0) };
    let good = over_ipv4(0);
    let frr = Frr::start(&world.router, &World::routing([&unwatchable, &good].map(neighbour_of))).unwrap();
    let both = || speaker(0, [unwatchable.clone(), good.clone()]);
    let has_its_reason = |speaking: &Speaking| {
        let status = speaking.status(ROUTER6);
        let reason = &status.last_error.as_ref().unwrap().1;
        assert!(reason.contains("watching peer fd05::1 by BFD: opening a UDP port at fd05::77"), "{reason}");
        assert_eq!(speaking.problems(), std::slice::from_ref(reason));
        assert_eq!((status.state, status.announced), (SessionState::Idle, 0));
        status.since
    };

    let speaking = Speaking::start(&world.nodes[0], both(), announced(&[VIP4])).unwrap();
    speaking.wait(ROUTER4, "a VIP told", |status| status.announced == 1).unwrap();
    has_its_reason(&speaking);
    speaking.stop("");

    let speaking = Speaking::start(&world.nodes[0], speaker(0, [good.clone()]), announced(&[VIP4])).unwrap();
    let before = speaking.wait(ROUTER4, "a VIP told", |status| status.announced == 1).unwrap();
    speaking.apply(both()).unwrap();
    let since = has_its_reason(&speaking);
    speaking.apply(both()).unwrap();
    assert_eq!(has_its_reason(&speaking), since, "it is the same trouble");

    link::address(&world.nodes[0], "eth0", late).unwrap();
    speaking.apply(both()).unwrap();
    assert_eq!(speaking.problems(), Vec::<String>::new());
    if let Err(error) = speaking.wait_established(ROUTER6) {
        panic!("{error:#}\n{}", frr.evidence());
    }
    let status = speaking.status(ROUTER4);
    assert_eq!((status.since, status.counters.established), (before.since, 1), "the first session goes on");
}

#[test]
fn what_routes_carry_changes_in_the_running_session() {
    let Some(_alone) = lab::alone() else { return };
    let peer = over_ipv4(0);
    let (_world, frr, speaking) = pair(peer.clone(), |_| ());
    let before = speaking.wait(ROUTER4, "two VIPs told", |status| status.announced == 2).unwrap();
    until_said(&frr, VIP4, &["10.205.0.11 from 10.205.0.11"]);
    let established = || {
        frr.json("show bgp neighbors 10.205.0.11 json").unwrap()["10.205.0.11"]["connectionsEstablished"]
            .as_u64()
    };
    let changed = Peer {
        med: Some(120),
        communities: vec!["65000:77".parse().unwrap()],
        large_communities: vec!["4200000001:5:6".parse().unwrap()],
        next_hop_ipv4: Some("10.205.0.99".parse().unwrap()),
        ..peer.clone()
    };
    speaking.apply(speaker(0, [changed])).unwrap();
    let labels = ["metric 120", "Community: 65000:77", "Large Community: 4200000001:5:6"];
    until_said(&frr, VIP4, &[&labels[..], &["10.205.0.99 from 10.205.0.11"]].concat());
    until_said(&frr, VIP6, &labels);

    speaking.apply(speaker(0, [peer])).unwrap();
    until(&frr, "what was first", || {
        let answer = frr.vtysh(&format!("show bgp ipv4 unicast {VIP4}"))?;
        let is_first = answer.contains("10.205.0.11 from 10.205.0.11") && !answer.contains("metric 120");
        ensure!(is_first, "{answer}");
        Ok(())
    });
    let status = speaking.status(ROUTER4);
    assert_eq!((status.since, status.counters.established), (before.since, 1), "{status:?}");
    assert_eq!(established(), Some(1));
}
