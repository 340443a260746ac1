//! GoBGP as the router.

use anyhow::{Result, ensure};
use lab::router::GoBgp;
use lab::wait;
use lb_userspace::announce::Wanted;
use lb_userspace::announce::bgp::Peer;

use crate::world::*;

fn until(gobgp: &GoBgp<'_>, what: &str, look: impl Fn() -> Result<()>) {
    if let Err(error) = wait::until(what, SOON, look) {
        panic!("{error:#}\n{}", gobgp.evidence());
    }
}

fn until_said(gobgp: &GoBgp<'_>, question: &str, words: &[&str]) {
    until(gobgp, &format!("{words:?} in `{question}`"), || {
        let answer = gobgp.ask(question)?;
        let missing = words.iter().find(|word| !answer.contains(**word));
        ensure!(missing.is_none(), "{missing:?} is not in {answer}");
        Ok(())
    });
}

#[test]
fn gobgp_takes_what_is_announced() {
    let Some(_turn) = lab::among_others() else { return };
    let world = World::new(1).unwrap();
    let mut peer = Peer { md5_password: Some("secret".to_owned()), med: Some(120), ..over_ipv4(0) };
    peer.communities = vec!["65000:1".parse().unwrap()];
    peer.large_communities = vec!["4200000001:5:6".parse().unwrap()];
    let gobgp = GoBgp::start(&world.router, &World::routing([neighbour_of(&peer)])).unwrap();
    let speaking = Speaking::start(&world.nodes[0], speaker(0, [peer]), announced(&[VIP4, VIP6])).unwrap();
    let labels = ["4200000001", "{Med: 120}", "65000:1", "4200000001:5:6"];
    until_said(&gobgp, "global rib -a ipv4", &[&["10.200.1.1/32", "10.205.0.11"], &labels[..]].concat());
    until_said(&gobgp, "global rib -a ipv6", &[&["fc00:1::1/128", "fd05::11"], &labels[..]].concat());

    speaking.want(draining(&[VIP4, VIP6]));
    until_said(&gobgp, "global rib -a ipv6", &["planned-shut"]);
    speaking.want(Wanted::new());
    until_said(&gobgp, "global rib -a ipv4", &["Network not in table"]);
    speaking.stop("node lb1 is being upgraded");
    until(&gobgp, "the shutdown's text", || {
        let log = gobgp.process.log();
        ensure!(log.contains("node lb1 is being upgraded"), "{log}");
        Ok(())
    });
}
