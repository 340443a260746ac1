//! Two nodes with one key, six targets with agents, and a router that shares the VIPs' packets out to the nodes.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::topology::Lab;
use lab::{configuration, echo};
use lb_userspace::status::report::Report;
use serde_json::{Value, json};

/// How long a change may take to be in force on all nodes, health checks included.
const SETTLED: Duration = Duration::from_secs(40);

/// The load balancer and its target group.
const NAME: &str = "echo";

/// Where targets are, as agents are told of their peers.
const PEERS: [&str; 4] = ["--peer", "10.203.0.0/24", "--peer", "fd03::/64"];

/// What the targets' agents do with packets that no socket of their host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agents {
    /// They hand them on.
    HandOn,
    /// They know no peers, so they keep all.
    KeepAll,
}

/// The lab with everything running.
pub(crate) struct Cluster {
    pub(crate) lab: Lab,
    agents: Agents,
}

impl Cluster {
    /// Starts everything with these targets (by number) in service.
    pub(crate) fn start(agents: Agents, serving: &[usize]) -> Result<Cluster> {
        let mut lab = Lab::builder().nodes(2).targets(6).build()?;
        lab.start_servers()?;
        let (nodes, vips) = (lab.tunnel_sources(), lab.vips.clone());
        let options: &[&str] = if agents == Agents::HandOn { &PEERS } else { &[] };
        for target in &mut lab.targets {
            target.start_agent_with(&nodes, &vips, options)?;
        }
        let first = configuration_of(&lab, serving);
        lab.start_controller(0, &first)?;
        let key = |node: usize| Ok::<_, anyhow::Error>(lab.nodes[node].runtime_directory()?.join("hash.key"));
        fs::copy(key(0)?, key(1)?).context("giving the second node the first one's key")?;
        lab.start_controller(1, &first)?;
        let cluster = Cluster { lab, agents };
        cluster.settled(0..2, serving)?;
        Ok(cluster)
    }

    /// Makes these targets the ones in service, on both nodes, and waits until they are.
    pub(crate) fn serve(&self, serving: &[usize]) -> Result<()> {
        self.write(serving)?;
        self.settled(0..2, serving)
    }

    /// The same, while the first node is lost.
    pub(crate) fn serve_and_lose_a_node(&mut self, serving: &[usize]) -> Result<()> {
        self.write(serving)?;
        self.lose_a_node()?;
        self.settled(1..2, serving)
    }

    /// Kills the first node: what it forwarded comes to the second one from now on.
    pub(crate) fn lose_a_node(&mut self) -> Result<()> {
        let lost = &mut self.lab.nodes[0];
        lost.controller.as_mut().context("the node's controller runs")?.kill();
        let left = &self.lab.nodes[1];
        let router = &self.lab.router;
        router.ip(&format!("-4 route replace 10.200.0.0/16 via {} dev nodes", left.v4))?;
        router.ip(&format!("-6 route replace fc00::/16 via {} dev nodes", left.v6)).map(drop)
    }

    /// How many packets agents handed on.
    pub(crate) fn handed_on(&self) -> Result<u64> {
        let mut sum = 0;
        for target in &self.lab.targets {
            let status: Value = serde_json::from_str(&target.agent_status()?)?;
            sum += counted(&status, "handed_on");
        }
        Ok(sum)
    }

    /// In how many slots of a node packets name former owners.
    pub(crate) fn chained_slots(&self, node: usize) -> Result<u32> {
        Ok(chained_slots(&self.lab.nodes[node].status()?))
    }

    /// Waits until they are at most `most`, which agents are asked for half an idle time-out after a change.
    pub(crate) fn wait_for_fewer_chains(&self, node: usize, most: u32) -> Result<u32> {
        let report = self.lab.wait_for(node, "former owners to tell", 2 * SETTLED, |report| {
            let chained = chained_slots(report);
            ensure!(chained <= most, "{chained} slots are chained");
            Ok(())
        })?;
        Ok(chained_slots(&report))
    }

    fn write(&self, serving: &[usize]) -> Result<()> {
        let configuration = configuration_of(&self.lab, serving);
        self.lab.nodes.iter().try_for_each(|node| node.write_configuration(&configuration))
    }

    fn settled(&self, nodes: std::ops::Range<usize>, serving: &[usize]) -> Result<()> {
        let addresses: Vec<IpAddr> = serving.iter().map(|at| self.lab.targets[*at].v4.into()).collect();
        for node in nodes {
            self.lab.wait_for(node, "the targets in service", SETTLED, |report| {
                self.is_settled(report, &addresses)
            })?;
        }
        Ok(())
    }

    fn is_settled(&self, report: &Report, serving: &[IpAddr]) -> Result<()> {
        let group = &report.target_groups[NAME];
        for address in serving {
            let target = group.targets.iter().find(|target| target.id == *address);
            let target = target.with_context(|| format!("{address} is not known"))?;
            ensure!(target.state == "healthy", "{address} is {}", target.state);
            ensure!(target.slots > 0, "{address} has no slots");
        }
        let draining = group.targets.iter().filter(|target| !serving.contains(&target.id));
        for target in draining {
            ensure!(target.state == "draining", "{} is {}", target.id, target.state);
        }
        let keeper = if self.agents == Agents::HandOn { "targets" } else { "flow_table" };
        let why = group.no_second_chance.as_deref().unwrap_or("no reason");
        ensure!(group.flows_kept_by == keeper, "flows are kept by {} ({why})", group.flows_kept_by);
        Ok(())
    }
}

fn chained_slots(report: &Report) -> u32 {
    report.load_balancers[NAME].listeners[0].chained_slots
}

/// The number under `name` wherever it is in the status.
fn counted(status: &Value, name: &str) -> u64 {
    match status {
        Value::Object(fields) => {
            let own = fields.get(name).and_then(Value::as_u64).unwrap_or(0);
            let is_reason = fields.get("reason").is_some_and(|reason| reason == name);
            let packets = fields.get("packets").and_then(Value::as_u64).filter(|_| is_reason).unwrap_or(0);
            own + packets + fields.values().map(|value| counted(value, name)).sum::<u64>()
        }
        Value::Array(items) => items.iter().map(|item| counted(item, name)).sum(),
        _ => 0,
    }
}

fn configuration_of(lab: &Lab, serving: &[usize]) -> Value {
    let targets: Vec<IpAddr> = serving.iter().map(|at| lab.targets[*at].v4.into()).collect();
    let mut group = configuration::target_group(NAME, "TCP", echo::PORT, &targets);
    group["encapsulation"] = "gue".into();
    group["draining_seconds"] = 120.into();
    group["idle_timeout_seconds"] = 60.into();
    // Patient, so that a busy machine makes no target unhealthy.
    group["health_check"]["timeout_seconds"] = 1.into();
    group["health_check"]["unhealthy_threshold"] = 5.into();
    json!({
        "node": { "name": "lb", "zone": "a", "interfaces": [] },
        "load_balancers": [ {
            "name": NAME, "vips": lab.vips,
            "listeners": [ { "protocol": "TCP", "port": echo::PORT, "forward": [ { "target_group": NAME } ] } ]
        } ],
        "target_groups": [ group ]
    })
}
