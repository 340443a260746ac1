//! What a packet costs on a target: the agent's programs in a network namespace of their own, with a real connection
//! from a client to the VIP, so that the kernel finds a socket.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};
use lab::{Host, Lease};
use lb_common::bench::{LISTENER_PORT, RestoredFrame};
use lb_common::{Reason, Verdict};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::agent::{Agent, Carrier, End, Flag, frame, segment};
use crate::harness::{Harness, Subject};
use crate::measure::{Effort, Net, median, net};
use crate::scenario::Family;

const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];
/// A port that no connection is from: below those that the kernel gives out.
const STRAY_PORT: u16 = 7;
/// The aim for what is delivered.
const DELIVERED: f64 = 60.0;
/// The aim for what is handed on.
const HANDED_ON: f64 = 90.0;

/// One row.
struct Row {
    name: String,
    frame: Vec<u8>,
    ends: Reason,
    /// Nanoseconds at most, if that is aimed at.
    aim: Option<f64>,
}

/// Prints the table.
///
/// # Errors
/// If the kernel refuses something, or the agent does not do what it is measured for.
pub(crate) fn report(harness: &mut Harness, effort: Effort) -> Result<()> {
    println!("\nOn a target: the agent (a real connection; outer and inner header of one version)");
    println!("  {:<44} {:>16} {:>9}  aim", "", "agent", "wrapper");
    let target = Target::new()?;
    let agent = Agent::load()?;
    for row in FAMILIES.into_iter().flat_map(|family| target.rows(family)) {
        let (wrapper, cost) = target.host.enter(|| measure(harness, &agent, &row, effort))?;
        let aim = row.aim.map(|aim| format!("≤ {aim:.0}: {}", crate::report::verdict(cost.median, aim)));
        let cell = format!("{:.1} ({:.1})", cost.median, cost.minimum);
        println!("  {:<44} {cell:>16} {wrapper:>9.1}  {}", row.name, aim.unwrap_or_default());
    }
    Ok(())
}

/// The wrapper alone, and what the agent takes net of it.
fn measure(harness: &mut Harness, agent: &Agent, row: &Row, effort: Effort) -> Result<(f64, Net)> {
    harness.set_frame(RestoredFrame::new(&row.frame).context("the frame is too short or too long")?)?;
    let before = agent.count(row.ends)?;
    let subject = Subject::Program(agent.entry()?);
    let (mut wrapper, mut times, mut packets) = (Vec::new(), Vec::new(), 0);
    for round in 0..=effort.rounds {
        let count = if round == 0 { 3 } else { effort.packets };
        let alone = harness.run_frame(Subject::Nothing, &row.frame, count)?;
        let run = harness.run_frame(subject, &row.frame, count)?;
        packets += u64::from(count);
        ensure!(run.action == action(row.ends), "`{}`: the action is {}", row.name, run.action);
        if round > 0 {
            wrapper.push(alone.nanoseconds as f64 / f64::from(count));
            times.push(run.nanoseconds as f64 / f64::from(count));
        }
    }
    let counted = agent.count(row.ends)? - before;
    ensure!(counted == packets, "`{}`: {counted} of {packets} packets ended by {:?}", row.name, row.ends);
    let cost = net(&wrapper, &times);
    Ok((median(wrapper), cost))
}

fn action(ends: Reason) -> u32 {
    match ends.verdict() {
        Verdict::Dropped => 1,
        Verdict::Passed => 2,
        Verdict::Answered => 3,
    }
}

/// The host with a connection of each version.
struct Target {
    host: Host,
    _listeners: Vec<TcpListener>,
    connections: Vec<TcpStream>,
}

impl Target {
    fn new() -> Result<Target> {
        let lease = Lease::take()?;
        let host = Host::new(&lease, "target")?;
        let (mut listeners, mut connections) = (Vec::new(), Vec::new());
        for family in FAMILIES {
            let (client, vip) = (End::Client.address(family), End::Vip.address(family));
            for address in [client, vip] {
                let options = if address.is_ipv4() { "/32 dev lo" } else { "/128 dev lo nodad" };
                host.ip(&format!("address add {address}{options}"))?;
            }
            listeners.push(host.enter(|| TcpListener::bind((vip, LISTENER_PORT)))?);
            connections.push(host.enter(|| connection(client, vip))?);
        }
        Ok(Target { host, _listeners: listeners, connections })
    }

    fn rows(&self, family: Family) -> Vec<Row> {
        use Carrier::{Chain, EndOfChain, Gue, Ip};
        use End::{Node, Peer, Stranger};
        use Reason::{AgentDecapsulated, AgentHandedOn, AgentUnclaimed, AgentUnknownNode, AgentUnknownVip};
        let port = self.connections[family as usize].local_addr().map_or(0, |address| address.port());
        let ours = segment(family, port, Flag::Ack);
        let stray = segment(family, STRAY_PORT, Flag::Ack);
        let syn = segment(family, STRAY_PORT, Flag::Syn);
        let mut foreign = ours.clone();
        let last = if family == Family::Ipv4 { 19 } else { 39 };
        foreign[last] ^= 0xff;
        let row = |name: &str, source, carrier, inner: &[u8], ends, aim| Row {
            name: format!("{family:?}: {name}"),
            frame: frame(family, source, carrier, inner),
            ends,
            aim,
        };
        let (delivered, handed_on) = (Some(DELIVERED), Some(HANDED_ON));
        vec![
            row("of a stranger, refused", Stranger, Ip, &ours, AgentUnknownNode, None),
            row("GUE, of a stranger, refused", Stranger, Gue, &ours, AgentUnknownNode, None),
            row("GUE, of no VIP, refused", Node, Gue, &foreign, AgentUnknownVip, None),
            row("IP in IP, established", Node, Ip, &ours, AgentDecapsulated, delivered),
            row("GUE, established", Node, Gue, &ours, AgentDecapsulated, delivered),
            row("GUE with a chain, a SYN", Node, Chain, &syn, AgentDecapsulated, delivered),
            row("GUE with a chain, established", Node, Chain, &ours, AgentDecapsulated, delivered),
            row("GUE with a chain, handed on", Node, Chain, &stray, AgentHandedOn, handed_on),
            row("handed on to here, established", Peer, EndOfChain, &ours, AgentDecapsulated, delivered),
            row("handed on to here, nobody's", Peer, EndOfChain, &stray, AgentUnclaimed, None),
        ]
    }
}

/// A connection within the host, from the client's address.
fn connection(client: IpAddr, vip: IpAddr) -> Result<TcpStream> {
    let family = if vip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::new(client, 0)).context("taking the client's address")?;
    connect(&socket, &SocketAddr::new(vip, LISTENER_PORT)).context("connecting to the VIP")?;
    Ok(TcpStream::from(socket))
}
