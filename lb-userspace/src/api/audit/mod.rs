//! The audit log: who asked the API for which change, from where, and what came of it; a JSON object a line.
//!
//! ```text
//!   service ─► Account ─► AuditLog ─(bounded queue)─► Writer, a thread ─► LogFile, audit.log.1, …
//!   (any thread)          never waits, but with sync "always"            (waits for the disk)
//! ```
//!
//! Told are calls that change something, done or refused, and requests that were refused before it was known what
//! they are: unsigned, wrongly signed, malformed. Calls that only read are not. The data plane knows nothing of it.
//!
//! With [`SyncPolicy::Always`] a change has two lines: `asked`, which is on the disk before the change is made, and
//! `answered`. Without room for the first the call is refused with `ServiceUnavailable`. With the other policies
//! nothing waits: lines that can't be written wait for room, and are lost and counted when too many do.

mod allowance;
pub mod configuration;
pub mod counts;
mod difference;
mod entry;
mod file;
mod parameters;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;

use self::allowance::Allowance;
use self::configuration::{AuditConfiguration, SyncPolicy};
use self::counts::AuditCounts;
pub use self::entry::Account;
use self::entry::Event;
use self::file::LogFile;
use self::writer::{Line, Otherwise, Writer};
use super::calendar::Timestamp;
use super::protocol::{ApiError, Code};

/// Lines on their way to the writer.
const QUEUE: usize = 1024;

/// With [`SyncPolicy::Always`]: how long a call waits for the disk.
const DISK: Duration = Duration::from_secs(5);

/// The log. Its end waits until what is on the way is written.
#[derive(Debug)]
pub struct AuditLog {
    /// None only while it ends.
    queue: Option<SyncSender<Line>>,
    writer: Option<JoinHandle<()>>,
    policy: SyncPolicy,
    counts: Arc<AuditCounts>,
    strangers: Mutex<Allowance>,
}

impl AuditLog {
    /// Opens the file and starts the thread.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn open(configuration: &AuditConfiguration) -> anyhow::Result<AuditLog> {
        let counts = Arc::new(AuditCounts::default());
        let policy = configuration.sync;
        let writer = Writer::new(LogFile::open(configuration)?, policy, Arc::clone(&counts));
        let (queue, lines) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("audit log".to_owned());
        let thread = thread.spawn(move || writer.run(&lines)).context("starting the audit log's thread")?;
        let strangers = Mutex::default();
        Ok(AuditLog { queue: Some(queue), writer: Some(thread), policy, counts, strangers })
    }

    /// What became of its lines.
    pub fn counts(&self) -> &Arc<AuditCounts> {
        &self.counts
    }

    /// Tells that a change is about to be made, if the policy says so.
    ///
    /// # Errors
    /// `ServiceUnavailable` when that is not on the disk: the change must not be made.
    pub fn ask(&self, account: &Account) -> Result<(), ApiError> {
        if self.policy != SyncPolicy::Always {
            return Ok(());
        }
        if self.write_and_wait(account.line(Event::Asked, None, 0), Otherwise::Goes) {
            return Ok(());
        }
        Err(Code::ServiceUnavailable
            .because("The change can't be written to the audit log at the moment; it was not made"))
    }

    /// Tells what came of a request.
    pub fn answer(&self, account: &Account, refusal: Option<&ApiError>, now: Timestamp) {
        if !account.is_worth_a_line() {
            return;
        }
        let unlogged = if account.is_identified() {
            0
        } else {
            match self.strangers.lock().unwrap_or_else(PoisonError::into_inner).take(now) {
                Some(unlogged) => unlogged,
                None => return self.counts.turn_away(),
            }
        };
        let text = account.line(Event::Answered, refusal, unlogged);
        if self.policy == SyncPolicy::Always && refusal.is_none() {
            // The change is made: a line that is not on the disk by now is written as soon as that can be.
            self.write_and_wait(text, Otherwise::Waits);
        } else {
            self.write(Line { text, otherwise: Otherwise::Waits, waiting: None });
        }
    }

    fn write(&self, line: Line) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(line) {
            self.counts.lose_on_the_way();
        }
    }

    /// Whether the line is on the disk.
    fn write_and_wait(&self, text: String, otherwise: Otherwise) -> bool {
        let Some(queue) = &self.queue else { return false };
        let (waiting, answer) = sync_channel(1);
        let deadline = Instant::now() + DISK;
        let mut line = Line { text, otherwise, waiting: Some(waiting) };
        loop {
            line = match queue.try_send(line) {
                Ok(()) => break,
                Err(TrySendError::Full(line)) if Instant::now() < deadline => line,
                Err(_) => {
                    if otherwise == Otherwise::Waits {
                        self.counts.lose_on_the_way();
                    }
                    return false;
                }
            };
            std::thread::sleep(Duration::from_millis(10));
        }
        answer.recv_timeout(deadline.saturating_duration_since(Instant::now())).unwrap_or(false)
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has told of it.
            let _ = writer.join();
        }
    }
}
