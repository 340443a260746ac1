//! Listening where that is not possible yet: on an address that the host gets later, or a port that another program has.
//!
//! At boot a service may begin before its address is there: DHCP and VRRP bring it later, and an IPv6 address can't be
//! bound while it is tentative (RFC 4862, section 5.4). What a process does beside listening must not wait for that.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tracing::{debug, error, info};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Between two tries to listen.
const RETRY: Duration = Duration::from_secs(1);

/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener, now or as soon as there can be one.
#[derive(Debug)]
pub(crate) struct LateListener {
    /// What is served there: "the API".
    what: &'static str,
    address: SocketAddr,
    listener: Option<TcpListener>,
    problem: Option<String>,
}

impl LateListener {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the host does not have it, another program has the port, or this one may not have it.
    pub(crate) fn now(what: &'static str, address: SocketAddr) -> anyhow::Result<LateListener> {
        let mut late = LateListener { what, address, listener: None, problem: None };
        late.try_to_listen()?;
        Ok(late)
    }

    /// Listens on `address`, now or later: whoever waits for a connection tries again each second. The log says so.
    pub(crate) fn when_possible(what: &'static str, address: SocketAddr) -> LateListener {
        let mut late = LateListener { what, address, listener: None, problem: None };
        if let Err(error) = late.try_to_listen() {
            error!("{error:#}; this is tried again each second");
            late.problem = Some(format!("{error:#}"));
        }
        late
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

    fn try_to_listen(&mut self) -> anyhow::Result<()> {
        let (what, address) = (self.what, self.address);
        let listener = match listen(address) {
            Ok(listener) => listener,
            Err(error) => bail!("{what} can't be served on {address}: {error}{}", remedy(error.kind())),
        };
        self.address =
            listener.local_addr().with_context(|| format!("the socket of {what} has no address"))?;
        (self.listener, self.problem) = (Some(listener), None);
        Ok(())
    }
}

impl Listener for LateListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
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

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

const fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrNotAvailable => "; it must be an address of this host",
        ErrorKind::AddrInUse => "; end the program that has the port, or name another port",
        ErrorKind::PermissionDenied => "; a port below 1024 needs CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// Of a network for documentation (RFC 5737), which no host has.
    const NOWHERE: &str = "192.0.2.1:8440";

    #[tokio::test]
    async fn an_address_that_the_host_lacks_is_an_error_or_waited_for() {
        let error = LateListener::now("the test", NOWHERE.parse().unwrap()).unwrap_err().to_string();
        assert!(
            error.contains("can't be served on 192.0.2.1:8440") && error.contains("of this host"),
            "{error}"
        );
        let late = LateListener::when_possible("the test", NOWHERE.parse().unwrap());
        assert_eq!(late.problem(), Some(&*error));
        assert_eq!(late.address(), NOWHERE.parse().unwrap());
    }

    #[tokio::test]
    async fn a_port_that_another_program_has_is_listened_on_when_it_is_free() {
        // Nobody else's: other tests are on 127.0.0.1.
        let first = LateListener::now("the first", "127.84.1.1:0".parse().unwrap()).unwrap();
        let address = first.address();
        let error = LateListener::now("the second", address).unwrap_err().to_string();
        assert!(error.contains(&format!("the second can't be served on {address}")), "{error}");
        let mut second = LateListener::when_possible("the second", address);
        assert!(second.problem().unwrap().contains("another port"), "{second:?}");
        assert!(timeout(RETRY / 10, second.listens()).await.is_err());
        drop(first);
        timeout(60 * RETRY, second.listens()).await.unwrap();
        assert_eq!(second.problem(), None);
        let (asking, (_, client)) = tokio::join!(TcpStream::connect(address), second.accept());
        assert_eq!(asking.unwrap().local_addr().unwrap(), client);
    }
}
