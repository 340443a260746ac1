//! One probe on its way: its reserved source port, the socket that encapsulates it, and its answer so far.
//!
//! The kernel makes the outer headers, as it would for any program: a probe takes the kernel's routes and
//! neighbours, which are those that the data plane was given.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use anyhow::Context;
use lb_common::encapsulation::GUE_PORT;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, ipproto, sendto, socket_with};
use tokio::net::TcpSocket;

use super::answer::read;
use super::{Answer, Probe, Transport};
use crate::explain::flow::{self, Kind};
use crate::model::Encapsulation;

/// A probe and what came of it.
pub(super) struct Flight<'a> {
    probe: &'a Probe,
    way: Option<Way>,
    answer: Option<Answer>,
}

/// What a probe needs to be sent.
struct Way {
    sender: Sender,
    reserved: Reserved,
    packet: Vec<u8>,
}

impl<'a> Flight<'a> {
    /// Opens the sockets; a probe for which that fails is answered with why.
    pub(super) fn prepare(probe: &'a Probe) -> Flight<'a> {
        match Way::open(probe) {
            Ok(way) => Flight { probe, way: Some(way), answer: None },
            Err(error) => Flight { probe, way: None, answer: Some(Answer::NotSent(format!("{error:#}"))) },
        }
    }

    /// Sends the probe, if it has no answer yet.
    pub(super) fn send(&mut self) {
        let Some(way) = self.way.as_ref().filter(|_| self.answer.is_none()) else { return };
        if let Err(error) = way.sender.send(&way.packet) {
            self.answer = Some(Answer::NotSent(error.to_string()));
        }
    }

    /// Whether it has no answer yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.answer.is_none()
    }

    /// Takes in a packet that came to this host, if it is the answer.
    pub(super) fn take(&mut self, packet: &[u8]) {
        let Some(way) = self.way.as_ref().filter(|_| self.answer.is_none()) else { return };
        self.answer = read(packet, self.probe, way.reserved.port());
        if self.answer == Some(Answer::Served) && self.probe.service.transport == Transport::Tcp {
            way.reset(self.probe);
        }
    }

    /// What came of it.
    pub(super) fn end(self) -> Answer {
        self.answer.unwrap_or(Answer::Silent)
    }
}

impl Way {
    fn open(probe: &Probe) -> anyhow::Result<Way> {
        let service = probe.service;
        let reserved = Reserved::bind(probe.client, service.transport)?;
        let kind = if service.transport == Transport::Tcp { Kind::Syn } else { Kind::Udp };
        let packet =
            flow::packet(kind, reserved.address, SocketAddr::new(service.vip, service.port), probe.length)?;
        Ok(Way { sender: Sender::open(probe)?, reserved, packet })
    }

    /// The target's half-open connection is gone at once, and not after its last retransmission. What can't be
    /// sent now is not worth a word: the target gives up by itself.
    fn reset(&self, probe: &Probe) {
        let vip = SocketAddr::new(probe.service.vip, probe.service.port);
        if let Ok(packet) = flow::packet(Kind::Reset, self.reserved.address, vip, None) {
            let _ = self.sender.send(&packet);
        }
    }
}

/// A source port that nobody else on this host gets meanwhile.
struct Reserved {
    address: SocketAddr,
    _socket: Port,
}

enum Port {
    Tcp { _socket: TcpSocket },
    Udp { _socket: UdpSocket },
}

impl Reserved {
    fn bind(client: IpAddr, transport: Transport) -> anyhow::Result<Reserved> {
        let any_port = SocketAddr::new(client, 0);
        let bound = || -> io::Result<Reserved> {
            match transport {
                Transport::Tcp => {
                    let socket = if client.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                    socket.bind(any_port)?;
                    Ok(Reserved { address: socket.local_addr()?, _socket: Port::Tcp { _socket: socket } })
                }
                Transport::Udp => {
                    let socket = UdpSocket::bind(any_port)?;
                    Ok(Reserved { address: socket.local_addr()?, _socket: Port::Udp { _socket: socket } })
                }
            }
        };
        bound().with_context(|| format!("reserving a source port at {client}"))
    }

    fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Puts packets into the tunnel.
struct Sender {
    socket: OwnedFd,
    to: SocketAddr,
}

impl Sender {
    fn open(probe: &Probe) -> anyhow::Result<Sender> {
        let opened = Sender::try_open(probe);
        opened.with_context(|| format!("opening a socket for tunnel packets from {}", probe.source))
    }

    fn try_open(probe: &Probe) -> rustix::io::Result<Sender> {
        let family = if probe.target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let inner = if probe.service.vip.is_ipv4() { ipproto::IPIP } else { ipproto::IPV6 };
        let (kind, protocol, port) = match probe.encapsulation {
            Encapsulation::Ipip => (SocketType::RAW, Some(inner), 0),
            Encapsulation::Gue => (SocketType::DGRAM, None, GUE_PORT),
        };
        let socket = socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, protocol)?;
        // Never in fragments, whatever is known of the way: nodes send none either.
        match probe.target {
            IpAddr::V4(_) => set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?,
            IpAddr::V6(_) => set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?,
        }
        bind(&socket, &SocketAddr::new(probe.source, 0))?;
        Ok(Sender { socket, to: SocketAddr::new(probe.target, port) })
    }

    /// GUE is of version 1, as a node's packet has it without a chain: nothing stands between UDP and `packet`.
    fn send(&self, packet: &[u8]) -> rustix::io::Result<()> {
        sendto(&self.socket, packet, SendFlags::empty(), &self.to).map(drop)
    }
}
