//! The thread that writes: it alone waits for the disk.
//!
//! Lines that can't be written wait for room, up to [`BACKLOG`] of them; those beyond that are lost, counted, and
//! told of by the first line that is written again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use serde_json::json;
use tracing::{error, info};

use super::configuration::SyncPolicy;
use super::counts::AuditCounts;
use super::file::LogFile;
use crate::api::calendar::Timestamp;

/// Lines that wait for room on the disk.
const BACKLOG: usize = 4096;

/// Lines that are written before the disk is waited for, when there are so many.
const BATCH: usize = 256;

/// With [`SyncPolicy::Second`]: how long a line may be in the kernel's hands alone. And how often a failed write is
/// tried again.
const PERIOD: Duration = Duration::from_secs(1);

/// A line on its way.
pub(super) struct Line {
    pub(super) text: String,
    /// What becomes of it when it can't be written.
    pub(super) otherwise: Otherwise,
    /// Who waits until it is on the disk: told whether it is.
    pub(super) waiting: Option<SyncSender<bool>>,
}

/// What becomes of a line that can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// It is tried again.
    Waits,
    /// Nobody misses it: what it says does not happen.
    Goes,
}

/// What the thread has.
pub(super) struct Writer {
    file: LogFile,
    policy: SyncPolicy,
    counts: Arc<AuditCounts>,
    backlog: VecDeque<String>,
    /// Lines that were lost and are not told of yet.
    lost: u64,
    /// Since when lines are not on the disk for sure.
    unsynced: Option<Instant>,
    is_failing: bool,
}

impl Writer {
    pub(super) fn new(file: LogFile, policy: SyncPolicy, counts: Arc<AuditCounts>) -> Writer {
        Writer { file, policy, counts, backlog: VecDeque::new(), lost: 0, unsynced: None, is_failing: false }
    }

    /// Writes until nobody can send lines any more; then what is left is tried a last time.
    pub(super) fn run(mut self, lines: &Receiver<Line>) {
        loop {
            let batch = match lines.recv_timeout(self.patience()) {
                Ok(first) => std::iter::once(first).chain(lines.try_iter().take(BATCH)).collect(),
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.write(batch);
        }
        self.write(Vec::new());
        self.tell(self.file.sync());
        self.counts.lose(self.backlog.len() as u64);
    }

    /// How long the thread may sleep.
    fn patience(&self) -> Duration {
        let is_idle = self.unsynced.is_none() && self.backlog.is_empty();
        if is_idle { Duration::from_secs(3600) } else { PERIOD }
    }

    fn write(&mut self, batch: Vec<Line>) {
        let mut waiting = Vec::new();
        let mut written = self.drain();
        for Line { text, otherwise, waiting: who } in batch {
            if written.is_ok() {
                written = self.append(&text);
            }
            if written.is_err() && otherwise == Otherwise::Waits {
                self.keep(text);
            }
            waiting.extend(who.map(|who| (who, written.is_ok())));
        }
        let is_due = self.unsynced.is_some_and(|since| since.elapsed() >= PERIOD);
        let synced = match self.policy {
            SyncPolicy::Always if self.unsynced.is_some() => self.sync(),
            SyncPolicy::Second if is_due => self.sync(),
            SyncPolicy::Always | SyncPolicy::Second | SyncPolicy::Never => Ok(()),
        };
        let is_synced = synced.is_ok();
        for (who, is_written) in waiting {
            // Who waited may have given up.
            let _ = who.send(is_written && is_synced);
        }
        self.tell(written.and(synced));
    }

    /// First what waited.
    fn drain(&mut self) -> io::Result<()> {
        while let Some(text) = self.backlog.pop_front() {
            if let Err(error) = self.append(&text) {
                self.backlog.push_front(text);
                return Err(error);
            }
        }
        let lost = self.lost + self.counts.take_untold();
        if lost > 0 {
            let time = Timestamp::now().to_string();
            self.lost = lost;
            self.append(&format!("{}\n", json!({ "time": time, "event": "lost", "lines": lost })))?;
            self.lost = 0;
        }
        Ok(())
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        let is_another_file = self.file.append(text)?;
        self.counts.wrote(is_another_file);
        if self.policy != SyncPolicy::Never {
            self.unsynced.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.unsynced = None;
        Ok(())
    }

    fn keep(&mut self, text: String) {
        if self.backlog.len() < BACKLOG {
            self.backlog.push_back(text);
        } else {
            self.lost += 1;
            self.counts.lose(1);
        }
    }

    /// Says once that it fails, and once that it does no more.
    fn tell(&mut self, result: io::Result<()>) {
        self.counts.fail(result.is_err());
        match result {
            Err(problem) if !self.is_failing => {
                error!("the audit log can't be written, and is tried again each second: {problem}");
            }
            Ok(()) if self.is_failing => info!("the audit log is written again"),
            _ => {}
        }
        self.is_failing = self.counts.is_failing();
    }
}
