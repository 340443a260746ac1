//! A client that asks all the time: a new connection for every request, VIPs in turn.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::http;
use crate::topology::Lab;

/// How many failures are remembered in words.
const MAX_FAILURES: usize = 5;

/// What became of the requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by the target that gave them.
    pub answers: BTreeMap<String, u64>,
    /// Requests without an answer.
    pub failed: u64,
    /// Why the first of them failed.
    pub failures: Vec<String>,
    /// Addresses under which targets saw the client.
    pub clients: Vec<IpAddr>,
}

impl Tally {
    /// Counts one request.
    pub fn add(&mut self, result: Result<http::Answer>) {
        match result {
            Ok(answer) => {
                *self.answers.entry(answer.target).or_default() += 1;
                if !self.clients.contains(&answer.client) {
                    self.clients.push(answer.client);
                }
            }
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < MAX_FAILURES {
                    self.failures.push(format!("{error:#}"));
                }
            }
        }
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.answers.values().sum::<u64>() + self.failed
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} requests", self.requests())?;
        self.answers.iter().try_for_each(|(name, count)| write!(f, ", {name} {count}"))?;
        write!(f, ", failed {}", self.failed)?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

/// Requests that run until this is dropped.
#[derive(Debug)]
pub struct Traffic {
    tally: Arc<Mutex<Tally>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Starts asking from the lab's client, with `pause` between two requests.
    pub fn start(lab: &Lab, pause: Duration) -> Result<Traffic> {
        let entrance = lab.client.entrance()?;
        let vips = lab.vips.clone();
        let tally = Arc::new(Mutex::new(Tally::default()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (tally.clone(), is_over.clone());
        let work = move || {
            entrance.move_this_thread_in();
            for vip in vips.iter().cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
                let result = http::get_patiently(SocketAddr::new(*vip, http::PORT));
                shared.lock().unwrap_or_else(PoisonError::into_inner).add(result);
                std::thread::sleep(pause);
            }
        };
        let thread = std::thread::Builder::new().name("traffic".to_string()).spawn(work);
        Ok(Traffic { tally, is_over, thread: Some(thread.context("starting the traffic's thread")?) })
    }

    /// What became of the requests so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What became of the requests since the last call (or the start).
    pub fn take(&self) -> Tally {
        std::mem::take(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends it, and says what became of the requests.
    pub fn stop(mut self) -> Tally {
        self.end();
        self.tally()
    }

    fn end(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panics only with its namespace, of which the test then says more.
            let _ = thread.join();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_answers_and_remembers_why_requests_failed() {
        let mut tally = Tally::default();
        tally.add(http::parse("t1 10.201.0.2"));
        tally.add(http::parse("t1 10.201.0.2"));
        tally.add(http::parse("nonsense"));
        assert_eq!((tally.requests(), tally.answers["t1"], tally.failed), (3, 2, 1));
        assert_eq!(tally.clients.len(), 1);
        assert!(tally.to_string().contains("NAME ADDRESS"), "{tally}");
    }
}
