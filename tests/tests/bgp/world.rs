//! Hosts, and the speaker as a node runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::host::Host;
use lab::lease::Lease;
use lab::link::{self, End};
use lab::router::{Configuration, Neighbour};
use lab::wait;
use lb_userspace::announce::bgp::{Peer, SessionState, SessionStatus, Sessions, Speaker};
use lb_userspace::announce::{Announcement, Wanted, bfd, bgp};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// The routers' AS.
pub(crate) const ROUTER_AS: u32 = 65000;
/// The nodes' AS: one that does not fit in two bytes.
pub(crate) const NODE_AS: u32 = 4_200_000_001;

pub(crate) const ROUTER4: Ipv4Addr = Ipv4Addr::new(10, 205, 0, 1);
pub(crate) const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfd05, 0, 0, 0, 0, 0, 0, 1);

pub(crate) const VIP4: &str = "10.200.1.1";
pub(crate) const VIP6: &str = "fc00:1::1";

/// What a session's change may take, daemons' timers included.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What three intervals of BFD of 100 ms may take, on a machine that does other things, too.
pub(crate) const PARTED: Duration = Duration::from_millis(1500);

/// How many must be woken one after another until they have: `ip`, which takes the cable out, and the threads of BFD and
/// of the session. Each may wait for as long as the machine keeps a thread waiting.
pub(crate) const WOKEN: u32 = 3;

/// A router, a switch and nodes.
pub(crate) struct World {
    pub(crate) router: Host,
    pub(crate) switch: Host,
    pub(crate) nodes: Vec<Host>,
}

impl World {
    pub(crate) fn new(nodes: u8) -> Result<World> {
        let lease = Lease::take()?;
        let (router, switch) = (Host::new(&lease, "router")?, Host::new(&lease, "switch")?);
        link::bridge(&switch, "br0", 1500)?;
        plug(&switch, &router, "router", [ROUTER4.into(), ROUTER6.into()])?;
        let mut world = World { router, switch, nodes: Vec::new() };
        for number in 0..nodes {
            let node = Host::new(&lease, &format!("node{number}"))?;
            plug(&world.switch, &node, &format!("node{number}"), [node4(number), node6(number)])?;
            world.nodes.push(node);
        }
        Ok(world)
    }

    /// A router's configuration with neighbours that are changed by `change`.
    pub(crate) fn routing(neighbours: impl IntoIterator<Item = Neighbour>) -> Configuration {
        Configuration {
            local_as: ROUTER_AS,
            router_id: ROUTER4,
            neighbours: neighbours.into_iter().collect(),
        }
    }

    /// Whether the router's kernel sends packets to `vip` by just these next hops.
    pub(crate) fn has_next_hops(&self, vip: &str, next_hops: &[&str]) -> Result<()> {
        let family = if vip.contains(':') { "-6" } else { "-4" };
        let route = self.router.ip(&format!("{family} route show {vip}"))?;
        let words: Vec<&str> = route.split_whitespace().collect();
        let hops = words.windows(3).filter(|words| words[0] == "via");
        let found: BTreeSet<&str> =
            hops.map(|words| if words[1] == "inet6" { words[2] } else { words[1] }).collect();
        ensure!(
            found == next_hops.iter().copied().collect(),
            "the route to {vip} is {route:?}, not by {next_hops:?}"
        );
        Ok(())
    }

    /// Takes a node's cable out of the switch, so that nobody is told.
    pub(crate) fn unplug(&self, node: u8) -> Result<()> {
        self.switch.ip(&format!("link set dev node{node} down")).map(drop)
    }

    /// And in again.
    pub(crate) fn plug_in(&self, node: u8) -> Result<()> {
        self.switch.ip(&format!("link set dev node{node} up")).map(drop)
    }
}

fn plug(switch: &Host, host: &Host, port: &str, addresses: [IpAddr; 2]) -> Result<()> {
    link::connect(End { host, interface: "eth0" }, End { host: switch, interface: port }, 1500)?;
    link::plug(switch, port, "br0")?;
    // FRR with RFC 8950 sends router advertisements, which would give the node one more address.
    host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "0")?;
    for address in addresses {
        link::address(host, "eth0", address)?;
    }
    Ok(())
}

pub(crate) fn node4(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 205, 0, 11 + number).into()
}

pub(crate) fn node6(number: u8) -> IpAddr {
    Ipv6Addr::new(0xfd05, 0, 0, 0, 0, 0, 0, 0x11 + u16::from(number)).into()
}

/// The node's side of a session over IPv4, with both families.
pub(crate) fn over_ipv4(node: u8) -> Peer {
    let mut peer = Peer::new(ROUTER4.into(), node4(node), ROUTER_AS);
    let IpAddr::V6(next_hop) = node6(node) else { unreachable!("it is made of an Ipv6Addr") };
    peer.next_hop_ipv6 = Some(next_hop);
    peer
}

/// The node's side of a session over IPv6, with both families.
pub(crate) fn over_ipv6(node: u8) -> Peer {
    Peer { extended_next_hop: true, ..Peer::new(ROUTER6.into(), node6(node), ROUTER_AS) }
}

/// The router's side of it.
pub(crate) fn neighbour_of(peer: &Peer) -> Neighbour {
    Neighbour {
        extended_next_hop: peer.extended_next_hop,
        password: peer.md5_password.clone(),
        ttl_security: peer.ttl_security,
        ..Neighbour::new(peer.source, peer.address, NODE_AS)
    }
}

/// A speaker of node `number`.
pub(crate) fn speaker(number: u8, peers: impl IntoIterator<Item = Peer>) -> Speaker {
    let router_id = Ipv4Addr::new(10, 205, 0, 11 + number);
    Speaker { local_as: NODE_AS, router_id, peers: peers.into_iter().collect() }
}

pub(crate) fn announced(vips: &[&str]) -> Wanted {
    all(vips, Announcement::Announced)
}

pub(crate) fn draining(vips: &[&str]) -> Wanted {
    all(vips, Announcement::Draining)
}

fn all(vips: &[&str], announcement: Announcement) -> Wanted {
    vips.iter().map(|vip| (vip.parse().expect("tests name addresses"), announcement)).collect()
}

/// A running speaker on a thread within its node.
pub(crate) struct Speaking {
    wanted: watch::Sender<Arc<Wanted>>,
    started: Mutex<Started>,
    orders: UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Apply(Speaker, mpsc::Sender<Result<Started>>),
    Stall(Duration, mpsc::Sender<()>),
    Stop(String),
}

#[derive(Default)]
struct Started {
    sessions: BTreeMap<IpAddr, watch::Receiver<Arc<SessionStatus>>>,
    problems: Vec<String>,
}

impl Speaking {
    pub(crate) fn start(node: &Host, speaker: Speaker, wanted: Wanted) -> Result<Speaking> {
        let entrance = node.entrance()?;
        let (wanted, watched) = watch::channel(Arc::new(wanted));
        let (orders, ordered) = unbounded_channel();
        let thread = std::thread::spawn(move || {
            entrance.move_this_thread_in();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(run(watched, ordered));
        });
        let speaking = Speaking { wanted, started: Mutex::default(), orders, thread: Some(thread) };
        speaking.apply(speaker)?;
        Ok(speaking)
    }

    /// Gives it another configuration.
    pub(crate) fn apply(&self, speaker: Speaker) -> Result<()> {
        let (answer, answered) = mpsc::channel();
        self.orders.send(Order::Apply(speaker, answer)).context("the speaker's thread ended")?;
        *self.started.lock().unwrap() = answered.recv().context("the speaker's thread ended")??;
        Ok(())
    }

    /// Lets its whole thread stand still for `time`, as a machine does that is short of time.
    pub(crate) fn stall(&self, time: Duration) -> Result<()> {
        let (answer, answered) = mpsc::channel();
        self.orders.send(Order::Stall(time, answer)).context("the speaker's thread ended")?;
        answered.recv().context("the speaker's thread ended")
    }

    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.send_replace(Arc::new(wanted));
    }

    pub(crate) fn status(&self, peer: impl Into<IpAddr>) -> Arc<SessionStatus> {
        self.started.lock().unwrap().sessions[&peer.into()].borrow().clone()
    }

    /// Why sessions could not be started.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.started.lock().unwrap().problems.clone()
    }

    /// Waits for what `look` wants to see of the session with `peer`.
    pub(crate) fn wait(
        &self,
        peer: impl Into<IpAddr>,
        what: &str,
        look: impl Fn(&SessionStatus) -> bool,
    ) -> Result<Arc<SessionStatus>> {
        let peer = peer.into();
        wait::until(what, SOON, || {
            let status = self.status(peer);
            ensure!(look(&status), "the session is {status:#?}");
            Ok(status)
        })
    }

    pub(crate) fn wait_established(&self, peer: impl Into<IpAddr>) -> Result<Arc<SessionStatus>> {
        self.wait(peer, "a session", |status| status.state == SessionState::Established)
    }

    /// Waits for an end of the session, or a failed attempt, whose reason has `words`.
    pub(crate) fn wait_error(&self, peer: impl Into<IpAddr>, words: &str) -> Result<Arc<SessionStatus>> {
        self.wait(peer, &format!("the error {words:?}"), |status| {
            status.last_error.as_ref().is_some_and(|(_, error)| error.contains(words))
        })
    }

    /// Ends it as an administrator does.
    pub(crate) fn stop(mut self, text: &str) {
        self.end(text);
    }

    fn end(&mut self, text: &str) {
        // The thread may have ended with an error, which the test has seen.
        let _ = self.orders.send(Order::Stop(text.to_owned()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        self.end("");
    }
}

async fn run(wanted: watch::Receiver<Arc<Wanted>>, mut orders: UnboundedReceiver<Order>) {
    let service = bfd::Service::start().expect("a thread for BFD");
    let mut sessions: Option<Sessions> = None;
    while let Some(order) = orders.recv().await {
        match order {
            Order::Apply(speaker, answer) => {
                let applied = apply(&mut sessions, &speaker, &wanted, &service).await;
                let _ = answer.send(applied);
            }
            Order::Stall(time, answer) => {
                std::thread::sleep(time);
                let _ = answer.send(());
            }
            Order::Stop(text) => {
                if let Some(sessions) = sessions.take() {
                    sessions.stop(&text).await;
                }
                return;
            }
        }
    }
}

async fn apply(
    sessions: &mut Option<Sessions>,
    speaker: &Speaker,
    wanted: &watch::Receiver<Arc<Wanted>>,
    service: &bfd::Service,
) -> Result<Started> {
    match sessions {
        Some(sessions) => sessions.apply(speaker, Some(service)).await?,
        None => *sessions = Some(bgp::start(speaker, wanted, Some(service))?),
    }
    let sessions = sessions.as_ref().context("they were just started")?;
    let peers = speaker.peers.iter().map(|peer| peer.address);
    let watched = peers.map(|peer| Ok((peer, sessions.watch(peer).context("a session for each peer")?)));
    let problems = sessions.problems().map(str::to_owned).collect();
    Ok(Started { sessions: watched.collect::<Result<_>>()?, problems })
}
