//! A lab of nodes that share the API's state in etcd, and write the VIPs that they announce into a kernel table.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::elbv2::Api;
use lab::etcd::{Cluster, Cut};
use lab::{Lab, VIP4, http, wait};
use lb_userspace::status::report::{Report, TargetReport};
use serde_json::{Value, json};

/// How long a change may take until it is seen, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Nodes, targets and etcd; each node and each target is in a zone.
pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) etcd: Cluster,
    plan: Plan,
    /// The target group's ARN.
    pub(crate) group: String,
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The zone of each node.
    pub(crate) nodes: &'static [&'static str],
    /// The zone of each target.
    pub(crate) targets: &'static [&'static str],
    /// Each zone's VIP.
    pub(crate) vips: &'static [(&'static str, Ipv4Addr)],
    /// The nodes' `health_view`.
    pub(crate) health_view: &'static str,
}

/// Three nodes and two targets in one zone.
pub(crate) const ONE_ZONE: Plan =
    Plan { nodes: &["a", "a", "a"], targets: &["a", "a"], vips: &[("a", VIP4)], health_view: "own" };

impl World {
    /// Everything runs; there is no load balancer yet.
    pub(crate) fn start(plan: &Plan) -> Result<World> {
        let vips: Vec<IpAddr> = plan.vips.iter().map(|(_, vip)| IpAddr::from(*vip)).collect();
        let (nodes, targets) = (u8::try_from(plan.nodes.len())?, u8::try_from(plan.targets.len())?);
        let mut lab = Lab::builder().nodes(nodes).targets(targets).vips(&vips).build()?;
        let etcd = Cluster::start_in(&lab, 1)?;
        lab.start_servers()?;
        lab.start_agents()?;
        let endpoints = etcd.endpoints();
        lab.start_nodes_each(|lab, node| configuration(lab, plan, node, &endpoints))?;
        Ok(World { lab, etcd, plan: plan.clone(), group: String::new() })
    }

    /// A node's configuration.
    pub(crate) fn configuration(&self, node: usize) -> Value {
        configuration(&self.lab, &self.plan, node, &self.etcd.endpoints())
    }

    /// A load balancer with a VIP in each zone, one listener, and a target group that has all targets and needs a healthy
    /// one. Waits until all is announced and every node sees every other.
    pub(crate) fn create(&mut self) -> Result<()> {
        let check = "HealthCheckProtocol=HTTP&HealthCheckPath=/healthz&HealthCheckIntervalSeconds=5\
                     &HealthCheckTimeoutSeconds=2&HealthyThresholdCount=2&UnhealthyThresholdCount=2";
        let group = format!("Name=web&Protocol=TCP&Port={}&VpcId=vpc-lab&TargetType=ip&{check}", http::PORT);
        self.group = self.api(0).made(&format!("CreateTargetGroup&{group}"), "TargetGroupArn")?;
        self.set_attribute("target_group_health.dns_failover.minimum_healthy_targets.count", "1")?;
        let mappings = self.plan.vips.iter().enumerate().map(|(at, (zone, vip))| {
            let member = format!("SubnetMappings.member.{}", at + 1);
            format!("&{member}.SubnetId=subnet-{zone}&{member}.PrivateIPv4Address={vip}")
        });
        let mappings: String = mappings.collect();
        let balancer = format!("CreateLoadBalancer&Name=web&Type=network&Scheme=internal{mappings}");
        let balancer = self.api(0).made(&balancer, "LoadBalancerArn")?;
        let targets = self.lab.targets.iter().enumerate();
        let targets: String =
            targets.map(|(at, target)| format!("&Targets.member.{}.Id={}", at + 1, target.v4)).collect();
        self.api(0).done(&format!("RegisterTargets&TargetGroupArn={}{targets}", self.group))?;
        let forward = format!(
            "DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={}",
            self.group
        );
        self.api(0).done(&format!(
            "CreateListener&LoadBalancerArn={balancer}&Protocol=TCP&Port={}&{forward}",
            http::PORT
        ))?;
        for (zone, vip) in self.plan.vips {
            let nodes = self.plan.nodes.iter().enumerate().filter(|(_, node)| *node == zone);
            self.until_announced((*vip).into(), &nodes.map(|(at, _)| at).collect::<Vec<_>>())?;
        }
        self.until_present()
    }

    /// Sets an attribute of the target group.
    pub(crate) fn set_attribute(&self, key: &str, value: &str) -> Result<()> {
        let attribute = format!("Attributes.member.1.Key={key}&Attributes.member.1.Value={value}");
        self.api(0)
            .done(&format!("ModifyTargetGroupAttributes&TargetGroupArn={}&{attribute}", self.group))
            .map(drop)
    }

    /// Waits until every node sees all nodes.
    pub(crate) fn until_present(&self) -> Result<()> {
        self.until("all nodes to be present", || {
            self.reports()?.into_iter().try_for_each(|report| {
                let shared = report.shared_state.context("no shared state")?;
                let present = shared.members.iter().filter(|member| member.state != "gone").count();
                ensure!(present == self.lab.nodes.len(), "{:?}", shared.members);
                Ok(())
            })
        })
    }

    /// Waits until just these nodes announce a VIP.
    pub(crate) fn until_announced(&self, vip: IpAddr, nodes: &[usize]) -> Result<()> {
        self.until(&format!("{vip} by the nodes {nodes:?}"), || {
            let announcers = self.announcers(vip)?;
            ensure!(announcers == nodes, "it is announced by {announcers:?}: {}", self.reasons(vip)?);
            Ok(())
        })
    }

    /// The nodes in whose kernel table a VIP is.
    pub(crate) fn announcers(&self, vip: IpAddr) -> Result<Vec<usize>> {
        let routed = self.lab.nodes.iter().map(|node| node.host.ip(&format!("route show table all {vip}")));
        let routed = routed.collect::<Result<Vec<String>>>()?;
        Ok((0..routed.len()).filter(|at| !routed[*at].trim().is_empty()).collect())
    }

    /// What the nodes say of a VIP.
    pub(crate) fn reasons(&self, vip: IpAddr) -> Result<String> {
        let reports = self.reports()?;
        let told = reports.iter().map(|report| {
            let found = report.announcements.iter().find(|found| found.vip == vip);
            format!("{}: {found:?}", report.node)
        });
        Ok(told.collect::<Vec<_>>().join("\n"))
    }

    /// Packets of a node reach a target no more, or do so again; the others' do.
    pub(crate) fn cut(&self, node: usize, target: usize, cut: Cut) -> Result<()> {
        let verb = match cut {
            Cut::Begin => "add",
            Cut::End => "del",
        };
        let (node, target) = (self.lab.nodes[node].v4, self.lab.targets[target].v4);
        self.lab.router.ip(&format!("rule {verb} blackhole from {node} to {target}")).map(drop)
    }

    /// The same for all targets.
    pub(crate) fn cut_all(&self, node: usize, cut: Cut) -> Result<()> {
        (0..self.lab.targets.len()).try_for_each(|target| self.cut(node, target, cut))
    }

    /// Waits until a node says of a target what is expected.
    pub(crate) fn until_target(
        &self,
        node: usize,
        target: usize,
        what: &str,
        expect: impl Fn(&TargetReport) -> bool,
    ) -> Result<()> {
        let address = IpAddr::from(self.lab.targets[target].v4);
        self.until(what, || {
            let report = self.lab.nodes[node].status()?;
            let found = target_of(&report, address)?;
            ensure!(expect(found), "{} has {found:?}", report.node);
            Ok(())
        })
    }

    /// What every node's tables are.
    pub(crate) fn digests(&self) -> Result<Vec<Vec<String>>> {
        let digests = |report: &Report| {
            let listeners = report.load_balancers.values().flat_map(|balancer| &balancer.listeners);
            listeners.map(|listener| listener.table_digest.clone()).collect()
        };
        Ok(self.reports()?.iter().map(digests).collect())
    }

    pub(crate) fn reports(&self) -> Result<Vec<Report>> {
        self.lab.nodes.iter().map(|node| node.status()).collect()
    }

    pub(crate) fn until<T>(&self, what: &str, look: impl FnMut() -> Result<T>) -> Result<T> {
        wait::until(what, PATIENCE, look)
    }

    /// Looks for longer than what was read of other nodes counts whether something is so all the time.
    pub(crate) fn for_a_while(&self, holds: impl Fn(&World) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(15) {
            ensure!(holds(self)?, "after {:?}: {}", begun.elapsed(), self.reasons(VIP4.into())?);
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Plays a story, and shows the lab when it fails.
    pub(crate) fn play(mut self, story: impl FnOnce(&mut World) -> Result<()>) {
        if let Err(error) = story(&mut self) {
            panic!("{:#}", self.lab.with_evidence(error));
        }
    }

    /// A node's API.
    pub(crate) fn api(&self, node: usize) -> Api<'_> {
        Api(&self.lab.nodes[node].host)
    }
}

/// A target in a report.
pub(crate) fn target_of(report: &Report, address: IpAddr) -> Result<&TargetReport> {
    let mut targets = report.target_groups.values().flat_map(|group| &group.targets);
    targets.find(|target| target.id == address).with_context(|| format!("{} is not known", address))
}

fn configuration(lab: &Lab, plan: &Plan, node: usize, endpoints: &[String]) -> Value {
    let directory = lab.lease.directory().join(format!("state-{}", lab.nodes[node].name));
    let subnets = plan.vips.iter().enumerate().map(|(at, (zone, _))| {
        let nodes: Vec<&str> = members(&lab.nodes, plan.nodes, zone).map(|node| &*node.name).collect();
        let targets: Vec<String> =
            members(&lab.targets, plan.targets, zone).map(|target| format!("{}/32", target.v4)).collect();
        json!({ "id": format!("subnet-{zone}"), "vpc": "vpc-lab", "zone": zone, "nodes": nodes,
            "networks": targets, "ipv4_pool": format!("10.200.{}.0/24", at + 1) })
    });
    let mut node_section = json!({ "zone": plan.nodes[node] });
    if plan.health_view != "own" {
        node_section["health_view"] = json!(plan.health_view);
    }
    json!({
        "node": node_section,
        "announce": { "kernel_table": {}, "hold_down_seconds": 1, "hold_down_max_seconds": 1 },
        "api": { "encapsulation": "ipip", "state": directory },
        "store": { "etcd": { "endpoints": endpoints } },
        "inventory": {
            "vpcs": [ { "id": "vpc-lab", "networks": ["10.203.0.0/24"] } ],
            "subnets": subnets.collect::<Vec<_>>(),
        }
    })
}

/// Those that are in a zone.
fn members<'a, T>(all: &'a [T], zones: &'a [&str], zone: &'a str) -> impl Iterator<Item = &'a T> {
    all.iter().zip(zones).filter(move |(_, own)| **own == zone).map(|(one, _)| one)
}
