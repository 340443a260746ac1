//! Who keeps a slot's flows where they are: the flow table, or the targets by their second chances.
//!
//! A table is told which of both it is to be in, a slot follows when no flow would notice:
//!
//! ```text
//!   wanted \ slot   flow table                           chain
//!   flow table                                           a chain of one becomes stable at once; else its former
//!                                                        owners leave, and changes wait until they have
//!   second chance   a stable slot becomes a chain of
//!                   one at once, others when stable
//! ```
//!
//! What the flow table alone knows no chain could name, so a slot with exceptions stays with the flow table until
//! it is stable. And flows of a slot with a chain are in nobody's flow table: nothing tells those of its current
//! owner from those of a former one, so the chain must empty first. Meanwhile a slot whose current owner dies goes
//! back to the newest former one: whoever else is to have it may have no agent.

use std::time::{Duration, Instant};

use lb_common::{ChainWord, Slot, TargetId};

use super::chain::Chain;
use super::life::{Fate, Life, Moment, Phase};

/// Who keeps flows where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Regime {
    /// The node's flow table.
    #[default]
    FlowTable,
    /// The targets: each hands on what is not its own.
    SecondChance,
}

/// One slot in either regime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SlotLife {
    Remembered(Life),
    Chained(Chain),
}

/// Now, as all slots of a table see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Now, rounded down.
    pub(super) reached: Moment,
    /// Now, rounded up.
    pub(super) not_before: Moment,
}

impl Now {
    pub(super) fn of(epoch: Instant, now: Instant) -> Now {
        Now { reached: Moment::reached(epoch, now), not_before: Moment::not_before(epoch, now) }
    }
}

impl SlotLife {
    /// All flows on `target`.
    pub(super) const fn stable(target: TargetId, regime: Regime) -> SlotLife {
        match regime {
            Regime::FlowTable => SlotLife::Remembered(Life::stable(target)),
            Regime::SecondChance => SlotLife::Chained(Chain::of(target)),
        }
    }

    /// The life of which the data plane was told `slot` and `chain`; all of its windows begin at `now`.
    pub(super) fn adopted(
        slot: Slot,
        chain: ChainWord,
        now: Moment,
        fate: &dyn Fn(TargetId) -> Fate,
    ) -> SlotLife {
        if chain.is_chain_of(slot) {
            SlotLife::Chained(Chain::adopted(slot, chain, now, fate))
        } else {
            SlotLife::Remembered(Life::adopted(slot, now, fate))
        }
    }

    /// What the data plane is told.
    pub(super) fn encoded(&self) -> (Slot, ChainWord) {
        match self {
            SlotLife::Remembered(life) => (life.encoded(), ChainWord::NONE),
            SlotLife::Chained(chain) => chain.encoded(),
        }
    }

    /// What the data plane is not told of it: the life without its targets. It has the same deadlines and questions.
    pub(super) fn shape(self) -> SlotLife {
        match self {
            SlotLife::Remembered(life) => SlotLife::Remembered(life.shape()),
            SlotLife::Chained(chain) => SlotLife::Chained(chain.shape()),
        }
    }

    /// The life of this shape of which the data plane is told `slot` and `word`.
    pub(super) fn of_targets(self, slot: Slot, word: ChainWord) -> SlotLife {
        match self {
            SlotLife::Remembered(life) => SlotLife::Remembered(life.of_targets(slot)),
            SlotLife::Chained(chain) => SlotLife::Chained(chain.of_targets(slot, word)),
        }
    }

    /// The target of new flows.
    pub(super) const fn current(&self) -> TargetId {
        match self {
            SlotLife::Remembered(life) => life.current,
            SlotLife::Chained(chain) => chain.current,
        }
    }

    /// The chain, if it has one of more than the current owner.
    pub(super) fn chain(&self) -> Option<&Chain> {
        match self {
            SlotLife::Chained(chain) if !chain.is_stable() => Some(chain),
            _ => None,
        }
    }

    pub(super) fn names(&self, target: TargetId) -> bool {
        match self {
            SlotLife::Remembered(life) => life.names(target),
            SlotLife::Chained(chain) => chain.names(target),
        }
    }

    /// Whether all flows are on the current target, and no other is to have the slot.
    pub(super) fn is_stable(&self) -> bool {
        match self {
            SlotLife::Remembered(life) => life.encoded() == Slot::stable(life.current),
            SlotLife::Chained(chain) => chain.is_stable() && !chain.is_deferred(),
        }
    }

    /// Whether a slot of this shape that keeps its owner may live otherwise because a target died; `word` is what the data
    /// plane is told.
    pub(super) fn may_notice_death(&self, word: Slot, fate: &dyn Fn(TargetId) -> Fate) -> bool {
        match self {
            SlotLife::Remembered(Life { phase: Phase::Changing { .. }, .. }) => {
                fate(word.previous()) == Fate::Dead
            }
            SlotLife::Remembered(_) => false,
            SlotLife::Chained(_) => true,
        }
    }

    /// Whether a tick may change a slot of this shape.
    pub(super) fn may_change_by(&self, regime: Regime, now: Now, idle: Duration) -> bool {
        match self {
            SlotLife::Remembered(_) => self.deadline(regime, idle).is_some_and(|due| due <= now.reached),
            SlotLife::Chained(_) => true,
        }
    }

    /// Follows the table into `regime` if no flow would notice.
    pub(super) fn enter(&mut self, regime: Regime) {
        if self.is_stable() {
            *self = SlotLife::stable(self.current(), regime);
        }
    }

    /// Takes an exception for seen at `now`: who could tell when it was has gone.
    pub(super) fn renew_exceptions(&mut self, now: Moment) {
        if let SlotLife::Remembered(Life { phase: Phase::Exceptions { since }, .. }) = self {
            *since = now;
        }
    }

    /// Gives the slot to `owner`, in a table that is to be in `regime`.
    pub(super) fn reassign(
        &mut self,
        owner: TargetId,
        regime: Regime,
        now: Now,
        fate: &dyn Fn(TargetId) -> Fate,
    ) {
        match self {
            SlotLife::Remembered(life) => life.reassign(owner, now.not_before, fate),
            SlotLife::Chained(chain) if regime == Regime::SecondChance => {
                chain.reassign(owner, now.not_before, fate);
            }
            SlotLife::Chained(chain) => {
                if let Some(life) = leave_chain(chain, owner, now.not_before, fate) {
                    *self = SlotLife::Remembered(life);
                }
            }
        }
        self.enter(regime);
    }

    pub(super) fn died(&mut self, target: TargetId, now: Moment) {
        match self {
            SlotLife::Remembered(life) => life.died(target, now),
            SlotLife::Chained(chain) => chain.died(target),
        }
    }

    /// Lets time pass in a table that is to be in `regime`.
    pub(super) fn tick(
        &mut self,
        regime: Regime,
        now: Now,
        idle: Duration,
        last_exception: impl FnOnce() -> Option<Moment>,
        fate: &dyn Fn(TargetId) -> Fate,
    ) {
        match self {
            SlotLife::Remembered(life) => life.tick(now.reached, now.not_before, idle, last_exception),
            SlotLife::Chained(chain) if regime == Regime::SecondChance => chain.tick(now.reached, fate),
            SlotLife::Chained(chain) => {
                chain.expire(now.reached);
                self.retry(regime, now, fate);
            }
        }
        self.enter(regime);
    }

    /// Tries a deferred change again.
    pub(super) fn retry(&mut self, regime: Regime, now: Now, fate: &dyn Fn(TargetId) -> Fate) {
        if let SlotLife::Chained(chain) = self
            && let Some(owner) = chain.deferred()
        {
            self.reassign(owner, regime, now, fate);
        }
    }

    pub(super) fn deadline(&self, regime: Regime, idle: Duration) -> Option<Moment> {
        match self {
            SlotLife::Remembered(life) => life.deadline(idle),
            SlotLife::Chained(chain) if regime == Regime::SecondChance => chain.deadline(),
            SlotLife::Chained(chain) => chain.first_end(),
        }
    }

    pub(super) fn merged(self, other: SlotLife) -> Option<SlotLife> {
        match (self, other) {
            (SlotLife::Remembered(one), SlotLife::Remembered(other)) => {
                one.merged(other).map(SlotLife::Remembered)
            }
            (SlotLife::Chained(one), SlotLife::Chained(other)) => one.merged(other).map(SlotLife::Chained),
            _ => None,
        }
    }
}

/// Gives a slot with a chain to `owner`, who may not be able to give second chances: the life by which the flow
/// table takes over, or none while the chain is needed.
fn leave_chain(
    chain: &mut Chain,
    owner: TargetId,
    now: Moment,
    fate: &dyn Fn(TargetId) -> Fate,
) -> Option<Life> {
    chain.forget_dead(fate);
    if chain.current.is_none() || fate(chain.current) == Fate::Dead {
        chain.promote();
    }
    if chain.is_stable() {
        let mut life = Life::stable(chain.current);
        life.reassign(owner, now, fate);
        return Some(life);
    }
    chain.defer(owner);
    None
}

#[cfg(test)]
mod tests;
