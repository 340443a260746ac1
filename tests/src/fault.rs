//! Nodes that are lost and come back, and a router that knows which of them to use.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::topology::{Lab, VIPS4, VIPS6};

/// The key of the flow hash, which all nodes share.
const HASH_KEY: &str = "hash.key";

impl Lab {
    /// The router shares the VIPs' packets out to these nodes alone, by the flow's 5-tuple. Where nodes come or go,
    /// flows of the others may move, too: it remembers none.
    ///
    /// # Errors
    /// If the router refuses.
    pub fn route_vips(&self, nodes: &[usize]) -> Result<()> {
        let v4: String =
            nodes.iter().map(|at| format!(" nexthop via {} dev nodes", self.nodes[*at].v4)).collect();
        let v6: String =
            nodes.iter().map(|at| format!(" nexthop via {} dev nodes", self.nodes[*at].v6)).collect();
        for (family, network, hops) in [("-4", VIPS4, v4), ("-6", VIPS6, v6)] {
            let change = if hops.is_empty() { "flush exact" } else { "replace" };
            self.router.ip(&format!("{family} route {change} {network}{hops}"))?;
        }
        Ok(())
    }

    /// The nodes whose controllers run.
    pub fn living_nodes(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| self.nodes[*at].controller.is_some()).collect()
    }

    /// The node dies as a machine does: its controller without a word, its cable without a link. The router goes on
    /// sending it packets until it is told ([`Lab::route_vips`]).
    ///
    /// # Errors
    /// If its controller does not run.
    pub fn lose_node(&mut self, node: usize) -> Result<()> {
        let lost = &mut self.nodes[node];
        let mut controller =
            lost.controller.take().with_context(|| format!("{} is lost already", lost.name))?;
        let cut = self.router.ip(&format!("link set dev {} down", lost.name));
        controller.kill();
        cut.map(drop)
    }

    /// The node comes back with nothing but its key and this configuration; it is for the router to use it.
    ///
    /// # Errors
    /// If it runs, or does not start.
    pub fn bring_back_node(&mut self, node: usize, configuration: &Value) -> Result<()> {
        let lost = &self.nodes[node];
        ensure!(lost.controller.is_none(), "{} is not lost", lost.name);
        forget_all_but_the_key(&lost.runtime_directory()?)?;
        self.router.ip(&format!("link set dev {} up", lost.name))?;
        self.start_controller(node, configuration)
    }

    /// Starts all nodes with one key.
    ///
    /// # Errors
    /// If one does not start.
    pub fn start_nodes(&mut self, configuration: &Value) -> Result<()> {
        self.start_nodes_each(|_, _| configuration.clone())
    }

    /// The same with a configuration for each.
    ///
    /// # Errors
    /// If one does not start.
    pub fn start_nodes_each(&mut self, configuration: impl Fn(&Lab, usize) -> Value) -> Result<()> {
        let first = configuration(self, 0);
        self.start_controller(0, &first)?;
        let key = |node: usize| Ok::<_, anyhow::Error>(self.nodes[node].runtime_directory()?.join(HASH_KEY));
        for node in 1..self.nodes.len() {
            fs::copy(key(0)?, key(node)?).context("giving a node the first one's key")?;
        }
        for node in 1..self.nodes.len() {
            let own = configuration(self, node);
            self.start_controller(node, &own)?;
        }
        Ok(())
    }
}

/// What a machine that was lost has no more.
fn forget_all_but_the_key(directory: &std::path::Path) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == HASH_KEY) {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_uses_the_nodes_that_it_is_told_of() {
        if !crate::require_root() {
            return;
        }
        let lab = Lab::builder().nodes(3).targets(0).build().unwrap();
        for nodes in [&[0, 2][..], &[1], &[0, 1, 2], &[], &[2, 1]] {
            lab.route_vips(nodes).unwrap();
            for (family, network) in [("-4", VIPS4), ("-6", VIPS6)] {
                let route = lab.router.ip(&format!("{family} route show exact {network}")).unwrap();
                for (at, node) in lab.nodes.iter().enumerate() {
                    let address = if family == "-4" { node.v4.to_string() } else { node.v6.to_string() };
                    let is_used = route.contains(&format!("via {address} "));
                    assert_eq!(is_used, nodes.contains(&at), "{nodes:?}: {route}");
                }
            }
        }
    }
}
