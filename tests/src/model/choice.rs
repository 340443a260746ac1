//! Which target a flow goes to: the slot's state, and the flow table where the state asks for it.

use lb_common::{Reason, Slot, SlotState, TargetId};

use super::flow_table::Sighting;
use super::node::{Node, Tracking};

/// The target of a packet of the flow, with all that it changes in the flow table. `begins` is a SYN.
pub(super) fn choose(
    node: &mut Node,
    slot: Slot,
    tracking: Tracking,
    begins: bool,
    sighting: Sighting,
) -> Result<TargetId, Reason> {
    let current = slot.current();
    if current.is_none() {
        return Err(Reason::NoTarget);
    }
    let state = slot.state();
    match tracking {
        Tracking::Never => return Ok(current),
        Tracking::Changed if state == SlotState::Stable => return Ok(current),
        Tracking::Changed | Tracking::Always => {}
    }
    if begins {
        match state {
            SlotState::Stable => {}
            SlotState::Changing => node.flows.remember(sighting, current),
            SlotState::Exceptions => node.flows.forget(sighting),
        }
        return Ok(current);
    }
    let targets = &node.targets;
    let keeps_flows = |id: TargetId| targets.get(&id).is_some_and(|target| target.keeps_flows);
    if let Some(known) = node.flows.find(sighting, keeps_flows) {
        return Ok(known);
    }
    if tracking == Tracking::Always {
        // All flows are known from their first packet on: what is not known begins now.
        node.flows.remember(sighting, current);
        return Ok(current);
    }
    if state == SlotState::Changing && keeps_flows(slot.previous()) {
        node.flows.remember(sighting, slot.previous());
        return Ok(slot.previous());
    }
    Ok(current)
}

/// The target of the flow's packets that do not begin it, without any change: what an ICMP error about it follows.
pub(super) fn peek(
    node: &Node,
    slot: Slot,
    tracking: Tracking,
    sighting: Sighting,
) -> Result<TargetId, Reason> {
    let mut copy = node.clone();
    choose(&mut copy, slot, tracking, false, sighting)
}
