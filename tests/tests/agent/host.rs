//! The whole agent on a target, with a node beside it, each a network namespace.
//!
//! ```text
//!   node    eth0 10.0.0.1, fd00::1 (and 10.0.0.3, a stranger's)   lo: the client, 198.51.100.1, 2001:db8:9::9
//!    │
//!   target  eth0 10.0.0.2, fd00::2                                lo: the VIPs, by the agent
//! ```

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use lab::link::{self, End};
use lab::{Host, Lease, wait};
use lb_common::encapsulation::GUE_PORT;
use lb_userspace::agent::{self, Command, MssClamp, Options};
use lb_userspace::programs;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{AddressFamily, SendFlags, SocketType, bind, ipproto, sendto, socket};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);
const PEER_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 4);
const NODE_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const TARGET_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const CLIENT_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);

/// How long what has to come may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The settings that the agent may touch on the target.
const SETTINGS: [&str; 6] = [
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/arp_announce",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/eth0/arp_ignore",
    "net/ipv4/conf/eth0/arp_announce",
    "net/ipv4/conf/eth0/rp_filter",
];

#[test]
fn a_vip_is_served_through_every_tunnel_and_answers_go_straight_to_the_client() {
    let Some(lab) = Lab::new() else { return };
    let mut running = lab.start_agent("eth0");
    assert_eq!(lab.status().unwrap()["interfaces"][0]["mode"], "native");
    lab.exchange_through_every_tunnel();
    let packets = lab.status().unwrap()["packets"].clone();
    assert_eq!(packets["decapsulated"], 12, "{packets}");
    assert_eq!(packets.get("malformed_tunnel"), None, "{packets}");
    running.stop().unwrap();
}

#[test]
fn a_tunnel_packet_of_a_stranger_is_dropped_and_counted() {
    let Some(lab) = Lab::new() else { return };
    let mut running = lab.start_agent("eth0");
    let server = lab.server(VIP.into());
    lab.send_by_gue(STRANGER.into(), TARGET.into(), &datagram(4, b"a stranger's"));
    wait::until("the stranger's packet in the counters", PATIENCE, || {
        let status = lab.status()?;
        ensure!(status["packets"]["unknown_node"] == 1, "{status}");
        Ok(())
    })
    .unwrap();
    // What came first would be received first.
    lab.send_by_gue(NODE.into(), TARGET.into(), &datagram(4, b"the node's"));
    assert_eq!(received(&server).0, b"the node's");
    running.stop().unwrap();
}

#[test]
fn a_driver_without_native_xdp_gets_tc() {
    let Some(lab) = Lab::new() else { return };
    lab.target.ip("address flush dev eth0").unwrap();
    link::bridge(&lab.target, "br0", 1600).unwrap();
    link::plug(&lab.target, "eth0", "br0").unwrap();
    lab.address_target("br0");
    let mut running = lab.start_agent("br0");
    assert_eq!(lab.status().unwrap()["interfaces"][0]["mode"], "tc");
    lab.exchange_through_every_tunnel();
    running.stop().unwrap();
}

#[test]
fn the_host_is_as_before_when_the_agent_has_ended() {
    let Some(lab) = Lab::new() else { return };
    lab.target.set_sysctl("net/ipv4/conf/all/rp_filter", "1").unwrap();
    lab.target.ip(&format!("address add {VIP_6}/128 dev lo nodad")).unwrap();
    let before = lab.target_state();
    let mut running = lab.start_agent("eth0");
    let during: Vec<String> = SETTINGS.iter().map(|name| lab.target.sysctl(name).unwrap()).collect();
    assert_eq!(during, ["1", "2", "1", "1", "2", "2"]);
    let addresses = lab.target.ip("-oneline address show dev lo").unwrap();
    assert!(addresses.contains("192.0.2.7/32 scope host"), "{addresses}");
    assert!(lab.target.ip("link show dev eth0").unwrap().contains("xdp"));
    lab.exchange_through_every_tunnel();
    running.stop().unwrap();
    lab.expect_target_state(&before);
    assert!(!lab.directory().join("journal.json").exists());
    assert!(!lab.directory().join("status.sock").exists());
}

#[test]
fn what_a_killed_agent_left_is_put_back_by_the_next() {
    let Some(lab) = Lab::new() else { return };
    let before = lab.target_state();
    let running = lab.start_agent("eth0");
    running.crash();
    lab.wait_for_detachment();
    assert_ne!(lab.target_state(), before);
    let mut next = lab.start_agent("eth0");
    lab.exchange_through_every_tunnel();
    next.stop().unwrap();
    lab.expect_target_state(&before);
}

#[test]
fn what_somebody_else_has_set_meanwhile_stays() {
    let Some(lab) = Lab::new() else { return };
    let mut running = lab.start_agent("eth0");
    lab.target.set_sysctl("net/ipv4/conf/eth0/arp_ignore", "8").unwrap();
    lab.target.ip(&format!("address delete {VIP}/32 dev lo")).unwrap();
    running.stop().unwrap();
    assert_eq!(lab.target.sysctl("net/ipv4/conf/eth0/arp_ignore").unwrap(), "8");
    assert_eq!(lab.target.sysctl("net/ipv4/conf/eth0/arp_announce").unwrap(), "0");
}

#[test]
fn another_xdp_program_is_named_and_left_alone() {
    let Some(lab) = Lab::new() else { return };
    let mut running = lab.start_agent("eth0");
    let during = lab.target_state();
    let mut options = lab.options("eth0");
    let refusal = lab.spawn_agent(options.clone()).refusal();
    assert!(refusal.contains("another agent runs with"), "{refusal}");
    options.runtime_directory = lab.lease.directory().join("second");
    let refusal = lab.spawn_agent(options.clone()).refusal();
    assert!(refusal.contains("eth0 has another agent's XDP program already: `agent`, id "), "{refusal}");
    options.interfaces = vec!["eth7".into()];
    let refusal = lab.spawn_agent(options).refusal();
    assert!(refusal.contains("there is no interface eth7; there are lo, eth0"), "{refusal}");
    assert_eq!(lab.target_state(), during);
    lab.exchange_through_every_tunnel();
    running.stop().unwrap();
}

#[test]
fn nobody_learns_the_target_s_mac_address_for_a_vip() {
    let Some(lab) = Lab::new() else { return };
    lab.node.ip(&format!("route add {VIP}/32 dev eth0")).unwrap();
    lab.node.ip(&format!("route add {VIP_6}/128 dev eth0")).unwrap();
    let mut running = lab.start_agent("eth0");
    std::thread::scope(|scope| {
        for vip in [IpAddr::from(VIP), VIP_6.into()] {
            let lab = &lab;
            scope.spawn(move || {
                let error = lab.node.enter(|| TcpStream::connect((vip, 80)).unwrap_err());
                assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{vip}: {error}");
            });
        }
    });
    running.stop().unwrap();
}

#[test]
fn tunnels_end_at_an_address_that_the_target_got_later() {
    let Some(lab) = Lab::new() else { return };
    let mut running = lab.start_agent("eth0");
    let server = lab.server(VIP.into());
    lab.target.ip("address add 10.0.0.22/24 dev eth0").unwrap();
    wait::until("a packet through the new address", PATIENCE, || {
        lab.send_by_gue(NODE.into(), Ipv4Addr::new(10, 0, 0, 22).into(), &datagram(4, b"late"));
        let mut buffer = [0; 100];
        server.set_read_timeout(Some(Duration::from_millis(50)))?;
        server.recv(&mut buffer).map(drop).context("nothing was received")
    })
    .unwrap();
    running.stop().unwrap();
}

#[test]
fn a_pinned_agent_is_killed_and_replaced_while_packets_flow() {
    let Some(lab) = Lab::new() else { return };
    let pins = Pins::mount(&lab);
    let before = lab.target_state();
    let running = lab.start_agent_with(pins.options("eth0"));
    let first = lab.status().unwrap()["interfaces"][0]["program_id"].clone();
    running.crash();
    lab.exchange_through_every_tunnel();
    let mut next = lab.start_agent_with(pins.options("eth0"));
    let status = lab.status().unwrap();
    assert_ne!(status["interfaces"][0]["program_id"], first);
    assert_eq!(status["interfaces"][0]["mode"], "native");
    lab.exchange_through_every_tunnel();
    // The killed agent's program has counted on, and the next one's goes on from there.
    assert_eq!(lab.status().unwrap()["packets"]["decapsulated"], 24);
    next.tell(Command::HandOver);
    next.join().unwrap();
    lab.exchange_through_every_tunnel();
    assert_ne!(lab.target_state(), before);
    let mut last = lab.start_agent_with(pins.options("eth0"));
    lab.exchange_through_every_tunnel();
    assert_eq!(lab.status().unwrap()["packets"]["decapsulated"], 48);
    last.tell(Command::Reload);
    lab.exchange_through_every_tunnel();
    last.stop().unwrap();
    lab.expect_target_state(&before);
    assert!(!pins.directory().exists());
    let mut anew = lab.start_agent_with(pins.options("eth0"));
    assert_eq!(lab.status().unwrap()["packets"].get("decapsulated"), None, "it ended, so all begins anew");
    anew.stop().unwrap();
}

#[test]
fn no_packet_is_lost_while_agents_replace_each_other() {
    let Some(lab) = Lab::new() else { return };
    let pins = Pins::mount(&lab);
    let mut running = lab.start_agent_with(pins.options("eth0"));
    let server = lab.server(VIP.into());
    server.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    // Room for all that is sent while a busy machine does not run the receiver.
    set_socket_recv_buffer_size_force(&server, 8 << 20).unwrap();
    let is_over = AtomicBool::new(false);
    let (sent, received) = std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (lab, is_over) = (&lab, &is_over);
        let receiver = scope.spawn(move || {
            let (mut buffer, mut received) = ([0; 100], 0);
            loop {
                // Looked at first: it is quiet for a while after the last packet was sent.
                let was_over = is_over.load(Ordering::Relaxed);
                match server.recv(&mut buffer) {
                    Ok(_) => received += 1,
                    Err(_) if was_over => return received,
                    Err(_) => (),
                }
            }
        });
        let sender = scope.spawn(move || {
            let socket = lab.node.enter(|| UdpSocket::bind((NODE, 0)).unwrap());
            let packet = [&[0, 4, 0, 0][..], &datagram(4, b"steady")].concat();
            let mut sent = 0;
            while stopped.try_recv().is_err() {
                socket.send_to(&packet, (TARGET, 6080)).unwrap();
                sent += 1;
                std::thread::sleep(Duration::from_micros(300));
            }
            sent
        });
        for _ in 0..4 {
            running.tell(Command::HandOver);
            running.join().unwrap();
            running = lab.start_agent_with(pins.options("eth0"));
        }
        running.tell(Command::Reload);
        std::thread::sleep(Duration::from_millis(300));
        stop.send(()).unwrap();
        let sent = sender.join().unwrap();
        is_over.store(true, Ordering::Relaxed);
        (sent, receiver.join().unwrap())
    });
    assert_eq!(received, sent);
    running.stop().unwrap();
}

#[test]
fn what_the_next_agent_does_without_is_put_back() {
    let Some(lab) = Lab::new() else { return };
    let pins = Pins::mount(&lab);
    let before = lab.target_state();
    let mut running = lab.start_agent_with(pins.options("eth0"));
    running.tell(Command::HandOver);
    running.join().unwrap();
    let mut options = pins.options("eth0");
    options.vips = vec![VIP.into()];
    options.mss_clamp = MssClamp::Off;
    let mut next = lab.start_agent_with(options);
    let addresses = lab.target.ip("-oneline address show dev lo").unwrap();
    assert!(addresses.contains("192.0.2.7/32") && !addresses.contains(&VIP_6.to_string()), "{addresses}");
    let mut names: Vec<_> =
        std::fs::read_dir(pins.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let left = ["agent_continuations", "agent_tc_continuations", "native-eth0", "reason_counters"];
    assert_eq!(names, left);
    next.stop().unwrap();
    lab.expect_target_state(&before);
}

#[test]
fn counters_of_another_layout_are_not_read() {
    let Some(lab) = Lab::new() else { return };
    let pins = Pins::mount(&lab);
    std::fs::create_dir(pins.directory()).unwrap();
    let pinned = pins.directory().join("reason_counters");
    let mut other = aya::EbpfLoader::new();
    let other = other.map_max_entries("REASON_COUNTERS", 7).load(programs::agent().unwrap()).unwrap();
    other.map("REASON_COUNTERS").unwrap().pin(pinned).unwrap();
    let mut running = lab.start_agent_with(pins.options("eth0"));
    lab.exchange_through_every_tunnel();
    assert_eq!(lab.status().unwrap()["packets"]["decapsulated"], 12);
    running.stop().unwrap();
}

#[test]
fn beside_another_xdp_program_the_agent_works_in_tc() {
    let Some(lab) = Lab::new() else { return };
    let _other = lab::peer::Peer::attach(&lab.target, "eth0").unwrap();
    let before = lab.target_state();
    let mut running = lab.start_agent("eth0");
    assert_eq!(lab.status().unwrap()["interfaces"][0]["mode"], "tc");
    lab.exchange_through_every_tunnel();
    running.stop().unwrap();
    assert_eq!(lab.target_state(), before, "the other program is still there");
}

#[test]
fn an_agent_delivers_and_waits_where_another_program_has_the_port_at_which_nodes_ask() {
    let Some(lab) = Lab::new() else { return };
    let another = lab.target.enter(|| std::net::TcpListener::bind((TARGET, GUE_PORT))).unwrap();
    let mut running = lab.start_agent("eth0");
    lab.exchange_through_every_tunnel();
    let ask = || lab.node.enter(|| TcpStream::connect((TARGET, GUE_PORT)));
    drop(another);
    wait::until("the agent to have the port", PATIENCE, || Ok(ask()?)).unwrap();
    running.stop().unwrap();
    assert!(ask().is_err());
}

#[test]
fn metrics_are_served_where_they_are_asked_for() {
    let Some(lab) = Lab::new() else { return };
    let mut options = lab.options("eth0");
    options.metrics_address = Some("127.0.0.1:9101".parse().unwrap());
    let mut running = lab.start_agent_with(options);
    lab.exchange_through_every_tunnel();
    let text = lab.target.enter(|| {
        let mut stream = TcpStream::connect("127.0.0.1:9101").unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(
        text.contains("sluice_agent_packets_total{reason=\"decapsulated\",verdict=\"passed\"} 12"),
        "{text}"
    );
    running.stop().unwrap();
}

#[test]
fn a_translated_port_is_served_through_every_tunnel() {
    let Some(lab) = Lab::new() else { return };
    let mut options = lab.options("eth0");
    options.ports = vec!["192.0.2.7:53/udp=5353".parse().unwrap(), "192.0.2.7:80/tcp=8080".parse().unwrap()];
    let mut running = lab.start_agent_with(options);
    let server = lab.target.enter(|| UdpSocket::bind((VIP, 5353)).unwrap());
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let asker = lab.node.enter(|| UdpSocket::bind((CLIENT, 1234)).unwrap());
    asker.set_read_timeout(Some(PATIENCE)).unwrap();
    lab.send_by_gue(NODE.into(), TARGET.into(), &datagram(4, b"translated"));
    let (question, from) = received(&server);
    assert_eq!(question, b"translated");
    server.send_to(b"answer", from).unwrap();
    assert_eq!(received(&asker), (b"answer".to_vec(), SocketAddr::new(VIP.into(), 53)));
    running.stop().unwrap();
}

#[test]
fn a_peer_of_a_prefix_is_found_and_gets_what_is_handed_on() {
    let Some(lab) = Lab::new() else { return };
    let _fit_for_xdp = lab::peer::Peer::attach(&lab.node, "eth0").unwrap();
    for (here, peer, prefix) in [
        (IpAddr::from(TARGET), IpAddr::from(PEER), "10.0.0.0/29"),
        (TARGET_6.into(), PEER_6.into(), "fd00::/64"),
    ] {
        link::address(&lab.node, "eth0", peer).unwrap();
        let mut options = lab.options("eth0");
        options.peers = vec![prefix.parse().unwrap()];
        let mut running = lab.start_agent_with(options);
        let other = lab.node.enter(|| UdpSocket::bind((peer, 6080)).unwrap());
        other.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let stray = stray();
        let node = if peer.is_ipv4() { NODE.into() } else { IpAddr::from(NODE_6) };
        let socket = lab.node.enter(|| UdpSocket::bind((node, 0)).unwrap());
        let mut buffer = [0; 200];
        let handed_on = wait::until("the packet at the peer", PATIENCE, || {
            socket.send_to(&[chain(peer, 0, 1), stray.clone()].concat(), (here, 6080))?;
            if peer.is_ipv6() {
                // A socket takes no UDP over IPv6 without a checksum, which is how tunnels have it (RFC 6935).
                ensure!(lab.status()?["packets"]["handed_on"].is_u64(), "nothing was handed on");
                return Ok(None);
            }
            let (length, from) = other.recv_from(&mut buffer).context("nothing was received")?;
            Ok(Some((buffer[..length].to_vec(), from.ip())))
        });
        let expected = ([chain(peer, 1, 0), stray].concat(), here);
        assert_eq!(handed_on.unwrap(), Some(expected).filter(|_| peer.is_ipv4()));
        let packets = lab.status().unwrap()["packets"].clone();
        assert!(packets["handed_on"].as_u64().unwrap() > 0, "{packets}");
        assert!(packets["no_peer_next_hop"].as_u64().unwrap() > 0, "the first one: {packets}");
        running.stop().unwrap();
    }
}

/// GUE header and chain of a packet for the peer, before and after its hop.
fn chain(peer: IpAddr, hops: u8, remaining: u8) -> Vec<u8> {
    let (hlen, size) = if peer.is_ipv4() { (3, 4) } else { (9, 16) };
    let mut chain = vec![hlen, 4, 0, 0, 1, hops, remaining, 0];
    match peer {
        _ if remaining == 0 => chain.extend(vec![0; size]),
        IpAddr::V4(peer) => chain.extend(peer.octets()),
        IpAddr::V6(peer) => chain.extend(peer.octets()),
    }
    chain.extend(vec![0; size]);
    chain
}

/// A client's segment of a connection that this target does not have.
fn stray() -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv4(CLIENT.octets(), VIP.octets(), 63);
    builder.tcp(40_000, 80, 7, 512).ack(9).write(&mut packet, b"").unwrap();
    packet
}

/// A BPF file system of a test's own.
struct Pins<'a> {
    lab: &'a Lab,
}

impl<'a> Pins<'a> {
    fn mount(lab: &'a Lab) -> Pins<'a> {
        let pins = Pins { lab };
        std::fs::create_dir_all(pins.mount_point()).unwrap();
        lab.target.run("mount", &["-t", "bpf", "bpf", pins.mount_point().to_str().unwrap()]).unwrap();
        pins
    }

    fn mount_point(&self) -> PathBuf {
        self.lab.lease.directory().join("bpf")
    }

    fn directory(&self) -> PathBuf {
        self.mount_point().join("agent")
    }

    fn options(&self, interface: &str) -> Options {
        Options { pins: Some(self.directory()), ..self.lab.options(interface) }
    }
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        let _ = self.lab.target.run("umount", &[self.mount_point().to_str().unwrap()]);
    }
}

/// A node and a target on one cable.
struct Lab {
    node: Host,
    target: Host,
    lease: Arc<Lease>,
}

impl Lab {
    fn new() -> Option<Lab> {
        if !lab::require_root() {
            return None;
        }
        let lease = Lease::take().unwrap();
        let (node, target) = (Host::new(&lease, "node").unwrap(), Host::new(&lease, "target").unwrap());
        let ends = (End { host: &node, interface: "eth0" }, End { host: &target, interface: "eth0" });
        link::connect(ends.0, ends.1, 1600).unwrap();
        let lab = Lab { node, target, lease };
        for address in [IpAddr::from(NODE), NODE_6.into(), STRANGER.into()] {
            link::address(&lab.node, "eth0", address).unwrap();
        }
        lab.node.ip(&format!("address add {CLIENT}/32 dev lo")).unwrap();
        lab.node.ip(&format!("address add {CLIENT_6}/128 dev lo nodad")).unwrap();
        lab.address_target("eth0");
        Some(lab)
    }

    fn address_target(&self, interface: &str) {
        for address in [IpAddr::from(TARGET), TARGET_6.into()] {
            link::address(&self.target, interface, address).unwrap();
        }
        self.target.ip(&format!("route replace default via {NODE}")).unwrap();
        self.target.ip(&format!("-6 route replace default via {NODE_6}")).unwrap();
    }

    fn directory(&self) -> PathBuf {
        self.lease.directory().join("agent")
    }

    fn options(&self, interface: &str) -> Options {
        Options {
            interfaces: vec![interface.into()],
            nodes: vec![NODE.into(), NODE_6.into()],
            vips: vec![VIP.into(), VIP_6.into()],
            peers: vec![],
            ports: vec![],
            metrics_address: None,
            mss_clamp: MssClamp::Auto,
            config: None,
            runtime_directory: self.directory(),
            pins: Some(self.lease.directory().join("unpinned/agent")),
        }
    }

    /// Starts the agent and waits until it is ready.
    fn start_agent(&self, interface: &str) -> Running {
        self.start_agent_with(self.options(interface))
    }

    fn start_agent_with(&self, options: Options) -> Running {
        let mut running = self.spawn_agent(options);
        wait::until("the agent's status", PATIENCE, || {
            running.expect_life();
            self.status()
        })
        .unwrap();
        running
    }

    fn spawn_agent(&self, options: Options) -> Running {
        let entrance = self.target.entrance().unwrap();
        let (commands, told) = mpsc::channel(1);
        let (crash, crashed) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            entrance.move_this_thread_in();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    ended = agent::run_until(options, told) => ended,
                    Ok(()) = crashed => panic!("the agent is meant to crash here"),
                }
            })
        });
        Running { commands: Some(commands), crash: Some(crash), thread: Some(thread) }
    }

    fn status(&self) -> Result<Value> {
        let mut stream = UnixStream::connect(self.directory().join("status.sock"))?;
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
        Ok(serde_json::from_str(body)?)
    }

    /// All that an agent may change on the target.
    fn target_state(&self) -> Vec<String> {
        let settings = SETTINGS.iter().map(|name| format!("{name} {}", self.target.sysctl(name).unwrap()));
        // Whether duplicate address detection is through with a link-local address is not the agent's doing.
        let shown = ["-oneline address show", "-oneline link show"]
            .map(|what| self.target.ip(what).unwrap().replace(" tentative", ""));
        settings.chain(shown).collect()
    }

    fn expect_target_state(&self, expected: &[String]) {
        self.wait_for_detachment();
        assert_eq!(self.target_state(), expected);
    }

    /// A process that another test is about to start may hold a descriptor of the program's link for a moment.
    fn wait_for_detachment(&self) {
        wait::until("the program's detachment", PATIENCE, || {
            let link = self.target.ip("link show dev eth0")?;
            ensure!(!link.contains("xdp"), "{link}");
            Ok(())
        })
        .unwrap();
    }

    /// A server's socket on the target.
    fn server(&self, vip: IpAddr) -> UdpSocket {
        let socket = self.target.enter(|| UdpSocket::bind((vip, 53)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// A datagram and its answer by IPIP and both versions of GUE, all four combinations of versions of IP.
    fn exchange_through_every_tunnel(&self) {
        for (version, vip, client) in
            [(4, IpAddr::from(VIP), IpAddr::from(CLIENT)), (6, VIP_6.into(), CLIENT_6.into())]
        {
            let server = self.server(vip);
            let asker = self.node.enter(|| UdpSocket::bind((client, 1234)).unwrap());
            asker.set_read_timeout(Some(PATIENCE)).unwrap();
            for (node, target) in
                [(IpAddr::from(NODE), IpAddr::from(TARGET)), (NODE_6.into(), TARGET_6.into())]
            {
                self.send_by_ipip(node, target, version);
                self.send_by_gue(node, target, &datagram(version, b"by GUE"));
                self.send_by_udp(node, target, &datagram(version, b"by GUE 1"));
                for expected in [&b"by IPIP"[..], b"by GUE", b"by GUE 1"] {
                    let (question, from) = received(&server);
                    assert_eq!((&question[..], from), (expected, SocketAddr::new(client, 1234)));
                    server.send_to(b"answer", from).unwrap();
                    assert_eq!(received(&asker), (b"answer".to_vec(), SocketAddr::new(vip, 53)));
                }
            }
        }
    }

    /// The kernel makes the outer IP header of a raw socket.
    fn send_by_ipip(&self, node: IpAddr, target: IpAddr, version: u8) {
        let family = if node.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let protocol = if version == 4 { ipproto::IPIP } else { ipproto::IPV6 };
        let socket = self.node.enter(|| socket(family, SocketType::RAW, Some(protocol)).unwrap());
        bind(&socket, &SocketAddr::new(node, 0)).unwrap();
        let packet = datagram(version, b"by IPIP");
        sendto(&socket, &packet, SendFlags::empty(), &SocketAddr::new(target, 0)).unwrap();
    }

    /// GUE of version 0.
    fn send_by_gue(&self, node: IpAddr, target: IpAddr, packet: &[u8]) {
        let protocol = if packet[0] >> 4 == 4 { 4 } else { 41 };
        self.send_by_udp(node, target, &[&[0, protocol, 0, 0], packet].concat());
    }

    /// To GUE's port: a packet without a header before it is GUE of version 1.
    fn send_by_udp(&self, node: IpAddr, target: IpAddr, bytes: &[u8]) {
        let socket = self.node.enter(|| UdpSocket::bind((node, 0)).unwrap());
        socket.send_to(bytes, (target, 6080)).unwrap();
    }
}

fn received(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 1500];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram within the time");
    (buffer[..length].to_vec(), from)
}

/// A client's datagram for the VIP.
fn datagram(version: u8, payload: &[u8]) -> Vec<u8> {
    let builder = if version == 4 {
        PacketBuilder::ipv4(CLIENT.octets(), VIP.octets(), 63)
    } else {
        PacketBuilder::ipv6(CLIENT_6.octets(), VIP_6.octets(), 63)
    };
    let mut packet = Vec::new();
    builder.udp(1234, 53).write(&mut packet, payload).unwrap();
    packet
}

/// An agent in a thread of its own.
struct Running {
    commands: Option<mpsc::Sender<Command>>,
    crash: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Running {
    /// Panics if the agent has ended by itself.
    fn expect_life(&mut self) {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            panic!("the agent ended by itself: {:?}", self.stop());
        }
    }

    fn tell(&self, command: Command) {
        // An agent that has ended hears nothing.
        let _ = self.commands.as_ref().unwrap().blocking_send(command);
    }

    /// Ends it as a signal does.
    fn stop(&mut self) -> Result<()> {
        self.tell(Command::End);
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        self.thread.take().map_or(Ok(()), |thread| thread.join().expect("the agent panicked"))
    }

    /// What an agent that can't start ends with.
    fn refusal(mut self) -> String {
        let thread = self.thread.take().unwrap();
        format!("{:#}", thread.join().expect("the agent panicked").unwrap_err())
    }

    fn crash(mut self) {
        self.crash.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap_err();
    }
}
