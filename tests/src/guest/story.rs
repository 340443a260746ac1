//! The smoke tests: the verifier takes every program, and real connections go through the real controller to a
//! target with the kernel's own tunnels and one with Sluice's agent, by every encapsulation there is.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::topology::{CLIENT4, CLIENT6, Target};
use lab::{Lab, configuration, echo, http, process};
use serde_json::{Value, json};

use super::tunnels;

/// The objects that are verified: a directory for each set of features.
const OBJECTS: &str = "/sluice/verify";

/// How long targets may take to get healthy; longer in the emulator, as every limit is.
const HEALTHY: Duration = Duration::from_secs(20);

/// Connections until both targets must have answered: that one of two is missed by chance happens once in 10^19.
const CONNECTIONS: usize = 64;

/// Bytes that are echoed: many full segments, and few enough to be written before any is read.
const ECHOED: usize = 64 * 1024;

/// How long an echo may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The target with the kernel's tunnels; the other has the agent.
const WITH_TUNNELS: usize = 0;
const WITH_AGENT: usize = 1;

/// The ways to a target, each a load balancer of its own: name, encapsulation, whether the outer header is IPv6.
const WAYS: [(&str, &str, bool); 4] = [
    ("ipip-by-ipv4", "ipip", false),
    ("ipip-by-ipv6", "ipip", true),
    ("gue-by-ipv4", "gue", false),
    ("gue-by-ipv6", "gue", true),
];

/// What passed and what did not; the last line of the report.
#[derive(Debug, Default)]
pub(super) struct Counts {
    passed: u32,
    failed: u32,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Plays all of it, with a line for each check on `report`.
pub(super) fn play(report: &mut File) -> Counts {
    let mut guest = Guest { report, counts: Counts::default() };
    guest.check("the verifier takes every program within its budget", verify);
    if let Some(mut lab) = guest.check("a lab with both kinds of targets, a controller in it", make) {
        guest.connections(&mut lab);
    }
    guest.counts
}

struct Guest<'a> {
    report: &'a mut File,
    counts: Counts,
}

impl Guest<'_> {
    fn connections(&mut self, lab: &mut Lab) {
        let healthy = self.check("every target gets healthy", || {
            lab.wait_for_all(0, "healthy", HEALTHY).map(|_| (String::new(), ()))
        });
        if healthy.is_none() {
            return;
        }
        for (number, (way, ..)) in WAYS.iter().enumerate() {
            for vip in vips(number) {
                let family = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
                self.check(&format!("{way}: {family} connections reach both targets"), || {
                    reach_both(lab, vip).map_err(|error| lab.with_evidence(error))
                });
                self.check(&format!("{way}: full {family} segments reach both targets"), || {
                    echo_from_both(lab, vip).map_err(|error| lab.with_evidence(error))
                });
            }
        }
        self.check("the controller stops", || lab.nodes[0].stop_controller().map(|()| (String::new(), ())));
    }

    /// Runs a check, which returns its evidence and what the next ones need.
    fn check<T>(&mut self, name: &str, check: impl FnOnce() -> Result<(String, T)>) -> Option<T> {
        let start = Instant::now();
        let (line, made) = match check() {
            Ok((evidence, made)) => {
                self.counts.passed += 1;
                let seconds = start.elapsed().as_secs_f64();
                (format!("ok      {name} ({seconds:.1} s{evidence})"), Some(made))
            }
            Err(error) => {
                self.counts.failed += 1;
                (format!("FAILED  {name}\n{error:#}"), None)
            }
        };
        // Without a report nobody counts a check as passed.
        let _ = writeln!(self.report, "{line}");
        made
    }
}

/// The table of `verify` is the evidence.
fn verify() -> Result<(String, ())> {
    let mut command = Command::new(process::binary("verify")?);
    for entry in fs::read_dir(OBJECTS).with_context(|| format!("listing {OBJECTS}"))? {
        let directory = entry.with_context(|| format!("listing {OBJECTS}"))?.path();
        let features = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        command.arg("--objects").arg(format!("{features}={}", directory.display()));
    }
    let table = process::output_of(&mut command)?;
    Ok((format!("):\n\n{table}\n(end of the table"), ()))
}

fn make() -> Result<(String, Lab)> {
    let vips: Vec<IpAddr> = (0..WAYS.len()).flat_map(vips).collect();
    let mut lab = Lab::builder().targets(2).vips(&vips).build()?;
    lab.start_servers()?;
    tunnels::open(&lab.targets[WITH_TUNNELS], &vips)?;
    let nodes = [lab.nodes[0].v4.into(), lab.nodes[0].v6.into()];
    lab.targets[WITH_AGENT].start_agent(&nodes, &vips)?;
    let configuration = desired(&lab);
    lab.start_controller(0, &configuration)?;
    Ok((String::new(), lab))
}

/// The VIPs of a way.
fn vips(way: usize) -> [IpAddr; 2] {
    let number = way as u8 + 1;
    [IpAddr::from([10, 200, number, 1]), IpAddr::from([0xfc00, u16::from(number), 0, 0, 0, 0, 0, 1])]
}

/// A load balancer for each way: HTTP and the echo service, each to both targets.
fn desired(lab: &Lab) -> Value {
    let mut load_balancers = Vec::new();
    let mut groups = Vec::new();
    for (number, (name, encapsulation, is_ipv6)) in WAYS.into_iter().enumerate() {
        let own = |target: &Target| if is_ipv6 { target.v6.into() } else { IpAddr::from(target.v4) };
        let members: Vec<IpAddr> = lab.targets.iter().map(own).collect();
        let mut listeners = Vec::new();
        for (service, port) in [("http", http::PORT), ("echo", echo::PORT)] {
            let group = format!("{name}-{service}");
            listeners
                .push(json!({ "protocol": "TCP", "port": port, "forward": [{ "target_group": group }] }));
            let mut group = configuration::target_group(&group, "TCP", port, &members);
            group["encapsulation"] = encapsulation.into();
            // In an emulator an answer may take a second; a target that is taken for dead loses its connections.
            group["health_check"]["interval_seconds"] = 5.into();
            group["health_check"]["timeout_seconds"] = 5.into();
            group["health_check"]["unhealthy_threshold"] = 10.into();
            groups.push(group);
        }
        load_balancers.push(json!({ "name": name, "vips": vips(number), "listeners": listeners }));
    }
    json!({ "node": { "zone": "a" }, "load_balancers": load_balancers, "target_groups": groups })
}

/// New connections until both targets have answered and seen the client's own address.
fn reach_both(lab: &Lab, vip: IpAddr) -> Result<(String, ())> {
    let client: IpAddr = if vip.is_ipv4() { CLIENT4.into() } else { CLIENT6.into() };
    until_both(lab, vip, || {
        let answer = lab.get(vip)?;
        ensure!(answer.client == client, "{} saw {} instead of {client}", answer.target, answer.client);
        Ok(answer.target)
    })
}

/// The same with as many bytes as make full segments, which come back as they were.
fn echo_from_both(lab: &Lab, vip: IpAddr) -> Result<(String, ())> {
    let bytes: Vec<u8> = (0..ECHOED).map(|at| (at % 251) as u8).collect();
    until_both(lab, vip, || {
        let mut stream = lab.client.enter(|| TcpStream::connect(SocketAddr::new(vip, echo::PORT)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&bytes).context("sending")?;
        let greeting = greeting(&mut stream)?;
        let mut echoed = vec![0; bytes.len()];
        stream.read_exact(&mut echoed).context("waiting for the echo")?;
        ensure!(echoed == bytes, "other bytes came back than were sent");
        let target = greeting.split(' ').next().context("the greeting names no target")?;
        Ok(target.to_owned())
    })
}

/// The line that a connection to the echo service begins with.
fn greeting(stream: &mut TcpStream) -> Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).context("waiting for the greeting")?;
        line.extend(byte);
    }
    String::from_utf8(line).context("reading the greeting")
}

fn until_both(lab: &Lab, vip: IpAddr, mut ask: impl FnMut() -> Result<String>) -> Result<(String, ())> {
    let mut missing: BTreeSet<&str> = lab.targets.iter().map(|target| target.name.as_str()).collect();
    for connection in 1..=CONNECTIONS {
        let target = ask().with_context(|| format!("connection {connection} to {vip}"))?;
        missing.remove(target.as_str());
        if missing.is_empty() {
            return Ok((format!(", {connection} connections"), ()));
        }
    }
    anyhow::bail!("{CONNECTIONS} connections to {vip}, and none reached {missing:?}")
}
