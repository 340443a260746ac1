//! The API: its calls, its changes, its audit log.

use std::fmt;

use super::Scrape;
use super::calls::{Calls, OperationCalls};
use super::metric::{Metric, Samples, Value};
use crate::api::audit::counts::{AuditCounts, AuditSnapshot};
use crate::api::calendar::Timestamp;
use crate::api::inventory::ec2::FeedReport;

/// The API at one moment.
#[derive(Debug, Clone, Default)]
pub struct ApiScrape {
    /// The calls of each operation that was called.
    pub operations: Vec<OperationCalls>,
    /// How often the state was changed.
    pub changes: u64,
    /// The audit log, if there is one.
    pub audit: Option<AuditSnapshot>,
    /// The inventory, if an endpoint tells it.
    pub inventory: Option<InventoryScrape>,
}

/// An inventory that an endpoint tells.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct InventoryScrape {
    /// How old the answer is that is in force, in seconds.
    pub age_seconds: f64,
    /// Refreshes since the start that came to an answer.
    pub good: u64,
    /// Those that did not.
    pub failed: u64,
}

impl InventoryScrape {
    /// What is reported at a moment.
    pub fn of(report: &FeedReport, now: Timestamp) -> InventoryScrape {
        let (good, failed) = report.refreshes;
        InventoryScrape { age_seconds: report.at.distance(now).as_secs_f64(), good, failed }
    }
}

impl ApiScrape {
    /// What was counted until now.
    pub fn of(calls: &Calls, audit: Option<&AuditCounts>, inventory: Option<InventoryScrape>) -> ApiScrape {
        ApiScrape {
            operations: calls.snapshot(),
            changes: calls.changes(),
            audit: audit.map(AuditCounts::snapshot),
            inventory,
        }
    }
}

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "sluice_api_requests_total",
        help: "Requests by operation and by how they ended: OK or an error's code",
        samples: |scrape, samples| {
            operations(scrape, |calls| {
                calls.ends.iter().try_for_each(|(end, count)| {
                    samples.labelled(&[("operation", calls.operation), ("code", end)], *count)
                })
            })
        },
    },
    Metric {
        name: "sluice_api_request_duration_seconds",
        help: "From a request that was read to its answer, by operation; with the store's and the audit log's disk",
        samples: |scrape, samples| {
            operations(scrape, |calls| samples.durations(&[("operation", calls.operation)], &calls.took))
        },
    },
    Metric {
        name: "sluice_api_changes_total",
        help: "Changes of the state that requests made",
        samples: |scrape, samples| match &scrape.api {
            Some(api) => samples.single(api.changes),
            None => Ok(()),
        },
    },
    Metric {
        name: "sluice_api_audit_lines_total",
        help: "Lines written to the audit log",
        samples: |scrape, samples| audit(scrape, samples, |audit| audit.written.into()),
    },
    Metric {
        name: "sluice_api_audit_lost_lines_total",
        help: "Lines that the audit log has not and never will have, because the disk was full or too slow",
        samples: |scrape, samples| audit(scrape, samples, |audit| audit.lost.into()),
    },
    Metric {
        name: "sluice_api_audit_strangers_unlogged_total",
        help: "Requests without a valid signature that have no line, because strangers get two a second",
        samples: |scrape, samples| audit(scrape, samples, |audit| audit.strangers_unlogged.into()),
    },
    Metric {
        name: "sluice_api_audit_rotations_total",
        help: "Files of the audit log that were full",
        samples: |scrape, samples| audit(scrape, samples, |audit| audit.rotations.into()),
    },
    Metric {
        name: "sluice_api_audit_failing",
        help: "1 while the audit log can't be written, else 0",
        samples: |scrape, samples| audit(scrape, samples, |audit| audit.is_failing.into()),
    },
    Metric {
        name: "sluice_api_inventory_age_seconds",
        help: "How old the EC2-compatible endpoint's answer is that is in force",
        samples: |scrape, samples| {
            inventory(scrape).map_or(Ok(()), |inventory| samples.single(inventory.age_seconds))
        },
    },
    Metric {
        name: "sluice_api_inventory_refreshes_total",
        help: "How often the EC2-compatible endpoint was asked for the inventory, by result",
        samples: |scrape, samples| {
            inventory(scrape).map_or(Ok(()), |inventory| {
                samples.labelled(&[("result", "good")], inventory.good)?;
                samples.labelled(&[("result", "failed")], inventory.failed)
            })
        },
    },
];

fn inventory(scrape: &Scrape) -> Option<InventoryScrape> {
    scrape.api.as_ref().and_then(|api| api.inventory)
}

fn operations(scrape: &Scrape, write: impl FnMut(&OperationCalls) -> fmt::Result) -> fmt::Result {
    scrape.api.iter().flat_map(|api| &api.operations).try_for_each(write)
}

fn audit(scrape: &Scrape, samples: &mut Samples, value: fn(&AuditSnapshot) -> Value) -> fmt::Result {
    match scrape.api.as_ref().and_then(|api| api.audit.as_ref()) {
        Some(audit) => samples.single(value(audit)),
        None => Ok(()),
    }
}
