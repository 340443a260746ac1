//! BFD's sockets (RFC 5881 §4): all packets leave with a TTL of 255 to port 3784, and only those count that come
//! with 255, so from the link itself.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use rustix::net::sockopt;

use super::packet::{LENGTH, Packet};
use crate::announce::socket_options;

/// Where control packets go.
pub(super) const PORT: u16 = 3784;
/// The first port that they may come from; the last is 65535.
const FIRST_SOURCE_PORT: u16 = 49152;
const TTL: u8 = 255;
/// Precedence "internetwork control", CS6.
const TRAFFIC_CLASS: u8 = 0xc0;
/// How many ports are tried.
const ATTEMPTS: u32 = 100;

/// Takes the packets to one of the node's addresses.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: UdpSocket,
    pub(super) address: IpAddr,
}

impl Receiver {
    /// Opens it at port 3784 of `address`.
    pub(super) fn open(address: IpAddr) -> Result<Receiver> {
        let socket = UdpSocket::bind(SocketAddr::new(address, PORT)).with_context(|| {
            format!(
                "opening UDP port {PORT} at {address} for BFD: it must be an address of this node, and no other \
                 BFD daemon may listen there"
            )
        })?;
        socket_options::set_receive_ttl(socket.as_fd(), address.is_ipv4())
            .context("asking for the TTL of received packets")?;
        Ok(Receiver { socket, address })
    }

    /// The next packet that came over one hop and can be read, with its sender; none if there is none yet.
    pub(super) fn next(&self) -> Option<(IpAddr, Packet)> {
        let mut buffer = [0; 2 * LENGTH];
        loop {
            match socket_options::receive(self.socket.as_fd(), &mut buffer) {
                Ok(datagram) if datagram.ttl == Some(TTL) => {
                    let bytes = &buffer[..datagram.length.min(buffer.len())];
                    if let Ok(packet) = Packet::read(bytes) {
                        return Some((datagram.from, packet));
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends the packets of one session.
#[derive(Debug)]
pub(super) struct Sender {
    socket: UdpSocket,
    router: SocketAddr,
}

impl Sender {
    /// Opens it at a port of `source` that no other session has.
    pub(super) fn open(source: IpAddr, router: IpAddr) -> Result<Sender> {
        let socket = bind(source).with_context(|| {
            format!("opening a UDP port at {source} for BFD: it must be an address of this node")
        })?;
        socket.set_nonblocking(true).context("making a socket not wait")?;
        match source {
            IpAddr::V4(_) => {
                sockopt::set_ip_ttl(&socket, TTL.into()).context("setting the TTL")?;
                sockopt::set_ip_tos(&socket, TRAFFIC_CLASS).context("setting the traffic class")?;
            }
            IpAddr::V6(_) => {
                sockopt::set_ipv6_unicast_hops(&socket, Some(TTL)).context("setting the hop limit")?;
                sockopt::set_ipv6_tclass(&socket, TRAFFIC_CLASS.into())
                    .context("setting the traffic class")?;
            }
        }
        Ok(Sender { socket, router: SocketAddr::new(router, PORT) })
    }

    /// Sends a packet. One that the kernel does not send (no route, no neighbour) is as good as lost on the way.
    pub(super) fn send(&self, packet: &Packet) {
        let _ = self.socket.send_to(&packet.write(), self.router);
    }
}

fn bind(source: IpAddr) -> io::Result<UdpSocket> {
    let mut last = io::ErrorKind::AddrInUse.into();
    for _ in 0..ATTEMPTS {
        match UdpSocket::bind(SocketAddr::new(source, fastrand::u16(FIRST_SOURCE_PORT..))) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            bound => return bound,
        }
    }
    Err(last)
}
