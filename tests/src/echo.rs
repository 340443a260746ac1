//! What a target serves beside HTTP, for flows that last.
//!
//! TCP: on accept the server sends one line, `NAME CLIENT-ADDRESS CLIENT-PORT`, then echoes every byte.
//! UDP: a datagram is answered with `NAME CLIENT-ADDRESS CLIENT-PORT\n` and the datagram.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::net::sockopt::{set_ip_freebind, set_ipv6_freebind, set_socket_recv_buffer_size_force};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::server::accept;

/// The port of both echo services (RFC 862).
pub const PORT: u16 = 7;

/// Bytes of datagrams that may wait in a socket, with what the kernel keeps about them: some thousands.
const ROOM: usize = 8 << 20;

/// The line that names the server and the client as the server sees it.
pub fn greeting(name: &str, client: SocketAddr) -> String {
    format!("{name} {} {}\n", client.ip().to_canonical(), client.port())
}

/// Echoes TCP connections for ever.
pub(crate) async fn serve_tcp(listener: TcpListener, name: Arc<str>) -> Result<()> {
    loop {
        let (connection, client) = accept(&listener).await;
        let name = name.clone();
        // A client that goes away in the middle is its own business.
        tokio::spawn(async move { echo(connection, &greeting(&name, client)).await });
    }
}

async fn echo(mut connection: TcpStream, greeting: &str) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    connection.write_all(greeting.as_bytes()).await?;
    let (mut read, mut write) = connection.split();
    tokio::io::copy(&mut read, &mut write).await.map(drop)
}

/// Echoes datagrams to one address for ever. One socket an address, because an answer from a wildcard socket
/// would leave with the host's own address instead of the VIP.
pub(crate) async fn serve_udp(address: IpAddr, name: Arc<str>) -> Result<()> {
    let socket = bind_early(SocketAddr::new(address, PORT))?;
    let mut datagram = vec![0; 65_536];
    loop {
        // ICMP errors of earlier answers show up here; the service goes on.
        let Ok((length, client)) = socket.recv_from(&mut datagram).await else { continue };
        let mut answer = greeting(&name, client).into_bytes();
        answer.extend_from_slice(&datagram[..length]);
        let _ = socket.send_to(&answer, client).await;
    }
}

/// Makes room for all the datagrams that come to a socket while a busy machine keeps its thread waiting.
pub(crate) fn make_room(socket: &impl AsFd) -> Result<()> {
    set_socket_recv_buffer_size_force(socket, ROOM).context("enlarging a socket's receive buffer")
}

/// Binds to an address that the host may get only later, as a target gets its VIPs from the agent.
fn bind_early(address: SocketAddr) -> Result<UdpSocket> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::DGRAM, flags, None).context("opening a UDP socket")?;
    match address {
        SocketAddr::V4(_) => set_ip_freebind(&socket, true),
        SocketAddr::V6(_) => set_ipv6_freebind(&socket, true),
    }
    .context("setting the free bind option")?;
    make_room(&socket)?;
    bind(&socket, &address).with_context(|| format!("binding UDP {address}"))?;
    UdpSocket::from_std(socket.into()).context("registering a UDP socket")
}
