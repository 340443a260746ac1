//! The probe: a node's question, and the answer of the attached program.

use etherparse::PacketBuilder;
use lb_common::gue::probe::{Capabilities, Listener, Question};
use lb_common::reason::Reason;

use crate::loaded::{Agent, Fate, Kind, LOCAL, LOCAL_6, NODE, NODE_6, VIP, VIP_6};

const MACS: [[u8; 6]; 2] = [[2; 6], [4; 6]];

/// A frame between node and target with this UDP payload, checksums valid.
fn frame(version: u8, back: bool, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let (mut packet, at) = (Vec::new(), usize::from(back));
    let link = PacketBuilder::ethernet2(MACS[at], MACS[1 - at]);
    let (v4, v6) = ([NODE, LOCAL], [NODE_6, LOCAL_6]);
    let ip = if version == 4 {
        link.ipv4(v4[at], v4[1 - at], hop_limit)
    } else {
        link.ipv6(v6[at], v6[1 - at], hop_limit)
    };
    let [source, destination] = if back { [6080, 50_000] } else { [50_000, 6080] };
    ip.udp(source, destination).write(&mut packet, payload).unwrap();
    packet
}

#[test]
fn a_node_s_question_is_answered_in_place() {
    for kind in [Kind::Xdp, Kind::Tc] {
        let Some(mut agent) = Agent::load(kind) else { return };
        agent.set_capabilities(Capabilities::SECOND_CHANCE.0);
        agent.translate(6, 80, 8080);
        for version in [4, 6] {
            for (vip, port, served) in [
                (VIP.into(), 80, Some(8080)),
                (VIP_6.into(), 80, Some(8080)),
                (VIP.into(), 443, Some(443)),
                ([192, 0, 2, 8].into(), 80, None),
            ] {
                let question = Question {
                    nonce: 0x1234_5678_9abc_def0,
                    listener: Some(Listener { vip, protocol: 6, port }),
                };
                let (fate, out, reason) = agent.run(&frame(version, false, 60, &question.encode()));
                assert_eq!((fate, reason), (Fate::Sent, Reason::AgentProbeAnswered));
                let payload = &out[out.len() - 44..];
                let answer = question.answer(payload).unwrap();
                assert_eq!((answer.capabilities, answer.served), (Capabilities::SECOND_CHANCE, served));
                assert_eq!((answer.chain_format, answer.version), (1, [0, 1, 0]));
                assert_eq!(out, frame(version, true, 64, payload), "{kind:?}: every checksum is right");
            }
        }
    }
}

#[test]
fn only_a_known_node_s_well_formed_question_is_answered() {
    let Some(agent) = Agent::load(Kind::Xdp) else { return };
    let question = Question { nonce: 7, listener: None }.encode();
    let right = frame(4, false, 64, &question);
    let mut cases = vec![
        ("another's", 29, 9, Reason::AgentUnknownNode),
        ("an answer", 47, 2, Reason::AgentUnknownGue),
        ("another format", 46, 2, Reason::AgentUnknownGue),
        ("another type", 43, 212, Reason::AgentUnknownGue),
    ];
    cases.push(("what is reserved", 53, 1, Reason::AgentUnknownGue));
    for (name, at, value, expected) in cases {
        let mut wrong = right.clone();
        wrong[at] = value;
        let (fate, out, reason) = agent.run(&wrong);
        assert_eq!((fate, reason), (Fate::Dropped, expected), "{name}");
        assert_eq!(out, wrong, "{name}");
    }
    let longer = frame(4, false, 64, &[&question[..], &[0]].concat());
    assert_eq!(agent.run(&longer).2, Reason::AgentUnknownGue);
}
