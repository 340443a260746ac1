//! The targets of a lab as they are meant to be: each change goes through the configuration file (or is a
//! target's death), and it is known from when on a target's connections may break.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::topology::Lab;
use lab::{configuration, echo, wait};
use lb_userspace::status::report::{Report, TargetReport};
use serde_json::{Value, json};

use lab::crowd::Broken;

/// How long a removed target keeps its connections.
pub(crate) const DRAINING: Duration = Duration::from_secs(6);

/// How long a change may take to be in force, health checks included.
const SETTLED: Duration = Duration::from_secs(60);

/// The longest pause between two retransmissions.
const LONGEST_SILENCE_MILLISECONDS: &str = "3000";

/// The target group and the load balancer.
const NAME: &str = "echo";

/// By which of its addresses a target is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// How packets travel to the targets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) encapsulation: &'static str,
    pub(crate) family: Family,
}

/// What a target is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not in the file, and its draining is over.
    Out,
    /// In the file with a weight.
    In(u16),
    /// Out of the file since then.
    Draining(Instant),
    /// In the file, but neither server nor agent runs.
    Dead(u16),
}

/// One target.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) standing: Standing,
}

impl Member {
    /// Whether new connections may go to it.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self.standing, Standing::In(weight) if weight > 0)
    }
}

/// From `from` on, connections to `target` may break; those that began after `until` may not.
#[derive(Debug)]
struct Loss {
    target: String,
    from: Instant,
    until: Option<Instant>,
}

/// A lab with its targets.
pub(crate) struct Fleet {
    pub(crate) lab: Lab,
    pub(crate) members: Vec<Member>,
    layout: Layout,
    losses: Vec<Loss>,
}

impl Fleet {
    /// Starts everything with the first `registered` targets in the file, and waits until they are healthy.
    pub(crate) fn start(mut lab: Lab, layout: Layout, registered: usize) -> Result<Fleet> {
        let member = |(number, target): (usize, &lab::topology::Target)| Member {
            name: target.name.clone(),
            address: match layout.family {
                Family::V4 => target.v4.into(),
                Family::V6 => target.v6.into(),
            },
            standing: if number < registered { Standing::In(1) } else { Standing::Out },
        };
        let members: Vec<Member> = lab.targets.iter().enumerate().map(member).collect();
        retransmit_soon(&lab);
        let configuration = configuration_of(&lab, &members, layout);
        lab.start(&configuration)?;
        let fleet = Fleet { lab, members, layout, losses: Vec::new() };
        fleet.settled()?;
        Ok(fleet)
    }

    /// Puts a target into the file that is not known to the controller.
    pub(crate) fn add(&mut self, number: usize, weight: u16) -> Result<()> {
        self.members[number].standing = Standing::In(weight);
        self.apply()?;
        self.settled()?;
        self.end_loss(number);
        Ok(())
    }

    /// Takes a target out of the file; its connections live on for the draining time.
    pub(crate) fn drain(&mut self, number: usize) -> Result<()> {
        let now = Instant::now();
        self.members[number].standing = Standing::Draining(now);
        let target = self.members[number].name.clone();
        self.losses.push(Loss { target, from: now + DRAINING, until: None });
        self.apply()
    }

    /// Puts a draining target back into the file: its connections live on for good.
    pub(crate) fn give_back(&mut self, number: usize, weight: u16) -> Result<()> {
        let Standing::Draining(since) = self.members[number].standing else {
            bail!("{} is not draining", self.members[number].name);
        };
        self.members[number].standing = Standing::In(weight);
        self.apply()?;
        if since.elapsed() < DRAINING {
            let name = &self.members[number].name;
            self.losses.retain(|loss| loss.target != *name || loss.until.is_some());
        } else {
            // The machine was too slow: whether it was in time, nobody knows.
            self.end_loss(number);
        }
        self.settled().map(drop)
    }

    /// Changes a target's weight.
    pub(crate) fn weigh(&mut self, number: usize, weight: u16) -> Result<()> {
        self.members[number].standing = Standing::In(weight);
        self.apply()
    }

    /// Ends a target's agent and server as a crash does.
    pub(crate) fn kill(&mut self, number: usize) -> Result<()> {
        let Standing::In(weight) = self.members[number].standing else {
            bail!("only living ones are killed")
        };
        self.members[number].standing = Standing::Dead(weight);
        let target = self.members[number].name.clone();
        self.losses.push(Loss { target, from: Instant::now(), until: None });
        let target = &mut self.lab.targets[number];
        if let Some(mut agent) = target.agent.take() {
            agent.kill();
        }
        target.stop_server();
        self.settled().map(drop)
    }

    /// Starts a dead target's server and agent again.
    pub(crate) fn revive(&mut self, number: usize) -> Result<()> {
        let Standing::Dead(weight) = self.members[number].standing else { bail!("only dead ones come back") };
        let nodes = self.lab.tunnel_sources();
        let vips = self.lab.vips.clone();
        self.end_loss(number);
        self.lab.targets[number].start_agent(&nodes, &vips)?;
        self.lab.targets[number].start_server(&vips)?;
        self.members[number].standing = Standing::In(weight);
        self.settled().map(drop)
    }

    /// Targets whose draining is over are out.
    pub(crate) fn let_drained_go(&mut self) -> Result<()> {
        let report = self.lab.nodes[0].status()?;
        let known = targets_of(&report);
        for member in &mut self.members {
            if matches!(member.standing, Standing::Draining(_)) && !known.contains_key(&member.address) {
                member.standing = Standing::Out;
            }
        }
        Ok(())
    }

    /// Waits until nothing drains any more.
    pub(crate) fn wait_until_drained(&mut self) -> Result<()> {
        wait::until("the end of all draining", DRAINING * 4, || {
            self.let_drained_go()?;
            let draining = |member: &&Member| matches!(member.standing, Standing::Draining(_));
            match self.members.iter().find(draining) {
                Some(member) => bail!("{} is still draining", member.name),
                None => Ok(()),
            }
        })
    }

    /// Whether a connection broke that had to live.
    pub(crate) fn excuses(&self, broken: &Broken) -> bool {
        self.losses.iter().any(|loss| {
            loss.target == broken.target
                && broken.at >= loss.from
                && loss.until.is_none_or(|until| broken.opened <= until)
        })
    }

    fn end_loss(&mut self, number: usize) {
        let name = &self.members[number].name;
        for loss in self.losses.iter_mut().filter(|loss| loss.target == *name) {
            loss.until.get_or_insert_with(Instant::now);
        }
    }

    fn apply(&mut self) -> Result<()> {
        let generation = self.lab.nodes[0].status()?.configuration.generation;
        let configuration = configuration_of(&self.lab, &self.members, self.layout);
        self.lab.nodes[0].write_configuration(&configuration)?;
        let applied = |report: &Report| {
            if let Some(problem) = &report.configuration.rejected {
                bail!("the configuration was refused: {problem}");
            }
            ensure!(report.configuration.generation > generation, "it is not applied yet");
            Ok(())
        };
        self.lab.wait_for(0, "the new configuration", SETTLED, applied).map(drop)
    }

    /// The status as soon as every target is what it is meant to be.
    pub(crate) fn settled(&self) -> Result<Report> {
        self.lab.wait_for(0, "all targets as they are meant to be", SETTLED, |report| {
            let known = targets_of(report);
            self.members.iter().try_for_each(|member| member.expect(known.get(&member.address).copied()))
        })
    }
}

/// TCP doubles its pause with each loss in a row: who was silenced by a flood is silent for as long again and longer
/// after it, and the story would wait for its last echo for minutes. Kernels before Linux 6.15 can't be told, and do.
fn retransmit_soon(lab: &Lab) {
    let targets = lab.targets.iter().map(|target| &target.host);
    for host in targets.chain([&lab.client]) {
        let _ = host.set_sysctl("net/ipv4/tcp_rto_max_ms", LONGEST_SILENCE_MILLISECONDS);
    }
}

impl Member {
    fn expect(&self, known: Option<&TargetReport>) -> Result<()> {
        let state = known.map(|target| target.state.as_str());
        let right = match self.standing {
            Standing::Out => state.is_none(),
            Standing::In(_) => state == Some("healthy"),
            Standing::Draining(_) => state.is_none_or(|state| state == "draining"),
            Standing::Dead(_) => state == Some("unhealthy"),
        };
        ensure!(right, "{} is {state:?}, but meant to be {:?}", self.name, self.standing);
        let weight = known.map(|target| target.weight);
        let right = match self.standing {
            Standing::In(meant) | Standing::Dead(meant) => weight == Some(meant),
            Standing::Out | Standing::Draining(_) => true,
        };
        ensure!(right, "{} has the weight {weight:?}, but is meant to be {:?}", self.name, self.standing);
        if let Some(target) = known.filter(|_| !self.is_in_use()) {
            ensure!(target.slots == 0, "{} is {:?} but has {} slots", self.name, self.standing, target.slots);
        }
        Ok(())
    }
}

/// The targets of the group that the status knows.
pub(crate) fn targets_of(report: &Report) -> BTreeMap<IpAddr, &TargetReport> {
    report.target_groups[NAME].targets.iter().map(|target| (target.id, target)).collect()
}

/// The digest of the listener's table.
pub(crate) fn digest(report: &Report) -> Result<&str> {
    let load_balancer = report.load_balancers.get(NAME).context("the status has no load balancer")?;
    let listener = load_balancer.listeners.first().context("the status has no listener")?;
    Ok(&listener.table_digest)
}

fn configuration_of(lab: &Lab, members: &[Member], layout: Layout) -> Value {
    let mut group = configuration::target_group(NAME, "TCP", echo::PORT, &[]);
    group["encapsulation"] = layout.encapsulation.into();
    group["draining_seconds"] = DRAINING.as_secs().into();
    group["terminate_on_deregistration"] = true.into();
    // Longer than a crowd waits for an echo: TCP's retransmissions back off to many seconds where a flood fills the
    // wire, and a flow that is silent for the idle time-out is forgotten.
    group["idle_timeout_seconds"] = 240.into();
    // Patient, so that neither a busy machine nor the losses of a flooded wire make a target unhealthy.
    group["health_check"]["interval_seconds"] = 2.into();
    group["health_check"]["timeout_seconds"] = 2.into();
    group["health_check"]["unhealthy_threshold"] = 5.into();
    group["targets"] = members.iter().filter_map(entry).collect();
    json!({
        "node": { "name": "lb", "zone": "a", "interfaces": [] },
        "load_balancers": [ {
            "name": NAME, "vips": lab.vips,
            "listeners": [ { "protocol": "TCP", "port": echo::PORT, "forward": [ { "target_group": NAME } ] } ]
        } ],
        "target_groups": [ group ]
    })
}

fn entry(member: &Member) -> Option<Value> {
    match member.standing {
        Standing::In(weight) | Standing::Dead(weight) => {
            Some(json!({ "id": member.address, "weight": weight }))
        }
        Standing::Out | Standing::Draining(_) => None,
    }
}
