//! An etcd of one or more members on one host: by itself, or where a lab's nodes reach it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host::Host;
use crate::lease::Lease;
use crate::link::{self, End};
use crate::process::{Process, output_of};
use crate::topology::Lab;
use crate::wait;

/// How long members take to begin, or to agree on a leader.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the members are in a lab, and the router beside them.
const IN_LAB: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 205, 0, 2), Ipv4Addr::new(10, 205, 0, 1)];

/// What the cable between them carries, in bytes of an IP packet.
const MTU: u16 = 1500;

/// The members, and the host that they are on.
#[derive(Debug)]
pub struct Cluster {
    /// The host.
    pub host: Host,
    members: Vec<Member>,
    options: Vec<String>,
    scheme: &'static str,
    /// Where clients call the members.
    address: Ipv4Addr,
}

#[derive(Debug)]
struct Member {
    name: String,
    client: u16,
    peer: u16,
    process: Option<Process>,
}

impl Cluster {
    /// Starts so many members on a host of their own.
    ///
    /// # Errors
    /// If one does not start.
    pub fn start(members: u16) -> Result<Cluster> {
        let mut cluster = Cluster::of(&Lease::take()?, members, "http", Vec::new())?;
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Members that are not started yet, with options of etcd.
    ///
    /// # Errors
    /// If there can be no such host.
    pub fn of(
        lease: &Arc<Lease>,
        members: u16,
        scheme: &'static str,
        options: Vec<String>,
    ) -> Result<Cluster> {
        let member = |number: u16| Member {
            name: format!("m{number}"),
            client: 2379 + 10 * number,
            peer: 2380 + 10 * number,
            process: None,
        };
        let (host, address) = (Host::new(lease, "etcd")?, Ipv4Addr::LOCALHOST);
        let members = (0..members).map(member).collect();
        Ok(Cluster { host, members, options, scheme, address })
    }

    /// Starts so many members on a host behind a lab's router.
    ///
    /// # Errors
    /// If one does not start.
    pub fn start_in(lab: &Lab, members: u16) -> Result<Cluster> {
        let mut cluster = Cluster::of(&lab.lease, members, "http", Vec::new())?;
        let ends = [("etcd", &lab.router), ("eth0", &cluster.host)];
        let [router, own] = ends.map(|(interface, host)| End { host, interface });
        link::connect(router, own, MTU)?;
        link::address(&lab.router, "etcd", IN_LAB[1].into())?;
        link::address(&cluster.host, "eth0", IN_LAB[0].into())?;
        cluster.host.ip(&format!("route add default via {}", IN_LAB[1]))?;
        cluster.address = IN_LAB[0];
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Cuts a node of the lab off from all members, without a word to either, or ends that.
    ///
    /// # Errors
    /// If the router refuses.
    pub fn cut_off(&self, lab: &Lab, node: usize, cut: Cut) -> Result<()> {
        let verb = match cut {
            Cut::Begin => "add",
            Cut::End => "del",
        };
        let (node, members) = (lab.nodes[node].v4, self.address);
        for (from, to) in [(node, members), (members, node)] {
            lab.router.ip(&format!("rule {verb} blackhole from {from} to {to}"))?;
        }
        Ok(())
    }

    /// The number of the member that leads, as all say that run.
    ///
    /// # Errors
    /// If none does.
    pub fn leader(&self) -> Result<usize> {
        let running = self.members.iter().filter(|member| member.process.is_some());
        let running: Vec<String> = running.map(|member| self.endpoint(member)).collect();
        let told = self.control_at(&running, &["endpoint", "status", "--write-out", "json"])?;
        let told: Vec<Value> = serde_json::from_str(&told).context("reading what etcdctl tells")?;
        let leads = |one: &Value| one["Status"]["leader"] == one["Status"]["header"]["member_id"];
        let leader = told.iter().find(|one| leads(one)).context("no member leads")?;
        let follows = |one: &Value| one["Status"]["leader"] == leader["Status"]["leader"];
        ensure!(told.iter().all(follows), "not all members know who leads");
        let place = self.endpoints().iter().position(|endpoint| leader["Endpoint"] == endpoint.as_str());
        place.context("another's member leads")
    }

    /// How clients call the members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| self.endpoint(member)).collect()
    }

    fn endpoint(&self, member: &Member) -> String {
        format!("{}://{}:{}", self.scheme, self.address, member.client)
    }

    /// Starts those that do not run, and waits until they answer.
    ///
    /// # Errors
    /// If they don't.
    pub fn start_all(&mut self) -> Result<()> {
        self.start_all_with(&[])
    }

    /// The same where etcdctl needs these options.
    ///
    /// # Errors
    /// If they don't.
    pub fn start_all_with(&mut self, options: &[&str]) -> Result<()> {
        for number in 0..self.members.len() {
            if self.members[number].process.is_none() {
                self.begin(number)?;
            }
        }
        wait::until("etcd", PATIENCE, || {
            for member in &mut self.members {
                member.process.as_mut().context("not started")?.check_running()?;
            }
            self.control(&[options, &["get", "anything"]].concat())
        })?;
        Ok(())
    }

    fn begin(&mut self, number: usize) -> Result<()> {
        let all =
            self.members.iter().map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.peer));
        let all = all.collect::<Vec<_>>().join(",");
        let (data, member) = (self.data(number), &self.members[number]);
        let client = format!("{}://{}:{}", self.scheme, self.address, member.client);
        let peer = format!("http://127.0.0.1:{}", member.peer);
        let mut command = Command::new("etcd");
        command.args(["--name", &member.name, "--initial-cluster", &all, "--data-dir"]).arg(data);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        let process = self.host.spawn(command.args(&self.options), &format!("{}.log", member.name))?;
        self.members[number].process = Some(process);
        Ok(())
    }

    fn data(&self, number: usize) -> PathBuf {
        self.host.lease().directory().join(&self.members[number].name)
    }

    /// Kills a member; what it wrote to its disk stays.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.members[number].process.take() {
            process.kill();
        }
    }

    /// Kills all members.
    pub fn kill_all(&mut self) {
        (0..self.members.len()).for_each(|number| self.kill(number));
    }

    /// Forgets everything that the members, none of which runs, have on their disks.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn wipe(&self) -> Result<()> {
        (0..self.members.len()).try_for_each(|number| fs::remove_dir_all(self.data(number)).context("wiping"))
    }

    /// `etcdctl` with arguments.
    ///
    /// # Errors
    /// If it ends otherwise than with success.
    pub fn control(&self, arguments: &[&str]) -> Result<String> {
        self.control_at(&self.endpoints(), arguments)
    }

    fn control_at(&self, endpoints: &[String], arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoints.join(",")]).args(arguments);
        self.host.enter(|| output_of(&mut command))
    }
}

/// What becomes of the way between a node and the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing gets through any more.
    Begin,
    /// All gets through again.
    End,
}
