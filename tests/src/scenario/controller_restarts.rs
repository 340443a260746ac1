//! A controller that is killed again and again, at any moment of a change or of a start, and ended and started again,
//! while connections live on its node and a stream of packets goes through it.
//!
//! Connections are a crowd's, on one listener, whose target group changes; the stream is another listener's, each
//! packet a flow of its own, and each goes through three programs of a generation because the listener has an
//! allow-list.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use lb_userspace::status::report::Report;
use serde_json::{Value, json};

use super::{Options, Scenario, Telling};
use crate::crowd::{Crowd, Patience};
use crate::pinned::Pinned;
use crate::stream::{Flowed, Stream};
use crate::topology::Lab;
use crate::{configuration, echo, http};

/// The story.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "controller-restarts",
    about: "the controller is killed 100 times and restarted 20 times under load: nothing is lost, nothing breaks",
    run,
};

/// The stream fills the queues of the wires, where a packet may be lost many times over: TCP minds nothing of that.
pub(super) const PATIENCE: Patience = Patience { tries: 3, echo: Duration::from_secs(180) };
const CONNECTIONS: u32 = 10_000;
/// How often it is killed; it is ended and started again once for each five.
const KILLS: u32 = 100;
const KILLS_FOR_EACH_RESTART: u32 = 5;
/// Connections that begin after each restart.
const MORE: usize = 20;
const TARGETS: u8 = 4;
/// A change is read 50 ms after it was written; then tables are computed and written.
const CHANGING: std::ops::Range<u64> = 45_000..75_000;
/// A start takes no longer than this, if the machine is not busy.
const STARTING: std::ops::Range<u64> = 0..3_000_000;

fn run(options: &Options, telling: &mut Telling) -> Result<()> {
    let lab = Lab::builder().targets(TARGETS).sieved().build()?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..=u64::from(u32::MAX)));
    let kills = options.rounds.unwrap_or(KILLS);
    telling.step(format!("{TARGETS} targets, --seed {seed}"));
    Pinned::new(lab)?.tell(|pinned| {
        let mut story = Story { pinned, chance: Rng::with_seed(seed), counted: 0 };
        story.play(options.connections.unwrap_or(CONNECTIONS) as usize, kills, telling)
    })
}

struct Story<'a> {
    pinned: &'a mut Pinned,
    chance: Rng,
    /// Packets that the listeners had counted when the status was last read.
    counted: u64,
}

impl Story<'_> {
    fn play(&mut self, connections: usize, kills: u32, telling: &mut Telling) -> Result<()> {
        self.pinned.lab.start_servers()?;
        self.pinned.lab.start_agents()?;
        let all = wanted(&self.pinned.lab, None);
        self.pinned.start(&all)?;
        self.pinned.healthy()?;
        let mut crowd = Crowd::start(&self.pinned.lab, PATIENCE)?;
        crowd.open(connections)?;
        telling.step(format!("{connections} connections are established"));
        let stream = Stream::start(&self.pinned.lab, 0, http::PORT)?;
        for kill in 1..=kills {
            self.change_and_kill(kill)?;
            crowd.expect_whole().with_context(|| format!("after kill {kill}"))?;
            if kill.is_multiple_of(kills.div_ceil(10)) {
                telling.step(format!("killed {kill} times; {} packets", stream.sent()));
            }
        }
        self.pinned.lab.nodes[0].write_configuration(&all)?;
        let restarts = kills.div_ceil(KILLS_FOR_EACH_RESTART) as usize;
        for restart in 1..=restarts {
            self.restart(&all, restart)?;
            crowd.open(MORE)?;
            crowd.expect_whole().with_context(|| format!("after restart {restart}"))?;
        }
        telling.step(format!("restarted {restarts} times; {} packets", stream.sent()));
        let flowed = stream.stop(&self.pinned.lab.nodes[0])?;
        let (opened, tally) = (connections + restarts * MORE, crowd.finish());
        tally.tell(opened, telling);
        flowed.tell(telling);
        telling.number("killed, restarted", format!("{kills} times, {restarts} times"));
        telling
            .claim("no connection broke, no byte was wrong, missing or twice there", tally.is_whole(opened));
        telling.claim(
            "the data plane lost no packet, and has counted each",
            expect_forwarded(self.pinned, flowed),
        );
        telling.claim(
            "the maps are equal to those of a clean start",
            expect_equal_to_a_clean_start(self.pinned, &all),
        );
        Ok(())
    }

    /// Makes a change, kills the controller at any moment of it, or of the next start, and starts it again.
    fn change_and_kill(&mut self, kill: u32) -> Result<()> {
        let configuration = wanted(&self.pinned.lab, kill.is_multiple_of(2).then_some(0));
        self.pinned.lab.nodes[0].write_configuration(&configuration)?;
        std::thread::sleep(Duration::from_micros(self.chance.u64(CHANGING)));
        self.pinned.kill()?;
        if kill.is_multiple_of(3) {
            self.pinned.lab.nodes[0].start_controller(&configuration)?;
            std::thread::sleep(Duration::from_micros(self.chance.u64(STARTING)));
            self.pinned.kill()?;
        }
        let report = self.pinned.start(&configuration)?;
        self.count(&report)
    }

    /// Starts the controller again; where nothing has changed since it ended, it writes nothing.
    fn restart(&mut self, configuration: &Value, restart: usize) -> Result<()> {
        self.pinned.healthy()?;
        self.pinned.terminate()?;
        let report = self.pinned.start(configuration)?;
        self.count(&report)?;
        if restart > 1 {
            let log = self.pinned.log();
            let last = log.lines().rev().find(|line| line.contains("going on from"));
            let last = last.context("it did not go on")?;
            ensure!(last.ends_with("0 targets, 0 tables and 0 listeners were written"), "{last}");
        }
        Ok(())
    }

    fn count(&mut self, report: &Report) -> Result<()> {
        let listeners = &report.load_balancers["all"].listeners;
        let now = listeners.iter().map(|listener| listener.packets).sum();
        ensure!(now >= self.counted && now > 0, "{} packets were counted, now {now}", self.counted);
        self.counted = now;
        Ok(())
    }
}

/// Whether the balancer forwarded what the stream sent.
pub(super) fn expect_forwarded(pinned: &Pinned, flowed: Flowed) -> Result<()> {
    let report = pinned.lab.nodes[0].status()?;
    let listeners = &report.load_balancers["all"].listeners;
    let web = listeners.iter().find(|listener| listener.port == http::PORT.to_string());
    flowed.is_whole(web.context("the status has no such listener")?.packets)?;
    expect_none_dropped(&report)
}

/// Whether the maps are what they are after a start from nothing, as which the story ends.
pub(super) fn expect_equal_to_a_clean_start(pinned: &mut Pinned, configuration: &Value) -> Result<()> {
    pinned.healthy()?;
    let grown = pinned.contents()?;
    pinned.terminate()?;
    pinned.sluice(&["detach"])?;
    pinned.start(configuration)?;
    pinned.healthy()?;
    let clean = pinned.contents()?;
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    ensure!(!clean.is_empty(), "there is nothing in the maps");
    let (more, less) = (only(&grown, &clean), only(&clean, &grown));
    ensure!(grown == clean, "{} lines more: {more:#?}; {} less: {less:#?}", more.len(), less.len());
    Ok(())
}

impl Crowd {
    /// Whether no connection has broken yet, and none got another's bytes.
    pub(super) fn expect_whole(&self) -> Result<()> {
        let tally = self.tally();
        ensure!(tally.broken.is_empty(), "{} connections broke: {:?}", tally.broken.len(), tally.broken);
        ensure!(tally.misdelivered.is_empty(), "{:?}", tally.misdelivered);
        Ok(())
    }
}

impl Flowed {
    /// Says how it went.
    pub(super) fn tell(&self, telling: &mut Telling) {
        telling.number("packets for the balancer", self.arrived());
        telling.number("packets a second", format!("{:.2} million", self.rate() / 1e6));
        let full = self.dropped_before + self.arrived().saturating_sub(self.through);
        telling.number("more that full queues of the wire dropped", full);
    }
}

/// Whether the balancer has a reason to have dropped a packet.
pub(super) fn expect_none_dropped(report: &Report) -> Result<()> {
    let dropped = report.reasons.iter().find(|reason| reason.verdict == "dropped" && reason.packets > 0);
    ensure!(dropped.is_none(), "the balancer dropped packets: {dropped:?}");
    Ok(())
}

/// A listener with all web servers, and one with all echo servers `but` one.
pub(super) fn wanted(lab: &Lab, but: Option<usize>) -> Value {
    let addresses: Vec<_> = lab.targets.iter().map(|target| target.v4.into()).collect();
    let mut web = configuration::target_group("web", "TCP", http::PORT, &addresses);
    let serving = (0..addresses.len()).filter(|at| but != Some(*at));
    let serving: Vec<_> = serving.map(|at| addresses[at]).collect();
    let mut echo = configuration::target_group("echo", "TCP", echo::PORT, &serving);
    // Nothing has drained until all is over: no connection may break. And no machine is so busy that a check fails.
    echo["draining_seconds"] = 3600.into();
    for group in [&mut echo, &mut web] {
        group["idle_timeout_seconds"] = 240.into();
        group["health_check"]["timeout_seconds"] = 5.into();
        group["health_check"]["interval_seconds"] = 5.into();
        group["health_check"]["unhealthy_threshold"] = 10.into();
    }
    let listener =
        |port, group| json!({ "protocol": "TCP", "port": port, "forward": [ { "target_group": group } ] });
    json!({
        "node": { "name": "lb", "zone": "a", "interfaces": [] },
        "load_balancers": [ {
            "name": "all", "vips": lab.vips, "allow": [ { "sources": ["0.0.0.0/0", "::/0"] } ],
            "listeners": [ listener(echo::PORT, "echo"), listener(http::PORT, "web") ]
        } ],
        "target_groups": [ echo, web ]
    })
}
