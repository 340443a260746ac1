//! A node whose API has nothing yet of what it needs: the node does not wait for it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use lab::process::output_of;
use lab::{Lab, link, wait};
use lb_userspace::status::report::{OwnerReport, Report};
use serde_json::json;

use crate::balanced::{PATIENCE, configuration, start_controller};
use crate::served::{asking, has_clients, write_credentials};

/// An address of the node's network that it gets late.
const LATE: Ipv4Addr = Ipv4Addr::new(10, 202, 0, 99);

#[test]
fn a_node_begins_without_its_apis_address_certificate_and_credentials_and_serves_it_when_they_are_there() {
    if !has_clients() {
        return;
    }
    let mut lab = Lab::builder().targets(0).build().unwrap();
    let played = story(&mut lab);
    played.map_err(|error| lab.with_evidence(error)).unwrap();
}

fn story(lab: &mut Lab) -> Result<()> {
    let at = |port: u16| SocketAddr::from((LATE, port));
    let [certificate, key, credentials] =
        ["certificate.pem", "key.pem", "credentials.json"].map(|name| lab.lease.directory().join(name));
    let mut late = configuration();
    late["metrics_address"] = at(9100).to_string().into();
    late["api"] = json!({
        "address": at(8440).to_string(), "credentials": credentials,
        "tls": { "certificate": certificate, "key": key }
    });
    lab.nodes[0].write_configuration(&late)?;
    start_controller(lab)?;
    lab.wait_for(0, "what the API lacks", PATIENCE, |report| {
        ensure!(!report.interfaces.is_empty(), "there is no data plane");
        let problems = problems(report).join("\n");
        for words in ["can't be served on 10.202.0.99:8440", "nobody is served without", "nobody is let in"] {
            ensure!(problems.contains(words), "{words:?} is not in {problems:?}");
        }
        Ok(())
    })?;

    let made = rcgen::generate_simple_self_signed([LATE.to_string()])?;
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    write_credentials(&lab.lease)?;
    let node = &lab.nodes[0].host;
    link::address(node, "eth0", LATE.into())?;
    wait::until("an answer of the API", PATIENCE, || {
        let mut command = asking("aws", &format!("https://{}", at(8440)), "ADMIN")?;
        command.args(["elbv2", "describe-load-balancers"]).env("AWS_CA_BUNDLE", &certificate);
        let answer = node.enter(|| output_of(&mut command))?;
        ensure!(answer.contains("\"LoadBalancers\": []"), "{answer}");
        Ok(())
    })?;
    let page = node.enter(|| metrics(at(9100)))?;
    ensure!(page.starts_with("HTTP/1.1 200") && page.ends_with("# EOF\n"), "{page}");
    lab.wait_for(0, "that nothing is missing", PATIENCE, |report| {
        ensure!(problems(report).is_empty(), "{:?}", problems(report));
        Ok(())
    })
    .map(drop)
}

fn metrics(at: SocketAddr) -> Result<String> {
    let mut connection = TcpStream::connect(at).context("connecting to the metrics")?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: lb1\r\n\r\n")?;
    let mut page = String::new();
    connection.read_to_string(&mut page).context("reading the metrics")?;
    Ok(page)
}

fn problems(report: &Report) -> &[String] {
    match &report.configuration.owner {
        OwnerReport::Api { problems, .. } => problems,
        OwnerReport::File => &[],
    }
}
