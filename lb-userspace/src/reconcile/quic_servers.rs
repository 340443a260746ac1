//! QUIC server ids: whose they are, and that none changes its owner while packets may carry it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_common::TargetId;

use super::registry::{Record, Registry};
use super::room::Refused;
use crate::model::{Desired, ForwardAction, Protocol, QuicServerId, TargetGroup, TargetKey};

/// A desired state that gives connections of one target to another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuicServerIdInUse {
    /// A registered target gets another server id.
    #[error(
        "the target {target} has the quic_server_id {held}, by which its connections find it, and {wanted} is \
         another: remove the target, and add it with the new one when it has drained"
    )]
    Changed {
        /// The target.
        target: TargetKey,
        /// What it has.
        held: QuicServerId,
        /// What it would get.
        wanted: QuicServerId,
    },
    /// A target gets the server id of one that is draining.
    #[error(
        "the quic_server_id {id} of the target {target} is that of {draining}, which keeps its connections while \
         it drains: give {target} another one, or wait until then"
    )]
    Draining {
        /// The server id.
        id: QuicServerId,
        /// Who would get it.
        target: TargetKey,
        /// Whose it is.
        draining: TargetKey,
    },
}

impl QuicServerIdInUse {
    /// Who can't have its server id yet.
    fn waiting(&self) -> &TargetKey {
        match self {
            QuicServerIdInUse::Changed { target, .. } | QuicServerIdInUse::Draining { target, .. } => target,
        }
    }
}

/// Takes over `desired` by `apply`, which takes a state whole or not at all. Where server ids are still somebody's, first
/// without the targets that are to get them, so that their owners begin to drain and all else is followed; and then whole,
/// if that can be already. Why it can't be yet, if so: those targets are to come by another try.
///
/// # Errors
/// If `apply` refuses for anything else.
pub fn apply_in_turn(
    desired: Desired,
    mut apply: impl FnMut(Desired) -> Result<(), Refused>,
) -> Result<Option<QuicServerIdInUse>, Refused> {
    let mut without = desired.clone();
    let mut is_whole = true;
    loop {
        match apply(without.clone()) {
            Ok(()) if is_whole => return Ok(None),
            Ok(()) => break,
            Err(Refused::QuicServerId(why)) if remove(&mut without, why.waiting()) => is_whole = false,
            Err(problem) => return Err(problem),
        }
    }
    match apply(desired) {
        Ok(()) => Ok(None),
        Err(Refused::QuicServerId(why)) => Ok(Some(why)),
        Err(problem) => Err(problem),
    }
}

/// Whether the target was there.
fn remove(desired: &mut Desired, target: &TargetKey) -> bool {
    desired
        .target_groups
        .get_mut(&target.target_group)
        .is_some_and(|group| Arc::make_mut(group).targets.remove(&target.address).is_some())
}

/// Whether `desired` leaves the server ids of the targets in `registry` alone.
pub(super) fn check(desired: &Desired, registry: &Registry) -> Result<(), QuicServerIdInUse> {
    for (key, id) in desired.target_groups.iter().flat_map(|(name, group)| wanted(name, group)) {
        match held(registry, &key) {
            Some(held) if held != id => {
                return Err(QuicServerIdInUse::Changed { target: key, held, wanted: id });
            }
            _ => {}
        }
    }
    let listeners = desired.load_balancers.values().flat_map(|load_balancer| &load_balancer.listeners);
    let mut quic = listeners.filter(|listener| listener.protocol == Protocol::Quic);
    quic.try_for_each(|listener| check_draining(&listener.forward, desired, registry))
}

/// The server ids of a group's targets.
fn wanted<'a>(
    name: &'a str,
    group: &'a TargetGroup,
) -> impl Iterator<Item = (TargetKey, QuicServerId)> + use<'a> {
    let key = |address| TargetKey { target_group: name.to_owned(), address };
    group.targets.iter().filter_map(move |(address, target)| Some((key(*address), target.quic_server_id?)))
}

fn held(registry: &Registry, key: &TargetKey) -> Option<QuicServerId> {
    registry.record(key)?.quic_server_id
}

fn check_draining(
    forward: &ForwardAction,
    desired: &Desired,
    registry: &Registry,
) -> Result<(), QuicServerIdInUse> {
    let groups =
        || forward.0.iter().filter_map(|part| desired.target_groups.get_key_value(&part.target_group));
    let owners: BTreeMap<QuicServerId, TargetKey> =
        groups().flat_map(|(name, group)| wanted(name, group)).map(|(key, id)| (id, key)).collect();
    for (name, group) in groups() {
        for (address, record) in
            registry.group(name).filter(|(address, record)| drains(group, address, record))
        {
            let owner = record.quic_server_id.and_then(|id| Some((id, owners.get(&id)?)));
            if let Some((id, target)) = owner {
                let draining = TargetKey { target_group: name.clone(), address };
                return Err(QuicServerIdInUse::Draining { id, target: target.clone(), draining });
            }
        }
    }
    Ok(())
}

/// Whether a known target of the group will drain, and not serve or be gone, once the group is as wanted.
fn drains(group: &TargetGroup, address: &std::net::IpAddr, record: &Record) -> bool {
    !group.targets.contains_key(address) && !group.draining.is_zero() && !record.is_dead()
}

/// Whether a forward action's targets have server ids: those of QUIC groups do.
pub(super) fn may_have(forward: &ForwardAction, desired: &Desired) -> bool {
    let mut groups = forward.0.iter().filter_map(|part| desired.target_groups.get(&part.target_group));
    groups.any(|group| group.protocol == Protocol::Quic)
}

/// The server ids of a forward action's targets, those of all zones and draining ones included: whoever has a
/// connection keeps it.
pub(super) fn of<'a>(
    forward: &'a ForwardAction,
    registry: &'a Registry,
) -> impl Iterator<Item = (QuicServerId, TargetId)> + use<'a> {
    let records = forward.0.iter().flat_map(|part| registry.group(&part.target_group));
    records.filter_map(|(_, record)| Some((record.quic_server_id?, record.id)))
}

/// How many server ids the registered targets of a forward action have.
pub(super) fn count(forward: &ForwardAction, desired: &Desired) -> usize {
    let groups = forward.0.iter().filter_map(|part| desired.target_groups.get_key_value(&part.target_group));
    groups.map(|(name, group)| wanted(name, group).count()).sum()
}
