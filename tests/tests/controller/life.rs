//! The controller's own life: a second one, a crash, its end.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use lab::process::binary;
use lab::{Lab, VIP4, VIP6, wait};

use crate::held::Held;
use crate::{PATIENCE, alone, healthy, listener, play};

#[test]
fn a_second_controller_is_refused_and_the_first_goes_on() {
    let Some(_alone) = alone() else { return };
    play(&mut healthy(2), |lab| {
        let mut held = Held::open(lab, 10)?;
        let process = lab.nodes[0].controller.as_ref().context("the controller runs")?.id();
        let runtime = lab.nodes[0].runtime_directory()?;
        let words = start_second(lab, &runtime)?;
        ensure!(words.contains(&format!("another controller (process {process}) serves there")), "{words}");

        let words = start_second(lab, &runtime.join("second"))?;
        let report = lab.nodes[0].status()?;
        let program = report.interfaces[0].program_id;
        let taken = format!("eth0 has another XDP program already, with id {program}: ");
        ensure!(words.contains(&taken), "{words}");
        ensure!(report.interfaces[0].mode == "native", "{:?}", report.interfaces);
        held.expect_alive()?;
        lab.get(VIP4.into())?;
        lab.get(VIP6.into()).map(drop)
    });
}

/// What a second controller says on standard error before it ends with failure.
fn start_second(lab: &Lab, runtime: &Path) -> Result<String> {
    let node = &lab.nodes[0];
    let mut command = Command::new(binary("sluice")?);
    command.args(["run", "--unpinned", "--config"]).arg(node.configuration_file());
    command.arg("--runtime-directory").arg(runtime);
    let Output { status, stdout, stderr } =
        node.host.enter(|| command.stdin(Stdio::null()).output()).context("starting a second controller")?;
    let words = String::from_utf8_lossy(&stderr).into_owned();
    ensure!(status.code() == Some(1), "it ended with {status}: {words}");
    ensure!(stdout.is_empty(), "it wrote to standard output: {}", String::from_utf8_lossy(&stdout));
    Ok(words)
}

#[test]
fn established_connections_keep_their_targets_when_a_killed_controller_starts_again() {
    let Some(_alone) = alone() else { return };
    play(&mut healthy(3), |lab| {
        let before = lab.nodes[0].status()?;
        let mut held = Held::open(lab, 60)?;
        lab.nodes[0].controller.take().context("the controller runs")?.kill();
        wait::until("the end of the balancer", PATIENCE, || {
            let link = lab.nodes[0].host.ip("link show dev eth0")?;
            ensure!(!link.contains("xdp"), "it is still there: {link}");
            Ok(())
        })?;
        let configuration = lab.configuration();
        lab.start_controller(0, &configuration)?;
        held.expect_alive()?;
        let after = lab.wait_for_all(0, "healthy", PATIENCE)?;
        ensure!(listener(&after)?.table_digest == listener(&before)?.table_digest, "another table");
        held.expect_alive()
    });
}

#[test]
fn a_controller_that_stops_leaves_its_interface_and_directory_as_they_were() {
    let Some(_alone) = alone() else { return };
    let mut lab = Lab::builder().targets(1).build().unwrap();
    let link = |lab: &Lab| lab.nodes[0].host.ip("-oneline link show dev eth0").unwrap();
    let before = link(&lab);
    let configuration = lab.configuration();
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    play(&mut lab, |lab| {
        ensure!(link(lab) != before, "there is no balancer on the interface");
        lab.nodes[0].stop_controller()?;
        ensure!(link(lab) == before, "the interface was {before}, is {}", link(lab));
        let socket = lab.nodes[0].runtime_directory()?.join("status.sock");
        ensure!(!socket.exists(), "{} is left", socket.display());
        match lab.nodes[0].status() {
            Ok(_) => bail!("somebody still answers"),
            Err(error) => ensure!(format!("{error:#}").contains("no controller serves"), "{error:#}"),
        }
        Ok(())
    });
}
