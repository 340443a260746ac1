//! Times as the API writes and signatures read them: UTC, the Gregorian calendar, no leap seconds. The clock is
//! read in one place only, [`Timestamp::now`].

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

const DAY: u64 = 24 * 60 * 60;

/// A time, in milliseconds since 1970. Printed, it is ISO 8601: `2026-11-21T20:45:53.790Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The clock's time.
    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(since.as_millis().try_into().unwrap_or(u64::MAX))
    }

    /// Reads `20150830T123600Z`.
    pub fn parse_basic(text: &str) -> Option<Timestamp> {
        let bytes = text.as_bytes();
        if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' || !text.is_ascii() {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<u64> {
            let digits = &text[from..to];
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
        let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
        if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = days_since_1970(year, month, day);
        Some(Timestamp((days * DAY + hour * 3600 + minute * 60 + second) * 1000))
    }

    /// This much later.
    pub fn after(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(duration.as_millis().try_into().unwrap_or(u64::MAX)))
    }

    /// How far apart the two are.
    pub fn distance(self, other: Timestamp) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        let (year, month, day) = date(seconds / DAY);
        let of_day = seconds % DAY;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let millisecond = self.0 % 1000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
    }
}

/// Howard Hinnant's `days_from_civil`: years begin in March, so that the leap day is a year's last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Howard Hinnant's `civil_from_days`.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (basic, shown) in [
            ("19700101T000000Z", "1970-01-01T00:00:00.000Z"),
            ("20000229T235959Z", "2000-02-29T23:59:59.000Z"),
            ("20150830T123600Z", "2015-08-30T12:36:00.000Z"),
            ("20261231T000001Z", "2026-12-31T00:00:01.000Z"),
            ("21000301T120000Z", "2100-03-01T12:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::parse_basic(basic).unwrap().to_string(), shown);
        }
        assert_eq!(Timestamp::parse_basic("20150830T123600Z"), Some(Timestamp(1_440_938_160_000)));
    }

    #[test]
    fn every_day_comes_back() {
        for day in 0..100_000 {
            let (year, month, date) = date(day);
            assert_eq!(days_since_1970(year, month, date), day);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "20150830", "20151330T123600Z", "20150830T243600Z", "2015083+T123600Z", "19691231T000000Z"]
        {
            assert_eq!(Timestamp::parse_basic(text), None, "{text}");
        }
    }
}
