//! The controller and the agent in a lab, each with exactly what its unit grants.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Process;
use lab::{Lab, VIP4, VIP6, wait};
use rustix::process::Signal;
use rustix::thread::CapabilitySet;

use crate::confined::{self, BpfFileSystem};
use crate::manager::Manager;
use crate::scratch::Scratch;
use crate::unit::Unit;

/// How long anything may take on a busy machine, under strace.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_controller_balances_with_what_its_unit_grants() {
    if !lab::require_root() {
        return;
    }
    let scratch = Scratch::new("controller");
    let mut lab = Lab::builder().targets(2).build().unwrap();
    let played = balance(&mut lab, &scratch);
    played.map_err(|error| lab.with_evidence(error)).unwrap();
}

fn balance(lab: &mut Lab, scratch: &Scratch) -> Result<()> {
    let unit = Unit::of("sluice.service");
    let (mut manager, calls) = (Manager::new(scratch), calls(lab));
    let configuration = lab.configuration();
    lab.start_servers()?;
    lab.start_agents()?;
    let pins = BpfFileSystem::mount(scratch, "sluice")?;
    let node = &mut lab.nodes[0];
    node.write_configuration(&configuration)?;
    let runtime = node.runtime_directory()?;
    confined::give(&runtime)?;
    let mut command = confined::command(&unit, scratch, &calls);
    command.args(["run", "--config"]).arg(node.configuration_file()).arg("--runtime-directory").arg(runtime);
    command.arg("--pins").arg(pins.join("sluice"));
    manager.invite(&mut command);
    let process = node.host.spawn(&mut command, "lb1.log")?;
    let controller = process.id();
    node.controller = Some(process);
    manager.hear("READY=1", PATIENCE)?;
    expect_grants(&unit, controller, CapabilitySet::empty())?;
    expect_grants(&unit, confined::helper_of(controller)?, confined::granted(&unit))?;
    lab.wait_for_all(0, "healthy", PATIENCE)?;
    lab.get(VIP4.into())?;
    lab.get(VIP6.into())?;
    manager.hear("WATCHDOG=1", PATIENCE)?;
    explain_and_reload(lab)?;
    lab.nodes[0].stop_controller()?;
    manager.hear("STOPPING=1", PATIENCE)?;
    confined::expect_allowed(&unit, &calls)?;
    lab.get(VIP4.into()).context("between two controllers")?;
    let node = &mut lab.nodes[0];
    node.controller = Some(node.host.spawn(&mut command, "lb1.log")?);
    manager.hear("READY=1", PATIENCE)?;
    lab.get(VIP6.into()).context("after the adoption")?;
    lab.nodes[0].stop_controller()?;
    confined::expect_allowed(&unit, &calls)
}

/// A packet is explained, and a target leaves by a reload: both work with the maps.
fn explain_and_reload(lab: &mut Lab) -> Result<()> {
    let node = &lab.nodes[0];
    let runtime = node.runtime_directory()?.display().to_string();
    let program = lab::process::binary("sluice")?.display().to_string();
    let flow = ["explain", "198.51.100.7:40000", "10.200.1.1:80", "--runtime-directory", &runtime];
    let explained = node.host.run(&program, &flow)?;
    ensure!(explained.contains("forwarded"), "{explained}");
    let mut configuration = lab.configuration();
    let gone = lab.targets[1].v4.into();
    lab::configuration::remove_target(&mut configuration, gone)?;
    lab.nodes[0].write_configuration(&configuration)?;
    lab.nodes[0].controller.as_ref().context("it runs")?.signal(Signal::HUP);
    lab.wait_for_target(0, gone, "draining", PATIENCE).map(drop)
}

#[test]
fn an_agent_serves_with_what_its_unit_grants_and_leaves_its_work_to_the_next() {
    if !lab::require_root() {
        return;
    }
    let scratch = Scratch::new("agent");
    let mut lab = Lab::builder().targets(1).build().unwrap();
    let played = serve(&mut lab, &scratch);
    played.map_err(|error| lab.with_evidence(error)).unwrap();
}

fn serve(lab: &mut Lab, scratch: &Scratch) -> Result<()> {
    let unit = Unit::of("sluice-agent.service");
    let (mut manager, calls) = (Manager::new(scratch), calls(lab));
    let pins = BpfFileSystem::mount(scratch, "sluice-agent")?;
    let mut command = confined::command(&unit, scratch, &calls);
    agent(lab, &pins, &mut command)?;
    manager.invite(&mut command);
    lab.start_servers()?;
    let configuration = lab.configuration();
    let before = lab.targets[0].host.ip("-oneline address show dev lo")?;
    let mut first = lab.targets[0].host.spawn(&mut command, "t1-agent.log")?;
    expect_grants(&unit, first.id(), confined::granted(&unit))?;
    manager.hear("READY=1", PATIENCE)?;
    lab.start_controller(0, &configuration)?;
    lab.wait_for_all(0, "healthy", PATIENCE)?;
    lab.get(VIP4.into())?;
    manager.hear("WATCHDOG=1", PATIENCE)?;
    end(&mut first, Signal::USR2)?;
    manager.hear("STOPPING=1", PATIENCE)?;
    confined::expect_allowed(&unit, &calls)?;
    lab.get(VIP4.into()).context("between two agents")?;
    let mut second = lab.targets[0].host.spawn(&mut command, "t1-agent.log")?;
    manager.hear("READY=1", PATIENCE)?;
    lab.get(VIP6.into())?;
    end(&mut second, Signal::TERM)?;
    confined::expect_allowed(&unit, &calls)?;
    let after = lab.targets[0].host.ip("-oneline address show dev lo")?;
    ensure!(after == before, "the loopback had {before}, has {after}");
    ensure!(!pins.join("sluice-agent/pins").exists(), "pins are left");
    Ok(())
}

/// The configuration file and the directories that the unit would name.
fn agent(lab: &Lab, pins: &BpfFileSystem, command: &mut Command) -> Result<()> {
    let file = lab.lease.directory().join("agent.json");
    let written =
        serde_json::json!({ "interfaces": ["eth0"], "nodes": lab.tunnel_sources(), "vips": lab.vips });
    lab::configuration::write(&file, &written)?;
    let runtime = lab.lease.directory().join("t1");
    fs::create_dir_all(&runtime)?;
    confined::give(&runtime)?;
    command.args(["agent", "--config"]).arg(file).arg("--runtime-directory").arg(runtime);
    command.arg("--pins").arg(pins.join("sluice-agent/pins"));
    Ok(())
}

/// Where strace writes: the user can.
fn calls(lab: &Lab) -> PathBuf {
    let directory = lab.lease.directory().join("traced");
    fs::create_dir_all(&directory).unwrap();
    confined::give(&directory).unwrap();
    directory.join("calls")
}

/// What a process has of the unit's capabilities, which are all that it could ever have got. (It can get none back: no
/// program that it executes gives it more rights.)
fn expect_grants(unit: &Unit, process: u32, effective: CapabilitySet) -> Result<()> {
    let wanted = [effective, confined::granted(unit)];
    wait::until("the unit's capabilities", PATIENCE, || {
        let held = confined::held(process)?;
        ensure!(held == wanted, "it has {held:?} and not {wanted:?}");
        Ok(())
    })
}

fn end(process: &mut Process, signal: Signal) -> Result<()> {
    process.signal(signal);
    wait::until("its end", PATIENCE, || {
        let ended = process.check_running().err().context("it runs")?.to_string();
        ensure!(ended.contains("exit status: 0"), "{ended}");
        Ok(())
    })
}
