//! The listener stage: one look-up of (VIP, port, protocol), with the wildcard port as fall-back.

use lb_common::{
    flow::{Addresses, Flow},
    listener::{Listener, ListenerKey},
    reason::Reason,
};

use crate::{Stage, maps};

/// The listener that the flow's destination names.
#[inline(always)]
pub fn find<A: Addresses>(flow: &Flow<A>) -> Stage<&'static Listener> {
    let mut key = ListenerKey {
        vip: flow.addresses.destination(),
        port: flow.destination_port(),
        protocol: flow.protocol,
        reserved: 0,
    };
    if let Some(listener) = maps::listener(&key) {
        return Ok(listener);
    }
    key.port = 0;
    maps::listener(&key).ok_or(Reason::NotOurs)
}
