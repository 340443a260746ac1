//! Many targets drain at once, and many more while the first still do: slots with a chain of three.

use anyhow::{Result, ensure};

use super::cluster::{Agents, Cluster, Standing};
use super::second_chance::{CONNECTIONS, ECHOES, NODES, TARGETS};
use super::{Options, Scenario, Telling};
use crate::crowd::{Crowd, Patience};

/// The story.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "drain-twice",
    about: "two thirds of the targets drain, in two steps, then a node is lost: no connection breaks",
    run,
};

fn run(options: &Options, telling: &mut Telling) -> Result<()> {
    let connections = options.connections.unwrap_or(CONNECTIONS) as usize;
    let (nodes, targets) = (options.nodes.unwrap_or(NODES), options.targets.unwrap_or(TARGETS));
    let third = usize::from(targets) / 3;
    let mut standings = vec![Standing::Serving; usize::from(targets)];
    let mut cluster = Cluster::start(nodes, Agents::HandOn, &standings)?;
    let mut crowd = Crowd::start(&cluster.lab, Patience::CALM)?;
    let first = crowd.open(connections / 2)?;
    telling.step(format!("{} connections on {targets} targets", connections / 2));
    for step in 0..2 {
        standings[step * third..(step + 1) * third].fill(Standing::Out);
        cluster.change(&standings)?;
        crowd.open(connections / 4)?;
        telling.step(format!("{third} targets drain; {} connections more", connections / 4));
    }
    std::thread::sleep(ECHOES);
    let chains = cluster.chains(nodes as usize - 1)?;
    cluster.lose(0)?;
    telling.step("a node is lost");
    std::thread::sleep(ECHOES);
    let handed_on = cluster.handed_on()?;
    let opened = connections / 2 + connections / 4 * 2;
    let tally = crowd.finish();
    tally.tell(opened, telling);
    telling.number("packets handed on", handed_on);
    telling.number("slots with a chain", chains.chained);
    telling.claim("no connection broke, no byte was wrong, missing or twice there", tally.is_whole(opened));
    let tried = || {
        ensure!(first.len() == usize::from(targets), "at first, connections were on {first:?} only");
        ensure!(handed_on > 0 && chains.chained > 0, "nothing was handed on");
        Ok(())
    };
    telling.claim("connections were on all targets, and packets needed a second chance", tried());
    Ok(())
}
