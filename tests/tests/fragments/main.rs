//! Datagrams that are larger than the client's link carries, over real sockets: all of a flow's fragments reach the
//! target of its whole packets, also while the table changes.
#![allow(missing_docs, reason = "a test binary has no users")]

mod explained;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::topology::{CLIENT4, CLIENT6};
use lab::{Lab, VIP4, VIP6, alone, configuration, echo};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(40);
/// Sockets for each VIP, and how often each sends.
const FLOWS: usize = 50;
const ROUNDS: usize = 10;
/// Bytes of a datagram: three fragments on a link of 1,500.
const LARGE: usize = 4000;
/// Datagrams of all flows and rounds.
const DATAGRAMS: usize = 2 * FLOWS * ROUNDS;

#[test]
fn large_datagrams_reach_their_flows_target_in_ipip_while_the_table_changes() {
    let Some(_alone) = alone() else { return };
    let lab = lab("ipip", |target| target.v4.into());
    play(&lab).map_err(|error| lab.with_evidence(error)).unwrap();
}

#[test]
fn large_datagrams_reach_their_flows_target_in_gue_over_ipv6_while_the_table_changes() {
    let Some(_alone) = alone() else { return };
    let lab = lab("gue", |target| target.v6.into());
    play(&lab).map_err(|error| lab.with_evidence(error)).unwrap();
}

/// A running lab whose targets echo UDP.
fn lab(encapsulation: &str, id: impl Fn(&lab::topology::Target) -> IpAddr) -> Lab {
    let mut lab = Lab::builder().targets(3).build().unwrap();
    let members: Vec<IpAddr> = lab.targets.iter().map(id).collect();
    let mut group = configuration::target_group("echo", "UDP", echo::PORT, &members);
    group["encapsulation"] = encapsulation.into();
    // Checks that come late on a busy machine are not what is tested.
    group["health_check"]["unhealthy_threshold"] = 5.into();
    let mut configuration = lab.configuration();
    configuration["target_groups"] = json!([group]);
    configuration["load_balancers"][0]["listeners"] =
        json!([ { "protocol": "UDP", "port": echo::PORT, "forward": [ { "target_group": "echo" } ] } ]);
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    lab
}

/// A socket and who answers it.
struct Flow {
    socket: UdpSocket,
    target: String,
    /// All datagrams that it has sent, each other than the others.
    sent: Vec<Vec<u8>>,
}

impl Flow {
    fn open(client: IpAddr, vip: IpAddr) -> Result<Flow> {
        let socket = UdpSocket::bind((client, 0)).context("binding a UDP socket")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.connect(SocketAddr::new(vip, echo::PORT))?;
        let mut flow = Flow { socket, target: String::new(), sent: Vec::new() };
        flow.target = flow.ask(b"a small one".to_vec())?;
        Ok(flow)
    }

    /// Who echoes the datagram, which must be other than all before.
    fn ask(&mut self, datagram: Vec<u8>) -> Result<String> {
        let own = self.socket.local_addr()?;
        let mut answer = vec![0; 2 * LARGE];
        for _ in 0..3 {
            self.socket.send(&datagram)?;
            while let Ok(length) = self.socket.recv(&mut answer) {
                let (target, echo) =
                    parts(&answer[..length]).with_context(|| format!("the answer to {own}"))?;
                if echo == datagram {
                    self.sent.push(datagram);
                    return Ok(target);
                }
                // What was sent again, as its echo was late, is echoed twice.
                let is_late = self.sent.iter().any(|earlier| echo == earlier);
                let lengths = (echo.len(), datagram.len());
                ensure!(is_late, "{} other bytes than {} were echoed to {own}", lengths.0, lengths.1);
            }
        }
        bail!("nobody answered {own} a datagram of {} bytes", datagram.len())
    }
}

/// Who answered, and what it echoed.
fn parts(answer: &[u8]) -> Result<(String, &[u8])> {
    let end = answer.iter().position(|byte| *byte == b'\n').context("an answer without a greeting")?;
    let greeting = String::from_utf8_lossy(&answer[..end]);
    Ok((greeting.split(' ').next().unwrap_or_default().to_owned(), &answer[end + 1..]))
}

fn play(lab: &Lab) -> Result<()> {
    let mut flows = lab.client.enter(|| {
        let ends = [(CLIENT4.into(), VIP4.into()), (CLIENT6.into(), VIP6.into())];
        let ends = (0..FLOWS).flat_map(|_| ends);
        ends.map(|(client, vip)| Flow::open(client, vip)).collect::<Result<Vec<Flow>>>()
    })?;
    let met: BTreeSet<&str> = flows.iter().map(|flow| flow.target.as_str()).collect();
    ensure!(met.len() == lab.targets.len(), "only {met:?} got flows");
    let before = forwarded(lab)?;
    for round in 0..ROUNDS {
        match round {
            3 => weigh_first(lab, 0)?,
            6 => weigh_first(lab, 1)?,
            _ => {}
        }
        lab.client.enter(|| flows.iter_mut().enumerate().try_for_each(|(at, flow)| say(flow, at, round)))?;
    }
    let packets = forwarded(lab)? - before;
    ensure!(
        packets >= 3 * DATAGRAMS as u64,
        "{packets} packets were no {DATAGRAMS} datagrams of three fragments"
    );
    for reason in ["fragment", "fragment_unknown", "tiny_fragment", "too_big"] {
        let count = count(lab, reason)?;
        ensure!(count == 0, "{count} packets met {reason}");
    }
    Ok(())
}

fn say(flow: &mut Flow, at: usize, round: usize) -> Result<()> {
    let datagram: Vec<u8> = (0..LARGE).map(|byte| (byte / 8 * 31 + at * 7 + round) as u8).collect();
    let target = flow.ask(datagram)?;
    ensure!(target == flow.target, "round {round}: {target} had the fragments, {} the flow", flow.target);
    Ok(())
}

/// Packets of the listener.
fn forwarded(lab: &Lab) -> Result<u64> {
    let report = lab.nodes[0].status()?;
    Ok(report.load_balancers["web"].listeners.first().context("it has a listener")?.packets)
}

/// How many packets of the node had this fate.
fn count(lab: &Lab, reason: &str) -> Result<u64> {
    let report = lab.nodes[0].status()?;
    let found = report.reasons.iter().find(|report| report.reason == reason);
    Ok(found.map_or(0, |report| report.packets))
}

/// Gives the first target another weight.
fn weigh_first(lab: &Lab, weight: u16) -> Result<()> {
    let node = &lab.nodes[0];
    let generation = node.status()?.configuration.generation;
    let mut configuration: Value =
        serde_json::from_str(&std::fs::read_to_string(node.configuration_file())?)?;
    configuration::targets_of(&mut configuration, 0)?[0]["weight"] = weight.into();
    node.write_configuration(&configuration)?;
    lab.wait_for(0, "the new weight", PATIENCE, |report| {
        ensure!(report.configuration.generation > generation, "it is not applied yet");
        Ok(())
    })
    .map(drop)
}
