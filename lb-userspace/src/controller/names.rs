//! What the numbers of the data plane are called.

use std::collections::BTreeMap;

use lb_common::TargetId;

use super::node::Node;
use crate::explain::report::ListenerPart;
use crate::model::{TargetKey, UdpTracking};

/// The names at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names {
    /// Listeners by their counter.
    pub(crate) listeners: BTreeMap<u16, ListenerPart>,
    /// Targets by id.
    pub(crate) targets: BTreeMap<TargetId, TargetKey>,
    /// Interfaces that the balancer is on or that packets leave by, by index.
    pub(crate) interfaces: BTreeMap<u32, String>,
}

impl Names {
    /// A target as people say it: its address.
    pub(crate) fn target(&self, id: TargetId) -> String {
        let known = self.targets.get(&id);
        known.map_or_else(|| format!("target id {}, which has gone", id.0), |key| key.address.to_string())
    }
}

impl Node {
    /// The names now.
    pub(super) fn names(&self) -> Names {
        let mut names = Names::default();
        for (load_balancer, listener) in self
            .desired()
            .load_balancers
            .iter()
            .flat_map(|(name, balancer)| balancer.listeners.iter().map(move |listener| (name, listener)))
        {
            let Some(counter) = self.reconciler.counter(load_balancer, listener) else { continue };
            names.listeners.insert(counter, self.listener_part(load_balancer, listener));
        }
        let targets = self.reconciler.registry().iter();
        names.targets = targets.map(|(key, record)| (record.id, key.clone())).collect();
        let attached = self.attachments.iter().map(|(name, at)| (at.interface, name.clone()));
        let ways = self.reconciler.next_hops().values().flatten();
        let ways = ways.map(|way| (way.interface, way.interface_name.clone()));
        names.interfaces = ways.chain(attached).collect();
        names
    }

    fn listener_part(&self, load_balancer: &str, listener: &crate::model::Listener) -> ListenerPart {
        let groups = listener.forward.0.iter().map(|part| part.target_group.clone());
        let group = listener.forward.0.first().map(|part| &part.target_group);
        let tracking = group.and_then(|name| self.desired().target_groups.get(name)).map_or(
            UdpTracking::Changed,
            |group| {
                if group.protocol == crate::model::Protocol::Tcp {
                    UdpTracking::Changed
                } else {
                    group.udp_tracking
                }
            },
        );
        ListenerPart {
            load_balancer: load_balancer.to_owned(),
            protocol: listener.protocol.to_string(),
            port: listener.port.to_string(),
            target_groups: groups.collect(),
            tracking: match tracking {
                UdpTracking::Changed => "changed",
                UdpTracking::Always => "always",
                UdpTracking::Never => "never",
            }
            .to_owned(),
        }
    }
}
