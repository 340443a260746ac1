//! BIRD and FRR announce what the nodes' controllers write into a routing table of the kernel: nodes are drained, their
//! controllers are ended, killed and started again, and their data planes withdrawn, beneath a crowd of connections.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::routed::{BFD_ON_A_BUSY_MACHINE, DAEMONS_BFD_MILLISECONDS, DataPlane, Routed, Tellers};
use super::routers::{MOVED, MOVED_ON_A_BUSY_MACHINE, Moved, TARGETS, Took, last_change};
use super::second_chance::{CONNECTIONS, ECHOES, NODES};
use super::{Options, Scenario, Telling};
use crate::crowd::{Crowd, Patience};
use crate::probe::{Probe, Seen};
use crate::route_changes::RouteChanges;
use crate::stall::Stall;
use crate::wait;

/// The story.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "kernel-table",
    about: "BIRD and FRR announce what is in a kernel table: drained, restarted, withdrawn without a loss",
    run,
};

/// How long a change may take, daemons' timers included.
const SETTLED: Duration = Duration::from_secs(60);

/// What routers are told of a VIP that drains (RFC 8326), in FRR's words.
const GRACEFUL_SHUTDOWN: &str = "graceful-shutdown";

fn run(options: &Options, telling: &mut Telling) -> Result<()> {
    let (nodes, targets) = (options.nodes.unwrap_or(NODES), options.targets.unwrap_or(TARGETS));
    let connections = options.connections.unwrap_or(CONNECTIONS) as usize;
    let (limit, bfd_milliseconds) = if options.connections.is_some() {
        (MOVED_ON_A_BUSY_MACHINE, BFD_ON_A_BUSY_MACHINE)
    } else {
        (MOVED, DAEMONS_BFD_MILLISECONDS)
    };
    let routed = Routed::start(nodes, targets, Tellers::Daemons { bfd_milliseconds }, DataPlane::Pinned)?;
    let mut crowd = Crowd::start(&routed.lab, Patience::CALM)?;
    crowd.open(connections)?;
    let mut story = Story { routed };
    telling.step(format!("{}; {connections} connections are established", story.tellers()));
    let told = story.play(limit, telling);
    told.map_err(|error| story.routed.with_evidence(error))?;
    let tally = crowd.finish();
    tally.tell(connections, telling);
    telling
        .claim("no connection broke, no byte was wrong, missing or twice there", tally.is_whole(connections));
    Ok(())
}

struct Story {
    routed: Routed,
}

impl Story {
    fn play(&mut self, limit: Duration, telling: &mut Telling) -> Result<()> {
        let vips = self.routed.lab.vips.clone();
        let changes = RouteChanges::of(&self.routed.lab.router)?;
        let probes: Vec<Probe> =
            vips.iter().map(|vip| Probe::start(&self.routed.lab, *vip)).collect::<Result<_>>()?;
        let drained = self.all().into_iter().try_for_each(|node| self.drain(node, telling));
        telling
            .claim("a draining node was a way of last resort (RFC 8326), whichever daemon said it", drained);
        let untouched = self.restart_all(telling)?;
        telling.claim(
            "controllers that ended, were killed and began again were nothing to the router",
            untouched,
        );
        self.withdraw_all(telling)?;
        let seen = probes.into_iter().map(Probe::finish).collect::<Result<Vec<Seen>>>()?;
        let seen = seen.into_iter().fold(Seen::default(), Seen::with);
        telling.number("datagrams, while nothing was killed without pins", seen.sent);
        telling.number("datagrams lost of these", seen.lost.len());
        telling.claim("the router had a way to each VIP all that time", changes.were_never_gone(&vips));
        telling.claim("no datagram was lost by drains, restarts and withdrawals", seen.is_whole());
        let mut worst = Moved::default();
        for node in self.all().into_iter().take(2) {
            let moved = self.kill_without_pins(node)?;
            telling.step(format!("{} was killed without pins: {}", self.name(node), moved.words()));
            worst = worst.or(moved);
        }
        worst.tell(limit, telling);
        Ok(())
    }

    /// As a way of last resort first, then not at all, then as before.
    fn drain(&self, node: usize, telling: &Telling) -> Result<()> {
        let sluice = |arguments: &[&str]| self.routed.lab.nodes[node].sluice(arguments);
        sluice(&["node", "drain", "--after", "600s", "--no-wait"])?;
        self.routed.until_routed(&self.all_but(node))?;
        self.until_told(node, "the community GRACEFUL_SHUTDOWN", |told| {
            told.is_some_and(|communities| communities.contains(GRACEFUL_SHUTDOWN))
        })?;
        let said = sluice(&["node", "drain", "--after", "0s"])?;
        self.until_told(node, "the withdrawal", |told| told.is_none())?;
        sluice(&["node", "undrain"])?;
        self.until_told(node, "the end of the drain", |told| {
            told.is_some_and(|communities| !communities.contains(GRACEFUL_SHUTDOWN))
        })?;
        self.routed.until_routed(&self.all())?;
        let last = said.lines().last().unwrap_or_default();
        telling.step(format!("{} ({}): {last}, and back", self.name(node), self.routed.teller(node)));
        std::thread::sleep(ECHOES);
        Ok(())
    }

    /// Every controller ends and starts again, and is killed and starts again; whether no route of the router changed.
    fn restart_all(&mut self, telling: &Telling) -> Result<Result<()>> {
        let changes = RouteChanges::of(&self.routed.lab.router)?;
        for node in self.all() {
            self.routed.restart(node)?;
            self.announces(node)?;
            let controller = &mut self.routed.lab.nodes[node].controller;
            controller.take().context("the controller runs")?.kill();
            self.start(node)?;
            self.announces(node)?;
            telling
                .step(format!("{}: the controller was restarted, and killed and restarted", self.name(node)));
        }
        let changed: Vec<&IpAddr> =
            self.routed.lab.vips.iter().filter(|vip| changes.last(**vip).is_some()).collect();
        let untouched = || {
            ensure!(changed.is_empty(), "the router's routes to {changed:?} changed");
            Ok(())
        };
        Ok(untouched())
    }

    /// Each node's routes are withdrawn before its data plane ends; then it begins anew.
    fn withdraw_all(&mut self, telling: &Telling) -> Result<()> {
        for node in self.all() {
            self.withdraw(node)?;
            self.start(node)?;
            self.routed.until_routed(&self.all())?;
            telling
                .step(format!("{}: withdrawn (sluice stop --withdraw), and started anew", self.name(node)));
            std::thread::sleep(ECHOES);
        }
        Ok(())
    }

    /// First the routes, then the data plane.
    fn withdraw(&mut self, node: usize) -> Result<()> {
        let at = &mut self.routed.lab.nodes[node];
        let file = at.configuration_file();
        let pins = at.pins.clone().context("the data plane is pinned")?;
        let (file, pins) = (file.to_string_lossy(), pins.to_string_lossy());
        let said = at.sluice(&["stop", "--withdraw", "--pins", &*pins, "--config", &*file])?;
        at.controller = None;
        for words in ["no VIP has a route", "the data plane has ended"] {
            ensure!(said.contains(words), "{said}");
        }
        self.until_told(node, "the withdrawal", |told| told.is_none())?;
        self.routed.until_routed(&self.all_but(node))
    }

    /// A controller whose data plane ends with it is killed.
    fn kill_without_pins(&mut self, node: usize) -> Result<Moved> {
        self.withdraw(node)?;
        let pins = self.routed.lab.nodes[node].pins.take();
        self.start(node)?;
        self.routed.until_routed(&self.all())?;
        let vip = self.routed.lab.vips[0];
        let (changes, probe) =
            (RouteChanges::of(&self.routed.lab.router)?, Probe::start(&self.routed.lab, vip)?);
        std::thread::sleep(ECHOES / 4);
        let (stall, all_the_time) = (Stall::watch(), Stall::watch());
        let killed = Instant::now();
        let controller = &mut self.routed.lab.nodes[node].controller;
        controller.take().context("the controller runs")?.kill();
        self.routed.until_routed(&self.all_but(node))?;
        let routes = Took::until(Some(last_change(&self.routed.lab, &changes)?), killed, stall);
        std::thread::sleep(ECHOES);
        let seen = probe.finish()?;
        let moved = Moved::of(routes, Took::until(seen.last_lost(), killed, all_the_time), &seen);
        self.routed.lab.nodes[node].pins = pins;
        self.start(node)?;
        self.routed.until_routed(&self.all())?;
        Ok(moved)
    }

    fn start(&mut self, node: usize) -> Result<()> {
        let configuration = self.routed.configuration(node);
        self.routed.lab.start_controller(node, &configuration)
    }

    /// Waits until a controller says that it announces all VIPs.
    fn announces(&self, node: usize) -> Result<()> {
        let announced = self.routed.lab.wait_for(node, "all VIPs announced", SETTLED, |report| {
            let all = report.announcements.iter().all(|vip| vip.state == "announced");
            ensure!(all && !report.announcements.is_empty(), "{:?}", report.announcements);
            Ok(())
        });
        announced.map(drop)
    }

    /// Waits until the router was told by a node of each VIP that the node can announce what `is_told` wants: the
    /// communities, or nothing.
    fn until_told(&self, node: usize, what: &str, is_told: impl Fn(Option<&str>) -> bool) -> Result<()> {
        let vips: Vec<IpAddr> = self.routed.lab.vips.clone();
        let of_node = || vips.iter().copied().filter(|vip| self.routed.can_announce(node, *vip));
        wait::until(&format!("{what} from {}", self.name(node)), SETTLED, || {
            of_node().try_for_each(|vip| {
                let told = self.routed.told(node, vip)?;
                ensure!(is_told(told.as_deref()), "of {vip} the router was told {told:?}");
                Ok(())
            })
        })
    }

    fn name(&self, node: usize) -> &str {
        &self.routed.lab.nodes[node].name
    }

    fn all(&self) -> Vec<usize> {
        (0..self.routed.lab.nodes.len()).collect()
    }

    fn all_but(&self, node: usize) -> Vec<usize> {
        self.all().into_iter().filter(|other| *other != node).collect()
    }

    fn tellers(&self) -> String {
        let told = |node: usize| format!("{} by {}", self.name(node), self.routed.teller(node));
        self.all().into_iter().map(told).collect::<Vec<_>>().join(", ")
    }
}
