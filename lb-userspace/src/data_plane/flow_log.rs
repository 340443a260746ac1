//! What the programs tell for the flow log.

use anyhow::Context;
use aya::maps::{MapData, PerCpuArray, PerCpuValues, RingBuf};
use lb_common::flow_log::FlowRecord;
use lb_common::maps as names;

use super::LoadedMaps;

/// The records, in the order in which the packets came, as far as one can be told over several processors.
pub struct FlowRecords {
    ring: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
}

/// The entry of the map that counts records which found no room.
const LOST: u32 = 0;
/// The entry that says how many of them were told.
const TOLD: u32 = 1;

impl FlowRecords {
    pub(crate) fn take(maps: &mut LoadedMaps) -> anyhow::Result<FlowRecords> {
        Ok(FlowRecords { ring: maps.typed(names::FLOW_LOG)?, lost: maps.typed(names::FLOW_LOG_LOST)? })
    }

    /// The next record that was not read; none if there is none yet.
    pub fn next_record(&mut self) -> Option<FlowRecord> {
        loop {
            // Bytes that are no record are not this build's: a later one would tell more.
            if let Some(record) = lb_common::pod::read(&self.ring.next()?) {
                return Some(record);
            }
        }
    }

    /// How many records found no room and were not told yet; they are from now on. What was lost while no controller ran
    /// is among them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn take_lost(&mut self) -> anyhow::Result<u64> {
        let sum = |lost: &PerCpuArray<MapData, u64>, entry| {
            let values = lost.get(&entry, 0).context("reading the count of lost records")?;
            Ok::<(u64, usize), anyhow::Error>((values.iter().sum(), values.len()))
        };
        let ((lost, processors), (told, _)) = (sum(&self.lost, LOST)?, sum(&self.lost, TOLD)?);
        if lost != told {
            let mut values = vec![0; processors];
            values[0] = lost;
            self.lost
                .set(TOLD, PerCpuValues::try_from(values)?, 0)
                .context("writing how many lost records were told")?;
        }
        Ok(lost.saturating_sub(told))
    }
}
