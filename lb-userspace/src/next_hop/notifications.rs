//! The rtnetlink socket that listens. It never asks: see `requests` for why.
//!
//! It reads the socket itself instead of through rtnetlink's connection: the kernel's buffer is then the only
//! queue (and it is bounded, and tells when it overflowed), routes are not decoded only to be thrown away, and
//! next-hop objects count, whose messages the packet crate can't decode (RTM_NEWNEXTHOP).

use std::collections::VecDeque;
use std::io;

use anyhow::Context;
use netlink_packet_core::{NetlinkBuffer, Parseable};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use tracing::debug;

/// What the kernel told unasked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notification {
    /// An interface is new, or another than before.
    Link(LinkMessage),
    /// An interface is gone.
    LinkGone(LinkMessage),
    /// A neighbour is new, or another than before.
    Neighbour(NeighbourMessage),
    /// A neighbour's entry is gone.
    NeighbourGone(NeighbourMessage),
    /// A route, an address, a rule or a next-hop object: look-ups may have other answers now.
    Routes,
    /// Notifications were lost: all that was known may be wrong.
    Lost,
}

/// The socket that listens.
pub(super) struct Notifications {
    socket: TokioSocket,
    datagram: Vec<u8>,
    /// Those of the last datagram that were not handed out yet.
    waiting: VecDeque<Notification>,
    /// Whether the kernel dropped some, and the rest was not thrown away yet.
    overrun: bool,
}

impl Notifications {
    /// Opens it in the calling thread's network namespace. What happens from here on is told; listings must
    /// be asked for after this, so that nothing falls between them.
    pub(super) fn open() -> anyhow::Result<Notifications> {
        let socket = subscribe().context("opening a netlink socket for notifications")?;
        Ok(Notifications {
            socket,
            datagram: Vec::with_capacity(LONGEST_DATAGRAM),
            waiting: VecDeque::new(),
            overrun: false,
        })
    }

    /// The next notification. May be cancelled without loss.
    pub(super) async fn next(&mut self) -> io::Result<Notification> {
        loop {
            if self.overrun {
                self.drain().await?;
                self.overrun = false;
                return Ok(Notification::Lost);
            }
            if let Some(notification) = self.waiting.pop_front() {
                return Ok(notification);
            }
            self.datagram.clear();
            match self.socket.recv_from(&mut self.datagram).await {
                Ok(sender) if sender.port_number() == KERNEL => read(&self.datagram, &mut self.waiting),
                Ok(_) => {}
                Err(error) if is(&error, Errno::NOBUFS) => self.overrun = true,
                Err(error) => return Err(error),
            }
        }
    }

    /// Throws away all that waits in the socket. The kernel tells of an overrun once, and not again before
    /// the queue was empty (NETLINK_S_CONGESTED): what it drops in between, it drops silently. So only a
    /// listing that is asked for after the queue was empty misses nothing.
    async fn drain(&mut self) -> io::Result<()> {
        self.waiting.clear();
        loop {
            for _ in 0..DRAINED_AT_ONCE {
                self.datagram.clear();
                match self.socket.socket_ref().recv_from(&mut self.datagram, 0) {
                    Ok(_) => {}
                    Err(error) if is(&error, Errno::NOBUFS) => {}
                    Err(error) if is(&error, Errno::WOULDBLOCK) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn subscribe() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let inner = socket.socket_mut();
    inner.set_rx_buf_sz(RECEIVE_BUFFER)?;
    inner.bind(&SocketAddr::new(0, 0))?;
    for group in GROUPS {
        inner.add_membership(*group as u32)?;
    }
    Ok(socket)
}

/// Reads the messages of one datagram. Only interfaces and neighbours are decoded; of the rest it is enough
/// that they came.
fn read(mut datagram: &[u8], into: &mut VecDeque<Notification>) {
    while !datagram.is_empty() {
        let Ok(message) = NetlinkBuffer::new_checked(datagram) else {
            // Cut off: longer than any that is known. What it said is lost.
            return into.push_back(Notification::Lost);
        };
        let notification = match message.message_type() {
            RTM_NEWLINK => parse(message.payload()).map(Notification::Link),
            RTM_DELLINK => parse(message.payload()).map(Notification::LinkGone),
            RTM_NEWNEIGH => parse(message.payload()).map(Notification::Neighbour),
            RTM_DELNEIGH => parse(message.payload()).map(Notification::NeighbourGone),
            // A question for daemons that resolve neighbours in user space (`app_solicit`).
            RTM_GETNEIGH => None,
            kind if kind < FIRST_RTM => None,
            _ => Some(Notification::Routes),
        };
        into.extend(notification);
        let aligned = (message.length() as usize).next_multiple_of(NLMSG_ALIGNMENT);
        datagram = datagram.get(aligned..).unwrap_or_default();
    }
}

fn parse<T: Parseable<[u8]>>(payload: &[u8]) -> Option<T> {
    // The listing of the next overrun or start has the same message, and can't read it either.
    T::parse(payload)
        .inspect_err(|error| debug!("an unreadable netlink notification is ignored: {error}"))
        .ok()
}

/// The kernel's port number.
const KERNEL: u32 = 0;

/// Bytes; the kernel caps it at `net.core.rmem_max`.
const RECEIVE_BUFFER: i32 = 8 << 20;

/// Bytes; the kernel's notifications are some hundred, an interface's with many virtual functions some thousand.
const LONGEST_DATAGRAM: usize = 64 << 10;

/// Datagrams, some milliseconds' worth: other tasks get their turn in between.
const DRAINED_AT_ONCE: usize = 1024;

const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];

// From linux/netlink.h and linux/rtnetlink.h.
const NLMSG_ALIGNMENT: usize = 4;
const FIRST_RTM: u16 = 16;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::neighbour::NeighbourState;
    use netlink_packet_route::route::RouteMessage;

    use super::super::neighbours::tests::{MAC, a_hop, message};
    use super::*;

    fn bytes(message: RouteNetlinkMessage) -> Vec<u8> {
        let mut message = NetlinkMessage::from(message);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn reading(datagram: &[u8]) -> Vec<Notification> {
        let mut notifications = VecDeque::new();
        read(datagram, &mut notifications);
        notifications.into()
    }

    fn neighbour() -> NeighbourMessage {
        message(a_hop(), NeighbourState::Reachable, Some(MAC))
    }

    #[test]
    fn all_messages_of_a_datagram_are_read() {
        let datagram = [
            bytes(RouteNetlinkMessage::NewNeighbour(neighbour())),
            bytes(RouteNetlinkMessage::NewRoute(RouteMessage::default())),
            bytes(RouteNetlinkMessage::DelNeighbour(neighbour())),
        ];
        let expected = [
            Notification::Neighbour(neighbour()),
            Notification::Routes,
            Notification::NeighbourGone(neighbour()),
        ];
        assert_eq!(reading(&datagram.concat()), expected);
    }

    #[test]
    fn messages_that_the_packet_crate_does_not_know_count_as_routes() {
        const RTM_NEWNEXTHOP: u16 = 104;
        let mut datagram = bytes(RouteNetlinkMessage::NewRoute(RouteMessage::default()));
        datagram[4..6].copy_from_slice(&RTM_NEWNEXTHOP.to_ne_bytes());
        assert_eq!(reading(&datagram), [Notification::Routes]);
    }

    #[test]
    fn control_messages_say_nothing() {
        let mut done =
            NetlinkMessage::<RouteNetlinkMessage>::new(NetlinkHeader::default(), NetlinkPayload::Noop);
        done.finalize();
        let mut datagram = vec![0; done.buffer_len()];
        done.serialize(&mut datagram);
        assert_eq!(reading(&datagram), []);
    }

    #[test]
    fn every_truncation_is_a_loss_and_none_a_panic() {
        let whole = bytes(RouteNetlinkMessage::NewNeighbour(neighbour()));
        for length in 1..whole.len() {
            assert_eq!(reading(&whole[..length]), [Notification::Lost], "{length} bytes");
        }
    }
}
