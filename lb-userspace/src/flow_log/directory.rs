//! Who is who, as the controller knows it at one moment: what addresses and numbers of records are called.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{FlowLogging, TargetKey};

/// Where a listener serves: VIP, port (0 for any) and protocol number.
pub(crate) type ServedAt = (IpAddr, u16, u8);

/// Whose flow it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The load balancer.
    pub(crate) load_balancer: String,
    /// The listener: `80/TCP`.
    pub(crate) listener: String,
    /// The directory of the load balancer's files, below the node's.
    pub(crate) place: PathBuf,
}

/// How logs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The node's name.
    pub(crate) node: String,
    /// Where, how much, and which share of all flows.
    pub(crate) logging: FlowLogging,
}

/// The names; without a listener no log is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    /// How logs are kept, if the node keeps any.
    pub(crate) settings: Option<Settings>,
    /// The listeners that are logged.
    pub(crate) listeners: BTreeMap<ServedAt, Arc<Origin>>,
    /// All targets by id.
    pub(crate) targets: BTreeMap<u16, TargetKey>,
}

impl Directory {
    /// Whose flow a packet to this address is, if it is logged.
    pub(super) fn origin(&self, vip: SocketAddr, protocol: u8) -> Option<&Arc<Origin>> {
        let at = |port| self.listeners.get(&(vip.ip(), port, protocol));
        at(vip.port()).or_else(|| at(0))
    }

    /// The directories of all logs.
    pub(super) fn places(&self) -> BTreeSet<PathBuf> {
        self.listeners.values().map(|origin| origin.place.clone()).collect()
    }
}
