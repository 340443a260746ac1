//! Nodes that announce by BGP with BFD, themselves or by a routing daemon each; a router that listens (FRR); targets
//! with agents.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::daemons::{self, Daemon};
use crate::bpf_file_system::BpfFileSystem;
use crate::router::{Configuration, Frr, Neighbour};
use crate::sluice::PEERS;
use crate::topology::{Lab, Node};
use crate::{configuration, echo, http, wait};

/// How long a change may take until it is in force, on a busy machine.
pub(super) const SETTLED: Duration = Duration::from_secs(60);

const ROUTER_AS: u32 = 65000;
const NODE_AS: u32 = 65001;
/// The router on the nodes' network.
pub(super) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 202, 0, 1);
/// Between two packets of BFD, three of which may be missing: of the nodes' own speakers, and as the daemons have it.
pub(super) const BFD_MILLISECONDS: u32 = 100;
pub(super) const DAEMONS_BFD_MILLISECONDS: u32 = 300;
/// The same in a small story, which is played while a machine does other things: who speaks BFD is not to take others
/// for dead.
pub(super) const BFD_ON_A_BUSY_MACHINE: u32 = 1000;

/// Who tells the router, and how often the router wants their BFD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tellers {
    /// Each node's own speaker.
    Speakers { bfd_milliseconds: u32 },
    /// BIRD and FRR in turn, which read a routing table of the node's kernel.
    Daemons { bfd_milliseconds: u32 },
}

/// What becomes of a node's data plane when its controller ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataPlane {
    /// It ends, too.
    Unpinned,
    /// It goes on.
    Pinned,
}

/// The lab with everything running. Its file system ends first, its hosts last.
pub(super) struct Routed {
    _pins: Option<BpfFileSystem>,
    daemons: Vec<Daemon>,
    frr: Frr,
    tellers: Tellers,
    /// By which the router knows each node.
    addresses: Vec<Vec<String>>,
    pub(super) lab: Lab,
}

impl Routed {
    /// Starts everything, and waits until the router sends packets to all nodes.
    pub(super) fn start(nodes: u8, targets: u8, tellers: Tellers, data_plane: DataPlane) -> Result<Routed> {
        let mut lab = Lab::builder().nodes(nodes).targets(targets).handing_on().sieved().build()?;
        let pins = match data_plane {
            DataPlane::Unpinned => None,
            DataPlane::Pinned => Some(BpfFileSystem::for_all_nodes(&mut lab)?),
        };
        lab.route_vips(&[])?;
        let neighbours = lab.nodes.iter().map(|node| neighbour(node, tellers)).collect();
        let frr =
            Frr::start(&lab.router, &Configuration { local_as: ROUTER_AS, router_id: ROUTER, neighbours })?;
        lab.start_servers()?;
        lab.start_agents_with(&PEERS)?;
        let daemons = match tellers {
            Tellers::Speakers { .. } => Vec::new(),
            Tellers::Daemons { .. } => lab
                .nodes
                .iter()
                .enumerate()
                .map(|(at, node)| Daemon::start(at, node))
                .collect::<Result<_>>()?,
        };
        lab.start_nodes_each(|lab, node| own(lab, node, tellers))?;
        let addresses = lab.nodes.iter().map(addresses).collect::<Result<_>>()?;
        let routed = Routed { _pins: pins, daemons, frr, tellers, addresses, lab };
        routed.until_routed(&(0..usize::from(nodes)).collect::<Vec<_>>())?;
        Ok(routed)
    }

    /// A node's own configuration: TCP and UDP echo, HTTP, and where it announces.
    pub(super) fn configuration(&self, node: usize) -> Value {
        own(&self.lab, node, self.tellers)
    }

    /// Starts the controller of a node again.
    pub(super) fn restart(&mut self, node: usize) -> Result<()> {
        self.lab.nodes[node].stop_controller()?;
        let own = self.configuration(node);
        self.lab.start_controller(node, &own)
    }

    /// Starts another build in the place of a node's controller, and waits until its programs are on the interfaces.
    pub(super) fn upgrade(&mut self, node: usize, build: &Path) -> Result<()> {
        self.lab.nodes[node].stop_controller()?;
        let own = self.configuration(node);
        let controller = self.lab.nodes[node].spawn_controller_of(build, &own)?;
        self.lab.nodes[node].controller = Some(controller);
        let attached = self.lab.wait_for(node, "the balancer on its interface", SETTLED, |report| {
            ensure!(!report.interfaces.is_empty(), "it is not there");
            Ok(())
        });
        attached.map(drop)
    }

    /// How many packets for the flood's port a node has forwarded.
    pub(super) fn forwarded(&self, node: usize) -> Result<u64> {
        let report = self.lab.nodes[node].status()?;
        let listeners = report.load_balancers.values().flat_map(|balancer| &balancer.listeners);
        let web = listeners.filter(|listener| listener.port == http::PORT.to_string());
        Ok(web.map(|listener| listener.packets).sum())
    }

    /// Waits until the router's kernel sends packets of all VIPs to just these nodes, and BFD watches them.
    pub(super) fn until_routed(&self, nodes: &[usize]) -> Result<()> {
        let done = wait::until(&format!("VIPs by the nodes {nodes:?}"), SETTLED, || {
            self.lab.vips.iter().try_for_each(|vip| self.is_routed(*vip, nodes))?;
            nodes.iter().try_for_each(|node| self.is_watched(*node))
        });
        done.map_err(|error| self.with_evidence(error))
    }

    /// An error with all that tells why.
    pub(super) fn with_evidence(&self, error: anyhow::Error) -> anyhow::Error {
        let daemons: String = self.daemons.iter().map(Daemon::evidence).collect();
        anyhow::anyhow!("{:#}\n{}{daemons}", self.lab.with_evidence(error), self.frr.evidence())
    }

    /// With which communities a node has told the router of a VIP; none if the router knows no way by that node.
    pub(super) fn told(&self, node: usize, vip: IpAddr) -> Result<Option<String>> {
        let family = if vip.is_ipv4() { "ipv4" } else { "ipv6" };
        let answer = self.frr.json(&format!("show bgp {family} unicast {vip} json"))?;
        let session = self.lab.nodes[node].v4.to_string();
        let mut paths = answer["paths"].as_array().into_iter().flatten();
        let path = paths.find(|path| path["peer"]["peerId"] == session);
        Ok(path.map(|path| path["community"]["string"].as_str().unwrap_or_default().to_owned()))
    }

    /// Who tells the router of a node's VIPs.
    pub(super) fn teller(&self, node: usize) -> &'static str {
        self.daemons.get(node).map_or("its own speaker", Daemon::name)
    }

    /// Whether the router can learn of a VIP from a node.
    pub(super) fn can_announce(&self, node: usize, vip: IpAddr) -> bool {
        vip.is_ipv4() || self.daemons.get(node).is_none_or(Daemon::has_ipv6)
    }

    /// Whether the router's kernel sends packets of a VIP to just these nodes, as far as they can announce it.
    pub(super) fn is_routed(&self, vip: IpAddr, nodes: &[usize]) -> Result<()> {
        let family = if vip.is_ipv4() { "-4" } else { "-6" };
        let route = self.lab.router.ip(&format!("{family} route show {vip}"))?;
        for (at, own) in self.addresses.iter().enumerate() {
            let is_used = route.split_whitespace().any(|word| own.iter().any(|own| own == word));
            let is_expected = nodes.contains(&at) && self.can_announce(at, vip);
            ensure!(is_used == is_expected, "the route to {vip} is {route:?}, not by the nodes {nodes:?}");
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
}

/// Those on its eth0: BIRD tells the link-local one, too, which FRR then prefers.
fn addresses(node: &Node) -> Result<Vec<String>> {
    let text = node.host.ip("-oneline address show dev eth0")?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let after = words.windows(2).filter(|words| ["inet", "inet6"].contains(&words[0]));
    Ok(after.filter_map(|words| words[1].split('/').next().map(str::to_owned)).collect())
}

fn neighbour(node: &Node, tellers: Tellers) -> Neighbour {
    let (remote_as, bfd) = match tellers {
        Tellers::Speakers { bfd_milliseconds } => (NODE_AS, bfd_milliseconds),
        Tellers::Daemons { bfd_milliseconds } => (daemons::NODE_AS, bfd_milliseconds),
    };
    Neighbour { bfd: Some(bfd), ..Neighbour::new(node.v4.into(), ROUTER.into(), remote_as) }
}

fn own(lab: &Lab, node: usize, tellers: Tellers) -> Value {
    let at = &lab.nodes[node];
    let group = |name: &str, protocol: &str, port: u16, encapsulation: &str| {
        let targets: Vec<IpAddr> = lab.targets.iter().map(|target| target.v4.into()).collect();
        let mut group = configuration::target_group(name, protocol, port, &targets);
        group["encapsulation"] = encapsulation.into();
        // Patient, so that a busy machine makes no target unhealthy.
        group["health_check"]["unhealthy_threshold"] = 10.into();
        group
    };
    let listener = |name: &str, protocol: &str, port: u16| json!({ "protocol": protocol, "port": port, "forward": [ { "target_group": name } ] });
    json!({
        "node": { "name": at.name, "zone": "a", "interfaces": at.interfaces },
        "load_balancers": [ {
            "name": "echo", "vips": lab.vips,
            "listeners": [
                listener("echo", "TCP", echo::PORT), listener("echo-udp", "UDP", echo::PORT),
                listener("web", "TCP", http::PORT)
            ]
        } ],
        "target_groups": [
            group("echo", "TCP", echo::PORT, "gue"), group("echo-udp", "UDP", echo::PORT, "gue"),
            // What a flood is for: the lab's sieve looks into IPIP alone.
            group("web", "TCP", http::PORT, "ipip")
        ],
        "announce": announce(at, tellers)
    })
}

fn announce(node: &Node, tellers: Tellers) -> Value {
    match tellers {
        Tellers::Speakers { bfd_milliseconds: bfd } => {
            json!({ "drain_seconds": 2, "bgp": { "local_as": NODE_AS, "peers": [ {
            "address": ROUTER, "source": node.v4, "remote_as": ROUTER_AS, "next_hop_ipv6": node.v6,
            "bfd": { "transmit_milliseconds": bfd, "receive_milliseconds": bfd }
        } ] } })
        }
        Tellers::Daemons { .. } => json!({ "drain_seconds": 2, "kernel_table": {} }),
    }
}
