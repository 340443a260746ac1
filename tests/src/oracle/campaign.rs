//! Many epochs on several threads, each with a balancer of its own.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lb_common::Reason;

use super::contest::{self, End, Totals};
use super::epoch::{Diet, Epoch, Step};
use super::finding::Finding;
use super::subject::Subject;
use super::world;
use crate::model::Counters;

/// What is played.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Every frame and map follows from it.
    pub seed: u64,
    /// The number of the first epoch.
    pub first_epoch: u64,
    /// How many frames at least; epochs are played whole.
    pub packets: u64,
    /// When to end in any case.
    pub time: Option<Duration>,
    /// Threads.
    pub threads: usize,
    /// Which frames.
    pub diet: Diet,
}

/// What was played.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Frames.
    pub packets: u64,
    /// Those that were forwarded.
    pub forwarded: u64,
    /// The others by reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn add(&mut self, counters: &Counters) {
        let forwarded: u64 = counters.listeners.values().map(|traffic| traffic.packets).sum();
        let refused: u64 = counters.reasons.values().sum();
        self.forwarded += forwarded;
        self.packets += forwarded + refused;
        for (number, count) in &counters.reasons {
            *self.reasons.entry(Reason::ALL[usize::from(*number)].name()).or_default() += count;
        }
    }
}

/// What the threads share.
struct Shared<'a> {
    campaign: &'a Campaign,
    deadline: Option<Instant>,
    next_epoch: AtomicU64,
    is_over: AtomicBool,
    tally: Mutex<Tally>,
    progress: &'a (dyn Fn(&Tally) + Sync),
}

impl Campaign {
    /// Plays it; `progress` hears of each epoch.
    ///
    /// # Errors
    /// The first difference between model and program with all that is needed to have it again, or what the
    /// kernel refused.
    pub fn run(&self, progress: &(dyn Fn(&Tally) + Sync)) -> Result<Tally> {
        let shared = Shared {
            campaign: self,
            deadline: self.time.map(|time| Instant::now() + time),
            next_epoch: AtomicU64::new(self.first_epoch),
            is_over: AtomicBool::new(false),
            tally: Mutex::default(),
            progress,
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(|| shared.work())).collect();
            let results: Vec<_> =
                threads.into_iter().map(|thread| thread.join().expect("a thread ends by itself")).collect();
            results.into_iter().collect::<Result<()>>()
        })?;
        Ok(shared.tally.into_inner().expect("no thread panics with the tally"))
    }
}

impl Shared<'_> {
    fn work(&self) -> Result<()> {
        let worked = Subject::load(world::key(self.campaign.seed)).and_then(|mut subject| {
            while !self.is_over.load(Ordering::Relaxed) {
                self.epoch(&mut subject, self.next_epoch.fetch_add(1, Ordering::Relaxed))?;
            }
            Ok(())
        });
        if worked.is_err() {
            self.is_over.store(true, Ordering::Relaxed);
        }
        worked
    }

    fn epoch(&self, subject: &mut Subject, number: u64) -> Result<()> {
        let epoch = Epoch::new(self.campaign.seed, number, self.campaign.diet);
        match contest::play(subject, &epoch, Totals::AtTheEnd)? {
            End::Agreed(counters) => self.count(&epoch, &counters),
            End::Differs(finding) => bail!(self.report(subject, &epoch, *finding, number)?),
        }
    }

    /// The finding in words: shortened if the epoch, played again, differs again.
    fn report(&self, subject: &mut Subject, epoch: &Epoch, finding: Finding, number: u64) -> Result<String> {
        let title = format!("model and program differ: seed {}, epoch {number}", self.campaign.seed);
        Ok(match contest::play(subject, epoch, Totals::EveryStep)? {
            End::Differs(earlier) => {
                let step = earlier.step;
                format!("{title}, step {step}\n{}", earlier.minimised(subject)?)
            }
            End::Agreed(_) => {
                format!("{title}, step {}, but not when it was played again\n{finding}", finding.step)
            }
        })
    }

    fn count(&self, epoch: &Epoch, counters: &Counters) -> Result<()> {
        let mut tally = self.tally.lock().expect("no thread panics with the tally");
        let before = tally.packets;
        tally.add(counters);
        let frames = epoch.steps.iter().filter(|step| matches!(step, Step::Frame(_))).count() as u64;
        if tally.packets - before != frames {
            bail!("{frames} frames were sent, and {} counted", tally.packets - before);
        }
        (self.progress)(&tally);
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if tally.packets >= self.campaign.packets || is_late {
            self.is_over.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
