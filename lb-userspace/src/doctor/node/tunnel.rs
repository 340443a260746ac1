//! From facts to findings: what the probes of one target say together. Pure.
//!
//! ```text
//!   ICMP from the target: no such protocol ─► agent missing
//!   RST, ICMP: no such port ────────────────► port closed
//!   silence ─► another port of the VIP answers ──────────────► a filter on the port
//!           ─► another VIP answers ──────────────────────────► VIP missing
//!           ─► answers to another address of the node ───────► source filtered
//!           ─► no direct connection either ──────────────────► target or neighbour silent
//!           ─► a direct connection ──────────────────────────► only the target can tell
//!   all answer, a full packet does not ─► path MTU
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::plan::{encapsulation, overhead};
use super::way::{Case, neighbour_mended};
use super::{Outcome, Probed};
use crate::doctor::finding::{Cause, Finding};
use crate::doctor::probe::{Answer, Service, Transport};
use crate::doctor::vip;
use crate::next_hop::NextHop;

impl Case<'_> {
    /// What the probes say; nothing, if packets come through.
    pub(super) fn tunnel(&self, way: &NextHop) -> Vec<Finding> {
        let mine: Vec<&Probed> = self.probed().collect();
        let with = |wanted: fn(&Answer) -> bool| -> Vec<&Probed> {
            let is_so = |at: &&&Probed| matches!(&at.outcome, Outcome::Answered(answer) if wanted(answer));
            mine.iter().filter(is_so).copied().collect()
        };
        if !with(|answer| *answer == Answer::NoTunnel).is_empty() {
            return vec![self.agent_missing(way)];
        }
        let mut findings = Vec::new();
        findings.extend(
            self.undelivered(&with(|answer| matches!(answer, Answer::Undelivered(_) | Answer::TooBig(_)))),
        );
        findings.extend(self.silent(&mine, &with(|answer| *answer == Answer::Silent), way));
        findings.extend(self.closed(&with(|answer| *answer == Answer::Refused)));
        findings.extend(self.not_sent(&with(|answer| matches!(answer, Answer::NotSent(_)))));
        findings.extend(self.path_mtu());
        findings
    }

    pub(super) fn probed(&self) -> impl Iterator<Item = &Probed> {
        self.facts.probed.iter().filter(|at| at.target_group == self.name && at.target == self.target.id)
    }

    fn agent_missing(&self, way: &NextHop) -> Finding {
        let vips: Vec<String> = self.vips().iter().map(|vip| format!(" --vip {vip}")).collect();
        let what = format!(
            "it answers that nothing there takes {} packets: its agent does not run{}",
            self.tunnel_name(),
            self.aside()
        );
        let mend = format!(
            "on {}: sluice agent --interface INTERFACE --node {}{}",
            self.target.id,
            way.source,
            vips.concat()
        );
        self.finding(Cause::AgentMissing, what, mend)
    }

    fn undelivered(&self, undelivered: &[&Probed]) -> Option<Finding> {
        let first = undelivered.first()?;
        let words = match &first.outcome {
            Outcome::Answered(Answer::Undelivered(words)) => words.clone(),
            _ => "a router on the way says that a packet without any data is too big for it".to_owned(),
        };
        let what = format!(
            "tunnel packets for {} are not delivered: {words}{}",
            services(undelivered),
            self.aside()
        );
        Some(self.finding(Cause::TargetSilent, what, format!("traceroute -n {}", self.target.id)))
    }

    fn silent(&self, mine: &[&Probed], silent: &[&Probed], way: &NextHop) -> Vec<Finding> {
        let reached: BTreeSet<IpAddr> =
            mine.iter().filter(|at| at.outcome.reached()).map(|at| at.service.vip).collect();
        if silent.is_empty() {
            return vec![];
        }
        if reached.is_empty() {
            return vec![self.wholly_silent(silent, way)];
        }
        let is_reached = |at: &&&Probed| reached.contains(&at.service.vip);
        let (ports, vips): (Vec<&Probed>, Vec<&Probed>) = silent.iter().partition(is_reached);
        let mut findings = Vec::new();
        if !ports.is_empty() {
            findings.push(self.port_silent(&ports));
        }
        if !vips.is_empty() {
            findings.push(self.vip_missing(&vips, &reached));
        }
        findings
    }

    fn port_silent(&self, silent: &[&Probed]) -> Finding {
        let what = format!(
            "it answers on the VIP, but not at {}: a filter drops it, or the server's queue is full{}",
            services(silent),
            self.aside()
        );
        let mend = format!("on {}: `ss -ltn` (Recv-Q at its limit?), `nft list ruleset`", self.target.id);
        self.finding(Cause::PortSilent, what, mend)
    }

    fn vip_missing(&self, silent: &[&Probed], reached: &BTreeSet<IpAddr>) -> Finding {
        let vips: BTreeSet<IpAddr> = silent.iter().map(|at| at.service.vip).collect();
        let mut what = format!(
            "through the same tunnel it answers on {}, but not on {}: it does not hold it, or its agent does not take \
             packets for it",
            list(reached),
            list(&vips)
        );
        if !vips.iter().any(|vip| reached.iter().any(|other| vip.is_ipv4() == other.is_ipv4())) {
            what += "; or it has no way back in that family";
        }
        let commands: Vec<String> = vips.iter().map(|vip| vip::hold(*vip)).collect();
        let options: Vec<String> = vips.iter().map(|vip| format!("--vip {vip}")).collect();
        let mend =
            format!("on {}: {}; its agent needs {}", self.target.id, commands.join("; "), options.join(" "));
        self.finding(Cause::VipMissing, what + &self.aside(), mend)
    }

    fn wholly_silent(&self, silent: &[&Probed], way: &NextHop) -> Finding {
        let key = (self.name.to_owned(), self.target.id);
        let id = self.target.id;
        if let Some(other) = self.facts.other_sources.get(&key) {
            let what = format!(
                "it answers nothing that comes from {}, but does what comes from {other}: its agent does not know \
                 this node by the address that it sends from{}",
                way.source,
                self.aside()
            );
            let mend = format!("on {id}: start the agent with --node {} too", way.source);
            return self.finding(Cause::SourceFiltered, what, mend);
        }
        match self.facts.direct.get(&key) {
            Some(Some(problem)) if way.neighbour_silent => {
                let what =
                    format!("its neighbour on {} is silent: {problem}{}", way.interface_name, self.aside());
                self.finding(Cause::NoNeighbour, what, neighbour_mended(id, &way.interface_name))
            }
            Some(Some(problem)) => {
                let what = format!("it answers nothing: no tunnel packet, and {problem}{}", self.aside());
                self.finding(
                    Cause::TargetSilent,
                    what,
                    format!("start {id}, or find where the way ends: traceroute -n {id}"),
                )
            }
            _ => {
                let is_known = self.target.agent.as_ref().is_some_and(|agent| agent.state == "present");
                let causes = if is_known {
                    "its agent knows this node, so it does not hold the VIP, or its reverse-path filter or a firewall \
                     drops it"
                        .to_owned()
                } else {
                    format!(
                        "its agent does not know {}, it does not hold the VIP, its reverse-path filter or a firewall \
                         drops it",
                        way.source
                    )
                };
                let what = format!(
                    "it answers directly, but nothing that comes by {} for {}: {causes}{}",
                    self.tunnel_name(),
                    services(silent),
                    self.aside()
                );
                self.finding(Cause::TunnelSilent, what, format!("on {id}: sluice doctor --target"))
            }
        }
    }

    fn closed(&self, refused: &[&Probed]) -> Option<Finding> {
        let first = refused.first()?.service;
        let option = if first.transport == Transport::Tcp { "-ltnp" } else { "-lunp" };
        let what = format!("nothing listens at {}{}", services(refused), self.aside());
        let mend = format!(
            "on {}: start the server, on all addresses or on the VIP; `ss {option} 'sport = :{}'` shows who listens",
            self.target.id, first.port
        );
        Some(self.finding(Cause::PortClosed, what, mend))
    }

    fn not_sent(&self, unsent: &[&Probed]) -> Option<Finding> {
        let first = unsent.first()?;
        let Outcome::Answered(Answer::NotSent(why)) = &first.outcome else { return None };
        let what = format!("{} could not be tried: {why}", services(unsent));
        let family = if first.service.vip.is_ipv4() { "IPv4" } else { "IPv6" };
        let mend = format!("ip address add {family}-ADDRESS/PREFIX dev INTERFACE, or ask from a client");
        Some(self.finding(Cause::NotProbed, what, mend))
    }

    fn path_mtu(&self) -> Option<Finding> {
        let (length, answer) = self.facts.full.get(&(self.name.to_owned(), self.target.id))?;
        let outer = length + overhead(self.target.id, encapsulation(self.group));
        let told = match answer {
            Answer::Silent => "is lost".to_owned(),
            Answer::TooBig(bytes) => format!("is too big for a link that carries {bytes}"),
            Answer::Undelivered(words) => format!("is not delivered ({words})"),
            Answer::NotSent(words) => format!("can't be sent ({words})"),
            Answer::Served | Answer::Refused | Answer::NoTunnel => return None,
        };
        let what = format!(
            "small packets come through, but one of {length} bytes ({outer} with its encapsulation), which the node \
             takes to fit, {told}"
        );
        let least = match answer {
            Answer::TooBig(bytes) => bytes.to_string(),
            _ => "BYTES".to_owned(),
        };
        let mend = format!(
            "let every link to it carry {outer} bytes (ip link set dev LINK mtu {outer}), or say what it does: ip route \
             replace {} via ROUTER mtu {least}",
            self.target.id
        );
        Some(self.finding(Cause::PathMtu, what, mend))
    }
}

/// The services, each once.
pub(super) fn services(probed: &[&Probed]) -> String {
    list(&probed.iter().map(|at| at.service).collect::<BTreeSet<Service>>())
}

fn list<T: std::fmt::Display>(items: &BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
