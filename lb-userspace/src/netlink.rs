//! What all who talk to the kernel's routing by netlink have in common: a socket that listens and tells when the
//! kernel dropped something, and the outcome of a question with its time-out. No meaning: what a message says is for
//! those to know who asked.
//!
//! Who listens and asks has two sockets: the kernel drops *answers* as well when a socket's buffer is full of
//! notifications, and then a question is never answered (seen under 20 000 route changes).

use std::future::Future;
use std::io;
use std::time::Duration;

use anyhow::Context;
use netlink_packet_core::NetlinkBuffer;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use thiserror::Error;

/// A socket that listens. It never asks.
///
/// It reads the socket itself instead of through rtnetlink's connection: the kernel's buffer is then the only queue
/// (and it is bounded, and tells when it overflowed), and nothing is decoded only to be thrown away.
pub(crate) struct Listener {
    socket: TokioSocket,
    datagram: Vec<u8>,
    /// Whether the kernel dropped some, and the rest was not thrown away yet.
    overrun: bool,
}

/// What a [`Listener`] hears.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    /// Messages, to be taken apart by [`messages`].
    Messages(&'a [u8]),
    /// The kernel dropped some: all that was known may be wrong.
    Lost,
}

impl Listener {
    /// Opens it in the calling thread's network namespace. What happens from here on is told; listings must
    /// be asked for after this, so that nothing falls between them.
    pub(crate) fn open(groups: &[MulticastGroup]) -> anyhow::Result<Listener> {
        let socket = subscribe(groups).context("opening a netlink socket for notifications")?;
        Ok(Listener { socket, datagram: Vec::with_capacity(LONGEST_DATAGRAM), overrun: false })
    }

    /// The next datagram of the kernel, or that some were dropped. May be cancelled without loss.
    pub(crate) async fn next(&mut self) -> io::Result<Heard<'_>> {
        loop {
            if self.overrun {
                self.drain().await?;
                self.overrun = false;
                return Ok(Heard::Lost);
            }
            self.datagram.clear();
            match self.socket.recv_from(&mut self.datagram).await {
                Ok(sender) if sender.port_number() == KERNEL => break,
                Ok(_) => {}
                Err(error) if is(&error, Errno::NOBUFS) => self.overrun = true,
                Err(error) => return Err(error),
            }
        }
        Ok(Heard::Messages(&self.datagram))
    }

    /// Throws away all that waits in the socket. The kernel tells of an overrun once, and not again before
    /// the queue was empty (NETLINK_S_CONGESTED): what it drops in between, it drops silently. So only a
    /// listing that is asked for after the queue was empty misses nothing.
    async fn drain(&mut self) -> io::Result<()> {
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

fn subscribe(groups: &[MulticastGroup]) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let inner = socket.socket_mut();
    inner.set_rx_buf_sz(RECEIVE_BUFFER)?;
    inner.bind(&SocketAddr::new(0, 0))?;
    for group in groups {
        inner.add_membership(*group as u32)?;
    }
    Ok(socket)
}

/// One message of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A whole one.
    Whole {
        /// `RTM_NEWROUTE` and the like; control messages have smaller ones than [`FIRST_RTM`].
        kind: u16,
        /// An answer has its question's.
        sequence: u32,
        /// What follows the header.
        payload: &'a [u8],
    },
    /// Cut off, longer than any that is known, and the last one: what it said is lost.
    CutOff,
}

/// The messages of a datagram.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let Ok(message) = NetlinkBuffer::new_checked(datagram) else {
            datagram = &[];
            return Some(Message::CutOff);
        };
        let aligned = (message.length() as usize).next_multiple_of(NLMSG_ALIGNMENT);
        datagram = datagram.get(aligned..).unwrap_or_default();
        let (kind, sequence) = (message.message_type(), message.sequence_number());
        Some(Message::Whole { kind, sequence, payload: message.payload() })
    })
}

/// Why a request brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum RequestError {
    /// The kernel's error.
    #[error("{0}")]
    Kernel(Errno),
    /// No answer in time, or none that could be read.
    #[error("no readable answer of the kernel within {} s", REQUEST_TIMEOUT.as_secs())]
    NoAnswer,
    /// The privileged helper does no such thing.
    #[error("the privileged helper refuses it: its line in the log says why")]
    Refused,
}

/// A request's outcome.
pub(crate) async fn within_timeout<T>(
    request: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(rtnetlink::Error::NetlinkError(error))) if error.code.is_some() => {
            Err(RequestError::Kernel(Errno::from_raw_os_error(error.raw_code().saturating_abs())))
        }
        Ok(Err(_)) | Err(_) => Err(RequestError::NoAnswer),
    }
}

/// The kernel answers within microseconds; a listing of many thousand neighbours takes some milliseconds.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The kernel's port number.
const KERNEL: u32 = 0;

/// Bytes; the kernel caps it at `net.core.rmem_max`.
const RECEIVE_BUFFER: i32 = 8 << 20;

/// Bytes; the kernel's notifications are some hundred, an interface's with many virtual functions some thousand.
const LONGEST_DATAGRAM: usize = 64 << 10;

/// Datagrams, some milliseconds' worth: other tasks get their turn in between.
const DRAINED_AT_ONCE: usize = 1024;

const NLMSG_ALIGNMENT: usize = 4;

/// Messages of smaller types are netlink's own (linux/netlink.h).
pub(crate) const FIRST_RTM: u16 = 16;
