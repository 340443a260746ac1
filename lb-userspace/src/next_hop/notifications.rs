//! The rtnetlink socket that listens: what it hears of interfaces and neighbours is decoded; of routes and whatever
//! else changes look-ups, next-hop objects among it (which the packet crate can't decode), it is enough that it came.

use std::collections::VecDeque;
use std::io;

use netlink_packet_core::Parseable;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use rtnetlink::MulticastGroup;
use tracing::debug;

use crate::netlink::{FIRST_RTM, Heard, Listener, Message, messages};

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
    listener: Listener,
    /// Those of the last datagram that were not handed out yet.
    waiting: VecDeque<Notification>,
}

impl Notifications {
    /// Opens it in the calling thread's network namespace. What happens from here on is told; listings must
    /// be asked for after this, so that nothing falls between them.
    pub(super) fn open() -> anyhow::Result<Notifications> {
        Ok(Notifications { listener: Listener::open(GROUPS)?, waiting: VecDeque::new() })
    }

    /// The next notification. May be cancelled without loss.
    pub(super) async fn next(&mut self) -> io::Result<Notification> {
        loop {
            if let Some(notification) = self.waiting.pop_front() {
                return Ok(notification);
            }
            match self.listener.next().await? {
                Heard::Messages(datagram) => read(datagram, &mut self.waiting),
                Heard::Lost => return Ok(Notification::Lost),
            }
        }
    }
}

/// Reads the messages of one datagram.
fn read(datagram: &[u8], into: &mut VecDeque<Notification>) {
    for message in messages(datagram) {
        let Message::Whole { kind, payload, .. } = message else {
            return into.push_back(Notification::Lost);
        };
        let notification = match kind {
            RTM_NEWLINK => parse(payload).map(Notification::Link),
            RTM_DELLINK => parse(payload).map(Notification::LinkGone),
            RTM_NEWNEIGH => parse(payload).map(Notification::Neighbour),
            RTM_DELNEIGH => parse(payload).map(Notification::NeighbourGone),
            // A question for daemons that resolve neighbours in user space (`app_solicit`).
            RTM_GETNEIGH => None,
            kind if kind < FIRST_RTM => None,
            _ => Some(Notification::Routes),
        };
        into.extend(notification);
    }
}

fn parse<T: Parseable<[u8]>>(payload: &[u8]) -> Option<T> {
    // The listing of the next overrun or start has the same message, and can't read it either.
    T::parse(payload)
        .inspect_err(|error| debug!("an unreadable netlink notification is ignored: {error}"))
        .ok()
}

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

// From linux/rtnetlink.h.
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
