//! Nodes whose shared state goes away, member by member, all at once, and for one of them alone: what they forward by
//! and what they announce stays, and when the state is back all are equal.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lb_userspace::status::report::{Report, SharedStateReport};
use serde_json::{Value, json};

use super::{Options, Scenario, Telling};
use crate::elbv2::Api;
use crate::etcd::{Cluster, Cut};
use crate::topology::{Lab, VIP4};
use crate::{http, wait};

/// The story.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "etcd-outage",
    about: "etcd away, its leader killed, a node cut off: no VIP withdrawn, no table changed; all equal after 2 s",
    run,
};

/// How long etcd is away, and a node is cut off, unless told otherwise.
const SECONDS: u32 = 60;

/// Members of etcd.
const MEMBERS: u16 = 3;

/// Within what time all nodes must be equal again, in a story of full size.
const EQUAL: Duration = Duration::from_secs(2);

/// The same of a small story, which is played while a machine does other things.
const EQUAL_ON_A_BUSY_MACHINE: Duration = Duration::from_secs(10);

/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

fn run(options: &Options, telling: &mut Telling) -> Result<()> {
    let away = Duration::from_secs(options.seconds.unwrap_or(SECONDS).into());
    let limit = if options.seconds.is_none() { EQUAL } else { EQUAL_ON_A_BUSY_MACHINE };
    let mut story = Story::begin(options.nodes.unwrap_or(3), options.targets.unwrap_or(6), limit)?;
    let told = story.play(away, telling);
    told.map_err(|error| story.lab.with_evidence(error))
}

struct Story {
    lab: Lab,
    etcd: Cluster,
    limit: Duration,
    group: String,
    /// Whether the last target is registered.
    has_last: bool,
}

/// What a node forwards by and announces.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    digests: Vec<String>,
    announced: Vec<IpAddr>,
}

impl Standing {
    fn of(report: &Report) -> Standing {
        let listeners = report.load_balancers.values().flat_map(|balancer| &balancer.listeners);
        let announced = report.announcements.iter().filter(|at| at.announced);
        Standing {
            digests: listeners.map(|listener| listener.table_digest.clone()).collect(),
            announced: announced.map(|at| at.vip).collect(),
        }
    }
}

impl Story {
    fn begin(nodes: u8, targets: u8, limit: Duration) -> Result<Story> {
        let mut lab = Lab::builder().nodes(nodes).targets(targets).vips(&[VIP4.into()]).build()?;
        let etcd = Cluster::start_in(&lab, MEMBERS)?;
        lab.start_servers()?;
        lab.start_agents()?;
        let endpoints = etcd.endpoints();
        lab.start_nodes_each(|lab, node| configuration(lab, node, &endpoints))?;
        Ok(Story { lab, etcd, limit, group: String::new(), has_last: true })
    }

    fn play(&mut self, away: Duration, telling: &mut Telling) -> Result<()> {
        self.create()?;
        let took = self.equal(PATIENCE)?;
        self.forwarding()?;
        telling.step(format!(
            "{} nodes share a state in {MEMBERS} members of etcd, equal {} ms after the last call",
            self.lab.nodes.len(),
            took.as_millis()
        ));
        self.all_away(away, telling)?;
        self.leader_killed(telling)?;
        self.cut_off(away / 2, telling)
    }

    /// All members are lost for a while.
    fn all_away(&mut self, away: Duration, telling: &mut Telling) -> Result<()> {
        let before = self.standings()?;
        self.etcd.kill_all();
        telling.step("all members of etcd are killed");
        let begun = Instant::now();
        let (mut unchanged, mut was_told) = (Ok(()), false);
        while begun.elapsed() < away {
            unchanged = unchanged.and_then(|()| self.expect(&before));
            was_told |= self.all(|shared| !shared.store_reachable)?;
            std::thread::sleep(LOOK);
        }
        telling
            .claim(format!("for {} s no VIP was withdrawn and no table changed", away.as_secs()), unchanged);
        let told = if was_told { Ok(()) } else { failure("a node did not say so") };
        telling.claim("every node said that the store is away", told);
        let refused = match self.api(0).ask(&self.call_of_last_target(!self.has_last))? {
            (503, _) => Ok(()),
            (status, body) => failure(&format!("answered with {status}: {body}")),
        };
        telling.claim("a change was refused meanwhile, not lost", refused);
        self.etcd.start_all()?;
        let begun = Instant::now();
        wait::until("the store to answer every node", PATIENCE, || {
            ensure!(self.all(|shared| shared.store_reachable)?, "a node says that the store is away");
            Ok(())
        })?;
        telling.step(format!("all members are back, for all nodes after {} ms", begun.elapsed().as_millis()));
        telling.number("store back for all nodes", milliseconds(begun.elapsed()));
        telling.claim("nothing had changed when the store was back", self.expect(&before));
        self.change_and_compare("after the outage", telling)
    }

    /// The member that leads is lost.
    fn leader_killed(&mut self, telling: &mut Telling) -> Result<()> {
        // A member that is just back may not know yet who leads.
        let leader = wait::until("a leader of etcd", PATIENCE, || self.etcd.leader())?;
        let before = self.standings()?;
        self.etcd.kill(leader);
        telling.step("the leader of etcd is killed");
        let begun = Instant::now();
        let mut unchanged = Ok(());
        while begun.elapsed() < Duration::from_secs(5) {
            unchanged = unchanged.and_then(|()| self.expect(&before));
            std::thread::sleep(LOOK);
        }
        telling.claim("without the leader no VIP was withdrawn and no table changed", unchanged);
        self.change_and_compare("with two of three members", telling)?;
        self.etcd.start_all()
    }

    /// The last node can't reach etcd; what it forwards by stays, while the others follow a change.
    fn cut_off(&mut self, away: Duration, telling: &mut Telling) -> Result<()> {
        let lost = self.lab.nodes.len() - 1;
        let (name, before) = (self.lab.nodes[lost].name.clone(), self.standings()?);
        self.etcd.cut_off(&self.lab, lost, Cut::Begin)?;
        telling.step(format!("{name} is cut off from etcd"));
        self.change()?;
        let (begun, mut stayed, mut is_missed) = (Instant::now(), Ok(()), false);
        // A member that has just come to lead gives every lease its whole time once more.
        let least = away.max(Duration::from_secs(15));
        while begun.elapsed() < least || (!is_missed && begun.elapsed() < PATIENCE) {
            stayed = stayed.and_then(|()| self.expect_of(lost, &before[&name]));
            is_missed |= is_gone(&self.lab.nodes[0].status()?, &name);
            std::thread::sleep(LOOK);
        }
        telling.claim(format!("{name} withdrew no VIP and changed no table while it was cut off"), stayed);
        let missed = if is_missed { Ok(()) } else { failure("it is not listed as gone") };
        telling.claim(format!("the others said that {name} is gone"), missed);
        let listed = self.lab.nodes[0].sluice(&["node", "ls"])?;
        telling.step(format!("the first node lists\n{}", listed.trim_end()));
        let others_followed =
            self.standings()?.iter().filter(|(node, _)| **node != name).all(|(node, now)| {
                now.announced == before[node].announced && now.digests != before[node].digests
            });
        let followed = if others_followed { Ok(()) } else { failure("they have the tables of before") };
        telling.claim("the others followed the change meanwhile and kept their VIPs", followed);
        self.etcd.cut_off(&self.lab, lost, Cut::End)?;
        let took = self.equal(PATIENCE)?;
        telling.step(format!("{name} is back, and equal {} ms later", took.as_millis()));
        telling.number("equal after the cut", milliseconds(took));
        telling.claim(
            format!("all nodes were equal within {} s of the cut's end", self.limit.as_secs()),
            self.in_time(took),
        );
        self.present()?;
        self.forwarding()
    }

    fn in_time(&self, took: Duration) -> Result<()> {
        ensure!(took <= self.limit, "it took {} ms", took.as_millis());
        Ok(())
    }

    /// A change at the first node, and how long it takes to be in force on all.
    fn change_and_compare(&mut self, when: &str, telling: &mut Telling) -> Result<()> {
        self.change()?;
        let took = self.equal(PATIENCE)?;
        telling.step(format!("a change {when} is in force on all nodes after {} ms", took.as_millis()));
        telling.number(format!("equal {when}"), milliseconds(took));
        telling.claim(
            format!("all nodes were equal within {} s, {when}", self.limit.as_secs()),
            self.in_time(took),
        );
        self.forwarding()
    }

    /// The last target goes, or comes back.
    fn change(&mut self) -> Result<()> {
        let call = self.call_of_last_target(!self.has_last);
        wait::until("an accepted change", PATIENCE, || match self.api(0).ask(&call)? {
            (200, _) => Ok(()),
            (status, body) => bail!("{status}: {body}"),
        })?;
        self.has_last = !self.has_last;
        Ok(())
    }

    fn call_of_last_target(&self, comes: bool) -> String {
        let last = self.lab.targets.last().map_or(VIP4, |target| target.v4);
        let verb = if comes { "RegisterTargets" } else { "DeregisterTargets" };
        format!("{verb}&TargetGroupArn={}&Targets.member.1.Id={last}", self.group)
    }

    /// Waits until all nodes have the newest generation in force and the same tables: how long that took. What checks
    /// have still to say of a target that came is waited for, too, but not counted: health is each node's own.
    fn equal(&self, patience: Duration) -> Result<Duration> {
        let begun = Instant::now();
        let mut equal = None;
        wait::until("equal nodes", patience, || {
            let reports = self.reports()?;
            let newest = reports.iter().filter_map(|at| Some(at.shared_state.as_ref()?.generation)).max();
            for report in &reports {
                let shared = report.shared_state.as_ref().context("no shared state")?;
                let generation = shared.generation_in_force;
                ensure!(
                    Some(generation) == newest,
                    "{} has generation {generation} of {newest:?}",
                    report.node
                );
            }
            let digests = reports.iter().map(|report| Standing::of(report).digests);
            let digests: Vec<Vec<String>> = digests.collect();
            ensure!(digests.iter().all(|one| *one == digests[0]), "tables differ: {digests:?}");
            equal.get_or_insert_with(|| begun.elapsed());
            reports.iter().try_for_each(settled)
        })?;
        equal.context("nobody looked")
    }

    /// Waits until the first node sees all nodes.
    fn present(&self) -> Result<()> {
        let nodes = self.lab.nodes.len();
        wait::until("all nodes to be present", PATIENCE, || {
            let shared = self.lab.nodes[0].status()?.shared_state.context("no shared state")?;
            let present = shared.members.iter().filter(|member| member.state != "gone").count();
            ensure!(present == nodes, "{:?}", shared.members);
            Ok(())
        })
    }

    fn forwarding(&self) -> Result<()> {
        (0..10).try_for_each(|_| self.lab.get(VIP4.into()).map(drop))
    }

    fn reports(&self) -> Result<Vec<Report>> {
        self.lab.nodes.iter().map(|node| node.status()).collect()
    }

    fn standings(&self) -> Result<BTreeMap<String, Standing>> {
        let reports = self.reports()?;
        Ok(reports.iter().map(|report| (report.node.clone(), Standing::of(report))).collect())
    }

    fn expect(&self, before: &BTreeMap<String, Standing>) -> Result<()> {
        let nodes = self.lab.nodes.iter().enumerate();
        nodes.into_iter().try_for_each(|(at, node)| self.expect_of(at, &before[&node.name]))
    }

    fn expect_of(&self, node: usize, before: &Standing) -> Result<()> {
        let node = &self.lab.nodes[node];
        let now = Standing::of(&node.status()?);
        if now != *before {
            bail!("{} had {before:?} and has {now:?}:\n{}", node.name, node.sluice(&["events"])?);
        }
        Ok(())
    }

    /// Whether that is so on all nodes.
    fn all(&self, holds: impl Fn(&SharedStateReport) -> bool) -> Result<bool> {
        Ok(self.reports()?.iter().all(|report| report.shared_state.as_ref().is_some_and(&holds)))
    }

    /// A load balancer with a listener, whose target group has all targets; made at the first node.
    fn create(&mut self) -> Result<()> {
        let check = "HealthCheckProtocol=HTTP&HealthCheckPath=/healthz&HealthCheckIntervalSeconds=5\
                     &HealthCheckTimeoutSeconds=2&HealthyThresholdCount=2&UnhealthyThresholdCount=10";
        let group = format!("Name=web&Protocol=TCP&Port={}&VpcId=vpc-lab&TargetType=ip&{check}", http::PORT);
        self.group = self.api(0).made(&format!("CreateTargetGroup&{group}"), "TargetGroupArn")?;
        let subnet = format!(
            "SubnetMappings.member.1.SubnetId=subnet-lab&SubnetMappings.member.1.PrivateIPv4Address={VIP4}"
        );
        let balancer = format!("CreateLoadBalancer&Name=web&Type=network&Scheme=internal&{subnet}");
        let balancer = self.api(0).made(&balancer, "LoadBalancerArn")?;
        let targets = self.lab.targets.iter().enumerate();
        let targets: String =
            targets.map(|(at, target)| format!("&Targets.member.{}.Id={}", at + 1, target.v4)).collect();
        self.api(0).done(&format!("RegisterTargets&TargetGroupArn={}{targets}", self.group))?;
        let action = format!(
            "DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={}",
            self.group
        );
        let listener = format!("LoadBalancerArn={balancer}&Protocol=TCP&Port={}&{action}", http::PORT);
        self.api(0).done(&format!("CreateListener&{listener}"))?;
        wait::until("the VIP to be announced by all nodes", PATIENCE, || {
            let told = self.standings()?;
            ensure!(told.values().all(|at| at.announced == [IpAddr::from(VIP4)]), "{told:?}");
            Ok(())
        })?;
        self.present()
    }

    /// A node's API.
    fn api(&self, node: usize) -> Api<'_> {
        Api(&self.lab.nodes[node].host)
    }
}

/// No target is still to be found healthy.
fn settled(report: &Report) -> Result<()> {
    let targets = report.target_groups.values().flat_map(|group| &group.targets);
    let open = targets.into_iter().find(|target| !matches!(&*target.state, "healthy" | "draining"));
    ensure!(open.is_none(), "{} has {open:?}", report.node);
    Ok(())
}

fn is_gone(report: &Report, name: &str) -> bool {
    let members = report.shared_state.iter().flat_map(|shared| &shared.members);
    members.into_iter().any(|member| member.name == name && member.state == "gone")
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

fn failure(why: &str) -> Result<()> {
    bail!("{why}")
}

fn configuration(lab: &Lab, node: usize, endpoints: &[String]) -> Value {
    let directory = lab.lease.directory().join(format!("state-{}", lab.nodes[node].name));
    let nodes: Vec<&str> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    json!({
        "node": { "zone": "a" },
        "announce": { "kernel_table": {} },
        "api": { "encapsulation": "ipip", "state": directory },
        "store": { "etcd": { "endpoints": endpoints } },
        "inventory": {
            "vpcs": [ { "id": "vpc-lab", "networks": ["10.203.0.0/24"] } ],
            "subnets": [ { "id": "subnet-lab", "vpc": "vpc-lab", "zone": "a", "nodes": nodes,
                "networks": ["10.203.0.0/24"], "ipv4_pool": "10.200.1.0/24" } ]
        }
    })
}
