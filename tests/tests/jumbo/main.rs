//! Jumbo frames over real sockets: packets of 9,000 bytes through the balancer and the agent, both native, in all
//! pairs of inner and outer header; and what is said where a driver or a kernel has no place for them.

#![allow(missing_docs, reason = "a test binary has no users")]

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::configuration::target_group;
use lab::link::{End, connect};
use lab::process::output_of;
use lab::topology::{CLIENT4, CLIENT6};
use lab::{Host, Lab, Lease, alone, echo};
use lb_common::hash::HashKey;
use lb_userspace::data_plane::{Capacity, DataPlane};
use lb_userspace::next_hop;
use lb_userspace::programs::Buffers;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of a datagram's payload: with IPv6, UDP and the echo's greeting still a packet of the client's MTU.
const DATAGRAM: usize = 8_900;
/// Bytes that are sent over a connection, and come back.
const STREAM: usize = 1 << 20;

#[test]
fn jumbo_frames_travel_in_ipip_over_ipv4() {
    play("ipip", |target| target.v4.into());
}

#[test]
fn jumbo_frames_travel_in_gue_over_ipv6() {
    play("gue", |target| target.v6.into());
}

fn play(encapsulation: &str, address: impl Fn(&lab::topology::Target) -> IpAddr) {
    let Some(_alone) = alone() else { return };
    let mut lab = Lab::builder().targets(2).jumbo().build().unwrap();
    let members: Vec<IpAddr> = lab.targets.iter().map(address).collect();
    let configuration = configuration(&lab, encapsulation, &members);
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    exchange(&lab).map_err(|error| lab.with_evidence(error)).unwrap();
}

/// TCP and UDP on the echo port of all VIPs.
fn configuration(lab: &Lab, encapsulation: &str, members: &[IpAddr]) -> Value {
    let mut group = target_group("echo", "TCP_UDP", echo::PORT, members);
    group["encapsulation"] = encapsulation.into();
    let listener =
        json!({ "protocol": "TCP_UDP", "port": echo::PORT, "forward": [ { "target_group": "echo" } ] });
    json!({
        "node": { "name": "lb", "zone": "a", "interfaces": [] },
        "load_balancers": [ { "name": "echo", "vips": lab.vips, "listeners": [ listener ] } ],
        "target_groups": [ group ]
    })
}

fn exchange(lab: &Lab) -> Result<()> {
    for vip in &lab.vips {
        let to = SocketAddr::new(*vip, echo::PORT);
        for _ in 0..8 {
            lab.client.enter(|| send_datagram(to)).with_context(|| format!("a datagram to {to}"))?;
        }
        lab.client.enter(|| send_stream(lab, to)).with_context(|| format!("a connection to {to}"))?;
    }
    let report = lab.nodes[0].status()?;
    ensure!(report.interfaces.iter().all(|interface| interface.mode == "native"), "{:?}", report.interfaces);
    for target in &lab.targets {
        let status = target.agent_status()?;
        ensure!(status.contains("native"), "{}: {status}", target.name);
    }
    let unforwarded = report.reasons.iter().find(|reason| {
        reason.packets > 0 && (reason.verdict == "dropped" || reason.reason.starts_with("malformed"))
    });
    ensure!(unforwarded.is_none(), "{unforwarded:?}");
    let targets = || report.target_groups["echo"].targets.iter();
    let (packets, bytes) =
        targets().fold((0, 0), |sum, target| (sum.0 + target.packets, sum.1 + target.bytes));
    // Two streams and sixteen datagrams, less what acknowledgements make of the mean.
    ensure!(bytes > 2 * STREAM as u64 && bytes / packets > 3_000, "{packets} packets have {bytes} bytes");
    Ok(())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 8 * 31) as u8).collect()
}

/// One datagram, which must come back whole; lost ones are sent again.
fn send_datagram(to: SocketAddr) -> Result<()> {
    let own: IpAddr = if to.is_ipv4() { CLIENT4.into() } else { CLIENT6.into() };
    let socket = UdpSocket::bind((own, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.connect(to)?;
    let mut answer = vec![0; 65_536];
    for _ in 0..5 {
        socket.send(&pattern(DATAGRAM))?;
        let Ok(length) = socket.recv(&mut answer) else { continue };
        let echoed = answer[..length].split_inclusive(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
        ensure!(answer[echoed..length] == pattern(DATAGRAM), "other bytes came back");
        return Ok(());
    }
    bail!("no answer to five of them")
}

/// A megabyte to the server and back, in jumbo segments.
fn send_stream(lab: &Lab, to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    expect_segments(lab, to, if to.is_ipv4() { 9_000 - 20 - 20 - 12 } else { 9_000 - 40 - 20 - 12 })?;
    let mut writing = stream.try_clone()?;
    let writer = std::thread::spawn(move || {
        writing.write_all(&pattern(STREAM))?;
        writing.shutdown(Shutdown::Write)
    });
    let mut taken = Vec::new();
    stream.read_to_end(&mut taken).with_context(|| format!("after {} bytes", taken.len()))?;
    writer.join().expect("the writer does not panic").context("sending")?;
    let greeting = taken.iter().position(|byte| *byte == b'\n').context("no greeting")? + 1;
    ensure!(taken[greeting..] == pattern(STREAM), "{} bytes came back, others than were sent", taken.len());
    Ok(())
}

/// Expects segments of so many bytes on the connection.
fn expect_segments(lab: &Lab, to: SocketAddr, bytes: usize) -> Result<()> {
    let to = if to.is_ipv4() { to.ip().to_string() } else { format!("[{}]", to.ip()) };
    let mut command = Command::new("ss");
    command.args(["-Htin", "state", "established", "dst", &to]);
    let sockets = lab.client.enter(|| output_of(&mut command))?;
    ensure!(sockets.contains(&format!(" mss:{bytes} ")), "{bytes} were expected\n{sockets}");
    Ok(())
}

#[test]
fn without_a_place_for_several_buffers_the_reason_names_the_mtu_and_what_helps() {
    let Some(_alone) = alone() else { return };
    let lease = Lease::take().unwrap();
    let (node, router) = (Host::new(&lease, "node").unwrap(), Host::new(&lease, "router").unwrap());
    let ends = |mtu, interface| {
        let [a, b] = [&node, &router].map(|host| End { host, interface });
        connect(a, b, mtu).unwrap();
    };
    ends(9_000, "jumbo0");
    ends(3_498, "page0");
    let capacity = Capacity { slots_log2: 8, flow_sets_log2: 8, ..Capacity::default() };
    let key = HashKey { k0: 1, k1: 2 };
    let refusal = |buffers, name: &str| {
        node.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let interface = runtime.block_on(next_hop::interface(name)).unwrap();
            let mut plane = DataPlane::load_for(buffers, capacity, key).unwrap();
            let attachment = plane.attach(&interface).unwrap();
            let reason = attachment.fallback_reason.clone();
            plane.detach(attachment).unwrap();
            reason
        })
    };
    assert_eq!(refusal(Buffers::Several, "jumbo0"), None);
    assert_eq!(refusal(Buffers::One, "page0"), None);
    let reason = refusal(Buffers::One, "jumbo0").expect("a veth has no jumbo frames for such a program");
    for words in ["its MTU is 9000", "Linux 5.18", "ip link set mtu 3498"] {
        assert!(reason.contains(words), "{reason:?} does not say {words:?}");
    }
}
