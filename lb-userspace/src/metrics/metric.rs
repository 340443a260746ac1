//! What a metric is: a name, its help, and how its samples follow from a scrape.

use std::fmt;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Scrape;
use super::histogram::{BOUNDS, Durations};

/// One metric. Its name's ending is its type: `_total` is a counter, `_info` an info (its value is 1, the labels say
/// it), `_duration_seconds` a histogram; all others are gauges.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name of its samples, ending included.
    pub name: &'static str,
    /// What it counts or measures, without a full stop.
    pub help: &'static str,
    /// Writes its samples.
    pub(super) samples: fn(&Scrape, &mut Samples) -> fmt::Result,
}

impl Metric {
    /// The name without an ending that the encoder appends, and the type.
    pub(super) fn family(&self) -> (&'static str, MetricType) {
        if let Some(family) = self.name.strip_suffix("_total") {
            (family, MetricType::Counter)
        } else if let Some(family) = self.name.strip_suffix("_info") {
            (family, MetricType::Info)
        } else if self.name.ends_with("_duration_seconds") {
            (self.name, MetricType::Histogram)
        } else {
            (self.name, MetricType::Gauge)
        }
    }
}

/// A sample's labels.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// Where a metric's samples go.
pub(super) struct Samples<'a, 'e> {
    encoder: &'a mut MetricEncoder<'e>,
    kind: MetricType,
}

impl<'a, 'e> Samples<'a, 'e> {
    pub(super) fn new(encoder: &'a mut MetricEncoder<'e>, kind: MetricType) -> Samples<'a, 'e> {
        Samples { encoder, kind }
    }

    /// The only sample, without labels.
    pub(super) fn single(&mut self, value: impl Into<Value>) -> fmt::Result {
        encode(self.encoder, self.kind, value.into())
    }

    /// One with labels.
    pub(super) fn labelled(&mut self, labels: Labels, value: impl Into<Value>) -> fmt::Result {
        encode(&mut self.encoder.encode_family(&labels)?, self.kind, value.into())
    }

    /// One of an info.
    pub(super) fn info(&mut self, labels: Labels) -> fmt::Result {
        self.encoder.encode_info(&labels)
    }

    /// The only one of a histogram, without labels.
    pub(super) fn single_durations(&mut self, durations: &Durations) -> fmt::Result {
        encode_durations(self.encoder, durations)
    }

    /// One of a histogram with labels.
    pub(super) fn durations(&mut self, labels: Labels, durations: &Durations) -> fmt::Result {
        encode_durations(&mut self.encoder.encode_family(&labels)?, durations)
    }
}

fn encode_durations(encoder: &mut MetricEncoder, durations: &Durations) -> fmt::Result {
    let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(durations.buckets).collect();
    encoder.encode_histogram::<NoLabelSet>(durations.sum, durations.count(), &buckets, None)
}

fn encode(encoder: &mut MetricEncoder, kind: MetricType, value: Value) -> fmt::Result {
    match (kind, value) {
        (MetricType::Counter, Value::Count(count)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)
        }
        (MetricType::Counter, Value::Number(number)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(&number, None)
        }
        (_, Value::Count(count)) => encoder.encode_gauge(&count),
        (_, Value::Number(number)) => encoder.encode_gauge(&number),
    }
}

/// A sample's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Count(u64),
    Number(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Count(count)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Value {
        Value::Count(count.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Value {
        Value::Count(is.into())
    }
}
