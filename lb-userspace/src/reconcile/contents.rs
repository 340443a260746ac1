//! What the maps must hold, whole, as values that can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::listener::Listener;
use lb_common::{ChainWord, Slot, Target, TargetId};

use super::adopt::{ForwardName, TargetName};
use crate::model::{Policy, QuicServerId};

/// Everything the reconciler decides about the maps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    /// `LISTENERS`, by VIP, port (0 for any) and protocol number.
    pub listeners: BTreeMap<(IpAddr, u16, u8), Listener>,
    /// `POLICIES` and `ALLOWED`, by the listener's counter; listeners without a policy are left out.
    pub policies: BTreeMap<u16, Policy>,
    /// `VIPS`.
    pub vips: BTreeSet<IpAddr>,
    /// `QUIC_SERVERS`, by forward action and server id.
    pub quic_servers: BTreeMap<(u32, QuicServerId), TargetId>,
    /// The tables by forward action.
    pub tables: BTreeMap<u32, Table>,
    /// `TARGETS`. Shared, as are the values: thousands, of which a change is about a few.
    pub targets: Arc<BTreeMap<TargetId, Arc<Target>>>,
    /// Whose the numbers are.
    pub names: Names,
}

/// Whose the data plane's numbers are, for a later controller: no packet needs it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Names {
    /// `TARGET_NAMES`, by target id; shared likewise.
    pub targets: Arc<BTreeMap<TargetId, Arc<TargetName>>>,
    /// `FORWARD_NAMES`, by the index in `FORWARDS`.
    pub forwards: BTreeMap<u32, ForwardName>,
    /// `LISTENER_NAMES`: the identity of the listener by its counter.
    pub listeners: BTreeMap<u16, u64>,
}

/// One version of a forward action's table; a change of the slots is another allocation, so that equal versions are
/// found without looking at them.
#[derive(Debug, Clone)]
pub struct Table {
    /// Binary logarithm of the number of slots.
    pub log2: u8,
    /// The slots.
    pub slots: Arc<[Slot]>,
    /// Their chains; empty if no slot has one.
    pub chains: Arc<[ChainWord]>,
}

impl PartialEq for Table {
    fn eq(&self, other: &Table) -> bool {
        let has_equal_slots = Arc::ptr_eq(&self.slots, &other.slots) || self.slots == other.slots;
        has_equal_slots && (Arc::ptr_eq(&self.chains, &other.chains) || self.chains == other.chains)
    }
}
