//! What many fragments in a row do: orders, floods, and time.

use std::time::{Duration, Instant};

use lb_common::{Reason, Slot};

use super::cut::fragments;
use super::{CUTS, IDENTIFICATION, datagram, forwarded, one};
use crate::client::{Family, Kind};
use crate::node::{Node, TCP};
use crate::program::Action;
use crate::{node, table};

fn reasons(node: &Node, reason: Reason) -> u64 {
    node.counts().get(&format!("reason {}", reason.name())).copied().unwrap_or(0)
}

#[test]
fn fragments_in_any_order_behind_the_first_meet_one_target() {
    let Some(mut node) = node() else { return };
    let remotes = table::distinct_targets();
    node.reset(Slot::EMPTY);
    node.publish(remotes.iter().map(|remote| Slot::stable(remote.id())).collect());
    let mut random = fastrand::Rng::with_seed(7);
    let mut dropped = 0;
    for identification in 0..1000 {
        let family = Family::BOTH[identification as usize % 2];
        let kind = Kind::ALL[identification as usize % 3];
        let packet = datagram(family, kind).with_source_port(identification as u16 + 1);
        let mut parts = fragments(&packet, &[24, 48, 64], identification);
        let remote = remotes[(packet.hash() >> 60) as usize];
        let first = parts[0].clone();
        random.shuffle(&mut parts);
        let mut came = false;
        for part in parts {
            came |= part == first;
            let outcome = node.run(&part);
            let expected = forwarded(String::new(), Slot::EMPTY, &packet, &part, TCP, remote).expected;
            if came {
                assert_eq!(Some(outcome.packet), expected.packet, "{family:?} {kind:?} {identification}");
            } else {
                assert_eq!(outcome.action, Action::Drop);
                dropped += 1;
            }
        }
    }
    assert_eq!(reasons(&node, Reason::FragmentUnknown), dropped, "each of them is counted");
}

#[test]
fn a_flood_of_first_fragments_does_not_stop_a_datagram_whose_middle_came() {
    let Some(mut node) = node() else { return };
    node.reset(Slot::stable(one().id()));
    for family in Family::BOTH {
        let parts = |identification| fragments(&datagram(family, Kind::Udp), &CUTS, identification);
        let (long, short) = (parts(1), parts(2));
        [&long[0], &long[1], &short[0]].iter().for_each(|part| drop(node.run(part)));
        (1000..3000).for_each(|flood| drop(node.run(&parts(flood)[0])));
        assert_eq!(node.run(&long[2]).action, Action::Tx, "{family:?}: it is safe from the flood");
        assert_eq!(
            node.run(&short[2]).action,
            Action::Drop,
            "{family:?}: the table is not larger than stated"
        );
        assert_eq!(node.run(&parts(2)[0]).action, Action::Tx, "{family:?}: the next one is welcome");
        assert_eq!(node.run(&short[2]).action, Action::Tx, "{family:?}: and is known");
    }
}

#[test]
fn a_datagram_is_forgotten_within_four_seconds() {
    let Some(mut node) = node() else { return };
    node.reset(Slot::stable(one().id()));
    let parts = fragments(&datagram(Family::V4, Kind::Udp), &CUTS, IDENTIFICATION);
    node.run(&parts[0]);
    let began = Instant::now();
    while node.run(&parts[1]).action == Action::Tx {
        assert!(began.elapsed() < Duration::from_secs(4), "later fragments keep it alive");
    }
    assert!(began.elapsed() > Duration::from_secs(2), "known for {:?} only", began.elapsed());
}
