//! An etcd of one or more members on one host.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::process::{Process, output_of};
use lab::{Host, Lease, wait};

use crate::node::{Node, plain};

/// How long members take to begin, or to agree on a leader.
const PATIENCE: Duration = Duration::from_secs(30);

/// The members, and the host that they are on.
pub(crate) struct Cluster {
    pub(crate) host: Host,
    members: Vec<Member>,
    options: Vec<String>,
    scheme: &'static str,
}

struct Member {
    name: String,
    client: u16,
    peer: u16,
    process: Option<Process>,
}

impl Cluster {
    /// Starts so many members.
    pub(crate) fn start(members: u16) -> Result<Cluster> {
        let mut cluster = Cluster::of(&Lease::take()?, members, "http", Vec::new())?;
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Members that are not started yet, with options of etcd.
    pub(crate) fn of(
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
        let host = Host::new(lease, "etcd")?;
        Ok(Cluster { host, members: (0..members).map(member).collect(), options, scheme })
    }

    /// A node of that name; its directory is the same each time.
    pub(crate) fn node(&self, name: &str) -> Result<Node> {
        Node::start(&self.host, &self.host.lease().directory().join(name), plain(self.endpoints()))
    }

    /// How clients call the members.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("{}://127.0.0.1:{}", self.scheme, member.client)).collect()
    }

    /// Starts those that do not run, and waits until they answer.
    pub(crate) fn start_all(&mut self) -> Result<()> {
        self.start_all_with(&[])
    }

    /// The same where etcdctl needs these options.
    pub(crate) fn start_all_with(&mut self, options: &[&str]) -> Result<()> {
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
        let client = format!("{}://127.0.0.1:{}", self.scheme, member.client);
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
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.members[number].process.take() {
            process.kill();
        }
    }

    /// Kills all members.
    pub(crate) fn kill_all(&mut self) {
        (0..self.members.len()).for_each(|number| self.kill(number));
    }

    /// Forgets everything that the members, none of which runs, have on their disks.
    pub(crate) fn wipe(&self) -> Result<()> {
        (0..self.members.len()).try_for_each(|number| fs::remove_dir_all(self.data(number)).context("wiping"))
    }

    /// `etcdctl` with arguments.
    pub(crate) fn control(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoints().join(",")]).args(arguments);
        self.host.enter(|| output_of(&mut command))
    }
}
