//! What differs in load balancers, but for their listeners.

use std::collections::BTreeSet;

use super::difference::{Findings, Sides, Unnamed, change_tags, changed_pairs, listed};
use super::document::{LoadBalancer, Subnet};
use super::making;
use super::order::Phase;
use super::report::{Action, Resource};
use super::step::Step;
use crate::api::domain::records;

/// Finds it.
pub(super) fn find(sides: &Sides, findings: &mut Findings) {
    let mut all: Vec<&LoadBalancer> = sides.document.load_balancers.iter().collect();
    // Who names its VIPs takes them before others are given some.
    all.sort_by_key(|wanted| unnamed_vips(wanted));
    for wanted in all {
        let Some(normal) = sides.normal.load_balancers.get(&wanted.name) else { continue };
        match sides.present.load_balancers.get(&wanted.name) {
            None => make(wanted, Action::Create, summary(wanted), findings),
            Some(present) => match fixed(present, normal, wanted) {
                None => change(present, normal, wanted, findings),
                Some(why) => remake(sides, present, wanted, &why, findings),
            },
        }
    }
    let named: BTreeSet<&str> = sides.document.load_balancers.iter().map(|one| one.name.as_str()).collect();
    for (name, record) in
        sides.present.load_balancers.iter().filter(|(name, _)| !named.contains(name.as_str()))
    {
        let vips = listed_vips(record);
        if sides.unnamed == Unnamed::Goes {
            findings.ended.insert(name.clone());
            findings.add(Phase::DeleteLoadBalancers, [delete(name)]);
            findings.tell(Action::Delete, Resource::LoadBalancer, name, vec![vips]);
        } else {
            findings.tell(Action::Leave, Resource::LoadBalancer, name, vec![vips]);
        }
    }
}

/// How many VIPs are left to the pools.
fn unnamed_vips(wanted: &LoadBalancer) -> usize {
    let of = |subnet: &Subnet| {
        usize::from(subnet.ipv4.is_none() && subnet.allocation.is_none())
            + usize::from(wanted.is_dualstack && subnet.ipv6.is_none())
    };
    wanted.subnets.iter().map(of).sum()
}

fn listed_vips(record: &records::LoadBalancer) -> String {
    let vips: Vec<String> = record
        .zones
        .values()
        .flat_map(|seat| [Some(seat.ipv4.to_string()), seat.ipv6.map(|vip| vip.to_string())])
        .flatten()
        .collect();
    format!("VIPs: {}", vips.join(", "))
}

fn delete(name: &str) -> Step {
    Step::new("DeleteLoadBalancer", "").with_load_balancer("LoadBalancerArn", name)
}

fn make(wanted: &LoadBalancer, action: Action, details: Vec<String>, findings: &mut Findings) {
    findings.add(Phase::MakeLoadBalancers, making::load_balancer(wanted));
    findings.tell(action, Resource::LoadBalancer, &wanted.name, details);
}

fn summary(wanted: &LoadBalancer) -> Vec<String> {
    vec![
        format!("scheme: {}", wanted.scheme.shape().wire()),
        format!("ip_address_type: {}", making::address_type(wanted.is_dualstack)),
        format!("subnets: {}", listed(wanted.subnets.iter().map(|subnet| subnet.id.as_str()))),
    ]
}

/// What of a load balancer can't be changed and would have to be, in words.
fn fixed(
    present: &records::LoadBalancer,
    normal: &records::LoadBalancer,
    wanted: &LoadBalancer,
) -> Option<String> {
    if present.scheme != normal.scheme {
        let (before, after) = (present.scheme.shape().wire(), normal.scheme.shape().wire());
        return Some(format!("its scheme is {before} for life, not {after}"));
    }
    if present.vpc != normal.vpc {
        return Some(format!("it is in {} for life, not in {}", present.vpc, normal.vpc));
    }
    if present.security_groups.is_empty() != normal.security_groups.is_empty() {
        let has = if present.security_groups.is_empty() { "no" } else { "some" };
        return Some(format!("it was made with {has} security groups, and that is for life"));
    }
    let other_address = wanted.subnets.iter().find(|subnet| has_other_address(subnet, present));
    other_address.map(|subnet| format!("its addresses in {} are for life", subnet.id))
}

/// Whether a subnet is to have another address than the load balancer has there.
fn has_other_address(wanted: &Subnet, present: &records::LoadBalancer) -> bool {
    let Some(seat) = present.zones.values().find(|seat| seat.subnet == wanted.id) else { return false };
    wanted.allocation.is_some() && wanted.allocation != seat.allocation
        || wanted.ipv4.as_ref().is_some_and(|vip| vip.parse() != Ok(seat.ipv4))
        || wanted.ipv6.as_ref().is_some_and(|vip| seat.ipv6.is_some_and(|ours| vip.parse() != Ok(ours)))
}

fn remake(
    sides: &Sides,
    present: &records::LoadBalancer,
    wanted: &LoadBalancer,
    why: &str,
    findings: &mut Findings,
) {
    if sides.unnamed == Unnamed::Stays {
        findings.refuse_remaking(&wanted.place, &wanted.name, why);
        return;
    }
    findings.ended.insert(wanted.name.clone());
    findings.add(Phase::DeleteLoadBalancers, [delete(&wanted.name)]);
    let mut details = vec![why.to_owned(), listed_vips(present)];
    details.extend(summary(wanted));
    make(wanted, Action::Remake, details, findings);
}

fn change(
    present: &records::LoadBalancer,
    normal: &records::LoadBalancer,
    wanted: &LoadBalancer,
    findings: &mut Findings,
) {
    let mut details = change_subnets(present, normal, wanted, findings);
    let groups = (&normal.security_groups, normal.guards_private_link);
    if (&present.security_groups, present.guards_private_link) != groups {
        findings.add(Phase::MakeLoadBalancers, [making::security_groups(wanted)]);
        details.extend(security_words(present, normal));
    }
    let (attributes, words) = changed_pairs(present.attributes.pairs(), normal.attributes.pairs());
    if !attributes.is_empty() {
        findings.add(Phase::MakeLoadBalancers, [making::load_balancer_attributes(wanted, &attributes)]);
        details.extend(words);
    }
    let (steps, words) = change_tags(&present.tags, &normal.tags, &wanted.place, |step, parameter| {
        step.with_load_balancer(parameter, &wanted.name)
    });
    findings.add(Phase::MakeLoadBalancers, steps);
    details.extend(words);
    findings.tell(Action::Change, Resource::LoadBalancer, &wanted.name, details);
}

fn security_words(present: &records::LoadBalancer, normal: &records::LoadBalancer) -> Vec<String> {
    let groups = |record: &records::LoadBalancer| listed(record.security_groups.iter().map(String::as_str));
    let mut words = Vec::new();
    if present.security_groups != normal.security_groups {
        words.push(format!("security_groups: {} → {}", groups(present), groups(normal)));
    }
    if present.guards_private_link != normal.guards_private_link {
        let field = "enforce_security_group_inbound_rules_on_private_link_traffic";
        let on = |is_on: bool| if is_on { "on" } else { "off" };
        words.push(format!(
            "{field}: {} → {}",
            on(present.guards_private_link),
            on(normal.guards_private_link)
        ));
    }
    words
}

fn change_subnets(
    present: &records::LoadBalancer,
    normal: &records::LoadBalancer,
    wanted: &LoadBalancer,
    findings: &mut Findings,
) -> Vec<String> {
    let subnets = |record: &records::LoadBalancer| -> BTreeSet<String> {
        record.zones.values().map(|seat| seat.subnet.clone()).collect()
    };
    let (before, after) = (subnets(present), subnets(normal));
    let mut words = Vec::new();
    if before != after {
        let listed = |names: &BTreeSet<String>| listed(names.iter().map(String::as_str));
        words.push(format!("subnets: {} → {}", listed(&before), listed(&after)));
    }
    if present.is_dualstack != normal.is_dualstack {
        let name = making::address_type;
        words.push(format!(
            "ip_address_type: {} → {}",
            name(present.is_dualstack),
            name(normal.is_dualstack)
        ));
    }
    if !words.is_empty() {
        let narrows = present.is_dualstack && !normal.is_dualstack;
        let phase = if narrows { Phase::NarrowLoadBalancers } else { Phase::MakeLoadBalancers };
        let step = Step::new("SetSubnets", &wanted.place)
            .with_load_balancer("LoadBalancerArn", &wanted.name)
            .with("IpAddressType", making::address_type(normal.is_dualstack));
        findings.add(phase, [making::with_subnets(step, &wanted.subnets)]);
    }
    words
}
