//! Nodes of an etcd, and an etcd that is taken back.

use std::process::Command;

use anyhow::Result;
pub(crate) use lab::etcd::Cluster;
use lab::process::output_of;

use crate::node::{Node, plain};

/// Makes nodes.
pub(crate) trait Nodes {
    /// A node of that name; its directory is the same each time.
    fn node(&self, name: &str) -> Result<Node>;
}

impl Nodes for Cluster {
    fn node(&self, name: &str) -> Result<Node> {
        Node::start(&self.host, &self.host.lease().directory().join(name), plain(self.endpoints()))
    }
}

/// Takes the only member back to what it had before `work` was done.
pub(crate) fn taken_back(cluster: &mut Cluster, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let directory = cluster.host.lease().directory();
    let [data, backup] = ["m0", "m0.backup"].map(|name| directory.join(name));
    let copy = |from, to| output_of(Command::new("cp").arg("-a").args([from, to]));
    cluster.kill_all();
    copy(&data, &backup)?;
    cluster.start_all()?;
    work()?;
    cluster.kill_all();
    cluster.wipe()?;
    copy(&backup, &data)?;
    cluster.start_all()
}
