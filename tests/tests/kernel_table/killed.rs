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

/// The process that outlives the controller.
fn survivor(lab: &Lab) -> Result<Pid> {
    child(lab, OUTLIVE_CONTROLLER)
}

/// A process that the controller has started.
fn child(lab: &Lab, command: &str) -> Result<Pid> {
    let controller = lab.nodes[0].controller.as_ref().context("it runs")?.id();
    let mut found = None;
    for entry in std::fs::read_dir("/proc").context("listing processes")? {
        let path = entry.context("listing processes")?.path();
        let line = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let is_child = status.lines().any(|line| line == format!("PPid:\t{controller}"));
        if is_child && line.contains(command) {
            found = path.file_name().and_then(|name| Pid::from_raw(name.to_str()?.parse().ok()?));
        }
    }
    found.with_context(|| format!("the controller has no process {command}"))
}

fn until_gone(process: Pid) -> Result<()> {
    wait::until("the survivor's end", SOON, || {
        ensure!(test_kill_process(process).is_err(), "{process:?} is there");
        Ok(())
    })
}

#[test]
fn a_controller_without_pins_that_is_killed_leaves_no_route_and_no_process() {
    let Some(_turn) = lab::among_others() else { return };
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

        // It does that as well for a controller whose helper, which writes routes, was killed.
        start(&mut lab, 300)?;
        until_routes(&lab, [0, 2])?;
        let process = survivor(&lab)?;
        kill_process(child(&lab, "privileged-helper")?, Signal::KILL).context("killing the helper")?;
        until_routes(&lab, [0, 0])?;
        until_gone(process)?;
        lab.nodes[0].controller.take().context("it ran")?.kill();

        // One that is killed itself can't be replaced, which is said.
        start(&mut lab, 300)?;
        until_routes(&lab, [0, 2])?;
        kill_process(survivor(&lab)?, Signal::KILL).context("killing the survivor")?;
        wait::until("the controller's word", SOON, || {
            let log = lab.nodes[0].controller.as_ref().context("it runs")?.log();
            ensure!(log.contains("routes of VIPs will stay if this controller is killed"), "{log}");
            Ok(())
        })?;
        lab.nodes[0].stop_controller()?;
        until_routes(&lab, [0, 0])?;

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
