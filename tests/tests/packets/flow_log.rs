//! The flow log: which packets are told of, that no packet goes another way for it, and that what is lost is counted.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::flow_log::{FlowRecord, Share, Sign};
use lb_common::{Slot, TargetId};
use lb_userspace::data_plane::FlowRecords;

use crate::client::{Family, Kind, Packet};
use crate::node;
use crate::node::Node;
use crate::program::Action;
use crate::remote::{NODE_INTERFACE, Outer, Remote, Role};
use crate::table::cases;

/// The ports of UDP listeners whose flows are remembered in changed slots, always, and never.
const UDP: [u16; 3] = [80, 81, 82];

/// A node whose listeners are all logged, and what it tells.
fn logged(share: Share) -> Option<(Node, FlowRecords)> {
    let mut node = node()?;
    let records = node.log_flows(share);
    Some((node, records))
}

fn told(records: &mut FlowRecords) -> Vec<FlowRecord> {
    std::iter::from_fn(|| records.next_record()).collect()
}

fn signs(records: &mut FlowRecords) -> Vec<Sign> {
    told(records).iter().filter_map(FlowRecord::sign).collect()
}

fn tcp(family: Family, flags: u8) -> Packet {
    Packet { flags, ..Packet::new(family, if flags & 2 == 2 { Kind::Syn } else { Kind::Ack }) }
}

#[test]
fn no_packet_goes_another_way_because_its_listener_is_logged() {
    let Some((mut node, _records)) = logged(Share::ALL) else { return };
    let cases = cases();
    let wrong: Vec<String> = cases.iter().filter_map(|case| case.play(&mut node).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases are wrong\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn segments_that_begin_or_end_a_flow_are_told_and_no_others() {
    let Some((mut node, mut records)) = logged(Share::ALL) else { return };
    for outer in Outer::ALL {
        let remote = Remote::new(outer, Role::One);
        node.reset(Slot::stable(remote.id()));
        for (family, flags, expected) in Family::BOTH.into_iter().flat_map(|family| {
            [
                (family, 0x02, Some(Sign::Syn)),
                (family, 0xc2, Some(Sign::Syn)),
                (family, 0x12, None),
                (family, 0x10, None),
                (family, 0x18, None),
                (family, 0x11, Some(Sign::Fin)),
                (family, 0x19, Some(Sign::Fin)),
                (family, 0x04, Some(Sign::Rst)),
                (family, 0x14, Some(Sign::Rst)),
                (family, 0x15, Some(Sign::Rst)),
                (family, 0x00, None),
            ]
        }) {
            let packet = tcp(family, flags);
            let action = node.run(&packet.frame()).action;
            assert!(matches!(action, Action::Tx | Action::Redirect), "{action:?}");
            let told = told(&mut records);
            assert_eq!(told.first().and_then(FlowRecord::sign), expected, "{family:?}, flags {flags:#x}");
            for record in told {
                expect_record(&record, &packet, remote.id());
            }
        }
    }
    assert_eq!(records.take_lost().unwrap(), 0);
}

/// Every field of it.
fn expect_record(record: &FlowRecord, packet: &Packet, target: TargetId) {
    let address = |bytes: Vec<u8>| match bytes.len() {
        4 => [vec![0; 10], vec![0xff; 2], bytes].concat(),
        _ => bytes,
    };
    let bytes = |words: [u32; 4]| words.map(u32::to_ne_bytes).concat();
    assert_eq!(bytes(record.source), address(packet.family.client()));
    assert_eq!(bytes(record.destination), address(packet.family.vip(packet.vip)));
    let ports = [packet.source_port.to_be_bytes(), packet.port.to_be_bytes()].concat();
    assert_eq!(record.ports.to_ne_bytes().to_vec(), ports);
    assert_eq!((record.target, record.protocol), (target.0, packet.kind.protocol()));
    assert!(record.time > 0);
}

#[test]
fn of_udp_the_first_datagram_of_a_flow_that_is_always_tracked_is_told() {
    let Some((mut node, mut records)) = logged(Share::ALL) else { return };
    let (one, other) = (Remote::new(Outer::ALL[0], Role::One), Remote::new(Outer::ALL[0], Role::Other));
    for family in Family::BOTH {
        for slot in [Slot::stable(one.id()), Slot::changing(other.id(), one.id()), Slot::exceptions(one.id())]
        {
            node.reset(slot);
            let [changed, always, never] = UDP.map(|port| Packet::new(family, Kind::Udp).with_port(port));
            for _ in 0..3 {
                for packet in [&changed, &always, &never] {
                    node.run(&packet.frame());
                }
            }
            assert_eq!(signs(&mut records), [Sign::FirstSeen], "{family:?} {slot:?}");
        }
    }
}

#[test]
fn packets_that_are_not_forwarded_and_those_of_other_listeners_are_not_told() {
    let Some((mut node, mut records)) = logged(Share::ALL) else { return };
    node.reset(Slot::EMPTY);
    node.run(&tcp(Family::V4, 2).frame());
    node.reset(Slot::stable(Remote::new(Outer::ALL[0], Role::One).id()));
    node.run(&tcp(Family::V4, 2).with_vip(5).frame());
    node.run(&tcp(Family::V4, 2).with_vip(9).with_source_port(1).frame());
    node.explain(NODE_INTERFACE, &tcp(Family::V4, 2).frame());
    let friend = signs(&mut records);
    assert_eq!(friend, [Sign::Syn], "host 7 may begin a flow to VIP 9, and nothing else is told");

    let Some(mut silent) = crate::node() else { return };
    let mut records = silent.flow_records();
    silent.reset(Slot::stable(Remote::new(Outer::ALL[0], Role::One).id()));
    for flags in [2, 16, 17, 20] {
        silent.run(&tcp(Family::V4, flags).frame());
    }
    assert_eq!(told(&mut records), []);
}

#[test]
fn a_sample_has_both_ends_of_a_flow_or_none() {
    let Some((mut node, mut records)) = logged(Share::new(0.25)) else { return };
    node.reset(Slot::stable(Remote::new(Outer::ALL[0], Role::One).id()));
    for port in 1..=2000 {
        for flags in [0x02, 0x10, 0x11] {
            node.run(&tcp(Family::V4, flags).with_source_port(port).frame());
        }
    }
    let mut ends: BTreeMap<Sign, BTreeSet<u32>> = BTreeMap::new();
    for record in told(&mut records) {
        ends.entry(record.sign().unwrap()).or_default().insert(record.ports);
    }
    assert_eq!(ends[&Sign::Syn], ends[&Sign::Fin]);
    assert!((400..600).contains(&ends[&Sign::Syn].len()), "{} of 2000", ends[&Sign::Syn].len());
}

#[test]
fn what_finds_no_room_is_counted_once_and_forwarded() {
    let Some((mut node, mut records)) = logged(Share::ALL) else { return };
    let remote = Remote::new(Outer::ALL[0], Role::One);
    node.reset(Slot::stable(remote.id()));
    let sent = 20_000;
    for port in 1..=sent {
        let packet = tcp(Family::V4, 2).with_source_port(port);
        assert_eq!(node.run(&packet.frame()).packet, remote.encapsulated(&packet));
    }
    let (told, lost) = (told(&mut records).len() as u64, records.take_lost().unwrap());
    assert!(lost > 0 && told > 10_000, "{told} told, {lost} lost");
    assert_eq!(told + lost, u64::from(sent));
    assert_eq!(records.take_lost().unwrap(), 0, "they were told");
    node.run(&tcp(Family::V4, 2).frame());
    assert_eq!(signs(&mut records), [Sign::Syn], "there is room again");
}
