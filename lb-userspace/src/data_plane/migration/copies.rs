//! Contents from one set of maps to another.

use anyhow::{Context, ensure};
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use lb_common::flow_table::Tick;
use lb_common::fragments::FragmentSet;
use lb_common::listener::{ListenerLine, QuicServerKey, Traffic};
use lb_common::maps::{self as names, ExceptionLine, Settings};
use lb_common::policy::{Allowance, AllowedKey};
use lb_common::shared::Shared;

use super::super::carried::CarriedTraffic;
use super::super::listeners::Listeners;
use super::super::mapped::{MappedArray, SharedValue};
use super::super::maps::{later, mark, total};
use super::super::pins::MapSet;

/// Words by their places, as many as both have.
pub(super) fn words(from: &MapSet, to: &MapSet, name: &str) -> anyhow::Result<()> {
    let (from, to) = (from.mapped::<Shared<u64>>(name)?, to.mapped::<Shared<u64>>(name)?);
    from.values().iter().zip(to.values()).for_each(|(from, to)| to.store(from.load()));
    Ok(())
}

/// Numbers of an array that is not mapped.
pub(super) fn numbers(from: &MapSet, to: &MapSet, name: &str) -> anyhow::Result<()> {
    let (from, mut to): (Array<_, u64>, Array<_, u64>) = (from.typed(name)?, to.typed(name)?);
    for (index, number) in (0..to.len()).zip(from.iter()) {
        let number = number.with_context(|| format!("reading {name}"))?;
        if number != 0 {
            to.set(index, number, 0).with_context(|| format!("writing {name}"))?;
        }
    }
    Ok(())
}

/// Keys with their values.
pub(super) fn keys(from: &MapSet, to: &MapSet, name: &str) -> anyhow::Result<()> {
    match name {
        names::VIPS => hash::<[u32; 4]>(from.typed(name)?, to.typed(name)?),
        names::QUIC_SERVERS => hash::<QuicServerKey>(from.typed(name)?, to.typed(name)?),
        _ => prefixes(&from.typed(name)?, to.typed(name)?),
    }
    .with_context(|| format!("copying {name}"))
}

fn hash<K: aya::Pod>(from: HashMap<MapData, K, u32>, mut to: HashMap<MapData, K, u32>) -> anyhow::Result<()> {
    for entry in from.iter() {
        let (key, value) = entry?;
        to.insert(key, value, 0)?;
    }
    Ok(())
}

/// The prefixes of allow-lists.
type Prefixes = LpmTrie<MapData, AllowedKey, Allowance>;

fn prefixes(from: &Prefixes, mut to: Prefixes) -> anyhow::Result<()> {
    for entry in from.iter() {
        let (key, value) = entry?;
        to.insert(&key, value, 0)?;
    }
    Ok(())
}

/// Listeners, each at a place near its home in a table of another size.
pub(super) fn listeners(from: &MapSet, to: &MapSet) -> anyhow::Result<()> {
    let (from, to) =
        (from.mapped::<ListenerLine>(names::LISTENERS)?, to.mapped::<ListenerLine>(names::LISTENERS)?);
    let without = Listeners::copy(from.values(), to.values());
    ensure!(without == 0, "{without} listeners find no place");
    Ok(())
}

/// Datagrams of which fragments are under way, in each set that they could be looked for in. Of two that meet in a
/// smaller table one is forgotten; a lost datagram is what networks do.
pub(super) fn fragments(from: &MapSet, to: &MapSet) -> anyhow::Result<()> {
    let (from, to) =
        (from.mapped::<FragmentSet>(names::FRAGMENTS)?, to.mapped::<FragmentSet>(names::FRAGMENTS)?);
    let (from, to) = (from.values(), to.values());
    for (at, set) in to.iter().enumerate() {
        for (way, cell) in set.0.iter().enumerate() {
            let mut sources =
                (at % from.len()..from.len()).step_by(to.len()).map(|at| from[at].0[way].load());
            cell.store(sources.find(|entry| *entry != 0).unwrap_or_default());
        }
    }
    Ok(())
}

/// When slots last had a packet of an exception: the later moment of both.
pub(super) fn marks(from: &MapSet, to: &MapSet) -> anyhow::Result<()> {
    let (from, to) =
        (from.mapped::<ExceptionLine>(names::EXCEPTIONS)?, to.mapped::<ExceptionLine>(names::EXCEPTIONS)?);
    let from = from.values().iter().flat_map(|line: &ExceptionLine| &line.0);
    for (from, to) in from.zip(to.values().iter().flat_map(|line| &line.0)) {
        let there = to.load();
        let latest = later(mark(from.load()), mark(there)).map_or(0, |Tick(tick)| tick);
        if latest != there {
            // Or a packet has marked it at this moment.
            let _ = to.replace_if(there, latest);
        }
    }
    Ok(())
}

/// The settings, with what follows from the maps' sizes.
pub(super) fn settings(from: &MapSet, to: &MapSet) -> anyhow::Result<()> {
    let from: Array<_, Settings> = from.typed(names::SETTINGS)?;
    let held = from.get(&0, 0).context("reading the balancer's settings")?;
    let listeners = to.entries(names::LISTENERS)?;
    let settings = Settings {
        flow_set_mask: to.entries(names::FLOWS)? - 1,
        listener_mask: listeners - 1,
        listener_shift: u64::BITS - listeners.trailing_zeros(),
        fragment_set_mask: to.entries(names::FRAGMENTS)? - 1,
        ..held
    };
    let mut to: Array<_, Settings> = to.typed(names::SETTINGS)?;
    to.set(0, settings, 0).context("writing the balancer's settings")
}

/// What was counted in `from`, and carried to it, is carried to `to`: an assignment, which may be made again.
pub(super) fn counters(from: &MapSet, to: &MapSet, name: &str) -> anyhow::Result<()> {
    match name {
        names::REASON_COUNTERS => reasons(from, to),
        names::LISTENER_COUNTERS => traffic(from, to, name, names::LISTENERS_CARRIED),
        _ => traffic(from, to, name, names::TARGETS_CARRIED),
    }
    .with_context(|| format!("carrying {name} over"))
}

fn reasons(from: &MapSet, to: &MapSet) -> anyhow::Result<()> {
    let counted: PerCpuArray<_, u64> = from.typed(names::REASON_COUNTERS)?;
    let before: Option<MappedArray<Shared<u64>>> = carried_to(from, names::REASONS_CARRIED)?;
    let carried = to.mapped::<Shared<u64>>(names::REASONS_CARRIED)?;
    for (index, carried) in (0..counted.len()).zip(carried.values()) {
        let before = before.as_ref().and_then(|before| before.values().get(index as usize));
        let before = before.map_or(0, Shared::<u64>::load);
        carried.store(before + counted.get(&index, 0)?.iter().sum::<u64>());
    }
    Ok(())
}

fn traffic(from: &MapSet, to: &MapSet, counters: &str, carried: &str) -> anyhow::Result<()> {
    let counted: PerCpuArray<_, Traffic> = from.typed(counters)?;
    let before: Option<MappedArray<CarriedTraffic>> = carried_to(from, carried)?;
    let carried = to.mapped::<CarriedTraffic>(carried)?;
    for (index, carried) in (0..counted.len()).zip(carried.values()) {
        let before = before.as_ref().and_then(|before| before.values().get(index as usize));
        let before = before.map_or_else(Traffic::default, CarriedTraffic::load);
        carried.store(total(&counted.get(&index, 0)?, before));
    }
    Ok(())
}

/// What was carried to a set; nothing to one that a build made which knew of no such maps.
fn carried_to<T: SharedValue>(set: &MapSet, name: &str) -> anyhow::Result<Option<MappedArray<T>>> {
    set.has(name).then(|| set.mapped(name)).transpose()
}
