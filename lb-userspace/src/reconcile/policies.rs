//! What stands before each listener: the rules of its load balancer that speak of it, as prefixes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_common::flow::{TCP, UDP};

use crate::model::{AllowList, AllowedSources, Desired, Listener, LoadBalancer, Policy};

/// The policies of a load balancer's listeners, in their order. Listeners of which the same rules speak share the
/// prefixes.
pub(super) fn of(load_balancer: &LoadBalancer) -> Vec<Policy> {
    let mut known: BTreeMap<Vec<usize>, Arc<AllowedSources>> = BTreeMap::new();
    let mut half = |listener: &Listener, protocol: u8| {
        let list = load_balancer.allow.as_ref()?;
        let rules: Vec<usize> =
            (0..list.0.len()).filter(|rule| list.0[*rule].speaks_of(protocol, listener.port)).collect();
        let sources = known.entry(rules).or_insert_with_key(|rules| Arc::new(sources(list, rules)));
        Some(Arc::clone(sources))
    };
    let mut policy = |listener: &Listener| Policy {
        tcp: if listener.protocol.has_tcp() { half(listener, TCP) } else { None },
        udp: if listener.protocol.has_udp() { half(listener, UDP) } else { None },
        limits: listener.limits,
    };
    load_balancer.listeners.iter().map(&mut policy).collect()
}

fn sources(list: &AllowList, rules: &[usize]) -> AllowedSources {
    let mut sources = AllowedSources::default();
    for rule in rules {
        for source in &list.0[*rule].sources {
            sources.0.entry(*source).or_insert(*rule as u32);
        }
    }
    sources
}

/// How many prefixes all listeners together need, equal lists counted once.
pub(super) fn count(desired: &Desired) -> usize {
    let policies = desired.load_balancers.values().flat_map(|load_balancer| of(load_balancer));
    let lists: BTreeSet<Arc<AllowedSources>> =
        policies.flat_map(|policy| [policy.tcp, policy.udp]).flatten().collect();
    lists.iter().map(|list| list.0.len()).sum()
}
