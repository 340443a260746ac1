//! A node's metrics in OpenMetrics text, which Prometheus and its kin read.
//!
//! [`metrics`] is the whole list, in the order in which it is served: `node`, `routers`, `listeners`, `target_groups`, `targets`
//! and `api` each have a part of it. Counters begin at zero when the controller, or the maps, are made. What is told
//! of each target and listener is a few samples each, and no label has a client in it: 16,000 targets are some
//! 230,000 samples.

mod api;
pub mod calls;
pub mod histogram;
mod listeners;
mod metric;
mod node;
mod routers;
mod target_groups;
mod targets;
#[cfg(test)]
mod tests;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

pub use api::{ApiScrape, InventoryScrape};
pub use metric::Metric;
use metric::Samples;

use crate::status::report::Report;

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that metrics are made of, at one moment.
#[derive(Debug)]
pub struct Scrape {
    /// The node.
    pub report: Report,
    /// The API, where it is served.
    pub api: Option<ApiScrape>,
}

/// All metrics of a scrape, as OpenMetrics text. With thousands of targets it takes a while: not the place for a task
/// that others wait for.
pub fn render(scrape: Scrape) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

/// Every metric, in the order in which they are served.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    [
        node::METRICS,
        routers::METRICS,
        listeners::METRICS,
        target_groups::METRICS,
        targets::METRICS,
        api::METRICS,
    ]
    .into_iter()
    .flatten()
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for metric in metrics() {
            let (family, kind) = metric.family();
            let mut encoder = encoder.encode_descriptor(family, metric.help, None, kind)?;
            (metric.samples)(self, &mut Samples::new(&mut encoder, kind))?;
        }
        Ok(())
    }
}
