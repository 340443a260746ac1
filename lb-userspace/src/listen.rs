//! Listening where that is not possible yet: on an address that the host gets later, or a port that another program has.
//!
//! At boot a service may begin before its address is there: DHCP and VRRP bring it later, and an IPv6 address can't be
//! bound while it is tentative (RFC 4862, section 5.4). What a process does beside listening must not wait for that.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::serve::Listener;
use rustix::net::sockopt::{set_ip_freebind, set_ipv6_freebind};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Between two tries to listen.
const RETRY: Duration = Duration::from_secs(1);

/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener, now or as soon as there can be one.
#[derive(Debug)]
pub(crate) struct Door {
    /// What is served there: "the API".
    what: &'static str,
    address: SocketAddr,
    listener: Option<TcpListener>,
    problem: Option<String>,
}

impl Door {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When another program has the port, or this one may not have it.
    pub(crate) fn open(what: &'static str, address: SocketAddr) -> anyhow::Result<Door> {
        let mut door = Door { what, address, listener: None, problem: None };
        door.try_to_listen()?;
        Ok(door)
    }

    /// Listens on `address`, now or later: whoever waits for a connection tries again each second. The log says so.
    pub(crate) fn open_when_possible(what: &'static str, address: SocketAddr) -> Door {
        let mut door = Door { what, address, listener: None, problem: None };
        if let Err(error) = door.try_to_listen() {
            error!("{error:#}; this is tried again each second");
            door.problem = Some(format!("{error:#}"));
        }
        door
    }

    /// Why it does not listen yet.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The address, with the port that the kernel chose for port 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it listens.
    pub(crate) async fn listens(&mut self) {
        while self.listener.is_none() {
            sleep(RETRY).await;
            match self.try_to_listen() {
                Ok(()) => info!("{} is served on {}", self.what, self.address),
                Err(error) => debug!("{error:#}"),
            }
        }
    }

    /// The next connection.
    pub(crate) async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            self.listens().await;
            let Some(listener) = &self.listener else { continue };
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    // Out of descriptors, say: others end soon.
                    debug!(%error, "no connection could be accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn try_to_listen(&mut self) -> anyhow::Result<()> {
        let (what, address) = (self.what, self.address);
        let listener = listen(what, address).with_context(|| {
            format!("{what} can't be served on {address}: name a port there that no other program has")
        })?;
        self.address =
            listener.local_addr().with_context(|| format!("the socket of {what} has no address"))?;
        (self.listener, self.problem) = (Some(listener), None);
        Ok(())
    }
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Listens on an address. If the host does not have it (yet), connections come as soon as it does (`IP_FREEBIND`, ip(7);
/// `IPV6_FREEBIND`, Linux 4.15).
fn listen(what: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    match socket.bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            match address {
                SocketAddr::V4(_) => set_ip_freebind(&socket, true),
                SocketAddr::V6(_) => set_ipv6_freebind(&socket, true),
            }?;
            socket.bind(address)?;
            warn!(
                "no interface of this host has {} (yet): nobody reaches {what} there until one does",
                address.ip()
            );
        }
        bound => bound?,
    }
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Of a network for documentation (RFC 5737), which no host has.
    const NOWHERE: &str = "192.0.2.1:0";

    #[tokio::test]
    async fn an_address_that_the_host_lacks_is_listened_on() {
        let door = Door::open("the test", NOWHERE.parse().unwrap()).unwrap();
        assert_eq!(door.address().ip().to_string(), "192.0.2.1");
        assert_ne!(door.address().port(), 0);
        Door::open("the test", "[2001:db8::1]:0".parse().unwrap()).unwrap();
    }

    #[tokio::test]
    async fn a_port_that_another_program_has_is_listened_on_when_it_is_free() {
        let first = Door::open("the first", (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = first.address();
        let error = Door::open("the second", address).unwrap_err().to_string();
        assert!(error.contains(&format!("the second can't be served on {address}")), "{error}");
        let mut second = Door::open_when_possible("the second", address);
        assert!(second.problem().unwrap().contains("in use"), "{second:?}");
        assert!(tokio::time::timeout(RETRY / 10, second.listens()).await.is_err());
        drop(first);
        second.listens().await;
        assert_eq!(second.problem(), None);
        let (asking, (_, client)) = tokio::join!(TcpStream::connect(address), second.next());
        assert_eq!(asking.unwrap().local_addr().unwrap(), client);
    }
}
