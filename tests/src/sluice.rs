//! The real programs in the lab: a server and an agent on every target, a controller on every node.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lb_userspace::status::report::{Report, TargetReport};
use serde_json::Value;

use crate::process::{Process, binary, output_of};
use crate::topology::{Lab, Node, Target};
use crate::{configuration, http, wait};

/// The options by which agents hand packets on to each other: where the lab's targets are.
pub const PEERS: [&str; 4] = ["--peer", "10.203.0.0/24", "--peer", "fd03::/64"];

/// How long programs have until they serve: a debug build on a machine that does other things, too.
const START: Duration = Duration::from_secs(60);

impl Lab {
    /// Starts everything: servers and agents on the targets, and `configuration` on every node (with the
    /// node's own name and interfaces put in).
    pub fn start(&mut self, configuration: &Value) -> Result<()> {
        self.start_servers()?;
        self.start_agents()?;
        self.start_nodes(configuration)
    }

    /// The configuration of `web`: both VIPs, TCP port 80, all targets.
    pub fn configuration(&self) -> Value {
        configuration::web(&self.nodes[0], &self.vips, &self.targets)
    }

    /// Starts the server on every target.
    pub fn start_servers(&mut self) -> Result<()> {
        for target in &mut self.targets {
            target.start_server(&self.vips)?;
        }
        Ok(())
    }

    /// Starts the agent on every target.
    pub fn start_agents(&mut self) -> Result<()> {
        self.start_agents_with(&[])
    }

    /// The same with more options.
    pub fn start_agents_with(&mut self, options: &[&str]) -> Result<()> {
        let nodes = self.tunnel_sources();
        for target in &mut self.targets {
            target.start_agent_with(&nodes, &self.vips, options)?;
        }
        Ok(())
    }

    /// The addresses of all nodes: what agents take tunnel packets from.
    pub fn tunnel_sources(&self) -> Vec<IpAddr> {
        self.nodes.iter().flat_map(|node| node.addresses.iter().copied()).collect()
    }

    /// Starts a node's controller, and waits until it answers.
    pub fn start_controller(&mut self, node: usize, configuration: &Value) -> Result<()> {
        self.nodes[node].start_controller(configuration)?;
        wait::until("the controller's first status", START, || {
            let node = &mut self.nodes[node];
            node.controller.as_mut().context("the controller was not started")?.check_running()?;
            node.status()
        })
        .map(drop)
        .map_err(|error| self.with_evidence(error))
    }

    /// Waits until a node's status is as wanted; `wanted` says what is not.
    ///
    /// # Errors
    /// After `limit`, with all that tells why.
    pub fn wait_for(
        &self,
        node: usize,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&Report) -> Result<()>,
    ) -> Result<Report> {
        wait::until(what, limit, || {
            let report = self.nodes[node].status()?;
            wanted(&report).map(|()| report)
        })
        .map_err(|error| self.with_evidence(error))
    }

    /// Waits until every target that a node's configuration names is in `state`.
    pub fn wait_for_all(&self, node: usize, state: &str, limit: Duration) -> Result<Report> {
        self.wait_for(node, &format!("all targets {state}"), limit, |report| {
            let targets = || report.target_groups.values().flat_map(|group| &group.targets);
            if targets().count() == 0 {
                bail!("the status has no target");
            }
            targets().try_for_each(|target| expect_state(target, state))
        })
    }

    /// Waits until a target is in `state` in every target group that has it.
    pub fn wait_for_target(&self, node: usize, id: IpAddr, state: &str, limit: Duration) -> Result<Report> {
        self.wait_for(node, &format!("{id} {state}"), limit, |report| {
            let found = targets_of(report, id);
            if found.is_empty() {
                bail!("the status does not name {id}");
            }
            found.into_iter().try_for_each(|target| expect_state(target, state))
        })
    }

    /// `GET /` from the client, on a connection of its own.
    pub fn get(&self, vip: IpAddr) -> Result<http::Answer> {
        self.client.enter(|| http::get(SocketAddr::new(vip, http::PORT)))
    }

    /// A kept-alive connection of the client.
    pub fn connect(&self, vip: IpAddr) -> Result<http::Connection> {
        self.client.enter(|| http::Connection::open(SocketAddr::new(vip, http::PORT)))
    }

    /// The target of that name.
    pub fn target(&mut self, name: &str) -> Result<&mut Target> {
        let names: Vec<String> = self.targets.iter().map(|target| target.name.clone()).collect();
        let found = self.targets.iter_mut().find(|target| target.name == name);
        found.with_context(|| format!("there is no target {name}; there are {}", names.join(", ")))
    }
}

/// A target in all groups of a report that have it.
pub fn targets_of(report: &Report, id: IpAddr) -> Vec<&TargetReport> {
    report.target_groups.values().flat_map(|group| &group.targets).filter(|target| target.id == id).collect()
}

fn expect_state(target: &TargetReport, state: &str) -> Result<()> {
    if target.state == state {
        return Ok(());
    }
    let reason = target.reason.as_deref().unwrap_or("no reason");
    let description = target.description.as_deref().unwrap_or("no description");
    bail!("{} is {} ({reason}: {description})", target.id, target.state)
}

impl Target {
    /// Starts the server, which answers on every address and on the UDP ports of `vips`.
    pub fn start_server(&mut self, vips: &[IpAddr]) -> Result<()> {
        let mut command = Command::new(binary("sluice-lab")?);
        command.args(["server", "--name", &self.name, "--listen", "[::]:80"]);
        for address in vips.iter().copied().chain([self.v4.into(), self.v6.into()]) {
            command.args(["--udp", &address.to_string()]);
        }
        self.server = Some(self.host.spawn(&mut command, &format!("{}-server.log", self.name))?);
        let own = SocketAddr::new(self.v4.into(), http::PORT);
        wait::until(&format!("the server on {}", self.name), START, || {
            self.server.as_mut().context("the server was not started")?.check_running()?;
            self.host.enter(|| http::get(own))
        })
        .map(drop)
    }

    /// Ends the server as a crash does; nothing answers on its ports then.
    pub fn stop_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts the agent, and waits until it holds the VIPs.
    pub fn start_agent(&mut self, nodes: &[IpAddr], vips: &[IpAddr]) -> Result<()> {
        self.start_agent_with(nodes, vips, &[])
    }

    /// The same with more options.
    pub fn start_agent_with(&mut self, nodes: &[IpAddr], vips: &[IpAddr], options: &[&str]) -> Result<()> {
        let runtime = self.runtime_directory()?;
        let mut command = Command::new(binary("sluice")?);
        command.args(["agent", "--interface", "eth0"]);
        for node in nodes {
            command.args(["--node", &node.to_string()]);
        }
        for vip in vips {
            command.args(["--vip", &vip.to_string()]);
        }
        command.args(options).arg("--runtime-directory").arg(runtime);
        self.agent = Some(self.host.spawn(&mut command, &format!("{}-agent.log", self.name))?);
        wait::until(&format!("the agent's VIPs on {}", self.name), START, || {
            self.agent.as_mut().context("the agent was not started")?.check_running()?;
            let addresses = self.host.ip("-oneline address show")?;
            match vips.iter().find(|vip| !addresses.contains(&format!(" {vip}/"))) {
                Some(vip) => bail!("{vip} is not there"),
                None => Ok(()),
            }
        })
    }

    /// What its agent says of itself, as JSON: the counters, among others.
    pub fn agent_status(&self) -> Result<String> {
        let socket = self.runtime_directory()?.join("status.sock");
        let mut stream =
            UnixStream::connect(&socket).with_context(|| format!("connecting to {}", socket.display()))?;
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("reading the agent's status")?;
        let (_, body) = answer.split_once("\r\n\r\n").context("the agent's answer has no body")?;
        Ok(body.to_string())
    }

    fn runtime_directory(&self) -> Result<PathBuf> {
        runtime_directory(self.host.lease().directory(), &self.name)
    }
}

impl Node {
    /// Its configuration file.
    pub fn configuration_file(&self) -> PathBuf {
        self.host.lease().directory().join(format!("{}.json", self.name))
    }

    /// Writes its configuration file, with its own name and interfaces; a running controller then applies it.
    pub fn write_configuration(&self, configuration: &Value) -> Result<()> {
        let mut own = configuration.clone();
        own["node"]["name"] = self.name.as_str().into();
        own["node"]["interfaces"] = self.interfaces.clone().into();
        configuration::write(&self.configuration_file(), &own)
    }

    /// Writes its configuration file and starts the controller.
    pub fn start_controller(&mut self, configuration: &Value) -> Result<()> {
        self.controller = Some(self.spawn_controller(configuration)?);
        Ok(())
    }

    /// The same for a controller that the caller keeps.
    pub fn spawn_controller(&self, configuration: &Value) -> Result<Process> {
        self.spawn_controller_of(&binary("sluice")?, configuration)
    }

    /// The same of another build.
    pub fn spawn_controller_of(&self, binary: &Path, configuration: &Value) -> Result<Process> {
        self.write_configuration(configuration)?;
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(self.configuration_file());
        command.arg("--runtime-directory").arg(self.runtime_directory()?);
        match &self.pins {
            Some(pins) => command.arg("--pins").arg(pins),
            None => command.arg("--unpinned"),
        };
        command.args(&self.options);
        self.host.spawn(&mut command, &format!("{}.log", self.name))
    }

    /// Asks the controller to end.
    ///
    /// # Errors
    /// When it had to be killed, or ended otherwise than with success.
    pub fn stop_controller(&mut self) -> Result<()> {
        let Some(mut controller) = self.controller.take() else { return Ok(()) };
        let status = controller.stop()?;
        if !status.success() {
            bail!("{} ended with {status}; its log:\n{}", controller.command(), controller.log());
        }
        Ok(())
    }

    /// What `sluice status --json` says.
    pub fn status(&self) -> Result<Report> {
        let json = self.status_json()?;
        serde_json::from_str(&json)
            .with_context(|| format!("the status of {} is not a report: {json}", self.name))
    }

    /// What `sluice status --json` prints.
    pub fn status_json(&self) -> Result<String> {
        let mut command = Command::new(binary("sluice")?);
        command.args(["status", "--json", "--runtime-directory"]).arg(self.runtime_directory()?);
        self.host.enter(|| output_of(&mut command))
    }

    /// What a command of `sluice` prints that asks the node's controller.
    ///
    /// # Errors
    /// When it ends otherwise than with success, with what it said.
    pub fn sluice(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(binary("sluice")?);
        command.args(arguments).arg("--runtime-directory").arg(self.runtime_directory()?);
        self.host.enter(|| output_of(&mut command))
    }

    /// Where its controller keeps its socket.
    pub fn runtime_directory(&self) -> Result<PathBuf> {
        runtime_directory(self.host.lease().directory(), &self.name)
    }
}

fn runtime_directory(lab: &Path, name: &str) -> Result<PathBuf> {
    let directory = lab.join(name);
    std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    Ok(directory)
}
