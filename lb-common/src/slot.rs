//! One entry of a forward action's table, and what it says about a flow.
//!
//! ```text
//!   current  previous   state            a SYN                       any other packet
//!   A        A          stable           to A, no look-up            to A, no look-up
//!   B        A          changing         to B, and remembered        the flow table; if unknown to A, remembered
//!   B        none       has exceptions   to B, old entry goes        the flow table; if unknown to B
//!   none     any        no target        dropped, counted            dropped, counted
//! ```
//!
//! Where targets give second chances, a changing slot has a [`ChainWord`] beside it, and the flow table no say:
//!
//! ```text
//!   current  previous   chain word       every packet
//!   B        A          B                to B, which may hand it on to A
//!   C        B          A                to C, which may hand it on to B, and B to A
//! ```

use crate::target_id::TargetId;

/// `{current, previous}` in one aligned word, so that a packet reads both with one load and never half.
///
/// Bits 0–15 are the current target's id, bits 16–31 the previous one's, in host order.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slot(pub u32);

/// What a slot's two ids say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// All flows of the slot are on its current target.
    Stable,
    /// Flows that began before the change are on `previous`, and are being learnt.
    Changing,
    /// All flows that belong elsewhere are in the flow table.
    Exceptions,
}

impl Slot {
    /// A slot without any target.
    pub const EMPTY: Slot = Slot(0);

    /// All flows on `target`.
    pub const fn stable(target: TargetId) -> Slot {
        Slot(target.0 as u32 | (target.0 as u32) << 16)
    }

    /// Was `previous`, now `current`.
    pub const fn changing(current: TargetId, previous: TargetId) -> Slot {
        Slot(current.0 as u32 | (previous.0 as u32) << 16)
    }

    /// Now `current`, a few flows elsewhere.
    pub const fn exceptions(current: TargetId) -> Slot {
        Slot(current.0 as u32)
    }

    /// The target of new flows.
    #[inline(always)]
    pub const fn current(self) -> TargetId {
        TargetId(self.0 as u16)
    }

    /// The target of unknown flows while the slot is changing.
    #[inline(always)]
    pub const fn previous(self) -> TargetId {
        TargetId((self.0 >> 16) as u16)
    }

    /// The state that the two ids encode.
    #[inline(always)]
    pub const fn state(self) -> SlotState {
        if self.current().0 == self.previous().0 {
            SlotState::Stable
        } else if self.previous().is_none() {
            SlotState::Exceptions
        } else {
            SlotState::Changing
        }
    }
}

/// Who had a changing slot before its previous target, where targets give second chances.
///
/// Zero where the flow table keeps the slot's flows; the current target's id where nobody had it before the
/// previous one; else the target before that.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainWord(pub u16);

impl ChainWord {
    /// The slot has no chain: it is stable, or the flow table keeps its flows.
    pub const NONE: ChainWord = ChainWord(0);

    /// `previous` is all that the slot of `current` had.
    pub const fn ends(current: TargetId) -> ChainWord {
        ChainWord(current.0)
    }

    /// `target` had the slot before its previous one.
    pub const fn before(target: TargetId) -> ChainWord {
        ChainWord(target.0)
    }

    /// Whether the targets keep the flows of `slot`, whose word this is: packets carry who had it.
    #[inline(always)]
    pub const fn is_chain_of(self, slot: Slot) -> bool {
        self.0 != 0 && slot.current().0 != slot.previous().0
    }

    /// Who had `slot` before its previous target; none if nobody.
    #[inline(always)]
    pub const fn oldest(self, slot: Slot) -> TargetId {
        if self.0 == slot.current().0 { TargetId::NONE } else { TargetId(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_word_names_the_oldest_of_three_or_nobody() {
        let (a, b, c) = (TargetId(1), TargetId(2), TargetId(3));
        assert_eq!(ChainWord::before(a).oldest(Slot::changing(c, b)), a);
        assert_eq!(ChainWord::ends(b).oldest(Slot::changing(b, a)), TargetId::NONE);
        assert!(ChainWord::ends(b).is_chain_of(Slot::changing(b, a)));
        assert!(!ChainWord::NONE.is_chain_of(Slot::changing(b, a)));
        assert!(!ChainWord::before(a).is_chain_of(Slot::stable(b)));
    }

    #[test]
    fn two_ids_encode_three_states() {
        let (a, b) = (TargetId(7), TargetId(0xfffe));
        assert_eq!(Slot::stable(a).state(), SlotState::Stable);
        assert_eq!(Slot::changing(b, a).state(), SlotState::Changing);
        assert_eq!(Slot::exceptions(b).state(), SlotState::Exceptions);
        assert_eq!((Slot::changing(b, a).current(), Slot::changing(b, a).previous()), (b, a));
        assert_eq!(Slot::EMPTY.state(), SlotState::Stable);
        assert!(Slot::EMPTY.current().is_none());
    }
}
