//! The balancer as the controller would load it, with the maps that a scenario needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::{Context, ensure};
use lb_common::bench::{LISTENER_PORT, NODE_MAC, ROUTER_MAC, SyntheticFlow};
use lb_common::encapsulation::{Ends, Tunnel};
use lb_common::flow::{TCP, UDP};
use lb_common::flow_log::Share;
use lb_common::flow_table::Tick;
use lb_common::hash::HashKey;
use lb_common::listener::{Listener, ListenerKey};
use lb_common::packet::MacAddress;
use lb_common::{ChainWord, Reason, Slot, Target, TargetId};
use lb_userspace::data_plane::{Capacity, DataPlane, Maps};
use lb_userspace::model::{AllowedSources, NewFlowLimits, Policy, Prefix};

use crate::harness::INTERFACE;
use crate::scenario::{Family, Gate, Kind, Scenario, Slots};

const HASH_KEY: HashKey = HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };
const MTU: u16 = 1500;

/// Loads the balancer and fills its maps.
pub(crate) fn load(scenario: &Scenario) -> anyhow::Result<DataPlane> {
    let mut plane = DataPlane::load(Capacity::default(), HASH_KEY)?;
    let maps = &mut plane.maps;
    let mac = if scenario.ends == Some(Reason::OtherMac) { ROUTER_MAC } else { NODE_MAC };
    maps.set_interface(INTERFACE, MacAddress::new(mac))?;
    maps.set_flow_log_share(Share::new(0.01))?;
    for id in 1..=scenario.all_targets() {
        maps.set_target(TargetId(id), &target(scenario, id));
    }
    let mut random = fastrand::Rng::with_seed(1);
    for group in 0..scenario.groups {
        add_listener(maps, scenario, group)?;
        if scenario.ends != Some(Reason::NoTable) {
            let slots: Vec<Slot> =
                (0..1 << scenario.slots_log2).map(|_| slot(scenario, group, &mut random)).collect();
            maps.publish_chains(forward(group), scenario.slots_log2, &slots, &chains(scenario, &slots))?;
        }
    }
    Ok(plane)
}

/// The entry of a target; packets leave by the interface that they came by.
pub(crate) fn target(scenario: &Scenario, id: u16) -> Target {
    if scenario.ends == Some(Reason::NoNextHop) {
        return Target::NONE;
    }
    let ends = match scenario.outer.unwrap_or(scenario.family) {
        Family::Ipv4 => Ends::V4(
            Ipv4Addr::new(10, 202, 0, 1),
            Ipv4Addr::from_bits(Ipv4Addr::new(10, 203, 0, 0).to_bits() | u32::from(id)),
        ),
        Family::Ipv6 => {
            Ends::V6(Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd03, 0, 0, 0, 0, 0, 0, id))
        }
    };
    let tunnel = Tunnel {
        interface: INTERFACE,
        source_mac: NODE_MAC,
        destination_mac: ROUTER_MAC,
        ends,
        gue: scenario.gue,
        mtu: MTU,
    };
    let mut target = tunnel.target();
    target.way = target.way.keeping_flows();
    target
}

fn add_listener(maps: &mut Maps, scenario: &Scenario, group: u32) -> anyhow::Result<()> {
    let protocol = if scenario.kind == Kind::Udp { UDP } else { TCP };
    // A packet for another port looks up two listeners and finds none.
    let port = if scenario.ends == Some(Reason::NotOurs) { LISTENER_PORT + 1 } else { LISTENER_PORT };
    let key = ListenerKey::new(vip(scenario.family, group), port.to_be(), protocol);
    let counter = group as u16;
    if let Some(policy) = policy(scenario) {
        maps.policies.set(counter, &policy)?;
    }
    let listener = Listener {
        forward: forward(group),
        counter,
        idle: Tick::covering_seconds(350),
        tracking: scenario.tracking,
        flags: match scenario.gate {
            Gate::Open => 0,
            Gate::Logged => Listener::FLAG_LOGGED,
            Gate::Prefixes(_) | Gate::Limit => Listener::FLAG_POLICY,
        },
    };
    maps.set_listener(key, listener)
}

fn policy(scenario: &Scenario) -> Option<Policy> {
    match scenario.gate {
        Gate::Open | Gate::Logged => None,
        Gate::Limit => {
            let limits = NewFlowLimits { all: Some(10_000_000), per_source: None };
            Some(Policy { limits, ..Policy::default() })
        }
        Gate::Prefixes(count) => {
            let sources = Some(Arc::new(sources(scenario.family, count)));
            Some(Policy { tcp: sources.clone(), udp: sources, ..Policy::default() })
        }
    }
}

/// The prefix that all clients are in, and others of many lengths around them.
fn sources(family: Family, count: u32) -> AllowedSources {
    let first = SyntheticFlow { number: 0, vip: 0 };
    let (clients, length, longest): (IpAddr, u8, u8) = match family {
        Family::Ipv4 => (Ipv4Addr::from_bits(first.ipv4_source()).into(), 8, 32),
        Family::Ipv6 => (Ipv6Addr::from([0xfd10, 0, 0, 0, 0, 0, 0, 0]).into(), 64, 128),
    };
    let mut random = fastrand::Rng::with_seed(2);
    let mut sources = AllowedSources::default();
    sources.0.extend(Prefix::around(clients, length).map(|prefix| (prefix, 0)));
    while (sources.0.len() as u32) < count {
        // Half of them share the clients' first bits, so that these look-ups go deep.
        let near = random.bool();
        let address = match clients {
            IpAddr::V4(clients) => {
                let kept = if near { !0 << (32 - length) } else { 0 };
                IpAddr::from(Ipv4Addr::from_bits(clients.to_bits() & kept | random.u32(..) & !kept))
            }
            IpAddr::V6(clients) => {
                let kept = if near { !0 << (128 - length) } else { 0 };
                IpAddr::from(Ipv6Addr::from_bits(clients.to_bits() & kept | random.u128(..) & !kept))
            }
        };
        sources.0.extend(Prefix::around(address, random.u8(length + 8..=longest)).map(|prefix| (prefix, 0)));
    }
    sources
}

fn vip(family: Family, group: u32) -> [u32; 4] {
    let flow = SyntheticFlow { number: 0, vip: group };
    let address = match family {
        Family::Ipv4 => Ipv4Addr::from_bits(flow.ipv4_vip()).to_ipv6_mapped(),
        Family::Ipv6 => {
            let [high, low] = flow.ipv6_vip();
            Ipv6Addr::from_bits((u128::from(high) << 64) | u128::from(low))
        }
    };
    let bytes = address.octets();
    std::array::from_fn(|at| u32::from_ne_bytes(std::array::from_fn(|byte| bytes[at * 4 + byte])))
}

fn forward(group: u32) -> u32 {
    group + 1
}

fn slot(scenario: &Scenario, group: u32, random: &mut fastrand::Rng) -> Slot {
    if scenario.ends == Some(Reason::NoTarget) {
        return Slot::EMPTY;
    }
    let first = group as u16 * scenario.targets + 1;
    let current = random.u16(0..scenario.targets);
    let other = (current + random.u16(1..scenario.targets)) % scenario.targets;
    match scenario.slots {
        Slots::Stable => Slot::stable(TargetId(first + current)),
        Slots::Changing | Slots::Chained => {
            Slot::changing(TargetId(first + current), TargetId(first + other))
        }
    }
}

/// The slots' owners before their last two: the targets before the current ones in the list of all.
fn chains(scenario: &Scenario, slots: &[Slot]) -> Vec<ChainWord> {
    let oldest =
        |slot: &Slot| TargetId((slot.current().0 + scenario.all_targets() - 2) % scenario.all_targets() + 1);
    match scenario.slots {
        Slots::Stable | Slots::Changing => Vec::new(),
        Slots::Chained => slots.iter().map(|slot| ChainWord::before(oldest(slot))).collect(),
    }
}

/// Compares the balancer's own counters with the `packets` that it was run on: each one was forwarded (or
/// ended for the scenario's reason), and the flows are spread over listeners and targets.
pub(crate) fn check_counters(scenario: &Scenario, maps: &Maps, packets: u64) -> anyhow::Result<()> {
    for (reason, count) in maps.reasons()? {
        let expected = if scenario.ends == Some(reason) { packets } else { 0 };
        ensure!(
            count == expected,
            "{}: {count} packets ended with {}, not {expected}",
            scenario.name,
            reason.name()
        );
    }
    let forwarded = if scenario.ends.is_none() { packets } else { 0 };
    let targets: Vec<u64> = (1..=scenario.all_targets())
        .map(|id| Ok(maps.target_traffic(TargetId(id))?.packets))
        .collect::<anyhow::Result<_>>()?;
    let listeners: Vec<u64> = (0..scenario.groups)
        .map(|group| Ok(maps.listener_traffic(group as u16)?.packets))
        .collect::<anyhow::Result<_>>()?;
    for (what, counts) in [("targets", &targets), ("listeners", &listeners)] {
        check_spread(scenario, counts, forwarded).with_context(|| format!("{}: {what}", scenario.name))?;
    }
    Ok(())
}

/// With so many flows for each of them, no target or listener gets less than half or more than twice the mean.
const FLOWS_FOR_A_SPREAD: u64 = 100;

fn check_spread(scenario: &Scenario, counts: &[u64], expected: u64) -> anyhow::Result<()> {
    let sum: u64 = counts.iter().sum();
    ensure!(sum == expected, "they counted {sum} packets, not {expected}");
    let used = counts.iter().filter(|count| **count > 0).count() as u64;
    ensure!(used <= scenario.flows, "{} flows went to {used}", scenario.flows);
    let number = counts.len() as u64;
    if expected > 0 && scenario.flows >= FLOWS_FOR_A_SPREAD * number {
        let mean = sum / number;
        for count in counts {
            ensure!((mean / 2..=mean * 2).contains(count), "one got {count} packets, but the mean is {mean}");
        }
    }
    Ok(())
}
