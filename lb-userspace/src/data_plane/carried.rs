//! What was counted in maps that are no more, because others of another size have taken their places.
//!
//! Programs count in values that each processor has for itself, and user space can only write all processors' values at
//! once: what a packet counts meanwhile would be lost. So a counter of another size begins with zero, and what its
//! predecessor had counted in the end stays beside it. A sum is written, never added to: to write it again after a kill
//! changes nothing.

use anyhow::Context;
use lb_common::TargetId;
use lb_common::listener::Traffic;
use lb_common::shared::Shared;

use super::mapped::MappedArray;

/// Packets, then bytes.
#[repr(C)]
pub(super) struct CarriedTraffic(pub(super) [Shared<u64>; 2]);

impl CarriedTraffic {
    /// What it says.
    pub(super) fn load(&self) -> Traffic {
        Traffic { packets: self.0[0].load(), bytes: self.0[1].load() }
    }

    /// Makes it say this.
    pub(super) fn store(&self, Traffic { packets, bytes }: Traffic) {
        self.0[0].store(packets);
        self.0[1].store(bytes);
    }
}

/// What was carried over, by reason, listener and target.
pub(super) struct Carried {
    pub(super) reasons: MappedArray<Shared<u64>>,
    pub(super) listeners: MappedArray<CarriedTraffic>,
    pub(super) targets: MappedArray<CarriedTraffic>,
}

impl Carried {
    /// More than there are reasons: another build may have more of them.
    pub(super) const REASONS: u32 = 256;

    /// Packets of a reason.
    pub(super) fn reason(&self, reason: u32) -> u64 {
        self.reasons.values().get(reason as usize).map_or(0, Shared::<u64>::load)
    }

    /// Traffic of a listener's counter.
    pub(super) fn listener(&self, counter: u16) -> Traffic {
        of(&self.listeners, counter.into())
    }

    /// Traffic of a target.
    pub(super) fn target(&self, id: TargetId) -> Traffic {
        of(&self.targets, id.0.into())
    }

    /// The counter is another listener's.
    pub(super) fn clear_listener(&self, counter: u16) -> anyhow::Result<()> {
        clear(&self.listeners, counter.into())
    }

    /// The id is another target's.
    pub(super) fn clear_target(&self, id: TargetId) -> anyhow::Result<()> {
        clear(&self.targets, id.0.into())
    }
}

fn of(carried: &MappedArray<CarriedTraffic>, index: usize) -> Traffic {
    carried.values().get(index).map_or_else(Traffic::default, CarriedTraffic::load)
}

fn clear(carried: &MappedArray<CarriedTraffic>, index: usize) -> anyhow::Result<()> {
    let traffic = carried.values().get(index).context("a number beyond the balancer's capacity")?;
    traffic.store(Traffic::default());
    Ok(())
}
