//! What the command line says of a running controller, from outside.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::process::binary;
use lab::{Lab, configuration, wait};
use serde_json::{Value, json};

use crate::{PATIENCE, alone, healthy, play};

#[test]
fn parts_of_the_report_are_listed_and_shown_by_name() {
    let Some(_alone) = alone() else { return };
    play(&mut healthy(2), |lab| {
        let address = lab.targets[0].v4.to_string();
        for (arguments, wanted) in [
            (&["lb", "ls"][..], "80/tcp"),
            (&["load-balancer", "show", "web"], "10.200.1.1"),
            (&["listener", "ls", "web"], "80/tcp"),
            (&["listener", "show", "web", "80"], "exceptions"),
            (&["target-group", "ls"], "2/2"),
            (&["tg", "show", "web"], "flows kept by"),
            (&["target", "ls"], "healthy"),
            (&["target", "show", "web", &address], "next hop"),
            (&["top", "--once", "--interval", "0.2"], "2 of 2 targets healthy"),
        ] {
            let said = lab.nodes[0].sluice(arguments)?;
            ensure!(said.contains(wanted) && !said.contains('\x1b'), "{arguments:?}: {said}");
        }
        let target = json_of(lab, &["target", "show", "web", &address])?;
        ensure!(target["target_group"] == "web" && target["id"] == address.as_str(), "{target}");
        let targets = json_of(lab, &["target", "ls"])?;
        ensure!(targets[0]["id"] == target["id"] && targets[0]["state"] == "healthy", "{targets}");
        let said = refused(lab, &["lb", "show", "wbe"])?;
        ensure!(said.contains("there is no load balancer \"wbe\": did you mean \"web\"?"), "{said}");
        Ok(())
    });
}

#[test]
fn events_say_what_changed_by_whom_and_why() {
    let Some(_alone) = alone() else { return };
    play(&mut healthy(2), |lab| {
        let [first, second] = [0, 1].map(|at| lab.targets[at].v4.to_string());
        lab.target("t1")?.stop_server();
        let event = wait_for_event(lab, "health", &first, "healthy → unhealthy")?;
        ensure!(event["who"] == "health check" && event["target_group"] == "web", "{event}");
        ensure!(event["why"].as_str().is_some_and(|why| why.contains("Target.")), "{event}");

        let mut file = lab.configuration();
        configuration::targets_of(&mut file, 0)?[1]["weight"] = json!(5);
        lab.nodes[0].write_configuration(&file)?;
        let event = wait_for_event(lab, "configuration", &second, "weight 1 → 5")?;
        let name = lab.nodes[0].configuration_file().display().to_string();
        ensure!(event["who"] == name.as_str(), "{event}");

        std::fs::write(lab.nodes[0].configuration_file(), "{")?;
        wait_for_event(lab, "configuration", "", "configuration refused, the earlier one stays")?;
        let all = events(lab, &[])?;
        let numbers: Vec<u64> = all.iter().filter_map(|event| event["sequence"].as_u64()).collect();
        ensure!(numbers == (1..=all.len() as u64).collect::<Vec<_>>(), "{numbers:?}");
        let only = events(lab, &["--target", &format!("web/{second}")])?;
        ensure!(only.len() < all.len() && only.iter().all(|event| event["target"] == second.as_str()));
        let text = lab.nodes[0].sluice(&["events", "-n", "1"])?;
        ensure!(text.lines().count() == 1 && text.contains("configuration refused"), "{text}");
        follow_ends_with_its_reader(lab)
    });
}

#[test]
fn where_a_file_is_the_owner_it_is_named_and_nothing_is_drained() {
    let Some(_alone) = alone() else { return };
    play(&mut healthy(2), |lab| {
        let address = lab.targets[0].v4.to_string();
        let said = refused(lab, &["target", "drain", "web", &address])?;
        let file = lab.nodes[0].configuration_file().display().to_string();
        ensure!(said.contains(&file) && said.contains("set \"weight\": 0"), "{said}");
        let target = json_of(lab, &["target", "show", "web", &address])?;
        ensure!(target["state"] == "healthy" && target["weight"] == 1, "{target}");
        Ok(())
    });
}

#[test]
fn the_live_picture_leaves_the_terminal_as_it_was() {
    let Some(_alone) = alone() else { return };
    play(&mut healthy(1), |lab| {
        for key in ["q", "\x03"] {
            let said = on_a_terminal(lab, key)?;
            let (picture, after) = said.split_once("\x1b[?1049l").with_context(|| said.clone())?;
            ensure!(picture.contains("\x1b[?1049h") && picture.contains("packets/s"), "{said:?}");
            let words: Vec<&str> = after.split_whitespace().collect();
            ensure!(words.contains(&"icanon") && words.contains(&"echo"), "{after:?}");
        }
        Ok(())
    });
}

/// What `sluice top` and then `stty -a` write to a terminal of 80×24 on which somebody presses `key`.
fn on_a_terminal(lab: &Lab, key: &str) -> Result<String> {
    let node = &lab.nodes[0];
    let (sluice, directory) = (binary("sluice")?, node.runtime_directory()?);
    let top = format!("'{}' top --runtime-directory '{}'", sluice.display(), directory.display());
    let mut command = Command::new("timeout");
    let limit = PATIENCE.as_secs().to_string();
    command.args([&limit, "script", "-qec", &format!("stty rows 24 cols 80; {top}; stty -a"), "/dev/null"]);
    command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = node.host.enter(|| command.spawn())?;
    let mut output = terminal.stdout.take().context("it is piped")?;
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&said).contains("healthy") {
        let length = output.read(&mut piece)?;
        ensure!(length > 0, "it ended with {:?}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&piece[..length]);
    }
    terminal.stdin.as_mut().context("it is piped")?.write_all(key.as_bytes())?;
    output.read_to_end(&mut said)?;
    ensure!(terminal.wait()?.success(), "{:?}", String::from_utf8_lossy(&said));
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Once nobody reads any more, the next event is the last that is written.
fn follow_ends_with_its_reader(lab: &Lab) -> Result<()> {
    let node = &lab.nodes[0];
    let mut command = Command::new(binary("sluice")?);
    command.args(["events", "--follow", "--json", "--runtime-directory"]).arg(node.runtime_directory()?);
    let mut following = node.host.enter(|| command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn())?;
    drop(following.stdout.take());
    node.write_configuration(&lab.configuration())?;
    let ended = wait::until("the end of `sluice events --follow`", PATIENCE, || {
        following.try_wait()?.context("it still runs")
    });
    if ended.is_err() {
        following.kill()?;
    }
    let status = ended?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn json_of(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    let said = lab.nodes[0].sluice(&[arguments, &["--json"]].concat())?;
    serde_json::from_str(&said).with_context(|| format!("{arguments:?} printed {said}"))
}

fn refused(lab: &Lab, arguments: &[&str]) -> Result<String> {
    match lab.nodes[0].sluice(arguments) {
        Ok(said) => anyhow::bail!("{arguments:?} did not fail: {said}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

fn events(lab: &Lab, arguments: &[&str]) -> Result<Vec<Value>> {
    let said = lab.nodes[0].sluice(&[&["events", "--json"], arguments].concat())?;
    said.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// The event of that kind about that target (or about none) with these words.
fn wait_for_event(lab: &Lab, kind: &str, target: &str, what: &str) -> Result<Value> {
    wait::until(&format!("an event {what:?}"), PATIENCE, || {
        let all = events(lab, &[])?;
        let is_it = |event: &&Value| {
            event["kind"] == kind && event["what"] == what && event["target"].as_str().unwrap_or("") == target
        };
        all.iter().find(is_it).cloned().with_context(|| format!("there are {all:?}"))
    })
}
