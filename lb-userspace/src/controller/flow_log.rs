//! The controller's part of the flow log: who is who.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_common::flow::{TCP, UDP};
use lb_common::flow_log::Share;
use tracing::warn;

use super::node::Node;
use crate::flow_log::{Directory, Origin, ServedAt, Settings};
use crate::model::{Desired, ListenerPort};

impl Node {
    /// Tells the log who is who now. A target's id is its own for as long as a packet may name it, so this is to be
    /// called when the desired state changes, before that is written.
    pub(super) fn tell_flow_log(&mut self) {
        let desired = self.desired();
        let listeners = listeners(desired);
        let logging = desired.node.flow_log.clone();
        if logging.is_none() && !listeners.is_empty() && !self.is_without_flow_log {
            warn!(
                "load balancers ask for a log of their flows, but the node keeps none: give the section \"node\" a \
                 \"flow_log\" with a directory"
            );
        }
        self.is_without_flow_log = logging.is_none() && !listeners.is_empty();
        let directory = match logging {
            Some(logging) if listeners.is_empty() => {
                let settings = Some(Settings { node: self.desired().node.name.clone(), logging });
                Directory { settings, ..Directory::default() }
            }
            Some(logging) => {
                let targets = self.reconciler.registry().iter();
                Directory {
                    settings: Some(Settings { node: self.desired().node.name.clone(), logging }),
                    listeners,
                    targets: targets.map(|(key, record)| (record.id.0, key.clone())).collect(),
                }
            }
            None => Directory::default(),
        };
        self.flow_log.set_directory(directory);
    }

    /// The share of flows that the programs tell of.
    pub(super) fn flow_log_share(&self) -> Share {
        let logging = self.desired().node.flow_log.as_ref();
        logging.map_or(Share(0), |logging| logging.sample.threshold())
    }
}

/// The listeners that are logged.
fn listeners(desired: &Desired) -> BTreeMap<ServedAt, Arc<Origin>> {
    let mut found = BTreeMap::new();
    for (name, load_balancer) in &desired.load_balancers {
        let Some(place) = &load_balancer.flow_log else { continue };
        for listener in &load_balancer.listeners {
            let origin = Arc::new(Origin {
                load_balancer: name.clone(),
                listener: format!("{}/{}", listener.port, listener.protocol),
                place: place.of(name),
            });
            let port = match listener.port {
                ListenerPort::Port(port) => port,
                ListenerPort::Any => 0,
            };
            let protocols = [(TCP, listener.protocol.has_tcp()), (UDP, listener.protocol.has_udp())];
            for (protocol, _) in protocols.into_iter().filter(|(_, has)| *has) {
                let served =
                    load_balancer.vips.iter().map(|vip| ((*vip, port, protocol), Arc::clone(&origin)));
                found.extend(served);
            }
        }
    }
    found
}
