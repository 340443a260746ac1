//! The real controller in a lab: what it takes and refuses, what it does when targets, the network or it itself
//! fail, and what it says of that.

mod command_line;
mod configuration_file;
mod flow_log;
mod health;
mod held;
mod life;
mod network;
mod planned;

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Lab, alone};
use lb_userspace::status::report::{ListenerReport, Report};

/// How long a change may take until the status shows it, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A lab whose targets are all healthy.
fn healthy(targets: u8) -> Lab {
    let mut lab = Lab::builder().targets(targets).build().unwrap();
    let configuration = lab.configuration();
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    lab
}

/// Runs a test's story, and shows the lab when it fails.
fn play(lab: &mut Lab, story: impl FnOnce(&mut Lab) -> Result<()>) {
    let played = story(lab);
    played.map_err(|error| lab.with_evidence(error)).unwrap();
}

/// The only listener of the only load balancer.
fn listener(report: &Report) -> Result<&ListenerReport> {
    let load_balancer = report.load_balancers.values().next().context("the status has no load balancer")?;
    load_balancer.listeners.first().context("the status has no listener")
}
