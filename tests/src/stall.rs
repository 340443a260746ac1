//! How long the machine keeps threads waiting that have something to do: what a story of moments can't ask of anybody.
//!
//! It is added to a bound, once for each process that has to be woken after another, so that the bound says the same on a
//! machine that does other things, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A thread that sleeps, again and again, until this is dropped.
#[derive(Debug)]
pub struct Stall {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Duration>>,
}

/// How long it sleeps each time.
const NAP: Duration = Duration::from_millis(1);

impl Stall {
    /// Begins to watch.
    pub fn watch() -> Stall {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        Stall { is_over, thread: Some(std::thread::spawn(move || longest(&over))) }
    }

    /// Ends it; how much longer than asked for the thread slept at worst.
    pub fn longest(mut self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it ends once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn longest(over: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        std::thread::sleep(NAP);
        longest = longest.max(begun.elapsed().saturating_sub(NAP));
    }
    longest
}
