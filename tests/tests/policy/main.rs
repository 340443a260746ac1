//! Allow-lists and limits over real sockets: who is served, what a reload does to connections, and a limit that
//! holds.
#![allow(missing_docs, reason = "a test binary has no users")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::http::{self, Connection};
use lab::process::{binary, output_of};
use lab::topology::CLIENT4;
use lab::{Lab, VIP4, VIP6, alone};
use lb_userspace::status::report::Report;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use serde_json::{Value, json};

/// How long a change may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a refused client waits for what does not come.
const SILENCE: Duration = Duration::from_millis(700);
/// How long a client waits that is to be served, on a busy machine.
const SERVED: Duration = Duration::from_secs(5);

/// A running lab whose load balancer has this allow-list, if any.
fn lab(allow: Value) -> Lab {
    let mut lab = Lab::builder().targets(2).build().unwrap();
    let configuration = with(&lab, |web| web["allow"] = allow);
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    lab
}

/// The lab's configuration with a changed load balancer; null fields go.
fn with(lab: &Lab, change: impl FnOnce(&mut Value)) -> Value {
    let mut configuration = lab.configuration();
    let web = &mut configuration["load_balancers"][0];
    change(web);
    web.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    configuration
}

/// Has the node take over another load balancer.
fn reload(lab: &Lab, change: impl FnOnce(&mut Value)) -> Result<()> {
    let generation = lab.nodes[0].status()?.configuration.generation;
    lab.nodes[0].write_configuration(&with(lab, change))?;
    lab.wait_for(0, "the new configuration", PATIENCE, |report| {
        if let Some(words) = &report.configuration.rejected {
            bail!("it is refused: {words}");
        }
        ensure!(report.configuration.generation > generation, "the old one is in force");
        Ok(())
    })?;
    Ok(())
}

fn rules(sources: &[&str]) -> Value {
    json!([ { "sources": sources, "protocol": "TCP", "ports": [http::PORT] } ])
}

/// Whether a new connection from the client's address `from` is established.
fn is_served(lab: &Lab, from: IpAddr, vip: IpAddr) -> Result<bool> {
    is_served_within(SERVED, lab, from, vip)
}

/// Whether none is.
fn is_refused(lab: &Lab, from: IpAddr, vip: IpAddr) -> Result<bool> {
    is_served_within(SILENCE, lab, from, vip).map(|served| !served)
}

fn is_served_within(limit: Duration, lab: &Lab, from: IpAddr, vip: IpAddr) -> Result<bool> {
    lab.client.enter(|| {
        let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, Some(limit))?;
        bind(&socket, &SocketAddr::new(from, 0)).context("binding the client's socket")?;
        // A time-out of sending is one of connecting, too.
        match connect(&socket, &SocketAddr::new(vip, http::PORT)) {
            Ok(()) => Ok(true),
            Err(Errno::INPROGRESS | Errno::AGAIN | Errno::TIMEDOUT) => Ok(false),
            Err(error) => Err(error).context("connecting"),
        }
    })
}

/// Packets that ended for that reason.
fn count(report: &Report, reason: &str) -> u64 {
    report.reasons.iter().filter(|row| row.reason == reason).map(|row| row.packets).sum()
}

/// The client's second address, beside the first.
fn second() -> Ipv4Addr {
    Ipv4Addr::from_bits(CLIENT4.to_bits() + 1)
}

#[test]
fn an_allow_list_is_for_packets_and_a_reload_leaves_others_alone() {
    let Some(_alone) = alone() else { return };
    let lab = lab(rules(&[&CLIENT4.to_string(), "fd01::/64"]));
    story_of_the_list(&lab).map_err(|error| lab.with_evidence(error)).unwrap();
}

fn story_of_the_list(lab: &Lab) -> Result<()> {
    lab.client.ip(&format!("address add {}/24 dev eth0", second()))?;
    ensure!(is_served(lab, CLIENT4.into(), VIP4.into())?, "the named client is served");
    ensure!(is_refused(lab, second().into(), VIP4.into())?, "another is not");
    ensure!(count(&lab.nodes[0].status()?, "not_allowed") > 0, "and it is counted");
    let told = explain(lab, second())?;
    ensure!(told.contains("policy     no rule lets the source in") && told.contains("not_allowed"), "{told}");
    let told = explain(lab, CLIENT4)?;
    ensure!(told.contains(&format!("policy     allow[0] lets {CLIENT4}/32 in")), "{told}");

    let mut old = lab.connect(VIP4.into())?;
    let mut six = lab.connect(VIP6.into())?;
    alive(&mut old).and(alive(&mut six))?;
    // Both are let in: what is established stays.
    reload(lab, |web| web["allow"] = rules(&["10.201.0.0/24", "fd01::/64"]))?;
    ensure!(is_served(lab, second().into(), VIP4.into())?, "the other client is served now");
    alive(&mut old).and(alive(&mut six)).context("a reload broke a connection")?;

    // The first is not any more: its established connection is silent, until it is let in again.
    reload(lab, |web| web["allow"] = rules(&[&second().to_string(), "fd01::/64"]))?;
    let before = count(&lab.nodes[0].status()?, "not_allowed");
    ensure!(is_refused(lab, CLIENT4.into(), VIP4.into())?, "the first client is not served any more");
    ensure!(count(&lab.nodes[0].status()?, "not_allowed") > before, "it is counted");
    alive(&mut six).context("IPv6 was not changed")?;
    reload(lab, |web| web["allow"] = Value::Null)?;
    ensure!(is_served(lab, CLIENT4.into(), VIP4.into())?, "without a list everybody is served");
    alive(&mut old).context("the connection lives on")?;
    alive(&mut six)
}

fn alive(connection: &mut Connection) -> Result<()> {
    connection.get().map(drop)
}

fn explain(lab: &Lab, from: Ipv4Addr) -> Result<String> {
    let node = &lab.nodes[0];
    let mut command = std::process::Command::new(binary("sluice")?);
    let from = format!("{from}:40000");
    command.args(["explain", &from, &format!("{VIP4}:80"), "--runtime-directory"]);
    command.arg(node.runtime_directory()?);
    node.host.enter(|| output_of(&mut command))
}

#[test]
fn a_limit_holds_and_leaves_established_connections_alone() {
    let Some(_alone) = alone() else { return };
    let lab = lab(Value::Null);
    story_of_the_limit(&lab).map_err(|error| lab.with_evidence(error)).unwrap();
}

fn story_of_the_limit(lab: &Lab) -> Result<()> {
    let mut old = lab.connect(VIP4.into())?;
    old.get()?;
    reload(lab, |web| web["listeners"][0]["new_flows_per_second_per_source"] = json!(3))?;
    let begun = Instant::now();
    let mut served = 0;
    for _ in 0..12 {
        served += u64::from(is_served_within(SILENCE, lab, CLIENT4.into(), VIP4.into())?);
    }
    // The burst, and the rate for as long as it took; a SYN is sent again after a second, which is not waited for.
    let most = 3 + 3 * (begun.elapsed().as_secs() + 1);
    ensure!((3..=most).contains(&served), "{served} connections of at most {most}");
    alive(&mut old).context("an established connection is not counted")?;
    reload(lab, |web| web["listeners"][0]["new_flows_per_second"] = json!(1_000_000))?;
    for _ in 0..12 {
        ensure!(is_served(lab, CLIENT4.into(), VIP4.into())?, "within the limit all are served");
    }
    alive(&mut old)
}

#[test]
fn a_bad_policy_is_refused_in_words_and_the_running_one_stays() {
    let Some(_alone) = alone() else { return };
    let lab = lab(rules(&[&CLIENT4.to_string()]));
    let story = || {
        lab.nodes[0].write_configuration(&with(&lab, |web| web["allow"] = json!([])))?;
        let report = lab.wait_for(0, "the refusal", PATIENCE, |report| {
            report.configuration.rejected.as_ref().map(drop).context("nothing is refused")
        })?;
        let words = report.configuration.rejected.context("it was refused")?;
        ensure!(words.contains("load_balancers[0].allow: an empty list lets nobody in"), "{words}");
        ensure!(is_served(&lab, CLIENT4.into(), VIP4.into())?, "the running list stays");
        Ok(())
    };
    story().map_err(|error| lab.with_evidence(error)).unwrap();
}
