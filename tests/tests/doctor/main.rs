//! `sluice doctor` in the lab: each reason for not forwarding is made, one at a time, and has to be found, alone,
//! and nothing may be found any more when it is mended.

#![allow(missing_docs, reason = "a test binary has no users")]

mod interfaces;
mod node;
mod target;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::configuration::target_group;
use lab::process::binary;
use lab::{Host, Lab, alone, echo, wait};
use serde_json::{Value, json};

/// How long until a change is seen: the kernel needs some seconds to give a neighbour up, checks to fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// One target behind the router, and one on the node's second link; HTTP by IPIP over IPv4, and UDP echo by
/// GUE over IPv6.
fn lab() -> Lab {
    let mut lab = Lab::builder().targets(1).far_targets(1).build().unwrap();
    let configuration = configuration(&lab);
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    lab
}

fn configuration(lab: &Lab) -> Value {
    let mut configuration = lab.configuration();
    let members: Vec<IpAddr> = lab.targets.iter().map(|target| target.v6.into()).collect();
    let mut group = target_group("echo", "UDP", echo::PORT, &members);
    group["encapsulation"] = "gue".into();
    let listener =
        json!({ "protocol": "UDP", "port": echo::PORT, "forward": [ { "target_group": "echo" } ] });
    let push = |list: &mut Value, item| list.as_array_mut().expect("a list").push(item);
    push(&mut configuration["load_balancers"][0]["listeners"], listener);
    push(&mut configuration["target_groups"], group);
    configuration
}

/// Runs a test's story, and shows the lab when it fails.
fn play(mut lab: Lab, story: impl FnOnce(&mut Lab) -> Result<()>) {
    let played = story(&mut lab);
    played.map_err(|error| lab.with_evidence(error)).unwrap();
}

/// What `sluice doctor` says.
struct Diagnosis {
    json: Value,
    code: Option<i32>,
}

impl Diagnosis {
    fn of(host: &Host, arguments: &[&str]) -> Result<Diagnosis> {
        let mut command = Command::new(binary("sluice")?);
        command.arg("doctor").args(arguments).arg("--json").stdin(Stdio::null());
        let output = host.enter(|| command.output()).context("starting sluice doctor")?;
        let json = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no findings: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok(Diagnosis { json, code: output.status.code() })
    }

    /// The findings that tell of something wrong.
    fn wrong(&self) -> impl Iterator<Item = &Value> {
        let findings = self.json["findings"].as_array().into_iter().flatten();
        findings.filter(|finding| finding["level"] != "ok")
    }

    /// Expects these causes and no others, an exit code that fits, and a way to mend each.
    fn expect(&self, causes: &[&str]) -> Result<()> {
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        let found: BTreeSet<String> = self.wrong().map(|finding| text(finding, "cause")).collect();
        let expected: BTreeSet<String> = causes.iter().map(ToString::to_string).collect();
        ensure!(found == expected, "{causes:?} expected, found: {:#}", self.json);
        ensure!(self.wrong().all(|finding| !text(finding, "mend").is_empty()), "{:#}", self.json);
        let failed = self.wrong().any(|finding| finding["level"] == "fail");
        ensure!(self.code == Some(i32::from(failed)), "exit code {:?}: {:#}", self.code, self.json);
        Ok(())
    }

    /// The command that mends this cause.
    fn mend(&self, cause: &str) -> Result<String> {
        let finding = self.wrong().find(|finding| finding["cause"] == cause);
        Ok(finding.with_context(|| format!("no {cause}"))?["mend"].as_str().unwrap_or_default().to_owned())
    }
}

/// Looks at the node, not at what counts up there.
fn on_node(lab: &Lab) -> Result<Diagnosis> {
    let directory = lab.nodes[0].runtime_directory()?;
    let directory = directory.to_str().context("a path in Unicode")?;
    Diagnosis::of(&lab.nodes[0].host, &["--node", "--seconds", "0", "--runtime-directory", directory])
}

fn on_target(lab: &Lab, index: usize) -> Result<Diagnosis> {
    let target = &lab.targets[index];
    let directory = lab.lease.directory().join(&target.name);
    let directory = directory.to_str().context("a path in Unicode")?;
    let ports = ["--port", "80", "--port", "7/udp", "--seconds", "1"];
    Diagnosis::of(&target.host, &[&["--target", "--agent-directory", directory], &ports[..]].concat())
}

/// Waits until exactly this is wrong on the node.
fn expect_on_node(lab: &Lab, causes: &[&str]) -> Result<Diagnosis> {
    wait::until(&format!("{causes:?} on the node"), PATIENCE, || {
        let diagnosis = on_node(lab)?;
        diagnosis.expect(causes).map(|()| diagnosis)
    })
}

/// Waits until exactly this is wrong on the first target.
fn expect_on_target(lab: &Lab, causes: &[&str]) -> Result<Diagnosis> {
    wait::until(&format!("{causes:?} on the target"), PATIENCE, || {
        let diagnosis = on_target(lab, 0)?;
        diagnosis.expect(causes).map(|()| diagnosis)
    })
}

/// Waits until nothing is wrong, neither on the node nor on the targets.
fn expect_sound(lab: &Lab) -> Result<()> {
    expect_on_node(lab, &[])?;
    expect_on_target(lab, &[])?;
    on_target(lab, 1)?.expect(&[])
}

/// Runs a command that the doctor named.
fn run(host: &Host, command: &str) -> Result<()> {
    if !command.starts_with("ip ") && !command.starts_with("sysctl ") {
        bail!("{command:?} is no command to run as it is");
    }
    host.run("sh", &["-c", command]).map(drop)
}
