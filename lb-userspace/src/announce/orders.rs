//! What operators order of a node: to drain, and to leave a zone's VIPs to the other zones for a while.
//!
//! Pure. Orders have moments of the wall clock, for they outlive the controller and a reboot. A zone shift always ends
//! by itself.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::fitness::Leaving;

/// The longest zone shift.
pub const LONGEST_SHIFT: Duration = Duration::from_secs(72 * 3600);

/// The longest time from an order to the withdrawal.
pub const LONGEST_DRAIN: Duration = Duration::from_secs(3600);

/// The longest sleep until an order's moment: the clock may be set in between.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How many VIPs a refusal names.
const NAMED: usize = 5;

/// The orders in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    /// All VIPs are to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// The zone's own VIPs are to go for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_shift: Option<ZoneShift>,
}

/// The order to drain the node; it ends when it is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// When it was given.
    #[serde(with = "seconds")]
    pub since: SystemTime,
    /// Until when VIPs are announced as draining.
    #[serde(with = "seconds")]
    pub withdraw_at: SystemTime,
}

/// The order to leave a zone's VIPs to other zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneShift {
    /// The zone.
    pub zone: String,
    /// When it was given.
    #[serde(with = "seconds")]
    pub since: SystemTime,
    /// Until when the VIPs are announced as draining.
    #[serde(with = "seconds")]
    pub withdraw_at: SystemTime,
    /// When it ends.
    #[serde(with = "seconds")]
    pub until: SystemTime,
}

/// The same moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the wall clock, in which orders are.
    pub wall: SystemTime,
    /// By the clock that only goes forward.
    pub instant: Instant,
}

impl Moment {
    /// This moment.
    pub fn now() -> Moment {
        Moment { wall: SystemTime::now(), instant: Instant::now() }
    }

    fn until(self, wall: SystemTime) -> Duration {
        wall.duration_since(self.wall).unwrap_or_default()
    }

    fn at(self, wall: SystemTime) -> Instant {
        self.instant + self.until(wall).min(LONGEST_SHIFT)
    }
}

/// Why an order is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A zone shift without end, or one that lasts no time.
    #[error(
        "a zone shift lasts 1 s to {} h and ends by itself then; give a time in that range, and again before its end",
        LONGEST_SHIFT.as_secs() / 3600
    )]
    ShiftTime,
    /// A drain that is hardly one.
    #[error("VIPs drain for 0 to {} s before they are withdrawn; give a time in that range", LONGEST_DRAIN.as_secs())]
    DrainTime,
    /// The node is elsewhere.
    #[error("this node is in zone {here:?}, not {asked:?}: a zone is shifted on each of its own nodes")]
    NotHere {
        /// The node's zone.
        here: String,
        /// The order's.
        asked: String,
    },
    /// Nobody would announce VIPs any more.
    #[error(
        "{0} (one that drains, or that started just now, does not count): clients would lose what is announced here \
         alone. `sluice node ls` and, there, `sluice node status` show the others; with --force the order is obeyed"
    )]
    LastAnnouncer(String),
}

/// What is known of other announcers of the VIPs that an order withdraws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remaining {
    /// Nobody was asked: the order withdraws nothing more than one in force, or nodes that share no state can't know of each
    /// other.
    Unasked,
    /// It can't be known now: why.
    Unknown(String),
    /// Others announce all VIPs but these.
    AllBut(Vec<IpAddr>),
}

impl Remaining {
    /// What an answer adds to what was done, if the order may be obeyed.
    ///
    /// # Errors
    /// When it is known that nobody else announces a VIP.
    pub fn allow(&self) -> Result<String, Refused> {
        match self {
            Remaining::AllBut(vips) if !vips.is_empty() => Err(Refused::LastAnnouncer(alone(vips))),
            _ => Ok(self.told()),
        }
    }

    /// What an answer adds to what was done, whatever that is.
    pub fn told(&self) -> String {
        match self {
            Remaining::Unasked => String::new(),
            Remaining::Unknown(why) => format!("; whether another node announces them is not known: {why}"),
            Remaining::AllBut(vips) if vips.is_empty() => String::new(),
            Remaining::AllBut(vips) => format!("; {}", alone(vips)),
        }
    }
}

fn alone(vips: &[IpAddr]) -> String {
    let named: Vec<String> = vips.iter().take(NAMED).map(IpAddr::to_string).collect();
    let more = match vips.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("no other node announces VIP {}{more}", named.join(", "))
}

impl Orders {
    /// Orders a drain, with withdrawal `after` this time. One that is in force already keeps its beginning.
    ///
    /// # Errors
    /// When the time is out of range.
    pub fn drain(&mut self, after: Duration, now: SystemTime) -> Result<(), Refused> {
        if after > LONGEST_DRAIN {
            return Err(Refused::DrainTime);
        }
        let since = self.drain.as_ref().map_or(now, |drain| drain.since);
        self.drain = Some(Drain { since, withdraw_at: now + after });
        Ok(())
    }

    /// Takes a drain back; whether there was one.
    pub fn undrain(&mut self) -> bool {
        self.drain.take().is_some()
    }

    /// Orders a zone shift on a node of zone `here`, or moves the end of the one in force.
    ///
    /// # Errors
    /// When the zone is another one, or the time is out of range.
    pub fn shift(
        &mut self,
        zone: &str,
        here: &str,
        time: Duration,
        drain: Duration,
        now: SystemTime,
    ) -> Result<(), Refused> {
        if zone != here {
            return Err(Refused::NotHere { here: here.to_owned(), asked: zone.to_owned() });
        }
        if time < Duration::from_secs(1) || time > LONGEST_SHIFT {
            return Err(Refused::ShiftTime);
        }
        let before = self.zone_shift.take().filter(|shift| shift.is_active(here, now));
        let (since, withdraw_at) =
            before.map_or((now, now + drain), |before| (before.since, before.withdraw_at));
        self.zone_shift = Some(ZoneShift { zone: zone.to_owned(), since, withdraw_at, until: now + time });
        Ok(())
    }

    /// Takes a zone shift back; whether one was in force.
    ///
    /// # Errors
    /// When the zone is another one.
    pub fn unshift(&mut self, zone: &str, here: &str, now: SystemTime) -> Result<bool, Refused> {
        if zone != here {
            return Err(Refused::NotHere { here: here.to_owned(), asked: zone.to_owned() });
        }
        Ok(self.zone_shift.take().is_some_and(|shift| shift.is_active(here, now)))
    }

    /// The zone shift that is in force in zone `here`.
    pub fn active_shift(&self, here: &str, now: SystemTime) -> Option<&ZoneShift> {
        self.zone_shift.as_ref().filter(|shift| shift.is_active(here, now))
    }

    /// Forgets a zone shift that has ended; whether there was one.
    pub fn expire(&mut self, here: &str, now: SystemTime) -> bool {
        self.zone_shift.take_if(|shift| !shift.is_active(here, now)).is_some()
    }

    /// What they say of a VIP on a node of zone `here`; `is_zonal` is whether the VIP is that zone's own.
    pub fn leaving(&self, here: &str, is_zonal: bool, now: Moment) -> Option<Leaving> {
        let drain = self.drain.as_ref().map(|drain| Leaving {
            why: "drained by an operator; `sluice node undrain` ends it".to_owned(),
            withdraw_at: now.at(drain.withdraw_at),
        });
        let shift = self.active_shift(here, now.wall).filter(|_| is_zonal).map(|shift| Leaving {
            why: format!(
                "zone {here} is shifted away by an operator for {} s more; `sluice zone unshift {here}` ends it",
                now.until(shift.until).as_secs()
            ),
            withdraw_at: now.at(shift.withdraw_at),
        });
        // The earlier withdrawal counts.
        drain.into_iter().chain(shift).min_by_key(|leaving| leaving.withdraw_at)
    }

    /// When they say something else, or should be looked at again.
    pub fn next_deadline(&self, now: Moment) -> Option<Instant> {
        let drain = self.drain.iter().map(|drain| drain.withdraw_at);
        let shift = self.zone_shift.iter().flat_map(|shift| [shift.withdraw_at, shift.until]);
        let ahead = drain.chain(shift).filter(|at| *at > now.wall);
        ahead.map(|at| now.instant + now.until(at).min(LONGEST_SLEEP)).min()
    }
}

impl ZoneShift {
    /// One that lasts longer than any may has a beginning in the future: the clock was set back.
    fn is_active(&self, here: &str, now: SystemTime) -> bool {
        let rest = self.until.duration_since(now).unwrap_or_default();
        self.zone == here && !rest.is_zero() && rest <= LONGEST_SHIFT
    }
}

/// Moments as whole seconds since 1970, as other tools read and write them.
mod seconds {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let seconds = f64::deserialize(from)?;
        let since = Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)?;
        UNIX_EPOCH.checked_add(since).ok_or_else(|| D::Error::custom("a moment that is too far away"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn noon() -> Moment {
        Moment { wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000), instant: Instant::now() }
    }

    impl Moment {
        fn later(self, time: Duration) -> Moment {
            Moment { wall: self.wall + time, instant: self.instant + time }
        }
    }

    #[test]
    fn a_drain_concerns_all_vips_until_it_is_taken_back() {
        let (mut orders, now) = (Orders::default(), noon());
        orders.drain(MINUTE, now.wall).unwrap();
        for is_zonal in [true, false] {
            let leaving = orders.leaving("a", is_zonal, now).unwrap();
            assert_eq!(leaving.withdraw_at, now.instant + MINUTE);
        }
        assert!(orders.leaving("a", false, now.later(1000 * MINUTE)).is_some());
        assert!(orders.undrain() && !orders.undrain());
        assert_eq!(orders, Orders::default());
        assert_eq!(orders.drain(LONGEST_DRAIN + MINUTE, now.wall), Err(Refused::DrainTime));
    }

    #[test]
    fn a_zone_shift_concerns_the_zones_own_vips_and_ends_by_itself() {
        let (mut orders, now) = (Orders::default(), noon());
        orders.shift("a", "a", 120 * MINUTE, MINUTE, now.wall).unwrap();
        assert!(orders.leaving("a", false, now).is_none());
        let leaving = orders.leaving("a", true, now).unwrap();
        assert_eq!(leaving.withdraw_at, now.instant + MINUTE);
        assert!(leaving.why.contains("7200 s more"), "{}", leaving.why);
        let almost = now.later(120 * MINUTE - Duration::from_secs(1));
        assert!(orders.leaving("a", true, almost).is_some());
        assert_eq!(orders.next_deadline(almost), Some(almost.instant + Duration::from_secs(1)));
        let over = now.later(120 * MINUTE);
        assert!(orders.leaving("a", true, over).is_none());
        assert!(orders.expire("a", over.wall) && orders == Orders::default());
    }

    #[test]
    fn a_zone_shift_is_bounded_whatever_is_asked_and_wherever_the_clock_goes() {
        let (mut orders, now) = (Orders::default(), noon());
        for time in [Duration::ZERO, LONGEST_SHIFT + MINUTE] {
            assert_eq!(orders.shift("a", "a", time, MINUTE, now.wall), Err(Refused::ShiftTime));
        }
        let elsewhere = orders.shift("b", "a", MINUTE, MINUTE, now.wall).unwrap_err();
        assert!(elsewhere.to_string().contains("zone \"a\", not \"b\""), "{elsewhere}");
        orders.shift("a", "a", LONGEST_SHIFT, MINUTE, now.wall).unwrap();
        assert!(orders.active_shift("a", now.wall - MINUTE).is_none(), "the clock was set back");
        assert!(orders.active_shift("b", now.wall).is_none(), "the node's zone was changed");
    }

    #[test]
    fn a_shift_that_is_ordered_again_has_a_new_end_and_drains_no_second_time() {
        let (mut orders, now) = (Orders::default(), noon());
        orders.shift("a", "a", 10 * MINUTE, MINUTE, now.wall).unwrap();
        let later = now.later(5 * MINUTE);
        orders.shift("a", "a", 10 * MINUTE, MINUTE, later.wall).unwrap();
        let shift = orders.zone_shift.clone().unwrap();
        assert_eq!(
            (shift.since, shift.withdraw_at, shift.until),
            (now.wall, now.wall + MINUTE, later.wall + 10 * MINUTE)
        );
        assert_eq!(orders.unshift("a", "a", later.wall), Ok(true));
        assert_eq!(orders.unshift("a", "a", later.wall), Ok(false));
    }

    #[test]
    fn a_vip_that_nobody_else_announces_is_named_and_kept_unless_the_order_insists() {
        let vips: Vec<IpAddr> = (1..=7).map(|at| IpAddr::from([10, 200, 1, at])).collect();
        let refused = Remaining::AllBut(vips[..1].to_vec()).allow().unwrap_err().to_string();
        assert!(refused.starts_with("no other node announces VIP 10.200.1.1 (one that drains"), "{refused}");
        assert!(refused.contains("--force"), "{refused}");
        let told = Remaining::AllBut(vips).told();
        assert!(told.starts_with("; no other node announces VIP 10.200.1.1, "), "{told}");
        assert!(told.ends_with("10.200.1.5 and 2 more"), "{told}");
        for (remaining, words) in [
            (Remaining::Unasked, ""),
            (Remaining::AllBut(Vec::new()), ""),
            (
                Remaining::Unknown("no answer within 2 s".to_owned()),
                "; whether another node announces them is not known: no answer within 2 s",
            ),
        ] {
            assert_eq!((remaining.allow(), remaining.told()), (Ok(words.to_owned()), words.to_owned()));
        }
    }

    #[test]
    fn orders_are_read_as_they_were_written() {
        let (mut orders, now) = (Orders::default(), noon());
        orders.drain(MINUTE, now.wall).unwrap();
        orders.shift("a", "a", MINUTE, MINUTE, now.wall).unwrap();
        let text = serde_json::to_string(&orders).unwrap();
        assert_eq!(serde_json::from_str::<Orders>(&text).unwrap(), orders);
        for wrong in
            [r#"{"drain":{"since":-1,"withdraw_at":0}}"#, r#"{"drain":{"since":0,"withdraw_at":1e300}}"#]
        {
            serde_json::from_str::<Orders>(wrong).unwrap_err();
        }
    }
}
