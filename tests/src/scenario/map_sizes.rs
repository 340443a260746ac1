//! The maps change their sizes while slots are changing, connections live and begin, and a stream of packets flows; the
//! controller that moves them is killed at any moment of it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use lb_userspace::status::report::TargetReport;
use serde_json::Value;

use super::controller_restarts::{PATIENCE, expect_equal_to_a_clean_start, expect_forwarded, wanted};
use super::{Options, Scenario, Telling};
use crate::crowd::Crowd;
use crate::http;
use crate::pinned::Pinned;
use crate::stream::Stream;
use crate::topology::Lab;

/// The story.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "map-sizes",
    about: "the maps change their sizes 20 times, killed amid it in half of them: nothing is lost, nothing breaks",
    run,
};

const CONNECTIONS: u32 = 1000;
const ROUNDS: u32 = 20;
const TARGETS: u8 = 4;
/// In which maps are moved, and what is before and after.
const STARTING: std::ops::Range<u64> = 0..3_000_000;
/// New connections at once while maps are moved, the time between, and how long each of them lives. Each has a port that
/// none had before, of which there are enough for some dozens of rounds.
const AT_ONCE: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);
const LIFE: Duration = Duration::from_secs(5);
/// What `sluice run` can be asked for: how many of each.
const SIZES: [(&str, [u32; 3]); 5] = [
    ("flows", [524_288, 1_048_576, 2_097_152]),
    ("targets", [1000, 16_383, 40_000]),
    ("listeners", [500, 8192, 10_000]),
    ("slots", [1 << 20, 1 << 22, 1 << 23]),
    ("allowed-prefixes", [1000, 131_072, 200_000]),
];

fn run(options: &Options, telling: &mut Telling) -> Result<()> {
    let lab = Lab::builder().targets(TARGETS).sieved().build()?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..=u64::from(u32::MAX)));
    telling.step(format!("{TARGETS} targets, --seed {seed}"));
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let connections = options.connections.unwrap_or(CONNECTIONS) as usize;
    Pinned::new(lab)?.tell(|pinned| {
        let mut story = Story { pinned, chance: Rng::with_seed(seed), sizes: [1; SIZES.len()] };
        story.play(connections, rounds, telling)
    })
}

struct Story<'a> {
    pinned: &'a mut Pinned,
    chance: Rng,
    /// Which of [`SIZES`] the maps have.
    sizes: [usize; SIZES.len()],
}

impl Story<'_> {
    fn play(&mut self, connections: usize, rounds: u32, telling: &mut Telling) -> Result<()> {
        self.pinned.lab.start_servers()?;
        self.pinned.lab.start_agents()?;
        let all = wanted(&self.pinned.lab, None);
        self.pinned.start(&all)?;
        self.pinned.healthy()?;
        let mut crowd = Crowd::start(&self.pinned.lab, PATIENCE)?;
        crowd.open(connections / 2)?;
        let mut configuration = self.change(0)?;
        crowd.open(connections - connections / 2)?;
        telling.step(format!("{connections} connections, half of which began while slots were changing"));
        let stream = Stream::start(&self.pinned.lab, 0, http::PORT)?;
        let (mut begun, mut kills) = (0, 0);
        for round in 1..=rounds {
            self.resize();
            let is_killed = round.is_multiple_of(2);
            begun += self.restart(&mut crowd, &configuration, is_killed)?;
            kills += u32::from(is_killed);
            crowd.expect_whole().with_context(|| format!("after round {round}"))?;
            telling.step(format!("{}; {} packets", self.words(), stream.sent()));
            configuration = self.change(round)?;
        }
        let flowed = stream.stop(&self.pinned.lab.nodes[0])?;
        let tally = crowd.finish();
        flowed.tell(telling);
        telling.number("connections", format!("{connections}, and {begun} that began while maps were moved"));
        telling.number("broken", tally.broken.len());
        telling.number("longest pause", format!("{:.2} s", tally.longest_pause.as_secs_f64()));
        telling.number("killed", format!("{kills} times"));
        let living: usize = tally.living.values().sum();
        let whole = || {
            ensure!(tally.broken.is_empty() && tally.misdelivered.is_empty(), "{:?}", tally.broken);
            ensure!(living >= connections, "{living} of {connections} live");
            ensure!(begun > 0, "no connection began while maps were moved");
            Ok(())
        };
        telling.claim("no connection broke, no byte was wrong, missing or twice there", whole());
        let forwarded = expect_forwarded(self.pinned, flowed);
        telling.claim("the data plane lost no packet, and its counters have each", forwarded);
        telling.claim("the maps were moved in every round", self.expect_moved(rounds));
        self.pinned.lab.nodes[0].write_configuration(&all)?;
        let equal = expect_equal_to_a_clean_start(self.pinned, &all);
        telling.claim("the maps are equal to those of a clean start", equal);
        Ok(())
    }

    /// Lets a target come back and another one go, so that slots are changing.
    fn change(&mut self, round: u32) -> Result<Value> {
        let out = round as usize % usize::from(TARGETS);
        let configuration = wanted(&self.pinned.lab, Some(out));
        self.pinned.lab.nodes[0].write_configuration(&configuration)?;
        let out = IpAddr::from(self.pinned.lab.targets[out].v4);
        self.pinned.lab.wait_for(0, "changing slots", crate::pinned::PATIENCE, |report| {
            let group = &report.target_groups["echo"];
            let is_right = |target: &TargetReport| (target.slots == 0) == (target.id == out);
            let changing = report.load_balancers["all"].listeners.iter().any(|one| one.changing_slots > 0);
            ensure!(group.targets.iter().all(is_right) && changing, "no slots are changing");
            Ok(())
        })?;
        Ok(configuration)
    }

    /// Chooses another size for the flow table, and any for the others.
    fn resize(&mut self) {
        let flows = self.sizes[0];
        for size in &mut self.sizes {
            *size = self.chance.usize(0..3);
        }
        if self.sizes[0] == flows {
            self.sizes[0] = (flows + 1) % 3;
        }
        let options =
            SIZES.iter().zip(self.sizes).map(|((name, sizes), at)| format!("--max={name}={}", sizes[at]));
        self.pinned.lab.nodes[0].options = options.collect();
    }

    fn words(&self) -> String {
        self.pinned.lab.nodes[0].options.join(" ")
    }

    /// Ends the controller and starts it with other sizes, while connections begin; how many.
    fn restart(&mut self, crowd: &mut Crowd, configuration: &Value, is_killed: bool) -> Result<usize> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let opening = scope.spawn(|| open(crowd, &over));
            let started = self.start_anew(configuration, is_killed);
            over.store(true, Ordering::Relaxed);
            let begun = opening.join().expect("the thread does not panic")?;
            started.map(|()| begun)
        })
    }

    fn start_anew(&mut self, configuration: &Value, is_killed: bool) -> Result<()> {
        self.pinned.terminate()?;
        if is_killed {
            self.pinned.lab.nodes[0].start_controller(configuration)?;
            std::thread::sleep(Duration::from_micros(self.chance.u64(STARTING)));
            self.pinned.kill()?;
            if self.chance.bool() {
                // The next one finds half of a move, and other wishes.
                self.resize();
            }
        }
        self.pinned.start(configuration)?;
        // The health of all is known again, so that what follows is a change of the file alone.
        self.pinned.lab.wait_for(0, "healthy targets", crate::pinned::PATIENCE, |report| {
            let targets = || report.target_groups.values().flat_map(|group| &group.targets);
            let is_settled = targets().all(|target| ["healthy", "draining"].contains(&target.state.as_str()));
            ensure!(is_settled && targets().count() > 0, "some target is neither healthy nor draining");
            Ok(())
        })?;
        Ok(())
    }

    fn expect_moved(&self, rounds: u32) -> Result<()> {
        let moved = self.pinned.log().matches("the maps have other sizes now").count();
        ensure!(moved >= rounds as usize / 2, "they were moved {moved} times in {rounds} rounds");
        let names = self.pinned.names();
        let sets: Vec<&String> = names.iter().filter(|name| name.starts_with("maps")).collect();
        ensure!(sets == ["maps"], "there are {sets:?}");
        Ok(())
    }
}

/// Opens connections that live for some echoes, until it is over.
fn open(crowd: &mut Crowd, over: &AtomicBool) -> Result<usize> {
    let mut begun = 0;
    while !over.load(Ordering::Relaxed) {
        crowd.open_fresh(AT_ONCE, LIFE)?;
        begun += AT_ONCE;
        std::thread::sleep(PAUSE);
    }
    Ok(begun)
}
