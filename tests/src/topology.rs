//! The lab's hosts and cables, see the picture at the top of this crate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::host::Host;
use crate::lease::Lease;
use crate::limits::allow_many_descriptors;
use crate::link::{self, End};
use crate::peer::Peer;
use crate::process::Process;

/// The IPv4 VIP that the lab uses unless told otherwise.
pub const VIP4: Ipv4Addr = Ipv4Addr::new(10, 200, 1, 1);

/// The IPv6 VIP that the lab uses unless told otherwise.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfc00, 1, 0, 0, 0, 0, 0, 1);

/// Where VIPs are, as the router routes them.
pub(crate) const VIPS4: &str = "10.200.0.0/16";
pub(crate) const VIPS6: &str = "fc00::/16";

/// The client's addresses.
pub const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 2);
/// The client's IPv6 address.
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 2);

/// What the client's network carries, in bytes of an IP packet, unless told otherwise.
const CLIENT_MTU: u16 = 1500;

/// What a network of jumbo frames carries.
const JUMBO_MTU: u16 = 9000;

/// How much more the inner networks carry: room for IPv6, UDP and GUE headers (52 bytes) around a client's packet.
const INNER_ROOM: u16 = 100;

/// The last byte of the first node's and the first target's address.
const FIRST_HOST: u8 = 11;

/// A network of the lab: 10.N.0.0/24 and fd0M::/64.
#[derive(Debug, Clone, Copy)]
struct Network {
    second_byte: u8,
    first_word: u16,
}

const CLIENTS: Network = Network { second_byte: 201, first_word: 0xfd01 };
const NODES: Network = Network { second_byte: 202, first_word: 0xfd02 };
const TARGETS: Network = Network { second_byte: 203, first_word: 0xfd03 };
const FAR: Network = Network { second_byte: 204, first_word: 0xfd04 };

impl Network {
    const fn v4(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.second_byte, 0, host)
    }

    const fn v6(self, host: u8) -> Ipv6Addr {
        Ipv6Addr::new(self.first_word, 0, 0, 0, 0, 0, 0, host as u16)
    }

    fn both(self, host: u8) -> [IpAddr; 2] {
        [self.v4(host).into(), self.v6(host).into()]
    }
}

/// A machine that runs the controller.
#[derive(Debug)]
pub struct Node {
    /// `lb1`, `lb2`, …
    pub name: String,
    /// Its IPv4 address on eth0, from which it checks and encapsulates.
    pub v4: Ipv4Addr,
    /// Its IPv6 address on eth0.
    pub v6: Ipv6Addr,
    /// `eth0`, and `eth1` where the lab has far targets.
    pub interfaces: Vec<String>,
    /// All its addresses: the ones that its tunnels start at, by the interface that they leave by.
    pub addresses: Vec<IpAddr>,
    /// The running controller.
    pub controller: Option<Process>,
    /// Where its data plane stays while no controller runs; without, it does not.
    pub pins: Option<PathBuf>,
    /// More options of its `sluice run`.
    pub options: Vec<String>,
    /// The machine itself.
    pub host: Host,
    /// The programs at the far ends of its cables.
    peers: Vec<Peer>,
}

impl Node {
    /// How many packets of a flood it has sent to a sieve ([`Builder::sieved`]).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn sieved(&self) -> Result<u64> {
        self.peers.iter().map(Peer::sieved).sum()
    }
}

/// A machine that serves.
#[derive(Debug)]
pub struct Target {
    /// `t1`, `t2`, …
    pub name: String,
    /// Its own IPv4 address on eth0.
    pub v4: Ipv4Addr,
    /// Its own IPv6 address on eth0.
    pub v6: Ipv6Addr,
    /// The running server.
    pub server: Option<Process>,
    /// The running agent.
    pub agent: Option<Process>,
    /// The machine itself.
    pub host: Host,
    /// The program at the far end of its cable, if its agent hands packets on.
    peer: Option<Peer>,
}

impl Target {
    /// Its own address of the family that `like` has.
    pub fn own(&self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }
}

/// All hosts of a lab; dropping it ends its processes and removes its namespaces.
#[derive(Debug)]
pub struct Lab {
    /// The machines that run the controller.
    pub nodes: Vec<Node>,
    /// The machines that serve, the far ones last.
    pub targets: Vec<Target>,
    /// The machine that asks.
    pub client: Host,
    /// The machine between all others.
    pub router: Host,
    /// The VIPs that agents and servers take packets for.
    pub vips: Vec<IpAddr>,
    /// What the networks between router, nodes and targets carry, in bytes of an IP packet.
    pub inner_mtu: u16,
    /// The lab's number and directory.
    pub lease: Arc<Lease>,
}

/// How large the lab is.
#[derive(Debug, Clone)]
pub struct Builder {
    nodes: u8,
    targets: u8,
    far_targets: u8,
    client_mtu: u16,
    is_sieved: bool,
    hands_on: bool,
    vips: Vec<IpAddr>,
}

impl Lab {
    /// One node, three targets, one VIP of each family.
    pub fn builder() -> Builder {
        let vips = vec![VIP4.into(), VIP6.into()];
        let (client_mtu, is_sieved, hands_on) = (CLIENT_MTU, false, false);
        Builder { nodes: 1, targets: 3, far_targets: 0, client_mtu, is_sieved, hands_on, vips }
    }
}

impl Builder {
    /// How many nodes share the VIPs' packets, 1 to 100.
    pub fn nodes(mut self, nodes: u8) -> Builder {
        self.nodes = nodes;
        self
    }

    /// How many targets are behind the router, 0 to 100.
    pub fn targets(mut self, targets: u8) -> Builder {
        self.targets = targets;
        self
    }

    /// How many more targets are on the nodes' second interface, 0 to 100; none means no such interface.
    pub fn far_targets(mut self, far_targets: u8) -> Builder {
        self.far_targets = far_targets;
        self
    }

    /// All networks carry jumbo frames.
    pub fn jumbo(mut self) -> Builder {
        self.client_mtu = JUMBO_MTU;
        self
    }

    /// What nodes send of a flood ([`crate::flood`]) ends at the router.
    pub fn sieved(mut self) -> Builder {
        self.is_sieved = true;
        self
    }

    /// The targets' agents hand packets on: their cables are fit for what an XDP program sends, see
    /// [`crate::peer`]. On others such packets wait, and 256 of them stop the cable for good.
    pub fn handing_on(mut self) -> Builder {
        self.hands_on = true;
        self
    }

    /// VIPs in 10.200.0.0/16 and fc00::/16, which the router sends to the nodes.
    pub fn vips(mut self, vips: &[IpAddr]) -> Builder {
        self.vips = vips.to_vec();
        self
    }

    /// Makes the hosts and cables; nothing runs in them yet.
    pub fn build(&self) -> Result<Lab> {
        for count in [self.nodes, self.targets, self.far_targets] {
            ensure!(count <= 100, "a lab of {count} hosts of a kind is too large: at most 100");
        }
        ensure!(self.nodes > 0, "a lab needs a node");
        allow_many_descriptors()?;
        let lease = Lease::take()?;
        let router = router(&lease)?;
        let client = Host::new(&lease, "client")?;
        connect_to_router(&router, &client, "client", self.client_mtu)?;
        addresses(&router, "client", CLIENTS.both(1))?;
        addresses(&client, "eth0", CLIENTS.both(2))?;
        default_routes(&client, CLIENTS)?;
        let (vips, inner_mtu) = (self.vips.clone(), self.client_mtu + INNER_ROOM);
        let mut lab = Lab { nodes: vec![], targets: vec![], client, router, vips, inner_mtu, lease };
        self.add_nodes(&mut lab)?;
        self.add_targets(&mut lab)?;
        route_vips(&lab)?;
        Ok(lab)
    }

    fn add_nodes(&self, lab: &mut Lab) -> Result<()> {
        switch(lab, "nodes", NODES)?;
        if self.far_targets > 0 {
            switch(lab, "far", FAR)?;
        }
        for number in 0..self.nodes {
            let node = self.node(lab, number)?;
            lab.nodes.push(node);
        }
        Ok(())
    }

    fn add_targets(&self, lab: &mut Lab) -> Result<()> {
        switch(lab, "targets", TARGETS)?;
        let near = (0..self.targets).map(|number| (number, number, "targets", TARGETS));
        let far = (0..self.far_targets).map(|number| (number, self.targets + number, "far", FAR));
        for (on_network, number, bridge, network) in near.chain(far) {
            let name = format!("t{}", u16::from(number) + 1);
            let mut target = target(lab, name, FIRST_HOST + on_network, bridge, network)?;
            if self.hands_on {
                target.peer = Some(Peer::attach(&lab.router, &target.name)?);
            }
            lab.targets.push(target);
        }
        Ok(())
    }

    fn node(&self, lab: &Lab, number: u8) -> Result<Node> {
        let name = format!("lb{}", number + 1);
        let host = Host::new(&lab.lease, &name)?;
        let address = FIRST_HOST + number;
        let mut interfaces = vec!["eth0".to_string()];
        attach(lab, &host, &name, "eth0", "nodes", NODES.both(address))?;
        let mut peers = vec![self.peer(&lab.router, &name)?];
        let mut addresses = NODES.both(address).to_vec();
        default_routes(&host, NODES)?;
        if self.far_targets > 0 {
            let port = format!("{name}-far");
            let on_far = FAR.both(200 + number);
            attach(lab, &host, &port, "eth1", "far", on_far)?;
            addresses.extend(on_far);
            peers.push(self.peer(&lab.router, &port)?);
            interfaces.push("eth1".to_string());
        }
        let (v4, v6) = (NODES.v4(address), NODES.v6(address));
        Ok(Node {
            name,
            v4,
            v6,
            interfaces,
            addresses,
            controller: None,
            pins: None,
            options: vec![],
            host,
            peers,
        })
    }

    fn peer(&self, router: &Host, port: &str) -> Result<Peer> {
        if self.is_sieved { Peer::attach_sieve(router, port) } else { Peer::attach(router, port) }
    }
}

fn router(lease: &Arc<Lease>) -> Result<Host> {
    let router = Host::new(lease, "router")?;
    router.set_sysctl("net/ipv4/ip_forward", "1")?;
    router.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
    // Targets answer with the VIP as source, from where the router does not expect it: that is what direct
    // server return is.
    accept_any_source(&router)?;
    router.set_sysctl("net/ipv4/conf/all/send_redirects", "0")?;
    router.set_sysctl("net/ipv4/conf/default/send_redirects", "0")?;
    Ok(router)
}

fn accept_any_source(host: &Host) -> Result<()> {
    host.set_sysctl("net/ipv4/conf/all/rp_filter", "0")?;
    host.set_sysctl("net/ipv4/conf/default/rp_filter", "0")
}

/// A bridge of the router, with the router's own addresses on it.
fn switch(lab: &Lab, name: &str, network: Network) -> Result<()> {
    link::bridge(&lab.router, name, lab.inner_mtu)?;
    addresses(&lab.router, name, network.both(1))
}

fn target(lab: &Lab, name: String, address: u8, bridge: &str, network: Network) -> Result<Target> {
    let host = Host::new(&lab.lease, &name)?;
    attach(lab, &host, &name, "eth0", bridge, network.both(address))?;
    default_routes(&host, network)?;
    accept_any_source(&host)?;
    let (v4, v6) = (network.v4(address), network.v6(address));
    Ok(Target { name, v4, v6, server: None, agent: None, host, peer: None })
}

/// Plugs a host's interface into a bridge of the router, where the port is called `port`.
fn attach(lab: &Lab, host: &Host, port: &str, interface: &str, bridge: &str, own: [IpAddr; 2]) -> Result<()> {
    link::connect(End { host, interface }, End { host: &lab.router, interface: port }, lab.inner_mtu)?;
    link::plug(&lab.router, port, bridge)?;
    addresses(host, interface, own)
}

fn connect_to_router(router: &Host, host: &Host, port: &str, mtu: u16) -> Result<()> {
    link::connect(End { host, interface: "eth0" }, End { host: router, interface: port }, mtu)
}

fn addresses(host: &Host, interface: &str, addresses: [IpAddr; 2]) -> Result<()> {
    addresses.into_iter().try_for_each(|address| link::address(host, interface, address))
}

fn default_routes(host: &Host, network: Network) -> Result<()> {
    for router in network.both(1) {
        let family = if router.is_ipv4() { "-4" } else { "-6" };
        host.ip(&format!("{family} route add default via {router}"))?;
    }
    Ok(())
}

/// The VIPs' networks go to all nodes alike, by the flow's hash.
fn route_vips(lab: &Lab) -> Result<()> {
    // By ports too, so that one client's flows spread over the nodes.
    lab.router.set_sysctl("net/ipv4/fib_multipath_hash_policy", "1")?;
    lab.router.set_sysctl("net/ipv6/fib_multipath_hash_policy", "1")?;
    lab.route_vips(&(0..lab.nodes.len()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{echo, http};
    use std::net::{SocketAddr, UdpSocket};

    #[test]
    fn the_client_reaches_every_target_through_the_router() {
        if !crate::require_root() {
            return;
        }
        let mut lab = Lab::builder().targets(2).far_targets(1).build().unwrap();
        lab.start_servers().unwrap();
        for target in &lab.targets {
            for (own, client) in
                [(target.v4.into(), CLIENT4.into()), (target.v6.into(), IpAddr::from(CLIENT6))]
            {
                let answer = lab.get(own).unwrap();
                assert_eq!(answer, http::Answer { target: target.name.clone(), client });
            }
        }
        assert_eq!(lab.targets[2].name, "t3");
    }

    #[test]
    fn a_target_answers_directly_with_the_vip_as_source() {
        if !crate::require_root() {
            return;
        }
        let mut lab = Lab::builder().targets(1).build().unwrap();
        // In place of balancer and agent: the router sends the VIPs straight to the target that holds them.
        for vip in lab.vips.clone() {
            let family = if vip.is_ipv4() { "-4" } else { "-6" };
            let (target, length) = (lab.targets[0].own(vip), if vip.is_ipv4() { 32 } else { 128 });
            lab.router.ip(&format!("{family} route add {vip}/{length} via {target}")).unwrap();
            lab.targets[0].host.ip(&format!("address add {vip}/{length} dev lo")).unwrap();
        }
        lab.start_servers().unwrap();
        for vip in lab.vips.clone() {
            assert_eq!(lab.get(vip).unwrap().target, "t1");
            let answer = lab.client.enter(|| ask_echo(SocketAddr::new(vip, echo::PORT), b"hello"));
            assert!(answer.starts_with("t1 ") && answer.ends_with("\nhello"), "{answer}");
        }
        lab.targets[0].stop_server();
        assert!(lab.get(VIP4.into()).is_err(), "a stopped server answers");
        lab.targets[0].start_server(&lab.vips).unwrap();
        assert!(lab.get(VIP4.into()).is_ok());
    }

    fn ask_echo(to: SocketAddr, question: &[u8]) -> String {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
        // Connected: an answer from another address than the VIP would not be taken.
        socket.connect(to).unwrap();
        socket.send(question).unwrap();
        let mut answer = [0; 2000];
        let length = socket.recv(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[test]
    fn nodes_and_targets_reach_each_other_with_a_full_tunnel_packet() {
        if !crate::require_root() {
            return;
        }
        let mut lab = Lab::builder().nodes(2).targets(1).far_targets(1).build().unwrap();
        lab.start_servers().unwrap();
        for node in &lab.nodes {
            for target in &lab.targets {
                // The inner networks' 1600 less the IP and UDP headers; Linux sets "don't fragment".
                for (own, size) in [(target.v4.into(), 1572), (target.v6.into(), 1552)] {
                    let to = SocketAddr::new(own, echo::PORT);
                    let answer = node.host.enter(|| ask_echo(to, &vec![b'x'; size]));
                    assert!(answer.starts_with(&target.name) && answer.len() > size, "{answer}");
                }
            }
            let way = node.host.ip(&format!("route get {}", lab.targets[1].v4)).unwrap();
            assert!(way.contains("dev eth1") && !way.contains("via"), "{way}");
        }
    }
}
