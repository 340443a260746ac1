//! The exception stage: which target a packet goes to when its slot is not stable.
//!
//! The rules are those of the table in [`crate::slot`]; UDP has no SYN, so its datagrams follow the right
//! column, and a target group may track its flows always or never.

use crate::flow_table::{FlowEntry, FlowSet, Sighting};
use crate::listener::Listener;
use crate::packet::Segment;
use crate::slot::{Slot, SlotState};
use crate::target_id::TargetId;

/// Whether the flow table has a say in where a packet goes.
#[inline(always)]
pub fn needs_flow_table(slot: Slot, tracking: u32) -> bool {
    match tracking {
        Listener::TRACK_CHANGED => slot.state() != SlotState::Stable,
        Listener::TRACK_ALWAYS => true,
        _ => false,
    }
}

/// Where a packet goes, and whether that is an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// To where the slot sends it.
    BySlot(TargetId),
    /// Elsewhere, because its flow began there: the slot still has exceptions.
    Exception(TargetId),
}

impl Choice {
    /// The target.
    #[inline(always)]
    pub fn target(self) -> TargetId {
        match self {
            Choice::BySlot(target) | Choice::Exception(target) => target,
        }
    }
}

/// Chooses the target of a packet for which [`needs_flow_table`], and lets `set` remember what must be.
/// `lives` tells whether the known flows of a target are worth keeping.
#[inline(always)]
pub fn choose(
    slot: Slot,
    tracking: u32,
    segment: Segment,
    set: &FlowSet,
    sighting: Sighting,
    lives: impl Fn(TargetId) -> bool,
) -> Choice {
    // Without a current target the slot forwards nothing, and nothing is to be remembered.
    if slot.current().is_none() {
        return Choice::BySlot(TargetId::NONE);
    }
    if segment == Segment::Opening {
        return Choice::BySlot(open(slot, set, sighting));
    }
    if let Some(target) = set.find(sighting, &lives) {
        return if target == slot.current() { Choice::BySlot(target) } else { Choice::Exception(target) };
    }
    if tracking == Listener::TRACK_ALWAYS {
        set.remember(sighting, slot.current());
        return Choice::BySlot(slot.current());
    }
    if slot.state() == SlotState::Changing && lives(slot.previous()) {
        set.remember(sighting, slot.previous());
        return Choice::Exception(slot.previous());
    }
    Choice::BySlot(slot.current())
}

/// The target of a flow's packets that do not begin it, as [`choose`] would say; nothing is remembered or
/// refreshed. For ICMP errors: anybody can forge one, and none of them says that its flow lives.
#[inline(always)]
pub fn peek(
    slot: Slot,
    tracking: u32,
    set: &FlowSet,
    sighting: Sighting,
    lives: impl Fn(TargetId) -> bool,
) -> TargetId {
    if slot.current().is_none() {
        return TargetId::NONE;
    }
    if let Some(target) = set.peek(sighting).map(FlowEntry::target).filter(|target| lives(*target)) {
        return target;
    }
    let is_changing = tracking != Listener::TRACK_ALWAYS && slot.state() == SlotState::Changing;
    if is_changing && lives(slot.previous()) { slot.previous() } else { slot.current() }
}

#[inline(always)]
fn open(slot: Slot, set: &FlowSet, sighting: Sighting) -> TargetId {
    if slot.state() == SlotState::Changing {
        set.remember(sighting, slot.current());
    } else {
        set.forget(sighting.hash);
    }
    slot.current()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowHash;
    use crate::flow_table::Tick;
    use crate::shared::Shared;

    const A: TargetId = TargetId(1);
    const B: TargetId = TargetId(2);
    const FLOW: Sighting = Sighting { hash: FlowHash(42), now: Tick(9), idle: 100 };

    struct Node {
        set: FlowSet,
        tracking: u32,
        dead: TargetId,
    }

    impl Node {
        fn new(tracking: u32) -> Node {
            let set = FlowSet(core::array::from_fn(|_| Shared::<u64>::new(0)));
            Node { set, tracking, dead: TargetId::NONE }
        }

        fn choose(&self, slot: Slot, segment: Segment) -> Choice {
            choose(slot, self.tracking, segment, &self.set, FLOW, |target| target != self.dead)
        }
    }

    #[test]
    fn a_flow_that_began_before_the_change_stays_and_is_remembered() {
        let node = Node::new(Listener::TRACK_CHANGED);
        assert_eq!(node.choose(Slot::changing(B, A), Segment::Established), Choice::Exception(A));
        assert_eq!(node.choose(Slot::exceptions(B), Segment::Established), Choice::Exception(A));
    }

    #[test]
    fn a_flow_that_begins_during_the_change_is_on_the_new_target_for_good() {
        let node = Node::new(Listener::TRACK_CHANGED);
        assert_eq!(node.choose(Slot::changing(B, A), Segment::Opening), Choice::BySlot(B));
        assert_eq!(node.choose(Slot::changing(B, A), Segment::Established), Choice::BySlot(B));
        assert_eq!(node.choose(Slot::exceptions(A), Segment::Established), Choice::Exception(B));
    }

    #[test]
    fn a_syn_ends_the_old_life_of_its_tuple() {
        let node = Node::new(Listener::TRACK_CHANGED);
        node.choose(Slot::changing(B, A), Segment::Established);
        assert_eq!(node.choose(Slot::exceptions(B), Segment::Opening), Choice::BySlot(B));
        assert_eq!(node.choose(Slot::exceptions(B), Segment::Established), Choice::BySlot(B));
    }

    #[test]
    fn a_packet_that_finds_no_target_leaves_nothing_behind() {
        for tracking in [Listener::TRACK_CHANGED, Listener::TRACK_ALWAYS] {
            let node = Node::new(tracking);
            for slot in [Slot::changing(TargetId::NONE, A), Slot::EMPTY] {
                for segment in [Segment::Opening, Segment::Established] {
                    assert_eq!(node.choose(slot, segment), Choice::BySlot(TargetId::NONE));
                }
            }
            assert!(node.set.0.iter().all(|entry| entry.load() == 0));
        }
    }

    #[test]
    fn a_slot_without_a_current_target_forwards_not_even_the_flows_that_it_had() {
        let node = Node::new(Listener::TRACK_CHANGED);
        assert_eq!(node.choose(Slot::changing(B, A), Segment::Established), Choice::Exception(A));
        let slot = Slot::changing(TargetId::NONE, A);
        assert_eq!(node.choose(slot, Segment::Established), Choice::BySlot(TargetId::NONE));
    }

    #[test]
    fn flows_of_a_dead_target_go_to_the_current_one() {
        let mut node = Node::new(Listener::TRACK_CHANGED);
        node.choose(Slot::changing(B, A), Segment::Established);
        node.dead = A;
        assert_eq!(node.choose(Slot::exceptions(B), Segment::Established), Choice::BySlot(B));
        assert_eq!(node.choose(Slot::changing(B, A), Segment::Established), Choice::BySlot(B));
    }

    #[test]
    fn an_unknown_flow_of_a_slot_with_exceptions_is_on_its_current_target() {
        let node = Node::new(Listener::TRACK_CHANGED);
        assert_eq!(node.choose(Slot::exceptions(B), Segment::Established), Choice::BySlot(B));
    }

    #[test]
    fn an_always_tracked_flow_keeps_its_first_target() {
        let node = Node::new(Listener::TRACK_ALWAYS);
        assert_eq!(node.choose(Slot::stable(A), Segment::Ageless), Choice::BySlot(A));
        assert_eq!(node.choose(Slot::changing(B, A), Segment::Ageless), Choice::Exception(A));
        assert_eq!(node.choose(Slot::exceptions(B), Segment::Ageless), Choice::Exception(A));
    }

    #[test]
    fn a_peek_agrees_with_the_next_packet_and_changes_nothing() {
        let slots = [Slot::stable(A), Slot::changing(B, A), Slot::exceptions(B), Slot::exceptions(A)];
        let slots = [slots.as_slice(), &[Slot::changing(TargetId::NONE, A), Slot::EMPTY]].concat();
        for tracking in [Listener::TRACK_CHANGED, Listener::TRACK_ALWAYS] {
            for (known, slot) in [None, Some(A), Some(B)]
                .iter()
                .flat_map(|known| slots.iter().map(move |slot| (*known, *slot)))
            {
                for dead in [TargetId::NONE, A, B] {
                    let node = Node { dead, ..Node::new(tracking) };
                    if let Some(known) = known {
                        node.set.remember(FLOW, known);
                    }
                    let entries = || node.set.0.each_ref().map(Shared::<u64>::load);
                    let before = entries();
                    let peeked = peek(slot, tracking, &node.set, FLOW, |target| target != node.dead);
                    assert_eq!(entries(), before);
                    assert_eq!(
                        peeked,
                        node.choose(slot, Segment::Established).target(),
                        "{known:?} {slot:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_flow_table_is_asked_only_where_it_has_a_say() {
        let (stable, changed) = (Slot::stable(A), Slot::exceptions(A));
        assert!(!needs_flow_table(stable, Listener::TRACK_CHANGED));
        assert!(needs_flow_table(changed, Listener::TRACK_CHANGED));
        assert!(needs_flow_table(stable, Listener::TRACK_ALWAYS));
        assert!(!needs_flow_table(changed, Listener::TRACK_NEVER));
    }
}
