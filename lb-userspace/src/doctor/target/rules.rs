//! From facts to findings: the target. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::Reason;
use lb_common::encapsulation::{ETHERNET, Kind};
use lb_common::reason::Verdict;

use super::{Agent, Facts};
use crate::doctor::attached::Attached;
use crate::doctor::finding::{Cause, Finding};
use crate::doctor::probe::{Service, Transport};
use crate::doctor::vip;
use crate::next_hop::Interface;

/// A client's packet in the smallest encapsulation.
const LEAST_MTU: u16 = 1500 + (Kind::Ipv4.length() - ETHERNET) as u16;
/// Of `rp_filter`.
const STRICT: u32 = 1;
/// What the kernel calls its own tunnels.
const TUNNELS: [&str; 3] = ["ipip", "sit", "ip6tnl"];

/// What is wrong, and what is not, in the order in which a packet would meet it.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![agent(facts)];
    if let Ok(agent) = &facts.agent {
        findings.extend(agent.interfaces.iter().map(|at| interface(facts, at)));
        findings.extend(agent.interfaces.iter().filter_map(|at| mtu(facts.interfaces.get(&at.name)?)));
        findings.extend(drops(facts, agent));
    }
    findings.extend(reverse_path(facts));
    findings.extend(arp(facts));
    findings.extend(vips(facts).into_iter().map(|vip| self::vip(facts, vip)));
    findings
}

fn agent(facts: &Facts) -> Finding {
    let object = "agent";
    match (&facts.agent, tunnels(facts).next()) {
        (Ok(agent), _) => {
            let nodes: Vec<String> = agent.nodes.iter().map(ToString::to_string).collect();
            Finding::sound(object, format!("runs, and takes tunnel packets from {}", nodes.join(", ")))
        }
        (Err(_), Some(tunnel)) => {
            let what = format!("does not run; the kernel's own tunnel {} takes packets", tunnel.name);
            Finding::sound(object, what)
        }
        (Err(why), None) => {
            let mend = "sluice agent --interface INTERFACE --node NODE --vip VIP";
            Finding::new(Cause::AgentMissing, object, format!("no agent answers: {why}"), mend)
        }
    }
}

/// The kernel's own tunnels that are in use.
fn tunnels(facts: &Facts) -> impl Iterator<Item = &Interface> {
    let is_tunnel = |at: &&Interface| at.up && at.kind.as_deref().is_some_and(|kind| TUNNELS.contains(&kind));
    facts.interfaces.values().filter(is_tunnel)
}

fn interface(facts: &Facts, reported: &super::AgentInterface) -> Finding {
    Attached {
        program: "agent",
        name: &reported.name,
        program_id: reported.program_id,
        is_native: reported.mode == "native",
        fallback_reason: None,
        restart: "restart `sluice agent`",
    }
    .judge(facts.interfaces.get(&reported.name))
}

fn mtu(interface: &Interface) -> Option<Finding> {
    if interface.mtu >= LEAST_MTU {
        return None;
    }
    let what = format!(
        "it carries {} bytes, a client's packet of 1500 needs {LEAST_MTU} with IPIP, more with GUE and IPv6: TCP is \
         spared by --mss-clamp, all else gets 'too big' from the node",
        interface.mtu
    );
    let mend = format!("ip link set dev {} mtu 1552, on every link from the nodes", interface.name);
    Some(Finding::new(Cause::MtuSmall, format!("interface {}", interface.name), what, mend))
}

fn drops(facts: &Facts, agent: &Agent) -> Vec<Finding> {
    let dropped = Reason::ALL.iter().filter(|reason| reason.verdict() == Verdict::Dropped);
    dropped
        .filter_map(|reason| Some(self::dropped(agent, *reason, *facts.packets.get(reason.name())?)))
        .collect()
}

fn dropped(agent: &Agent, reason: Reason, packets: u64) -> Finding {
    let list =
        |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let object = format!("reason {}", reason.name());
    let counted = format!("{packets} dropped while the doctor looked");
    match reason {
        Reason::AgentUnknownNode => Finding::new(
            Cause::SourceFiltered,
            object,
            format!("{counted}: tunnel packets come from an address that is none of {}", list(&agent.nodes)),
            "start the agent with --node ADDRESS for every address that nodes send from (`sluice doctor` there names it)",
        ),
        Reason::AgentUnknownVip => Finding::new(
            Cause::VipMissing,
            object,
            format!(
                "{counted}: tunnel packets bring packets for an address that is none of {}",
                list(&agent.vips)
            ),
            "start the agent with --vip ADDRESS for every VIP whose listeners name this target",
        ),
        _ => Finding::new(
            Cause::DropsRising,
            object,
            format!("{counted}: {}", reason.description()),
            "see what nodes send: sluice capture -w /tmp/sent.pcapng --target ADDRESS, on a node",
        ),
    }
}

/// For IPv4 alone: IPv6 has no such filter outside netfilter.
fn reverse_path(facts: &Facts) -> Vec<Finding> {
    if !vips(facts).iter().any(IpAddr::is_ipv4) {
        return vec![];
    }
    let is_strict = |name: &str| facts.settings.get(name).is_some_and(|at| at.rp_filter == STRICT);
    let by_agent = facts.agent.iter().flat_map(|agent| agent.interfaces.iter().map(|at| at.name.as_str()));
    let by_kernel: BTreeSet<&str> = tunnels(facts).map(|at| at.name.as_str()).collect();
    let strict = by_agent.chain(by_kernel.iter().copied()).filter(|name| is_strict(name));
    strict
        .map(|name| {
            let mend = format!("sysctl -w net.ipv4.conf.{}.rp_filter=2", name.replace('.', "/"));
            let object = format!("interface {name}");
            if facts.reverse_path_drops > 0 {
                let what = format!(
                    "its reverse-path filter is strict, and {} packets were dropped by such while the doctor looked",
                    facts.reverse_path_drops
                );
                Finding::new(Cause::RpFilter, object, what, mend)
            } else if by_kernel.contains(name) {
                let what = "the reverse-path filter of this tunnel is strict: the way back to clients is never the tunnel";
                Finding::new(Cause::RpFilter, object, what, mend)
            } else {
                let what = "its reverse-path filter is strict: packets of clients whose way back is another interface \
                            are dropped";
                Finding::new(Cause::RpFilterStrict, object, what, mend)
            }
        })
        .collect()
}

/// Neighbours must not learn this host's MAC address for a VIP. IPv6 needs no setting for that.
fn arp(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let served: Vec<IpAddr> = vips(facts);
    for held in facts.addresses.iter().filter(|held| served.contains(&held.address)) {
        if facts.interfaces.get(&held.interface).is_some_and(has_neighbours) {
            let what = format!("it is on {}, where the host answers for it", held.interface);
            let mend = format!("{}; {}", held.removal(), vip::hold(held.address));
            findings.push(Finding::new(Cause::ArpAnswered, format!("VIP {}", held.address), what, mend));
        }
    }
    if !served.iter().any(IpAddr::is_ipv4) {
        return findings;
    }
    let with = |is_bad: fn(&super::Settings) -> bool| -> Vec<&str> {
        let names =
            facts.settings.iter().filter(|(_, settings)| is_bad(settings)).map(|(name, _)| name.as_str());
        names.filter(|name| facts.interfaces.get(*name).is_some_and(has_neighbours)).collect()
    };
    for (setting, wanted, names, what) in [
        ("arp_ignore", 1, with(|at| at.arp_ignore < 1), "ARP requests for a VIP are answered there"),
        ("arp_announce", 2, with(|at| at.arp_announce < 2), "ARP requests go out in a VIP's name there"),
    ] {
        if !names.is_empty() {
            let object = format!("interface {}", names.join(", "));
            let mend = format!("sysctl -w net.ipv4.conf.all.{setting}={wanted}");
            let what =
                format!("{setting} is less than {wanted}: {what}, so clients' packets may pass the nodes by");
            findings.push(Finding::new(Cause::ArpAnswered, object, what, mend));
        }
    }
    findings
}

fn has_neighbours(interface: &Interface) -> bool {
    interface.up && interface.mac.is_some() && interface.kind.as_deref() != Some("dummy")
}

/// The agent's, or what looks like one where there is none.
fn vips(facts: &Facts) -> Vec<IpAddr> {
    match &facts.agent {
        Ok(agent) => agent.vips.clone(),
        Err(_) => {
            let on_loopback = facts.addresses.iter().filter(|held| held.interface == "lo");
            on_loopback.map(|held| held.address).filter(|address| !address.is_loopback()).collect()
        }
    }
}

fn vip(facts: &Facts, vip: IpAddr) -> Finding {
    let object = format!("VIP {vip}");
    if !facts.addresses.iter().any(|held| held.address == vip) {
        let what =
            "no interface of this host has it: its packets are taken out of the tunnel and thrown away";
        return Finding::new(Cause::VipMissing, object, what, vip::hold(vip));
    }
    let missing: Vec<Service> = facts
        .ports
        .iter()
        .map(|port| Service { vip, port: port.number, transport: port.transport })
        .filter(|service| !facts.listening.iter().any(|at| at.takes(service)))
        .collect();
    if let Some(service) = missing.first() {
        return closed(facts, object, service);
    }
    let served = served(facts, vip);
    if served.is_empty() {
        let what = "nothing on this host listens on any port of it";
        return Finding::new(
            Cause::PortClosed,
            object,
            what,
            "start the server; `ss -ltunp` shows who listens",
        );
    }
    Finding::sound(object, format!("held, and served at {}", served.join(", ")))
}

fn closed(facts: &Facts, object: String, service: &Service) -> Finding {
    let elsewhere: Vec<String> = facts
        .listening
        .iter()
        .filter(|at| at.is_at_port_of(service))
        .map(|at| at.address.to_string())
        .collect();
    let option = if service.transport == Transport::Tcp { "-ltnp" } else { "-lunp" };
    let show = format!("`ss {option} 'sport = :{}'` shows who listens", service.port);
    let (what, mend) = if elsewhere.is_empty() {
        (format!("nothing listens at {service}"), format!("start the server; {show}"))
    } else {
        let what = format!("nothing listens at {service}, only at {} with that port", elsewhere.join(", "));
        (what, format!("let the server listen on all addresses, or on {} too; {show}", service.vip))
    };
    Finding::new(Cause::PortClosed, object, what, mend)
}

/// Such as `80/TCP`; UDP ports on which something talks are listed too.
fn served(facts: &Facts, vip: IpAddr) -> Vec<String> {
    let takes = |at: &&crate::doctor::listening::Listening| {
        at.takes(&Service { vip, port: at.port, transport: at.transport })
    };
    let names = facts.listening.iter().filter(takes).map(|at| match at.transport {
        Transport::Tcp => (at.port, "TCP"),
        Transport::Udp => (at.port, "UDP"),
    });
    let ports: BTreeSet<(u16, &str)> = names.collect();
    ports.into_iter().map(|(port, transport)| format!("{port}/{transport}")).collect()
}

#[cfg(test)]
mod tests;
