//! The host's network as a process without capabilities changes it: by asking the helper.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::debug;

use super::channel::{receive, send};
use super::protocol::{MOST_HOPS, NetworkRequest, Numbered, Outcome, Outcomes};
use crate::announce::kernel_table::Change;
use crate::netlink::RequestError;
use crate::next_hop::Hop;

/// The helper's line for neighbours and routes. Clones share it.
#[derive(Debug, Clone)]
pub struct Network(Arc<Mutex<Line>>);

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    /// The number of the next question: an answer that nobody waits for any more has an earlier one.
    next: u64,
}

/// The helper answers as soon as the kernel does: a message of many neighbours takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

impl Network {
    /// Begins to ask at the socket. Needs a tokio runtime.
    pub(super) fn new(socket: OwnedFd) -> anyhow::Result<Network> {
        let socket = without_waiting(socket).context("making a socket not wait")?;
        Ok(Network(Arc::new(Mutex::new(Line { socket, next: 0 }))))
    }

    /// Has the kernel keep neighbours resolved; the outcome of each.
    pub(crate) async fn keep_neighbours(&self, hops: &[Hop]) -> Vec<(Hop, Result<(), RequestError>)> {
        self.neighbours(hops, |keep| NetworkRequest::Neighbours { keep, release: Vec::new() }).await
    }

    /// Has the kernel forget neighbours when it pleases; the outcome of each.
    pub(crate) async fn release_neighbours(&self, hops: &[Hop]) -> Vec<(Hop, Result<(), RequestError>)> {
        self.neighbours(hops, |release| NetworkRequest::Neighbours { keep: Vec::new(), release }).await
    }

    async fn neighbours(
        &self,
        hops: &[Hop],
        request: impl Fn(Vec<Hop>) -> NetworkRequest,
    ) -> Vec<(Hop, Result<(), RequestError>)> {
        let mut outcomes = Vec::new();
        for hops in hops.chunks(MOST_HOPS) {
            let answered = self.ask(request(hops.to_vec())).await;
            let mut answered = answered.into_iter().flatten();
            let outcome = |hop: &Hop| (*hop, result(answered.next().unwrap_or(Outcome::NoAnswer)));
            outcomes.extend(hops.iter().map(outcome));
        }
        outcomes
    }

    /// Writes or removes the route of a VIP.
    ///
    /// # Errors
    /// The kernel's, and if the helper refuses or does not answer.
    pub(crate) async fn change_route(&self, change: Change) -> Result<(), RequestError> {
        let answered = self.ask(NetworkRequest::Route(change)).await;
        result(answered.and_then(|outcomes| outcomes.first().copied()).unwrap_or(Outcome::NoAnswer))
    }

    /// None if no answer comes.
    async fn ask(&self, request: NetworkRequest) -> Option<Outcomes> {
        let mut line = self.0.lock().await;
        match timeout(PATIENCE, line.ask(request)).await {
            Ok(Ok(outcomes)) => Some(outcomes),
            Ok(Err(error)) => {
                debug!("the privileged helper's line for the network fails: {error}");
                None
            }
            Err(_) => None,
        }
    }
}

impl Line {
    async fn ask(&mut self, request: NetworkRequest) -> io::Result<Outcomes> {
        let number = self.next;
        self.next += 1;
        let question = Numbered { number, of: request };
        let socket = &self.socket;
        socket.async_io(Interest::WRITABLE, || send(socket, &question, &[])).await?;
        loop {
            let (answer, _): (Numbered<Outcomes>, _) =
                socket.async_io(Interest::READABLE, || receive(socket)).await?;
            if answer.number == number {
                return Ok(answer.of);
            }
        }
    }
}

/// A socket as a runtime waits for it. It is one of sequenced packets, which the runtime has no type for; what is sent and
/// received is the same.
pub(super) fn without_waiting(socket: OwnedFd) -> io::Result<UnixDatagram> {
    let socket = net::UnixDatagram::from(socket);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

fn result(outcome: Outcome) -> Result<(), RequestError> {
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Kernel(number) => Err(RequestError::Kernel(Errno::from_raw_os_error(number))),
        Outcome::NoAnswer => Err(RequestError::NoAnswer),
        Outcome::Refused => Err(RequestError::Refused),
    }
}
