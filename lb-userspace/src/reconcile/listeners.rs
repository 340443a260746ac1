//! Listeners: what the data plane must know of each, and which action has its packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_common::flow::{TCP, UDP};
use lb_common::flow_table::Tick;
use lb_common::listener::Listener as ListenerValue;

use super::action::{self, Action};
use super::policies;
use super::reconciler::Reconciler;
use super::succession::Entry;
use crate::model::{Desired, Listener, ListenerPort, Policy, Protocol, Stickiness, TargetGroup, UdpTracking};

/// What `LISTENERS` holds.
pub(super) type ListenerValues = BTreeMap<Entry, ListenerValue>;

/// A listener's name: its load balancer, protocol and port.
pub(super) type ListenerName = (String, Protocol, ListenerPort);

impl Reconciler {
    /// Gives the forward actions and listeners that are there now their numbers and policies; the indices of the
    /// actions that are to be refreshed.
    pub(super) fn follow_listeners(&mut self, now: Instant) -> BTreeSet<u32> {
        let named: BTreeSet<ListenerName> =
            self.listeners().map(|(name, _, listener)| listener_name(name, listener)).collect();
        self.counters.retain(|name| named.contains(name));
        for name in named {
            self.counters.of(&name).expect("`check_room` has counted the listeners");
        }
        self.policies = policies_of(&self.desired);
        self.listener_values.clear();
        let wanted = listeners_of(&self.desired)
            .flat_map(|(_, vips, listener)| entries(vips, listener).map(|entry| (entry, &listener.forward)));
        let size = |forward: &_| action::new_size(forward, &self.desired, &self.registry).slots();
        self.actions.follow(&wanted.collect(), size, now)
    }

    /// Takes over the idle time-outs; the indices of the actions that must be refreshed: new ones, those with another
    /// time-out, and those that are `concerned` by something else.
    pub(super) fn renew_idles(&mut self, concerned: impl Fn(&Action) -> bool) -> BTreeSet<u32> {
        let idles = self.idles();
        let mut stale = BTreeSet::new();
        for action in self.actions.iter_mut() {
            let idle = idles.get(&action.index).copied().unwrap_or_default();
            if action.slots().is_none() || action.idle != idle || concerned(action) {
                action.idle = idle;
                stale.insert(action.index);
            }
        }
        stale
    }

    /// Renews the values of the `concerned` listeners.
    pub(super) fn renew_listeners(&mut self, concerned: impl Fn(&Listener) -> bool) {
        let mut renewed = Vec::new();
        for (name, vips, listener) in self.listeners().filter(|(_, _, listener)| concerned(listener)) {
            for entry in entries(vips, listener) {
                renewed.push((entry, self.listener_value(name, listener, entry)));
            }
        }
        self.listener_values.extend(renewed);
    }

    pub(super) fn listeners(&self) -> impl Iterator<Item = (&str, &[IpAddr], &Listener)> {
        listeners_of(&self.desired)
    }

    /// The forward actions that have the packets of a listener of a load balancer with these VIPs: one, unless they
    /// have other pasts.
    pub fn actions_of(&self, vips: &[IpAddr], listener: &Listener) -> Vec<&Action> {
        let actions = entries(vips, listener).filter_map(|entry| self.actions.of(&entry));
        let by_index: BTreeMap<u32, &Action> = actions.map(|action| (action.index, action)).collect();
        by_index.into_values().collect()
    }

    /// What the data plane must know of a listener for one of its entries.
    fn listener_value(&self, load_balancer: &str, listener: &Listener, entry: Entry) -> ListenerValue {
        let (_, _, protocol) = entry;
        let groups = self.groups_of(listener);
        let tracking = groups.clone().map(|group| group.udp_tracking).next().unwrap_or(UdpTracking::Changed);
        ListenerValue {
            forward: self.actions.of(&entry).expect("every entry has an action").index,
            counter: self.counter(load_balancer, listener).unwrap_or_default(),
            idle: Tick::covering_seconds(self.idle_of(listener, protocol).as_secs()),
            tracking: match tracking {
                _ if protocol == TCP => ListenerValue::TRACK_CHANGED,
                UdpTracking::Changed => ListenerValue::TRACK_CHANGED,
                UdpTracking::Always => ListenerValue::TRACK_ALWAYS,
                UdpTracking::Never => ListenerValue::TRACK_NEVER,
            },
            flags: flags(listener, groups, protocol)
                | self.policy_flag(load_balancer, listener, protocol)
                | self.log_flag(load_balancer),
        }
    }

    fn groups_of<'a>(&'a self, listener: &'a Listener) -> impl Iterator<Item = &'a TargetGroup> + Clone {
        listener.forward.0.iter().map(|part| &*self.desired.target_groups[&part.target_group])
    }

    /// How long a flow of the listener lives without a packet, of this transport protocol.
    fn idle_of(&self, listener: &Listener, protocol: u8) -> Duration {
        let of_groups =
            |idle: fn(&TargetGroup) -> Duration| self.groups_of(listener).map(idle).max().unwrap_or_default();
        match listener.idle_timeout {
            _ if protocol != TCP => of_groups(|group| group.udp_idle_timeout),
            Some(own) => own,
            None => of_groups(|group| group.idle_timeout),
        }
    }

    /// How long a flow lives without a packet, by forward action: the longest of its listeners'.
    fn idles(&self) -> BTreeMap<u32, Duration> {
        let mut idles: BTreeMap<u32, Duration> = BTreeMap::new();
        for (_, vips, listener) in self.listeners() {
            let protocols = protocol_numbers(listener.protocol).iter();
            let idle = protocols.map(|protocol| self.idle_of(listener, *protocol)).max().unwrap_or_default();
            for action in self.actions_of(vips, listener) {
                let longest = idles.entry(action.index).or_default();
                *longest = idle.max(*longest);
            }
        }
        idles
    }

    fn policy_flag(&self, load_balancer: &str, listener: &Listener, protocol: u8) -> u32 {
        let policy = self.policies.get(&listener_name(load_balancer, listener));
        if policy.is_some_and(|policy| policy.concerns(protocol)) { ListenerValue::FLAG_POLICY } else { 0 }
    }

    fn log_flag(&self, load_balancer: &str) -> u32 {
        let load_balancer = self.desired.load_balancers.get(load_balancer);
        let is_wanted = load_balancer.is_some_and(|load_balancer| load_balancer.flow_log.is_some());
        if is_wanted && self.desired.node.flow_log.is_some() { ListenerValue::FLAG_LOGGED } else { 0 }
    }

    /// A listener's index in `LISTENER_COUNTERS`.
    pub fn counter(&self, load_balancer: &str, listener: &Listener) -> Option<u16> {
        let number = self.counters.get(&listener_name(load_balancer, listener))?;
        u16::try_from(number).ok()
    }
}

fn listeners_of(desired: &Desired) -> impl Iterator<Item = (&str, &[IpAddr], &Listener)> {
    desired.load_balancers.iter().flat_map(|(name, load_balancer)| {
        let vips = load_balancer.vips.as_slice();
        load_balancer.listeners.iter().map(move |listener| (name.as_str(), vips, listener))
    })
}

/// What of `LISTENERS` is a listener's, of a load balancer with these VIPs.
pub(super) fn entries<'a>(
    vips: &'a [IpAddr],
    listener: &'a Listener,
) -> impl Iterator<Item = Entry> + use<'a> {
    let port = port_number(listener.port);
    let protocols = protocol_numbers(listener.protocol).iter();
    protocols.flat_map(move |protocol| vips.iter().map(move |vip| (*vip, port, *protocol)))
}

fn policies_of(desired: &Desired) -> BTreeMap<ListenerName, Policy> {
    let named = desired.load_balancers.iter().flat_map(|(name, load_balancer)| {
        let names = load_balancer.listeners.iter().map(|listener| listener_name(name, listener));
        names.zip(policies::of(load_balancer))
    });
    named.filter(|(_, policy)| *policy != Policy::default()).collect()
}

pub(super) fn listener_name(load_balancer: &str, listener: &Listener) -> ListenerName {
    (load_balancer.to_owned(), listener.protocol, listener.port)
}

/// The port of a listener in `LISTENERS`.
fn port_number(port: ListenerPort) -> u16 {
    match port {
        ListenerPort::Port(port) => port,
        ListenerPort::Any => 0,
    }
}

/// The transport protocols of a listener: an entry of `LISTENERS` each, with one action and one counter.
pub(super) fn protocol_numbers(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Tcp => &[TCP],
        Protocol::Udp | Protocol::Quic => &[UDP],
        Protocol::TcpUdp => &[TCP, UDP],
    }
}

fn flags<'a>(listener: &Listener, mut groups: impl Iterator<Item = &'a TargetGroup>, protocol: u8) -> u32 {
    let when = |condition: bool, flag: u32| if condition { flag } else { 0 };
    when(groups.any(|group| group.stickiness == Stickiness::SourceIp), ListenerValue::FLAG_SOURCE_AFFINITY)
        | when(listener.protocol == Protocol::Quic, ListenerValue::FLAG_QUIC)
        | when(listener.port == ListenerPort::Any && protocol == UDP, ListenerValue::FLAG_LEAVES_TUNNELS)
}
