//! The `load_balancers` section.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::cursor::At;
use super::target_group::Groups;
use super::{address, allow, flow_log, listener, name};
use crate::model::LoadBalancer;

/// The load balancers, as far as they could be read.
pub(super) struct LoadBalancers {
    /// Every VIP with its path.
    pub(super) vips: BTreeMap<IpAddr, String>,
    /// All load balancers by name, if nothing is wrong with any.
    pub(super) complete: Option<BTreeMap<String, Arc<LoadBalancer>>>,
}

/// Reads the list; `groups` are what its listeners can forward to, if that could be read, and `node_has_log` says
/// whether the node keeps flow logs.
pub(super) fn read_all(at: &At, groups: Option<&Groups>, node_has_log: bool) -> Option<LoadBalancers> {
    let items = at.items("a list of load balancers")?;
    let mut all_vips = BTreeMap::new();
    let mut first_of: BTreeMap<String, &At> = BTreeMap::new();
    let mut complete = Some(BTreeMap::new());
    for item in &items {
        let (name, load_balancer) = read(item, &mut all_vips, groups, node_has_log);
        if let Some(name) = &name
            && let Some(earlier) = first_of.insert(name.clone(), item)
        {
            let path = format!("{}.name", item.path());
            item.refuse_at::<()>(
                &path,
                format!("{name:?} is the name of {} already; names are unique", earlier.path()),
            );
        }
        match (&mut complete, name, load_balancer) {
            (Some(complete), Some(name), Some(load_balancer)) => {
                complete.insert(name, Arc::new(load_balancer));
            }
            _ => complete = None,
        }
    }
    Some(LoadBalancers { vips: all_vips, complete })
}

fn read(
    at: &At,
    all_vips: &mut BTreeMap<IpAddr, String>,
    groups: Option<&Groups>,
    node_has_log: bool,
) -> (Option<String>, Option<LoadBalancer>) {
    let Some(fields) = at.fields(&["name", "vips", "listeners", "allow", "flow_log"]) else {
        return (None, None);
    };
    let name = name::object_name(&fields.at("name"));
    let vips = vips(&fields.at("vips"), all_vips);
    let listeners = listener::read_all(&fields.at("listeners"), groups);
    let allow = allow::read(&fields);
    let flow_log =
        fields.optional("flow_log").map_or(Some(None), |at| flow_log::of_load_balancer(&at, node_has_log));
    let complete = || {
        let (vips, listeners, allow, flow_log) = (vips?, listeners?, allow?, flow_log?);
        let zone_of = |(vip, zone): &(IpAddr, Option<String>)| Some((*vip, zone.clone()?));
        let vip_zones = vips.iter().filter_map(zone_of).collect();
        let vips = vips.into_iter().map(|(vip, _)| vip).collect();
        if let Some(list) = &allow {
            allow::check(&fields.at("allow"), list, &listeners)?;
        }
        Some(LoadBalancer { vips, vip_zones, listeners, allow, flow_log })
    };
    (name, complete())
}

/// The addresses, each with its zone where it is one zone's.
fn vips(at: &At, all_vips: &mut BTreeMap<IpAddr, String>) -> Option<Vec<(IpAddr, Option<String>)>> {
    let items = at.items("a list of one or more IP addresses")?;
    if items.is_empty() {
        return at.refuse("an empty list; expected one or more IP addresses");
    }
    let vips: Vec<_> = items.iter().map(|item| vip(item, all_vips)).collect();
    vips.into_iter().collect()
}

fn vip(at: &At, all_vips: &mut BTreeMap<IpAddr, String>) -> Option<(IpAddr, Option<String>)> {
    if !at.is_object() {
        return Some((vip_address(at, all_vips)?, None));
    }
    let fields = at.fields(&["address", "zone"])?;
    let address = vip_address(&fields.at("address"), all_vips);
    let zone = name::label(&fields.at("zone"));
    Some((address?, Some(zone?)))
}

fn vip_address(at: &At, all_vips: &mut BTreeMap<IpAddr, String>) -> Option<IpAddr> {
    let address = address::host(at)?;
    if let Some(earlier) = all_vips.get(&address) {
        return at.refuse(format!("{address} is {earlier} already; a VIP is one load balancer's, once"));
    }
    all_vips.insert(address, at.path().to_owned());
    Some(address)
}
