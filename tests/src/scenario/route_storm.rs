//! A storm of route changes while neighbours change their MAC addresses, and the next hops that packets find meanwhile:
//! a controller follows them, and its pinned map of targets is read.
//!
//! ```text
//!   node ── to-a ── a      10.120.0.1, fd12::1  ──  10.120.0.2, fd12::2 (a router)
//!     ├──── to-b ── b      10.121.0.1, fd13::1  ──  10.121.0.2, fd13::2 (another one)
//!     └──── to-n0 … n      10.130.0.1, fd15::1  ──  10.130.1.0, fd15::1:1, … (neighbours, all with one MAC address)
//! ```
//!
//! The routed targets have a route each, which the storm changes from one router to the other; the neighbours are
//! targets, too, and announce another MAC address several times a second. Every other target is one of IPv6.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use lb_common::encapsulation::Way;
use lb_common::maps as names;
use lb_userspace::data_plane::mapped::{MappedArray, TargetWords};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::RouteProtocol;
use serde_json::json;

use super::{Options, Scenario, Telling};
use crate::bpf_file_system::BpfFileSystem;
use crate::configuration::{self, target_group};
use crate::flood::interface_of;
use crate::host::Host;
use crate::lease::Lease;
use crate::link::{self, End};
use crate::process::{Process, binary};
use crate::stall::Stall;
use crate::wait;

/// The story.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "route-storm",
    about: "20,000 route changes while 1,000 neighbours flap: no stale next hop for longer than 100 ms",
    run,
};

/// How many routes change in all.
const CHANGES: u32 = 20_000;
/// How many neighbours there are, and as many targets are behind routers: nearly as many of each family as a kernel keeps
/// as it comes without throwing some out (`gc_thresh2`: 512, for all of its namespaces together), if it may.
const NEIGHBOURS: u32 = 1_000;
/// So many targets the controller's map has room for: those of the story, and not so many more that looking at them
/// takes long.
const MOST_TARGETS: u32 = 2 * NEIGHBOURS + 47;
/// How many neighbours are on one link, of a cable each. They announce a MAC address all at once, and of more than some
/// 250 announcements of IPv6 the kernel's queue (`netdev_max_backlog`) loses the last ones, each time the same.
const ON_LINK: u32 = 200;
/// In how many parts the storm comes: memory is compared after the first and after the last one.
const ROUNDS: u32 = 4;
/// How old a next hop may be at most.
const STALE: Duration = Duration::from_millis(100);
/// The same of a debug build, which takes several times as long for everything.
const STALE_IN_DEBUG: Duration = Duration::from_millis(400);
/// How many threads have to be woken one after another, each of which a busy machine may keep waiting: that which makes the
/// change, the controller's that hears of it, that which publishes it, and that which looks.
const STALLS: u32 = 4;
/// How long the machine may take to settle.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two rounds, and after the last one: what changes last is seen for longer than it may be stale.
const BREATH: Duration = Duration::from_secs(1);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(3);
/// How often all neighbours change their MAC address.
const FLAP: Duration = Duration::from_millis(250);
/// By how much the process may grow between the first and the last round: what an allocator does.
const GROWTH: u64 = 4 << 20;

fn run(options: &Options, telling: &mut Telling) -> Result<()> {
    let changes = options.changes.unwrap_or(CHANGES);
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let targets = options.neighbours.unwrap_or(NEIGHBOURS);
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..=u64::from(u32::MAX)));
    telling.step(format!("{targets} neighbours, {targets} targets behind two routers, --seed {seed}"));
    let world = World::new(targets)?;
    let truth = Arc::new(Truth::new(targets));
    let storm = Storm { changes: changes / rounds, rounds, seed };
    let controller = Controller::start(&world)?;
    let played = world.node.enter(|| storm.play(&world, &controller, &truth, &*telling));
    let (told, memory) = played.with_context(|| controller.process.log())?;
    tell(&told, &memory, changes, telling);
    Ok(())
}

fn tell(told: &Observed, memory: &[u64], changes: u32, telling: &mut Telling) {
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    telling.number("route changes", changes);
    telling.number("changes of all MAC addresses", told.flaps);
    telling.number("looks at another state of the map", told.states);
    telling.number("oldest next hop", milliseconds(told.stalest));
    telling.number("longest time that this machine did not run a waiting thread", milliseconds(told.stall));
    let mebibytes: Vec<String> =
        memory.iter().map(|bytes| format!("{:.1}", *bytes as f64 / f64::from(1 << 20))).collect();
    telling.number("the controller's memory after each round", format!("{} MiB", mebibytes.join(", ")));
    let fresh = || {
        ensure!(told.flaps > 0 && told.states > 0, "nothing flapped, or nothing was published");
        let limit = STALLS * told.stall + if cfg!(debug_assertions) { STALE_IN_DEBUG } else { STALE };
        ensure!(
            told.stalest <= limit,
            "one was {:?} old, {:?} more than that",
            told.stalest,
            told.stalest - limit
        );
        Ok(())
    };
    telling.claim(
        "no next hop was older than 100 ms (400 of a debug build) and four stalls of the machine itself",
        fresh(),
    );
    let constant = || {
        let (first, last) = memory.first().zip(memory.last()).context("no round was played")?;
        ensure!(*last <= first + GROWTH, "it grew by {} bytes", last - first);
        Ok(())
    };
    telling.claim("memory is as it was after the first round", constant());
}

/// What is true of each target, as the storm makes it.
struct Truth(Mutex<BTreeMap<IpAddr, Fact>>);

/// One of two ways, or of two MAC addresses.
#[derive(Debug, Clone, Copy)]
struct Fact {
    second: bool,
    /// When it became so, as the kernel confirmed it; none while it is being changed.
    since: Option<Instant>,
}

impl Truth {
    fn new(targets: u32) -> Truth {
        let fact = Fact { second: false, since: Some(Instant::now()) };
        Truth(Mutex::new(all(targets).into_iter().map(|target| (target, fact)).collect()))
    }

    fn facts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Fact>> {
        self.0.lock().expect("nobody panics with it")
    }

    /// Targets are being turned the other way.
    fn begin(&self, targets: &[IpAddr]) {
        let mut facts = self.facts();
        for target in targets {
            facts.entry(*target).and_modify(|fact| *fact = Fact { second: !fact.second, since: None });
        }
    }

    /// The kernel has confirmed that they are.
    fn end(&self, targets: &[IpAddr]) {
        let (mut facts, now) = (self.facts(), Instant::now());
        for target in targets {
            facts.entry(*target).and_modify(|fact| fact.since = Some(now));
        }
    }

    /// For how long the oldest of `published` has not been true.
    fn stalest(&self, published: &Published, now: Instant) -> Duration {
        let facts = self.facts();
        let age = |(target, fact): (&IpAddr, &Fact)| {
            let is_true = published.get(target) == Some(&fact.second);
            fact.since.filter(|_| !is_true).map(|since| now.saturating_duration_since(since))
        };
        facts.iter().filter_map(age).max().unwrap_or_default()
    }
}

/// Which of its two next hops each target has; those that have none are not in it.
type Published = BTreeMap<IpAddr, bool>;

/// The neighbours' MAC addresses, in turn.
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0x77, 1], [2, 0, 0, 0, 0x77, 2]];

fn neighbours(targets: u32) -> Vec<IpAddr> {
    links(targets).flat_map(|link| on_link(targets, link)).collect()
}

/// The numbers of the links that neighbours are on.
fn links(targets: u32) -> Range<u8> {
    0..u8::try_from(targets.div_ceil(ON_LINK)).expect("a story has at most 1000 neighbours")
}

/// The neighbours on one link.
fn on_link(targets: u32, link: u8) -> Vec<IpAddr> {
    let count = (targets - u32::from(link) * ON_LINK).min(ON_LINK);
    let first6 = Ipv6Addr::new(0xfd15, 0, 0, link.into(), 0, 0, 1, 0);
    numbered(count, Ipv4Addr::new(10, 130 + link, 1, 0), first6)
}

fn routed(targets: u32) -> Vec<IpAddr> {
    numbered(targets, Ipv4Addr::new(10, 123, 0, 0), Ipv6Addr::new(0xfd14, 0, 0, 0, 0, 0, 0, 0))
}

/// Every other one is of IPv6.
fn numbered(count: u32, first4: Ipv4Addr, first6: Ipv6Addr) -> Vec<IpAddr> {
    let address = |n: u32| match n % 2 {
        0 => Ipv4Addr::from_bits(first4.to_bits() + n).into(),
        _ => Ipv6Addr::from_bits(first6.to_bits() + u128::from(n)).into(),
    };
    (0..count).map(address).collect()
}

fn all(targets: u32) -> BTreeSet<IpAddr> {
    neighbours(targets).into_iter().chain(routed(targets)).collect()
}

/// The node and those around it.
struct World {
    targets: u32,
    node: Host,
    neighbours: Host,
    _routers: [Host; 2],
}

impl World {
    fn new(targets: u32) -> Result<World> {
        let lease = Lease::take()?;
        let node = Host::new(&lease, "node")?;
        let host = |role: &str, port: &str| -> Result<Host> {
            let host = Host::new(&lease, role)?;
            link::connect(
                End { host: &node, interface: port },
                End { host: &host, interface: "eth0" },
                1500,
            )?;
            Ok(host)
        };
        let routers = [host("a", "to-a")?, host("b", "to-b")?];
        for (router, (port, networks)) in
            routers.iter().zip([("to-a", ["10.120.0.", "fd12::"]), ("to-b", ["10.121.0.", "fd13::"])])
        {
            for network in networks {
                link::address(&node, port, format!("{network}1").parse()?)?;
                link::address(router, "eth0", format!("{network}2").parse()?)?;
            }
        }
        let neighbours = Host::new(&lease, "n")?;
        let world = World { targets, node, neighbours, _routers: routers };
        world.settle_neighbours()?;
        world.batch(
            &world.node,
            "first-routes",
            routed(targets).iter().map(|target| route(*target, false)),
        )?;
        Ok(world)
    }

    fn settle_neighbours(&self) -> Result<()> {
        links(self.targets).try_for_each(|link| self.settle_link(link))
    }

    fn settle_link(&self, link: u8) -> Result<()> {
        let (here, there) = (format!("to-n{link}"), format!("eth{link}"));
        let end = |host, interface| End { host, interface };
        link::connect(end(&self.node, &here), end(&self.neighbours, &there), 1500)?;
        self.node.ip(&format!("address add 10.{}.0.1/16 dev {here}", 130 + link))?;
        link::address(&self.node, &here, Ipv6Addr::new(0xfd15, 0, 0, link.into(), 0, 0, 0, 1).into())?;
        self.move_neighbours(link, 0)?;
        let address = |address: &IpAddr| match address {
            IpAddr::V4(address) => format!("address add {address}/16 dev {there}"),
            IpAddr::V6(address) => format!("address add {address}/64 dev {there} nodad"),
        };
        self.batch(&self.neighbours, "neighbours", on_link(self.targets, link).iter().map(address))?;
        // They tell everybody when their MAC address has changed.
        self.neighbours.set_sysctl(&format!("net/ipv4/conf/{there}/arp_notify"), "1")?;
        self.neighbours.set_sysctl(&format!("net/ipv6/conf/{there}/ndisc_notify"), "1")
    }

    fn move_neighbours(&self, link: u8, mac: usize) -> Result<()> {
        self.neighbours.ip(&format!("link set dev eth{link} address {}", text(MACS[mac]))).map(drop)
    }

    /// Gives all neighbours one of the MAC addresses, of which they tell everybody: again, until the node's kernel has
    /// heard it of all of them. A queue on the way may be too short for so many at once.
    fn announce(&self, mac: usize, confirmed: impl Fn(&[IpAddr])) -> Result<()> {
        let mut waited_for: BTreeSet<IpAddr> = neighbours(self.targets).into_iter().collect();
        wait::until("the node's kernel to know the MAC address of all neighbours", PATIENCE, || {
            links(self.targets).try_for_each(|link| self.move_neighbours(link, mac))?;
            let heard: Vec<IpAddr> =
                self.known(mac)?.into_iter().filter(|address| waited_for.remove(address)).collect();
            confirmed(&heard);
            ensure!(waited_for.is_empty(), "{} are as before", waited_for.len());
            Ok(())
        })
    }

    /// The neighbours that the node's kernel knows by one of the MAC addresses.
    fn known(&self, mac: usize) -> Result<Vec<IpAddr>> {
        let mac = format!("lladdr {} ", text(MACS[mac]));
        let listed = self.node.ip("neigh show")?;
        let lines = listed.lines().filter(|line| line.contains(&mac));
        lines.map(|line| line.split(' ').next().unwrap_or_default().parse().context("an address")).collect()
    }

    fn batch(&self, host: &Host, name: &str, lines: impl Iterator<Item = String>) -> Result<()> {
        let path = host.lease().directory().join(format!("{name}.batch"));
        let text: String = lines.map(|line| line + "\n").collect();
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        host.ip(&format!("-batch {}", path.display())).map(drop)
    }
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A line of `ip` that makes a routed target's route.
fn route(target: IpAddr, second: bool) -> String {
    format!("route replace {target} via {}", gateway(target, second))
}

fn gateway(target: IpAddr, second: bool) -> IpAddr {
    match (target, second) {
        (IpAddr::V4(_), false) => Ipv4Addr::new(10, 120, 0, 2).into(),
        (IpAddr::V4(_), true) => Ipv4Addr::new(10, 121, 0, 2).into(),
        (IpAddr::V6(_), false) => Ipv6Addr::new(0xfd12, 0, 0, 0, 0, 0, 0, 2).into(),
        (IpAddr::V6(_), true) => Ipv6Addr::new(0xfd13, 0, 0, 0, 0, 0, 0, 2).into(),
    }
}

/// A controller on the node, and what packets find in its map of targets.
struct Controller {
    process: Process,
    targets: MappedArray<TargetWords>,
    /// The indices of the interfaces to both routers.
    routers: [u32; 2],
    _pins: BpfFileSystem,
}

impl Controller {
    /// Starts it with all targets in one group, which no listener forwards to: nobody checks their health.
    fn start(world: &World) -> Result<Controller> {
        let pins = BpfFileSystem::mount(world.node.lease())?;
        let directory = world.node.lease().directory();
        let (file, pinned) = (directory.join("node.json"), pins.path().join("sluice"));
        let targets: Vec<IpAddr> = all(world.targets).into_iter().collect();
        let configuration = json!({
            "node": { "name": "node", "zone": "a", "interfaces": ["to-a"] },
            "load_balancers": [],
            "target_groups": [ target_group("web", "TCP", 80, &targets) ]
        });
        configuration::write(&file, &configuration)?;
        let mut command = Command::new(binary("sluice")?);
        command.args(["run", "--config"]).arg(&file).arg("--runtime-directory").arg(directory.join("node"));
        command.arg("--pins").arg(&pinned).arg(format!("--max=targets={MOST_TARGETS}"));
        let mut process = world.node.spawn(&mut command, "node.log")?;
        let targets = wait::until("the pinned map of targets", PATIENCE, || {
            process.check_running()?;
            ensure!(process.log().contains("ready:"), "the controller is not ready");
            mapped_targets(&pinned)
        })?;
        let index = |name| interface_of(&world.node, name).map(|interface| interface.index);
        let routers = [index("to-a")?, index("to-b")?];
        Ok(Controller { process, targets, routers, _pins: pins })
    }

    fn published(&self) -> Published {
        self.targets.values().iter().filter_map(|words| self.next_hop(words)).collect()
    }

    /// A target and which of its two next hops it has.
    fn next_hop(&self, TargetWords(words): &TargetWords) -> Option<(IpAddr, bool)> {
        let [low, high] = [11, 12].map(|at| words[at].load().to_ne_bytes());
        let address = Ipv6Addr::from(u128::from_be_bytes([low, high].concat().try_into().ok()?));
        let second = match Way(words[0].load()).interface() {
            0 => return None,
            interface if interface == self.routers[0] => false,
            interface if interface == self.routers[1] => true,
            _ => words[2].load().to_ne_bytes().starts_with(&MACS[1]),
        };
        Some((address.to_canonical(), second))
    }
}

fn mapped_targets(pinned: &Path) -> Result<MappedArray<TargetWords>> {
    let map = MapData::from_pin(pinned.join("maps").join(names::TARGETS)).context("the pinned targets")?;
    MappedArray::new(map.fd().as_fd(), map.info()?.max_entries())
}

struct Storm {
    /// In each round.
    changes: u32,
    rounds: u32,
    seed: u64,
}

/// What was seen of the publications.
#[derive(Debug, Default, Clone, Copy)]
struct Observed {
    states: u64,
    flaps: u32,
    stalest: Duration,
    stall: Duration,
}

impl Storm {
    /// Must be called inside the node.
    fn play(
        &self,
        world: &World,
        controller: &Controller,
        truth: &Arc<Truth>,
        telling: &Telling,
    ) -> Result<(Observed, Vec<u64>)> {
        let settled = || until_true(truth, controller);
        settled()?;
        telling.step("all next hops are in the map");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let observer = Observer { truth: Arc::clone(truth), end: AtomicBool::new(false) };
        let mut memory = Vec::new();
        let mut chance = fastrand::Rng::with_seed(self.seed);
        let played = std::thread::scope(|scope| -> Result<Observed> {
            let observing = scope.spawn(|| observer.observe(controller));
            let stall = Stall::watch();
            let flapping = scope.spawn(|| observer.flap(world));
            for round in 1..=self.rounds {
                let begun = Instant::now();
                let changed = runtime.block_on(self.change_routes(world, truth, &mut chance));
                if changed.is_err() {
                    observer.end.store(true, Ordering::Relaxed);
                }
                changed?;
                telling.step(format!(
                    "round {round}: {} routes changed in {:.1?}",
                    self.changes,
                    begun.elapsed()
                ));
                std::thread::sleep(BREATH);
                memory.push(controller.process.memory("VmRSS")?);
            }
            observer.end.store(true, Ordering::Relaxed);
            let flaps = flapping.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let seen = observing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok(Observed { flaps, stall: stall.longest(), ..seen })
        })?;
        settled()?;
        Ok((played, memory))
    }

    /// As fast as the kernel takes them.
    async fn change_routes(&self, world: &World, truth: &Truth, chance: &mut fastrand::Rng) -> Result<()> {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening a netlink socket")?;
        let mut task = tokio::task::JoinSet::new();
        task.spawn(connection);
        let targets = routed(world.targets);
        for _ in 0..self.changes {
            let target = targets[chance.usize(..targets.len())];
            truth.begin(&[target]);
            let second = truth.facts()[&target].second;
            let length = if target.is_ipv4() { 32 } else { 128 };
            let message = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(target, length)?
                .gateway(gateway(target, second))?
                .protocol(RouteProtocol::Boot)
                .build();
            let changed = handle.route().add(message).replace().execute().await;
            changed.with_context(|| format!("changing the route to {target}"))?;
            truth.end(&[target]);
        }
        Ok(())
    }
}

fn until_true(truth: &Truth, controller: &Controller) -> Result<()> {
    wait::until("all next hops as they are", PATIENCE, || {
        let published = controller.published();
        let is_stale = |(target, fact): &(&IpAddr, &Fact)| published.get(*target) != Some(&fact.second);
        let stale: Vec<IpAddr> = truth.facts().iter().filter(is_stale).map(|(target, _)| *target).collect();
        ensure!(stale.is_empty(), "{} are not, the first one is that of {:?}", stale.len(), stale.first());
        Ok(())
    })
}

struct Observer {
    truth: Arc<Truth>,
    end: AtomicBool,
}

impl Observer {
    fn has_ended(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    /// Looks again and again how old what packets find is.
    fn observe(&self, controller: &Controller) -> Observed {
        let (mut seen, mut latest) = (Observed::default(), controller.published());
        while !self.has_ended() {
            // What comes true after this moment is not in the map's state yet.
            let now = Instant::now();
            let published = controller.published();
            seen.states += u64::from(published != latest);
            seen.stalest = seen.stalest.max(self.truth.stalest(&published, now));
            latest = published;
            std::thread::sleep(LOOK);
        }
        seen
    }

    /// All neighbours take the other MAC address and say so, again and again; how often.
    fn flap(&self, world: &World) -> Result<u32> {
        let all = neighbours(world.targets);
        let mut flaps = 0;
        while !self.has_ended() {
            let mac = usize::from(flaps % 2 == 0);
            self.truth.begin(&all);
            world.announce(mac, |confirmed| self.truth.end(confirmed))?;
            flaps += 1;
            std::thread::sleep(FLAP);
        }
        Ok(flaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_hop_is_stale_from_the_moment_that_the_kernel_confirmed_another_one() {
        let truth = Truth::new(1);
        let (neighbour, far) = (neighbours(1)[0], routed(1)[0]);
        let mut published = Published::from([(neighbour, false), (far, false)]);
        let later = Duration::from_millis(50);
        assert_eq!(truth.stalest(&published, Instant::now() + later), Duration::ZERO);
        truth.begin(&[far]);
        assert_eq!(truth.stalest(&published, Instant::now() + later), Duration::ZERO, "not confirmed yet");
        truth.end(&[far]);
        assert!(truth.stalest(&published, Instant::now() + later) >= later);
        published.insert(far, true);
        assert_eq!(truth.stalest(&published, Instant::now() + later), Duration::ZERO);
        truth.begin(&[neighbour]);
        truth.end(&[neighbour]);
        published.remove(&neighbour);
        assert!(truth.stalest(&published, Instant::now() + later) >= later, "an unknown one is stale");
    }
}
