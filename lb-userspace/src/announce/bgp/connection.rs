//! A session's TCP connection: made from the configured source, protected as configured, read and written without
//! waiting.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::Peer;
use crate::announce::socket_options;

/// How long a connection may take to be there.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a closed connection may take to deliver what was sent last.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// With so many bytes waiting to be sent nothing more is read or told, until the router takes them.
const BACKLOG: usize = 1 << 20;
/// So many bytes are read at once: several of the longest messages (4096).
const READ: usize = 1 << 14;
/// Precedence "internetwork control" (RFC 4271 appendix E), CS6.
const TRAFFIC_CLASS: u8 = 0xc0;
/// The TTL under ttl_security.
const TTL_MAX: u8 = 255;

/// A connection, or none.
pub(super) enum Connection {
    None,
    Connecting(Pin<Box<dyn Future<Output = Result<TcpStream>> + Send>>),
    Open(Open),
}

pub(super) struct Open {
    stream: TcpStream,
    /// Waiting to be sent.
    backlog: Vec<u8>,
    /// When the router last took any of it, or there was none.
    taken_at: Instant,
}

/// What a connection has to tell.
pub(super) enum News {
    Connected,
    Disconnected(String),
    Bytes(Vec<u8>),
}

impl Connection {
    /// Begins to connect.
    pub(super) fn connect(peer: &Peer) -> Connection {
        Connection::Connecting(Box::pin(connect(peer.clone())))
    }

    /// Sends `bytes`, as soon as the router takes them.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if let Connection::Open(open) = self {
            if open.backlog.is_empty() {
                open.taken_at = Instant::now();
            }
            open.backlog.extend(bytes);
        }
    }

    /// Whether the router takes what it is sent.
    pub(super) fn has_room(&self) -> bool {
        !matches!(self, Connection::Open(open) if open.backlog.len() > BACKLOG)
    }

    /// Since when the router takes nothing of what waits for it.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        match self {
            Connection::Open(open) if !open.backlog.is_empty() => Some(open.taken_at),
            _ => None,
        }
    }

    /// The next thing that happens. It may be dropped at any moment and called again: nothing is lost.
    pub(super) async fn news(&mut self) -> News {
        let has_room = self.has_room();
        match self {
            Connection::None => pending().await,
            Connection::Connecting(attempt) => match attempt.await {
                Ok(stream) => {
                    let open = Open { stream, backlog: Vec::new(), taken_at: Instant::now() };
                    *self = Connection::Open(open);
                    News::Connected
                }
                Err(error) => {
                    *self = Connection::None;
                    News::Disconnected(format!("{error:#}"))
                }
            },
            Connection::Open(open) => match open.news(has_room).await {
                Ok(bytes) => News::Bytes(bytes),
                Err(error) => {
                    *self = Connection::None;
                    News::Disconnected(error)
                }
            },
        }
    }

    /// What has come already, if anything has: one read, whether or not the runtime has looked at the socket.
    pub(super) fn waiting(&mut self) -> Option<News> {
        let has_room = self.has_room();
        let Connection::Open(open) = self else { return None };
        let mut bytes = vec![0; READ];
        let read = has_room.then(|| rustix::io::read(&open.stream, &mut bytes))?;
        match taken(read.map_err(io::Error::from), bytes)? {
            Ok(bytes) => Some(News::Bytes(bytes)),
            Err(error) => {
                *self = Connection::None;
                Some(News::Disconnected(error))
            }
        }
    }

    /// Ends it, and sees to it that the router still gets what was sent; that takes at most a second.
    pub(super) async fn close(&mut self) {
        if let Connection::Open(open) = std::mem::replace(self, Connection::None) {
            // A router that takes nothing more learns by its hold time.
            let _ = timeout(CLOSE_WITHIN, open.close()).await;
        }
    }
}

impl Open {
    /// Bytes that came, or why none will come any more.
    async fn news(&mut self, has_room: bool) -> Result<Vec<u8>, String> {
        loop {
            let interest = match (has_room, self.backlog.is_empty()) {
                (true, true) => Interest::READABLE,
                (true, false) => Interest::READABLE | Interest::WRITABLE,
                (false, _) => Interest::WRITABLE,
            };
            let ready = self.stream.ready(interest).await.map_err(|error| words(&error))?;
            if ready.is_writable() {
                self.write().map_err(|error| words(&error))?;
            }
            if has_room && ready.is_readable() {
                let mut bytes = vec![0; READ];
                let read = self.stream.try_read(&mut bytes);
                if let Some(taken) = taken(read, bytes) {
                    return taken;
                }
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.backlog.is_empty() {
            match self.stream.try_write(&self.backlog) {
                Ok(length) => {
                    self.backlog.drain(..length);
                    self.taken_at = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What the router still sends is read until its end: closing a socket on unread bytes sends a reset, which can
    /// overtake the last message.
    async fn close(mut self) -> io::Result<()> {
        self.stream.write_all(&self.backlog).await?;
        self.stream.shutdown().await?;
        let mut rest = [0; 1 << 12];
        while self.stream.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

/// What a read into `bytes` took, or why none will take anything any more; none if there was nothing yet.
fn taken(read: io::Result<usize>, mut bytes: Vec<u8>) -> Option<Result<Vec<u8>, String>> {
    match read {
        Ok(0) => Some(Err("the router closed the connection".to_owned())),
        Ok(length) => {
            bytes.truncate(length);
            Some(Ok(bytes))
        }
        Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()) => None,
        Err(error) => Some(Err(words(&error))),
    }
}

fn words(error: &io::Error) -> String {
    format!("the connection to the router was lost: {error}")
}

async fn connect(peer: Peer) -> Result<TcpStream> {
    let router = SocketAddr::new(peer.address, peer.port);
    let socket = socket(&peer)?;
    let connected = timeout(CONNECT_WITHIN, socket.connect(router)).await;
    connected.map_err(|_| no_answer(&peer))?.with_context(|| format!("connecting to {router}"))
}

/// A wrong password and a TTL that is too small both look like this: the router's kernel is silent then.
fn no_answer(peer: &Peer) -> anyhow::Error {
    let (address, port) = (peer.address, peer.port);
    let hint = match (&peer.md5_password, peer.ttl_security) {
        (Some(_), _) => "is it up, and has it the same md5_password for this node?",
        (None, true) => "is it up, does it expect this node, without a password, with ttl_security?",
        (None, false) => "is it up, and does it expect this node, without a password and ttl_security?",
    };
    anyhow!("{address} port {port} did not answer within {} s: {hint}", CONNECT_WITHIN.as_secs())
}

fn socket(peer: &Peer) -> Result<TcpSocket> {
    let is_ipv4 = peer.source.is_ipv4();
    let socket = if is_ipv4 { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.context("opening a TCP socket")?;
    protect(&socket, peer).with_context(|| format!("preparing a connection to {}", peer.address))?;
    socket.set_nodelay(true).context("switching Nagle's delay off")?;
    socket
        .bind(SocketAddr::new(peer.source, 0))
        .with_context(|| format!("connecting from {}: it must be an address of this node", peer.source))?;
    Ok(socket)
}

/// The TTL both ways, the traffic class and the signature.
fn protect(socket: &TcpSocket, peer: &Peer) -> Result<()> {
    let ttl = if peer.ttl_security { TTL_MAX } else { peer.hops };
    match peer.source {
        IpAddr::V4(_) => {
            sockopt::set_ip_ttl(socket, ttl.into()).context("setting the TTL")?;
            sockopt::set_ip_tos(socket, TRAFFIC_CLASS).context("setting the traffic class")?;
        }
        IpAddr::V6(_) => {
            sockopt::set_ipv6_unicast_hops(socket, Some(ttl)).context("setting the hop limit")?;
            sockopt::set_ipv6_tclass(socket, TRAFFIC_CLASS.into()).context("setting the traffic class")?;
        }
    }
    if peer.ttl_security {
        let smallest = TTL_MAX - (peer.hops - 1);
        socket_options::set_minimum_ttl(socket.as_fd(), peer.source.is_ipv4(), smallest)
            .context("setting the smallest TTL that is taken")?;
    }
    if let Some(password) = &peer.md5_password {
        socket_options::set_tcp_md5(socket.as_fd(), peer.address, password)
            .context("setting the TCP-MD5 password (the kernel needs CONFIG_TCP_MD5SIG)")?;
    }
    Ok(())
}
