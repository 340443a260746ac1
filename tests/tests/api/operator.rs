//! An operator on the node orders what no client of the API can: targets are drained and weighed, and clients are told.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use lab::{Lab, VIP4, VIP6};
use serde_json::Value;

use crate::balanced::{PATIENCE, aws, chapter, start};
use crate::served::has_clients;

#[test]
fn an_operator_drains_and_weighs_targets_of_the_api() {
    if !has_clients() {
        return;
    }
    let mut lab = Lab::builder().targets(2).build().unwrap();
    let played = start(&mut lab).and_then(|()| story(&lab));
    played.map_err(|error| lab.with_evidence(error)).unwrap();
}

fn story(lab: &Lab) -> Result<()> {
    let [first, second] = [0, 1].map(|at| lab.targets[at].v4.to_string());
    chapter(lab, &["create", &VIP4.to_string(), &VIP6.to_string(), &first, &second])?;
    let even = wait_for_slots(lab, "both to have slots", |slots| slots.values().all(|slots| *slots > 0))?;
    let all: u64 = even.values().sum();
    let mut kept = connection_to(lab, "t1")?;

    let said = lab.nodes[0].sluice(&["target", "drain", "web", &first])?;
    ensure!(said.contains("drained") && !said.contains("as before"), "{said}");
    wait_for_slots(lab, "the drained one to have none", |slots| slots[&first] == 0 && slots[&second] == all)?;
    ensure!(kept.get()?.target == "t1", "a drained target lost its connection");
    for _ in 0..20 {
        ensure!(lab.get(VIP4.into())?.target == "t2", "a drained target gets new connections");
    }
    let health = health_of(lab, &first)?;
    ensure!(health["State"] == "draining", "{health}");
    ensure!(health["Description"].as_str().is_some_and(|text| text.contains("operator")), "{health}");
    let shown = shown(lab, &first)?;
    ensure!(shown["state"] == "draining" && shown["operator"]["drained"] == true, "{shown}");

    lab.nodes[0].sluice(&["target", "enable", "web", &first])?;
    wait_for_slots(lab, "the slots that there were", |slots| *slots == even)?;
    ensure!(health_of(lab, &first)?["State"] == "healthy");
    lab.nodes[0].sluice(&["target", "weight", "web", &first, "3"])?;
    wait_for_slots(lab, "three quarters", |slots| slots[&first].abs_diff(3 * all / 4) <= all / 100)?;
    ensure!(kept.get()?.target == "t1", "a change of weights lost a connection");

    let words = lab.nodes[0].sluice(&["events", "--target", &first])?;
    ensure!(
        words.contains("drained: it gets no new flows (by operator (uid 0): sluice target drain)"),
        "{words}"
    );
    ensure!(words.contains("weight 3 (by operator (uid 0)"), "{words}");
    ensure!(words.contains("registered on port 80 (by API caller anybody at 127.0.0.1:"), "{words}");
    let refused = lab.nodes[0].sluice(&["target", "drain", "web", "10.203.0.99"]);
    let words = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(words.contains("There is no registered target '10.203.0.99'"), "{words}");
    Ok(())
}

/// A connection that the target `name` has.
fn connection_to(lab: &Lab, name: &str) -> Result<lab::http::Connection> {
    for _ in 0..100 {
        let mut connection = lab.connect(VIP4.into())?;
        if connection.get()?.target == name {
            return Ok(connection);
        }
    }
    anyhow::bail!("none of 100 connections reached {name}")
}

/// The slots of each target, by its address.
fn wait_for_slots(
    lab: &Lab,
    what: &str,
    wanted: impl Fn(&BTreeMap<String, u64>) -> bool,
) -> Result<BTreeMap<String, u64>> {
    let slots = |report: &lb_userspace::status::report::Report| -> BTreeMap<String, u64> {
        let targets = report.target_groups.values().flat_map(|group| &group.targets);
        targets.map(|target| (target.id.to_string(), target.slots.into())).collect()
    };
    let report = lab.wait_for(0, what, PATIENCE, |report| {
        let slots = slots(report);
        ensure!(slots.len() == 2 && wanted(&slots), "the slots are {slots:?}");
        Ok(())
    })?;
    Ok(slots(&report))
}

fn shown(lab: &Lab, address: &str) -> Result<Value> {
    let said = lab.nodes[0].sluice(&["target", "show", "web", address, "--json"])?;
    serde_json::from_str(&said).context(said)
}

fn health_of(lab: &Lab, address: &str) -> Result<Value> {
    let query = "--query TargetGroups[0].TargetGroupArn --output text";
    let group = aws(lab, &format!("elbv2 describe-target-groups --names web {query}"))?;
    let told = aws(
        lab,
        &format!(
            "elbv2 describe-target-health --target-group-arn {group} --targets Id={address} --output json"
        ),
    )?;
    let told: Value = serde_json::from_str(&told).context(told)?;
    Ok(told["TargetHealthDescriptions"][0]["TargetHealth"].clone())
}
