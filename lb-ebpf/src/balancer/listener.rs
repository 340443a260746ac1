//! The listener stage: one look-up of (VIP, port, protocol), with the wildcard port as fall-back.

use lb_common::{
    flow::{Addresses, Flow},
    listener::{ListenerKey, ListenerLine, MAX_PROBES},
    maps::Settings,
    reason::Reason,
};

use crate::{Stage, maps};

/// The entry of the listener that the flow's destination names.
#[inline(always)]
pub fn find<A: Addresses>(flow: &Flow<A>, settings: &Settings) -> Stage<&'static ListenerLine> {
    let key = ListenerKey::new(flow.addresses.destination(), flow.destination_port(), flow.protocol);
    if let Some(line) = look_up(key, settings.listener_mask) {
        return Ok(line);
    }
    look_up(key.with_any_port(), settings.listener_mask).ok_or(Reason::NotOurs)
}

#[inline(always)]
fn look_up(key: ListenerKey, mask: u32) -> Option<&'static ListenerLine> {
    let home = key.home();
    for step in 0..MAX_PROBES {
        let line = maps::listener_line(home.wrapping_add(step) & mask)?;
        if line.holds(key) {
            return Some(line);
        }
        if line.is_end() {
            return None;
        }
    }
    None
}
