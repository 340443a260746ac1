//! Calls of many threads, carried out together: who has the turn takes along all that wait, so that they wait for the disk
//! once. While a disk takes some milliseconds for a change, others gather; where it is fast nobody waits.
//!
//! Those who were answered a moment ago are about to come again. Who takes the turn at once takes along the others alone,
//! and the next one these: each waits for the disk twice. So the turn begins when there are as many as there were, or
//! after half of the time that the disk took. Whoever calls alone waits for nobody.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::engine::{Answer, Call, Engine};
use super::transaction::State;
use crate::api::inventory::Inventory;
use crate::api::protocol::Code;

/// An engine with a queue before it.
pub struct Queue {
    engine: Mutex<Engine>,
    line: Mutex<Line>,
    /// Told after each turn.
    turns: Condvar,
    /// Told when there are as many as there were.
    gathered: Condvar,
    /// What the engine has kept last, for those who must not wait for it.
    snapshot: Mutex<Arc<Snapshot>>,
    /// How many snapshots there were.
    changes: watch::Sender<u64>,
}

/// A state with the inventory that it was checked with.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// The inventory.
    pub inventory: Arc<Inventory>,
    /// Why the data plane can't carry the state, if it can't.
    pub unfit: Option<String>,
}

impl Snapshot {
    fn of(engine: &Engine) -> Arc<Snapshot> {
        let (state, inventory) = (engine.state().clone(), engine.inventory().clone());
        Arc::new(Snapshot { state, inventory, unfit: engine.unfit().map(str::to_owned) })
    }

    fn is_of(&self, engine: &Engine) -> bool {
        self.state.generation == engine.state().generation && Arc::ptr_eq(&self.inventory, engine.inventory())
    }
}

#[derive(Default)]
struct Line {
    waiting: Vec<(Call, Place)>,
    /// Whether somebody has the turn.
    is_taken: bool,
    /// How many were answered in the last turn or came meanwhile.
    crowd: usize,
    /// How long the disk took then.
    disk: Duration,
}

/// Whatever the disk takes, nobody waits longer for others.
const PATIENCE: Duration = Duration::from_millis(50);

/// Where an answer is put.
type Place = Arc<Mutex<Option<Answer>>>;

impl Queue {
    /// A queue before `engine`.
    pub fn new(engine: Engine) -> Queue {
        Queue {
            snapshot: Mutex::new(Snapshot::of(&engine)),
            engine: Mutex::new(engine),
            line: Mutex::default(),
            turns: Condvar::new(),
            gathered: Condvar::new(),
            changes: watch::Sender::new(0),
        }
    }

    /// The engine, while nobody else has it. A panic of somebody who had it leaves the state whole: what was begun is
    /// rolled back.
    pub fn engine(&self) -> Held<'_> {
        Held { engine: lock(&self.engine), queue: self }
    }

    /// What was kept last. This waits for nobody.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        lock(&self.snapshot).clone()
    }

    /// How many changes of the state or the inventory there were, and when there is another.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wakes those who wait for changes, although there was none: something beside the state is new.
    pub fn wake(&self) {
        self.changes.send_modify(|_| {});
    }

    /// Carries out an operation. This waits for its turn, and for what it changes to be kept.
    ///
    /// # Errors
    /// Why it is refused; then nothing has changed.
    pub fn call(&self, call: Call) -> Answer {
        let place = Place::default();
        let mut line = lock(&self.line);
        line.waiting.push((call, place.clone()));
        if line.waiting.len() >= line.crowd {
            self.gathered.notify_one();
        }
        loop {
            if let Some(answer) = lock(&place).take() {
                return answer;
            }
            if line.is_taken {
                line = self.turns.wait(line).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            line.is_taken = true;
            line = self.gather(line);
            let (calls, places): (Vec<_>, Vec<_>) = std::mem::take(&mut line.waiting).into_iter().unzip();
            drop(line);
            Turn { queue: self, places, disk: Duration::ZERO }.carry_out(&calls);
            line = lock(&self.line);
        }
    }

    /// Waits until there are as many as there were, but not for long.
    fn gather<'l>(&self, mut line: MutexGuard<'l, Line>) -> MutexGuard<'l, Line> {
        let end = Instant::now() + (line.disk / 2).min(PATIENCE);
        while line.waiting.len() < line.crowd {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.gathered.wait_timeout(line, left);
            line = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        line
    }
}

/// The engine, until it is dropped: then everybody is told what it has kept.
pub struct Held<'q> {
    engine: MutexGuard<'q, Engine>,
    queue: &'q Queue,
}

impl Deref for Held<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !self.queue.snapshot().is_of(&self.engine) {
            *lock(&self.queue.snapshot) = Snapshot::of(&self.engine);
            self.queue.changes.send_modify(|count| *count += 1);
        }
    }
}

/// The turn, until it is dropped.
struct Turn<'q> {
    queue: &'q Queue,
    places: Vec<Place>,
    /// How long the disk took.
    disk: Duration,
}

impl Turn<'_> {
    fn carry_out(mut self, calls: &[Call]) {
        let mut engine = self.queue.engine();
        let answers = engine.call_all(calls);
        self.disk = engine.keeping();
        drop(engine);
        for (place, answer) in self.places.iter().zip(answers) {
            *lock(place) = Some(answer);
        }
    }
}

impl Drop for Turn<'_> {
    /// After a panic, too, nobody is left waiting.
    fn drop(&mut self) {
        for place in &self.places {
            let unanswered =
                || Err(Code::InternalFailure.because("The call met with an error of this server's"));
            lock(place).get_or_insert_with(unanswered);
        }
        let mut line = lock(&self.queue.line);
        (line.is_taken, line.disk) = (false, self.disk);
        line.crowd = self.places.len() + line.waiting.len();
        drop(line);
        self.queue.turns.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
