//! The flow log of a lab's nodes: its configuration, and its lines as anybody may read them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{Lab, VIP4, VIP6};

/// The lab's load balancer `web` on the IPv4 VIP, and `quiet`, with the same target group, on the IPv6 one, on a node that
/// keeps flow logs of all flows. Nobody's flows are logged yet.
pub fn configuration(lab: &Lab) -> Value {
    let mut configuration = lab.configuration();
    configuration["node"]["flow_log"] = json!({ "directory": directory(lab), "sample": 1 });
    let mut quiet = configuration["load_balancers"][0].clone();
    configuration["load_balancers"][0]["vips"] = json!([VIP4]);
    quiet["name"] = "quiet".into();
    quiet["vips"] = json!([VIP6]);
    if let Some(load_balancers) = configuration["load_balancers"].as_array_mut() {
        load_balancers.push(quiet);
    }
    configuration
}

/// The base directory of the lab's flow logs.
pub fn directory(lab: &Lab) -> PathBuf {
    lab.lease.directory().join("flows")
}

/// The lines of all files in a directory and below it, the oldest file first; none if it isn't there.
pub fn lines(directory: &Path) -> Result<Vec<Value>> {
    let mut files = files(directory)?;
    files.sort_by_key(|path| path.file_name().map(std::ffi::OsStr::to_owned));
    let mut lines = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        // A line whose end has not come yet is being written.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        for line in whole {
            lines.push(serde_json::from_str(line).with_context(|| format!("{}: {line}", file.display()))?);
        }
    }
    Ok(lines)
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !directory.exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() { files.extend(self::files(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

/// What a flow's lines say, by its client: the target, and how often it began and ended.
pub fn flows(lines: &[Value]) -> Result<BTreeMap<String, Flow>> {
    let mut flows = BTreeMap::<String, Flow>::new();
    for line in lines {
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        let client = text("client").with_context(|| format!("no client: {line}"))?;
        let flow = flows.entry(client).or_default();
        let target = text("target").with_context(|| format!("no target: {line}"))?;
        ensure!(flow.target.is_empty() || flow.target == target, "another target: {line}");
        flow.target = target;
        match line["event"].as_str() {
            Some("new") => flow.began += 1,
            Some("end") => flow.ended += 1,
            _ => anyhow::bail!("no event: {line}"),
        }
    }
    Ok(flows)
}

/// A flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// The target's address.
    pub target: String,
    /// Lines with the event `new`.
    pub began: usize,
    /// Lines with the event `end`.
    pub ended: usize,
}
