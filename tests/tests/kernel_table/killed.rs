//! Controllers without pins, whose data plane ends with them: their routes do, too.

use anyhow::{Context, Result, ensure};
use lab::{Lab, wait};
use lb_userspace::announce::kernel_table::OUTLIVE_CONTROLLER;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;

use crate::world::{SOON, table};

fn until_routes(lab: &Lab, numbers: [usize; 2]) -> Result<()> {
    wait::until(&format!("{numbers:?} routes"), SOON, || {
        let found = [table(&lab.nodes[0].host, 100)?, table(&lab.nodes[0].host, 300)?];
        ensure!([found[0].len(), found[1].len()] == numbers, "{found:#?}");
        Ok(())
    })
}

fn start(lab: &mut Lab, table: u32) -> Result<()> {
    let mut configuration = lab.configuration();
    configuration["announce"] = json!({ "drain_seconds": 0, "kernel_table": { "table": table } });
    match lab.nodes[0].controller {
        Some(_) => lab.nodes[0].write_configuration(&configuration),
        None => lab.start_controller(0, &configuration),
    }
}

/// The process that the controller has started.
fn survivor(lab: &Lab) -> Result<Pid> {
    let controller = lab.nodes[0].controller.as_ref().context("it runs")?.id();
    let mut found = None;
    for entry in std::fs::read_dir("/proc").context("listing processes")? {
        let path = entry.context("listing processes")?.path();
        let line = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let is_child = status.lines().any(|line| line == format!("PPid:\t{controller}"));
        if is_child && line.contains(OUTLIVE_CONTROLLER) {
            found = path.file_name().and_then(|name| Pid::from_raw(name.to_str()?.parse().ok()?));
        }
    }
    found.context("the controller has no survivor")
}

/// Whether SIGTERM is not its end: it does that first of all.
fn takes_signals(process: Pid) -> Result<bool> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).context("it has signals")?;
    Ok(u64::from_str_radix(mask, 16)? >> (Signal::TERM.as_raw() - 1) & 1 == 1)
}

fn until_gone(process: Pid) -> Result<()> {
    wait::until("the survivor's end", SOON, || {
        ensure!(test_kill_process(process).is_err(), "{process:?} is there");
        Ok(())
    })
}

#[test]
fn a_controller_without_pins_that_is_killed_leaves_no_route_and_no_process() {
    if !lab::require_root() {
        return;
    }
    let mut lab = Lab::builder().targets(1).build().unwrap();
    let told = (|| {
        start(&mut lab, 100)?;
        until_routes(&lab, [2, 0])?;
        // It is told of another table, too.
        start(&mut lab, 300)?;
        until_routes(&lab, [0, 2])?;
        let process = survivor(&lab)?;
        // What a service manager and a terminal send to all processes is for the controller.
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            kill_process(process, signal).context("sending a signal")?;
        }
        lab.nodes[0].controller.take().context("it runs")?.kill();
        until_routes(&lab, [0, 0])?;
        until_gone(process)?;

        // One that is killed itself is replaced.
        start(&mut lab, 300)?;
        until_routes(&lab, [0, 2])?;
        let first = survivor(&lab)?;
        kill_process(first, Signal::KILL).context("killing the survivor")?;
        let second = wait::until("another survivor", SOON, || {
            let second = survivor(&lab)?;
            ensure!(second != first && takes_signals(second)?, "it is the first one, or has just begun");
            Ok(second)
        })?;
        lab.nodes[0].controller.take().context("it runs")?.kill();
        until_routes(&lab, [0, 0])?;
        until_gone(second)?;

        // One that ends as it should needs none.
        start(&mut lab, 100)?;
        until_routes(&lab, [2, 0])?;
        let process = survivor(&lab)?;
        lab.nodes[0].stop_controller()?;
        ensure!(table(&lab.nodes[0].host, 100)?.is_empty(), "there are routes");
        until_gone(process)
    })();
    told.map_err(|error: anyhow::Error| lab.with_evidence(error)).unwrap();
}
