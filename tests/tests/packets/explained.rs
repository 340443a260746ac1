//! What `explain` says against what the balancer then does: every case of the table, nothing changed by asking.

use lb_common::trace::Step;
use lb_common::{Slot, TargetId};

use crate::client::{Family, Kind, Packet};
use crate::node;
use crate::node::{Node, growth};
use crate::program::action;
use crate::remote::{NODE_INTERFACE, Outer, Remote, Role};
use crate::table::{cases, distinct_targets};

/// Explains a frame and then runs the balancer on it; what differs, in words.
fn disagreement(node: &mut Node, frame: &[u8]) -> String {
    let before = node.state();
    let explained = node.explain(NODE_INTERFACE, frame);
    let mut wrong = String::new();
    if node.state() != before {
        wrong.push_str("  asking changed something\n");
    }
    let outcome = node.run(frame);
    let counted = growth(&before.counts, &node.counts());
    if action(explained.action) != outcome.action || explained.frame != outcome.packet {
        wrong.push_str(&format!("  explained {explained:?}, happened {outcome:?}\n"));
    }
    let told = match explained.trace.reason() {
        Some(reason) => format!("reason {}", reason.name()),
        None => format!("target {} packets", explained.trace.target),
    };
    if counted.get(&told) != Some(&1) {
        wrong.push_str(&format!("  told {told}, counted {counted:?}\n"));
    }
    wrong
}

#[test]
fn explain_agrees_with_the_balancer_in_every_case_and_changes_nothing() {
    let Some(mut node) = node() else { return };
    let cases = cases();
    let mut wrong = String::new();
    for case in &cases {
        case.prepare(&mut node);
        let complaint = disagreement(&mut node, &case.packet);
        if !complaint.is_empty() {
            wrong.push_str(&format!("{}:\n{complaint}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    println!("{} cases", cases.len());
}

#[test]
fn explain_agrees_on_flows_of_every_slot_state() {
    let Some(mut node) = node() else { return };
    let targets = distinct_targets();
    node.reset(Slot::EMPTY);
    let slot = |at: usize| {
        let (one, other) = (targets[at].id(), targets[(at + 1) % targets.len()].id());
        [
            Slot::stable(one),
            Slot::changing(one, other),
            Slot::exceptions(one),
            Slot::changing(TargetId::NONE, other),
        ][at % 4]
    };
    node.publish((0..targets.len()).map(slot).collect());
    let mut steps = 0;
    for round in 0..3 {
        for port in 1..=300 {
            let kind = [Kind::Ack, Kind::Syn, Kind::Udp][(usize::from(port) + round) % 3];
            for family in Family::BOTH {
                let frame = Packet::new(family, kind).with_source_port(port).frame();
                steps |= node.explain(NODE_INTERFACE, &frame).trace.steps;
                let complaint = disagreement(&mut node, &frame);
                assert!(complaint.is_empty(), "{family:?} {kind:?} from port {port}:\n{complaint}");
            }
        }
    }
    for step in [Step::FlowTable, Step::Known, Step::Exception, Step::Target, Step::Reason] {
        assert!(steps & step as u32 != 0, "{step:?} was never met");
    }
}

#[test]
fn explain_tells_the_slot_and_what_the_flow_table_knows() {
    let Some(mut node) = node() else { return };
    let (one, other) = (Remote::new(Outer::ALL[0], Role::One), Remote::new(Outer::ALL[0], Role::Other));
    let ack = Packet::new(Family::V4, Kind::Ack);
    node.reset(Slot::changing(other.id(), one.id()));
    let unknown = node.explain(NODE_INTERFACE, &ack.frame()).trace;
    assert_eq!((unknown.slot, unknown.hash), ((ack.hash() >> 60) as u32, ack.hash()));
    assert!(unknown.has(Step::FlowTable) && !unknown.has(Step::Known) && unknown.has(Step::Exception));
    node.run(&ack.frame());
    let known = node.explain(NODE_INTERFACE, &ack.frame()).trace;
    assert!(known.has(Step::Known) && known.entry as u16 == one.id().0 && known.target == one.id().0);
}
