//! A lab whose router runs FRR, and knows no way to the VIPs but what it is told.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::{binary, output_of};
use lab::router::{Configuration, Frr, Neighbour};
use lab::{Lab, wait};
use lb_userspace::status::report::{AnnouncementReport, Report};
use serde_json::{Value, json};

/// How long a change may take until it is seen, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const ROUTER_AS: u32 = 65000;
const NODE_AS: u32 = 65001;
/// The router on the nodes' network.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 202, 0, 1);

pub(crate) struct World {
    pub(crate) lab: Lab,
    frr: Frr,
}

impl World {
    /// Everything runs, but no controller yet.
    pub(crate) fn new(nodes: u8, targets: u8) -> Result<World> {
        let mut lab = Lab::builder().nodes(nodes).targets(targets).build()?;
        lab.route_vips(&[])?;
        let neighbours = lab.nodes.iter().map(|node| Neighbour::new(node.v4.into(), ROUTER.into(), NODE_AS));
        let configuration =
            Configuration { local_as: ROUTER_AS, router_id: ROUTER, neighbours: neighbours.collect() };
        let frr = Frr::start(&lab.router, &configuration)?;
        lab.start_servers()?;
        lab.start_agents()?;
        Ok(World { lab, frr })
    }

    /// Starts each node's controller with its configuration, which `change` has changed, and with one hash key for all:
    /// a connection that the router moves to another node stays on its target.
    pub(crate) fn start(&mut self, change: impl Fn(usize, &mut Value)) -> Result<()> {
        let all = (0..self.lab.nodes.len()).map(|node| self.configuration(node, &change));
        let all: Vec<Value> = all.collect();
        self.lab.start_nodes_each(|_, node| all[node].clone())
    }

    /// A node's configuration, which `change` has changed.
    pub(crate) fn configuration(&self, node: usize, change: impl Fn(usize, &mut Value)) -> Value {
        let mut configuration = self.lab.configuration();
        let at = &self.lab.nodes[node];
        configuration["announce"] = json!({ "drain_seconds": 2, "bgp": { "local_as": NODE_AS, "peers": [
            { "address": ROUTER, "source": at.v4, "remote_as": ROUTER_AS, "next_hop_ipv6": at.v6 } ] } });
        change(node, &mut configuration);
        configuration
    }

    /// Waits until the router's kernel sends packets of `vip` to just these nodes.
    pub(crate) fn until_routed(&self, vip: IpAddr, nodes: &[usize]) -> Result<()> {
        wait::until(&format!("{vip} by the nodes {nodes:?}"), PATIENCE, || self.is_routed(vip, nodes))
    }

    /// Whether it does.
    pub(crate) fn is_routed(&self, vip: IpAddr, nodes: &[usize]) -> Result<()> {
        let family = if vip.is_ipv4() { "-4" } else { "-6" };
        let route = self.lab.router.ip(&format!("{family} route show {vip}"))?;
        let words: Vec<&str> = route.split_whitespace().collect();
        let found: BTreeSet<&str> =
            words.windows(2).filter(|words| words[0] == "via").map(|words| words[1]).collect();
        let own = |node: &usize| {
            let node = &self.lab.nodes[*node];
            if vip.is_ipv4() { node.v4.to_string() } else { node.v6.to_string() }
        };
        let wanted: Vec<String> = nodes.iter().map(own).collect();
        ensure!(
            found == wanted.iter().map(String::as_str).collect(),
            "the route to {vip} is {route:?}, not by {wanted:?}"
        );
        Ok(())
    }

    /// Waits until a node says of a VIP that it is in this state.
    pub(crate) fn until_state(&self, node: usize, vip: IpAddr, state: &str) -> Result<AnnouncementReport> {
        let report = self.lab.wait_for(node, &format!("{vip} {state}"), PATIENCE, |report| {
            let found = announcement(report, vip)?;
            ensure!(found.state == state, "{vip} is {} ({:?})", found.state, found.reason);
            Ok(())
        })?;
        announcement(&report, vip).cloned()
    }

    /// What a command of a node's operator says.
    pub(crate) fn order(&self, node: usize, arguments: &[&str]) -> Result<String> {
        let node = &self.lab.nodes[node];
        let mut command = Command::new(binary("sluice")?);
        command.args(arguments).arg("--runtime-directory").arg(node.runtime_directory()?);
        node.host.enter(|| output_of(&mut command))
    }

    /// Plays a story, and shows lab and router when it fails.
    pub(crate) fn play(mut self, story: impl FnOnce(&mut World) -> Result<()>) {
        if let Err(error) = story(&mut self) {
            panic!("{:#}\n{}", self.lab.with_evidence(error), self.frr.evidence());
        }
    }
}

/// What a report says of a VIP.
pub(crate) fn announcement(report: &Report, vip: IpAddr) -> Result<&AnnouncementReport> {
    let found = report.announcements.iter().find(|found| found.vip == vip);
    found.with_context(|| format!("the status does not name {vip}"))
}
