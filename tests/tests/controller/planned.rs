//! `sluice plan` where a configuration file owns the state.

use std::net::IpAddr;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use lab::process::binary;
use lab::{Lab, configuration};
use serde_json::{Value, json};

use crate::{PATIENCE, alone, listener, play};

#[test]
fn a_plan_of_another_configuration_file_says_what_it_then_moves() {
    let Some(_alone) = alone() else { return };
    let mut lab = Lab::builder().targets(3).build().unwrap();
    let third: IpAddr = lab.targets[2].v4.into();
    let wanted = lab.configuration();
    let mut first = wanted.clone();
    configuration::remove_target(&mut first, third).unwrap();
    lab.start(&first).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    play(&mut lab, |lab| {
        let (code, plan) = sluice(lab, "plan", &["--json"], &wanted)?;
        ensure!(code == Some(2), "{plan}");
        let plan: Value = serde_json::from_str(&plan).context(plan)?;
        let moved = plan["effects"]["tables"][0]["moved"].as_u64();

        let (code, words) = sluice(lab, "apply", &["--yes"], &wanted)?;
        ensure!(code == Some(1) && words.contains("owns the load balancers and target groups"), "{words}");
        let (code, words) = sluice(lab, "plan", &[], &first)?;
        ensure!(code == Some(0) && words == "no difference\n", "{words}");

        // What moves is known before the third target is healthy.
        lab.nodes[0].write_configuration(&wanted)?;
        lab.wait_for_target(0, third, "healthy", PATIENCE)?;
        let report = lab.wait_for_all(0, "healthy", PATIENCE)?;
        let changing = listener(&report)?.changing_slots;
        ensure!(moved == Some(u64::from(changing)) && changing > 0, "{moved:?} were to move, {changing} do");

        let (code, words) = sluice(lab, "plan", &[], &first)?;
        ensure!(code == Some(2) && words.contains(&format!("web: {third} drains for")), "{words}");
        Ok(())
    });
}

/// Runs a command on a file with this content: how it ends, and what it says.
fn sluice(lab: &Lab, command: &str, options: &[&str], content: &Value) -> Result<(Option<i32>, String)> {
    let node = &lab.nodes[0];
    let file = node.host.lease().directory().join("new.json");
    let mut whole = content.clone();
    whole["node"]["name"] = json!(node.name);
    whole["node"]["interfaces"] = json!(node.interfaces);
    configuration::write(&file, &whole)?;
    let mut process = Command::new(binary("sluice")?);
    process.arg(command).args(options).arg(&file).arg("--runtime-directory").arg(node.runtime_directory()?);
    let Output { status, stdout, stderr } = node.host.enter(|| process.stdin(Stdio::null()).output())?;
    Ok((status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))))
}
