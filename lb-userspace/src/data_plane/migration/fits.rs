//! What of the maps' contents would find no room in maps of another size: asked before anything is touched.

use anyhow::Context;
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap};
use lb_common::flow_table::FlowSet;
use lb_common::listener::{Forward, ListenerLine, QuicServerKey};
use lb_common::maps::{self as names, CHAINS_PER_LINE, SLOTS_PER_LINE};
use lb_common::policy::{Allowance, AllowedKey};
use lb_common::shared::Shared;

use super::super::listeners::Listeners;
use super::super::names::NameLine;
use super::super::pins::MapSet;
use super::super::state::Difference;
use super::{Carriage, flows};

/// Why a map can't have the size that is wanted; none if it can.
pub(super) fn problem(set: &MapSet, difference: &Difference) -> anyhow::Result<Option<String>> {
    let Difference { name, found, wanted } = difference;
    let (held, room) = (found.entries(), wanted.entries());
    let Some(carriage) = Carriage::of(name) else {
        return Ok(Some(format!("{difference}, which this build can't move")));
    };
    let more = |count: usize, what: &str| {
        (count > 0).then(|| format!("{name} is to have {room} entries instead of {held}, and {count} {what}"))
    };
    Ok(match carriage {
        Carriage::Words { used } => more(count_used(set, name, room, used)?, "above are in use"),
        Carriage::Numbers => {
            let array: Array<_, u64> = set.typed(name)?;
            more(beyond(array.iter(), room)?, "above are in use")
        }
        Carriage::Tables => more(tables_beyond(set, u64::from(room) * per_line(name))?, "tables lie above"),
        Carriage::Flows => {
            let table = set.mapped::<FlowSet>(name)?;
            let without = flows::without_room(table.values(), room as usize, super::age(set)?);
            more(without, "living flows find no room")
        }
        Carriage::Listeners => {
            let lines = set.mapped::<ListenerLine>(name)?;
            more(Listeners::without_room(lines.values(), room), "listeners find no place")
        }
        Carriage::Keys => more(count_keys(set, name)?.saturating_sub(room as usize), "are too many"),
        // What is counted of nobody, and what lives for moments, may go.
        Carriage::Carried | Carriage::Counters | Carriage::Marks | Carriage::Fragments | Carriage::Limits => {
            None
        }
        Carriage::Settings => None,
    })
}

fn count_used(
    set: &MapSet,
    name: &str,
    room: u32,
    used: fn(&[Shared<u64>]) -> bool,
) -> anyhow::Result<usize> {
    let words = set.mapped::<Shared<u64>>(name)?;
    let of_each = words.values().len() / set.entries(name)? as usize;
    let entries = words.values().chunks(of_each.max(1)).skip(room as usize);
    Ok(entries.filter(|entry| used(entry)).count())
}

/// An entry in which something is.
pub(super) fn is_written(entry: &[Shared<u64>]) -> bool {
    entry.iter().any(|word| word.load() != 0)
}

/// A name that is somebody's.
pub(super) fn is_named(entry: &[Shared<u64>]) -> bool {
    entry.first().is_some_and(|identity| NameLine::is_name(identity.load()))
}

fn beyond(
    values: impl Iterator<Item = Result<u64, aya::maps::MapError>>,
    room: u32,
) -> anyhow::Result<usize> {
    let mut count = 0;
    for value in values.skip(room as usize) {
        count += usize::from(value.context("reading an array")? != 0);
    }
    Ok(count)
}

/// Of how many slots an entry has the words.
fn per_line(name: &str) -> u64 {
    u64::from(if name == names::SLOTS { SLOTS_PER_LINE } else { CHAINS_PER_LINE })
}

/// How many tables reach beyond so many slots.
fn tables_beyond(set: &MapSet, slots: u64) -> anyhow::Result<usize> {
    let forwards = set.mapped::<Shared<u64>>(names::FORWARDS)?;
    let end = |forward: Forward| u64::from(forward.first()) + (1 << forward.log2());
    let tables = forwards.values().iter().map(|word| Forward(word.load())).filter(|word| !word.is_none());
    Ok(tables.filter(|forward| end(*forward) > slots).count())
}

fn count_keys(set: &MapSet, name: &str) -> anyhow::Result<usize> {
    Ok(match name {
        names::VIPS => set.typed::<HashMap<_, [u32; 4], u32>>(name)?.keys().count(),
        names::QUIC_SERVERS => set.typed::<HashMap<_, QuicServerKey, u32>>(name)?.keys().count(),
        _ => set.typed::<LpmTrie<_, AllowedKey, Allowance>>(name)?.keys().count(),
    })
}
