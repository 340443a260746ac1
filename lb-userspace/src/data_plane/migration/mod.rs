//! Maps of other sizes take the places of those that are pinned, while packets flow.
//!
//! ```text
//!                 new-maps                   maps, maps-1                            maps
//!   at a start    new maps are made,         frozen; flows are copied; renamed;      counters are carried over,
//!                 what only controllers      links get the programs that look        the old maps go,
//!                 write is copied            into the new maps, each in one step     renamed
//!   killed here   packets know nothing       the next start goes on with             the next start
//!                 of it; it is removed       the links                               goes on
//! ```
//!
//! Maps are moved in sets. In a new set are new maps in the sizes that are wanted and, pinned once more, those whose sizes
//! stay. It is the current one as soon as it has its name, which is one step. From then on packets meet the new maps or
//! the old ones, as the links have it, and both answer alike:
//!
//! - What only controllers write (listeners, tables, targets, policies, names) is equal in both: no controller writes
//!   before the old ones are gone.
//! - Flows: changing slots are [frozen](freeze) before the copy, so no flow needs an entry that was made after it. An
//!   entry that packets refresh in one table is a moment older in the other, of the seconds that it lives; in the end
//!   the later moment counts. [Copied twice](flows), it is looked for in one place only.
//! - Marks of exceptions: the later moment counts.
//! - Limits of new flows: each flow since the copy may be allowed once more.
//! - Fragments: of a datagram whose fragments come on both sides of the copy one may not find its way; fragments of a
//!   datagram come within microseconds.
//! - Counters begin anew, and what the old ones had in the end is [carried over](super::carried).

mod copies;
mod fits;
mod flows;
mod freeze;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use aya::maps::MapData;
use lb_common::encapsulation::Way;
use lb_common::flow_table::FlowSet;
use lb_common::listener::ListenerLine;
use lb_common::maps::{self as names, CHAINS_PER_LINE, ChainLine, KEEPER, SLOTS_PER_LINE, SlotLine};
use lb_common::shared::Shared;
use lb_common::{ChainWord, Slot, TargetId};

use super::mapped::{MappedArray, TargetWords};
use super::maps::{grace_period, tick_now};
use super::pins::MapSet;
use super::state::{Difference, Shape};
use flows::Age;
pub(super) use freeze::Frozen;
use freeze::{FrozenSlot, frozen};

/// How a map's contents come to one of another size.
#[derive(Debug, Clone, Copy)]
enum Carriage {
    /// By their places; `used` says whether an entry may not be left behind.
    Words {
        used: fn(&[Shared<u64>]) -> bool,
    },
    /// By their places, in an array that is not mapped.
    Numbers,
    /// By their places, as tables have them.
    Tables,
    /// By their keys.
    Keys,
    Listeners,
    Settings,
    // The rest is what packets write.
    Flows,
    Marks,
    Fragments,
    Limits,
    Counters,
    Carried,
}

impl Carriage {
    fn of(name: &str) -> Option<Carriage> {
        Some(match name {
            names::FORWARDS | names::TARGETS | names::POLICIES => Carriage::Words { used: fits::is_written },
            names::TARGET_NAMES | names::FORWARD_NAMES | names::LISTENER_NAMES => {
                Carriage::Words { used: fits::is_named }
            }
            names::INTERFACES => Carriage::Numbers,
            names::SLOTS | names::CHAINS => Carriage::Tables,
            names::VIPS | names::QUIC_SERVERS | names::ALLOWED => Carriage::Keys,
            names::LISTENERS => Carriage::Listeners,
            names::SETTINGS => Carriage::Settings,
            names::FLOWS => Carriage::Flows,
            names::EXCEPTIONS => Carriage::Marks,
            names::FRAGMENTS => Carriage::Fragments,
            names::LISTENER_LIMITS => Carriage::Limits,
            names::REASON_COUNTERS | names::LISTENER_COUNTERS | names::TARGET_COUNTERS => Carriage::Counters,
            names::REASONS_CARRIED | names::LISTENERS_CARRIED | names::TARGETS_CARRIED => Carriage::Carried,
            _ => return None,
        })
    }
}

/// Maps that are made anew when one of them is: the settings have masks of sizes, and what is carried over is of the
/// counters before.
const TOGETHER: [&[&str]; 4] = [
    &[names::SETTINGS, names::FLOWS, names::LISTENERS, names::FRAGMENTS],
    &[names::REASONS_CARRIED, names::REASON_COUNTERS],
    &[names::LISTENERS_CARRIED, names::LISTENER_COUNTERS],
    &[names::TARGETS_CARRIED, names::TARGET_COUNTERS],
];

/// Why maps can't have the sizes that are wanted; nothing if they can.
pub(super) fn problems(set: &MapSet, differences: &[Difference]) -> anyhow::Result<Vec<String>> {
    differences.iter().filter_map(|difference| fits::problem(set, difference).transpose()).collect()
}

/// Makes the set `new`: maps of other sizes with what only controllers write in them, and all others as they are. Packets
/// know nothing of it.
pub(super) fn prepare(
    current: &MapSet,
    new: &MapSet,
    wanted: &BTreeMap<String, Shape>,
    differences: &[Difference],
) -> anyhow::Result<()> {
    let anew = made_anew(differences);
    for (name, shape) in wanted {
        let is_there = current.has(name) && !anew.contains(name.as_str());
        let map = if is_there { current.open(name)? } else { shape.make(name)? };
        new.pin(name, &map)?;
    }
    for name in anew.into_iter().filter(|name| current.has(name)) {
        match Carriage::of(name).with_context(|| format!("{name} can't be moved"))? {
            Carriage::Words { .. } | Carriage::Tables => copies::words(current, new, name)?,
            Carriage::Numbers => copies::numbers(current, new, name)?,
            Carriage::Keys => copies::keys(current, new, name)?,
            Carriage::Listeners => copies::listeners(current, new)?,
            Carriage::Settings => copies::settings(current, new)?,
            Carriage::Flows | Carriage::Marks | Carriage::Fragments | Carriage::Limits => {}
            Carriage::Counters | Carriage::Carried => {}
        }
    }
    let keeper: MapData = current.open(KEEPER)?;
    new.pin(KEEPER, &keeper)
}

fn made_anew(differences: &[Difference]) -> BTreeSet<&str> {
    let differ: BTreeSet<&str> = differences.iter().map(|difference| difference.name.as_str()).collect();
    let together = TOGETHER.iter().filter(|group| group.iter().any(|name| differ.contains(name)));
    // Of the settings' group only the settings are: the first of each.
    together
        .flat_map(|group| match group.first() {
            Some(&names::SETTINGS) => &group[..1],
            _ => group,
        })
        .copied()
        .chain(differ.iter().copied())
        .collect()
}

/// Freezes the changing slots of both sets, and copies what packets have written. From now on links may be given programs
/// that look into `new`.
///
/// # Errors
/// If there is no room any more: then all is as it was.
pub(super) fn fill(current: &MapSet, new: &MapSet) -> anyhow::Result<Frozen> {
    if !current.differs(new, names::FLOWS)? {
        copy_moments(current, new)?;
        return Ok(Frozen::default());
    }
    let frozen = freeze(current)?;
    put(current, &frozen, |slot| (slot.was, slot.is))?;
    put(new, &frozen, |slot| (slot.was, slot.is))?;
    grace_period();
    match copy_flows(current, new).and_then(|()| copy_moments(current, new)) {
        Ok(()) => Ok(frozen),
        Err(problem) => {
            thaw(current, &frozen)?;
            Err(problem)
        }
    }
}

fn copy_flows(current: &MapSet, new: &MapSet) -> anyhow::Result<()> {
    let (from, to) = (current.mapped::<FlowSet>(names::FLOWS)?, new.mapped::<FlowSet>(names::FLOWS)?);
    let without = flows::copy(from.values(), to.values(), age(current)?);
    let room = to.values().len();
    ensure!(without == 0, "FLOWS is to have {room} entries, and {without} living flows find no room by now");
    Ok(())
}

/// What lives for moments.
fn copy_moments(current: &MapSet, new: &MapSet) -> anyhow::Result<()> {
    let differs = |name| current.differs(new, name);
    if differs(names::EXCEPTIONS)? {
        copies::marks(current, new)?;
    }
    if differs(names::FRAGMENTS)? {
        copies::fragments(current, new)?;
    }
    if differs(names::LISTENER_LIMITS)? {
        copies::numbers(current, new, names::LISTENER_LIMITS)?;
    }
    Ok(())
}

/// No packet is in a program any more that looks into the sets before the last: what they have noted meanwhile goes on
/// to it. It may be done again.
pub(super) fn settle(sets: &[MapSet]) -> anyhow::Result<()> {
    for pair in sets.windows(2) {
        let [from, to] = pair else { continue };
        for name in [names::REASON_COUNTERS, names::LISTENER_COUNTERS, names::TARGET_COUNTERS] {
            if from.differs(to, name)? {
                copies::counters(from, to, name)?;
            }
        }
    }
    let Some((current, older)) = sets.split_last() else { return Ok(()) };
    for old in older {
        if old.differs(current, names::FLOWS)? {
            let (from, to) = (old.mapped::<FlowSet>(names::FLOWS)?, current.mapped::<FlowSet>(names::FLOWS)?);
            flows::refresh(from.values(), to.values(), age(current)?);
        }
        if old.differs(current, names::EXCEPTIONS)? {
            copies::marks(old, current)?;
        }
    }
    Ok(())
}

/// Lets the slots change again.
pub(super) fn thaw(set: &MapSet, frozen: &Frozen) -> anyhow::Result<()> {
    put(set, frozen, |slot| (slot.is, slot.was))
}

/// The slots that are to be frozen.
fn freeze(set: &MapSet) -> anyhow::Result<Frozen> {
    let slots = set.mapped::<SlotLine>(names::SLOTS)?;
    let chains = set.mapped::<ChainLine>(names::CHAINS)?;
    let targets = set.mapped::<TargetWords>(names::TARGETS)?;
    let keeps = |target: TargetId| {
        let words = targets.values().get(usize::from(target.0));
        words.is_some_and(|words| Way(words.0[0].load()).keeps_flows())
    };
    let chain = |index: u32| {
        let line = chains.values().get((index / CHAINS_PER_LINE) as usize);
        ChainWord(line.map_or(0, |line| line.0[(index % CHAINS_PER_LINE) as usize].load()))
    };
    let all = slots.values().iter().flat_map(|line| &line.0).map(|word| Slot(word.load()));
    let frozen = (0u32..).zip(all).filter_map(|(index, was)| {
        let is = frozen(was, chain(index), keeps)?;
        Some(FrozenSlot { index, was, is })
    });
    Ok(Frozen(frozen.collect()))
}

/// Replaces slots, where they are what they are taken for.
fn put(set: &MapSet, frozen: &Frozen, of: fn(&FrozenSlot) -> (Slot, Slot)) -> anyhow::Result<()> {
    if frozen.0.is_empty() {
        return Ok(());
    }
    let slots: MappedArray<SlotLine> = set.mapped(names::SLOTS)?;
    for slot in &frozen.0 {
        let (index, (old, new)) = (slot.index, of(slot));
        let line = slots.values().get((index / SLOTS_PER_LINE) as usize);
        if let Some(line) = line {
            line.0[(index % SLOTS_PER_LINE) as usize].replace_if(old.0, new.0);
        }
    }
    Ok(())
}

/// How old an entry of the flow table may be.
fn age(set: &MapSet) -> anyhow::Result<Age> {
    let lines = set.mapped::<ListenerLine>(names::LISTENERS)?;
    let listeners = lines.values().iter().filter(|line| line.0[2].load() > ListenerLine::REMOVED);
    let idle = listeners.map(|line| line.listener().idle).max().unwrap_or_default();
    Ok(Age { now: tick_now(), idle })
}
