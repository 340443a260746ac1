//! A marked probe through the tunnel: what a node would send to a target for a client that is the node itself.
//!
//! ```text
//!   node                                                  target
//!   outer source → target | node's own address → VIP:port ──►  decapsulates, and answers as to any client:
//!   SYN-ACK, RST, datagram, ICMP error  ◄──────────────────────  VIP:port → node's own address
//! ```
//!
//! It is marked by its source port, which is reserved for it, so no other packet is taken for its answer. A
//! connection that was accepted is reset at once, through the tunnel. Answers are read from a packet socket: the
//! node's stack would drop some of them, as it does not expect the VIP as a source. `answer` is pure; `tunnel`
//! holds the sockets that send, this module those that listen.

mod answer;
mod tunnel;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};

use crate::model::Encapsulation;
use tunnel::Flight;

/// A TCP or UDP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// What clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// The VIP.
    pub vip: IpAddr,
    /// Its port.
    pub port: u16,
    /// The port's transport.
    pub transport: Transport,
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let transport = if self.transport == Transport::Tcp { "TCP" } else { "UDP" };
        write!(f, "{}/{transport}", std::net::SocketAddr::new(self.vip, self.port))
    }
}

/// One probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    /// The outer source: an address of the node.
    pub source: IpAddr,
    /// The outer destination.
    pub target: IpAddr,
    /// How it is encapsulated.
    pub encapsulation: Encapsulation,
    /// The inner source: an address of the node of the VIP's family.
    pub client: IpAddr,
    /// The inner destination.
    pub service: Service,
    /// Bytes of the inner packet; as few as there can be, if none.
    pub length: Option<u16>,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The service answered.
    Served,
    /// The VIP is there, but nothing listens on the port.
    Refused,
    /// The target has nothing that takes this encapsulation.
    NoTunnel,
    /// Somebody on the way, or the target, says that it can't be delivered: in words.
    Undelivered(String),
    /// A router says that it carries fewer bytes, so many.
    TooBig(u16),
    /// Nothing came.
    Silent,
    /// It could not be sent: why.
    NotSent(String),
}

/// How many probes wait for their answers at once.
const BATCH: usize = 64;
/// A probe is sent anew after each of these but the last.
const WAITS: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_millis(600), Duration::from_millis(900)];
/// A frame's first bytes are enough for headers and what an ICMP error quotes.
const BYTES: usize = 2048;
/// What other traffic of the host may fill while probes are looked at.
const BUFFER: usize = 4 << 20;

/// Sends all probes, and waits for their answers, which come in the order of the probes.
///
/// # Errors
/// If this process may not open packet sockets.
pub async fn exchange(probes: Vec<Probe>) -> anyhow::Result<Vec<Answer>> {
    let exchanged = tokio::task::spawn_blocking(move || exchange_here(&probes)).await;
    exchanged.context("the probes ended early")?
}

/// The same, on the calling thread.
fn exchange_here(probes: &[Probe]) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(probes.len());
    if probes.is_empty() {
        return Ok(answers);
    }
    let taps = [tap(eth::IP)?, tap(eth::IPV6)?];
    for batch in probes.chunks(BATCH) {
        let mut flights: Vec<Flight<'_>> = batch.iter().map(Flight::prepare).collect();
        for wait in WAITS {
            flights.iter_mut().for_each(Flight::send);
            listen(&taps, &mut flights, Instant::now() + wait)?;
        }
        answers.extend(flights.into_iter().map(Flight::end));
    }
    Ok(answers)
}

/// What arrives at this host, from the IP header on.
fn tap(protocol: Protocol) -> anyhow::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, Some(protocol))
        .context("opening a packet socket: run this as root, or with CAP_NET_RAW")?;
    // A smaller buffer loses answers on a busy host only; they are asked for again.
    let _ = set_socket_recv_buffer_size(&socket, BUFFER);
    Ok(socket)
}

/// Takes answers until all are there, or the deadline is over.
fn listen(taps: &[OwnedFd; 2], flights: &mut [Flight<'_>], deadline: Instant) -> anyhow::Result<()> {
    let mut buffer = [0; BYTES];
    while flights.iter().any(Flight::is_waiting) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let left = Timespec::try_from(left).context("a wait is too long")?;
        let mut ready = taps.each_ref().map(|tap| PollFd::new(tap, PollFlags::IN));
        match poll(&mut ready, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for answers"),
        }
        for tap in taps {
            // Empty, or an error that concerns one packet: the next look tells.
            if let Ok((length, _)) = recv(tap, &mut buffer, RecvFlags::empty()) {
                flights.iter_mut().for_each(|flight| flight.take(&buffer[..length]));
            }
        }
    }
    Ok(())
}
