//! A target group that a listener forwards to and the state does not have. No operation leaves that behind, but somebody
//! who writes to the store by another way can: then a group without targets stands in for it, so that whoever follows a
//! listener's groups finds them all.

use std::iter::Peekable;

use super::differences::Shared;
use crate::api::domain::records::{
    HealthCheck, Listener, LoadBalancer, TargetGroup, TargetGroupAttributes, TargetType,
};

/// The names of groups that are used and not there, with their users. Both maps are walked side by side.
pub(super) fn absent<'a>(
    users: &'a Shared<LoadBalancer>,
    groups: &'a Shared<TargetGroup>,
) -> impl Iterator<Item = (&'a String, &'a LoadBalancer)> {
    let mut there = groups.keys().peekable();
    users.iter().filter(move |(name, _)| !is_next(&mut there, name)).map(|(name, user)| (name, &**user))
}

fn is_next<'a>(names: &mut Peekable<impl Iterator<Item = &'a String>>, name: &String) -> bool {
    while names.next_if(|earlier| *earlier < name).is_some() {}
    names.next_if(|one| *one == name).is_some()
}

/// What stands in for a group: like one that is forwarded to beside it, but without targets.
pub(super) fn stand_in(name: &str, user: &LoadBalancer, groups: &Shared<TargetGroup>) -> Option<TargetGroup> {
    let forwards_to_it =
        |listener: &&Listener| listener.forward.iter().any(|forward| forward.target_group == name);
    let listener = user.listeners.values().find(forwards_to_it)?;
    let beside = listener.forward.iter().find_map(|forward| groups.get(&forward.target_group));
    Some(beside.map_or_else(
        || TargetGroup {
            id: user.id,
            protocol: listener.protocol,
            port: listener.port,
            vpc: user.vpc.clone(),
            target_type: TargetType::Ip,
            is_ipv6: false,
            // Nobody is checked by it.
            health_check: HealthCheck::usual(),
            attributes: TargetGroupAttributes::new(listener.protocol),
            tags: user.tags.clone(),
            targets: Vec::new(),
        },
        |group| TargetGroup { targets: Vec::new(), ..TargetGroup::clone(group) },
    ))
}
