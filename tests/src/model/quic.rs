//! QUIC: whom a packet's destination connection id names (RFC 8999, 5; draft-ietf-quic-load-balancers, plaintext
//! configuration), and which packets go by the table all the same.
//!
//! ```text
//!   long header    | 1… | version (4) | length (1) | connection id | …
//!   short header   | 0… | connection id | …
//!   connection id  | rotation (3 bits), any (5 bits) | server id (8) | …
//! ```

use lb_common::TargetId;

use super::node::{Listener, Node, Tracking};
use super::packet::{Packet, Transport};

/// The bytes in connection ids that name a target.
pub type ServerId = [u8; 8];

/// Bytes of the shortest connection id with a server id.
const NAMING: usize = 9;
/// Bytes of a long header before the connection id.
const LONG: usize = 6;
/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// How a packet's target is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// It is named.
    Target(TargetId),
    /// By the table.
    Table,
    /// By the table, as what begins a flow.
    Opening,
}

/// Who made the connection id up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The client, or, in its later ones, the server.
    Initial,
    /// The client.
    EarlyData,
    /// The server, if it is QUIC at all.
    Other,
}

/// The route of a packet to `listener`: by the table unless both are QUIC. Fragments are not (RFC 9000, 14).
pub(super) fn route(node: &Node, frame: &[u8], packet: &Packet, listener: Listener) -> Route {
    if !listener.is_quic || !matches!(packet.transport, Transport::Udp(_)) {
        return Route::Table;
    }
    let end = packet.ip_at + packet.length;
    let start = packet.transport_at + UDP_HEADER;
    let first = frame.get(start..end.min(node.first_buffer)).unwrap_or_default();
    let (kind, id) = read(first, end - start).unwrap_or((Kind::Other, None));
    // Who is dead is not named.
    let named = id.and_then(|id| node.quic_servers.get(&(listener.forward, id)));
    let named = named.filter(|id| node.targets.get(id).is_some_and(|target| target.keeps_flows));
    match (kind, named) {
        (Kind::Other, Some(target)) => Route::Target(*target),
        // The client's first packet. Where every flow is remembered, or none, it is like any other.
        (Kind::Initial, None) if listener.tracking == Tracking::Changed => Route::Opening,
        _ => Route::Table,
    }
}

/// Kind and server id of a UDP payload of `length` bytes that begins with the bytes `first`; none of what is too
/// short for a connection id that names somebody.
fn read(first: &[u8], length: usize) -> Option<(Kind, Option<ServerId>)> {
    if first.first()? >> 7 == 0 {
        return Some((Kind::Other, server_id(first.get(1..1 + NAMING)?)));
    }
    let (header, id) = first.get(..LONG + NAMING)?.split_at(LONG);
    let announced = usize::from(header[5]);
    let has_id = announced >= NAMING && LONG + announced <= length;
    Some((kind(header), if has_id { server_id(id) } else { None }))
}

/// An id whose rotation is 7 is for routing by addresses and ports. Its other bits may be its length, or random.
fn server_id(id: &[u8]) -> Option<ServerId> {
    (id[0] >> 5 != 7).then(|| id[1..NAMING].try_into().expect("nine bytes less one are eight"))
}

/// By the types of QUIC 1 (RFC 9000, 17.2) and 2 (RFC 9369, 3.2); those of other versions say nothing.
fn kind(header: &[u8]) -> Kind {
    let types = match header[1..5] {
        [0, 0, 0, 1] => [Kind::Initial, Kind::EarlyData, Kind::Other, Kind::Other],
        [0x6b, 0x33, 0x43, 0xcf] => [Kind::Other, Kind::Initial, Kind::EarlyData, Kind::Other],
        _ => [Kind::Other; 4],
    };
    types[usize::from(header[0] >> 4 & 3)]
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use etherparse::PacketBuilder;
    use lb_common::Slot;

    use super::super::tests::{A, B, CLIENT, NODE, VIP, node, remembered};
    use super::*;

    const ID: ServerId = [1, 2, 3, 4, 5, 6, 7, 8];
    const HANDSHAKE: u8 = 0xe0;
    const INITIAL: u8 = 0xc0;

    fn connection_id(first: u8) -> Vec<u8> {
        [&[first][..], &ID, &[0xaa; 4]].concat()
    }

    fn short(id: &[u8]) -> Vec<u8> {
        [&[0x40][..], id, &[0x55; 20]].concat()
    }

    fn long(first: u8, version: u32, id: &[u8]) -> Vec<u8> {
        [&[first][..], &version.to_be_bytes(), &[id.len() as u8], id, &[0x55; 20]].concat()
    }

    /// A node whose slots have gone from A to B, of which the id names `named`.
    fn quic_node(slot: Slot, named: TargetId) -> Node {
        let mut node = node(slot);
        let listener = Listener { is_quic: true, ..node.listeners.values().copied().next().unwrap() };
        node.listeners.insert((IpAddr::from(VIP), 17, 443), listener);
        node.quic_servers.insert((listener.forward, ID), named);
        node
    }

    fn sent_to(node: &mut Node, payload: &[u8]) -> TargetId {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], NODE).ipv4(CLIENT, VIP, 63);
        let mut frame = Vec::new();
        builder.udp(40_000, 443).write(&mut frame, payload).expect("a vector takes every packet");
        TargetId(node.process(&frame, 9).frame[14 + 19].into())
    }

    #[test]
    fn a_named_target_gets_its_packets_without_a_trace() {
        for payload in [short(&connection_id(0x1f)), long(HANDSHAKE, 1, &connection_id(0))] {
            for slot in [Slot::stable(A), Slot::changing(A, B), Slot::exceptions(A), Slot::EMPTY] {
                let mut node = quic_node(slot, B);
                assert_eq!(sent_to(&mut node, &payload), B);
                assert!(remembered(&node).is_empty());
                assert_eq!(node.tables[&1].marks, [0, 0]);
            }
        }
    }

    #[test]
    fn nobody_can_aim_with_the_first_packets() {
        for (initial, early, version) in [(0xc0, 0xd0, 1), (0xd0, 0xe0, 0x6b33_43cf)] {
            for first in [initial, early] {
                let mut node = quic_node(Slot::stable(A), B);
                assert_eq!(sent_to(&mut node, &long(first, version, &connection_id(0))), A);
            }
        }
    }

    #[test]
    fn a_first_initial_packet_begins_a_flow_and_later_ones_do_not() {
        let mut node = quic_node(Slot::changing(B, A), A);
        assert_eq!(sent_to(&mut node, &long(INITIAL, 1, &connection_id(0))), A);
        assert_eq!(sent_to(&mut node, &long(INITIAL, 1, &[0x3b; 8])), B);
        assert_eq!(remembered(&node), [B]);
        assert_eq!(sent_to(&mut node, &long(INITIAL, 1, &connection_id(0))), B);
    }

    #[test]
    fn ids_that_name_nobody_who_lives_go_by_the_table() {
        let (known, none) = (short(&connection_id(0)), short(&[9; 13]));
        assert_eq!(sent_to(&mut quic_node(Slot::stable(A), B), &none), A);
        assert_eq!(sent_to(&mut quic_node(Slot::stable(A), B), &short(&connection_id(0xe0))), A);
        let mut node = quic_node(Slot::stable(A), B);
        node.targets.get_mut(&B).expect("the node has the target").keeps_flows = false;
        assert_eq!(sent_to(&mut node, &known), A);
        node.targets.remove(&B);
        assert_eq!(sent_to(&mut node, &known), A);
    }

    #[test]
    fn an_id_that_is_cut_or_ends_behind_the_packet_names_nobody() {
        let (short, long) = (short(&connection_id(0)), long(HANDSHAKE, 1, &connection_id(0)));
        let id = |packet: &[u8], length| read(&packet[..length], length).and_then(|(_, id)| id);
        for length in 0..short.len() {
            assert_eq!(id(&short, length), (length >= 10).then_some(ID), "short, {length} bytes");
        }
        for length in 0..long.len() {
            assert_eq!(id(&long, length), (length >= 19).then_some(ID), "long, {length} bytes");
        }
    }
}
