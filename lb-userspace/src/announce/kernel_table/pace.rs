//! How often what others undo is put right: at once, unless they go on undoing it. Pure.

use std::time::{Duration, Instant};

/// So many repairs may follow one another.
const BURST: u32 = 10;

/// After that, one in so long.
const PERIOD: Duration = Duration::from_secs(1);

/// A bucket of permissions that fills with time.
#[derive(Debug)]
pub(super) struct Pace {
    left: u32,
    /// When the last permission came back.
    filled: Instant,
}

impl Pace {
    /// A full one.
    pub(super) fn new(now: Instant) -> Pace {
        Pace { left: BURST, filled: now }
    }

    /// Permits one repair now, or says when to ask again.
    pub(super) fn permit(&mut self, now: Instant) -> Result<(), Instant> {
        let periods = (now.saturating_duration_since(self.filled).as_millis() / PERIOD.as_millis())
            .min(u128::from(BURST));
        let periods = u32::try_from(periods).expect("it is at most the burst");
        self.left = (self.left + periods).min(BURST);
        self.filled = if self.left == BURST { now } else { self.filled + PERIOD * periods };
        if self.left == 0 {
            return Err(self.filled + PERIOD);
        }
        self.left -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_fought_once_a_period_and_a_quiet_time_is_forgiven() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let repairs = |pace: &mut Pace, from: Instant, milliseconds: u64| {
            let times = (0..milliseconds).map(|n| from + Duration::from_millis(n));
            times.filter(|now| pace.permit(*now).is_ok()).count()
        };
        assert_eq!(repairs(&mut pace, start, 100), 10, "a burst is at once");
        assert_eq!(repairs(&mut pace, start + Duration::from_millis(100), 60_000), 60, "then the period");
        let later = start + Duration::from_secs(3600);
        assert_eq!(repairs(&mut pace, later, 100), 10);
    }

    #[test]
    fn who_waits_as_told_is_permitted() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let refused = (0..=BURST).find_map(|_| pace.permit(now).err()).expect("the burst is limited");
        assert_eq!(refused, now + PERIOD);
        assert_eq!(pace.permit(refused), Ok(()));
    }
}
