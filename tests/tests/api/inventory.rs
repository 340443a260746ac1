//! A node whose inventory an EC2-compatible endpoint tells (moto, which checks signatures and permissions): what changes
//! there reaches the data plane, and what goes wrong there does not.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::{Process, output_of};
use lab::{Lab, VIP4, wait};
use lb_userspace::status::report::{InventoryReport, OwnerReport};
use serde_json::{Value, json};

use crate::balanced::start_controller;
use crate::served::{client, has_clients};

const CHAPTERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/inventory_chapters.py");
const API: &str = "http://127.0.0.1:8440";
const ENDPOINT: &str = "http://127.0.0.1:5000";
const PATIENCE: Duration = Duration::from_secs(60);

/// New connections that are enough to see who serves.
const SEEN: usize = 20;

#[test]
fn instances_and_security_groups_come_from_an_ec2_endpoint() {
    if !has_clients() {
        return;
    }
    let mut lab = Lab::builder().targets(2).build().unwrap();
    let played = story(&mut lab);
    played.map_err(|error| lab.with_evidence(error)).unwrap();
}

fn story(lab: &mut Lab) -> Result<()> {
    lab.start_servers()?;
    lab.start_agents()?;
    let mut endpoint = start_endpoint(lab)?;
    let addresses = [0, 1].map(|at| lab.targets[at].v4.to_string());
    let told = chapter(lab, None, &["network", &addresses[0], &addresses[1]])?;
    let told: Value = serde_json::from_str(&told).context("what the endpoint's network is")?;
    let [subnet, vpc, group] = ["subnet", "vpc", "group"].map(|part| told[part].as_str().unwrap_or_default());
    let [first, second] = [0, 1].map(|at| told["instances"][at].as_str().unwrap_or_default());
    write_files(lab, subnet, &told["reader"])?;
    start_controller(lab)?;

    chapter(lab, None, &["serve", API, subnet, vpc, group, &VIP4.to_string(), first, second])?;
    ensure!(who_serves(lab)? == names(&["t1", "t2"]), "not both instances serve");

    let owner = Some(&told["owner"]);
    chapter(lab, owner, &["stop", second])?;
    wait::until("the stopped instance to get no flows", PATIENCE, || serve(lab, &["t1"]))?;
    chapter(lab, owner, &["start", second])?;
    wait::until("the instance to serve again", PATIENCE, || serve(lab, &["t1", "t2"]))?;

    chapter(lab, owner, &["close", group])?;
    wait::until("the security group to let nobody in", PATIENCE, || {
        ensure!(lab.get(VIP4.into()).is_err(), "it serves");
        Ok(())
    })?;
    chapter(lab, owner, &["open", group])?;
    wait::until("the security group to let everybody in", PATIENCE, || serve(lab, &["t1", "t2"]))?;

    endpoint.kill();
    not_refreshed(lab, "connecting")?;
    serve(lab, &["t1", "t2"])?;
    restart_controller(lab)?;
    not_refreshed(lab, "connecting")?;
    serve(lab, &["t1", "t2"])?;

    // It comes back and knows nothing of this network, nor of the key.
    let _other = start_endpoint(lab)?;
    not_refreshed(lab, "knows none of the subnets")?;
    serve(lab, &["t1", "t2"])
}

/// What is wrong is told, and what was known stays.
fn not_refreshed(lab: &Lab, why: &str) -> Result<()> {
    lab.wait_for(0, "what is wrong at the endpoint", PATIENCE, |report| {
        let OwnerReport::Api { inventory: Some(InventoryReport { problem: Some(problem), .. }), .. } =
            &report.configuration.owner
        else {
            anyhow::bail!("{:?}", report.configuration.owner);
        };
        ensure!(problem.contains(why), "{problem}");
        Ok(())
    })
    .map(drop)
}

fn start_endpoint(lab: &Lab) -> Result<Process> {
    let mut command = Command::new(client("python")?);
    command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "5000"]);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let host = &lab.nodes[0].host;
    let mut endpoint = host.spawn(&mut command, "moto.log")?;
    wait::until("the endpoint", PATIENCE, || {
        endpoint.check_running()?;
        host.enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 5000))).context("connecting to moto").map(drop)
    })?;
    Ok(endpoint)
}

/// The configuration, and the key that may only read.
fn write_files(lab: &Lab, subnet: &str, key: &Value) -> Result<()> {
    let node = &lab.nodes[0];
    let credentials = node.host.lease().directory().join("ec2.json");
    fs::write(&credentials, key.to_string())?;
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600))?;
    node.write_configuration(&json!({
        "node": { "zone": "us-east-1a" },
        "api": { "encapsulation": "ipip" },
        "inventory": { "ec2": {
            "endpoint": ENDPOINT, "region": "us-east-1", "credentials": credentials,
            "refresh_seconds": 5, "page_size": 5,
            "subnets": [ { "id": subnet, "nodes": ["lb1"], "ipv4_pool": "10.200.1.0/24" } ]
        } }
    }))
}

fn restart_controller(lab: &mut Lab) -> Result<()> {
    let controller = lab.nodes[0].controller.take();
    controller.context("the controller was not started")?.stop()?;
    start_controller(lab)?;
    wait::until("the targets to serve after a restart", PATIENCE, || serve(lab, &["t1", "t2"]))
}

/// Plays a chapter on the node, with a key.
fn chapter(lab: &Lab, key: Option<&Value>, arguments: &[&str]) -> Result<String> {
    let part = |name: &str| key.and_then(|key| key[name].as_str()).unwrap_or("x").to_owned();
    let mut command = Command::new(client("python")?);
    command
        .args([&[CHAPTERS, ENDPOINT], arguments].concat())
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", part("access_key_id"))
        .env("AWS_SECRET_ACCESS_KEY", part("secret_access_key"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    lab.nodes[0].host.enter(|| output_of(&mut command))
}

fn serve(lab: &Lab, expected: &[&str]) -> Result<()> {
    let serving = who_serves(lab)?;
    ensure!(serving == names(expected), "{serving:?} serve instead of {expected:?}");
    Ok(())
}

/// The targets that new connections reach.
fn who_serves(lab: &Lab) -> Result<BTreeSet<String>> {
    (0..SEEN).map(|_| Ok(lab.get(VIP4.into())?.target)).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
