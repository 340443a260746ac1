//! The `kernel_table` section: VIPs as routes that a routing daemon reads.

use std::time::Duration;

use crate::announce::kernel_table::Configuration;
use crate::config::cursor::At;

pub(super) fn read(at: &At) -> Option<Configuration> {
    let fields = at.fields(&["table", "protocol", "draining_protocol", "metric", "draining_metric"])?;
    let default = Configuration::default();
    let number =
        |name: &str, default: u32| fields.optional(name).map_or(Some(default), |at| at.number(1..=u32::MAX));
    let protocol =
        |name: &str, default: u8| fields.optional(name).map_or(Some(default), |at| at.number(1..=u8::MAX));
    let table = number("table", default.table);
    let (metric, draining_metric) =
        (number("metric", default.metric), number("draining_metric", default.draining_metric));
    let (announced, draining) =
        (protocol("protocol", default.protocol), protocol("draining_protocol", default.draining_protocol));
    let configuration = Configuration {
        table: table?,
        protocol: announced?,
        draining_protocol: draining?,
        metric: metric?,
        draining_metric: draining_metric?,
        // Whether routes of an earlier controller stay for a while is the data plane's to say.
        hold: Duration::ZERO,
    };
    match configuration.validate() {
        Ok(()) => Some(configuration),
        Err(problem) => at.refuse(problem.to_string()),
    }
}
