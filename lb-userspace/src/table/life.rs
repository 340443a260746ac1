//! The life of one slot where the flow table remembers: what becomes of it when its owner changes, so that no
//! flow on a living target breaks.
//!
//! ```text
//!                       the owner changes (A → B)
//!        ┌────────┐ ────────────────────────────────► ┌──────────┐ ──┐ the owner changes again (→ C):
//!        │ stable │                                   │ changing │   │ C, and still A before it
//!        └────────┘ ◄──┐                          ┌── └──────────┘ ◄─┘
//!           ▲          │ A died: B at once        │        ▲
//!           │          └ (from stable)            │        │ the owner changes
//!           │                                     ▼        │
//!           │   no exception seen          ┌────────────────┐
//!           └───────for the idle time──────│ has exceptions │
//!                                          └────────────────┘
//!   changing → has exceptions: its window has passed, A died, or the owner is A again
//! ```
//!
//! A slot that changes while it is changing keeps its oldest default, A: the flows that began since are in
//! the data plane's flow table. One that goes back to A is not stable: flows that began on B live on. Where
//! the *current* target dies, only the current one changes: there is nothing on it that could be kept.

use std::time::{Duration, Instant};

use lb_common::{Slot, SlotState, TargetId};

/// What becomes of a target that loses a slot, and so of the flows that it has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays in service: another came, or weights changed.
    Stays {
        /// How long a living flow may be silent: by then all of them have been seen. The idle time-out.
        window: Duration,
    },
    /// It is being drained.
    Leaves {
        /// How long its flows are kept: the draining time.
        window: Duration,
    },
    /// Its flows are lost.
    Dead,
}

/// A moment in tenths of a second since the table was made, which lasts for 13 years: a quarter of an
/// `Instant`, as there are 2^17 slots in a large table. Deadlines are rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Moment(pub(super) u32);

impl Moment {
    /// The last whole tenth at `at`.
    pub(super) fn reached(epoch: Instant, at: Instant) -> Moment {
        Moment(tenths(at.saturating_duration_since(epoch).as_millis() / 100))
    }

    /// The first whole tenth not before `at`.
    pub(super) fn not_before(epoch: Instant, at: Instant) -> Moment {
        Moment(tenths(at.saturating_duration_since(epoch).as_nanos().div_ceil(100_000_000)))
    }

    pub(super) fn after(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(tenths(duration.as_nanos().div_ceil(100_000_000))))
    }

    pub(super) fn before(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(tenths(duration.as_nanos().div_ceil(100_000_000))))
    }

    pub(super) fn instant(self, epoch: Instant) -> Instant {
        epoch + Duration::from_millis(u64::from(self.0) * 100)
    }
}

fn tenths(count: u128) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// One slot: who has it, and what is still to be remembered of who had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Life {
    pub(super) current: TargetId,
    pub(super) phase: Phase,
}

/// Where in its life a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// All flows are on the current target.
    Stable,
    /// Flows that are not in the flow table began on `previous`.
    Changing { previous: TargetId, until: Moment },
    /// Flows that are not in the flow table began on the current target; `since` is when one that belongs
    /// elsewhere was last seen, as far as is known.
    Exceptions { since: Moment },
}

impl Life {
    /// All flows on `target`.
    pub(super) const fn stable(target: TargetId) -> Life {
        Life { current: target, phase: Phase::Stable }
    }

    /// The life of which the data plane was told `slot`, with windows that begin at `now`. A slot without a target
    /// may have had exceptions, which its word does not say.
    pub(super) fn adopted(slot: Slot, now: Moment, fate: &dyn Fn(TargetId) -> Fate) -> Life {
        let (current, previous) = (slot.current(), slot.previous());
        let phase = match slot.state() {
            SlotState::Stable if !current.is_none() => Phase::Stable,
            SlotState::Changing => {
                let window = window_of(previous, fate).unwrap_or_default();
                Phase::Changing { previous, until: now.after(window) }
            }
            SlotState::Stable | SlotState::Exceptions => Phase::Exceptions { since: now },
        };
        Life { current, phase }
    }

    /// What the data plane is told.
    pub(super) const fn encoded(self) -> Slot {
        match self.phase {
            Phase::Stable => Slot::stable(self.current),
            Phase::Changing { previous, .. } => Slot::changing(self.current, previous),
            Phase::Exceptions { .. } => Slot::exceptions(self.current),
        }
    }

    /// The life without its targets.
    pub(super) fn shape(self) -> Life {
        self.of_targets(Slot::EMPTY)
    }

    /// The same with those of `slot`, as which it was encoded.
    pub(super) fn of_targets(self, slot: Slot) -> Life {
        let phase = match self.phase {
            Phase::Changing { until, .. } => Phase::Changing { previous: slot.previous(), until },
            phase => phase,
        };
        Life { current: slot.current(), phase }
    }

    /// Whether the slot says anything of `target`.
    pub(super) fn names(self, target: TargetId) -> bool {
        self.current == target || self.is_changing_from(target)
    }

    fn is_changing_from(self, target: TargetId) -> bool {
        matches!(self.phase, Phase::Changing { previous, .. } if previous == target)
    }

    /// Gives the slot to `owner`.
    pub(super) fn reassign(&mut self, owner: TargetId, now: Moment, fate: &dyn Fn(TargetId) -> Fate) {
        if let Phase::Changing { previous, .. } = self.phase
            && fate(previous) == Fate::Dead
        {
            self.died(previous, now);
        }
        if self.current == owner {
            return;
        }
        let loser = std::mem::replace(&mut self.current, owner);
        if let Some(window) = window_of(loser, fate) {
            self.phase = self.changed_from(loser, now.after(window));
        }
        if self.is_changing_from(owner) {
            self.phase = Phase::Exceptions { since: now };
        }
    }

    fn changed_from(self, loser: TargetId, window_end: Moment) -> Phase {
        match self.phase {
            Phase::Changing { previous, until } => Phase::Changing { previous, until: until.max(window_end) },
            _ => Phase::Changing { previous: loser, until: window_end },
        }
    }

    /// Forgets that the slot was `target`'s: flows that are not in the flow table have nothing to go back to.
    pub(super) fn died(&mut self, target: TargetId, now: Moment) {
        if self.is_changing_from(target) {
            self.phase = Phase::Exceptions { since: now };
        }
    }

    /// Lets time pass: `reached` is now, rounded down, and `not_before` now, rounded up.
    pub(super) fn tick(
        &mut self,
        reached: Moment,
        not_before: Moment,
        idle: Duration,
        last_exception: impl FnOnce() -> Option<Moment>,
    ) {
        match self.phase {
            Phase::Changing { until, .. } if until <= reached => {
                self.phase = Phase::Exceptions { since: not_before };
            }
            Phase::Exceptions { since } if since.after(idle) <= reached => {
                let since = last_exception().map_or(since, |seen| seen.max(since));
                let over = since.after(idle) <= reached;
                self.phase = if over { Phase::Stable } else { Phase::Exceptions { since } };
            }
            _ => {}
        }
    }

    /// When the next tick may change the slot, if no exception is seen until then.
    pub(super) fn deadline(self, idle: Duration) -> Option<Moment> {
        match self.phase {
            Phase::Stable => None,
            Phase::Changing { until, .. } => Some(until),
            Phase::Exceptions { since } => Some(since.after(idle)),
        }
    }

    /// One life that serves the flows of both slots, if there is one: the same target must have both, and
    /// what unknown flows do must not differ. A look-up too many does no harm, a longer window neither.
    pub(super) fn merged(self, other: Life) -> Option<Life> {
        let phase = match (self.phase, other.phase) {
            (Phase::Stable, phase @ (Phase::Stable | Phase::Exceptions { .. })) => phase,
            (phase @ Phase::Exceptions { .. }, Phase::Stable) => phase,
            (Phase::Exceptions { since: one }, Phase::Exceptions { since: other }) => {
                Phase::Exceptions { since: one.max(other) }
            }
            (
                Phase::Changing { previous, until },
                Phase::Changing { previous: other_previous, until: other_until },
            ) if previous == other_previous => Phase::Changing { previous, until: until.max(other_until) },
            _ => return None,
        };
        (self.current == other.current).then_some(Life { current: self.current, phase })
    }
}

/// How long the flows of `loser` have to be learnt; none where there are none to keep.
fn window_of(loser: TargetId, fate: &dyn Fn(TargetId) -> Fate) -> Option<Duration> {
    if loser.is_none() {
        return None;
    }
    match fate(loser) {
        Fate::Stays { window } | Fate::Leaves { window } => Some(window),
        Fate::Dead => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TargetId = TargetId(1);
    const B: TargetId = TargetId(2);
    const C: TargetId = TargetId(3);
    const IDLE: Duration = Duration::from_secs(60);
    const NOW: Moment = Moment(1000);

    fn stays(_: TargetId) -> Fate {
        Fate::Stays { window: IDLE }
    }

    fn dead(target: TargetId) -> impl Fn(TargetId) -> Fate {
        move |loser| if loser == target { Fate::Dead } else { stays(loser) }
    }

    /// The life of a slot after changes of its owner, each at `NOW`.
    fn life_of(owners: &[TargetId]) -> Life {
        let mut life = Life::stable(owners[0]);
        owners[1..].iter().for_each(|&owner| life.reassign(owner, NOW, &stays));
        life
    }

    #[test]
    fn a_slot_takes_twelve_bytes() {
        assert_eq!(size_of::<Life>(), 12);
    }

    #[test]
    fn a_new_owner_makes_a_slot_changing() {
        assert_eq!(life_of(&[A, B]).encoded(), Slot::changing(B, A));
        assert_eq!(life_of(&[A, A]).encoded(), Slot::stable(A));
    }

    #[test]
    fn a_changing_slot_keeps_its_oldest_default() {
        assert_eq!(life_of(&[A, B, C]).encoded(), Slot::changing(C, A));
        assert_eq!(life_of(&[A, B, C, B]).encoded(), Slot::changing(B, A));
    }

    #[test]
    fn a_slot_that_changes_back_has_exceptions() {
        assert_eq!(life_of(&[A, B, A]).encoded(), Slot::exceptions(A));
        assert_eq!(life_of(&[A, B, C, A]).encoded(), Slot::exceptions(A));
    }

    #[test]
    fn a_slot_with_exceptions_that_changes_remembers_whom_unknown_flows_are_on() {
        assert_eq!(life_of(&[A, B, A, C]).encoded(), Slot::changing(C, A));
    }

    #[test]
    fn a_slot_without_a_target_is_stable_on_its_first() {
        assert_eq!(life_of(&[TargetId::NONE, B]).encoded(), Slot::stable(B));
    }

    #[test]
    fn a_slot_that_lost_a_living_target_for_none_remembers_it_for_the_next() {
        assert_eq!(life_of(&[A, TargetId::NONE, B]).encoded(), Slot::changing(B, A));
        assert_eq!(life_of(&[A, TargetId::NONE, A]).encoded(), Slot::exceptions(A));
    }

    #[test]
    fn the_longest_window_counts() {
        let mut life = Life::stable(A);
        life.reassign(B, NOW, &|_| Fate::Leaves { window: Duration::from_secs(300) });
        life.reassign(C, NOW, &stays);
        assert_eq!(life.deadline(IDLE), Some(Moment(4000)));
        life.reassign(B, Moment(3900), &stays);
        assert_eq!(life.deadline(IDLE), Some(Moment(4500)));
    }

    #[test]
    fn a_dead_target_loses_its_stable_slots_at_once() {
        let mut life = Life::stable(A);
        life.reassign(B, NOW, &dead(A));
        assert_eq!(life.encoded(), Slot::stable(B));
    }

    #[test]
    fn a_dead_target_that_was_current_leaves_the_rest_as_it_was() {
        let mut changing = life_of(&[A, B]);
        changing.reassign(C, NOW, &dead(B));
        assert_eq!(changing.encoded(), Slot::changing(C, A));
        let mut excepted = life_of(&[A, B, A]);
        excepted.reassign(C, NOW, &dead(A));
        assert_eq!(excepted.encoded(), Slot::exceptions(C));
        let mut back = life_of(&[A, B]);
        back.reassign(A, NOW, &dead(B));
        assert_eq!(back.encoded(), Slot::exceptions(A), "flows on a third may be in the flow table");
    }

    #[test]
    fn a_dead_target_is_nobodys_default() {
        let mut told = life_of(&[A, B]);
        told.died(A, NOW);
        assert_eq!(told.encoded(), Slot::exceptions(B));
        let mut asked = life_of(&[A, B]);
        asked.reassign(B, NOW, &dead(A));
        assert_eq!(asked.encoded(), Slot::exceptions(B));
        let mut replaced = life_of(&[A, B]);
        replaced.reassign(C, NOW, &dead(A));
        assert_eq!(replaced.encoded(), Slot::changing(C, B), "unknown flows were on B since A died");
    }

    fn tick(life: &mut Life, now: u32, last_exception: Option<u32>) -> Slot {
        life.tick(Moment(now), Moment(now), IDLE, || last_exception.map(Moment));
        life.encoded()
    }

    #[test]
    fn a_changing_slot_has_exceptions_after_its_window_and_is_stable_an_idle_time_later() {
        let mut life = life_of(&[A, B]);
        assert_eq!(tick(&mut life, 1599, None), Slot::changing(B, A));
        assert_eq!(tick(&mut life, 1600, None), Slot::exceptions(B));
        assert_eq!(tick(&mut life, 2199, None), Slot::exceptions(B));
        assert_eq!(tick(&mut life, 2200, None), Slot::stable(B));
        assert_eq!(life.deadline(IDLE), None);
    }

    #[test]
    fn an_exception_that_was_seen_puts_stability_off() {
        let mut life = life_of(&[A, B, A]);
        assert_eq!(tick(&mut life, 1600, Some(1500)), Slot::exceptions(A));
        assert_eq!(life.deadline(IDLE), Some(Moment(2100)));
        assert_eq!(tick(&mut life, 2100, Some(900)), Slot::stable(A));
    }

    #[test]
    fn lives_merge_only_where_no_flow_would_notice() {
        let (stable, excepted, changing) = (Life::stable(A), life_of(&[A, B, A]), life_of(&[B, A]));
        assert_eq!(stable.merged(stable), Some(stable));
        assert_eq!(stable.merged(excepted), Some(excepted));
        assert_eq!(excepted.merged(stable), Some(excepted));
        assert_eq!(changing.merged(changing), Some(changing));
        assert_eq!(changing.merged(stable), None);
        assert_eq!(excepted.merged(changing), None);
        assert_eq!(changing.merged(life_of(&[C, A])), None);
        assert_eq!(stable.merged(Life::stable(B)), None);
    }

    #[test]
    fn deadlines_are_rounded_up() {
        let epoch = Instant::now();
        let at = epoch + Duration::from_millis(1001);
        assert_eq!(Moment::reached(epoch, at), Moment(10));
        assert_eq!(Moment::not_before(epoch, at), Moment(11));
        assert_eq!(Moment(10).after(Duration::from_millis(1)), Moment(11));
        assert_eq!(Moment(11).instant(epoch), epoch + Duration::from_millis(1100));
    }
}
