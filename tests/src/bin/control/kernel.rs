//! What the kernel's maps say, read from outside of the controller: which targets a table has.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::loaded_programs;
use lb_common::listener::Forward;
use lb_common::maps::{FORWARDS, SLOTS, SLOTS_PER_LINE};
use lb_common::{Slot, TargetId};

/// The maps of the attached program.
pub(crate) struct Tables {
    forwards: Array<MapData, u64>,
    slots: Array<MapData, [u32; SLOTS_PER_LINE as usize]>,
}

impl Tables {
    /// Those of the program with this id.
    ///
    /// # Errors
    /// If there is no such program, or the kernel does not show its maps.
    pub(crate) fn of_program(id: u32) -> Result<Tables> {
        let program = loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == id)
            .with_context(|| format!("no program has the id {id}"))?;
        let maps = program.map_ids()?.context("the kernel does not tell a program's maps")?;
        let forwards = Array::try_from(map(&maps, FORWARDS)?)?;
        let slots = Array::try_from(map(&maps, SLOTS)?)?;
        Ok(Tables { forwards, slots })
    }

    /// Where the tables are, by forward action.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn places(&self) -> Result<Vec<u64>> {
        self.forwards.iter().map(|place| place.context("reading FORWARDS")).collect()
    }

    /// The targets of new flows in the table of a forward action.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn targets(&self, forward: u32) -> Result<BTreeSet<TargetId>> {
        let table = Forward(self.forwards.get(&forward, 0).context("reading FORWARDS")?);
        let mut targets = BTreeSet::new();
        if table.is_none() {
            return Ok(targets);
        }
        let first = table.first() / SLOTS_PER_LINE;
        for line in first..first + (1 << table.log2()) / SLOTS_PER_LINE {
            let slots = self.slots.get(&line, 0).context("reading SLOTS")?;
            targets.extend(slots.iter().map(|slot| Slot(*slot).current()));
        }
        Ok(targets)
    }
}

fn map(ids: &[u32], name: &str) -> Result<Map> {
    for id in ids {
        if MapInfo::from_id(*id)?.name_as_str() == Some(name) {
            return Ok(Map::from_map_data(MapData::from_id(*id)?)?);
        }
    }
    anyhow::bail!("the program has no map {name}")
}
