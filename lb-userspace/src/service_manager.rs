//! What the service manager (systemd) is told: that the process is ready, that it lives, that it ends.
//!
//! The protocol is sd_notify's: a datagram to the socket that `NOTIFY_SOCKET` names. Without that variable nobody is
//! told anything. The life sign comes from the loop that does the work, so a loop that hangs is noticed.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::warn;

/// The process does its work from now on; `status` is what `systemctl status` shows.
pub(crate) fn ready(status: &str) {
    let line = status.lines().next().unwrap_or_default();
    tell(&[NotifyState::Ready, NotifyState::Status(line)]);
}

/// The process is about to end.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("the service manager (NOTIFY_SOCKET) was not told {states:?}: {error}");
    }
}

/// The life sign that the service manager wants, if it wants one: twice in the time after which it takes the process
/// for hung (`WatchdogSec=`).
#[derive(Debug)]
pub(crate) struct Watchdog {
    period: Option<Duration>,
    due: Instant,
}

impl Watchdog {
    /// What the environment asks of this process.
    pub(crate) fn of_this_process(now: Instant) -> Watchdog {
        Watchdog::within(sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()), now)
    }

    fn within(limit: Option<Duration>, now: Instant) -> Watchdog {
        let period = limit.map(|limit| limit / 2);
        Watchdog { period, due: now + period.unwrap_or_default() }
    }

    /// When the next life sign is due; never, if none is wanted.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.period.map(|_| self.due)
    }

    /// Returns when the next life sign is due. Dropping the future loses nothing.
    pub(crate) async fn due(&self) {
        match self.next_deadline() {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Gives the life sign if it is due.
    pub(crate) fn feed(&mut self, now: Instant) {
        if self.advance(now) {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// Whether it was due.
    fn advance(&mut self, now: Instant) -> bool {
        let Some(period) = self.period.filter(|_| self.due <= now) else { return false };
        self.due = now + period;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_sign_is_given_twice_in_the_time_that_is_allowed() {
        let start = Instant::now();
        let mut watchdog = Watchdog::within(Some(Duration::from_secs(60)), start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watchdog.next_deadline(), Some(after(30)));
        assert!(!watchdog.advance(after(29)));
        assert!(watchdog.advance(after(31)));
        assert_eq!(watchdog.next_deadline(), Some(after(61)));
        assert!(!watchdog.advance(after(31)));
    }

    #[test]
    fn nobody_waits_for_a_life_sign_that_nobody_wants() {
        let mut watchdog = Watchdog::within(None, Instant::now());
        assert_eq!(watchdog.next_deadline(), None);
        assert!(!watchdog.advance(Instant::now() + Duration::from_secs(3600)));
    }
}
