//! For the moment in which the flow table changes, no slot needs an entry that it has not got yet.
//!
//! A flow that begins in a changing slot is on the slot's new target, and the flow table alone says so. If it began after
//! the table was copied, the programs that look into the copy would not know it and take it for one that began before the
//! change: it would be reset. So for this moment a changing slot has exceptions only, on the target that unknown flows
//! are on anyway:
//!
//! ```text
//!                 current  previous   a SYN                   any other packet
//!   changing      B        A          to B, and remembered    the flow table; if unknown to A, remembered
//!   frozen        A        none       to A                    the flow table; if unknown to A
//! ```
//!
//! Flows that begin meanwhile are on A, where they are right when the slot is changing again: unknown. Where A's flows are
//! not worth keeping, it is B in both rows. A slot whose flows the targets keep needs no entry. If the controller is
//! killed meanwhile, the next one finds a slot of A with exceptions, which B is to have: it changes it again.

use lb_common::{ChainWord, Slot, SlotState, TargetId};

/// The changing slots of the tables, as they were and as they are frozen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::data_plane) struct Frozen(pub(super) Vec<FrozenSlot>);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrozenSlot {
    pub(super) index: u32,
    pub(super) was: Slot,
    pub(super) is: Slot,
}

/// A slot as it is frozen; none if it needs no entry that is not there. `keeps_flows` says whether a target's flows are
/// worth keeping.
pub(super) fn frozen(slot: Slot, chain: ChainWord, keeps_flows: impl Fn(TargetId) -> bool) -> Option<Slot> {
    let is_changing = slot.state() == SlotState::Changing && !slot.current().is_none();
    if !is_changing || chain.is_chain_of(slot) {
        return None;
    }
    let owner = if keeps_flows(slot.previous()) { slot.previous() } else { slot.current() };
    Some(Slot::exceptions(owner))
}

#[cfg(test)]
mod tests {
    use lb_common::choice::choose;
    use lb_common::flow::FlowHash;
    use lb_common::flow_table::{FlowSet, Sighting, Tick, WAYS};
    use lb_common::listener::Listener;
    use lb_common::packet::Segment;
    use lb_common::shared::Shared;

    use super::*;

    const A: TargetId = TargetId(1);
    const B: TargetId = TargetId(2);

    fn set() -> FlowSet {
        FlowSet([const { Shared::<u64>::new(0) }; WAYS])
    }

    fn target(slot: Slot, segment: Segment, set: &FlowSet, flow: u64, keeps: bool) -> TargetId {
        let sighting = Sighting { hash: FlowHash(flow), now: Tick(9), idle: 100 };
        let lives = |target| target != A || keeps;
        choose(slot, Listener::TRACK_CHANGED, segment, set, sighting, lives).target()
    }

    #[test]
    fn only_changing_slots_whose_flows_the_flow_table_keeps_are_frozen() {
        let changing = Slot::changing(B, A);
        assert_eq!(frozen(changing, ChainWord::NONE, |_| true), Some(Slot::exceptions(A)));
        assert_eq!(frozen(changing, ChainWord::NONE, |_| false), Some(Slot::exceptions(B)));
        assert_eq!(frozen(changing, ChainWord::ends(B), |_| true), None);
        let others = [Slot::stable(A), Slot::exceptions(A), Slot::EMPTY, Slot::changing(TargetId::NONE, A)];
        assert!(others.iter().all(|slot| frozen(*slot, ChainWord::NONE, |_| true).is_none()));
    }

    #[test]
    fn a_flow_stays_where_it_is_whenever_it_begins_and_whatever_table_its_next_packet_meets() {
        let changing = Slot::changing(B, A);
        for keeps in [true, false] {
            let frozen = frozen(changing, ChainWord::NONE, |_| keeps).unwrap();
            let (old, new) = (set(), set());
            // One began before the change, one while the slot was changing, one while it is frozen.
            let before = target(changing, Segment::Established, &old, 1, keeps);
            let changed = target(changing, Segment::Opening, &old, 2, keeps);
            for (from, to) in old.0.iter().zip(&new.0) {
                to.store(from.load());
            }
            let in_frozen = target(frozen, Segment::Opening, &old, 3, keeps);
            for (slot, set) in [(frozen, &old), (frozen, &new), (changing, &new)] {
                for (flow, began_on) in [(1, before), (2, changed), (3, in_frozen)] {
                    assert_eq!(
                        target(slot, Segment::Established, set, flow, keeps),
                        began_on,
                        "{flow} {slot:?}"
                    );
                }
            }
        }
    }
}
