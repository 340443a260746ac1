//! Source affinity, and listeners of all ports that leave tunnels alone.

use std::collections::BTreeSet;

use lb_common::{Reason, Slot};

use crate::case::{Case, Step};
use crate::client::{Family, Kind, Packet};
use crate::node::{AFFINITY, ANY_UDP, WILDCARD};
use crate::remote::{Outer, Remote, Role};
use crate::{node, table};

pub fn cases() -> Vec<Case> {
    let outers = Outer::ALL.into_iter();
    outers.flat_map(|outer| Family::BOTH.map(|family| (outer, family))).flat_map(of_pair).collect()
}

fn of_pair((outer, family): (Outer, Family)) -> Vec<Case> {
    let (one, other) = (Remote::new(outer, Role::One), Remote::new(outer, Role::Other));
    let (stable, changing) = (Slot::stable(one.id()), Slot::changing(other.id(), one.id()));
    let name = |what: &str| format!("{family:?} by {}: {what}", outer.name());
    let packet = |kind| Packet::new(family, kind).with_vip(7);
    let case = |what: &str, slot, packet: &Packet, counter, remote| {
        Case::forwarded(name(what), slot, packet, counter, remote)
    };
    let (syn, ack, udp) = (packet(Kind::Syn), packet(Kind::Ack), packet(Kind::Udp));
    let neighbour = ack.clone().with_source_port(40_001);
    let gue = packet(Kind::Udp).with_port(6080);
    vec![
        case("affinity: stable, TCP", stable, &ack, AFFINITY, one),
        case("affinity: stable, UDP", stable, &udp, AFFINITY, one),
        case("affinity: an old flow in a changing slot", changing, &ack, AFFINITY, one)
            .remembers(&ack, one)
            .marks(&ack),
        case("affinity: a new flow of the same client", changing, &syn, AFFINITY, other)
            .after([Step::Packet(neighbour.clone())])
            .remembers(&neighbour, one)
            .remembers(&syn, other)
            .marks(&neighbour),
        case(
            "affinity: one flow of the client is known",
            Slot::exceptions(other.id()),
            &ack,
            AFFINITY,
            other,
        )
        .after([
            Step::Table(changing),
            Step::Packet(neighbour.clone()),
            Step::Table(Slot::exceptions(other.id())),
        ])
        .remembers(&neighbour, one)
        .marks(&neighbour),
        case("any port: UDP", stable, &packet(Kind::Udp).with_port(6081), ANY_UDP, one),
        case("any port: TCP port 6080 is no tunnel", stable, &ack.with_vip(2).with_port(6080), WILDCARD, one),
        Case::refused(name("any port: GUE is left alone"), stable, gue.frame(), Reason::AlreadyEncapsulated),
        Case::refused(
            name("any port: GUE behind two tags"),
            stable,
            Packet { tags: 2, padding: 6, ..gue }.frame(),
            Reason::AlreadyEncapsulated,
        ),
    ]
}

#[test]
fn all_flows_of_a_client_go_to_one_target_and_clients_to_all() {
    let Some(mut node) = node() else { return };
    let remotes = table::distinct_targets();
    node.reset(Slot::EMPTY);
    node.publish(remotes.iter().map(|remote| Slot::stable(remote.id())).collect());
    for family in Family::BOTH {
        let mut met = BTreeSet::new();
        for host in 1..=200 {
            for (source_port, kind) in (1..=10).flat_map(|port| Kind::ALL.map(|kind| (port * 999, kind))) {
                let packet =
                    Packet { host, ..Packet::new(family, kind).with_vip(7).with_source_port(source_port) };
                let remote = remotes[(packet.place() >> 60) as usize];
                let out = node.run(&packet.frame()).packet;
                assert_eq!(
                    out,
                    remote.encapsulated(&packet),
                    "{family:?} {kind:?} {host} port {source_port}"
                );
                met.insert(remote.id());
            }
        }
        assert_eq!(met.len(), remotes.len(), "every slot was met");
    }
}
