//! Ways that carry less than they seem to, over real sockets: routers' errors reach the target, the node tells
//! clients what fits, and the agent spares both by smaller segments.

#![allow(missing_docs, reason = "a test binary has no users")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::configuration::target_group;
use lab::process::output_of;
use lab::topology::{CLIENT4, CLIENT6};
use lab::{Lab, VIP4, VIP6, alone};
use serde_json::json;

/// The port of the bulk server.
const BULK: u16 = 9000;
/// What is transferred at least in a test.
const MEGABYTE: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_routers_error_makes_the_target_send_smaller_segments() {
    let Some(_alone) = alone() else { return };
    let lab = start(&["--mss-clamp", "off"], |lab| {
        // The router's own way to the client; the client does not know of it and offers large segments.
        lab.router.ip("link set dev client mtu 1400").map(drop)
    });
    for (vip, client) in [(IpAddr::from(VIP4), IpAddr::from(CLIENT4)), (VIP6.into(), CLIENT6.into())] {
        download(&lab, vip).map_err(|error| lab.with_evidence(error)).unwrap();
        let route = lab.targets[0].host.ip(&format!("route get {client} from {vip}")).unwrap();
        assert!(route.contains("mtu 1400"), "the target has not learnt the way's MTU: {route}");
    }
    assert_eq!(count(&lab, "malformed_quote"), 0);
}

#[test]
fn the_node_tells_clients_what_fits_the_way_to_the_target() {
    let Some(_alone) = alone() else { return };
    let lab = start(&["--mss-clamp", "off"], narrow_way);
    for (vip, fits) in [(IpAddr::from(VIP4), "mtu 1380"), (VIP6.into(), "mtu 1380")] {
        let before = count(&lab, "too_big_answered");
        upload(&lab, vip).map_err(|error| lab.with_evidence(error)).unwrap();
        let route = lab.client.ip(&format!("route get {vip}")).unwrap();
        assert!(route.contains(fits), "the client has not learnt the way's MTU: {route}");
        assert!(count(&lab, "too_big_answered") > before, "{vip}: nothing was answered");
    }
    assert_eq!((count(&lab, "too_big"), count(&lab, "too_big_limited")), (0, 0));
}

#[test]
fn a_limit_in_bytes_spares_clients_the_answers() {
    let Some(_alone) = alone() else { return };
    let lab = start(&["--mss-clamp", "1300"], narrow_way);
    for vip in [IpAddr::from(VIP4), VIP6.into()] {
        // Less the timestamps (12 bytes), which every segment carries.
        expect_segments(&lab, vip, 1288);
        upload(&lab, vip).map_err(|error| lab.with_evidence(error)).unwrap();
    }
    assert_eq!((count(&lab, "too_big"), count(&lab, "too_big_answered")), (0, 0));
    let status = lab.targets[0].agent_status().unwrap();
    assert!(status.contains("mss_lowered"), "{status}");
}

#[test]
fn segments_fit_the_targets_mtu_in_the_largest_encapsulation() {
    let Some(_alone) = alone() else { return };
    let lab = start(&[], |lab| lab.targets[0].host.ip("link set dev eth0 mtu 1500").map(drop));
    for (vip, limit) in [(IpAddr::from(VIP4), 1372), (VIP6.into(), 1352)] {
        expect_segments(&lab, vip, limit - 12);
        upload(&lab, vip).map_err(|error| lab.with_evidence(error)).unwrap();
    }
}

/// The node's way to the target carries 1,400 bytes, of which IPIP takes 20.
fn narrow_way(lab: &Lab) -> Result<()> {
    lab.nodes[0].host.ip("route add 10.203.0.0/24 via 10.202.0.1 mtu 1400").map(drop)
}

/// A lab with one target, its bulk server, and all else that a client needs.
fn start(agent: &[&str], prepare: impl FnOnce(&Lab) -> Result<()>) -> Lab {
    let mut lab = Lab::builder().targets(1).build().unwrap();
    prepare(&lab).unwrap();
    lab.start_servers().unwrap();
    let (nodes, vips) = (lab.tunnel_sources(), lab.vips.clone());
    lab.targets[0].start_agent_with(&nodes, &vips, agent).unwrap();
    serve_bulk(&lab).unwrap();
    let members: Vec<IpAddr> = lab.targets.iter().map(|target| target.v4.into()).collect();
    let mut configuration = lab.configuration();
    let listener = json!({ "protocol": "TCP", "port": BULK, "forward": [ { "target_group": "bulk" } ] });
    let list = |value: &mut serde_json::Value, item| value.as_array_mut().expect("a list").push(item);
    list(&mut configuration["load_balancers"][0]["listeners"], listener);
    list(&mut configuration["target_groups"], target_group("bulk", "TCP", BULK, &members));
    lab.start_controller(0, &configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    lab
}

/// A server that sends a megabyte for `D`, and for `U` takes one and says so. It ends with the test's process.
fn serve_bulk(lab: &Lab) -> Result<()> {
    let listener = lab.targets[0].host.enter(|| TcpListener::bind(("::", BULK))).context("listening")?;
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // A client that gives up is the test's to notice.
            let _ = serve_connection(connection);
        }
    });
    Ok(())
}

fn serve_connection(mut connection: TcpStream) -> Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut kind = [0];
    connection.read_exact(&mut kind)?;
    if kind == *b"D" {
        connection.write_all(&bulk())?;
    } else {
        let mut taken = vec![0; MEGABYTE];
        connection.read_exact(&mut taken)?;
        connection.write_all(if taken == bulk() { b"y" } else { b"n" })?;
    }
    Ok(())
}

fn bulk() -> Vec<u8> {
    (0..MEGABYTE).map(|at| (at / 8 * 31) as u8).collect()
}

fn connect(lab: &Lab, vip: IpAddr) -> Result<TcpStream> {
    let to = SocketAddr::new(vip, BULK);
    let stream = lab.client.enter(|| TcpStream::connect_timeout(&to, PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn download(lab: &Lab, vip: IpAddr) -> Result<()> {
    let mut stream = connect(lab, vip)?;
    stream.write_all(b"D")?;
    let mut taken = Vec::new();
    stream.read_to_end(&mut taken).with_context(|| format!("after {} bytes from {vip}", taken.len()))?;
    ensure!(taken == bulk(), "{} bytes came from {vip}, others than were sent", taken.len());
    Ok(())
}

fn upload(lab: &Lab, vip: IpAddr) -> Result<()> {
    let mut stream = connect(lab, vip)?;
    stream.write_all(b"U")?;
    stream.write_all(&bulk()).with_context(|| format!("sending to {vip}"))?;
    let mut answer = [0];
    stream.read_exact(&mut answer).with_context(|| format!("waiting for {vip} to have it all"))?;
    ensure!(answer == *b"y", "other bytes came to {vip} than were sent");
    Ok(())
}

/// Expects segments of so many bytes on a connection of the client.
fn expect_segments(lab: &Lab, vip: IpAddr, bytes: u16) {
    let _stream = connect(lab, vip).map_err(|error| lab.with_evidence(error)).unwrap();
    let to = if vip.is_ipv4() { vip.to_string() } else { format!("[{vip}]") };
    let mut command = Command::new("ss");
    command.args(["-Htin", "state", "established", "dst", &to]);
    let sockets = lab.client.enter(|| output_of(&mut command)).unwrap();
    assert!(sockets.contains(&format!(" mss:{bytes} ")), "{vip}: {bytes} were expected\n{sockets}");
}

/// How many packets of the node had this fate.
fn count(lab: &Lab, reason: &str) -> u64 {
    let report = lab.nodes[0].status().unwrap();
    report.reasons.iter().find(|report| report.reason == reason).map_or(0, |report| report.packets)
}
