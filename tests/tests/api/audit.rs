//! The audit log of the installed binary: its lines, and what happens when its disk is full.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::{Process, binary};
use lab::{Host, Lease, wait};
use serde_json::{Value, json};

use crate::served::START;

/// An API whose log is on a small disk of its own, which this process reaches through `/proc`.
struct Audited {
    host: Host,
    process: Process,
    disk: PathBuf,
}

impl Audited {
    fn start(sync: &str) -> Result<Audited> {
        let lease = Lease::take()?;
        let inside = lease.directory().join("disk");
        fs::create_dir(&inside)?;
        let audit_log = json!({ "file": inside.join("audit.log"), "sync": sync });
        let inventory: Value = serde_json::from_str(lb_userspace::api::inventory::SAMPLE)?;
        let file = lease.directory().join("api.json");
        fs::write(&file, json!({ "api": { "audit_log": audit_log }, "inventory": inventory }).to_string())?;
        let host = Host::new(&lease, "api")?;
        // A mount namespace, so that the disk goes with the process.
        let script = "mount -t tmpfs -o size=512k,mode=0700 audit \"$1\" && exec \"$2\" run --api-only --ephemeral --config \"$3\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).args([&inside, &binary("sluice")?, &file]);
        let mut process = host.spawn(&mut command, "api.log")?;
        wait::until("the API", START, || {
            process.check_running()?;
            connect(&host)
        })?;
        let root = PathBuf::from(format!("/proc/{}/root", process.id()));
        Ok(Audited { host, disk: root.join(inside.strip_prefix("/")?), process })
    }

    /// The status and the body of the answer.
    fn ask(&self, request: &str) -> Result<(u16, String)> {
        let body = format!("Version=2015-12-01&Action={request}");
        let mut stream = connect(&self.host)?;
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.with_context(|| format!("no answer to {request}: {answer:?}"))?, answer))
    }

    fn create(&self, name: &str) -> Result<(u16, String)> {
        self.ask(&format!("CreateTargetGroup&Name={name}&Protocol=TCP&Port=80&VpcId=vpc-1&TargetType=ip"))
    }

    fn lines(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.disk.join("audit.log")).context("reading the audit log")?;
        text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// Writes to the disk until nothing fits.
    fn fill(&self) -> Result<()> {
        let mut filler = fs::File::create(self.disk.join("filler"))?;
        while filler.write_all(&[0; 512]).is_ok() {}
        Ok(())
    }

    /// Makes room again.
    fn empty(&self) -> Result<()> {
        fs::remove_file(self.disk.join("filler")).context("removing the filler")
    }
}

fn connect(host: &Host) -> Result<TcpStream> {
    host.enter(|| TcpStream::connect(lb_userspace::api::configuration::DEFAULT_ADDRESS))
        .context("connecting to the API")
}

#[test]
fn with_sync_always_a_full_disk_refuses_changes_until_there_is_room() -> Result<()> {
    if !lab::require_root() {
        return Ok(());
    }
    let api = Audited::start("always")?;
    ensure!(api.create("before")?.0 == 200, "{}", api.process.log());
    api.fill()?;
    // The log's last page has room for a line or two.
    let mut names = (0..100).map(|number| format!("web-{number}"));
    let (refused, answer) = loop {
        let name = names.next().with_context(|| format!("none is refused: {}", api.process.log()))?;
        let (status, answer) = api.create(&name)?;
        if status != 200 {
            break (name, answer);
        }
    };
    ensure!(answer.contains(" 503 ") && answer.contains("<Code>ServiceUnavailable</Code>"), "{answer}");
    ensure!(answer.contains("audit log"), "{answer}");
    let (status, described) = api.ask("DescribeTargetGroups")?;
    ensure!(status == 200 && !described.contains(&format!("<TargetGroupName>{refused}<")), "{described}");
    api.empty()?;
    wait::until("a change after there is room", Duration::from_secs(60), || {
        let (status, answer) = api.create(&refused)?;
        ensure!(status == 200, "{answer}");
        Ok(())
    })?;
    let lines = api.lines()?;
    let of = |event: &str, result: Option<&str>| {
        let is = |line: &&Value| {
            line["event"] == event
                && line["parameters"]["Name"] == refused.as_str()
                && line.get("result").and_then(Value::as_str) == result
        };
        lines.iter().filter(is).count()
    };
    // The refusals waited for room; the change was told of before it was made.
    ensure!(of("answered", Some("refused")) >= 1, "{lines:#?}");
    ensure!(of("asked", None) >= 1 && of("answered", Some("done")) == 1, "{lines:#?}");
    Ok(())
}

#[test]
fn with_sync_second_a_full_disk_delays_lines_and_no_change() -> Result<()> {
    if !lab::require_root() {
        return Ok(());
    }
    let mut api = Audited::start("second")?;
    api.fill()?;
    for number in 0..50 {
        let (status, answer) = api.create(&format!("web-{number}"))?;
        ensure!(status == 200, "{answer}");
    }
    let failing = wait::until("a complaint", Duration::from_secs(60), || {
        let log = api.process.log();
        ensure!(log.contains("the audit log can't be written"), "{log}");
        Ok(log)
    })?;
    ensure!(failing.matches("can't be written").count() == 1, "{failing}");
    api.empty()?;
    let lines = wait::until("all lines", Duration::from_secs(60), || {
        let lines = api.lines()?;
        ensure!(lines.len() == 50, "{} lines", lines.len());
        Ok(lines)
    })?;
    for (number, line) in lines.iter().enumerate() {
        let name = format!("web-{number}");
        ensure!(
            line["parameters"]["Name"] == name.as_str() && line["after"]["target_groups"][&name].is_object()
        );
        ensure!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
    }
    api.create("last")?;
    api.process.stop()?;
    Ok(())
}
