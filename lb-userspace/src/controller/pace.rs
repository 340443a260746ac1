//! How often the maps follow what checks and time change: a first change at once, and where one comes after the other the
//! controller works for a while and then rests for many times that. So thousands of targets that flap cost a bounded share
//! of a processor, and all changes of a rest are one publication.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The controller rests so many times as long as it worked: it takes at most an eighteenth of a processor.
const REST: u32 = 17;
/// But never longer than this.
const LONGEST: Duration = Duration::from_millis(150);

/// How long this thread has had a processor.
pub(super) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// When the controller worked last, and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rests_until: Option<Instant>,
    /// Whether something came meanwhile.
    is_waited_for: bool,
}

impl Pace {
    /// Takes note of work that is done at `now` and took so much of a processor's time: of a machine that is busy with other
    /// things it takes no more than of an idle one, so that decisions need not wait longer there.
    pub(super) fn worked(&mut self, took: Duration, now: Instant) {
        let rest = took.saturating_mul(REST).min(LONGEST);
        (self.rests_until, self.is_waited_for) = (Some(now + rest), false);
    }

    /// Whether what has come now waits: then [`Pace::next_deadline`] is when for.
    pub(super) fn puts_off(&mut self, now: Instant) -> bool {
        self.is_waited_for = self.rests_until.is_some_and(|until| now < until);
        self.is_waited_for
    }

    /// When there is work, if there was some `due` by then: not in a rest, and at its end if something waits.
    pub(super) fn next_deadline(&self, due: Option<Instant>) -> Option<Instant> {
        match (self.rests_until, due) {
            (Some(until), Some(due)) if !self.is_waited_for => Some(due.max(until)),
            (Some(until), _) if self.is_waited_for => Some(until),
            (_, due) => due,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_change_after_a_rest_is_followed_at_once() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(!pace.puts_off(now));
        pace.worked(MILLISECOND, now + MILLISECOND);
        assert!(!pace.puts_off(now + (REST + 1) * MILLISECOND));
        assert_eq!(pace.next_deadline(None), None);
    }

    #[test]
    fn changes_of_a_rest_wait_for_its_end() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.worked(2 * MILLISECOND, now + 2 * MILLISECOND);
        let end = now + 2 * (REST + 1) * MILLISECOND;
        assert!(pace.puts_off(now + 3 * MILLISECOND) && pace.puts_off(end - MILLISECOND));
        assert_eq!(pace.next_deadline(Some(now + 50 * MILLISECOND)), Some(end));
        assert!(!pace.puts_off(end));
        pace.worked(MILLISECOND, end + MILLISECOND);
        assert_eq!(pace.next_deadline(None), None, "nothing waits");
    }

    #[test]
    fn what_is_due_in_a_rest_is_due_at_its_end() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.worked(MILLISECOND, now + MILLISECOND);
        let end = now + (REST + 1) * MILLISECOND;
        for (due, expected) in [(now, end), (end, end), (end + MILLISECOND, end + MILLISECOND)] {
            assert_eq!(pace.next_deadline(Some(due)), Some(expected));
        }
    }

    #[test]
    fn a_rest_is_bounded_however_long_the_work_was() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.worked(Duration::from_secs(1), now + Duration::from_secs(1));
        assert!(pace.puts_off(now + Duration::from_millis(1149)));
        assert!(!pace.puts_off(now + Duration::from_millis(1150)));
    }
}
