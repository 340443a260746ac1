//! The thread that empties the ring buffer into files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lb_common::flow_log::FlowRecord;
use rustix::time::{ClockId, clock_gettime};
use tracing::error;

use super::directory::{Directory, Settings};
use super::files::Files;
use super::line;
use super::repeats::Repeats;
use crate::api::calendar::Timestamp;
use crate::data_plane::FlowRecords;
use crate::status::report::FlowLogReport;

/// How often the ring buffer is emptied. It has room for 18,000 records.
const READ_EVERY: Duration = Duration::from_millis(20);
/// Records that are written at once.
const BATCH: usize = 4096;
/// How often the log says that something is missing, at most.
const LOSSES_EVERY: Duration = Duration::from_secs(1);
/// How often it is told that files can't be written.
const ERRORS_EVERY: Duration = Duration::from_secs(60);

/// The flow log at work, until this is dropped: what was told until then is in the files.
pub(crate) struct FlowLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the controller's loop and the thread share.
#[derive(Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    lines: AtomicU64,
    /// Records that found no room in the ring buffer.
    lost_records: AtomicU64,
    /// Lines that could not be written.
    lost_lines: AtomicU64,
    is_failing: AtomicBool,
}

#[derive(Default)]
struct Wanted {
    directory: Arc<Directory>,
    stops: bool,
}

impl FlowLog {
    /// Begins to read `records`; nothing is logged before the first directory.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(crate) fn start(records: FlowRecords) -> std::io::Result<FlowLog> {
        let shared = Arc::<Shared>::default();
        let reader = Reader::new(records, Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("flow-log".into()).spawn(move || reader.run())?;
        Ok(FlowLog { shared, thread: Some(thread) })
    }

    /// Who is who from now on. To be called before the data plane is told.
    pub(crate) fn set_directory(&self, directory: Directory) {
        let mut wanted = self.shared.wanted();
        if *wanted.directory != directory {
            wanted.directory = Arc::new(directory);
            self.shared.changed.notify_one();
        }
    }

    /// What was written and what was lost since the start, on a node that keeps flow logs.
    pub(crate) fn report(&self) -> Option<FlowLogReport> {
        let shared = &self.shared;
        let directory = Arc::clone(&shared.wanted().directory);
        let settings = directory.settings.as_ref()?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(FlowLogReport {
            directory: settings.logging.directory.display().to_string(),
            sample: settings.logging.sample.share(),
            lines: count(&shared.lines),
            lost_records: count(&shared.lost_records),
            lost_lines: count(&shared.lost_lines),
            failing: shared.is_failing.load(Ordering::Relaxed),
        })
    }
}

impl Drop for FlowLog {
    fn drop(&mut self) {
        self.shared.wanted().stops = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic has been told by then.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn wanted(&self) -> std::sync::MutexGuard<'_, Wanted> {
        // Nobody who holds it can leave it half changed.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is time to read, or what is wanted is not `known` any more; without a log only for the latter.
    fn wait(&self, known: &Arc<Directory>) -> (Arc<Directory>, bool) {
        let is_known = |wanted: &mut Wanted| !wanted.stops && Arc::ptr_eq(&wanted.directory, known);
        let wanted = self.wanted();
        let wanted = if known.listeners.is_empty() {
            self.changed.wait_while(wanted, is_known).unwrap_or_else(PoisonError::into_inner)
        } else {
            let waited = self.changed.wait_timeout_while(wanted, READ_EVERY, is_known);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        (Arc::clone(&wanted.directory), wanted.stops)
    }
}

struct Reader {
    records: FlowRecords,
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    /// The one before: records that are read after a change may be older than it.
    before: Arc<Directory>,
    files: Option<Files>,
    repeats: Repeats,
    /// Lost, and not said yet.
    unsaid: u64,
    losses_said: Instant,
    error_said: Option<Instant>,
}

impl Reader {
    fn new(records: FlowRecords, shared: Arc<Shared>) -> Reader {
        Reader {
            records,
            shared,
            directory: Arc::default(),
            before: Arc::default(),
            files: None,
            repeats: Repeats::default(),
            unsaid: 0,
            losses_said: Instant::now(),
            error_said: None,
        }
    }

    fn run(mut self) {
        let mut is_behind = false;
        loop {
            let shared = Arc::clone(&self.shared);
            let (directory, stops) = if is_behind {
                let wanted = shared.wanted();
                (Arc::clone(&wanted.directory), wanted.stops)
            } else {
                shared.wait(&self.directory)
            };
            self.follow(directory);
            is_behind = self.drain();
            self.say_losses(stops);
            if stops {
                return;
            }
        }
    }

    fn follow(&mut self, directory: Arc<Directory>) {
        if Arc::ptr_eq(&directory, &self.directory) {
            return;
        }
        let before = std::mem::replace(&mut self.directory, directory);
        let is_same =
            |settings: &Settings| before.settings.as_ref().is_some_and(|old| old.logging == settings.logging);
        if self.directory.settings.as_ref().is_some_and(|settings| !is_same(settings)) {
            self.files = None;
        }
        self.before = before;
    }

    /// Writes what there is, about [`BATCH`] records at most; whether there may be more.
    fn drain(&mut self) -> bool {
        if self.directory.listeners.is_empty() && self.before.listeners.is_empty() {
            // What an earlier controller did not read is told when it is known whose it is.
            return false;
        }
        let clock = Clock::now();
        let mut batches: BTreeMap<PathBuf, (String, u64)> = BTreeMap::new();
        let mut read = 0;
        while read < BATCH
            && let Some(record) = self.records.next_record()
        {
            read += 1;
            self.take(&record, &clock, &mut batches);
        }
        for (place, (lines, count)) in batches {
            self.write(&place, &lines, count, clock.now);
        }
        read == BATCH
    }

    fn take(&mut self, record: &FlowRecord, clock: &Clock, batches: &mut BTreeMap<PathBuf, (String, u64)>) {
        let Some(sign) = record.sign() else { return };
        let (client, vip) = line::ends(record);
        let known = [&self.directory, &self.before];
        let found = known.into_iter().find_map(|at| Some((at, at.origin(vip, record.protocol)?)));
        let settings = known.into_iter().find_map(|at| at.settings.as_ref());
        // A listener that has gone for longer: nobody's log would say it.
        let (Some((directory, origin)), Some(settings)) = (found, settings) else { return };
        if !self.repeats.is_news((client, vip, record.protocol), sign, record.time) {
            return;
        }
        let batch = batches.entry(origin.place.clone()).or_default();
        let at = (sign, clock.time_of(record.time));
        line::write_flow(&mut batch.0, record, at, origin, (settings, directory));
        batch.1 += 1;
    }

    /// Whether the lines, of which there are so many, were written.
    fn write(&mut self, place: &std::path::Path, lines: &str, count: u64, now: Timestamp) -> bool {
        let written = match self.files() {
            Some(Ok(files)) => files.append(place, lines, now),
            Some(Err(error)) => Err(error),
            None => return true,
        };
        let counter = if written.is_ok() { &self.shared.lines } else { &self.shared.lost_lines };
        counter.fetch_add(count, Ordering::Relaxed);
        self.shared.is_failing.store(written.is_err(), Ordering::Relaxed);
        let Err(problem) = written else { return true };
        self.unsaid += count;
        if self.error_said.is_none_or(|said| said.elapsed() > ERRORS_EVERY) {
            self.error_said = Some(Instant::now());
            error!(
                "the flow log can't be written, lines are lost: {}: {problem}; node.flow_log.directory must be this \
                 process's, or its parent must be",
                place.display()
            );
        }
        false
    }

    /// The files, if there is a log.
    fn files(&mut self) -> Option<std::io::Result<&mut Files>> {
        if self.files.is_none() {
            let settings = [&self.directory, &self.before].into_iter().find_map(|at| at.settings.as_ref())?;
            match Files::open(&settings.logging.directory, settings.logging.maximum_bytes) {
                Ok(files) => self.files = Some(files),
                Err(error) => return Some(Err(error)),
            }
        }
        self.files.as_mut().map(Ok)
    }

    /// Says in every log how many records of this node are in none: whose they were is not known.
    fn say_losses(&mut self, stops: bool) {
        if !stops && self.losses_said.elapsed() < LOSSES_EVERY {
            return;
        }
        self.losses_said = Instant::now();
        match self.records.take_lost() {
            Ok(lost) => {
                self.shared.lost_records.fetch_add(lost, Ordering::Relaxed);
                self.unsaid += lost;
            }
            Err(problem) => error!("{problem:#}"),
        }
        let Some(settings) = self.directory.settings.clone() else { return };
        if self.unsaid == 0 {
            return;
        }
        let (said, now) = (std::mem::take(&mut self.unsaid), Timestamp::now());
        let line = line::loss(said, now, &settings);
        let places = self.directory.places();
        let written = places.iter().filter(|place| self.write(place, &line, 0, now)).count();
        if written == 0 {
            self.unsaid += said;
        }
    }
}

/// Both clocks at one moment.
struct Clock {
    now: Timestamp,
    monotonic: u64,
}

impl Clock {
    fn now() -> Clock {
        let monotonic = clock_gettime(ClockId::Monotonic);
        let monotonic = monotonic.tv_sec as u64 * 1_000_000_000 + monotonic.tv_nsec as u64;
        Clock { now: Timestamp::now(), monotonic }
    }

    /// When a monotonic moment was.
    fn time_of(&self, nanoseconds: u64) -> Timestamp {
        Timestamp(self.now.0.saturating_sub(self.monotonic.saturating_sub(nanoseconds) / 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_records_moment_is_told_by_the_calendar() {
        let clock = Clock { now: Timestamp(1_800_000_000_000), monotonic: 5_000_000_000 };
        assert_eq!(clock.time_of(3_500_000_000), Timestamp(1_799_999_998_500));
        assert_eq!(clock.time_of(6_000_000_000), clock.now, "a record that came since");
    }
}
