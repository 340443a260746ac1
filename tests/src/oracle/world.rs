//! Random nodes: VIPs, listeners, tables in all states, targets of all kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use lb_common::{ChainWord, Slot, TargetId};
use lb_userspace::model::Prefix;

use crate::model::packet::{TCP, UDP};
use crate::model::{
    Affinity, Counters, Ends, FlowTable, Fragments, Listener, NextHop, Node, Policy, ServerId, Table, Target,
    Tracking,
};

/// Target ids are 1 to this.
pub(super) const TARGETS: u16 = 12;
/// Forward actions are 1 to this.
pub(super) const FORWARDS: u32 = 4;
/// Listeners count into one of so many.
pub(super) const COUNTERS: u16 = 16;
/// Binary logarithm of the flow table's sets: few, so that they are full.
pub(super) const FLOW_SETS_LOG2: u8 = 3;
/// Binary logarithm of the fragment table's sets: few, too.
pub(super) const FRAGMENT_SETS_LOG2: u8 = 2;
/// Server ids that may name a target; behind all forward actions they fit the loaded map.
const SERVER_IDS: u64 = 6;
/// Test frames come in by the loopback interface.
const INTERFACE: u32 = 1;
/// Ports that listeners have; clients try them all.
pub(super) const PORTS: [u16; 6] = [0, 80, 443, 53, 6080, 65535];

/// What stays the same from epoch to epoch, because changing it takes the kernel long: the key of the hash, and
/// where listeners are.
#[derive(Debug, Clone)]
pub(super) struct Realm {
    pub(super) key: [u64; 2],
    vips: Vec<IpAddr>,
    listeners: BTreeSet<(IpAddr, u8, u16)>,
}

/// The hash's key of a seed's campaign.
pub(super) fn key(seed: u64) -> [u64; 2] {
    let mut random = Rng::with_seed(seed);
    [random.u64(..), random.u64(..)]
}

/// A realm under a key.
pub(super) fn realm(random: &mut Rng, key: [u64; 2]) -> Realm {
    let vips: Vec<IpAddr> = (0..random.usize(2..=5)).map(|_| address(random)).collect();
    let mut listeners = BTreeSet::new();
    for _ in 0..random.usize(8..=24) {
        let vip = vips[random.usize(..vips.len())];
        let protocol = if random.bool() { TCP } else { UDP };
        listeners.insert((vip, protocol, PORTS[random.usize(..PORTS.len())]));
    }
    Realm { key, vips, listeners }
}

/// A node with an empty flow table.
pub(super) fn node(random: &mut Rng, realm: &Realm) -> Node {
    let listeners = realm.listeners.iter().map(|key| (*key, listener(random, key.1))).collect();
    let mut tables: BTreeMap<u32, Table> = (1..=FORWARDS).map(|at| (at, table(random))).collect();
    if random.u8(..4) == 0 {
        tables.remove(&random.u32(1..=FORWARDS));
    }
    Node {
        key: realm.key,
        interface: INTERFACE,
        mac: mac(random),
        first_buffer: super::frames::FIRST_BUFFER,
        // A listener's address need not answer pings, nor the other way round.
        vips: realm.vips.iter().filter(|_| random.u8(..8) > 0).copied().collect(),
        listeners,
        // They come with the flows, some of whose clients they name.
        policies: BTreeMap::new(),
        tables,
        quic_servers: quic_servers(random),
        targets: targets(random),
        flows: FlowTable::new(FLOW_SETS_LOG2),
        fragments: Fragments::new(FRAGMENT_SETS_LOG2),
        answers_oversized: random.bool(),
        counters: Counters::default(),
    }
}

/// Some counters have one.
pub(super) fn policies(random: &mut Rng, sources: &[IpAddr]) -> BTreeMap<u16, Policy> {
    let mut counters: Vec<u16> = (0..COUNTERS).collect();
    counters.retain(|_| random.u8(..5) == 0);
    counters.into_iter().map(|counter| (counter, policy(random, sources))).collect()
}

/// A policy that names some of these sources.
pub(super) fn policy(random: &mut Rng, sources: &[IpAddr]) -> Policy {
    let mut list =
        || (random.u8(..3) > 0).then(|| (0..random.u8(..6)).map(|_| prefix(random, sources)).collect());
    let (tcp, udp) = (list(), list());
    Policy { tcp, udp, counts: random.bool() }
}

fn prefix(random: &mut Rng, sources: &[IpAddr]) -> (IpAddr, u8) {
    let address = match random.u8(..4) {
        0 => address(random),
        _ => sources[random.usize(..sources.len())],
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match random.u8(..8) {
        0 => longest,
        1 => random.u8(..=longest),
        _ => random.u8(..6),
    };
    let first = Prefix::around(address, length).expect("no longer than the address");
    (first.address(), length)
}

/// Most ids have one.
fn targets(random: &mut Rng) -> BTreeMap<TargetId, Target> {
    let mut targets: BTreeMap<TargetId, Target> =
        (1..=TARGETS).map(|id| (TargetId(id), target(random))).collect();
    targets.retain(|_, _| random.u8(..24) > 0);
    targets
}

/// Behind every forward action most server ids name a target, another behind each.
fn quic_servers(random: &mut Rng) -> BTreeMap<(u32, ServerId), TargetId> {
    let keys = (1..=FORWARDS).flat_map(|forward| (1..=SERVER_IDS).map(move |at| (forward, numbered(at))));
    let mut servers: BTreeMap<_, _> = keys.map(|key| (key, TargetId(random.u16(1..=TARGETS)))).collect();
    servers.retain(|_, _| random.u8(..4) > 0);
    servers
}

/// One of the server ids that may name a target.
pub(super) fn server_id(random: &mut Rng) -> ServerId {
    numbered(random.u64(1..=SERVER_IDS))
}

/// Different in every byte.
fn numbered(at: u64) -> ServerId {
    (at * 0x0123_4567_89ab_cdef).to_be_bytes()
}

fn listener(random: &mut Rng, protocol: u8) -> Listener {
    let is_quic = protocol == UDP && random.u8(..3) > 0;
    Listener {
        forward: random.u32(1..=FORWARDS),
        counter: random.u16(..COUNTERS),
        idle: [0, 1, 2, 300, u16::MAX][random.usize(..5)],
        tracking: match random.u8(..3) {
            1 if protocol == UDP => Tracking::Always,
            2 if protocol == UDP => Tracking::Never,
            _ => Tracking::Changed,
        },
        affinity: if random.u8(..4) == 0 { Affinity::Client } else { Affinity::Flow },
        leaves_tunnels: random.u8(..4) == 0,
        is_quic,
    }
}

fn table(random: &mut Rng) -> Table {
    let slots = 1 << random.u8(1..=5);
    Table {
        slots: (0..slots).map(|_| slot(random)).collect(),
        chains: (0..slots).map(|_| chain(random)).collect(),
        marks: vec![0; slots],
    }
}

/// A slot's chain: none, of the current target if it is that one's id, of any else.
pub(super) fn chain(random: &mut Rng) -> ChainWord {
    if random.u8(..3) > 0 { ChainWord::NONE } else { ChainWord(random.u16(1..=TARGETS)) }
}

/// A slot in any state.
pub(super) fn slot(random: &mut Rng) -> Slot {
    let (one, other) = (TargetId(random.u16(1..=TARGETS)), TargetId(random.u16(1..=TARGETS)));
    match random.u8(..32) {
        0 => Slot::EMPTY,
        1 => Slot::changing(TargetId::NONE, one),
        2..=8 => Slot::stable(one),
        9..=15 => Slot::exceptions(one),
        _ => Slot::changing(one, other),
    }
}

/// A target of any kind.
pub(super) fn target(random: &mut Rng) -> Target {
    let next_hop = NextHop {
        interface: if random.u8(..4) == 0 { 77 } else { INTERFACE },
        source: mac(random),
        destination: mac(random),
    };
    Target {
        ends: if random.bool() {
            Ends::V4(ipv4(random), ipv4(random))
        } else {
            Ends::V6(ipv6(random), ipv6(random))
        },
        gue: random.bool(),
        next_hop: (random.u8(..20) > 0).then_some(next_hop),
        mtu: [64, 100, 576, 1280, 1500, 1500, 1500, 1500, 1500, 1500, 9000, u16::MAX][random.usize(..12)],
        keeps_flows: random.u8(..6) > 0,
        spread: if random.u8(..3) == 0 { random.u32(..).to_ne_bytes() } else { [0; 4] },
    }
    .with_room_for_entropy()
}

impl Target {
    /// The template's bits that vary with the flow are zero.
    fn with_room_for_entropy(mut self) -> Target {
        let spread = u32::from_be_bytes(self.spread);
        match &mut self.ends {
            Ends::V4(source, _) => *source = Ipv4Addr::from(u32::from(*source) & !spread),
            Ends::V6(source, _) => *source = Ipv6Addr::from(u128::from(*source) & !u128::from(spread)),
        }
        self
    }
}

/// An address of either family.
pub(super) fn address(random: &mut Rng) -> IpAddr {
    if random.bool() { IpAddr::V4(ipv4(random)) } else { IpAddr::V6(ipv6(random)) }
}

/// An address of the same family as another.
pub(super) fn address_like(random: &mut Rng, other: IpAddr) -> IpAddr {
    if other.is_ipv4() { IpAddr::V4(ipv4(random)) } else { IpAddr::V6(ipv6(random)) }
}

/// A MAC address of one host.
pub(super) fn mac(random: &mut Rng) -> [u8; 6] {
    let [_, _, mac @ ..] = random.u64(..).to_be_bytes();
    [mac[0] & 0xfe, mac[1], mac[2], mac[3], mac[4], mac[5]]
}

fn ipv4(random: &mut Rng) -> Ipv4Addr {
    Ipv4Addr::from(random.u32(..))
}

fn ipv6(random: &mut Rng) -> Ipv6Addr {
    Ipv6Addr::from(random.u128(..))
}
