//! Nodes of an etcd.

use anyhow::Result;
pub(crate) use lab::etcd::Cluster;

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
