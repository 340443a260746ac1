//! What a change would do to VIPs, targets and tables.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::report::{Effects, Leaving, TableEffect, Vip};
use crate::model::{Desired, ListenerPort};
use crate::reconcile::TableChange;

/// What becomes of `before` when `after` is in force; `tables` is what a rehearsal of it has found.
pub(super) fn effects(before: &Desired, after: &Desired, tables: Vec<TableChange>) -> Effects {
    let (vips_before, vips_after) = (vips(before), vips(after));
    let beyond = |these: &BTreeSet<(String, IpAddr)>, those: &BTreeSet<(String, IpAddr)>| {
        let vip =
            |(load_balancer, vip): &(String, IpAddr)| Vip { load_balancer: load_balancer.clone(), vip: *vip };
        these.difference(those).map(vip).collect()
    };
    Effects {
        of_data_plane: true,
        tables: tables.into_iter().map(table).collect(),
        leaving: leaving(before, after),
        vips_given: beyond(&vips_after, &vips_before),
        vips_taken: beyond(&vips_before, &vips_after),
    }
}

fn vips(desired: &Desired) -> BTreeSet<(String, IpAddr)> {
    let all = desired.load_balancers.iter();
    all.flat_map(|(name, one)| one.vips.iter().map(|vip| (name.clone(), *vip))).collect()
}

fn table(change: TableChange) -> TableEffect {
    TableEffect {
        load_balancer: change.load_balancer,
        protocol: change.protocol.to_string(),
        port: match change.port {
            ListenerPort::Port(port) => port,
            ListenerPort::Any => 0,
        },
        slots: change.slots,
        moved: change.moved,
    }
}

/// The targets that leave. Nobody waits for those of a group that nothing forwards to, or that goes itself.
fn leaving(before: &Desired, after: &Desired) -> Vec<Leaving> {
    let mut leaving = Vec::new();
    for (name, group) in &before.target_groups {
        let left = after.target_groups.get(name);
        let drains_seconds = left.map_or(0, |left| left.draining.as_secs());
        let is_gone = |address: &&IpAddr| left.is_none_or(|left| !left.targets.contains_key(*address));
        let gone = group.targets.keys().filter(is_gone);
        leaving.extend(gone.map(|address| Leaving {
            target_group: name.clone(),
            address: *address,
            drains_seconds,
        }));
    }
    leaving
}
