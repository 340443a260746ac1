//! The life of one slot while targets give second chances: who had it before, newest first, so that the data
//! plane can name them in the encapsulation and no node need remember a flow.
//!
//! ```text
//!   owners in time:   A      B      C                        D
//!   current           A      B      C                        C   deferred: the chain is full
//!   former, newest           A      B, A                     B, A
//!                                        A has left:         D   and the former ones C, B
//! ```
//!
//! An owner that comes back is taken out of the former ones, and a dead one everywhere: there is nothing on it that
//! could be kept. When another living owner would have to be pushed and there is no room, the change is deferred:
//! the slot keeps its current owner, even one that drains, until the oldest has left. A dead owner defers nothing.
//!
//! A former owner leaves in one of these ways:
//!
//! - it dies, or its draining ends: so do its flows;
//! - it says that it has no connection in the slot (`told`);
//! - its window has passed and its place is needed. Nodes do not see which flows live, so time alone tells nothing
//!   of a target that stays in service: a connection may be older than any window. Where it has told that it still
//!   has connections, its window begins anew.

use std::time::Duration;

use lb_common::{ChainWord, Slot, TargetId};

use super::life::{Fate, Moment};

/// How many former owners a packet can name.
const DEPTH: usize = 2;

/// For so long after an owner lost a slot it may have connections that it can't tell yet: a handshake may be under
/// way, and other nodes may have sent it a SYN until they saw the same change.
pub(super) const SETTLE: Duration = Duration::from_secs(20);

/// For so long a word that there are connections counts.
pub(super) const IN_USE: Duration = Duration::from_secs(90);

/// So long before its window ends a former owner is asked.
pub(super) const NOTICE: Duration = Duration::from_secs(30);

/// One slot: who has it, and who had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Chain {
    pub(super) current: TargetId,
    /// Newest first, no gaps.
    former: [Option<Former>; DEPTH],
    /// Who is to get the slot when there is room.
    deferred: Option<TargetId>,
    /// Whether the current one is known to have connections, while another waits for room.
    is_used: bool,
}

/// One that had the slot, and lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Former {
    target: TargetId,
    /// When it lost the slot.
    since: Moment,
    /// Until then its place is its own.
    until: Moment,
    /// Whether its flows end with the window, as it was draining.
    leaves: bool,
}

impl Chain {
    /// All flows on `target`.
    pub(super) const fn of(target: TargetId) -> Chain {
        Chain { current: target, former: [None; DEPTH], deferred: None, is_used: false }
    }

    /// The life of which the data plane was told `slot` and `word`, with windows that begin at `now`. Who was to have
    /// the slot when there is room is not in it: the next owners say.
    pub(super) fn adopted(
        slot: Slot,
        word: ChainWord,
        now: Moment,
        fate: &dyn Fn(TargetId) -> Fate,
    ) -> Chain {
        let former = |target: TargetId| {
            let (window, leaves) = match fate(target) {
                _ if target.is_none() => return None,
                Fate::Dead => (Duration::ZERO, false),
                Fate::Leaves { window } => (window, true),
                Fate::Stays { window } => (window, false),
            };
            Some(Former { target, since: now, until: now.after(window), leaves })
        };
        let former = [former(slot.previous()), former(word.oldest(slot))];
        Chain { current: slot.current(), former, deferred: None, is_used: false }
    }

    /// What the data plane is told.
    pub(super) fn encoded(&self) -> (Slot, ChainWord) {
        match self.former {
            [None, _] => (Slot::stable(self.current), ChainWord::NONE),
            [Some(previous), None] => {
                (Slot::changing(self.current, previous.target), ChainWord::ends(self.current))
            }
            [Some(previous), Some(before)] => {
                (Slot::changing(self.current, previous.target), ChainWord::before(before.target))
            }
        }
    }

    /// The life without the targets that the data plane is told of.
    pub(super) fn shape(self) -> Chain {
        self.of_targets(Slot::EMPTY, ChainWord::NONE)
    }

    /// The same with those of `slot` and `word`, as which it was encoded.
    pub(super) fn of_targets(self, slot: Slot, word: ChainWord) -> Chain {
        let [newest, oldest] = self.former;
        let with = |former: Option<Former>, target| former.map(|former| Former { target, ..former });
        let former = [with(newest, slot.previous()), with(oldest, TargetId(word.0))];
        Chain { current: slot.current(), former, ..self }
    }

    /// Whether all flows are on the current target.
    pub(super) const fn is_stable(&self) -> bool {
        self.former[0].is_none()
    }

    /// Who is to have the slot when there is room.
    pub(super) const fn deferred(&self) -> Option<TargetId> {
        self.deferred
    }

    /// Whether another is to have the slot.
    pub(super) const fn is_deferred(&self) -> bool {
        self.deferred.is_some()
    }

    /// Keeps the slot where it is, although `owner` is to have it.
    pub(super) fn defer(&mut self, owner: TargetId) {
        self.deferred = (owner != self.current).then_some(owner);
        self.is_used = false;
    }

    /// Gives the slot back to its newest former owner, if there is one.
    pub(super) fn promote(&mut self) {
        let [newest, oldest] = self.former;
        self.current = newest.map_or(self.current, |former| former.target);
        self.former = [oldest, None];
        self.is_used = false;
    }

    /// Takes the dead out of the former owners.
    pub(super) fn forget_dead(&mut self, fate: &dyn Fn(TargetId) -> Fate) {
        self.retain(|former| fate(former.target) != Fate::Dead);
    }

    /// Whether the slot says anything of `target`.
    pub(super) fn names(&self, target: TargetId) -> bool {
        self.current == target || self.had(target)
    }

    /// Whether `target` is a former owner.
    pub(super) fn had(&self, target: TargetId) -> bool {
        self.former_owners().any(|former| former.target == target)
    }

    fn former_owners(&self) -> impl Iterator<Item = &Former> {
        self.former.iter().flatten()
    }

    /// Gives the slot to `owner`, now or as soon as there is room.
    pub(super) fn reassign(&mut self, owner: TargetId, now: Moment, fate: &dyn Fn(TargetId) -> Fate) {
        self.forget_dead(fate);
        self.deferred = None;
        if owner == self.current {
            return;
        }
        let Some(loser) = self.loser(now, fate) else {
            self.retain(|former| former.target != owner);
            (self.current, self.is_used) = (owner, false);
            return;
        };
        if !self.had(owner) && !self.make_room(now) {
            self.deferred = Some(owner);
            return;
        }
        self.retain(|former| former.target != owner);
        self.former = [Some(loser), self.former[0]];
        (self.current, self.is_used) = (owner, false);
    }

    /// Gives a slot for which another waits to a former owner that has told connections. The current one, of which
    /// nothing is known, is a former one then: it is asked, and makes room if it has none. As the current one it
    /// would keep its place for ever; and a node that has just started knows only owners with connections, so it
    /// would send new flows to the one that waits here.
    pub(super) fn seat(&mut self, target: TargetId, now: Moment, fate: &dyn Fn(TargetId) -> Fate) {
        let stays = |former: &Former| former.target == target && !former.leaves;
        if !self.is_deferred() || self.is_used || !self.former_owners().any(stays) {
            return;
        }
        let Some(loser) = self.loser(now, fate) else { return };
        self.retain(|former| former.target != target);
        self.former = [Some(loser), self.former[0]];
        (self.current, self.is_used) = (target, true);
    }

    /// The current owner as a former one, if there is anything to keep on it.
    fn loser(&self, now: Moment, fate: &dyn Fn(TargetId) -> Fate) -> Option<Former> {
        let target = self.current;
        let (window, leaves) = match fate(target) {
            _ if target.is_none() => return None,
            Fate::Dead => return None,
            Fate::Leaves { window } => (window, true),
            Fate::Stays { window } => (window, false),
        };
        Some(Former { target, since: now, until: now.after(window), leaves })
    }

    /// Whether there is room for one more, after the oldest one whose place is not its own any more has gone.
    fn make_room(&mut self, now: Moment) -> bool {
        if self.former[DEPTH - 1].is_none() {
            return true;
        }
        let oldest = self.former_owners().filter(|former| former.until <= now).last();
        let Some(target) = oldest.map(|former| former.target) else { return false };
        self.retain(|former| former.target != target);
        true
    }

    fn retain(&mut self, keep: impl Fn(&Former) -> bool) {
        let [newest, oldest] = self.former.map(|former| former.filter(|former| keep(former)));
        self.former = if newest.is_some() { [newest, oldest] } else { [oldest, None] };
    }

    /// Forgets that the slot was `target`'s.
    pub(super) fn died(&mut self, target: TargetId) {
        self.retain(|former| former.target != target);
    }

    /// Takes over what a former owner told, asked at `asked`: whether it has connections in the slot.
    pub(super) fn told(&mut self, target: TargetId, has_connections: bool, asked: Moment) {
        if has_connections {
            for former in self.former.iter_mut().flatten().filter(|former| former.target == target) {
                former.until = former.until.max(asked.after(IN_USE));
            }
        } else {
            self.retain(|former| former.target != target || former.since.after(SETTLE) > asked);
        }
    }

    /// Takes over that `target` has connections in the slot, on a node that has just started: it knows of no former
    /// owners and of no connections, and others have packets name at most three.
    ///
    /// Of three that are not the current one, the third takes its place until there is room: as the others name no
    /// fourth, nothing is on the current one yet.
    pub(super) fn learn(&mut self, target: TargetId, asked: Moment, fate: &dyn Fn(TargetId) -> Fate) {
        if self.names(target) {
            return;
        }
        let (window, leaves) = match fate(target) {
            Fate::Dead => return,
            Fate::Leaves { window } => (window, true),
            Fate::Stays { .. } => (IN_USE, false),
        };
        let learnt = Former { target, since: asked, until: asked.after(window), leaves };
        if let Some(place) = self.former.iter_mut().find(|place| place.is_none()) {
            *place = Some(learnt);
        } else if self.deferred.is_none() {
            self.deferred = Some(std::mem::replace(&mut self.current, target));
            self.is_used = true;
        }
    }

    /// Lets time pass; a change that was deferred is tried again. `reached` is now, rounded down.
    pub(super) fn tick(&mut self, reached: Moment, fate: &dyn Fn(TargetId) -> Fate) {
        for former in &mut self.former {
            *former = former.and_then(|former| former.after_its_window(reached, fate));
        }
        self.retain(|_| true);
        if let Some(owner) = self.deferred {
            self.reassign(owner, reached, fate);
        }
    }

    /// Lets all go whose window has passed.
    pub(super) fn expire(&mut self, reached: Moment) {
        self.retain(|former| former.until > reached);
    }

    /// When the next tick may change the slot, if nothing is told until then.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let wanted = |former: &&Former| former.leaves || self.is_deferred();
        self.former_owners().filter(wanted).map(|former| former.until).min()
    }

    /// When the first window ends.
    pub(super) fn first_end(&self) -> Option<Moment> {
        self.former_owners().map(|former| former.until).min()
    }

    /// When [`Chain::questions`] may ask next, if nothing is told until then.
    pub(super) fn next_question(&self) -> Option<Moment> {
        let ask_at = |former: &Former| {
            let settled = former.since.after(SETTLE);
            if self.is_deferred() { settled } else { former.until.before(NOTICE).max(settled) }
        };
        self.former_owners().filter(|former| self.is_deferred() || !former.leaves).map(ask_at).min()
    }

    /// Calls `ask` with each former owner who should be asked at `now` for its connections: its window is about to
    /// end, or its place is needed.
    pub(super) fn questions(&self, now: Moment, mut ask: impl FnMut(TargetId)) {
        for former in self.former_owners().filter(|former| former.since.after(SETTLE) <= now) {
            let ends = !former.leaves && former.until <= now.after(NOTICE);
            if ends || self.is_deferred() {
                ask(former.target);
            }
        }
    }

    /// One life that serves the flows of both slots, if there is one: the same target must have both, and a packet
    /// must be able to name all that had either.
    pub(super) fn merged(self, other: Chain) -> Option<Chain> {
        if self.current != other.current || self.deferred != other.deferred {
            return None;
        }
        let mut all: Vec<Former> = self.former_owners().copied().collect();
        for former in other.former_owners() {
            match all.iter_mut().find(|one| one.target == former.target) {
                Some(one) => {
                    one.since = one.since.max(former.since);
                    one.until = one.until.max(former.until);
                    one.leaves &= former.leaves;
                }
                None => all.push(*former),
            }
        }
        all.sort_by_key(|former| std::cmp::Reverse(former.since));
        let former = [all.first().copied(), all.get(1).copied()];
        (all.len() <= DEPTH).then_some(Chain { former, ..self })
    }
}

impl Former {
    /// What is left of it at `reached`. One that was draining may be in service again, or draining anew.
    fn after_its_window(mut self, reached: Moment, fate: &dyn Fn(TargetId) -> Fate) -> Option<Former> {
        if self.until > reached || !self.leaves {
            return Some(self);
        }
        match fate(self.target) {
            Fate::Leaves { window } if window > Duration::ZERO => self.until = reached.after(window),
            Fate::Stays { .. } => self.leaves = false,
            Fate::Leaves { .. } | Fate::Dead => return None,
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests;
