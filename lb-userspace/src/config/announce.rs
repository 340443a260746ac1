//! The `announce` section: who tells routers of the VIPs, and when a VIP is announced.
//!
//! Ranges of single values are told with their own path; what must hold between several is the speaker's to say, of
//! each peer with the peer's path.

mod bgp;
mod kernel_table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::cursor::{At, Fields};
use crate::announce::fitness::{Rules, WhenUnfit};
use crate::announce::{By, Configuration};

/// The section.
pub(super) fn read(at: &At) -> Option<Configuration> {
    let fields = at.fields(&[
        "bgp",
        "kernel_table",
        "hold_down_seconds",
        "hold_down_max_seconds",
        "when_unfit",
        "drain_seconds",
    ])?;
    let by = by(at, &fields);
    let rules = rules(&fields);
    let drain =
        fields.optional("drain_seconds").map_or(Some(Duration::from_secs(30)), |at| at.seconds(0..=3600));
    Some(Configuration { by: by?, rules: rules?, drain: drain? })
}

fn by(at: &At, fields: &Fields) -> Option<By> {
    match (fields.optional("bgp"), fields.optional("kernel_table")) {
        (Some(bgp), None) => bgp::read(&bgp).map(By::Bgp),
        (None, Some(table)) => kernel_table::read(&table).map(By::KernelTable),
        (Some(_), Some(table)) => table.refuse("routers are told by \"bgp\" already; take one of both away"),
        (None, None) => {
            at.refuse("nobody tells routers; give \"bgp\" or \"kernel_table\", or leave the section out")
        }
    }
}

fn rules(fields: &Fields) -> Option<Rules> {
    let default = Rules::default();
    let hold_down =
        fields.optional("hold_down_seconds").map_or(Some(default.hold_down), |at| at.seconds(0..=3600));
    let longest =
        fields.optional("hold_down_max_seconds").map_or(Some(None), |at| at.seconds(0..=86_400).map(Some));
    let when_unfit = fields.optional("when_unfit").map_or(Some(default.when_unfit), |at| {
        at.choice(&[("withdraw", WhenUnfit::Withdraw), ("keep", WhenUnfit::Keep)], &[])
    });
    let (hold_down, longest) = (hold_down?, longest?);
    if longest.is_some_and(|longest| longest < hold_down) {
        return fields.at("hold_down_max_seconds").refuse(format!(
            "is less than hold_down_seconds, which it bounds; expected at least {}",
            hold_down.as_secs()
        ));
    }
    let hold_down_max = longest.unwrap_or(default.hold_down_max.max(hold_down));
    Some(Rules { hold_down, hold_down_max, when_unfit: when_unfit? })
}
