//! `sluice capture` under load: what it writes, and that nobody notices.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::{binary, output_of};
use lab::traffic::Traffic;
use lab::{Host, Lab, VIP4, wait};
use lb_userspace::explain::packet_file;

/// Runs `sluice capture` on the first node; the file it wrote.
fn capture(lab: &Lab, name: &str, arguments: &[&str]) -> Result<Vec<u8>> {
    let node = &lab.nodes[0];
    let file = node.host.lease().directory().join(name);
    let mut command = Command::new(binary("sluice")?);
    command.arg("capture").args(arguments).arg("-w").arg(&file);
    command.arg("--runtime-directory").arg(node.runtime_directory()?);
    node.host.enter(|| output_of(&mut command))?;
    fs::read(&file).with_context(|| file.display().to_string())
}

/// Segments that the client's kernel sent again, but for those that targets had got before: an answer that a busy machine
/// delays is probed for (RFC 8985), too, which is no loss. Each that is left is a packet that was lost.
fn lost(lab: &Lab) -> Result<i64> {
    let sent_again = counter(&lab.client, "snmp", "Tcp:", "RetransSegs")?;
    let twice_there =
        lab.targets.iter().map(|target| counter(&target.host, "netstat", "TcpExt:", "TCPDSACKOldSent"));
    Ok(sent_again - twice_there.sum::<Result<i64>>()?)
}

/// A counter of a file in /proc/net, where a line of names is followed by one of numbers.
fn counter(host: &Host, file: &str, prefix: &str, name: &str) -> Result<i64> {
    let text = host.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{file}")))?;
    let mut lines = text.lines().filter(|line| line.starts_with(prefix)).map(str::split_whitespace);
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let found = names.zip(values).find(|(found, _)| *found == name).context(name.to_owned())?;
    Ok(found.1.parse()?)
}

fn program_id(lab: &Lab) -> Result<u32> {
    Ok(lab.nodes[0].status()?.interfaces.first().context("an interface")?.program_id)
}

fn contains(file: &[u8], text: &str) -> bool {
    file.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Another implementation's opinion, where it is installed.
fn read_by_tcpdump(lab: &Lab, name: &str) -> Result<Option<usize>> {
    if !Path::new("/usr/bin/tcpdump").exists() {
        return Ok(None);
    }
    let file = lab.nodes[0].host.lease().directory().join(name);
    let text = lab.nodes[0].host.enter(|| output_of(Command::new("tcpdump").args(["-nr"]).arg(&file)))?;
    Ok(Some(text.lines().count()))
}

#[test]
fn a_capture_shows_packets_in_and_out_and_loses_none_of_the_networks() -> Result<()> {
    if !lab::require_root() {
        return Ok(());
    }
    let lab = super::lab()?;
    let (live, before) = (program_id(&lab)?, lost(&lab)?);
    let traffic = Traffic::start(&lab, Duration::from_millis(1))?;
    let file = capture(&lab, "all.pcapng", &["--tcp", "--port", "80", "--seconds", "2"])?;
    let packets = packet_file::parse(&file)?.len();
    ensure!(packets > 100, "{packets} packets were captured");
    for target in &lab.targets {
        let text = "verdict=forwarded listener=web:80/TCP slot=";
        ensure!(contains(&file, text) && contains(&file, &format!("target={} target_group=web", target.v4)));
    }
    if let Some(lines) = read_by_tcpdump(&lab, "all.pcapng")? {
        ensure!(lines >= packets, "tcpdump reads {lines} lines of {packets} packets");
    }
    some(&lab)?;
    refusals(&lab)?;
    for number in 0..10 {
        capture(&lab, &format!("{number}.pcapng"), &["--count", "5"])?;
    }
    ensure!(program_id(&lab)? == live, "the live program is not back in its place");
    let tally = traffic.stop();
    ensure!(tally.failed == 0 && tally.requests() > 0, "{} failed: {:?}", tally.failed, tally.failures);
    // The last one that was sent again may still be on its way.
    wait::until("all that was sent again to be there twice", Duration::from_secs(5), || {
        let lost = lost(&lab)? - before;
        ensure!(lost <= 0, "{lost} segments were lost and sent again");
        Ok(())
    })
}

/// Filters and limits.
fn some(lab: &Lab) -> Result<()> {
    let target = lab.targets[0].v4.to_string();
    let file = capture(lab, "some.pcapng", &["--target", &target, "--count", "7"])?;
    ensure!(packet_file::parse(&file)?.len() == 14, "seven packets, in and out");
    ensure!(!contains(&file, &format!("target={}", lab.targets[1].v4)));
    let ping = Traffic::start(lab, Duration::from_millis(1))?;
    let answered = std::thread::scope(|scope| {
        scope.spawn(|| lab.client.run("ping", &["-c", "3", "-i", "0.3", &VIP4.to_string()]));
        capture(lab, "answered.pcapng", &["--verdict", "answered", "--seconds", "3"])
    })?;
    drop(ping);
    ensure!(!contains(&answered, "verdict=forwarded"), "only answered packets were wanted");
    Ok(())
}

fn refusals(lab: &Lab) -> Result<()> {
    for (arguments, words) in [
        (["--verdict", "lost"], "there is no verdict or reason `lost`"),
        (["--target", "192.0.2.1"], "there is no target `192.0.2.1`"),
        (["--listener", "api:80"], "there are: web:80/TCP"),
    ] {
        let error = format!("{:#}", capture(lab, "none.pcapng", &arguments).unwrap_err());
        ensure!(error.contains(words), "{error}");
    }
    Ok(())
}

#[test]
fn a_capture_whose_client_is_killed_ends() -> Result<()> {
    if !lab::require_root() {
        return Ok(());
    }
    let lab = super::lab()?;
    let live = program_id(&lab)?;
    let node = &lab.nodes[0];
    let mut command = Command::new(binary("sluice")?);
    command.args(["capture", "-w", "/dev/null", "--runtime-directory"]).arg(node.runtime_directory()?);
    let mut process = node.host.spawn(&mut command, "capture.log")?;
    lab::wait::until("the capturing program", super::HEALTHY, || {
        ensure!(program_id(&lab)? != live, "the live program runs");
        Ok(())
    })?;
    let second = capture(&lab, "second.pcapng", &["--count", "1"]).unwrap_err();
    ensure!(format!("{second:#}").contains("another capture is running"), "{second:#}");
    process.kill();
    lab::wait::until("the live program", super::HEALTHY, || {
        ensure!(program_id(&lab)? == live, "the capturing program runs");
        Ok(())
    })?;
    capture(&lab, "third.pcapng", &["--seconds", "1"]).map(drop)
}
