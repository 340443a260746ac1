//! Routers that are told by BGP, and watch nodes by BFD: a node falls silent, and all nodes are restarted in turn.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::routed::Routed;
use super::second_chance::{CONNECTIONS, ECHOES, NODES};
use super::{Options, Scenario, Telling};
use crate::crowd::{Crowd, Patience};
use crate::probe::{Probe, Seen};

/// A node's port falls silent.
pub(super) const SILENT_NODE: Scenario = Scenario {
    name: "silent-node",
    about: "a node's port goes silent under load: traffic moves in 500 ms, no connection breaks",
    run: silent_node,
};

/// All nodes are restarted, one after another.
pub(super) const ROLLING_RESTART: Scenario = Scenario {
    name: "rolling-restart",
    about: "all nodes are drained and restarted in turn under load: no packet lost, no connection breaks",
    run: rolling_restart,
};

/// How many targets there are.
const TARGETS: u8 = 6;

/// Within what time a full-size story's traffic must have moved: 3 × 100 ms of BFD, and the router's own work.
const MOVED: Duration = Duration::from_millis(500);

/// The same of a small story, which is played while a machine does other things.
const MOVED_ON_A_BUSY_MACHINE: Duration = Duration::from_secs(3);

fn begin(options: &Options, telling: &Telling) -> Result<(Routed, Crowd, usize)> {
    let (nodes, targets) = (options.nodes.unwrap_or(NODES), options.targets.unwrap_or(TARGETS));
    let connections = options.connections.unwrap_or(CONNECTIONS) as usize;
    let routed = Routed::start(nodes, targets)?;
    telling.step(format!("{nodes} nodes announce, {targets} targets have agents"));
    let mut crowd = Crowd::start(&routed.lab, Patience::CALM)?;
    crowd.open(connections)?;
    telling.step(format!("{connections} connections are established"));
    Ok((routed, crowd, connections))
}

fn silent_node(options: &Options, telling: &mut Telling) -> Result<()> {
    let (routed, crowd, connections) = begin(options, telling)?;
    let nodes: Vec<usize> = (0..routed.lab.nodes.len()).collect();
    let mut worst = Seen::default();
    for round in 0..options.rounds.unwrap_or(3) as usize {
        let (lost, vip) = (nodes[round % nodes.len()], routed.lab.vips[round % routed.lab.vips.len()]);
        let name = routed.lab.nodes[lost].name.clone();
        let probe = Probe::start(&routed.lab, vip)?;
        std::thread::sleep(ECHOES / 4);
        routed.lab.router.ip(&format!("link set dev {name} down"))?;
        let others: Vec<usize> = nodes.iter().copied().filter(|node| *node != lost).collect();
        routed.until_routed(&others)?;
        std::thread::sleep(ECHOES);
        let seen = probe.finish()?;
        telling.step(format!(
            "{name} fell silent: flows to {vip} had no answer for at most {} ms, {} of {} datagrams were lost",
            seen.longest_silence.as_millis(),
            seen.lost,
            seen.sent
        ));
        worst.longest_silence = worst.longest_silence.max(seen.longest_silence);
        worst.lost += seen.lost;
        routed.lab.router.ip(&format!("link set dev {name} up"))?;
        routed.until_routed(&nodes)?;
        std::thread::sleep(ECHOES);
    }
    let tally = crowd.finish();
    tally.tell(connections, telling);
    telling.number("longest silence of a flow", format!("{} ms", worst.longest_silence.as_millis()));
    let limit = if options.connections.is_some() { MOVED_ON_A_BUSY_MACHINE } else { MOVED };
    let moved = || {
        ensure!(worst.lost > 0, "no datagram was lost, so no flow went to the silent nodes");
        ensure!(worst.longest_silence <= limit, "it took {:?}", worst.longest_silence);
        Ok(())
    };
    telling.claim(format!("traffic moved in {} ms", limit.as_millis()), moved());
    telling
        .claim("no connection broke, no byte was wrong, missing or twice there", tally.is_whole(connections));
    Ok(())
}

fn rolling_restart(options: &Options, telling: &mut Telling) -> Result<()> {
    let (mut routed, crowd, connections) = begin(options, telling)?;
    let nodes: Vec<usize> = (0..routed.lab.nodes.len()).collect();
    let probe = Probe::start(&routed.lab, routed.lab.vips[0])?;
    for node in nodes.iter().copied() {
        let said = routed.order(node, &["node", "drain", "--after", "2s"])?;
        let last = said.lines().last().unwrap_or_default().to_owned();
        let name = routed.lab.nodes[node].name.clone();
        telling.step(format!("{name}: {last}"));
        routed.restart(node)?;
        routed.order(node, &["node", "undrain"])?;
        routed.until_routed(&nodes)?;
        telling.step(format!("{name} is back with a new controller"));
        std::thread::sleep(ECHOES);
    }
    let seen = probe.finish()?;
    let tally = crowd.finish();
    tally.tell(connections, telling);
    telling.number("datagrams", seen.sent);
    telling.number("datagrams lost", seen.lost);
    let whole = || {
        ensure!(seen.lost == 0, "{} of {} were lost", seen.lost, seen.sent);
        Ok(())
    };
    telling.claim("no datagram was lost", whole());
    telling
        .claim("no connection broke, no byte was wrong, missing or twice there", tally.is_whole(connections));
    Ok(())
}
