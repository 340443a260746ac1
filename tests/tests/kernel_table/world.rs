//! Hosts, and the table as a node keeps it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::host::Host;
use lab::lease::Lease;
use lab::link::{self, End};
use lab::router::{Configuration as Routing, Neighbour};
use lab::wait;
use lb_userspace::announce::kernel_table::{self, Configuration, Ending, Status};
use lb_userspace::announce::{Announcement, Wanted};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
pub(crate) const ROUTER_AS: u32 = 65000;
pub(crate) const NODE_AS: u32 = 4_200_000_001;

pub(crate) const VIP4: &str = "10.200.1.1";
pub(crate) const VIP6: &str = "fc00:1::1";

/// What a change may take, daemons' timers included.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) fn announced(vips: &[&str]) -> Wanted {
    all(vips, Announcement::Announced)
}

pub(crate) fn draining(vips: &[&str]) -> Wanted {
    all(vips, Announcement::Draining)
}

fn all(vips: &[&str], announcement: Announcement) -> Wanted {
    vips.iter().map(|vip| (vip.parse().expect("tests name addresses"), announcement)).collect()
}

/// A host alone, with its loopback.
pub(crate) fn lone_host() -> Result<Host> {
    Host::new(&Lease::take()?, "node0")
}

/// A router, a switch and nodes.
pub(crate) struct World {
    pub(crate) router: Host,
    pub(crate) nodes: Vec<Host>,
    _switch: Host,
}

impl World {
    pub(crate) fn new(nodes: u8) -> Result<World> {
        let lease = Lease::take()?;
        let (router, switch) = (Host::new(&lease, "router")?, Host::new(&lease, "switch")?);
        link::bridge(&switch, "br0", 1500)?;
        let plug = |host: &Host, port: &str, last: &str| -> Result<()> {
            link::connect(End { host, interface: "eth0" }, End { host: &switch, interface: port }, 1500)?;
            link::plug(&switch, port, "br0")?;
            host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "0")?;
            for network in ["10.0.1.", "fd00:1::"] {
                link::address(host, "eth0", format!("{network}{last}").parse()?)?;
            }
            Ok(())
        };
        plug(&router, "router", "1")?;
        let mut hosts = Vec::new();
        for number in 0..nodes {
            let host = Host::new(&lease, &format!("node{number}"))?;
            plug(&host, &format!("node{number}"), &(11 + number).to_string())?;
            hosts.push(host);
        }
        Ok(World { router, nodes: hosts, _switch: switch })
    }

    /// The router's configuration. How soon it notices that a node is gone is not what is tested, so BFD may be slow.
    pub(crate) fn routing(&self) -> Routing {
        let neighbour = |number: usize| {
            let address = Ipv4Addr::new(10, 0, 1, 11 + number as u8).into();
            Neighbour { bfd: Some(1000), ..Neighbour::new(address, ROUTER.into(), NODE_AS) }
        };
        let neighbours = (0..self.nodes.len()).map(neighbour).collect();
        Routing { local_as: ROUTER_AS, router_id: ROUTER, neighbours }
    }

    /// Whether the router's kernel sends packets to `vip` by just these next hops.
    pub(crate) fn has_next_hops(&self, vip: &str, next_hops: &[&str]) -> Result<()> {
        let family = if vip.contains(':') { "-6" } else { "-4" };
        let route = self.router.ip(&format!("{family} route show {vip}"))?;
        let words: Vec<&str> = route.split_whitespace().collect();
        let found: BTreeSet<&str> =
            words.windows(2).filter(|words| words[0] == "via").map(|words| words[1]).collect();
        ensure!(
            found == next_hops.iter().copied().collect(),
            "the route to {vip} is {route:?}, not by {next_hops:?}"
        );
        Ok(())
    }
}

/// An example of `packaging`, for node `number`.
pub(crate) fn example(text: &str, number: usize) -> String {
    text.replace("10.0.1.11", &format!("10.0.1.{}", 11 + number))
        .replace("fd00:1::11", &format!("fd00:1::{}", 11 + number))
}

/// The table, kept on a thread within a node.
pub(crate) struct Keeping {
    wanted: watch::Sender<Arc<Wanted>>,
    status: watch::Receiver<Arc<Status>>,
    orders: UnboundedSender<Order>,
    thread: Option<JoinHandle<Result<()>>>,
}

enum Order {
    Apply(Configuration, mpsc::Sender<Result<()>>),
    Stop(Ending),
}

impl Keeping {
    pub(crate) fn start(node: &Host, configuration: Configuration, wanted: Wanted) -> Result<Keeping> {
        let entrance = node.entrance()?;
        let (wanted, watched) = watch::channel(Arc::new(wanted));
        let (orders, ordered) = unbounded_channel();
        let (started, start) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            entrance.move_this_thread_in();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(keep(configuration, watched, ordered, started))
        });
        let status = start.recv().context("the table's thread ended")?;
        Ok(Keeping { wanted, status, orders, thread: Some(thread) })
    }

    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.send_replace(Arc::new(wanted));
    }

    pub(crate) fn apply(&self, configuration: Configuration) -> Result<()> {
        let (answer, answered) = mpsc::channel();
        self.orders.send(Order::Apply(configuration, answer)).context("the table's thread ended")?;
        answered.recv().context("the table's thread ended")?
    }

    pub(crate) fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// Waits until the status is as `look` wants it.
    pub(crate) fn wait(&self, what: &str, look: impl Fn(&Status) -> bool) -> Result<Arc<Status>> {
        wait::until(what, SOON, || {
            let status = self.status();
            ensure!(look(&status), "the status is {status:#?}");
            Ok(status)
        })
    }

    /// Ends it.
    pub(crate) fn stop(mut self, ending: Ending) -> Result<()> {
        self.orders.send(Order::Stop(ending)).context("the table's thread ended")?;
        let thread = self.thread.take().context("it was stopped before")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        // As a crash: what is written stays.
        let _ = self.orders.send(Order::Stop(Ending::Keep));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn keep(
    configuration: Configuration,
    wanted: watch::Receiver<Arc<Wanted>>,
    mut orders: UnboundedReceiver<Order>,
    started: mpsc::Sender<watch::Receiver<Arc<Status>>>,
) -> Result<()> {
    let mut table = kernel_table::start(&configuration, &wanted)?;
    started.send(table.watch()).context("nobody waits for the table")?;
    while let Some(order) = orders.recv().await {
        match order {
            Order::Apply(configuration, answer) => {
                let applied = table.apply(&configuration).map_err(anyhow::Error::from);
                answer.send(applied).context("nobody waits for the answer")?;
            }
            Order::Stop(ending) => return table.stop(ending).await,
        }
    }
    Ok(())
}

/// The lines of the node's table, both families.
pub(crate) fn table(node: &Host, number: u32) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for family in ["-4", "-6"] {
        // A table without a route does not exist.
        let text = node.ip(&format!("{family} route show table {number}")).unwrap_or_default();
        lines.extend(text.lines().map(|line| line.trim().to_owned()));
    }
    Ok(lines)
}

/// The addresses that have a route in the table by `protocol`.
pub(crate) fn routed(node: &Host, number: u32, protocol: u8) -> Result<BTreeSet<IpAddr>> {
    let word = format!("proto {protocol} ");
    let lines = table(node, number)?;
    let ours = lines.iter().filter(|line| line.contains(&word));
    ours.map(|line| {
        let address = line.split_whitespace().nth(1).context("a blackhole's line has an address")?;
        address.parse().with_context(|| line.clone())
    })
    .collect()
}
