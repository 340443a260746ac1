//! What became of the log's lines, for the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counts since the start.
#[derive(Debug, Default)]
pub struct AuditCounts {
    written: AtomicU64,
    lost: AtomicU64,
    /// Lost before they reached the writer, and not told of yet.
    untold: AtomicU64,
    strangers_unlogged: AtomicU64,
    rotations: AtomicU64,
    is_failing: AtomicBool,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditSnapshot {
    /// Lines that were written.
    pub written: u64,
    /// Lines that never will be.
    pub lost: u64,
    /// Requests without a valid signature beyond those that strangers have lines for.
    pub strangers_unlogged: u64,
    /// Files that got a number because they were full.
    pub rotations: u64,
    /// Whether the last attempt to write failed.
    pub is_failing: bool,
}

impl AuditCounts {
    /// The counts now.
    pub fn snapshot(&self) -> AuditSnapshot {
        AuditSnapshot {
            written: self.written.load(Relaxed),
            lost: self.lost.load(Relaxed),
            strangers_unlogged: self.strangers_unlogged.load(Relaxed),
            rotations: self.rotations.load(Relaxed),
            is_failing: self.is_failing(),
        }
    }

    pub(super) fn wrote(&self, is_another_file: bool) {
        self.written.fetch_add(1, Relaxed);
        self.rotations.fetch_add(is_another_file.into(), Relaxed);
    }

    pub(super) fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Relaxed);
    }

    /// A line was lost before it reached the writer, which is to tell of it.
    pub(super) fn lose_on_the_way(&self) {
        self.lose(1);
        self.untold.fetch_add(1, Relaxed);
    }

    pub(super) fn take_untold(&self) -> u64 {
        self.untold.swap(0, Relaxed)
    }

    pub(super) fn turn_away(&self) {
        self.strangers_unlogged.fetch_add(1, Relaxed);
    }

    pub(super) fn fail(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Relaxed);
    }

    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Relaxed)
    }
}
