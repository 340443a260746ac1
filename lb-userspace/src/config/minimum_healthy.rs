//! A target group's `minimum_healthy` section.

use super::cursor::At;
use crate::model::{MinimumHealthy, Threshold};

/// The section, or the default if it was left out.
pub(super) fn read(section: Option<At>) -> Option<MinimumHealthy> {
    let Some(at) = section else { return Some(MinimumHealthy::default()) };
    let fields = at.fields(&["routing", "failover"])?;
    let routing = fields.optional("routing").map_or(Some(Threshold::default()), |at| threshold(&at));
    let failover = fields.optional("failover").map_or(Some(None), |at| threshold(&at).map(Some));
    let minimum = MinimumHealthy { routing: routing?, failover: failover? };
    if minimum.is_ordered() {
        return Some(minimum);
    }
    fields.at("failover").refuse(
        "is lower than routing, so all targets would get flows while the VIPs are still announced here; make its \
         count and percent at least those of routing",
    )
}

fn threshold(at: &At) -> Option<Threshold> {
    let fields = at.fields(&["count", "percent"])?;
    let count = fields.optional("count").map_or(Some(1), |at| at.number(1..=u16::MAX));
    let percent = fields.optional("percent").map_or(Some(None), |at| at.number(1..=100).map(Some));
    Some(Threshold { count: count?, percent: percent? })
}
