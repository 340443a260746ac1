//! Nodes that announce by BGP with BFD, a router that listens (FRR), targets with agents.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::process::{binary, output_of};
use crate::router::{Configuration, Frr, Neighbour};
use crate::sluice::PEERS;
use crate::topology::Lab;
use crate::{configuration, echo, wait};

/// How long a change may take until it is in force, on a busy machine.
const SETTLED: Duration = Duration::from_secs(60);

const ROUTER_AS: u32 = 65000;
const NODE_AS: u32 = 65001;
/// The router on the nodes' network.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 202, 0, 1);
/// Between two packets of BFD, three of which may be missing.
const BFD_MILLISECONDS: u32 = 100;

/// The lab with everything running.
pub(super) struct Routed {
    pub(super) lab: Lab,
    frr: Frr,
}

impl Routed {
    /// Starts everything, and waits until the router sends packets to all nodes.
    pub(super) fn start(nodes: u8, targets: u8) -> Result<Routed> {
        let mut lab = Lab::builder().nodes(nodes).targets(targets).handing_on().build()?;
        lab.route_vips(&[])?;
        let neighbour = |node: &crate::topology::Node| Neighbour {
            bfd: Some(BFD_MILLISECONDS),
            ..Neighbour::new(node.v4.into(), ROUTER.into(), NODE_AS)
        };
        let neighbours = lab.nodes.iter().map(neighbour).collect();
        let frr =
            Frr::start(&lab.router, &Configuration { local_as: ROUTER_AS, router_id: ROUTER, neighbours })?;
        lab.start_servers()?;
        lab.start_agents_with(&PEERS)?;
        lab.start_nodes_each(own)?;
        let routed = Routed { lab, frr };
        routed.until_routed(&(0..usize::from(nodes)).collect::<Vec<_>>())?;
        Ok(routed)
    }

    /// Starts the controller of a node again.
    pub(super) fn restart(&mut self, node: usize) -> Result<()> {
        self.lab.nodes[node].stop_controller()?;
        let own = own(&self.lab, node);
        self.lab.start_controller(node, &own)
    }

    /// Waits until the router's kernel sends packets of all VIPs to just these nodes, and BFD watches them.
    pub(super) fn until_routed(&self, nodes: &[usize]) -> Result<()> {
        let done = wait::until(&format!("VIPs by the nodes {nodes:?}"), SETTLED, || {
            self.lab.vips.iter().try_for_each(|vip| self.is_routed(*vip, nodes))?;
            nodes.iter().try_for_each(|node| self.is_watched(*node))
        });
        done.map_err(|error| anyhow::anyhow!("{:#}\n{}", self.lab.with_evidence(error), self.frr.evidence()))
    }

    /// Whether the router's kernel sends packets of a VIP to just these nodes.
    pub(super) fn is_routed(&self, vip: IpAddr, nodes: &[usize]) -> Result<()> {
        let family = if vip.is_ipv4() { "-4" } else { "-6" };
        let route = self.lab.router.ip(&format!("{family} route show {vip}"))?;
        for (at, node) in self.lab.nodes.iter().enumerate() {
            let own: IpAddr = if vip.is_ipv4() { node.v4.into() } else { node.v6.into() };
            let is_used = route.split_whitespace().any(|word| word == own.to_string());
            ensure!(is_used == nodes.contains(&at), "the route to {vip} is {route:?}");
        }
        Ok(())
    }

    fn is_watched(&self, node: usize) -> Result<()> {
        let report = self.lab.nodes[node].status()?;
        let sessions = report.routers.iter().flat_map(|routers| &routers.sessions);
        for session in sessions {
            let is_up = session.bfd.as_ref().is_some_and(|bfd| bfd.state == "Up");
            ensure!(is_up && session.state == "Established", "{session:?}");
        }
        Ok(())
    }

    /// What a command of a node's operator says.
    pub(super) fn order(&self, node: usize, arguments: &[&str]) -> Result<String> {
        let node = &self.lab.nodes[node];
        let mut command = Command::new(binary("sluice")?);
        command.args(arguments).arg("--runtime-directory").arg(node.runtime_directory()?);
        node.host.enter(|| output_of(&mut command))
    }
}

/// A node's own configuration: TCP and UDP echo, and where it announces.
fn own(lab: &Lab, node: usize) -> Value {
    let at = &lab.nodes[node];
    let group = |name: &str, protocol: &str| {
        let targets: Vec<IpAddr> = lab.targets.iter().map(|target| target.v4.into()).collect();
        let mut group = configuration::target_group(name, protocol, echo::PORT, &targets);
        group["encapsulation"] = "gue".into();
        // Patient, so that a busy machine makes no target unhealthy.
        group["health_check"]["unhealthy_threshold"] = 10.into();
        group
    };
    let listener = |name: &str, protocol: &str| json!({ "protocol": protocol, "port": echo::PORT, "forward": [ { "target_group": name } ] });
    json!({
        "node": { "name": at.name, "zone": "a", "interfaces": at.interfaces },
        "load_balancers": [ {
            "name": "echo", "vips": lab.vips,
            "listeners": [ listener("echo", "TCP"), listener("echo-udp", "UDP") ]
        } ],
        "target_groups": [ group("echo", "TCP"), group("echo-udp", "UDP") ],
        "announce": { "drain_seconds": 2, "bgp": { "local_as": NODE_AS, "peers": [ {
            "address": ROUTER, "source": at.v4, "remote_as": ROUTER_AS, "next_hop_ipv6": at.v6,
            "bfd": { "transmit_milliseconds": BFD_MILLISECONDS, "receive_milliseconds": BFD_MILLISECONDS }
        } ] } }
    })
}
