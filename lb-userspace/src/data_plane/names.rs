//! The maps that say whose the data plane's numbers are, for the next controller; no packet reads them.
//!
//! ```text
//!              word 0      word 1               word 2                                 word 3   word 4
//!   target     identity    end of the draining  weight, health, reason, flags, port    zone     end as unhealthy
//!   forward    identity    log2 of the base
//!   listener   identity
//! ```
//!
//! The identity is written last and goes first, so that half a name is none. Moments are of `CLOCK_BOOTTIME`, in
//! nanoseconds: it goes on while the machine sleeps and is equal for all processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_common::TargetId;
use lb_common::shared::Shared;
use rustix::time::{ClockId, clock_gettime};

use super::mapped::MappedArray;
use crate::health::{HealthState, Reason};
use crate::model::Encapsulation;
use crate::reconcile::{ForwardName, Names, TargetName};
use crate::table::TableSize;

/// A name.
#[repr(C)]
pub struct NameLine(pub [Shared<u64>; WORDS]);

/// A cache line; the rest is zero.
const WORDS: usize = 8;

/// In place of an identity: nobody had the number yet.
const UNUSED: u64 = 0;
/// In place of an identity: somebody had the number, and its counter says what was counted.
const FREED: u64 = 1;

const ASSUMED: u64 = 1 << 32;
const NEWCOMER: u64 = 1 << 33;
const GUE: u64 = 1 << 34;

impl NameLine {
    /// Whether the first word of a line says that it is somebody's name.
    pub(super) const fn is_name(identity: u64) -> bool {
        identity > FREED
    }
}

/// The names in force.
pub struct NameMaps {
    pub(super) targets: MappedArray<NameLine>,
    pub(super) forwards: MappedArray<NameLine>,
    pub(super) listeners: MappedArray<NameLine>,
}

impl NameMaps {
    /// Names a target's id. If it was another's, `clear` forgets what was counted for that one.
    ///
    /// # Errors
    /// Those of `clear`; the id has no name then.
    pub fn set_target(
        &self,
        id: TargetId,
        name: &TargetName,
        clear: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        write(&self.targets.values()[usize::from(id.0)], target_words(name, &Clocks::now()), clear)
    }

    /// Names the index of a forward action.
    pub fn set_forward(&self, index: u32, name: &ForwardName) {
        let line = &self.forwards.values()[index as usize];
        // An index counts nothing.
        let _ = write(line, [name.identity, u64::from(name.base.log2()), 0, 0, 0, 0, 0, 0], || Ok(()));
    }

    /// Names a listener's counter, as [`NameMaps::set_target`] names an id.
    ///
    /// # Errors
    /// Those of `clear`.
    pub fn set_listener(
        &self,
        counter: u16,
        identity: u64,
        clear: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        write(&self.listeners.values()[usize::from(counter)], [identity, 0, 0, 0, 0, 0, 0, 0], clear)
    }

    /// Nothing names the target any more.
    pub fn free_target(&self, id: TargetId) {
        self.targets.values()[usize::from(id.0)].0[0].store(FREED);
    }

    /// The forward action has no table any more.
    pub fn free_forward(&self, index: u32) {
        self.forwards.values()[index as usize].0[0].store(FREED);
    }

    /// No packet is counted for the listener any more.
    pub fn free_listener(&self, counter: u16) {
        self.listeners.values()[usize::from(counter)].0[0].store(FREED);
    }

    /// All names.
    pub fn read(&self) -> Names {
        let clocks = Clocks::now();
        let of = |array: &MappedArray<NameLine>| -> Vec<(usize, [u64; WORDS])> {
            let words = array.values().iter().map(|line| line.0.each_ref().map(Shared::<u64>::load));
            words.enumerate().filter(|(_, words)| NameLine::is_name(words[0])).collect()
        };
        let forward = |(index, words): (usize, [u64; WORDS])| {
            let base = TableSize::from_log2(words[1] as u8)?;
            Some((index as u32, ForwardName { identity: words[0], base }))
        };
        let target =
            |(id, words): (usize, [u64; WORDS])| (TargetId(id as u16), Arc::new(target_name(words, &clocks)));
        let listener = |(counter, words): (usize, [u64; WORDS])| (counter as u16, words[0]);
        Names {
            targets: Arc::new(of(&self.targets).into_iter().map(target).collect()),
            forwards: of(&self.forwards).into_iter().filter_map(forward).collect::<BTreeMap<_, _>>(),
            listeners: of(&self.listeners).into_iter().map(listener).collect(),
        }
    }
}

/// Writes a name over nothing, over itself as it was, or over another one, of which all that is left is cleared first.
fn write(
    line: &NameLine,
    words: [u64; WORDS],
    clear: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let held = line.0[0].load();
    if held != UNUSED && held != words[0] {
        line.0[0].store(FREED);
        clear()?;
    }
    for (word, value) in line.0.iter().zip(words).skip(1).chain(line.0.iter().zip(words).take(1)) {
        word.store(value);
    }
    Ok(())
}

/// One moment of the two clocks.
struct Clocks {
    process: Instant,
    boot: u64,
}

impl Clocks {
    fn now() -> Clocks {
        let boot = clock_gettime(ClockId::Boottime);
        let boot = boot.tv_sec as u64 * 1_000_000_000 + boot.tv_nsec as u64;
        Clocks { process: Instant::now(), boot }
    }

    /// Zero is no moment.
    fn to_boot(&self, at: Instant) -> u64 {
        let ahead = at.saturating_duration_since(self.process);
        let behind = self.process.saturating_duration_since(at);
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.boot.saturating_add(nanoseconds(ahead)).saturating_sub(nanoseconds(behind)).max(1)
    }

    fn of_boot(&self, at: u64) -> Instant {
        match at.checked_sub(self.boot) {
            Some(ahead) => self.process + Duration::from_nanos(ahead),
            None => {
                let behind = Duration::from_nanos(self.boot - at);
                self.process.checked_sub(behind).unwrap_or(self.process)
            }
        }
    }
}

fn target_words(name: &TargetName, clocks: &Clocks) -> [u64; WORDS] {
    let place = |found: Option<usize>| found.map_or(0, |at| at as u64 + 1);
    let state = place(HealthState::ALL.iter().position(|state| *state == name.state));
    let reason = place(name.reason.and_then(|reason| Reason::ALL.iter().position(|one| *one == reason)));
    let flag = |holds: bool, bit: u64| if holds { bit } else { 0 };
    let attributes = u64::from(name.weight)
        | state << 16
        | reason << 24
        | u64::from(name.port) << 48
        | flag(name.assumed, ASSUMED)
        | flag(name.is_newcomer, NEWCOMER)
        | flag(name.encapsulation == Encapsulation::Gue, GUE);
    let moment = |at: Option<Instant>| at.map_or(0, |at| clocks.to_boot(at));
    let (draining, unhealthy) = (moment(name.draining_until), moment(name.unhealthy_until));
    [name.identity, draining, attributes, name.zone, unhealthy, 0, 0, 0]
}

fn target_name(
    [identity, draining, attributes, zone, unhealthy, ..]: [u64; WORDS],
    clocks: &Clocks,
) -> TargetName {
    let state = HealthState::ALL.get((attributes >> 16 & 0xff).wrapping_sub(1) as usize);
    let reason = Reason::ALL.get((attributes >> 24 & 0xff).wrapping_sub(1) as usize);
    TargetName {
        identity,
        draining_until: (draining != 0).then(|| clocks.of_boot(draining)),
        unhealthy_until: (unhealthy != 0).then(|| clocks.of_boot(unhealthy)),
        weight: attributes as u16,
        port: (attributes >> 48) as u16,
        encapsulation: if attributes & GUE == 0 { Encapsulation::Ipip } else { Encapsulation::Gue },
        state: state.copied().unwrap_or(HealthState::Initial),
        reason: reason.copied(),
        assumed: attributes & ASSUMED != 0,
        is_newcomer: attributes & NEWCOMER != 0,
        zone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let clocks = Clocks::now();
        for (at, state) in HealthState::ALL.into_iter().enumerate() {
            for reason in Reason::ALL.into_iter().map(Some).chain([None]) {
                let name = TargetName {
                    identity: 7,
                    draining_until: at.is_multiple_of(2).then(|| clocks.process + Duration::from_secs(9)),
                    unhealthy_until: (at == 3).then(|| clocks.process + Duration::from_secs(7)),
                    weight: 1000 - at as u16,
                    port: 65_535 - at as u16,
                    encapsulation: if at < 3 { Encapsulation::Gue } else { Encapsulation::Ipip },
                    state,
                    reason,
                    assumed: at > 3,
                    is_newcomer: at.is_multiple_of(3),
                    zone: u64::MAX,
                };
                assert_eq!(target_name(target_words(&name, &clocks), &clocks), name);
            }
        }
    }

    #[test]
    fn a_number_that_was_anothers_has_no_name_until_its_counter_was_cleared() {
        let line = NameLine([const { Shared::<u64>::new(0) }; WORDS]);
        let mut cleared = 0;
        for identity in [5, 5, 6, 6] {
            let clear = || {
                cleared += 1;
                Ok(())
            };
            write(&line, [identity, 1, 2, 3, 0, 0, 0, 0], clear).unwrap();
        }
        assert_eq!((cleared, line.0.each_ref().map(Shared::<u64>::load)), (1, [6, 1, 2, 3, 0, 0, 0, 0]));
        assert!(write(&line, [7, 4, 4, 4, 4, 4, 4, 4], || anyhow::bail!("the kernel refuses")).is_err());
        assert_eq!(line.0.each_ref().map(Shared::<u64>::load), [FREED, 1, 2, 3, 0, 0, 0, 0]);
    }

    #[test]
    fn a_moment_that_has_passed_stays_in_the_past() {
        let clocks = Clocks::now();
        let past = clocks.process.checked_sub(Duration::from_millis(5)).unwrap();
        assert_eq!(clocks.of_boot(clocks.to_boot(past)), past);
    }
}
