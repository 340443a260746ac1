//! Several nodes with one key, targets with agents, and a router that shares the VIPs' packets out to the nodes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_userspace::status::report::{Report, TargetGroupReport, TargetReport};
use serde_json::{Value, json};

use crate::sluice::PEERS;
use crate::topology::Lab;
use crate::{configuration, echo};

/// How long a change may take to be in force on all nodes, health checks included.
const SETTLED: Duration = Duration::from_secs(60);

/// Between two looks at whether nodes agree.
const LOOK: Duration = Duration::from_millis(250);

/// How long a router needs to notice that a node is lost: BFD's usual three times 100 ms.
const DETECTED: Duration = Duration::from_millis(300);

/// How long former owners without connections may stay in chains: until they are asked, and have told.
const AGREED: Duration = Duration::from_secs(90);

/// The load balancer and its target group.
const NAME: &str = "echo";

/// What the targets' agents do with packets that no socket of their host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agents {
    /// They hand them on.
    HandOn,
    /// They know no peers, so they keep all.
    KeepAll,
}

/// What a target is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In the file with a weight of one.
    Serving,
    /// In the file with a weight of zero: it keeps its connections and gets no new ones. A node that starts learns of
    /// it from the file.
    Resting,
    /// Not in the file: it keeps its connections for the draining time, on nodes that knew it.
    Out,
}

/// The lab with everything running.
pub struct Cluster {
    /// Its hosts.
    pub lab: Lab,
    agents: Agents,
    standings: Vec<Standing>,
}

impl Cluster {
    /// Starts everything with a target for each of `standings`, and waits until all is in force.
    ///
    /// # Errors
    /// If that fails.
    pub fn start(nodes: u8, agents: Agents, standings: &[Standing]) -> Result<Cluster> {
        let targets = u8::try_from(standings.len()).context("a lab has at most 100 targets")?;
        let mut lab = Lab::builder().nodes(nodes).targets(targets).handing_on().build()?;
        lab.start_servers()?;
        lab.start_agents_with(if agents == Agents::HandOn { &PEERS } else { &[] })?;
        let cluster = Cluster { lab, agents, standings: standings.to_vec() };
        Cluster::run(cluster)
    }

    fn run(mut self) -> Result<Cluster> {
        let configuration = self.configuration();
        self.lab.start_nodes(&configuration)?;
        self.settled()?;
        Ok(self)
    }

    /// What each target is meant to be.
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// Makes the targets what `standings` says on all nodes, and waits until it is in force.
    ///
    /// # Errors
    /// If it is not in time.
    pub fn change(&mut self, standings: &[Standing]) -> Result<()> {
        self.write(standings)?;
        self.settled()
    }

    /// The same, while a node is lost.
    ///
    /// # Errors
    /// If the node is lost already, or the change is not in force on the others in time.
    pub fn change_and_lose(&mut self, standings: &[Standing], node: usize) -> Result<()> {
        self.write(standings)?;
        self.lose(node)?;
        self.settled()
    }

    /// A node dies; the router notices it as BFD does, and shares its packets out to the others.
    ///
    /// # Errors
    /// If it is lost already.
    pub fn lose(&mut self, node: usize) -> Result<()> {
        self.lab.lose_node(node)?;
        std::thread::sleep(DETECTED);
        self.lab.route_vips(&self.living())
    }

    /// A lost node comes back with nothing but its key and the configuration; the router uses it when it is ready.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn bring_back(&mut self, node: usize) -> Result<()> {
        let configuration = self.configuration();
        self.lab.bring_back_node(node, &configuration)?;
        self.settled()?;
        self.lab.route_vips(&self.living())
    }

    /// Waits until new flows go to the same targets on all nodes, and says whether they do.
    ///
    /// A node that has just come back knows only former owners that have connections; others keep those without until
    /// they have told it, and meanwhile may have no room for the next owner of a slot. A connection that begins in such
    /// a slot is known to one of both alone. Where three owners have connections nodes may differ for long, but then
    /// all of them name all three.
    ///
    /// # Errors
    /// If a node does not tell.
    pub fn agree(&self) -> Result<bool> {
        let begun = Instant::now();
        loop {
            let mut digests = BTreeSet::new();
            for node in self.living() {
                let report = self.lab.nodes[node].status()?;
                digests.insert(report.load_balancers[NAME].listeners[0].table_digest.clone());
            }
            if digests.len() == 1 || begun.elapsed() > AGREED {
                return Ok(digests.len() == 1);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// How many packets agents handed on.
    ///
    /// # Errors
    /// If an agent does not tell.
    pub fn handed_on(&self) -> Result<u64> {
        let mut sum = 0;
        for target in &self.lab.targets {
            let status: Value = serde_json::from_str(&target.agent_status()?)?;
            sum += counted(&status, "handed_on");
        }
        Ok(sum)
    }

    /// In how many slots of a node packets name former owners, and how many wait for room in their chain.
    ///
    /// # Errors
    /// If the node does not tell.
    pub fn chains(&self, node: usize) -> Result<Chains> {
        Ok(chains(&self.lab.nodes[node].status()?))
    }

    /// Waits until at most `most` slots of a node have chains; agents are asked half an idle time-out after a change.
    ///
    /// # Errors
    /// If it takes too long.
    pub fn wait_for_fewer_chains(&self, node: usize, most: u32) -> Result<Chains> {
        let report = self.lab.wait_for(node, "former owners to tell", 2 * SETTLED, |report| {
            let Chains { chained, .. } = chains(report);
            ensure!(chained <= most, "{chained} slots are chained");
            Ok(())
        })?;
        Ok(chains(&report))
    }

    /// The nodes that are not lost.
    pub fn living(&self) -> Vec<usize> {
        self.lab.living_nodes()
    }

    fn write(&mut self, standings: &[Standing]) -> Result<()> {
        self.standings = standings.to_vec();
        let configuration = self.configuration();
        self.living().iter().try_for_each(|at| self.lab.nodes[*at].write_configuration(&configuration))
    }

    fn settled(&self) -> Result<()> {
        for node in self.living() {
            self.lab.wait_for(node, "the targets as they are meant to be", SETTLED, |report| {
                self.is_settled(report)
            })?;
        }
        Ok(())
    }

    fn is_settled(&self, report: &Report) -> Result<()> {
        let group = &report.target_groups[NAME];
        for (target, standing) in self.lab.targets.iter().zip(&self.standings) {
            let id = IpAddr::from(target.v4);
            let known = group.targets.iter().find(|target| target.id == id);
            standing.expect(known).with_context(|| format!("{} ({id})", target.name))?;
        }
        self.expect_keeper(group)
    }

    fn expect_keeper(&self, group: &TargetGroupReport) -> Result<()> {
        let keeper = if self.agents == Agents::HandOn { "targets" } else { "flow_table" };
        let why = group.no_second_chance.as_deref().unwrap_or("no reason");
        ensure!(group.flows_kept_by == keeper, "flows are kept by {} ({why})", group.flows_kept_by);
        ensure!(group.untold.is_empty(), "{:?} have not told their connections", group.untold);
        Ok(())
    }

    /// As all nodes have it, but for their names and interfaces.
    fn configuration(&self) -> Value {
        let listed = self.lab.targets.iter().zip(&self.standings).filter_map(|(target, standing)| {
            Some(json!({ "id": target.v4, "weight": standing.weight()?, "zone": "a" }))
        });
        let mut group = configuration::target_group(NAME, "TCP", echo::PORT, &[]);
        group["targets"] = listed.collect();
        group["encapsulation"] = "gue".into();
        group["draining_seconds"] = 300.into();
        group["idle_timeout_seconds"] = 60.into();
        // Patient, so that a busy machine makes no target unhealthy.
        group["health_check"]["timeout_seconds"] = 1.into();
        group["health_check"]["unhealthy_threshold"] = 10.into();
        json!({
            "node": { "name": "lb", "zone": "a", "interfaces": [] },
            "load_balancers": [ {
                "name": NAME, "vips": self.lab.vips,
                "listeners": [
                    { "protocol": "TCP", "port": echo::PORT, "forward": [ { "target_group": NAME } ] }
                ]
            } ],
            "target_groups": [ group ]
        })
    }
}

impl Standing {
    const fn weight(self) -> Option<u16> {
        match self {
            Standing::Serving => Some(1),
            Standing::Resting => Some(0),
            Standing::Out => None,
        }
    }

    fn expect(self, known: Option<&TargetReport>) -> Result<()> {
        let Some(weight) = self.weight() else {
            let is_out = known.is_none_or(|target| target.state == "draining");
            ensure!(is_out, "it is out of the file, but not draining");
            return Ok(());
        };
        let known = known.context("it is not known")?;
        ensure!(known.weight == weight, "its weight is {}", known.weight);
        ensure!(known.state == "healthy", "it is {}", known.state);
        ensure!(weight == 0 || known.slots > 0, "it has no slots");
        Ok(())
    }
}

/// Slots of a node's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chains {
    /// Those whose packets name former owners.
    pub chained: u32,
    /// Those that another is to have, who waits for room in the chain.
    pub deferred: u32,
}

fn chains(report: &Report) -> Chains {
    let listener = &report.load_balancers[NAME].listeners[0];
    Chains { chained: listener.chained_slots, deferred: listener.deferred_slots }
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
