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
/// How many datagrams are read in a row at most. Anybody may send them, and faster than they are read; then the node's
/// own packets must leave in between. After a stall it is several of each of some twenty routers.
const BATCH: usize = 64;

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

    /// The packets that have come over one hop and can be read, with their senders; of what waits, at most [`BATCH`]
    /// datagrams are looked at, and the rest stays for the next time.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (IpAddr, Packet)> + '_ {
        batch(|| self.read())
    }

    fn read(&self) -> Read {
        let mut buffer = [0; 2 * LENGTH];
        match socket_options::receive(self.socket.as_fd(), &mut buffer) {
            Ok(datagram) if datagram.ttl == Some(TTL) => {
                let bytes = &buffer[..datagram.length.min(buffer.len())];
                Packet::read(bytes).map_or(Read::Junk, |packet| Read::Packet(datagram.from, packet))
            }
            Ok(_) => Read::Junk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Read::Junk,
            Err(_) => Read::Nothing,
        }
    }
}

/// What a look at a socket found.
enum Read {
    Packet(IpAddr, Packet),
    /// Something that is no control packet of a neighbour.
    Junk,
    Nothing,
}

fn batch(read: impl FnMut() -> Read) -> impl Iterator<Item = (IpAddr, Packet)> {
    let found = std::iter::repeat_with(read).take(BATCH);
    found.take_while(|found| !matches!(found, Read::Nothing)).filter_map(|found| match found {
        Read::Packet(from, packet) => Some((from, packet)),
        Read::Junk | Read::Nothing => None,
    })
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::announce::bfd::{Diagnostic, State};

    const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn packet() -> Packet {
        Packet {
            diagnostic: Diagnostic(0),
            state: State::Up,
            poll: false,
            is_final: false,
            demand: false,
            multiplier: 3,
            my_discriminator: 1,
            your_discriminator: 2,
            desired_transmit: Duration::from_millis(100),
            required_receive: Duration::from_millis(100),
            required_echo: Duration::ZERO,
        }
    }

    #[test]
    fn a_flood_without_end_is_read_for_a_batch_and_no_more() {
        for is_junk in [true, false] {
            let mut reads = 0;
            let flood = || {
                reads += 1;
                if is_junk { Read::Junk } else { Read::Packet(ROUTER, packet()) }
            };
            let packets = batch(flood).count();
            assert_eq!((reads, packets), (BATCH, if is_junk { 0 } else { BATCH }));
        }
    }

    #[test]
    fn what_waits_behind_a_batch_is_found_the_next_time() {
        let mut waiting =
            (0..=BATCH).map(|at| if at < BATCH { Read::Junk } else { Read::Packet(ROUTER, packet()) });
        let mut read = || waiting.next().unwrap_or(Read::Nothing);
        let found = [0, 1, 2].map(|_| batch(&mut read).collect::<Vec<_>>());
        assert_eq!(found, [vec![], vec![(ROUTER, packet())], vec![]]);
    }

    #[test]
    fn reading_ends_where_nothing_waits() {
        let mut reads = 0;
        let read = || {
            reads += 1;
            if reads < 4 { Read::Packet(ROUTER, packet()) } else { Read::Nothing }
        };
        assert_eq!((batch(read).count(), reads), (3, 4));
    }
}
