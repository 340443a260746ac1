//! Whether the data plane can carry a desired state.

use std::collections::BTreeSet;

use super::listeners::protocol_numbers;
use super::quic_servers::QuicServerIdInUse;
use super::{policies, quic_servers};
use crate::data_plane::Capacity;
use crate::model::{Desired, ForwardAction, LoadBalancer};

/// A desired state that can't follow the present one.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is bigger than the data plane.
    #[error(transparent)]
    TooBig(#[from] TooBig),
    /// It gives QUIC connections of one target to another.
    #[error(transparent)]
    QuicServerId(#[from] QuicServerIdInUse),
}

/// A desired state that is bigger than the data plane.
#[derive(Debug, thiserror::Error)]
pub enum TooBig {
    /// More targets than ids.
    #[error(transparent)]
    Targets(#[from] super::registry::TooManyTargets),
    /// More of something than its map has room for.
    #[error("{count} {what} are more than the {room} that the balancer was loaded for")]
    Map {
        /// What there is too much of.
        what: Full,
        /// How many.
        count: usize,
        /// How many there may be.
        room: usize,
    },
}

/// What a map may have no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The prefixes of all allow-lists.
    AllowedPrefixes,
    /// VIPs.
    Vips,
    /// Listeners, on each VIP and for each transport protocol.
    Listeners,
    /// Different forward actions.
    ForwardActions,
    /// QUIC server ids of registered targets.
    QuicServerIds,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Full::AllowedPrefixes => "prefixes of allow-lists",
            Full::Vips => "VIPs",
            Full::Listeners => "listeners (on each VIP)",
            Full::ForwardActions => "forward actions",
            Full::QuicServerIds => "QUIC server ids (of each forward action)",
        })
    }
}

/// Whether the maps have room for a desired state; whether there are ids for its targets is the registry's to say.
///
/// # Errors
/// With the first map that has not.
pub fn check_room(desired: &Desired, capacity: Capacity) -> Result<(), TooBig> {
    for (what, count, room) in rooms(desired, capacity) {
        if count > room {
            return Err(TooBig::Map { what, count, room });
        }
    }
    Ok(())
}

/// How many of each a desired state has, and how many there may be.
pub fn rooms(desired: &Desired, capacity: Capacity) -> [(Full, usize, usize); 5] {
    let load_balancers = || desired.load_balancers.values();
    let actions: BTreeSet<&ForwardAction> =
        load_balancers().flat_map(|lb| lb.listeners.iter().map(|listener| &listener.forward)).collect();
    let quic_server_ids = actions.iter().map(|action| quic_servers::count(action, desired)).sum();
    let allowed_prefixes = policies::count(desired);
    [
        (Full::AllowedPrefixes, allowed_prefixes, capacity.allowed_prefixes as usize),
        (Full::Vips, load_balancers().map(|lb| lb.vips.len()).sum(), capacity.vips as usize),
        (
            Full::Listeners,
            load_balancers().map(|lb| lb.vips.len() * listener_entries(lb)).sum(),
            capacity.listeners as usize - 1,
        ),
        (Full::ForwardActions, actions.len(), capacity.forwards as usize - 1),
        (Full::QuicServerIds, quic_server_ids, capacity.quic_servers() as usize / 2),
    ]
}

fn listener_entries(load_balancer: &LoadBalancer) -> usize {
    load_balancer.listeners.iter().map(|listener| protocol_numbers(listener.protocol).len()).sum()
}
