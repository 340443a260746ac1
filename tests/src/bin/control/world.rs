//! A node whose state the API owns, 1,000 target groups of 16 targets, and one machine that is all of these targets.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::binary;
use lab::{Lab, wait};
use lb_userspace::api::configuration::DEFAULT_ADDRESS;
use serde_json::{Value, json};

use crate::Arguments;
use crate::client::{Client, write_credentials};

/// Load balancers; each has its share of the groups, and a listener for each of these.
const LOAD_BALANCERS: usize = 50;
/// How long a start, and the first check of all targets, may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The targets' network: every address of it is the one target's own.
const TARGETS: &str = "10.64.0.0/16";
const SUBNET: &str = "subnet-bench";
const VPC: &str = "vpc-bench";

/// The lab, and the target groups' ARNs.
pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) address: SocketAddr,
    pub(crate) groups: Vec<String>,
    pub(crate) load_balancers: Vec<String>,
}

impl World {
    /// Makes all of it by the API.
    ///
    /// # Errors
    /// If something can't be made.
    pub(crate) fn make(arguments: &Arguments) -> Result<World> {
        let mut lab = Lab::builder().targets(1).build()?;
        lab.start_servers()?;
        route_targets(&lab)?;
        start(&mut lab, arguments)?;
        let address = DEFAULT_ADDRESS.parse().context("the API's default address")?;
        let mut world = World { lab, address, groups: Vec::new(), load_balancers: Vec::new() };
        let mut client = world.client()?;
        for number in 0..LOAD_BALANCERS.min(arguments.groups) {
            world.load_balancers.push(make_load_balancer(&mut client, number)?);
        }
        for number in 0..arguments.groups {
            let load_balancer = &world.load_balancers[number % world.load_balancers.len()];
            world.groups.push(make_group(&mut client, number, load_balancer, arguments.targets)?);
        }
        Ok(world)
    }

    /// Another connection to the API.
    ///
    /// # Errors
    /// If it is not served.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(&self.lab.nodes[0].host, self.address)
    }

    /// The kernel's id of the program that balances.
    ///
    /// # Errors
    /// If the node does not say.
    pub(crate) fn program(&self) -> Result<u32> {
        let report = self.lab.nodes[0].status()?;
        let interface = report.interfaces.first().context("the balancer is on no interface")?;
        Ok(interface.program_id)
    }

    /// Waits until every target has passed a check.
    ///
    /// # Errors
    /// If one has not after a while.
    pub(crate) fn wait_for_health(&self) -> Result<()> {
        wait::until("all targets to be healthy", PATIENCE, || {
            let report = self.lab.nodes[0].status()?;
            let targets = || report.target_groups.values().flat_map(|group| &group.targets);
            let healthy = targets().filter(|target| target.state == "healthy").count();
            ensure!(healthy == targets().count(), "{healthy} of {} are healthy", targets().count());
            Ok(())
        })
    }

    /// Bytes of the controller's memory that are in the machine's, and how many of these are its own.
    ///
    /// # Errors
    /// If it does not run.
    pub(crate) fn resident(&self) -> Result<(u64, u64)> {
        let controller = self.lab.nodes[0].controller.as_ref().context("the controller was not started")?;
        Ok((controller.memory("VmRSS")?, controller.memory("RssAnon")?))
    }
}

/// The address of a group's target.
pub(crate) fn target(group: usize, number: usize) -> String {
    let index = group * 20 + number;
    format!("10.64.{}.{}", index / 250, index % 250 + 1)
}

/// Leads the targets' network to the one target, which takes all of it for its own.
fn route_targets(lab: &Lab) -> Result<()> {
    let machine = &lab.targets[0];
    machine.host.ip(&format!("route add local {TARGETS} dev lo"))?;
    lab.router.ip(&format!("route add {TARGETS} via {}", machine.v4)).map(drop)
}

fn start(lab: &mut Lab, arguments: &Arguments) -> Result<()> {
    let node = &mut lab.nodes[0];
    let credentials = lab.lease.directory().join("credentials.json");
    write_credentials(&credentials)?;
    node.write_configuration(&configuration(&credentials))?;
    let mut command = Command::new(binary("sluice")?);
    command.args(["run", "--unpinned"]);
    match &arguments.state_directory {
        Some(directory) => command.arg("--state-directory").arg(directory),
        None => command.arg("--ephemeral"),
    };
    command.arg("--config").arg(node.configuration_file());
    command.arg("--runtime-directory").arg(node.runtime_directory()?);
    command.env("RUST_LOG", "warn");
    node.controller = Some(node.host.spawn(&mut command, "lb1.log")?);
    wait::until("the controller's first status", PATIENCE, || {
        let node = &mut lab.nodes[0];
        node.controller.as_mut().context("the controller was not started")?.check_running()?;
        node.status().map(drop)
    })
}

fn configuration(credentials: &Path) -> Value {
    json!({
        "node": { "zone": "a" },
        "api": { "credentials": credentials },
        "inventory": {
            "vpcs": [ { "id": VPC, "networks": [TARGETS] } ],
            "subnets": [ { "id": SUBNET, "vpc": VPC, "zone": "a", "nodes": ["lb1"],
                "networks": [TARGETS], "ipv4_pool": "10.200.1.0/24" } ]
        }
    })
}

fn make_load_balancer(client: &mut Client, number: usize) -> Result<String> {
    let name = format!("bench{number}");
    let parameters = [
        ("Name", name.as_str()),
        ("Type", "network"),
        ("Scheme", "internal"),
        ("SubnetMappings.member.1.SubnetId", SUBNET),
    ];
    client.call("CreateLoadBalancer", &parameters)?.text("LoadBalancerArn")
}

/// A target group with its targets and its listener.
fn make_group(client: &mut Client, number: usize, load_balancer: &str, targets: usize) -> Result<String> {
    let name = format!("group{number}");
    let parameters =
        [("Name", name.as_str()), ("Protocol", "TCP"), ("Port", "80"), ("VpcId", VPC), ("TargetType", "ip")];
    let group = client.call("CreateTargetGroup", &parameters)?.text("TargetGroupArn")?;
    let names: Vec<String> = (1..=targets).map(|at| format!("Targets.member.{at}.Id")).collect();
    let addresses: Vec<String> = (0..targets).map(|at| target(number, at)).collect();
    let mut parameters = vec![("TargetGroupArn", group.as_str())];
    parameters.extend(names.iter().zip(&addresses).map(|(name, address)| (name.as_str(), address.as_str())));
    client.call("RegisterTargets", &parameters)?;
    let port = (1000 + number).to_string();
    let parameters = [
        ("LoadBalancerArn", load_balancer),
        ("Protocol", "TCP"),
        ("Port", port.as_str()),
        ("DefaultActions.member.1.Type", "forward"),
        ("DefaultActions.member.1.TargetGroupArn", group.as_str()),
    ];
    client.call("CreateListener", &parameters)?;
    Ok(group)
}
