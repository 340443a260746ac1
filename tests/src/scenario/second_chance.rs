//! Nodes that are lost one after another while targets come and drain in the same moment, and come back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::cluster::{Agents, Cluster, Standing};
use super::{Options, Scenario, Telling};
use crate::crowd::{Broken, Crowd, Patience, Tally};

/// The story with second chances.
pub(super) const WITH: Scenario = Scenario {
    name: "second-chance",
    about: "nodes are lost while targets come and drain, and come back: no connection breaks",
    run: |options, telling| {
        let story = Story { agents: Agents::HandOn, rounds: 20 };
        let ending = story.play(options, telling)?;
        let broken = ending.tally.is_whole(ending.opened);
        telling.claim("no connection broke, no byte was wrong, missing or twice there", broken);
        let tried = if ending.handed_on > 0 { Ok(()) } else { Err(anyhow::anyhow!("nothing was handed on")) };
        telling.claim("packets needed a second chance", tried);
        Ok(())
    },
};

/// The story without.
pub(super) const WITHOUT: Scenario = Scenario {
    name: "without-second-chance",
    about: "the same with agents that hand nothing on, for comparison: connections break",
    run: |options, telling| {
        let story = Story { agents: Agents::KeepAll, rounds: 5 };
        let ending = story.play(options, telling)?;
        let broke = || {
            ensure!(!ending.tally.broken.is_empty(), "none broke, so the story tries nothing");
            ensure!(ending.handed_on == 0, "{} packets were handed on", ending.handed_on);
            Ok(())
        };
        telling.claim("connections break where nothing is handed on", broke());
        Ok(())
    },
};

/// How many connections live from the beginning on.
pub(super) const CONNECTIONS: u32 = 10_000;
/// How many nodes there are.
pub(super) const NODES: u8 = 3;
/// How many targets there are; two of three serve.
pub(super) const TARGETS: u8 = 9;
/// How many targets change their places with others in a round.
const CHANGED: usize = 2;
/// In every fourth round, connections begin: four for each hundred that there were at first, so that new owners have some.
const MORE: usize = 4;
const MORE_EACH: u32 = 4;
/// How long every connection has for an echo or two.
pub(super) const ECHOES: Duration = Duration::from_secs(4);

struct Story {
    agents: Agents,
    rounds: u32,
}

/// What became of a story's connections.
struct Ending {
    tally: Tally,
    opened: usize,
    /// Packets that targets handed on.
    handed_on: u64,
}

impl Story {
    fn play(&self, options: &Options, telling: &mut Telling) -> Result<Ending> {
        let connections = options.connections.unwrap_or(CONNECTIONS) as usize;
        let (nodes, targets) = (options.nodes.unwrap_or(NODES), options.targets.unwrap_or(TARGETS));
        let seed = options.seed.unwrap_or_else(|| fastrand::u64(..=u64::from(u32::MAX)));
        let mut chance = fastrand::Rng::with_seed(seed);
        telling.step(format!("{nodes} nodes, {targets} targets, --seed {seed}"));
        let serving = usize::from(targets) * 2 / 3;
        let standing = |at| if at < serving { Standing::Serving } else { Standing::Out };
        let standings: Vec<Standing> = (0..usize::from(targets)).map(standing).collect();
        let mut cluster = Cluster::start(nodes, self.agents, &standings)?;
        let mut crowd = Crowd::start(&cluster.lab, Patience::CALM)?;
        crowd.open(connections)?;
        telling.step(format!("{connections} connections are established"));
        let mut opened = connections;
        for round in 1..=options.rounds.unwrap_or(self.rounds) {
            let back = Round::bring_back_the_lost(&mut cluster)?;
            if round % MORE_EACH == 1 {
                let wanted = (connections * MORE / 100).max(10);
                opened += begin_more(&cluster, &mut crowd, wanted, telling)?;
            }
            let this = Round::of(&cluster, &mut chance);
            cluster.change_and_lose(&this.standings, this.node)?;
            std::thread::sleep(ECHOES);
            telling.step(format!("round {round}: {back}{}", this.summary(&cluster, &crowd.tally())?));
        }
        let handed_on = cluster.handed_on()?;
        let tally = crowd.finish();
        tally.tell(opened, telling);
        telling.number("packets handed on", handed_on);
        if !tally.broken.is_empty() && self.agents == Agents::HandOn {
            println!("{}", cluster.lab.evidence());
        }
        Ok(Ending { tally, opened, handed_on })
    }
}

/// More connections, if nodes agree whose they are; how many.
fn begin_more(cluster: &Cluster, crowd: &mut Crowd, wanted: usize, telling: &mut Telling) -> Result<usize> {
    let begun = Instant::now();
    let more = if cluster.agree()? { wanted } else { 0 };
    crowd.open(more)?;
    telling.step(format!("after {:.1} s, {more} connections more begin", begun.elapsed().as_secs_f64()));
    Ok(more)
}

/// What happens in one moment.
struct Round {
    node: usize,
    standings: Vec<Standing>,
    come: BTreeSet<usize>,
    rest: BTreeSet<usize>,
}

impl Round {
    fn bring_back_the_lost(cluster: &mut Cluster) -> Result<String> {
        let living = cluster.living();
        let begun = Instant::now();
        let mut words = String::new();
        for node in (0..cluster.lab.nodes.len()).filter(|node| !living.contains(node)) {
            cluster.bring_back(node)?;
            words += &format!(
                "{} is back ({:.1} s); ",
                cluster.lab.nodes[node].name,
                begun.elapsed().as_secs_f64()
            );
        }
        Ok(words)
    }

    fn of(cluster: &Cluster, chance: &mut fastrand::Rng) -> Round {
        let mut standings = cluster.standings().to_vec();
        let (serving, others): (Vec<usize>, Vec<usize>) =
            (0..standings.len()).partition(|at| standings[*at] == Standing::Serving);
        let rest: BTreeSet<usize> = chance.choose_multiple(serving, CHANGED).into_iter().collect();
        let come: BTreeSet<usize> = chance.choose_multiple(others, CHANGED).into_iter().collect();
        rest.iter().for_each(|at| standings[*at] = Standing::Resting);
        come.iter().for_each(|at| standings[*at] = Standing::Serving);
        Round { node: chance.usize(..cluster.lab.nodes.len()), standings, come, rest }
    }

    fn summary(&self, cluster: &Cluster, tally: &Tally) -> Result<String> {
        let names = |of: &BTreeSet<usize>| {
            of.iter().map(|at| cluster.lab.targets[*at].name.clone()).collect::<Vec<_>>().join(" and ")
        };
        let left = cluster.living()[0];
        let chains = cluster.chains(left)?;
        Ok(format!(
            "{} is lost, {} come, {} drain; so far {} broken, longest pause {:.1} s, {} handed on; {} slots chained, {} deferred",
            cluster.lab.nodes[self.node].name,
            names(&self.come),
            names(&self.rest),
            tally.broken.len(),
            tally.longest_pause.as_secs_f64(),
            cluster.handed_on()?,
            chains.chained,
            chains.deferred,
        ))
    }
}

impl Broken {
    fn summary(&self) -> String {
        let lived = self.at.duration_since(self.opened).as_secs_f64();
        format!("  {} on {} after {lived:.1} s: {}", self.client, self.target, self.why)
    }
}

impl Tally {
    /// Says how it went.
    pub(super) fn tell(&self, opened: usize, telling: &mut Telling) {
        telling.number("connections used", opened);
        telling.number("broken", self.broken.len());
        telling.number("wrong answers", self.misdelivered.len());
        telling.number("right echoes", self.echoes);
        telling.number("longest pause", format!("{:.2} s", self.longest_pause.as_secs_f64()));
    }

    /// Whether none of `opened` connections broke and every byte was right.
    ///
    /// # Errors
    /// If not, with the first that went wrong.
    pub fn is_whole(&self, opened: usize) -> Result<()> {
        let first: Vec<String> = self.broken.iter().take(5).map(Broken::summary).collect();
        ensure!(self.broken.is_empty(), "{} broken:\n{}", self.broken.len(), first.join("\n"));
        ensure!(self.misdelivered.is_empty(), "{:#?}", self.misdelivered);
        ensure!(self.unopened.is_empty(), "{:#?}", self.unopened);
        ensure!(self.living.values().sum::<usize>() == opened, "of {opened} live {:?}", self.living);
        ensure!(self.echoes > opened as u64, "{} echoes", self.echoes);
        Ok(())
    }
}
