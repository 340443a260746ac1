//! Tells nodes which connections this host has: the server's half of [`crate::presence::connections`].
//!
//! A node needs it before it takes a former owner out of a slot's chain. It is told client addresses and ports of
//! connections to the VIPs that it asks for, and nothing else; who is not a node is told nothing. The kernel lists
//! its sockets through netlink (sock_diag(7)), which needs no privilege.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rtnetlink::sys::{Socket, SocketAddr as NetlinkAddress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::ports::{PortMapping, Protocol};
use crate::presence::connections::{
    Connection, Listener, MOST_CONNECTIONS, PORT, QUESTION_HEAD, Status, answer, listeners, listeners_length,
};

/// How long a node has to ask, and to take the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the port may be another's at the start, until that is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries to have the port.
const RETRY: Duration = Duration::from_millis(50);
/// Questions that are answered at the same time; others wait.
const AT_ONCE: usize = 2;

/// The running server; dropping it ends it.
#[derive(Debug)]
pub(super) struct ConnectionsServer {
    task: AbortHandle,
}

impl Drop for ConnectionsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What listeners' ports are on this host, from here to there: (VIP, port of the server) to the listener's port.
type Translated = BTreeMap<(IpAddr, u16), u16>;

/// Serves `nodes` on all of the host's addresses, as soon as the port is free. Connections to a translated port are told
/// under the listener's.
pub(super) fn serve(nodes: BTreeSet<IpAddr>, ports: &BTreeSet<PortMapping>) -> ConnectionsServer {
    let ports = ports.iter().filter(|mapping| mapping.protocol == Protocol::Tcp);
    let translated: Translated =
        ports.map(|mapping| ((mapping.vip, mapping.target_port), mapping.listener_port)).collect();
    let serving = async move { accept(listening().await, Arc::new(nodes), Arc::new(translated)).await };
    ConnectionsServer { task: tokio::spawn(serving).abort_handle() }
}

/// A listener, once there can be one. An agent that has just ended may hold the port for a moment; where another program
/// has it, packets are delivered all the same, and nodes keep former owners in chains until they are told.
async fn listening() -> TcpListener {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        match listen() {
            Ok(listener) if is_told => {
                info!("nodes can ask for connections at TCP port {PORT} now");
                return listener;
            }
            Ok(listener) => return listener,
            Err(problem) if !is_told && begun.elapsed() > PATIENCE => {
                error!(
                    "nodes can't ask for connections at TCP port {PORT}, which is tried again: {problem:#}; does another \
                     program have it?"
                );
                is_told = true;
            }
            Err(_) => {}
        }
        sleep(RETRY).await;
    }
}

/// A socket for both versions of IP, or for IPv4 where the host has no other.
fn listen() -> anyhow::Result<TcpListener> {
    let any = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))
        .or_else(|_| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))?;
    any.set_nonblocking(true)?;
    Ok(TcpListener::from_std(any)?)
}

async fn accept(listener: TcpListener, nodes: Arc<BTreeSet<IpAddr>>, translated: Arc<Translated>) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(problem) => {
                warn!("a node's question is lost: {problem}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !nodes.contains(&from.ip().to_canonical()) {
            debug!("{from} is not a node, so it is told nothing of connections");
            continue;
        }
        let (turns, translated) = (Arc::clone(&turns), Arc::clone(&translated));
        tokio::spawn(async move {
            let _turn = turns.acquire_owned().await;
            match tokio::time::timeout(TIMEOUT, attend(stream, translated)).await {
                Ok(Ok(told)) => debug!("{from} was told of {told} connections"),
                Ok(Err(problem)) => debug!("{from}: {problem:#}"),
                Err(_) => debug!("{from} did not ask, or did not take the answer, within {TIMEOUT:?}"),
            }
        });
    }
}

/// Answers one question; how many connections were told.
async fn attend(mut stream: TcpStream, translated: Arc<Translated>) -> anyhow::Result<usize> {
    let mut head = [0; QUESTION_HEAD];
    stream.read_exact(&mut head).await.context("reading the question")?;
    let mut bytes = vec![0; listeners_length(&head)?];
    stream.read_exact(&mut bytes).await.context("reading the question's listeners")?;
    let wanted: BTreeSet<Listener> = listeners(&bytes).into_iter().collect();
    let found = tokio::task::spawn_blocking(move || connections_to(&wanted, &translated)).await?;
    let (status, found) = match found {
        Ok(found) if found.len() > MOST_CONNECTIONS => (Status::TooMany, Vec::new()),
        Ok(found) => (Status::Complete, found),
        Err(problem) => {
            warn!("the kernel does not list its connections: {problem:#}");
            (Status::Failed, Vec::new())
        }
    };
    stream.write_all(&answer(status, &found)).await.context("sending the answer")?;
    stream.shutdown().await.context("ending the answer")?;
    Ok(found.len())
}

/// This host's connections to `wanted`.
fn connections_to(wanted: &BTreeSet<Listener>, translated: &Translated) -> anyhow::Result<Vec<Connection>> {
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        let is_wanted = |local: SocketAddr| {
            wanted.contains(&(local.ip(), local.port())) || wanted.contains(&(local.ip(), 0))
        };
        for_each_connection(family, |mut connection| {
            connection.local = as_clients_see_it(connection.local, translated);
            if is_wanted(connection.local) && found.len() <= MOST_CONNECTIONS {
                found.push(connection);
            }
        })?;
    }
    Ok(found)
}

/// How many connections this host has to each of the VIPs. The kernel walks through all sockets of the host for it.
///
/// # Errors
/// If the kernel does not list them.
pub(super) fn count(vips: &[IpAddr]) -> anyhow::Result<BTreeMap<IpAddr, u64>> {
    let mut counts: BTreeMap<IpAddr, u64> = vips.iter().map(|vip| (*vip, 0)).collect();
    for family in [Family::V4, Family::V6] {
        for_each_connection(family, |connection| {
            if let Some(count) = counts.get_mut(&connection.local.ip()) {
                *count += 1;
            }
        })?;
    }
    Ok(counts)
}

fn as_clients_see_it(mut local: SocketAddr, translated: &Translated) -> SocketAddr {
    if let Some(port) = translated.get(&(local.ip(), local.port())) {
        local.set_port(*port);
    }
    local
}

/// A socket's version of IP. IPv4 connections of an IPv6 socket are listed with IPv6, their addresses mapped.
#[derive(Debug, Clone, Copy)]
enum Family {
    V4 = 2,
    V6 = 10,
}

/// NETLINK_SOCK_DIAG.
const SOCK_DIAG: isize = 4;
/// SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;
/// NLM_F_REQUEST and NLM_F_DUMP.
const REQUEST_DUMP: u16 = 1 | 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Bytes of a netlink message's header.
const HEADER: usize = 16;
/// Bytes of `struct inet_diag_msg` as far as the addresses.
const SOCKET: usize = 4 + 48;
/// The states of a socket that a client's packet may belong to: established, SYN received (of both kinds), both FIN
/// waits, close wait, last ACK, closing.
const STATES: u32 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11 | 1 << 12;

fn for_each_connection(family: Family, mut each: impl FnMut(Connection)) -> anyhow::Result<()> {
    let mut socket = Socket::new(SOCK_DIAG).context("opening a socket of sock_diag")?;
    socket.bind_auto().context("binding a socket of sock_diag")?;
    socket.connect(&NetlinkAddress::new(0, 0)).context("connecting to sock_diag")?;
    socket.send(&request(family), 0).context("asking sock_diag")?;
    loop {
        let (datagram, _) = socket.recv_from_full().context("reading what sock_diag answers")?;
        if messages(&datagram, &mut each)? == Dump::Done {
            return Ok(());
        }
    }
}

/// `struct inet_diag_req_v2` behind its header: all TCP sockets in [`STATES`].
fn request(family: Family) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 56);
    bytes.extend(((HEADER + 56) as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, lb_common::flow::TCP, 0, 0]);
    bytes.extend(STATES.to_ne_bytes());
    bytes.resize(HEADER + 56, 0);
    bytes
}

#[derive(Debug, PartialEq, Eq)]
enum Dump {
    GoesOn,
    Done,
}

/// Reads the messages of a datagram.
fn messages(mut datagram: &[u8], each: &mut impl FnMut(Connection)) -> anyhow::Result<Dump> {
    while datagram.len() >= HEADER {
        let length = u32::from_ne_bytes(datagram[..4].try_into().expect("four bytes")) as usize;
        ensure!((HEADER..=datagram.len()).contains(&length), "a message of sock_diag is cut short");
        let body = &datagram[HEADER..length];
        match u16::from_ne_bytes([datagram[4], datagram[5]]) {
            NLMSG_DONE => return Ok(Dump::Done),
            NLMSG_ERROR => {
                let code = body.get(..4).map_or(0, |code| i32::from_ne_bytes(code.try_into().expect("four")));
                bail!("sock_diag refuses: {}", std::io::Error::from_raw_os_error(-code));
            }
            BY_FAMILY => connection(body).into_iter().for_each(&mut *each),
            _ => {}
        }
        datagram = &datagram[length.next_multiple_of(4).min(datagram.len())..];
    }
    Ok(Dump::GoesOn)
}

/// What `struct inet_diag_msg` says: the own end, then the client's.
fn connection(body: &[u8]) -> Option<Connection> {
    let socket: &[u8; SOCKET] = body.get(..SOCKET)?.try_into().ok()?;
    let is_v4 = socket[0] == Family::V4 as u8;
    let port = |at: usize| u16::from_be_bytes([socket[at], socket[at + 1]]);
    let end = |at: usize, port: u16| {
        let address = if is_v4 {
            IpAddr::from(<[u8; 4]>::try_from(&socket[at..at + 4]).expect("four bytes"))
        } else {
            IpAddr::from(<[u8; 16]>::try_from(&socket[at..at + 16]).expect("sixteen bytes"))
        };
        SocketAddr::new(address.to_canonical(), port)
    };
    Some(Connection { local: end(8, port(4)), client: end(24, port(6)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diag(family: Family, addresses: [&[u8]; 2], ports: [u16; 2]) -> Vec<u8> {
        let mut body = vec![family as u8, 1, 0, 0];
        ports.iter().for_each(|port| body.extend(port.to_be_bytes()));
        for address in addresses {
            body.extend(address);
            body.resize(body.len().next_multiple_of(8).max(8), 0);
            body.extend(vec![0; 16 - address.len().next_multiple_of(8)]);
        }
        body.resize(72, 0);
        body
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_translated_port_is_told_as_clients_see_it() {
        let vip: IpAddr = "10.200.1.1".parse().unwrap();
        let translated = Translated::from([((vip, 8080), 80)]);
        let told = |port| as_clients_see_it((vip, port).into(), &translated).port();
        assert_eq!((told(8080), told(443)), (80, 443));
        let other: IpAddr = "10.200.1.2".parse().unwrap();
        assert_eq!(as_clients_see_it((other, 8080).into(), &translated).port(), 8080);
    }

    #[test]
    fn sockets_of_both_versions_are_read() {
        let v4 = diag(Family::V4, [&[10, 200, 1, 1], &[10, 201, 0, 2]], [80, 40000]);
        let mapped = |last: [u8; 4]| [&[0; 10][..], &[0xff, 0xff], &last].concat();
        let v6 = diag(Family::V6, [&mapped([10, 200, 1, 1]), &mapped([10, 201, 0, 3])], [80, 40001]);
        let datagram =
            [message(BY_FAMILY, &v4), message(BY_FAMILY, &v6), message(NLMSG_DONE, &[0; 4])].concat();
        let mut found = Vec::new();
        assert_eq!(messages(&datagram, &mut |connection| found.push(connection)).unwrap(), Dump::Done);
        let clients: Vec<String> = found.iter().map(|one| one.client.to_string()).collect();
        assert_eq!(clients, ["10.201.0.2:40000", "10.201.0.3:40001"]);
        assert!(found.iter().all(|one| one.local == "10.200.1.1:80".parse().unwrap()));
    }

    #[test]
    fn a_refusal_and_a_cut_message_are_errors() {
        let refusal = message(NLMSG_ERROR, &(-1i32).to_ne_bytes());
        let problem = messages(&refusal, &mut |_| {}).unwrap_err();
        assert!(problem.to_string().contains("not permitted"), "{problem}");
        assert!(messages(&refusal[..18], &mut |_| {}).is_err());
    }

    #[test]
    fn this_hosts_own_connections_are_listed() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let local = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(local).unwrap();
        let (_accepted, _) = listener.accept().unwrap();
        let found = connections_to(&[(local.ip(), local.port())].into(), &Translated::new()).unwrap();
        assert_eq!(found, [Connection { client: client.local_addr().unwrap(), local }]);
        let any = connections_to(&[(local.ip(), 0)].into(), &Translated::new()).unwrap();
        assert!(any.contains(&found[0]));
        let counts = count(&[local.ip(), "192.0.2.1".parse().unwrap()]).unwrap();
        assert!(counts[&local.ip()] >= 1 && counts.len() == 2, "{counts:?}");
    }
}
