//! The lab's story, played and checked step by step.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::configuration::remove_target;
use lab::http::{self, Connection};
use lab::sluice::targets_of;
use lab::topology::{CLIENT4, CLIENT6};
use lab::traffic::{Tally, Traffic};
use lab::{Lab, VIP4, VIP6};

use crate::interrupt::unless_interrupted;

/// New connections of one check, for each target: that one of three is missed by chance happens once in 10^20.
const REQUESTS: usize = 40;

/// Connections that are held open while targets change.
const HELD: usize = 30;

/// How long a change of health may take: some checks a second apart, their jitter, and a busy machine.
const HEALTH: Duration = Duration::from_secs(60);

/// How long a changed file may take to be in force, on a busy machine.
const APPLIED: Duration = Duration::from_secs(60);

/// The target whose server stops and comes back, and the one that is taken out of the configuration.
const STOPPED: usize = 1;
const DRAINED: usize = 2;

/// Plays the story; success means that every step was as it must be.
pub(crate) async fn run(targets: u8) -> Result<ExitCode> {
    ensure!(usize::from(targets) > DRAINED, "the story needs at least {} targets", DRAINED + 1);
    unless_interrupted(move || play(targets)).await
}

fn play(targets: u8) -> Result<ExitCode> {
    let mut story = Story { lab: None, targets, failed: 0 };
    let steps: [(&str, Step); 8] = [
        ("a lab is made, the controller runs in it", Story::make),
        ("every target gets healthy", Story::all_healthy),
        ("IPv4 connections reach every target, which sees the client's address", Story::all_serve_v4),
        ("IPv6 connections reach every target, which sees the client's address", Story::all_serve_v6),
        ("a target whose server stops is withdrawn; after that no request fails", Story::stop_one),
        ("its server comes back, and it serves again", Story::bring_back),
        ("a target is taken out of the file while packets flow; nothing breaks", Story::drain_one),
        ("the controller stops, and leaves its interface as it was", Story::stop_controller),
    ];
    for (name, step) in steps {
        let start = Instant::now();
        match step(&mut story) {
            Ok(evidence) => println!("ok      {name} ({evidence}; {:.1} s)", start.elapsed().as_secs_f64()),
            Err(error) => {
                println!("FAILED  {name}\n{error:#}");
                story.failed += 1;
                if !story.has_evidence(&error) {
                    story.print_evidence();
                }
                // What follows builds on it.
                break;
            }
        }
    }
    let failed = story.failed;
    drop(story);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A step of the story: what it saw, or what is wrong.
type Step = fn(&mut Story) -> Result<String>;

struct Story {
    lab: Option<Lab>,
    targets: u8,
    failed: u32,
}

impl Story {
    fn lab(&mut self) -> Result<&mut Lab> {
        self.lab.as_mut().context("there is no lab")
    }

    /// A wait that failed carries the lab's state as it was then.
    fn has_evidence(&self, error: &anyhow::Error) -> bool {
        format!("{error:#}").contains(lab::evidence::TITLE)
    }

    fn print_evidence(&self) {
        if let Some(lab) = &self.lab {
            println!("{}", lab.evidence());
        }
    }

    fn make(&mut self) -> Result<String> {
        let mut lab = Lab::builder().targets(self.targets).build()?;
        let configuration = lab.configuration();
        let number = lab.lease.number();
        let started = lab.start(&configuration);
        self.lab = Some(lab);
        started.map(|()| format!("lab {number}"))
    }

    fn all_healthy(&mut self) -> Result<String> {
        let report = self.lab()?.wait_for_all(0, "healthy", HEALTH)?;
        let modes: Vec<String> = report
            .interfaces
            .iter()
            .map(|interface| format!("{} {}", interface.name, interface.mode))
            .collect();
        Ok(modes.join(", "))
    }

    fn all_serve_v4(&mut self) -> Result<String> {
        self.curl(VIP4.into(), CLIENT4.into())?;
        self.all_serve(VIP4.into(), CLIENT4.into())
    }

    fn all_serve_v6(&mut self) -> Result<String> {
        self.curl(VIP6.into(), CLIENT6.into())?;
        self.all_serve(VIP6.into(), CLIENT6.into())
    }

    /// The same as a person would do it.
    fn curl(&mut self, vip: IpAddr, client: IpAddr) -> Result<()> {
        let url = format!("http://{}/", SocketAddr::new(vip, http::PORT));
        let body = self.lab()?.client.run("curl", &["--silent", "--show-error", "--max-time", "5", &url])?;
        let answer = http::parse(&body)?;
        ensure!(answer.client == client, "curl: {} saw {} instead of {client}", answer.target, answer.client);
        Ok(())
    }

    fn all_serve(&mut self, vip: IpAddr, client: IpAddr) -> Result<String> {
        let names: BTreeSet<String> = self.lab()?.targets.iter().map(|target| target.name.clone()).collect();
        let tally = ask(self.lab()?, &[vip]);
        expect_answers_from(&tally, &names)?;
        ensure!(tally.clients == [client], "targets saw {:?} instead of {client}", tally.clients);
        Ok(tally.to_string())
    }

    fn stop_one(&mut self) -> Result<String> {
        let lab = self.lab()?;
        let stopped = (lab.targets[STOPPED].name.clone(), lab.targets[STOPPED].v4.into());
        lab.targets[STOPPED].stop_server();
        let start = Instant::now();
        lab.wait_for_target(0, stopped.1, "unhealthy", HEALTH)?;
        let noticed = start.elapsed();
        lab.wait_for(0, "its slots are others'", APPLIED, |report| no_slots(report, stopped.1))?;
        let tally = ask(lab, &[VIP4.into(), VIP6.into()]);
        let others = names_without(lab, STOPPED);
        expect_answers_from(&tally, &others)?;
        Ok(format!("{} withdrawn after {:.1} s; {tally}", stopped.0, noticed.as_secs_f64()))
    }

    fn bring_back(&mut self) -> Result<String> {
        let lab = self.lab()?;
        let vips = lab.vips.clone();
        lab.targets[STOPPED].start_server(&vips)?;
        lab.wait_for_all(0, "healthy", HEALTH)?;
        let names = lab.targets.iter().map(|target| target.name.clone()).collect();
        let tally = ask(lab, &[VIP4.into(), VIP6.into()]);
        expect_answers_from(&tally, &names)?;
        Ok(tally.to_string())
    }

    fn drain_one(&mut self) -> Result<String> {
        let lab = self.lab()?;
        let (name, address) = (lab.targets[DRAINED].name.clone(), IpAddr::from(lab.targets[DRAINED].v4));
        let mut held = hold_connections(lab)?;
        let on_drained = held.iter().filter(|held| held.target == name).count();
        let generation = lab.nodes[0].status()?.configuration.generation;
        let traffic = Traffic::start(lab, Duration::from_millis(5))?;
        let mut configuration = lab.configuration();
        remove_target(&mut configuration, address)?;
        lab.nodes[0].write_configuration(&configuration)?;
        lab.wait_for(0, "the new configuration", APPLIED, |report| {
            if let Some(rejected) = &report.configuration.rejected {
                bail!("it was refused: {rejected}");
            }
            ensure!(
                report.configuration.generation > generation,
                "generation {generation} is still in force"
            );
            no_slots(report, address)
        })?;
        let others = names_without(lab, DRAINED);
        expect_answers_from(&ask(lab, &[VIP4.into(), VIP6.into()]), &others)?;
        held.iter_mut().try_for_each(Held::expect_same_target)?;
        let tally = traffic.stop();
        ensure!(tally.failed == 0, "requests failed while the file was applied: {tally}");
        Ok(format!("{} held connections live, {on_drained} of them on {name}; meanwhile {tally}", held.len()))
    }

    fn stop_controller(&mut self) -> Result<String> {
        let lab = self.lab()?;
        lab.nodes[0].stop_controller()?;
        let link = lab.nodes[0].host.ip("link show dev eth0")?;
        ensure!(!link.contains("xdp"), "an XDP program is still on eth0: {link}");
        Ok("no XDP program is left on eth0".to_string())
    }
}

/// A connection and the target that it was on at first.
struct Held {
    connection: Connection,
    target: String,
}

impl Held {
    fn expect_same_target(&mut self) -> Result<()> {
        let from = self.connection.local_address()?;
        let answer = self
            .connection
            .get()
            .with_context(|| format!("the established connection from {from} to {} broke", self.target))?;
        ensure!(answer.target == self.target, "{from} moved from {} to {}", self.target, answer.target);
        Ok(())
    }
}

fn hold_connections(lab: &Lab) -> Result<Vec<Held>> {
    (0..HELD)
        .map(|number| {
            let vip = if number % 2 == 0 { VIP4.into() } else { VIP6.into() };
            let mut connection = lab.connect(vip)?;
            let target = connection.get()?.target;
            Ok(Held { connection, target })
        })
        .collect()
}

fn no_slots(report: &lb_userspace::status::report::Report, address: IpAddr) -> Result<()> {
    for target in targets_of(report, address) {
        ensure!(target.slots == 0, "{address} still has {} slots", target.slots);
    }
    Ok(())
}

fn names_without(lab: &Lab, index: usize) -> BTreeSet<String> {
    let others = lab.targets.iter().enumerate().filter(|(number, _)| *number != index);
    others.map(|(_, target)| target.name.clone()).collect()
}

/// New connections, one after another, VIPs in turn.
fn ask(lab: &Lab, vips: &[IpAddr]) -> Tally {
    let mut tally = Tally::default();
    for vip in vips.iter().cycle().take(REQUESTS * lab.targets.len()) {
        tally.add(lab.client.enter(|| http::get_patiently(SocketAddr::new(*vip, http::PORT))));
    }
    tally
}

fn expect_answers_from(tally: &Tally, names: &BTreeSet<String>) -> Result<()> {
    ensure!(tally.failed == 0, "requests failed: {tally}");
    let answered: BTreeSet<String> = tally.answers.keys().cloned().collect();
    ensure!(answered == *names, "{names:?} should have answered, but {tally}");
    Ok(())
}
