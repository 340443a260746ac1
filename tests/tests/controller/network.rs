//! What the controller says of interfaces and ways, and what it serves on the network.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use lab::sluice::targets_of;
use lab::{Lab, VIP4, VIP6};
use lb_userspace::status::report::{NextHopReport, Report};
use serde_json::Value;

use crate::{PATIENCE, alone, healthy, play};

/// Where the metrics are served, inside the node.
const METRICS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9464);

#[test]
fn a_lost_way_is_told_in_words_and_heals() {
    let Some(_alone) = alone() else { return };
    play(&mut healthy(1), |lab| {
        let target = lab.targets[0].v4;
        let node = &lab.nodes[0].host;
        let route = node.ip("-4 route show default")?;
        node.ip("-4 route delete default")?;
        let words = format!("no route to {target}");
        lab.wait_for(0, "a way that is lost", PATIENCE, |report| match next_hop(report, target.into())? {
            NextHopReport::Unresolved { problem } if problem.contains(&words) => Ok(()),
            other => bail!("the next hop is {other:?}"),
        })?;
        ensure!(lab.get(VIP4.into()).is_err(), "there is an answer without a way");
        let report = lab.nodes[0].status()?;
        let dropped = report.reasons.iter().find(|reason| reason.reason == "no_next_hop");
        ensure!(dropped.is_some_and(|reason| reason.packets > 0), "nothing is counted: {:?}", report.reasons);
        let log = lab.nodes[0].controller.as_ref().context("the controller runs")?.log();
        ensure!(log.contains(&words), "the log says nothing of it: {log}");

        lab.nodes[0].host.ip(&format!("-4 route add {route}"))?;
        lab.wait_for(0, "a way that is back", PATIENCE, |report| match next_hop(report, target.into())? {
            NextHopReport::Resolved { interface, .. } if interface == "eth0" => Ok(()),
            other => bail!("the next hop is {other:?}"),
        })?;
        lab.wait_for_all(0, "healthy", PATIENCE)?;
        lab.get(VIP4.into()).map(drop)
    });
}

fn next_hop(report: &Report, target: IpAddr) -> Result<&NextHopReport> {
    let found = targets_of(report, target).first().map(|target| &target.next_hop);
    found.with_context(|| format!("the status does not name {target}"))
}

#[test]
fn the_metrics_are_served_where_the_configuration_says() {
    let Some(_alone) = alone() else { return };
    let mut lab = Lab::builder().targets(1).build().unwrap();
    let mut configuration = lab.configuration();
    configuration["metrics_address"] = SocketAddr::from(METRICS).to_string().into();
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    play(&mut lab, |lab| {
        lab.get(VIP4.into())?;
        let answer = lab.nodes[0].host.enter(|| ask(METRICS.into(), "/metrics"))?;
        ensure!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        ensure!(answer.contains("application/openmetrics-text"), "{answer}");
        let target = lab.targets[0].v4.to_string();
        let sample = |line: &&str| {
            line.starts_with("sluice_target_packets_total{")
                && line.contains(&target)
                && !line.ends_with(" 0")
        };
        ensure!(answer.lines().any(|line| sample(&line)), "no packets of {target} in {answer}");
        ensure!(answer.ends_with("# EOF\n"), "{answer}");
        let answer = lab.nodes[0].host.enter(|| ask(METRICS.into(), "/"))?;
        ensure!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("GET /metrics"), "{answer}");
        Ok(())
    });
}

fn ask(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_status_is_json_and_names_the_native_program() {
    let Some(_alone) = alone() else { return };
    play(&mut healthy(1), |lab| {
        let json: Value = serde_json::from_str(&lab.nodes[0].status_json()?)?;
        let interface = &json["interfaces"][0];
        ensure!(interface["name"] == "eth0" && interface["mode"] == "native", "{interface}");
        ensure!(interface.get("fallback_reason").is_none(), "{interface}");
        let link = lab.nodes[0].host.ip("link show dev eth0")?;
        let program = format!("prog/xdp id {} ", interface["program_id"]);
        ensure!(link.contains(&program), "{program} is not in {link}");
        ensure!(json["target_groups"]["web"]["targets"][0]["state"] == "healthy", "{json}");
        Ok(())
    });
}

#[test]
fn where_native_xdp_is_refused_generic_serves_and_the_reason_is_told() {
    let Some(_alone) = alone() else { return };
    let mut lab = Lab::builder().targets(2).build().unwrap();
    lab::offload::set_transmit_queues(&lab.router, &lab.nodes[0].name, 2).unwrap();
    let configuration = lab.configuration();
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    play(&mut lab, |lab| {
        let report = lab.nodes[0].status()?;
        let interface = &report.interfaces[0];
        ensure!(interface.mode == "generic", "{interface:?}");
        let reason = interface.fallback_reason.as_ref().context("no reason is told")?;
        let log = lab.nodes[0].controller.as_ref().context("the controller runs")?.log();
        ensure!(log.contains("generic XDP") && log.contains(reason), "{reason:?} is not in {log}");
        for vip in [VIP4, VIP4, VIP4].map(IpAddr::from).into_iter().chain([VIP6.into(), VIP6.into()]) {
            lab.get(vip)?;
        }
        Ok(())
    });
}
