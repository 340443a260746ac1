//! boto3 and the aws CLI drive a node whose data plane follows the API: from the creation of a load balancer to the end
//! of its VIP, with a client's connections in between.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::{binary, output_of};
use lab::{Lab, VIP4, VIP6, wait};
use lb_userspace::status::report::OwnerReport;
use serde_json::{Value, json};

use crate::served::{asking, has_clients};

const CHAPTERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/balanced_chapters.py");
const URL: &str = "http://127.0.0.1:8440";
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// New connections that are enough to see who serves.
const SEEN: usize = 40;

#[test]
fn a_load_balancer_lives_by_the_api_alone() {
    if !has_clients() {
        return;
    }
    let mut lab = Lab::builder().targets(3).build().unwrap();
    let played = start(&mut lab).and_then(|()| story(&lab));
    played.map_err(|error| lab.with_evidence(error)).unwrap();
}

fn story(lab: &Lab) -> Result<()> {
    let report = lab.nodes[0].status()?;
    ensure!(matches!(&report.configuration.owner, OwnerReport::Api { url, .. } if url == URL), "{report:?}");
    let [t1, t2, t3] = [0, 1, 2].map(|at| lab.targets[at].v4.to_string());

    chapter(lab, &["create", &VIP4.to_string(), &VIP6.to_string(), &t1, &t2])?;
    until_served(lab, &["t1", "t2"], "not both targets serve")?;
    let mut kept = lab.connect(VIP4.into())?;
    let first = kept.get()?.target;

    let (gone, stays) = if first == "t1" { (&t1, "t2") } else { (&t2, "t1") };
    chapter(lab, &["deregister", gone, "leaves"])?;
    until_served(lab, &[stays], "a draining target gets new connections")?;
    ensure!(kept.get()?.target == first, "a draining target lost its connection");
    chapter(lab, &["deregister", gone, "is gone"])?;
    until_served(lab, &[stays], "a deregistered target serves")?;

    chapter(lab, &["weights", &t3, "0", "1"])?;
    until_served(lab, &["t3"], "the weights 0 and 1 are not in force")?;
    chapter(lab, &["weights", &t3, "1", "1"])?;
    until_served(lab, &[stays, "t3"], "the weights 1 and 1 are not in force")?;

    refuses_a_bad_file(lab)?;
    ensure!(who_serves(lab)? == names(&[stays, "t3"]), "a refused file changed something");

    let health = aws(
        lab,
        "elbv2 describe-target-groups --names green --query TargetGroups[0].TargetGroupArn --output text",
    )?;
    let health = aws(lab, &format!("elbv2 describe-target-health --target-group-arn {health}"))?;
    ensure!(health.contains("\"State\": \"healthy\""), "{health}");

    chapter(lab, &["delete"])?;
    wait::until("the VIPs to be nobody's", PATIENCE, || {
        let report = lab.nodes[0].status()?;
        ensure!(report.load_balancers.is_empty() && report.target_groups.is_empty(), "{report:?}");
        Ok(())
    })?;
    for vip in [VIP4.into(), VIP6.into()] {
        ensure!(lab.get(vip).is_err(), "{vip} still serves");
    }
    Ok(())
}

/// A bad inventory is refused, and the state stays as it is.
fn refuses_a_bad_file(lab: &Lab) -> Result<()> {
    let mut bad = configuration();
    bad["inventory"]["subnets"][0]["vpc"] = "nowhere".into();
    lab.nodes[0].write_configuration(&bad)?;
    lab.wait_for(0, "the refusal", PATIENCE, |report| {
        let words = report.configuration.rejected.as_deref().unwrap_or_default();
        ensure!(words.contains("there is no VPC \"nowhere\""), "refused with {words:?}");
        Ok(())
    })?;
    lab.nodes[0].write_configuration(&configuration())?;
    lab.wait_for(0, "the good file", PATIENCE, |report| {
        ensure!(report.configuration.rejected.is_none(), "{:?}", report.configuration.rejected);
        Ok(())
    })
    .map(drop)
}

/// Servers, agents, and a controller whose state the API owns.
pub(crate) fn start(lab: &mut Lab) -> Result<()> {
    lab.start_servers()?;
    lab.start_agents()?;
    lab.nodes[0].write_configuration(&configuration())?;
    start_controller(lab)
}

/// A controller by the configuration that is written, with the state where an earlier one kept it.
pub(crate) fn start_controller(lab: &mut Lab) -> Result<()> {
    let node = &mut lab.nodes[0];
    let mut command = Command::new(binary("sluice")?);
    command.args(["run", "--unpinned", "--config"]).arg(node.configuration_file());
    command.arg("--state-directory").arg(node.host.lease().directory().join("state"));
    command.arg("--runtime-directory").arg(node.runtime_directory()?);
    node.controller = Some(node.host.spawn(&mut command, "lb1.log")?);
    wait::until("the controller's first status", PATIENCE, || {
        let node = &mut lab.nodes[0];
        node.controller.as_mut().context("the controller was not started")?.check_running()?;
        node.status().map(drop)
    })
}

pub(crate) fn configuration() -> Value {
    json!({
        "node": { "zone": "a" },
        "api": { "encapsulation": "ipip" },
        "inventory": {
            "vpcs": [ { "id": "vpc-lab", "networks": ["10.203.0.0/24", "fd03::/64"] } ],
            "subnets": [ { "id": "subnet-lab", "vpc": "vpc-lab", "zone": "a", "nodes": ["lb1"],
                "networks": ["10.203.0.0/24"], "ipv4_pool": "10.200.1.0/24", "ipv6_pool": "fc00:1::/64" } ]
        }
    })
}

pub(crate) fn chapter(lab: &Lab, arguments: &[&str]) -> Result<String> {
    run(lab, "python", &[&[CHAPTERS, URL], arguments].concat())
}

pub(crate) fn aws(lab: &Lab, words: &str) -> Result<String> {
    run(lab, "aws", &words.split_whitespace().collect::<Vec<_>>())
}

/// Runs one of the clients' programs on the node, whose loopback the API is on.
fn run(lab: &Lab, program: &str, arguments: &[&str]) -> Result<String> {
    // Nobody is asked who it is.
    let mut command = asking(program, URL, "x")?;
    command.args(arguments);
    lab.nodes[0].host.enter(|| output_of(&mut command)).map_err(|error| lab.with_evidence(error))
}

/// The targets that new connections reach by either VIP.
fn who_serves(lab: &Lab) -> Result<BTreeSet<String>> {
    let vips: [IpAddr; 2] = [VIP4.into(), VIP6.into()];
    vips.iter().cycle().take(SEEN).map(|vip| Ok(lab.get(*vip)?.target)).collect()
}

/// Waits until just these do: the API has answered before the node has made its tables anew.
fn until_served(lab: &Lab, by: &[&str], otherwise: &str) -> Result<()> {
    wait::until("just these targets to serve", PATIENCE, || {
        let found = who_serves(lab)?;
        ensure!(found == names(by), "{otherwise}: {found:?} instead of {by:?}");
        Ok(())
    })
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
