//! `sluice plan` and `sluice apply` from outside: what they say, what then happens, and what they refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::binary;
use lab::{Host, Lab, Lease, VIP4};
use serde_json::{Value, json};

use crate::balanced;
use crate::served::Served;

const PATIENCE: Duration = Duration::from_secs(60);

/// What `sluice plan` exits with.
const SAME: i32 = 0;
const REFUSED: i32 = 1;
const DIFFERENT: i32 = 2;

/// `sluice` on a host, with a runtime directory and a place for documents.
struct Sluice<'a> {
    host: &'a Host,
    runtime: PathBuf,
    document: PathBuf,
}

impl Sluice<'_> {
    fn write(&self, document: &Value) -> Result<()> {
        fs::write(&self.document, document.to_string()).context("writing a document")
    }

    /// Runs a command on the document; what it says, if it ends with `code`.
    fn run(&self, command: &str, options: &[&str], code: i32) -> Result<String> {
        let mut process = Command::new(binary("sluice")?);
        process.arg(command).args(options);
        if !options.contains(&"--current") {
            process.arg(&self.document);
        }
        process.arg("--runtime-directory").arg(&self.runtime).stdin(Stdio::null());
        let Output { status, stdout, stderr } = self.host.enter(|| process.output())?;
        let words = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        ensure!(status.code() == Some(code), "sluice {command} {options:?} ended with {status}: {words}");
        Ok(words)
    }

    fn json(&self, command: &str, options: &[&str], code: i32) -> Result<Value> {
        let words = self.run(command, &[&["--json"], options].concat(), code)?;
        serde_json::from_str(&words).with_context(|| words)
    }
}

#[test]
fn as_many_slots_move_as_the_plan_said() {
    if !lab::require_root() {
        return;
    }
    let mut lab = Lab::builder().targets(3).build().unwrap();
    let played = balanced::start(&mut lab).and_then(|()| moves(&lab));
    played.map_err(|error| lab.with_evidence(error)).unwrap();
}

fn moves(lab: &Lab) -> Result<()> {
    let node = &lab.nodes[0];
    let document = node.host.lease().directory().join("web.json");
    let sluice = Sluice { host: &node.host, runtime: node.runtime_directory()?, document };
    let addresses = [0, 1, 2].map(|at| lab.targets[at].v4.to_string());
    sluice.write(&web(&addresses))?;
    let plan = sluice.json("plan", &[], DIFFERENT)?;
    ensure!(plan["effects"]["vips_given"][0]["vip"] == json!(VIP4), "{plan}");
    sluice.run("apply", &["--yes"], SAME)?;
    let before = lab.wait_for_all(0, "healthy", PATIENCE)?;
    lab.get(VIP4.into())?;
    sluice.run("plan", &["--delete"], SAME)?;

    // A target leaves: just its slots move.
    let first = lab.targets[0].v4.into();
    let slots = lab::sluice::targets_of(&before, first).first().context("the status has the target")?.slots;
    sluice.write(&web(&addresses[1..]))?;
    let plan = sluice.json("plan", &[], DIFFERENT)?;
    ensure!(slots > 0 && table(&plan)? == slots, "it has {slots} slots: {plan}");
    let leaving = json!({ "target_group": "web", "address": addresses[0], "drains_seconds": 300 });
    ensure!(plan["effects"]["leaving"] == json!([leaving]), "{plan}");
    let words = sluice.run("plan", &[], DIFFERENT)?;
    ensure!(words.contains(&format!("web: {} drains for 300 s", addresses[0])), "{words}");
    sluice.run("apply", &["--yes"], SAME)?;
    let after = lab.wait_for_target(0, first, "draining", PATIENCE)?;
    let left = lab::sluice::targets_of(&after, first).first().context("the status has the target")?.slots;
    ensure!(left == 0, "{left} slots are still its own");
    sluice.run("plan", &[], SAME).map(drop)
}

/// How many slots a plan wants to move.
fn table(plan: &Value) -> Result<u32> {
    let table = &plan["effects"]["tables"][0];
    let moved = table["moved"].as_u64().with_context(|| plan.to_string())?;
    u32::try_from(moved).context("so many slots has no table")
}

fn web(targets: &[String]) -> Value {
    let targets: Vec<Value> = targets.iter().map(|id| json!({ "id": id })).collect();
    json!({
        "load_balancers": [ {
            "name": "web", "scheme": "internal",
            "subnet_mappings": [ { "subnet_id": "subnet-lab", "private_ipv4_address": VIP4 } ],
            "listeners": [ { "protocol": "TCP", "port": 80, "forward": "web" } ]
        } ],
        "target_groups": [ {
            "name": "web", "protocol": "TCP", "port": 80, "target_type": "ip",
            "health_check": { "protocol": "HTTP", "path": "/healthz", "interval_seconds": 5, "timeout_seconds": 2,
                "healthy_threshold_count": 2 },
            "targets": targets
        } ]
    })
}

#[test]
fn without_a_data_plane_plans_are_made_and_applied_too() {
    if !lab::require_root() {
        return;
    }
    let lease = Lease::take().unwrap();
    let runtime = lease.directory().join("local");
    let audit = lease.directory().join("audit.log");
    let inventory: Value = serde_json::from_str(lb_userspace::api::inventory::SAMPLE).unwrap();
    let file = lease.directory().join("api.json");
    let api = json!({ "audit_log": { "file": audit } });
    fs::write(&file, json!({ "api": api, "inventory": inventory }).to_string()).unwrap();
    let local = runtime.display().to_string();
    let served =
        Served::start(&lease, &["--config", &file.display().to_string(), "--local-socket", &local]).unwrap();
    let document = lease.directory().join("web.json");
    let sluice = Sluice { host: &served.host, runtime, document };
    if let Err(error) = alone(&sluice, &audit) {
        panic!("{error:#}\n{}", served.process.log());
    }
}

fn alone(sluice: &Sluice, audit: &Path) -> Result<()> {
    let mut wanted = json!({
        "load_balancers": [ { "name": "web", "subnets": ["subnet-a"],
            "listeners": [ { "protocol": "TCP", "port": 80, "forward": "web" } ] } ],
        "target_groups": [ { "name": "web", "protocol": "TCP", "port": 80, "vpc_id": "vpc-1", "target_type": "ip",
            "targets": [ { "id": "10.0.1.1" }, { "id": "10.0.1.2" } ] } ]
    });
    sluice.write(&wanted)?;
    let words = sluice.run("plan", &[], DIFFERENT)?;
    ensure!(words.contains("load balancer web: is made"), "{words}");
    ensure!(words.contains("web: gets the VIP 10.200.1.1"), "{words}");
    let words = sluice.run("apply", &[], REFUSED)?;
    ensure!(words.contains("say --yes"), "{words}");
    sluice.run("plan", &[], DIFFERENT)?;
    let done = sluice.json("apply", &["--yes"], SAME)?;
    ensure!(done["applied"] == json!(true), "{done}");
    ensure!(sluice.run("plan", &["--delete"], SAME)? == "no difference\n");

    let line = fs::read_to_string(audit).context("reading the audit log")?;
    let line: Value = serde_json::from_str(line.lines().last().context("the audit log has a line")?)?;
    ensure!(line["operation"] == json!("sluice apply") && line["result"] == json!("done"), "{line}");
    ensure!(line["user_id"] == json!(rustix::process::getuid().as_raw()), "{line}");

    let current = sluice.run("plan", &["--current"], SAME)?;
    sluice.write(&serde_json::from_str(&current).with_context(|| current)?)?;
    ensure!(sluice.run("plan", &["--delete"], SAME)? == "no difference\n");

    wanted["target_groups"][0]["targets"] = json!([ { "id": "10.0.1.1" } ]);
    sluice.write(&wanted)?;
    let words = sluice.run("plan", &[], DIFFERENT)?;
    ensure!(words.contains("of slots change target") && words.contains("no data plane"), "{words}");
    wanted["target_groups"][0]["protocl"] = json!("TCP");
    sluice.write(&wanted)?;
    let words = sluice.run("plan", &[], REFUSED)?;
    ensure!(words.contains("target_groups[0].protocl: unknown field; did you mean \"protocol\"?"), "{words}");
    sluice.write(&json!({}))?;
    let words = sluice.run("plan", &[], SAME)?;
    ensure!(words.contains("load balancer web: stays; the document does not name it"), "{words}");
    sluice.run("apply", &["--yes", "--delete"], SAME)?;
    ensure!(sluice.run("plan", &["--delete"], SAME)? == "no difference\n");
    sluice.run("plan", &["--no-such-option"], REFUSED).map(drop)
}
