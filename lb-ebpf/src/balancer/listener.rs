//! The listener stage: one look-up of (VIP, port, protocol), with the wildcard port as fall-back.

use lb_common::{
    flow::{Addresses, Flow},
    listener::{Comparison, ListenerKey, ListenerLine, MAX_PROBES},
    maps::Settings,
    reason::Reason,
};

use crate::{Stage, maps};

/// The entry of the listener that the flow's destination names.
#[inline(always)]
pub fn find<A: Addresses>(flow: &Flow<A>, settings: &Settings) -> Stage<&'static ListenerLine> {
    let key = ListenerKey::new(flow.addresses.destination(), flow.destination_port(), flow.protocol);
    if let Some(line) = look_up(key, settings) {
        return Ok(line);
    }
    if !settings.has_listeners_of_any_port() {
        return Err(Reason::NotOurs);
    }
    look_up(key.with_any_port(), settings).ok_or(Reason::NotOurs)
}

#[inline(always)]
fn look_up(key: ListenerKey, settings: &Settings) -> Option<&'static ListenerLine> {
    let home = key.home(settings.listener_shift);
    let mut step = 0;
    loop {
        let line = maps::listener_line(home.wrapping_add(step) & settings.listener_mask)?;
        match line.compare(key) {
            Comparison::Found => return Some(line),
            Comparison::Absent => return None,
            Comparison::Another => step += 1,
        }
        // Asked after the first probe: hardly a packet needs a second one.
        if step == MAX_PROBES {
            return None;
        }
    }
}
