//! Whose a packet is: real sockets of a namespace, packets of an independent builder, and the bytes of the extra hop.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use etherparse::PacketBuilder;
use lab::{Host, Lease};
use lb_common::reason::Reason;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::loaded::{
    Agent, CLIENT, CLIENT_6, Fate, Kind, LAST_PEER, LAST_PEER_6, LOCAL, LOCAL_6, NODE, NODE_6, PEER, PEER_6,
    VIP, VIP_6, WAY, datagram, ethernet,
};

const KINDS: [Kind; 2] = [Kind::Xdp, Kind::Tc];

/// TCP flags.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;

/// A namespace whose loopback has VIPs and clients, so that connections are real.
struct Lab {
    host: Host,
    _lease: Arc<Lease>,
}

impl Lab {
    fn new() -> Option<Lab> {
        if !lab::require_root() {
            return None;
        }
        let lease = Lease::take().unwrap();
        let host = Host::new(&lease, "target").unwrap();
        for address in [Ipv4Addr::from(VIP), CLIENT.into()] {
            host.ip(&format!("address add {address}/32 dev lo")).unwrap();
        }
        for address in [Ipv6Addr::from(VIP_6), CLIENT_6.into()] {
            host.ip(&format!("address add {address}/128 dev lo nodad")).unwrap();
        }
        Some(Lab { host, _lease: lease })
    }

    fn listen(&self, version: u8, port: u16) -> TcpListener {
        self.host.enter(|| TcpListener::bind((vip(version), port)).unwrap())
    }

    /// A connection from the client's address to the VIP.
    fn connect(&self, version: u8, port: u16) -> TcpStream {
        self.host.enter(|| {
            let family = if version == 4 { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket = socket(family, SocketType::STREAM, None).unwrap();
            bind(&socket, &SocketAddr::new(client(version), 0)).unwrap();
            connect(&socket, &SocketAddr::new(vip(version), port)).unwrap();
            TcpStream::from(socket)
        })
    }
}

fn vip(version: u8) -> IpAddr {
    if version == 4 { Ipv4Addr::from(VIP).into() } else { Ipv6Addr::from(VIP_6).into() }
}

fn client(version: u8) -> IpAddr {
    if version == 4 { Ipv4Addr::from(CLIENT).into() } else { Ipv6Addr::from(CLIENT_6).into() }
}

/// A client's segment with these flags.
fn segment(version: u8, client_port: u16, port: u16, flags: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = if version == 4 {
        PacketBuilder::ipv4(CLIENT, VIP, 63)
    } else {
        PacketBuilder::ipv6(CLIENT_6, VIP_6, 63)
    };
    let mut tcp = etherparse::TcpHeader::new(client_port, port, 1000, 512);
    (tcp.syn, tcp.rst, tcp.ack, tcp.fin) =
        (flags & SYN != 0, flags & RST != 0, flags & ACK != 0, flags & FIN != 0);
    builder.tcp_header(tcp).write(&mut packet, b"payload").unwrap();
    packet
}

/// A frame from a source to this host with a chain of these targets.
fn chained(outer: u8, source: [usize; 2], hops: u8, targets: usize, inner: &[u8]) -> Vec<u8> {
    let protocol = if inner[0] >> 4 == 4 { 4 } else { 41 };
    let (size, hlen) = if outer == 4 { (4, 3) } else { (16, 9) };
    let mut chain = vec![hlen, protocol, 0, 0, 1, hops, targets as u8, 0];
    for at in 0..2 {
        let target: Vec<u8> = match (outer, at < targets) {
            (_, false) => vec![0; size],
            // Those that are left are the last ones.
            (4, true) => [PEER, LAST_PEER][at + hops as usize].to_vec(),
            (_, true) => [PEER_6, LAST_PEER_6][at + hops as usize].to_vec(),
        };
        chain.extend(target);
    }
    let payload = [chain, inner.to_vec()].concat();
    [ethernet(0, outer), outer_packet(outer, source, &payload)].concat()
}

/// From one of the hosts to another, by their numbers: node, this, peer, last peer.
fn outer_packet(version: u8, [source, destination]: [usize; 2], gue: &[u8]) -> Vec<u8> {
    let (v4, v6) = ([NODE, LOCAL, PEER, LAST_PEER], [NODE_6, LOCAL_6, PEER_6, LAST_PEER_6]);
    let mut packet = Vec::new();
    let builder = if version == 4 {
        PacketBuilder::ipv4(v4[source], v4[destination], 64)
    } else {
        PacketBuilder::ipv6(v6[source], v6[destination], 64)
    };
    builder.udp(49_153, 6080).write(&mut packet, gue).unwrap();
    // No UDP checksum, as nodes write it.
    let at = if version == 4 { 26 } else { 46 };
    packet[at..at + 2].fill(0);
    packet
}

/// Hosts by their numbers in [`outer_packet`].
const FROM_NODE: [usize; 2] = [0, 1];

#[test]
fn what_no_socket_has_is_handed_on_byte_for_byte() {
    let Some(lab) = Lab::new() else { return };
    for kind in KINDS {
        let agent = Agent::load(kind).unwrap();
        for outer in [4, 6] {
            for inner in [4, 6] {
                let stray = segment(inner, 40_000, 80, ACK);
                for (hops, remaining) in [(0, 2), (0, 1), (1, 1)] {
                    let source = if hops == 0 { FROM_NODE } else { [2, 1] };
                    let frame = chained(outer, source, hops, remaining, &stray);
                    let (fate, out, reason) = lab.host.enter(|| agent.run(&frame));
                    let name = format!("{kind:?}: {inner} in {outer}, {hops} hops, {remaining} to come");
                    assert_eq!((fate, reason), (Fate::Sent, Reason::AgentHandedOn), "{name}");
                    let next = 2 + hops as usize;
                    let expected = chained(outer, [1, next], hops + 1, remaining - 1, &stray);
                    let link = [&WAY[0][..], &WAY[1], &expected[12..14]].concat();
                    assert_eq!(out, [&link, &expected[14..]].concat(), "{name}");
                }
            }
        }
    }
}

#[test]
fn the_last_of_a_chain_delivers_what_nobody_has() {
    let Some(lab) = Lab::new() else { return };
    for kind in KINDS {
        let agent = Agent::load(kind).unwrap();
        for outer in [4, 6] {
            for inner in [4, 6] {
                let stray = segment(inner, 40_000, 80, ACK);
                // Without a chain nobody else could have it: no socket is looked for.
                for (source, hops, expected) in [
                    (FROM_NODE, 0, Reason::AgentDecapsulated),
                    ([2, 1], 1, Reason::AgentUnclaimed),
                    ([2, 1], 2, Reason::AgentUnclaimed),
                ] {
                    let (fate, out, reason) =
                        lab.host.enter(|| agent.run(&chained(outer, source, hops, 0, &stray)));
                    assert_eq!((fate, reason), (Fate::Passed, expected), "{inner} in {outer}");
                    assert_eq!(out, [ethernet(0, inner), stray.clone()].concat());
                }
            }
        }
    }
}

#[test]
fn a_syn_is_delivered_at_once_and_so_is_what_is_not_tcp() {
    let Some(lab) = Lab::new() else { return };
    for kind in KINDS {
        let agent = Agent::load(kind).unwrap();
        for version in [4, 6] {
            let error_without_quote = icmp_error(version, &[]);
            for packet in
                [segment(version, 40_000, 80, SYN), datagram(version), fragment(version), error_without_quote]
            {
                let frame = chained(4, FROM_NODE, 0, 2, &packet);
                let (fate, out, reason) = lab.host.enter(|| agent.run(&frame));
                assert_eq!(
                    (fate, reason),
                    (Fate::Passed, Reason::AgentDecapsulated),
                    "{kind:?}: {packet:02x?}"
                );
                assert_eq!(out, [ethernet(0, version), packet].concat());
            }
            for flags in [SYN | ACK, SYN | RST, SYN | FIN, RST, FIN, FIN | ACK] {
                let frame = chained(6, FROM_NODE, 0, 2, &segment(version, 40_000, 80, flags));
                let (_, _, reason) = lab.host.enter(|| agent.run(&frame));
                assert_eq!(reason, Reason::AgentHandedOn, "flags {flags:#x} open nothing");
            }
        }
    }
}

/// A later fragment of a TCP segment: there are no ports in it.
fn fragment(version: u8) -> Vec<u8> {
    let mut packet = segment(version, 40_000, 80, ACK);
    if version == 4 {
        packet[7] = 1;
        let header = etherparse::Ipv4Header::from_slice(&packet).unwrap().0;
        packet[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    } else {
        packet.splice(40..40, [6, 0, 0, 8, 0, 0, 0, 1]);
        packet[6] = 44;
        packet[5] += 8;
    }
    packet
}

#[test]
fn an_established_connection_is_this_host_s_until_its_end() {
    let Some(lab) = Lab::new() else { return };
    for kind in KINDS {
        let agent = Agent::load(kind).unwrap();
        for version in [4, 6] {
            let listener = lab.listen(version, 80);
            let stream = lab.connect(version, 80);
            let port = stream.local_addr().unwrap().port();
            let reason = |client_port| {
                let frame = chained(4, FROM_NODE, 0, 2, &segment(version, client_port, 80, ACK));
                lab.host.enter(|| agent.run(&frame)).2
            };
            assert_eq!(reason(port), Reason::AgentDecapsulated, "established");
            let other = if port == 40_000 { 40_001 } else { 40_000 };
            assert_eq!(reason(other), Reason::AgentHandedOn, "only the listener would have it");
            let accepted = listener.accept().unwrap().0;
            // The server closes first: its end waits.
            drop(accepted);
            drop(stream);
            let (table, state) = (format!("/proc/net/tcp{}", if version == 6 { "6" } else { "" }), " 06 ");
            lab::wait::until("time-wait on the server's side", Duration::from_secs(5), || {
                let sockets = lab.host.run("cat", &[&table])?;
                anyhow::ensure!(sockets.contains(&format!(":{port:04X}{state}")), "{sockets}");
                Ok(())
            })
            .unwrap();
            assert_eq!(reason(port), Reason::AgentDecapsulated, "{kind:?}, IPv{version}: time-wait");
            drop(listener);
            assert_eq!(reason(other), Reason::AgentHandedOn, "nobody has it");
        }
    }
}

#[test]
fn a_half_open_connection_is_this_host_s() {
    let Some(lab) = Lab::new() else { return };
    let agent = Agent::load(Kind::Xdp).unwrap();
    for version in [4, 6] {
        let _listener = lab.listen(version, 80);
        let client = lab.mute_client(version);
        lab.half_open(from(client, segment(version, 41_000, 80, SYN)), version);
        let inner = from(client, segment(version, 41_000, 80, ACK));
        let (_, _, reason) = lab.host.enter(|| agent.run(&chained(4, FROM_NODE, 0, 2, &inner)));
        assert_eq!(reason, Reason::AgentDecapsulated, "IPv{version}: SYN-received");
        let inner = from(client, segment(version, 41_001, 80, ACK));
        let (_, _, reason) = lab.host.enter(|| agent.run(&chained(4, FROM_NODE, 0, 2, &inner)));
        assert_eq!(reason, Reason::AgentHandedOn, "IPv{version}: another port");
    }
}

/// The packet with another source; checksums of TCP are not looked at by the programs.
fn from(client: IpAddr, mut packet: Vec<u8>) -> Vec<u8> {
    match client {
        IpAddr::V4(client) => {
            packet[12..16].copy_from_slice(&client.octets());
            let header = etherparse::Ipv4Header::from_slice(&packet).unwrap().0;
            packet[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        }
        IpAddr::V6(client) => packet[8..24].copy_from_slice(&client.octets()),
    }
    packet
}

impl Lab {
    /// The address of a client that never answers: it is behind a cable to nowhere.
    fn mute_client(&self, version: u8) -> IpAddr {
        if self.host.ip("link show dev void0").is_err() {
            self.host.ip("link add name void0 type veth peer name void1").unwrap();
            self.host.ip("link set dev void0 up").unwrap();
            self.host.ip("link set dev void1 up").unwrap();
        }
        let (client, prefix) = if version == 4 { ("198.51.100.99", 32) } else { ("2001:db8:9::99", 128) };
        self.host.ip(&format!("route add {client}/{prefix} dev void0")).unwrap();
        self.host.ip(&format!("neighbour add {client} lladdr 02:00:00:00:00:99 dev void0")).unwrap();
        client.parse().unwrap()
    }

    /// Puts a client's packet, with a checksum that is right, on the loopback.
    fn half_open(&self, mut packet: Vec<u8>, version: u8) {
        let (at, family) = if version == 4 { (20, AddressFamily::INET) } else { (40, AddressFamily::INET6) };
        let (mut tcp, payload) = etherparse::TcpHeader::from_slice(&packet[at..]).unwrap();
        tcp.checksum = if version == 4 {
            let source = packet[12..16].try_into().unwrap();
            tcp.calc_checksum_ipv4_raw(source, VIP, payload).unwrap()
        } else {
            let source = packet[8..24].try_into().unwrap();
            tcp.calc_checksum_ipv6_raw(source, VIP_6, payload).unwrap()
        };
        packet[at + 16..at + 18].copy_from_slice(&tcp.checksum.to_be_bytes());
        self.host.enter(|| {
            let raw = socket(family, SocketType::RAW, Some(rustix::net::ipproto::RAW)).unwrap();
            let to = SocketAddr::new(vip(version), 0);
            rustix::net::sendto(&raw, &packet, rustix::net::SendFlags::empty(), &to).unwrap();
        });
    }
}

/// A SYN's TCP header with its checksum.
fn tcp_bytes(client: IpAddr, vip: IpAddr, client_port: u16, port: u16) -> Vec<u8> {
    let mut tcp = etherparse::TcpHeader::new(client_port, port, 7, 512);
    tcp.syn = true;
    tcp.checksum = match (client, vip) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            tcp.calc_checksum_ipv4_raw(client.octets(), vip.octets(), &[]).unwrap()
        }
        (IpAddr::V6(client), IpAddr::V6(vip)) => {
            tcp.calc_checksum_ipv6_raw(client.octets(), vip.octets(), &[]).unwrap()
        }
        _ => unreachable!("both are of one version"),
    };
    let mut bytes = Vec::new();
    bytes.write_all(&tcp.to_bytes()).unwrap();
    bytes
}

#[test]
fn an_icmp_error_follows_the_socket_of_the_packet_that_it_quotes() {
    let Some(lab) = Lab::new() else { return };
    for kind in KINDS {
        let agent = Agent::load(kind).unwrap();
        for version in [4, 6] {
            let _listener = lab.listen(version, 80);
            let stream = lab.connect(version, 80);
            let port = stream.local_addr().unwrap().port();
            for (client_port, expected) in [(port, Reason::AgentDecapsulated), (1, Reason::AgentHandedOn)] {
                let error = icmp_error(version, &answer(version, 80, client_port));
                let (fate, out, reason) = lab.host.enter(|| agent.run(&chained(6, FROM_NODE, 0, 1, &error)));
                assert_eq!(reason, expected, "{kind:?}, IPv{version}, client's port {client_port}");
                if fate == Fate::Passed {
                    assert_eq!(out, [ethernet(0, version), error.clone()].concat());
                }
                // At the end of the chain it is delivered, whoever it is for.
                let (fate, _, reason) = lab.host.enter(|| agent.run(&chained(6, FROM_NODE, 0, 0, &error)));
                assert_eq!((fate, reason), (Fate::Passed, Reason::AgentDecapsulated));
            }
        }
    }
}

/// What the server sends: a segment from the VIP.
pub(crate) fn answer(version: u8, port: u16, client_port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = if version == 4 {
        PacketBuilder::ipv4(VIP, CLIENT, 60)
    } else {
        PacketBuilder::ipv6(VIP_6, CLIENT_6, 60)
    };
    builder.tcp(port, client_port, 5, 512).write(&mut packet, b"an answer").unwrap();
    packet
}

/// A router's error to the VIP that quotes the beginning of a packet.
pub(crate) fn icmp_error(version: u8, quote: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let cut = quote.len().min(if version == 4 { 28 } else { 48 });
    if version == 4 {
        let needed = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
        let message = etherparse::Icmpv4Type::DestinationUnreachable(needed);
        let builder = PacketBuilder::ipv4([10, 9, 9, 9], VIP, 60).icmpv4(message);
        builder.write(&mut packet, &quote[..cut]).unwrap();
    } else {
        let message = etherparse::Icmpv6Type::PacketTooBig { mtu: 1400 };
        let builder = PacketBuilder::ipv6([9; 16], VIP_6, 60).icmpv6(message);
        builder.write(&mut packet, &quote[..cut]).unwrap();
    }
    packet
}

#[test]
fn a_valid_cookie_of_a_listener_is_this_host_s() {
    let Some(lab) = Lab::new() else { return };
    lab.host.set_sysctl("net/ipv4/tcp_syncookies", "2").unwrap();
    let agent = Agent::load(Kind::Xdp).unwrap();
    for version in [4, 6] {
        let _listener = lab.listen(version, 80);
        // Cookies are only looked for where one was given out lately.
        let (sequence, acknowledged) = lab.cookie(version, 42_000, 80);
        for (acknowledged, expected) in [
            (acknowledged, Reason::AgentDecapsulated),
            (acknowledged.wrapping_add(0x0100_0000), Reason::AgentHandedOn),
        ] {
            let client: IpAddr =
                if version == 4 { "198.51.100.98" } else { "2001:db8:9::98" }.parse().unwrap();
            let mut inner = from(client, segment(version, 42_000, 80, ACK));
            let tcp = if version == 4 { 20 } else { 40 };
            inner[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
            inner[tcp + 8..tcp + 12].copy_from_slice(&acknowledged.to_be_bytes());
            let (_, _, reason) = lab.host.enter(|| agent.run(&chained(4, FROM_NODE, 0, 2, &inner)));
            assert_eq!(reason, expected, "IPv{version}, {acknowledged:#x}");
        }
    }
}

impl Lab {
    /// Sequence and acknowledgement number with which a client answers the cookie that the server gives it.
    fn cookie(&self, version: u8, client_port: u16, port: u16) -> (u32, u32) {
        let client: IpAddr = if version == 4 { "198.51.100.98" } else { "2001:db8:9::98" }.parse().unwrap();
        let (family, prefix) =
            if version == 4 { (AddressFamily::INET, 32) } else { (AddressFamily::INET6, 128) };
        self.host.ip(&format!("address add {client}/{prefix} dev lo")).unwrap();
        lab::wait::until("the client's address", Duration::from_secs(5), || {
            let shown = self.host.ip("-oneline address show dev lo")?;
            anyhow::ensure!(!shown.contains("tentative"), "{shown}");
            Ok(())
        })
        .unwrap();
        self.host.enter(|| {
            let raw = socket(family, SocketType::RAW, Some(rustix::net::ipproto::TCP)).unwrap();
            bind(&raw, &SocketAddr::new(client, 0)).unwrap();
            let tcp = tcp_bytes(client, vip(version), client_port, port);
            let to = SocketAddr::new(vip(version), 0);
            rustix::net::sendto(&raw, &tcp, rustix::net::SendFlags::empty(), &to).unwrap();
            // A raw socket gets what comes to its address: the SYN-ACK, with an IP header if it is IPv4.
            loop {
                let mut buffer = [0; 200];
                let (length, _) =
                    rustix::net::recv(&raw, &mut buffer, rustix::net::RecvFlags::empty()).unwrap();
                let tcp = &buffer[if version == 4 { 20 } else { 0 }..length];
                if tcp[13] == SYN | ACK {
                    let number = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
                    return (8, number.wrapping_add(1));
                }
            }
        })
    }
}

#[test]
fn a_packet_is_handed_on_to_known_peers_only() {
    let Some(lab) = Lab::new() else { return };
    for kind in KINDS {
        let mut agent = Agent::load(kind).unwrap();
        let stray = segment(4, 40_000, 80, ACK);
        let refused = |agent: &Agent, frame: &[u8]| {
            let (fate, out, reason) = lab.host.enter(|| agent.run(frame));
            assert_eq!((fate, &out[..]), (Fate::Dropped, frame), "{reason:?}");
            reason
        };
        let mut to_stranger = chained(4, FROM_NODE, 0, 1, &stray);
        to_stranger[53] = 9;
        assert_eq!(refused(&agent, &to_stranger), Reason::AgentUnknownPeer);
        let mut to_itself = chained(4, FROM_NODE, 0, 1, &stray);
        to_itself[53] = 2;
        assert_eq!(refused(&agent, &to_itself), Reason::AgentMalformedChain);
        assert_eq!(
            refused(&agent, &chained(4, [2, 1], 0, 1, &stray)),
            Reason::AgentUnknownNode,
            "a peer's first hop"
        );
        assert_eq!(
            refused(&agent, &chained(4, FROM_NODE, 1, 1, &stray)),
            Reason::AgentUnknownPeer,
            "a node's second"
        );
        agent.set_way(PEER.into(), None);
        assert_eq!(refused(&agent, &chained(4, FROM_NODE, 0, 1, &stray)), Reason::AgentNoNextHop);
        agent.set_way(PEER.into(), Some(7));
        let (fate, _, reason) = lab.host.enter(|| agent.run(&chained(4, FROM_NODE, 0, 1, &stray)));
        let elsewhere = if kind == Kind::Xdp { Fate::Redirected } else { Fate::Sent };
        assert_eq!((fate, reason), (elsewhere, Reason::AgentHandedOn), "by another interface");
    }
}

#[test]
fn every_truncation_and_change_of_a_chain_is_survived() {
    let Some(lab) = Lab::new() else { return };
    let agent = Agent::load(Kind::Xdp).unwrap();
    let mut random = fastrand::Rng::with_seed(4);
    lab.host.enter(|| {
        for outer in [4, 6] {
            for packet in [segment(4, 1, 80, ACK), segment(6, 1, 80, ACK), icmp_error(4, &answer(4, 80, 1))] {
                let frame = chained(outer, FROM_NODE, 0, 2, &packet);
                for length in 14..frame.len() {
                    agent.run(&frame[..length]);
                }
                for _ in 0..2000 {
                    let mut frame = frame.clone();
                    for _ in 0..random.usize(1..4) {
                        let at = random.usize(14..frame.len());
                        frame[at] = random.u8(..);
                    }
                    agent.run(&frame);
                }
            }
        }
    });
}
