//! Which slots of a table connections are in: pure, by the hash that the data plane computes.
//!
//! A hash takes some 20 ns, and an agent may tell of half a million connections, so the asker does this on a thread of
//! its own. It knows no sizes of tables, which may change meanwhile: the slots are those of the largest table, each of
//! which is a part of a slot of every smaller one.

use std::net::{IpAddr, SocketAddr};

use lb_common::flow::{Addresses, Flow, FlowHash, Ipv4Addresses, Ipv6Addresses, TCP};
use lb_common::hash::HashKey;
use lb_common::listener::{ListenerKey, clients_hash_state};

use super::connections::{Connection, Listener};
use crate::table::TableSize;

/// A TCP listener of a forward action, as far as it matters for where its connections are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionListener {
    /// The VIPs of its load balancer.
    pub vips: Vec<IpAddr>,
    /// Its port; none for any.
    pub port: Option<u16>,
    /// The port that targets serve; none for any.
    pub target_port: Option<u16>,
    /// What chooses a slot.
    pub affinity: Affinity,
}

/// What chooses a flow's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// Both addresses and ports.
    Flow,
    /// The client's address and the VIP.
    Client,
}

/// Binary logarithm of the slots of the largest table.
const LARGEST: u8 = TableSize::LARGEST.log2();

/// Behind some listeners: which slots of a table have connections, whatever its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedSlots {
    /// Those of the largest table.
    bits: Vec<u64>,
}

impl UsedSlots {
    /// Those that `connections` are in behind `listeners`.
    pub fn of(connections: &[Connection], listeners: &[ActionListener], key: HashKey) -> UsedSlots {
        let mut used = UsedSlots { bits: vec![0; 1 << (LARGEST - 6)] };
        for connection in connections {
            for listener in listeners.iter().filter(|listener| listener.may_have(connection)) {
                let port = listener.port.unwrap_or(connection.local.port());
                used.insert(place(connection.client, connection.local.ip(), port, listener.affinity, key));
            }
        }
        used
    }

    fn insert(&mut self, place: FlowHash) {
        let slot = place.slot(u32::from(LARGEST)) as usize;
        self.bits[slot / 64] |= 1 << (slot % 64);
    }

    /// Whether a slot of a table of 2^`log2` slots has a connection.
    pub fn contain(&self, slot: usize, log2: u8) -> bool {
        let parts = 1 << (LARGEST - log2);
        (slot * parts..(slot + 1) * parts).any(|part| self.bits[part / 64] & 1 << (part % 64) != 0)
    }
}

impl ActionListener {
    fn may_have(&self, connection: &Connection) -> bool {
        self.vips.contains(&connection.local.ip())
            && self.target_port.is_none_or(|port| port == connection.local.port())
    }

    /// What to ask agents for.
    pub fn asked(&self) -> impl Iterator<Item = Listener> {
        self.vips.iter().map(|vip| (*vip, self.target_port.unwrap_or(0)))
    }
}

/// The hash that chooses the slot of a client's connection to a listener's port.
fn place(client: SocketAddr, vip: IpAddr, port: u16, affinity: Affinity, key: HashKey) -> FlowHash {
    let [a, b] = client.port().to_be_bytes();
    let [c, d] = port.to_be_bytes();
    let ports = u32::from_ne_bytes([a, b, c, d]);
    match (client.ip(), vip) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            let [a, b, c, d] = client.octets();
            let [e, f, g, h] = vip.octets();
            let addresses = Ipv4Addresses { both: u64::from_ne_bytes([a, b, c, d, e, f, g, h]) };
            place_of(Flow { addresses, ports, protocol: TCP }, affinity, key)
        }
        (client, vip) => {
            let [source, destination] = [client, vip].map(words);
            let both = [source[0], source[1], destination[0], destination[1]];
            place_of(Flow { addresses: Ipv6Addresses { both }, ports, protocol: TCP }, affinity, key)
        }
    }
}

fn place_of<A: Addresses>(flow: Flow<A>, affinity: Affinity, key: HashKey) -> FlowHash {
    match affinity {
        Affinity::Client => flow.client_hash(clients_hash_state(key)),
        Affinity::Flow => {
            let listener =
                ListenerKey::new(flow.addresses.destination(), flow.destination_port(), flow.protocol);
            flow.hash(listener.hash_state(key))
        }
    }
}

fn words(address: IpAddr) -> [u64; 2] {
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    [0, 8].map(|at| u64::from_ne_bytes(octets[at..at + 8].try_into().expect("eight bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey { k0: 7, k1: 9 };

    fn listener(port: Option<u16>, affinity: Affinity) -> ActionListener {
        let vips = vec!["10.200.1.1".parse().unwrap(), "fc00:1::1".parse().unwrap()];
        ActionListener { vips, port, target_port: port, affinity }
    }

    fn connection(client: &str, local: &str) -> Connection {
        Connection { client: client.parse().unwrap(), local: local.parse().unwrap() }
    }

    fn used(connections: &[Connection], listener: &ActionListener) -> Vec<usize> {
        let used = UsedSlots::of(connections, std::slice::from_ref(listener), KEY);
        (0..4096).filter(|slot| used.contain(*slot, 12)).collect()
    }

    #[test]
    fn a_connection_is_in_the_slot_that_the_data_plane_chooses() {
        let addresses = Ipv4Addresses { both: u64::from_ne_bytes([10, 201, 0, 2, 10, 200, 1, 1]) };
        let ports = u32::from_ne_bytes([0x9c, 0x40, 0, 80]);
        let flow = Flow { addresses, ports, protocol: TCP };
        let key = ListenerKey::new(addresses.destination(), 80u16.to_be(), TCP);
        let slot = flow.hash(key.hash_state(KEY)).slot(12) as usize;
        let connections = [connection("10.201.0.2:40000", "10.200.1.1:80")];
        assert_eq!(used(&connections, &listener(Some(80), Affinity::Flow)), [slot]);
        assert_eq!(used(&connections, &listener(None, Affinity::Flow)), [slot]);
    }

    #[test]
    fn all_connections_of_a_client_are_in_one_slot_with_affinity() {
        let all: Vec<Connection> =
            (1..50).map(|port| connection(&format!("[fd01::2]:{port}"), "[fc00:1::1]:80")).collect();
        assert_eq!(used(&all, &listener(Some(80), Affinity::Client)).len(), 1);
        assert!(used(&all, &listener(Some(80), Affinity::Flow)).len() > 40);
    }

    #[test]
    fn connections_to_other_listeners_are_in_no_slot() {
        let others = [
            connection("10.201.0.2:40000", "10.200.1.1:81"),
            connection("10.201.0.2:40000", "10.200.1.2:80"),
        ];
        assert!(used(&others, &listener(Some(80), Affinity::Flow)).is_empty());
    }
}
