//! The tests over the whole table.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::client::{Family, Kind, Packet};
use crate::node::SLOTS;
use crate::program::Action;
use crate::remote::{Outer, Remote, Role};
use crate::{
    attributes, chain, echo, exceptions, forwarded, fragments, icmp_error, link, malformed, martian, node,
    not_ours, policy, quic, too_big,
};
use lb_common::Slot;

/// Every case.
pub fn cases() -> Vec<Case> {
    let groups = [
        forwarded::cases(),
        exceptions::cases(),
        chain::cases(),
        not_ours::cases(),
        malformed::cases(),
        echo::cases(),
        quic::cases(),
        fragments::cases(),
        attributes::cases(),
        icmp_error::cases(),
        too_big::cases(),
        martian::cases(),
        link::cases(),
        policy::cases(),
    ];
    groups.into_iter().flatten().collect()
}

/// The shortest frame that the kernel's test run takes.
const SHORTEST: usize = 14;

#[test]
fn every_case_gets_its_verdict_counts_and_bytes() {
    let Some(mut node) = node() else { return };
    let cases = cases();
    let wrong: Vec<String> = cases.iter().filter_map(|case| case.play(&mut node).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases are wrong\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    println!("{} cases", cases.len());
}

#[test]
fn the_table_is_large_and_its_names_are_unique() {
    let cases = cases();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 120, "{} cases", cases.len());
}

#[test]
fn every_truncation_of_every_case_goes_up_the_stack_unchanged() {
    let Some(mut node) = node() else { return };
    let mut wrong = Vec::new();
    for case in cases() {
        case.prepare(&mut node);
        for length in SHORTEST..case.packet.len() {
            let packet = &case.packet[..length];
            let (cut, outcome) = (case.packet.len() - length, node.run(packet));
            let complaint = if cut <= case.padding {
                case.wrong_in(&outcome, cut)
            } else if outcome.action != Action::Pass || outcome.packet != packet {
                format!("  {:?}, with {} bytes\n", outcome.action, outcome.packet.len())
            } else {
                continue;
            };
            if !complaint.is_empty() {
                wrong.push(format!("{}, cut to {length} bytes:\n{complaint}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_flow_goes_to_the_target_of_its_slot() {
    let Some(mut node) = node() else { return };
    let remotes = distinct_targets();
    node.reset(Slot::EMPTY);
    node.publish(remotes.iter().map(|remote| Slot::stable(remote.id())).collect());
    let mut met = BTreeSet::new();
    for source_port in 1..=1000 {
        for (family, kind) in Family::BOTH.iter().flat_map(|family| Kind::ALL.map(|kind| (*family, kind))) {
            let packet = Packet::new(family, kind).with_source_port(source_port);
            let remote = remotes[(packet.hash() >> 60) as usize];
            assert_eq!(
                node.run(&packet.frame()).packet,
                remote.encapsulated(&packet),
                "{family:?} {kind:?} from port {source_port}, target {:?}",
                remote.id()
            );
            met.insert(remote.id());
        }
    }
    assert_eq!(met.len(), remotes.len(), "every slot was met");
}

/// One reachable target for each of the 16 slots.
pub fn distinct_targets() -> Vec<Remote> {
    let roles = [Role::One, Role::Other, Role::Far, Role::Spread];
    Outer::ALL.into_iter().flat_map(|outer| roles.map(|role| Remote::new(outer, role))).collect()
}

#[test]
fn a_frame_without_headroom_is_dropped_and_counted() {
    let Some(mut node) = node() else { return };
    let remote = Remote::new(Outer::ALL[3], Role::One);
    node.reset(Slot::stable(remote.id()));
    let frame = Packet::new(Family::V6, Kind::Ack).frame();
    assert_eq!(node.program().verdict_behind_metadata(&frame, 180), Action::Drop);
    assert_eq!(node.counts(), [("reason no_headroom".to_string(), 1)].into());
}

#[test]
fn a_target_whose_entry_is_rewritten_keeps_its_flows() {
    let Some(mut node) = node() else { return };
    let (one, other) = (Remote::new(Outer::ALL[0], Role::One), Remote::new(Outer::ALL[0], Role::Other));
    let ack = Packet::new(Family::V4, Kind::Ack);
    node.reset(Slot::changing(other.id(), one.id()));
    node.run(&ack.frame());
    node.publish(vec![Slot::exceptions(other.id()); SLOTS]);
    // Several words of the entry change: its outer source address and its next hop.
    let moved = Remote { role: Role::Spread, ..one };
    let done = AtomicBool::new(false);
    let mut strayed = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                [moved, one].iter().for_each(|remote| node.set_entry(one.id(), &remote.entry()));
            }
        });
        let elsewhere = other.encapsulated(&ack);
        for _ in 0..100_000 {
            strayed += u32::from(node.run(&ack.frame()).packet == elsewhere);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(strayed, 0, "packets left their flow's target while its entry was rewritten");
}

#[test]
fn a_flow_that_was_idle_too_long_is_unknown() {
    let Some(mut node) = node() else { return };
    let (one, other) = (Remote::new(Outer::ALL[0], Role::One), Remote::new(Outer::ALL[0], Role::Other));
    let packet = Packet::new(Family::V4, Kind::Udp).with_port(83);
    node.reset(Slot::changing(other.id(), one.id()));
    node.run(&packet.frame());
    node.publish(vec![Slot::exceptions(other.id()); SLOTS]);
    // A tick is 1.07 s, and each packet makes the flow as young as can be.
    let deadline = Instant::now() + Duration::from_secs(5);
    while node.run(&packet.frame()).packet != other.encapsulated(&packet) {
        assert!(Instant::now() < deadline, "the flow is still known: {:?}", node.flows());
    }
    assert_eq!(node.marked_slots().len(), 1, "while it was known its packets were exceptions");
}
