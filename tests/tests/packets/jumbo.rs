//! Jumbo frames: packets that do not fit one buffer of a driver's, and what becomes of those whose headers do not.

use lb_common::{Reason, Slot};
use lb_userspace::programs::Buffers;

use crate::case::{Case, Step};
use crate::client::{Family, Kind, Packet};
use crate::echo;
use crate::forwarded::listener;
use crate::node;
use crate::node::{Node, UDP, growth};
use crate::program::{Action, Outcome, action};
use crate::remote::{NODE_INTERFACE, Outer, Remote, Role};
use crate::too_big::told;

/// More than two pages.
const JUMBO: usize = 8_900;

/// A packet of `length` bytes from its IP header on.
fn packet(family: Family, kind: Kind, length: usize) -> Packet {
    let plain = Packet { payload: vec![], ..Packet::new(family, kind) };
    let payload = (0..length - plain.inner_length()).map(|at| (at / 8 * 31) as u8).collect();
    Packet { payload, ..plain }
}

/// A target whose way takes jumbo frames.
fn roomy(outer: Outer) -> Remote {
    Remote { mtu: 9_000, ..Remote::new(outer, Role::One) }
}

fn forwarded(what: &str, packet: &Packet, remote: Remote) -> Case {
    let name = format!("{:?} {:?} by {}: {what}", packet.family, packet.kind, remote.outer.name());
    Case::forwarded(name, Slot::stable(remote.id()), packet, listener(packet), remote)
        .after([Step::Target(remote)])
}

/// Forwarded whole, with all that is behind their first buffer.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, outer) in Family::BOTH.into_iter().flat_map(|family| Outer::ALL.map(|outer| (family, outer)))
    {
        for kind in [Kind::Ack, Kind::Udp] {
            let jumbo = packet(family, kind, JUMBO);
            cases.extend([
                forwarded("jumbo", &jumbo, roomy(outer)),
                forwarded("jumbo in two tags", &Packet { tags: 2, ..jumbo.clone() }, roomy(outer)),
                forwarded("jumbo with padding", &Packet { padding: 5_000, ..jumbo.clone() }, roomy(outer)),
                forwarded("just over a page", &packet(family, kind, 4_097), roomy(outer)),
            ]);
            cases.extend(too_big(&jumbo, outer));
        }
    }
    cases.extend(Family::BOTH.map(contradictions).into_iter().flatten());
    cases
}

/// Jumbo frames towards a link that is not: the answer quotes from the first buffer, and the others go.
fn too_big(packet: &Packet, outer: Outer) -> Vec<Case> {
    let fits = 1_400;
    let narrow = Remote { mtu: fits + outer.overhead() as u16, ..Remote::new(outer, Role::One) };
    let name = format!("{:?} {:?} by {}: jumbo, too big", packet.family, packet.kind, outer.name());
    let answered =
        Case::answered_for(Reason::TooBigAnswered, name.clone(), packet.frame(), told(packet, fits));
    let mut cases = vec![answered.on(Slot::stable(narrow.id())).after([Step::Target(narrow)])];
    if packet.family == Family::V4 {
        let may_be_fragmented = Packet { dont_fragment: false, ..packet.clone() };
        let slot = Slot::stable(narrow.id());
        cases.push(
            Case::refused(name + ", without DF", slot, may_be_fragmented.frame(), Reason::TooBig)
                .after([Step::Target(narrow)]),
        );
    }
    cases
}

/// Jumbo frames that announce more than they have.
fn contradictions(family: Family) -> Vec<Case> {
    let remote = roomy(Outer::ALL[0]);
    let at = if family == Family::V4 { 16 } else { 18 };
    let case = |what: &str, announced: u16| {
        let mut frame = packet(family, Kind::Udp, JUMBO).frame();
        frame[at..at + 2].copy_from_slice(&announced.to_be_bytes());
        Case::refused(
            format!("{family:?} jumbo: {what}"),
            Slot::stable(remote.id()),
            frame,
            Reason::SplitHeaders,
        )
    };
    vec![case("longer than the frame by one", JUMBO as u16 + 1), case("longer than any frame", 65_495)]
}

#[test]
fn jumbo_frames_are_forwarded_answered_and_passed_on_whole() {
    let Some(mut node) = node() else { return };
    let cases = cases();
    let wrong: Vec<String> = cases.iter().filter_map(|case| case.play(&mut node).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases are wrong\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn a_jumbo_ping_is_answered() {
    let Some(mut node) = node() else { return };
    node.reset(Slot::EMPTY);
    for family in Family::BOTH {
        let (request, reply) = echo::jumbo(family, 8_800);
        assert_eq!(node.run(&request), Outcome { action: Action::Tx, packet: reply }, "{family:?}");
    }
}

#[test]
fn explain_agrees_on_jumbo_frames() {
    let Some(mut node) = node() else { return };
    for case in cases() {
        case.prepare(&mut node);
        let explained = node.explain(NODE_INTERFACE, &case.packet);
        let outcome = node.run(&case.packet);
        assert_eq!(
            (action(explained.action), explained.frame),
            (outcome.action, outcome.packet),
            "{}",
            case.name
        );
    }
}

/// What becomes of a frame of whose bytes so many are in the first buffer; how often each reason was counted.
fn run_split(node: &Node, frame: &[u8], first: usize) -> Option<(Outcome, node::Counts)> {
    let before = node.counts();
    let outcome = node.program().run_in_buffers(frame, first)?;
    Some((outcome, growth(&before, &node.counts())))
}

#[test]
fn headers_in_a_second_buffer_are_the_hosts_with_a_reason_of_their_own() {
    let Some(mut node) = node() else { return };
    let remote = roomy(Outer::ALL[0]);
    let extensions = vec![(60, vec![0; 8]), (60, vec![0; 8])];
    let chained = Packet { extensions, ..packet(Family::V6, Kind::Udp, 300) };
    let optioned = Packet { options: vec![1; 40], ..packet(Family::V4, Kind::Udp, 300) };
    for (packet, headers) in [
        (packet(Family::V4, Kind::Udp, JUMBO), 14 + 20 + 8),
        (packet(Family::V6, Kind::Udp, JUMBO), 14 + 40 + 8),
        (packet(Family::V4, Kind::Udp, 100), 14 + 20 + 8),
        (Packet { tags: 2, ..packet(Family::V4, Kind::Udp, 100) }, 22 + 20 + 8),
        (optioned, 14 + 60 + 8),
        (chained, 14 + 40 + 16 + 8),
    ] {
        let case = forwarded("split", &packet, remote);
        case.prepare(&mut node);
        for first in 14..headers + 20 {
            let Some((outcome, counted)) = run_split(&node, &case.packet, first) else {
                return println!("no frames in several buffers of a choice before Linux 6.18");
            };
            if first >= headers {
                let wrong = case.wrong_in(&outcome, 0);
                assert!(
                    wrong.is_empty() && counted == case.expected.counts,
                    "{first} bytes: {wrong}{counted:?}"
                );
            } else {
                assert_eq!(
                    outcome,
                    Outcome { action: Action::Pass, packet: case.packet.clone() },
                    "{first} bytes"
                );
                assert_eq!(counted, [("reason split_headers".to_string(), 1)].into(), "{first} bytes");
            }
        }
    }
}

#[test]
fn an_answer_whose_quote_is_not_in_the_first_buffer_is_not_given() {
    let Some(mut node) = node() else { return };
    for family in Family::BOTH {
        let narrow = Remote { mtu: 1_400, ..Remote::new(Outer::ALL[0], Role::One) };
        node.reset(Slot::stable(narrow.id()));
        node.set_target(narrow);
        let packet = packet(family, Kind::Udp, JUMBO);
        let Some((short, counted)) = run_split(&node, &packet.frame(), 128) else { return };
        assert_eq!(short.action, Action::Drop, "{family:?}");
        assert_eq!(counted, [("reason too_big".to_string(), 1)].into());
        let (long, _) = run_split(&node, &packet.frame(), 1_400).expect("as before");
        let fits = 1_400 - Outer::ALL[0].overhead() as u16;
        assert_eq!(long, Outcome { action: Action::Tx, packet: told(&packet, fits) }, "{family:?}");
    }
}

#[test]
fn a_program_for_one_buffer_balances_and_has_no_code_for_more() {
    let Some(mut several) = node() else { return };
    let mut one = Node::for_buffers(Buffers::One);
    let remote = Remote::new(Outer::ALL[0], Role::One);
    let case =
        Case::forwarded("", Slot::stable(remote.id()), &packet(Family::V4, Kind::Udp, 900), UDP, remote);
    assert_eq!(case.play(&mut one), Ok(()));
    assert_eq!(case.play(&mut several), Ok(()));
    let [one, several] = [one, several].map(|node| node.program().translated_size());
    assert!(one < several, "for one buffer {one} bytes, for several {several}");
}
