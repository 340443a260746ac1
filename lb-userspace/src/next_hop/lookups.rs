//! The rtnetlink socket that looks routes up, many at a time: one datagram of questions, and an answer for each. After
//! any change thousands of targets are looked up; a round trip for each would wait for another task each time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, Parseable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteMessage;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use tokio::time::timeout;
use tracing::debug;

use super::route::{Route, RouteAnswer, RouteFault};
use crate::netlink::{Message, REQUEST_TIMEOUT, RequestError, messages};

/// The socket.
pub(super) struct Lookups {
    socket: TokioSocket,
    /// The sequence number of the next question: answers bear that of theirs.
    next: u32,
    datagram: Vec<u8>,
}

impl Lookups {
    /// Opens it in the calling thread's network namespace.
    pub(super) fn open() -> anyhow::Result<Lookups> {
        let socket = connect().context("opening a netlink socket for look-ups")?;
        Ok(Lookups { socket, next: 1, datagram: Vec::with_capacity(LONGEST_ANSWER) })
    }

    /// Looks up the route to each target, as for packets that this host sends without a mark. An answer that can't be
    /// read concerns its target.
    ///
    /// # Errors
    /// If answers are missing: then the socket is of no use any more.
    pub(super) async fn routes(
        &mut self,
        targets: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, RouteAnswer>, RequestError> {
        let mut answers = BTreeMap::new();
        let targets: Vec<IpAddr> = targets.iter().copied().collect();
        for some in targets.chunks(AT_ONCE) {
            match timeout(REQUEST_TIMEOUT, self.ask(some)).await {
                Ok(Ok(answered)) => answers.extend(some.iter().copied().zip(answered)),
                Ok(Err(error)) => {
                    debug!("the socket for look-ups fails: {error}");
                    return Err(RequestError::NoAnswer);
                }
                Err(_) => return Err(RequestError::NoAnswer),
            }
        }
        Ok(answers)
    }

    async fn ask(&mut self, targets: &[IpAddr]) -> io::Result<Vec<RouteAnswer>> {
        let first = self.next;
        self.next = self.next.wrapping_add(u32::try_from(targets.len()).expect("it is at most AT_ONCE"));
        let questions = questions(targets, first);
        self.socket.send_to(&questions, &SocketAddr::new(KERNEL, 0)).await?;
        let mut answers: Vec<Option<RouteAnswer>> = vec![None; targets.len()];
        let mut missing = targets.len();
        while missing > 0 {
            self.datagram.clear();
            self.socket.recv_from(&mut self.datagram).await?;
            for (sequence, answer) in read(&self.datagram) {
                // One of an earlier batch, which nobody waits for any more, has no place here.
                let place = answers.get_mut(sequence.wrapping_sub(first) as usize);
                if let Some(place) = place.filter(|place| place.is_none()) {
                    *place = Some(answer);
                    missing -= 1;
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

fn connect() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let inner = socket.socket_mut();
    inner.set_rx_buf_sz(RECEIVE_BUFFER)?;
    inner.bind(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// One datagram with a question for each target, numbered from `first`.
fn questions(targets: &[IpAddr], first: u32) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(targets.len() * LONGEST_QUESTION);
    for (target, sequence) in targets.iter().zip((0..).map(|at| first.wrapping_add(at))) {
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(lookup(*target)));
        message.header.flags = NLM_F_REQUEST;
        message.header.sequence_number = sequence;
        message.finalize();
        let begin = datagram.len();
        datagram.resize(begin + message.buffer_len(), 0);
        message.serialize(&mut datagram[begin..]);
    }
    datagram
}

fn lookup(target: IpAddr) -> RouteMessage {
    // With a destination this is a look-up by the kernel's rules, tables and next hops; without, a listing.
    match target {
        IpAddr::V4(target) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(target, 32).build(),
        IpAddr::V6(target) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(target, 128).build(),
    }
}

/// The answers in a datagram, each with the number of its question.
fn read(datagram: &[u8]) -> impl Iterator<Item = (u32, RouteAnswer)> {
    messages(datagram).filter_map(|message| match message {
        Message::Whole { kind: RTM_NEWROUTE, sequence, payload } => {
            let answer = RouteMessage::parse(payload).map(|message| Route::parse(&message));
            Some((sequence, answer.map_err(|_| RouteFault::NoAnswer)))
        }
        Message::Whole { kind: NLMSG_ERROR, sequence, payload } => Some((sequence, Err(fault(payload)))),
        _ => None,
    })
}

/// The kernel's errors are negative numbers at the beginning of the payload.
fn fault(payload: &[u8]) -> RouteFault {
    let number = payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes).saturating_abs());
    number.map_or(RouteFault::NoAnswer, |number| RouteFault::Kernel(Errno::from_raw_os_error(number)))
}

/// So many answers fit the socket's buffer even where `net.core.rmem_max` is as it comes (212,992 bytes): each takes up
/// to 8 KiB of it, however short it is.
const AT_ONCE: usize = 24;

/// Bytes; the kernel caps it at `net.core.rmem_max`.
const RECEIVE_BUFFER: i32 = 1 << 20;

/// Bytes of a question for an IPv6 target.
const LONGEST_QUESTION: usize = 48;

/// Bytes; a route with many next hops is the longest.
const LONGEST_ANSWER: usize = 32 << 10;

/// The kernel's port number.
const KERNEL: u32 = 0;

// From linux/netlink.h and linux/rtnetlink.h.
const NLMSG_ERROR: u16 = 2;
const RTM_NEWROUTE: u16 = 24;

#[cfg(test)]
mod tests {
    use netlink_packet_core::{ErrorMessage, NetlinkPayload};
    use netlink_packet_route::route::RouteAttribute;

    use super::*;

    fn bytes(mut message: NetlinkMessage<RouteNetlinkMessage>, sequence: u32) -> Vec<u8> {
        message.header.sequence_number = sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    #[test]
    fn each_question_has_a_number_of_its_own_and_all_are_in_one_datagram() {
        let targets = ["10.0.0.1", "fd00::1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let datagram = questions(&targets, u32::MAX);
        let numbers: Vec<u32> = messages(&datagram)
            .map(|message| match message {
                Message::Whole { kind: 26, sequence, .. } => sequence,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(numbers, [u32::MAX, 0, 1]);
        assert!(datagram.len() <= targets.len() * LONGEST_QUESTION);
    }

    #[test]
    fn an_answer_is_a_route_or_the_kernels_error() {
        let mut route = RouteMessage::default();
        route.attributes.push(RouteAttribute::Oif(7));
        let route = bytes(NetlinkMessage::from(RouteNetlinkMessage::NewRoute(route)), 3);
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZero::new(-Errno::NETUNREACH.raw_os_error());
        error.header = vec![0; 16];
        let payload = NetlinkPayload::<RouteNetlinkMessage>::Error(error);
        let error = bytes(NetlinkMessage::new(Default::default(), payload), 4);
        let answers: Vec<(u32, RouteAnswer)> = read(&[route, error].concat()).collect();
        assert_eq!(answers.len(), 2);
        assert!(matches!(&answers[0], (3, Ok(route)) if route.interface == 7), "{answers:?}");
        assert_eq!(answers[1], (4, Err(RouteFault::Kernel(Errno::NETUNREACH))));
    }

    #[test]
    fn no_truncation_of_an_answer_is_a_panic() {
        let route = RouteNetlinkMessage::NewRoute(RouteMessage::default());
        let whole = bytes(NetlinkMessage::from(route), 3);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]).count(), 0, "{length} bytes");
        }
        assert_eq!(fault(&[1, 2]), RouteFault::NoAnswer);
    }
}
