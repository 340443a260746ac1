//! The last events, in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::event::{Event, Note};
use crate::api::calendar::Timestamp;

/// So many events are kept: a few megabytes.
pub const CAPACITY: usize = 10_000;

/// The events of one run of a controller. Whoever notes one waits for nobody but another who notes or reads.
#[derive(Debug)]
pub struct Journal {
    begun: Timestamp,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    /// In the order of their numbers, without gaps.
    events: VecDeque<Event>,
    /// The number of the last one that was noted.
    last: u64,
}

/// Events after a number, as they are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Which journal it is: when it began. Another one counts from 1 again.
    pub journal: String,
    /// The number of the last event that was noted; 0 if there was none yet.
    pub last: u64,
    /// How many of the events that were asked for are not kept any more.
    pub forgotten: u64,
    /// The others.
    pub events: Vec<Event>,
}

impl Journal {
    /// One that begins now.
    pub fn begin(now: Timestamp) -> Journal {
        Journal { begun: now, ring: Mutex::default() }
    }

    /// Notes an event that happened now; the oldest one is forgotten where there are too many.
    pub fn note(&self, note: Note) {
        self.note_at(note, Timestamp::now());
    }

    fn note_at(&self, note: Note, now: Timestamp) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        let event = Event { sequence: ring.last, time: now.to_string(), note };
        if ring.events.len() == CAPACITY {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
    }

    /// What was noted after the event of that number; after 0 is everything.
    pub fn after(&self, number: u64) -> Page {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let first_kept = ring.last - ring.events.len() as u64 + 1;
        let skipped = (number + 1).saturating_sub(first_kept);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        Page {
            journal: self.begun.to_string(),
            last: ring.last,
            forgotten: first_kept.saturating_sub(number.saturating_add(1)),
            events: ring.events.iter().skip(skipped).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::unhealthy;
    use super::*;

    fn with(count: usize) -> Journal {
        let journal = Journal::begin(Timestamp(0));
        (0..count).for_each(|_| journal.note_at(unhealthy(), Timestamp(1000)));
        journal
    }

    fn numbers(page: &Page) -> Vec<u64> {
        page.events.iter().map(|event| event.sequence).collect()
    }

    #[test]
    fn a_reader_gets_what_is_new_to_it() {
        let journal = with(3);
        assert_eq!(numbers(&journal.after(0)), [1, 2, 3]);
        assert_eq!(numbers(&journal.after(2)), [3]);
        for number in [3, 4, u64::MAX - 1] {
            let page = journal.after(number);
            assert_eq!((numbers(&page), page.last, page.forgotten), (vec![], 3, 0), "after {number}");
        }
        assert_eq!(journal.after(0).journal, "1970-01-01T00:00:00.000Z");
        assert_eq!((with(0).after(0).last, with(0).after(0).forgotten), (0, 0));
    }

    #[test]
    fn the_oldest_are_forgotten_and_that_is_told() {
        let journal = with(CAPACITY + 5);
        let page = journal.after(0);
        assert_eq!((page.events.len(), page.forgotten), (CAPACITY, 5));
        assert_eq!(page.events[0].sequence, 6);
        assert_eq!((journal.after(5).forgotten, journal.after(4).forgotten), (0, 1));
        assert_eq!(numbers(&journal.after(CAPACITY as u64 + 4)), [CAPACITY as u64 + 5]);
    }
}
