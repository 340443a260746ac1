//! `sluice explain` and `sluice capture` on a node of the lab: the installed commands, real connections.
#![allow(missing_docs, reason = "a test binary has no users")]

mod capture;
mod explain;

use std::time::Duration;

use lab::Lab;

/// How long targets may take to be checked, on a busy machine.
const HEALTHY: Duration = Duration::from_secs(60);

/// A lab with two targets, all of them healthy.
fn lab() -> anyhow::Result<Lab> {
    let mut lab = Lab::builder().targets(2).build()?;
    let configuration = lab.configuration();
    lab.start(&configuration)?;
    lab.wait_for_all(0, "healthy", HEALTHY)?;
    Ok(lab)
}
