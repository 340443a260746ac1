//! Routers that are told by BGP, and watch nodes by BFD: a node falls silent, and all nodes are upgraded in turn.

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::routed::{BFD_MILLISECONDS, BFD_ON_A_BUSY_MACHINE, DataPlane, Routed, SETTLED, Tellers};
use super::second_chance::{CONNECTIONS, ECHOES, NODES};
use super::{Options, Scenario, Telling};
use crate::crowd::{Crowd, Patience};
use crate::probe::{Probe, Seen};
use crate::route_changes::RouteChanges;
use crate::stall::Stall;
use crate::stream::{Flowed, Stream};
use crate::topology::Lab;
use crate::{http, other_build};

/// A node's port falls silent.
pub(super) const SILENT_NODE: Scenario = Scenario {
    name: "silent-node",
    about: "a node's port goes silent under load: traffic moves in 500 ms, no connection breaks",
    run: silent_node,
};

/// All nodes are upgraded, one after another.
pub(super) const ROLLING_RESTART: Scenario = Scenario {
    name: "rolling-restart",
    about: "all nodes are drained and upgraded in turn under load: no packet lost, no connection breaks",
    run: rolling_restart,
};

/// How many targets there are.
pub(super) const TARGETS: u8 = 6;

/// Within what time a full-size story's traffic must have moved: 3 × 100 ms of BFD, and the router's own work.
pub(super) const MOVED: Duration = Duration::from_millis(500);

/// The same of a small story, which is played while a machine does other things.
pub(super) const MOVED_ON_A_BUSY_MACHINE: Duration = Duration::from_secs(3);

/// Between two packets of BFD in a small story of a silent node: a shorter stall than thrice that silences nobody else.
const SILENT_NODE_ON_A_BUSY_MACHINE: u32 = 300;

fn begin(
    options: &Options,
    bfd_milliseconds: u32,
    data_plane: DataPlane,
    telling: &Telling,
) -> Result<(Routed, Crowd, usize)> {
    let (nodes, targets) = (options.nodes.unwrap_or(NODES), options.targets.unwrap_or(TARGETS));
    let connections = options.connections.unwrap_or(CONNECTIONS) as usize;
    let routed = Routed::start(nodes, targets, Tellers::Speakers { bfd_milliseconds }, data_plane)?;
    telling.step(format!("{nodes} nodes announce, {targets} targets have agents"));
    let mut crowd = Crowd::start(&routed.lab, Patience::CALM)?;
    crowd.open(connections)?;
    telling.step(format!("{connections} connections are established"));
    Ok((routed, crowd, connections))
}

fn silent_node(options: &Options, telling: &mut Telling) -> Result<()> {
    let (limit, bfd_milliseconds) = if options.connections.is_some() {
        (MOVED_ON_A_BUSY_MACHINE, SILENT_NODE_ON_A_BUSY_MACHINE)
    } else {
        (MOVED, BFD_MILLISECONDS)
    };
    let (routed, crowd, connections) = begin(options, bfd_milliseconds, DataPlane::Unpinned, telling)?;
    let mut worst = Moved::default();
    for round in 0..options.rounds.unwrap_or(3) as usize {
        let moved = silence(&routed, round)?;
        let name = &routed.lab.nodes[round % routed.lab.nodes.len()].name;
        telling.step(format!("{name} fell silent: {}", moved.words()));
        worst = worst.or(moved);
        routed.lab.router.ip(&format!("link set dev {name} up"))?;
        routed.until_routed(&(0..routed.lab.nodes.len()).collect::<Vec<_>>())?;
        std::thread::sleep(ECHOES);
    }
    let tally = crowd.finish();
    tally.tell(connections, telling);
    worst.tell(limit, telling);
    telling
        .claim("no connection broke, no byte was wrong, missing or twice there", tally.is_whole(connections));
    Ok(())
}

/// Cuts the port of the round's node while flows to the round's VIP tell what is lost.
fn silence(routed: &Routed, round: usize) -> Result<Moved> {
    let lost = round % routed.lab.nodes.len();
    let others: Vec<usize> = (0..routed.lab.nodes.len()).filter(|node| *node != lost).collect();
    let changes = RouteChanges::of(&routed.lab.router)?;
    let probe = Probe::start(&routed.lab, routed.lab.vips[round % routed.lab.vips.len()])?;
    std::thread::sleep(ECHOES / 4);
    let (stall, all_the_time) = (Stall::watch(), Stall::watch());
    let silent = Instant::now();
    routed.lab.router.ip(&format!("link set dev {} down", routed.lab.nodes[lost].name))?;
    routed.until_routed(&others)?;
    let routes = Took::until(Some(last_change(&routed.lab, &changes)?), silent, stall);
    std::thread::sleep(ECHOES);
    let seen = probe.finish()?;
    Ok(Moved::of(routes, Took::until(seen.last_lost(), silent, all_the_time), &seen))
}

/// When a route of the router to a VIP changed last.
pub(super) fn last_change(lab: &Lab, changes: &RouteChanges) -> Result<Instant> {
    changes.catch_up(&lab.router)?;
    lab.vips.iter().filter_map(|vip| changes.last(*vip)).max().context("no route to a VIP changed")
}

/// How fast traffic left a node that had fallen silent.
///
/// Both times count from before the port is cut, and neither is stretched by answers that a busy machine delays: whether
/// a datagram is lost is decided when it is sent, and routes are the kernel's word. Yet the router's daemons need a
/// processor, one after another, which a busy machine may keep from them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    /// Until the router's kernel had its last new route to a VIP.
    routes: Took,
    /// Until the last datagram was sent that was lost.
    packets: Took,
    lost: u64,
    sent: u64,
}

/// How long something took, and how long this machine kept a thread waiting at worst while it was watched.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Took {
    time: Duration,
    stall: Duration,
}

impl Took {
    /// From the beginning until `end`, if it ever ended, with what a thread had to wait until now.
    pub(super) fn until(end: Option<Instant>, begun: Instant, stall: Stall) -> Took {
        let time = end.map(|end| end.saturating_duration_since(begun)).unwrap_or_default();
        Took { time, stall: stall.longest() }
    }

    fn or(self, other: Took) -> Took {
        Took { time: self.time.max(other.time), stall: self.stall.max(other.stall) }
    }

    fn is_within(self, limit: Duration) -> Result<()> {
        let allowed = limit + DAEMONS * self.stall;
        ensure!(self.time <= allowed, "it took {:?}, more than {allowed:?}", self.time);
        Ok(())
    }
}

impl Display for Took {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms (threads waited for {} ms)", self.time.as_millis(), self.stall.as_millis())
    }
}

/// How many processes must be woken one after another to move traffic: FRR's bfdd, bgpd and zebra.
const DAEMONS: u32 = 3;

impl Moved {
    /// What became of it, with what was lost of what the probe has `seen`.
    pub(super) fn of(routes: Took, packets: Took, seen: &Seen) -> Moved {
        Moved { routes, packets, lost: seen.lost.len() as u64, sent: seen.sent }
    }

    /// It in a line.
    pub(super) fn words(&self) -> String {
        let Moved { routes, packets, lost, sent } = self;
        format!(
            "the router's routes had changed after {routes}, the last of {lost} lost datagrams (of {sent}) was sent \
             after {packets}"
        )
    }

    /// The worse of both in everything.
    pub(super) fn or(self, other: Moved) -> Moved {
        Moved {
            routes: self.routes.or(other.routes),
            packets: self.packets.or(other.packets),
            lost: self.lost + other.lost,
            sent: self.sent + other.sent,
        }
    }

    /// Says what was measured, and claims that it was within `limit`.
    pub(super) fn tell(&self, limit: Duration, telling: &mut Telling) {
        telling.number("routes had moved after", self.routes);
        telling.number("last lost datagram after", self.packets);
        telling.number("datagrams lost", format!("{} of {}", self.lost, self.sent));
        let is_tried = || {
            ensure!(self.lost > 0, "no datagram was lost, so none went there");
            Ok(())
        };
        telling.claim("datagrams were under way to the nodes that were lost", is_tried());
        let milliseconds = limit.as_millis();
        let moved = self.routes.is_within(limit);
        telling.claim(format!("the router's routes moved in {milliseconds} ms"), moved);
        let last = self.packets.is_within(limit);
        telling.claim(format!("no datagram was lost after {milliseconds} ms"), last);
    }
}

fn rolling_restart(options: &Options, telling: &mut Telling) -> Result<()> {
    let bfd_milliseconds = options.connections.map_or(BFD_MILLISECONDS, |_| BFD_ON_A_BUSY_MACHINE);
    let (mut routed, crowd, connections) = begin(options, bfd_milliseconds, DataPlane::Pinned, telling)?;
    let build = other_build::write(routed.lab.lease.directory())?;
    let vips = routed.lab.vips.clone();
    let changes = RouteChanges::of(&routed.lab.router)?;
    let probes: Vec<Probe> = vips.iter().map(|vip| Probe::start(&routed.lab, *vip)).collect::<Result<_>>()?;
    let mut upgrades = Vec::new();
    for node in 0..routed.lab.nodes.len() {
        upgrades.push(upgrade(&mut routed, node, &build, telling)?);
        std::thread::sleep(ECHOES);
    }
    let seen = probes.into_iter().map(Probe::finish).collect::<Result<Vec<Seen>>>()?;
    let seen = seen.into_iter().fold(Seen::default(), Seen::with);
    let tally = crowd.finish();
    tally.tell(connections, telling);
    telling.number("datagrams", seen.sent);
    telling.number("datagrams lost", seen.lost.len());
    telling.number(
        "packets to nodes while they were upgraded",
        upgrades.iter().map(|upgrade| upgrade.flowed.arrived()).sum::<u64>(),
    );
    let are_others = upgrades.iter().try_for_each(Upgrade::brought_other_programs);
    telling.claim("all nodes have other programs than before", are_others);
    let are_whole = upgrades.iter().try_for_each(|upgrade| upgrade.flowed.is_whole(upgrade.counted));
    telling.claim("what still came to a node while it was upgraded was forwarded, each packet", are_whole);
    telling.claim("the router had a way to each VIP all the time", changes.were_never_gone(&vips));
    telling.claim("no datagram was lost", seen.is_whole());
    telling.claim("no node dropped a packet, by all of its counters", nothing_dropped(&routed));
    telling
        .claim("no connection broke, no byte was wrong, missing or twice there", tally.is_whole(connections));
    Ok(())
}

/// What a node's upgrade was.
struct Upgrade {
    /// The programs before and after it.
    programs: [String; 2],
    /// What became of packets that came to the node all the time, as from a router that does not listen.
    flowed: Flowed,
    /// How many of these the balancer says that it forwarded.
    counted: u64,
}

impl Upgrade {
    fn brought_other_programs(&self) -> Result<()> {
        let [before, after] = &self.programs;
        ensure!(before != after, "a node has the programs {before} as before");
        Ok(())
    }
}

/// Drains a node, starts another build there, and lets it come back.
fn upgrade(routed: &mut Routed, node: usize, build: &Path, telling: &Telling) -> Result<Upgrade> {
    let drained = routed.lab.nodes[node].sluice(&["node", "drain", "--after", "2s"])?;
    let (before, counted) = (programs(routed, node)?, routed.forwarded(node)?);
    let stream = Stream::start(&routed.lab, node, http::PORT)?;
    routed.upgrade(node, build)?;
    let flowed = stream.stop(&routed.lab.nodes[node])?;
    let (after, counted) = (programs(routed, node)?, routed.forwarded(node)? - counted);
    routed.lab.wait_for_all(node, "healthy", SETTLED)?;
    routed.lab.nodes[node].sluice(&["node", "undrain"])?;
    routed.until_routed(&(0..routed.lab.nodes.len()).collect::<Vec<_>>())?;
    let last = drained.lines().last().unwrap_or_default();
    telling.step(format!(
        "{}: {last}; upgraded (programs {before} to {after}) while {:.0} packets a second came, and back",
        routed.lab.nodes[node].name,
        flowed.rate()
    ));
    Ok(Upgrade { programs: [before, after], flowed, counted })
}

/// The kernel's tags of the programs on a node's interfaces.
fn programs(routed: &Routed, node: usize) -> Result<String> {
    let report = routed.lab.nodes[node].status()?;
    let tags = report.interfaces.iter().map(|interface| other_build::tag(interface.program_id));
    let tags = tags.collect::<Result<Vec<u64>>>()?;
    Ok(tags.into_iter().map(|tag| format!("{tag:016x}")).collect::<Vec<_>>().join(" "))
}

fn nothing_dropped(routed: &Routed) -> Result<()> {
    for node in &routed.lab.nodes {
        let report = node.status()?;
        let dropped = report.reasons.iter().find(|reason| reason.verdict == "dropped" && reason.packets > 0);
        ensure!(dropped.is_none(), "{} dropped packets: {dropped:?}", node.name);
    }
    Ok(())
}
