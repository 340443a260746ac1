//! The controller's configuration in the lab, as JSON that a test or the story changes before it is written.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::http;
use crate::topology::{Node, Target};

/// Checks every second, so that stories are short: two in a row make a target healthy, and five unhealthy, as a busy
/// machine may well miss two. Stories compare tables exactly, and one in which a target fails on purpose waits for it.
fn health_check() -> Value {
    json!({
        "protocol": "HTTP", "port": http::PORT, "path": "/healthz",
        "interval_seconds": 1, "timeout_seconds": 1, "healthy_threshold": 2, "unhealthy_threshold": 5
    })
}

/// One load balancer `web` on `vips`, with one TCP listener on port 80 and one target group `web` that holds
/// `targets` by their IPv4 addresses.
pub fn web(node: &Node, vips: &[IpAddr], targets: &[Target]) -> Value {
    let members: Vec<IpAddr> = targets.iter().map(|target| target.v4.into()).collect();
    json!({
        "node": { "name": node.name, "zone": "a", "interfaces": node.interfaces },
        "load_balancers": [ {
            "name": "web",
            "vips": vips,
            "listeners": [ { "protocol": "TCP", "port": http::PORT, "forward": [ { "target_group": "web" } ] } ]
        } ],
        "target_groups": [ target_group("web", "TCP", http::PORT, &members) ]
    })
}

/// A target group of the lab with IPIP encapsulation, weight 1 and zone `a` everywhere.
pub fn target_group(name: &str, protocol: &str, port: u16, targets: &[IpAddr]) -> Value {
    let targets: Vec<Value> =
        targets.iter().map(|id| json!({ "id": id, "weight": 1, "zone": "a" })).collect();
    json!({
        "name": name, "protocol": protocol, "port": port, "encapsulation": "ipip",
        "health_check": health_check(), "targets": targets
    })
}

/// The targets of the target group at `index`, to be changed in place.
pub fn targets_of(configuration: &mut Value, index: usize) -> Result<&mut Vec<Value>> {
    configuration["target_groups"][index]["targets"]
        .as_array_mut()
        .with_context(|| format!("the configuration has no list at target_groups[{index}].targets"))
}

/// Removes a target from every target group.
pub fn remove_target(configuration: &mut Value, address: IpAddr) -> Result<()> {
    let groups = configuration["target_groups"].as_array().map_or(0, Vec::len);
    let id = json!(address);
    for index in 0..groups {
        targets_of(configuration, index)?.retain(|target| target["id"] != id);
    }
    Ok(())
}

/// Replaces a configuration file in one step, so that no reader sees half of it.
pub fn write(path: &Path, configuration: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(configuration).context("writing JSON")?;
    let half = path.with_extension("half");
    fs::write(&half, text + "\n").with_context(|| format!("writing {}", half.display()))?;
    fs::rename(&half, path).with_context(|| format!("replacing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_target_is_in_no_group() {
        let members: Vec<IpAddr> = vec!["10.203.0.11".parse().unwrap(), "10.203.0.12".parse().unwrap()];
        let mut configuration = json!({ "target_groups": [
            target_group("web", "TCP", 80, &members), target_group("echo", "UDP", 7, &members)
        ] });
        remove_target(&mut configuration, members[0]).unwrap();
        for index in 0..2 {
            assert_eq!(targets_of(&mut configuration, index).unwrap().len(), 1);
        }
        assert!(!configuration.to_string().contains("10.203.0.11"));
    }
}
