//! A target's server process: HTTP, and echo over TCP and UDP. Ends when killed, as a crashed server does.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};

use crate::limits::allow_many_descriptors;
use crate::{echo, http};

/// Between a failed accept and the next.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// What a target serves.
#[derive(Debug, Clone)]
pub struct Services {
    /// The name that its answers carry.
    pub name: String,
    /// Where HTTP is served: `[::]:80` is every address, IPv4 and IPv6 alike.
    pub listen: SocketAddr,
    /// Addresses whose UDP port 7 is echoed; they need not exist yet.
    pub udp: Vec<IpAddr>,
}

impl Services {
    /// Serves until one of the services fails.
    pub async fn serve(self) -> Result<()> {
        allow_many_descriptors()?;
        let name: Arc<str> = self.name.into();
        let http = bind(self.listen).await?;
        let echo = bind(SocketAddr::new(self.listen.ip(), echo::PORT)).await?;
        let mut services = tokio::task::JoinSet::new();
        services.spawn(http::serve(http, name.clone()));
        services.spawn(echo::serve_tcp(echo, name.clone()));
        for address in self.udp {
            services.spawn(echo::serve_udp(address, name.clone()));
        }
        match services.join_next().await {
            Some(ended) => ended.context("a service panicked")?,
            None => Ok(()),
        }
    }
}

/// Accepts one connection. A client that is gone again, or a lack of descriptors for a moment, does not end a
/// server.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                eprintln!("accepting a connection: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listening on TCP {address}"))
}
