//! Whose flows a new forward action goes on with.
//!
//! A table is a forward action's, and an action is what it says: with other weights or another target group it is
//! another action, whose table would begin without a past. The flows of the listener are there all the same. So the
//! new action begins with the slots of the one that had the listener's packets until now, and changes them as any
//! action does:
//!
//! ```text
//!   listener 80 ─► {blue 1}            listener 80 ─► {blue 1, green 1}   succeeds {blue 1}
//!   listener 81 ─►     "        ─►     listener 81 ─► {blue 1}            goes on
//! ```
//!
//! Two listeners that shared an action and part have a copy each. One that takes an action that is another listener's
//! already shares that one's slots from then on: a slot can't have two pasts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::listener::Listener as ListenerValue;

use crate::model::ForwardAction;

/// What `LISTENERS` holds, by VIP, port (0 for any) and protocol number.
pub(super) type ListenerValues = BTreeMap<(IpAddr, u16, u8), ListenerValue>;

/// By the actions that are to have the packets `wanted` (as in `LISTENERS`), the index of the one that has them now. Of
/// several the first.
pub(super) fn predecessors<'a>(
    wanted: impl Iterator<Item = ((IpAddr, u16, u8), &'a ForwardAction)>,
    present: &ListenerValues,
) -> BTreeMap<&'a ForwardAction, u32> {
    let mut predecessors = BTreeMap::new();
    for ((vip, port, protocol), forward) in wanted {
        let whole_vip = || present.get(&(vip, 0, protocol));
        if let Some(value) = present.get(&(vip, port, protocol)).or_else(whole_vip) {
            predecessors.entry(forward).or_insert(value.forward);
        }
    }
    predecessors
}
