//! Which probes are sent: one for each service and target that a listener may give packets. Pure.

use std::net::IpAddr;

use lb_common::encapsulation::{ETHERNET, Kind};

use super::{Facts, Outcome, Probed};
use crate::doctor::kernel::Held;
use crate::doctor::probe::{Answer, Probe, Service, Transport};
use crate::model::Encapsulation;
use crate::next_hop::NextHop;
use crate::status::report::{ListenerReport, Report, TargetGroupReport, TargetReport};

/// A packet of a client behind the usual Ethernet.
pub(super) const CLIENT_MTU: u16 = 1500;
/// A full packet is worth a try only if it is more than headers.
const LEAST_FULL: u16 = 128;

/// A service at a target, with the probes that say something of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) target_group: String,
    pub(super) target: IpAddr,
    pub(super) service: Service,
    /// The probe; or why there can't be one.
    pub(super) probe: Result<Probe, String>,
    /// UDP: a SYN to the same VIP, which is answered whatever it is that UDP serves.
    pub(super) companion: Option<Probe>,
}

impl Planned {
    /// The probes of all plans in one list, so that they can be sent together.
    pub(super) fn probes(&self) -> impl Iterator<Item = Probe> {
        self.probe.iter().copied().chain(self.companion)
    }

    /// What the answers to [`Planned::probes`], which are taken from the list, say.
    pub(super) fn conclude(self, answers: &mut impl Iterator<Item = Answer>) -> Probed {
        let missing = || Answer::NotSent("there is no answer".to_owned());
        let answer = match &self.probe {
            Ok(_) => answers.next().unwrap_or_else(missing),
            Err(why) => Answer::NotSent(why.clone()),
        };
        let companion = self.companion.map(|_| answers.next().unwrap_or_else(missing));
        let outcome = match (answer, companion) {
            (Answer::Silent, Some(Answer::Served | Answer::Refused)) => Outcome::Unconfirmed,
            // The kernel tells of closed UDP ports only so often; a tunnel that nobody takes is told for both.
            (Answer::Silent, Some(companion)) => Outcome::Answered(companion),
            (answer, _) => Outcome::Answered(answer),
        };
        let Planned { target_group, target, service, .. } = self;
        Probed { target_group, target, service, outcome }
    }
}

/// Every service at every target that is meant to serve and that the node has a way to.
pub(super) fn plan(facts: &Facts) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (vips, listener) in listeners(&facts.report) {
        for (name, group) in groups(&facts.report, listener) {
            for target in group.targets.iter().filter(|target| is_meant_to_serve(target)) {
                let Some(Ok(way)) = facts.ways.get(&target.id) else { continue };
                for service in services(vips, listener, group) {
                    planned.push(one(facts, name, group, target.id, way, service));
                }
            }
        }
    }
    planned.sort_by(|a, b| key(a).cmp(&key(b)));
    planned.dedup_by(|a, b| key(a) == key(b));
    planned
}

fn key(planned: &Planned) -> (&str, IpAddr, Service) {
    (&planned.target_group, planned.target, planned.service)
}

fn one(
    facts: &Facts,
    name: &str,
    group: &TargetGroupReport,
    target: IpAddr,
    way: &NextHop,
    service: Service,
) -> Planned {
    let client = client(facts, way, service.vip);
    let probe = client.map(|client| Probe {
        source: way.source,
        target,
        encapsulation: encapsulation(group),
        client,
        service,
        length: None,
    });
    let syn = Service { transport: Transport::Tcp, ..service };
    let companion = probe.as_ref().ok().filter(|_| service.transport == Transport::Udp);
    let companion = companion.map(|probe| Probe { service: syn, ..*probe });
    Planned { target_group: name.to_owned(), target, service, probe, companion }
}

/// The address that the probe's answer comes back to.
fn client(facts: &Facts, way: &NextHop, vip: IpAddr) -> Result<IpAddr, String> {
    if way.source.is_ipv4() == vip.is_ipv4() {
        return Ok(way.source);
    }
    let is_fit = |held: &&Held| {
        held.address.is_ipv4() == vip.is_ipv4()
            && is_reachable(held.address)
            && !is_vip(&facts.report, held.address)
    };
    let fit = || facts.addresses.iter().filter(is_fit);
    let near = fit().find(|held| held.interface == way.interface_name).or_else(|| fit().next());
    near.map(|held| held.address).ok_or_else(|| {
        let family = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
        format!("the node has no {family} address of its own that the answer could come back to")
    })
}

/// The same tunnel from every other address of the node that is of the target's family.
pub(super) fn from_elsewhere(facts: &Facts, probe: Probe) -> Vec<Probe> {
    let others = facts.addresses.iter().map(|held| held.address).filter(|address| {
        *address != probe.source
            && address.is_ipv4() == probe.target.is_ipv4()
            && is_reachable(*address)
            && !is_vip(&facts.report, *address)
    });
    others.map(|source| Probe { source, ..probe }).collect()
}

/// The probe with the largest packet of a client that should fit; none if nothing is known of that.
pub(super) fn full(way: &NextHop, probe: Probe) -> Option<Probe> {
    let length = way.mtu.saturating_sub(overhead(probe.target, probe.encapsulation)).min(CLIENT_MTU);
    (length >= LEAST_FULL).then_some(Probe { length: Some(length), ..probe })
}

/// Bytes of the outer headers.
pub(super) fn overhead(target: IpAddr, encapsulation: Encapsulation) -> u16 {
    let kind = match (target, encapsulation) {
        (IpAddr::V4(_), Encapsulation::Ipip) => Kind::Ipv4,
        (IpAddr::V6(_), Encapsulation::Ipip) => Kind::Ipv6,
        (IpAddr::V4(_), Encapsulation::Gue) => Kind::Ipv4Gue,
        (IpAddr::V6(_), Encapsulation::Gue) => Kind::Ipv6Gue,
    };
    (kind.length() - ETHERNET) as u16
}

pub(super) fn encapsulation(group: &TargetGroupReport) -> Encapsulation {
    if group.encapsulation == "gue" { Encapsulation::Gue } else { Encapsulation::Ipip }
}

/// All listeners with their VIPs.
pub(super) fn listeners(report: &Report) -> impl Iterator<Item = (&[IpAddr], &ListenerReport)> {
    report.load_balancers.values().flat_map(|at| at.listeners.iter().map(|listener| (&at.vips[..], listener)))
}

/// A listener's target groups with their names.
pub(super) fn groups<'a>(
    report: &'a Report,
    listener: &'a ListenerReport,
) -> impl Iterator<Item = (&'a str, &'a TargetGroupReport)> {
    let group = |name: &'a str| report.target_groups.get(name).map(|group| (name, group));
    listener.forward.iter().filter_map(move |part| group(&part.target_group))
}

fn services(vips: &[IpAddr], listener: &ListenerReport, group: &TargetGroupReport) -> Vec<Service> {
    let transports: &[Transport] = match listener.protocol.as_str() {
        "TCP" => &[Transport::Tcp],
        "TCP_UDP" => &[Transport::Tcp, Transport::Udp],
        _ => &[Transport::Udp],
    };
    // A listener of any port is tried at its group's.
    let port = listener.port.parse().unwrap_or(group.port);
    let all = vips.iter().flat_map(|vip| transports.iter().map(move |transport| (*vip, *transport)));
    all.map(|(vip, transport)| Service { vip, port, transport }).collect()
}

/// Whether the target should take new flows.
pub(super) fn is_meant_to_serve(target: &TargetReport) -> bool {
    !matches!(target.state.as_str(), "unused" | "draining")
}

/// Whether the address is a VIP.
pub(super) fn is_vip(report: &Report, address: IpAddr) -> bool {
    report.load_balancers.values().any(|at| at.vips.contains(&address))
}

fn is_reachable(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !is_link_local
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::{facts, service, way};
    use super::*;

    #[test]
    fn every_service_is_tried_at_every_target_that_should_serve() {
        let mut facts = facts();
        let shown = |facts: &Facts| -> Vec<String> {
            plan(facts).iter().map(|at| format!("{} {} {}", at.target_group, at.target, at.service)).collect()
        };
        assert_eq!(
            shown(&facts),
            [
                "web 10.0.0.1 192.0.2.1:80/TCP",
                "web 10.0.0.1 [2001:db8::1]:80/TCP",
                "web 10.0.0.2 192.0.2.1:80/TCP",
                "web 10.0.0.2 [2001:db8::1]:80/TCP"
            ]
        );
        let targets = &mut facts.report.target_groups.get_mut("web").unwrap().targets;
        targets[0].state = "draining".into();
        facts.ways.remove(&"10.0.0.2".parse().unwrap());
        assert!(shown(&facts).is_empty());
    }

    #[test]
    fn answers_come_back_to_an_address_of_the_vips_family() {
        let mut facts = facts();
        let clients = |facts: &Facts| -> Vec<Result<String, String>> {
            let first = plan(facts).into_iter().take(2);
            first.map(|at| at.probe.map(|probe| probe.client.to_string())).collect()
        };
        assert_eq!(clients(&facts), [Ok("10.0.0.100".into()), Ok("fd00::100".into())]);
        facts.addresses.retain(|held| held.address.is_ipv4());
        let alone = clients(&facts);
        assert!(alone[1].as_ref().is_err_and(|why| why.contains("no IPv6 address")), "{alone:?}");
    }

    #[test]
    fn a_silent_udp_service_is_judged_by_a_syn_to_the_same_vip() {
        let mut facts = facts();
        facts.report.load_balancers.get_mut("web").unwrap().listeners[0].protocol = "UDP".into();
        let outcome = |answers: [Answer; 2]| {
            let planned = plan(&facts).remove(0);
            assert_eq!(planned.probes().count(), 2);
            planned.conclude(&mut answers.into_iter()).outcome
        };
        assert_eq!(outcome([Answer::Silent, Answer::Refused]), Outcome::Unconfirmed);
        assert_eq!(outcome([Answer::Refused, Answer::Served]), Outcome::Answered(Answer::Refused));
        assert_eq!(outcome([Answer::Silent, Answer::NoTunnel]), Outcome::Answered(Answer::NoTunnel));
        assert_eq!(outcome([Answer::Silent, Answer::Silent]), Outcome::Answered(Answer::Silent));
    }

    #[test]
    fn a_full_packet_is_a_clients_or_what_the_way_carries() {
        let probe = plan(&facts()).remove(0).probe.unwrap();
        let length = |mtu| full(&NextHop { mtu, ..way() }, probe).and_then(|probe| probe.length);
        assert_eq!([9000, 1520, 1500, 100].map(length), [Some(1500), Some(1500), Some(1480), None]);
        let gue = Probe { encapsulation: Encapsulation::Gue, ..probe };
        assert_eq!(full(&NextHop { mtu: 1500, ..way() }, gue).and_then(|probe| probe.length), Some(1472));
    }

    #[test]
    fn other_sources_are_the_nodes_own_of_the_targets_family() {
        let probe = plan(&facts()).remove(0).probe.unwrap();
        let others: Vec<IpAddr> = from_elsewhere(&facts(), probe).iter().map(|probe| probe.source).collect();
        assert_eq!(others, ["10.0.0.101".parse::<IpAddr>().unwrap()]);
        assert_eq!(probe.service, service("192.0.2.1"));
    }
}
