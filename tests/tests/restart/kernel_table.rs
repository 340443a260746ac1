//! VIPs in a routing table of the kernel stay as long as the data plane does, whatever becomes of the controller.

use std::process::Command;

use anyhow::{Result, ensure};
use lab::{Lab, wait};
use serde_json::json;

use crate::{PATIENCE, alone};
use lab::pinned::Pinned;

const ANNOUNCED: &str = "proto 220 metric 100";
const DRAINING: &str = "proto 221 metric 200";

/// The routes of the table, of both families.
fn routes(pinned: &Pinned) -> Result<String> {
    let host = &pinned.lab.nodes[0].host;
    // iproute2 knows no table that never had a route.
    let of = |family: &str| host.ip(&format!("{family} route show table 100")).unwrap_or_default();
    Ok([of("-4"), of("-6")].join("\n").trim().to_owned())
}

fn until_routed(pinned: &Pinned, how: &str) -> Result<()> {
    wait::until(&format!("routes that are {how}"), PATIENCE, || {
        let routes = routes(pinned)?;
        ensure!(routes.lines().count() == 2 && routes.lines().all(|route| route.contains(how)), "{routes}");
        Ok(())
    })
}

#[test]
fn routes_of_vips_stay_with_the_data_plane_and_are_withdrawn_before_it_ends() {
    let Some(_alone) = alone() else { return };
    let mut pinned = Pinned::new(Lab::builder().targets(2).build().unwrap()).unwrap();
    pinned.lab.start_servers().unwrap();
    pinned.lab.start_agents().unwrap();
    pinned.play(|pinned| {
        let mut configuration = pinned.lab.configuration();
        configuration["announce"] = json!({ "drain_seconds": 600,
            "kernel_table": { "table": 100, "protocol": 220, "draining_protocol": 221 } });
        pinned.start(&configuration)?;
        until_routed(pinned, ANNOUNCED)?;
        let order = |pinned: &Pinned, order: &[&str]| pinned.lab.nodes[0].sluice(order);
        order(pinned, &["node", "drain", "--no-wait"])?;
        until_routed(pinned, DRAINING)?;
        let status = order(pinned, &["node", "status"])?;
        ensure!(status.contains("kernel table") && status.contains("0 announced, 2 draining"), "{status}");
        order(pinned, &["node", "undrain"])?;
        until_routed(pinned, ANNOUNCED)?;

        let mut monitor = Command::new("ip");
        monitor.args(["-o", "monitor", "route"]);
        let _monitor = pinned.lab.nodes[0].host.spawn(&mut monitor, "routes.log")?;
        pinned.terminate()?;
        until_routed(pinned, ANNOUNCED)?;
        pinned.start(&configuration)?;
        pinned.healthy()?;
        until_routed(pinned, ANNOUNCED)?;
        pinned.kill()?;
        pinned.start(&configuration)?;
        pinned.healthy()?;
        until_routed(pinned, ANNOUNCED)?;
        let changes = std::fs::read_to_string(pinned.lab.lease.directory().join("routes.log"))?;
        ensure!(!changes.contains("table 100"), "routes were touched: {changes}");

        let runtime = pinned.lab.nodes[0].runtime_directory()?;
        let runtime = runtime.to_string_lossy();
        let file = pinned.lab.nodes[0].configuration_file();
        let file = file.to_string_lossy();
        let words =
            pinned.sluice(&["stop", "--withdraw", "--config", &*file, "--runtime-directory", &*runtime])?;
        pinned.lab.nodes[0].controller = None;
        ensure!(words.contains("kernel table 100: no VIP has a route"), "{words}");
        ensure!(words.contains("the data plane has ended"), "{words}");
        let left = routes(pinned)?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    });
}
