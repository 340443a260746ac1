//! Flow logs: one line when a flow begins, one when it ends, of the load balancers that want one; and nobody is disturbed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::{binary, output_of};
use lab::traffic::Traffic;
use lab::{Lab, VIP4, VIP6, flow_log, wait};
use lb_userspace::explain::packet_file;
use serde_json::{Value, json};

use crate::held::Held;
use crate::{PATIENCE, alone, play};

/// Connections of which each must have its two lines.
const CONNECTIONS: usize = 40;

/// A node that keeps flow logs, and nobody's flows in them; also its configuration.
fn lab() -> (Lab, Value) {
    let mut lab = Lab::builder().targets(2).build().unwrap();
    let configuration = flow_log::configuration(&lab);
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    (lab, configuration)
}

/// Applies a change of the configuration, and waits for it.
fn change(lab: &Lab, configuration: &Value) -> Result<()> {
    let before = lab.nodes[0].status()?.configuration.generation;
    lab.nodes[0].write_configuration(configuration)?;
    lab.wait_for(0, "the change", PATIENCE, |report| {
        ensure!(report.configuration.rejected.is_none(), "{:?}", report.configuration.rejected);
        ensure!(report.configuration.generation > before, "not yet");
        Ok(())
    })
    .map(drop)
}

/// Waits until the log of `web` has this many flows that have begun and ended.
fn wait_for_flows(lab: &Lab, place: &str, count: usize) -> Result<Vec<Value>> {
    let directory = flow_log::directory(lab).join(place);
    wait::until("the flows' lines", PATIENCE, || {
        let lines = flow_log::lines(&directory)?;
        let flows = flow_log::flows(&lines)?;
        let whole = flows.values().filter(|flow| (flow.began, flow.ended) == (1, 1)).count();
        ensure!(
            whole == count && flows.len() == count,
            "{whole} of {} flows are whole, not {count}",
            flows.len()
        );
        Ok(lines)
    })
}

#[test]
fn each_connection_has_a_line_when_it_begins_and_one_when_it_ends_where_that_is_wanted() {
    let Some(_alone) = alone() else { return };
    let (mut lab, mut configuration) = lab();
    play(&mut lab, |lab| {
        (0..10).try_for_each(|_| lab.get(VIP4.into()).map(drop))?;
        ensure!(!flow_log::directory(lab).join("b").exists(), "nobody wanted a log");
        configuration["load_balancers"][0]["flow_log"] = json!({ "bucket": "b", "prefix": "p/q" });
        change(lab, &configuration)?;
        for _ in 0..CONNECTIONS {
            lab.get(VIP4.into())?;
            lab.get(VIP6.into())?;
        }
        let lines = wait_for_flows(lab, "b/p/q/web", CONNECTIONS)?;
        let all = flow_log::lines(&flow_log::directory(lab))?;
        ensure!(all.len() == lines.len(), "somebody else's flows are in a log: {all:?}");
        expect_fields(lab, &lines)?;
        expect_modes(lab)?;
        // Lines are counted after they are written.
        let log = wait::until("the count of lines", PATIENCE, || {
            let log = lab.nodes[0].status()?.flow_log.context("the status tells of the log")?;
            ensure!(log.lines == 2 * CONNECTIONS as u64, "{log:?}");
            Ok(log)
        })?;
        ensure!((log.lost_records, log.lost_lines) == (0, 0), "{log:?}");

        configuration["load_balancers"][0]["flow_log"] = false.into();
        change(lab, &configuration)?;
        (0..10).try_for_each(|_| lab.get(VIP4.into()).map(drop))?;
        std::thread::sleep(Duration::from_millis(200));
        ensure!(flow_log::lines(&flow_log::directory(lab))?.len() == lines.len(), "it is off");
        Ok(())
    });
}

fn expect_fields(lab: &Lab, lines: &[Value]) -> Result<()> {
    let targets: BTreeSet<String> = lab.targets.iter().map(|target| target.v4.to_string()).collect();
    let mut met = BTreeSet::new();
    for line in lines {
        let expected = [
            ("node", json!(lab.nodes[0].name)),
            ("load_balancer", json!("web")),
            ("listener", json!("80/TCP")),
            ("protocol", json!("tcp")),
            ("vip", json!(format!("{VIP4}:80"))),
            ("target_group", json!("web")),
            ("sample", json!(1.0)),
        ];
        for (name, value) in expected {
            ensure!(line[name] == value, "{name} is not {value}: {line}");
        }
        let why = line["why"].as_str().unwrap_or_default();
        let is_right = if line["event"] == "new" { why == "syn" } else { ["fin", "rst"].contains(&why) };
        let time = line["time"].as_str().unwrap_or_default();
        ensure!(is_right && time.len() == 24 && time.ends_with('Z'), "{line}");
        met.insert(line["target"].as_str().unwrap_or_default().to_owned());
    }
    ensure!(met == targets, "the log names {met:?}, the targets are {targets:?}");
    Ok(())
}

fn expect_modes(lab: &Lab) -> Result<()> {
    let directory = flow_log::directory(lab).join("b/p/q/web");
    for entry in fs::read_dir(&directory)? {
        let mode = entry?.metadata()?.permissions().mode() & 0o777;
        ensure!(mode == 0o640, "a file's mode is {mode:o}");
    }
    Ok(())
}

#[test]
fn a_log_that_goes_on_and_off_disturbs_neither_connections_nor_a_capture() {
    let Some(_alone) = alone() else { return };
    let (mut lab, mut configuration) = lab();
    play(&mut lab, |lab| {
        let mut held = Held::open(lab, 20)?;
        let traffic = Traffic::start(lab, Duration::from_millis(2))?;
        for round in 0..6 {
            let place = if round % 2 == 0 { json!({ "prefix": "changing" }) } else { false.into() };
            configuration["load_balancers"][0]["flow_log"] = place;
            change(lab, &configuration)?;
            held.expect_alive()?;
        }
        configuration["load_balancers"][0]["flow_log"] = true.into();
        change(lab, &configuration)?;
        let packets = packet_file::parse(&capture(lab)?)?.len();
        ensure!(packets > 50, "{packets} packets were captured");
        let tally = traffic.stop();
        ensure!(tally.failed == 0 && tally.requests() > 0, "{tally}");
        held.expect_alive()?;
        let flows = flow_log::flows(&flow_log::lines(&flow_log::directory(lab).join("web"))?)?;
        ensure!(flows.len() > 20, "{} flows were logged during the capture", flows.len());
        for flow in flow_log::flows(&flow_log::lines(&flow_log::directory(lab))?)?.values() {
            ensure!(flow.began <= 1 && flow.ended <= 1, "said twice: {flow:?}");
        }
        Ok(())
    });
}

fn capture(lab: &Lab) -> Result<Vec<u8>> {
    let node = &lab.nodes[0];
    let file = node.host.lease().directory().join("flows.pcapng");
    let mut command = Command::new(binary("sluice")?);
    command.args(["capture", "--seconds", "1", "-w"]).arg(&file);
    command.arg("--runtime-directory").arg(node.runtime_directory()?);
    node.host.enter(|| output_of(&mut command))?;
    fs::read(&file).with_context(|| file.display().to_string())
}
