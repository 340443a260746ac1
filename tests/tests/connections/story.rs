//! The story of a crowd of connections and a fleet of targets: random changes, and after each of them new
//! connections that must go where the table says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use lab::echo;
use lab::flood::Flood;
use lab::topology::Builder;
use lb_userspace::status::report::Report;

use crate::bound::Expectation;
use crate::fleet::{DRAINING, Fleet, Layout, Standing, digest, targets_of};
use lab::crowd::{Broken, Crowd, Patience, Tally};

/// How many targets are in the file at first.
const REGISTERED: usize = 3;

/// How often new connections are tried on a table that changes meanwhile.
const PROBES: usize = 4;

/// What a crowd bears in a flood, which fills the queues of the wires: a packet may be lost many times over, of which TCP
/// minds nothing. In a slot that is changing, the flow table knows a new connection from its SYN on, but by three ways of
/// its set, which a flood turns over: the rest of the handshake may then go to the target that the slot had before, which
/// resets it. From its second packet on a connection is safe.
const FLOODED_CROWD: Patience = Patience { tries: 3, echo: Duration::from_secs(180) };

/// The part of new connections that may be tried again.
const TRIED_AGAIN: f64 = 0.01;

/// How long new connections live: through a dozen changes. All of a long story's would be more than 20,000 open files,
/// which is what some machines allow.
const NEW_ONES_LIFE: Duration = Duration::from_secs(40);

/// How many broken connections are told.
const TOLD: usize = 10;

/// How long established connections live before the first change.
const CALM: Duration = Duration::from_secs(3);

/// What is played.
pub(crate) struct Story {
    /// Connections before the first change.
    pub(crate) connections: usize,
    /// Random changes.
    pub(crate) changes: usize,
    /// New connections after each of them.
    pub(crate) probes: usize,
    pub(crate) layout: Layout,
    /// What goes on meanwhile.
    pub(crate) beside: Beside,
}

/// What goes on while targets change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Nothing else.
    Nothing,
    /// A flood of SYNs and ACKs of flows that nobody has, for so long at most.
    Flood(Option<Duration>),
}

impl Beside {
    fn patience(self) -> Patience {
        match self {
            Beside::Nothing => Patience::CALM,
            Beside::Flood(_) => FLOODED_CROWD,
        }
    }
}

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Add,
    Drain,
    GiveBack,
    Weigh,
    Kill,
    Revive,
}

const CHANGES: [Change; 6] =
    [Change::Add, Change::Drain, Change::GiveBack, Change::Weigh, Change::Kill, Change::Revive];

impl Story {
    /// Plays it, and checks all of it.
    pub(crate) fn play(&self, lab: &Builder) -> Result<()> {
        let seed = seed()?;
        eprintln!("SLUICE_TEST_SEED={seed}");
        let fleet = Fleet::start(lab.build()?, self.layout, REGISTERED)?;
        let crowd = Crowd::start(&fleet.lab, self.beside.patience())?;
        let mut stage = Stage {
            fleet,
            crowd: Some(crowd),
            random: Rng::with_seed(seed),
            played: BTreeMap::new(),
            spread: BTreeMap::new(),
            start: Instant::now(),
        };
        self.act(&mut stage).map_err(|error| stage.fleet.lab.with_evidence(error))
    }

    fn act(&self, stage: &mut Stage) -> Result<()> {
        stage.probe(self.connections, Crowd::open).context("the first connections")?;
        stage.tell(&format!("{} connections are established", self.connections));
        std::thread::sleep(CALM);
        let flood = match self.beside {
            Beside::Nothing => None,
            Beside::Flood(limit) => Some(Flood::start(&stage.fleet.lab, 0, echo::PORT, limit)?),
        };
        for _ in 0..self.changes {
            let what = stage.change()?;
            stage.tell(&what);
            stage.expect_none_broken().with_context(|| what.clone())?;
            stage.probe(self.probes, open_fresh).with_context(|| format!("new connections after: {what}"))?;
        }
        if let Some(flood) = flood {
            stage.end(flood)?;
        }
        stage.fleet.wait_until_drained()?;
        stage.probe(self.probes, open_fresh).context("new connections after all draining")?;
        let crowd = stage.crowd.take().context("the crowd is there until the end")?;
        stage.conclude(&crowd.finish())
    }
}

fn seed() -> Result<u64> {
    match std::env::var("SLUICE_TEST_SEED") {
        Ok(seed) => seed.parse().context("SLUICE_TEST_SEED is not a number"),
        Err(_) => Ok(fastrand::u64(..)),
    }
}

/// Expected and counted new connections of one target.
#[derive(Debug, Default)]
struct Spread {
    expected: Expectation,
    counted: usize,
}

/// Opens that many connections; how many went to each target.
type Open = fn(&mut Crowd, usize) -> Result<BTreeMap<String, usize>>;

fn open_fresh(crowd: &mut Crowd, count: usize) -> Result<BTreeMap<String, usize>> {
    crowd.open_fresh(count, NEW_ONES_LIFE)
}

/// What tells a table from those before and after it: equal ones may have had another one between them.
fn edition(report: &Report) -> Result<(&str, u64)> {
    Ok((digest(report)?, report.publications.decisions.count()))
}

struct Stage {
    fleet: Fleet,
    crowd: Option<Crowd>,
    random: Rng,
    played: BTreeMap<Change, usize>,
    /// Over all probes, by target.
    spread: BTreeMap<String, Spread>,
    start: Instant,
}

impl Stage {
    fn tell(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.start.elapsed().as_secs_f64());
    }

    fn crowd(&mut self) -> Result<&mut Crowd> {
        self.crowd.as_mut().context("the crowd is there until the end")
    }

    /// Opens connections and compares where they went with the table. A table that was another one meanwhile (a
    /// draining ends, a busy machine's health checks fail for a moment) has nothing to be compared with; then it is
    /// done again.
    fn probe(&mut self, count: usize, open: Open) -> Result<()> {
        for _ in 0..PROBES {
            let before = self.fleet.settled()?;
            let targets = open(self.crowd()?, count)?;
            let after = self.fleet.lab.nodes[0].status()?;
            if edition(&before)? == edition(&after)? {
                return self.compare(&before, count, &targets);
            }
            self.tell(&format!(
                "the table changed meanwhile, {} times by health: once more",
                after.publications.decisions.count() - before.publications.decisions.count()
            ));
        }
        bail!("the table changes all the time")
    }

    fn compare(&mut self, report: &Report, count: usize, opened: &BTreeMap<String, usize>) -> Result<()> {
        let known = targets_of(report);
        for member in &self.fleet.members {
            let counted = opened.get(&member.name).copied().unwrap_or_default();
            let share = known.get(&member.address).map_or(0.0, |target| target.share);
            let mut expected = Expectation::default();
            expected.add(count, share);
            ensure!(
                expected.admits(counted),
                "{} ({:?}) has {share:.4} of the slots and got {counted} of {count} new connections: {:.0} ± {:.0} were \
                 expected; {opened:?}",
                member.name,
                member.standing,
                expected.mean(),
                expected.tolerance()
            );
            let spread = self.spread.entry(member.name.clone()).or_default();
            spread.expected.add(count, share);
            spread.counted += counted;
        }
        Ok(())
    }

    /// Makes a change of the kind that is possible and was played least.
    fn change(&mut self) -> Result<String> {
        self.fleet.let_drained_go()?;
        let mut possible: Vec<(usize, u32, Change, usize)> = Vec::new();
        for change in CHANGES {
            let candidates = self.candidates(change);
            if let Some(&number) = self.random.choice(&candidates) {
                let played = self.played.get(&change).copied().unwrap_or_default();
                possible.push((played, self.random.u32(..), change, number));
            }
        }
        let (_, _, change, number) = possible.into_iter().min().context("no change is possible")?;
        *self.played.entry(change).or_default() += 1;
        self.make(change, number)
    }

    fn make(&mut self, change: Change, number: usize) -> Result<String> {
        let name = self.fleet.members[number].name.clone();
        let weight = self.random.u16(1..=10);
        match change {
            Change::Add => {
                self.fleet.add(number, weight)?;
                Ok(format!("{name} is added with weight {weight}"))
            }
            Change::Drain => {
                self.fleet.drain(number)?;
                Ok(format!("{name} is drained"))
            }
            Change::GiveBack => {
                self.fleet.give_back(number, weight)?;
                Ok(format!("{name} comes back while it is draining, with weight {weight}"))
            }
            Change::Weigh => self.weigh(number, weight),
            Change::Kill => {
                self.fleet.kill(number)?;
                Ok(format!("{name} is killed"))
            }
            Change::Revive => {
                self.fleet.revive(number)?;
                Ok(format!("{name} is started again"))
            }
        }
    }

    fn weigh(&mut self, number: usize, weight: u16) -> Result<String> {
        let Standing::In(old) = self.fleet.members[number].standing else {
            unreachable!("only registered targets are weighed");
        };
        let may_rest = old == 0 || self.in_use() > 2;
        let weight = match weight {
            same if same == old => same + 1,
            1..=3 if may_rest && old > 0 => 0,
            other => other,
        };
        self.fleet.weigh(number, weight)?;
        Ok(format!("{} gets weight {weight} instead of {old}", self.fleet.members[number].name))
    }

    fn in_use(&self) -> usize {
        self.fleet.members.iter().filter(|member| member.is_in_use()).count()
    }

    /// The targets that a change is possible for; two stay in use, and one at most is dead.
    fn candidates(&self, change: Change) -> Vec<usize> {
        let spare = self.in_use() > 2;
        let any_dead = self.fleet.members.iter().any(|member| matches!(member.standing, Standing::Dead(_)));
        let is_fit = |standing: Standing, in_use: bool| match (change, standing) {
            (Change::Add, Standing::Out) | (Change::Revive, Standing::Dead(_)) => true,
            (Change::Drain, Standing::In(_)) => spare || !in_use,
            (Change::GiveBack, Standing::Draining(since)) => since.elapsed() < DRAINING / 2,
            (Change::Weigh, Standing::In(_)) => true,
            (Change::Kill, Standing::In(_)) => spare && in_use && !any_dead,
            _ => false,
        };
        let members = self.fleet.members.iter().enumerate();
        members
            .filter(|(_, member)| is_fit(member.standing, member.is_in_use()))
            .map(|(number, _)| number)
            .collect()
    }

    fn expect_none_broken(&mut self) -> Result<()> {
        let tally = self.crowd()?.tally();
        self.expect_whole(&tally)
    }

    fn expect_whole(&self, tally: &Tally) -> Result<()> {
        ensure!(tally.misdelivered.is_empty(), "echoes of another connection: {:#?}", tally.misdelivered);
        let lost: Vec<&Broken> = tally.broken.iter().filter(|broken| !self.fleet.excuses(broken)).collect();
        let told: Vec<String> = lost.iter().take(TOLD).map(|broken| self.words(broken)).collect();
        ensure!(lost.is_empty(), "{} connections on living targets broke:\n{}", lost.len(), told.join("\n"));
        Ok(())
    }

    fn words(&self, broken: &Broken) -> String {
        let at = |moment: Instant| moment.duration_since(self.start).as_secs_f64();
        format!(
            "  {} on {}, established at {:.1} s, broke at {:.1} s: {}",
            broken.client,
            broken.target,
            at(broken.opened),
            at(broken.at),
            broken.why
        )
    }

    /// The flood is no test if the balancer did not get it.
    fn end(&self, flood: Flood) -> Result<()> {
        let (sent, time) = flood.stop()?;
        let forwarded = self.fleet.lab.nodes[0].sieved()?;
        let rate = sent as f64 / time.as_secs_f64() / 1e6;
        self.tell(&format!(
            "the flood: {sent} packets in {:.0} s, {rate:.2} million a second, {forwarded} of them forwarded",
            time.as_secs_f64()
        ));
        ensure!(forwarded > sent / 2, "the flood did not reach the balancer: {forwarded} of {sent}");
        Ok(())
    }

    fn conclude(&self, tally: &Tally) -> Result<()> {
        let living: usize = tally.living.values().sum();
        self.tell(&format!(
            "{living} connections live ({:?}), {} ended with their targets, {} echoes, changes: {:?}",
            tally.living,
            tally.broken.len(),
            tally.echoes,
            self.played
        ));
        self.expect_whole(tally)?;
        let opened: usize = self.spread.values().map(|spread| spread.counted).sum();
        self.tell(&format!("{} of {opened} new connections were tried again", tally.tried_again));
        ensure!(
            tally.tried_again as f64 <= opened as f64 * TRIED_AGAIN,
            "too many handshakes were lost: {:#?}",
            tally.unopened
        );
        for (name, spread) in &self.spread {
            let Spread { expected, counted } = spread;
            let words = format!("{name}: {counted}, {:.0} ± {:.0}", expected.mean(), expected.tolerance());
            self.tell(&words);
            ensure!(expected.admits(*counted), "new connections over all, {words} expected");
        }
        let report = self.fleet.lab.nodes[0].status()?;
        let dropped = report.reasons.iter().find(|reason| reason.verdict == "dropped" && reason.packets > 0);
        ensure!(dropped.is_none(), "the node dropped packets: {dropped:?}");
        Ok(())
    }
}
