//! A UDP datagram without payload.
//!
//! UDP has no connection, and nothing is known of the service, so a check can ask for no more than this: a host that
//! is there and has no socket on the port says so (ICMP port unreachable), a host that is not there is told of by a
//! router or by the node's own neighbour look-up, and whoever answers at all is there. Silence is what most services
//! have for an empty datagram; it passes, when the time-out has passed. So a target whose host drops the datagram, or
//! its own ICMP, is taken for healthy: where there is something better to ask, such as a TCP port, ask that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::{Limit, connect_error};
use crate::health::state::Outcome;

/// The moment of the answer or of the end of the silence, or the outcome that is none.
pub(super) async fn ask(target: SocketAddr, limit: Limit) -> Result<Instant, Outcome> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(|error| connect_error(&error))?;
    let answered = async {
        socket.connect(target).await?;
        socket.send(&[]).await?;
        socket.recv(&mut [0; 64]).await
    };
    match timeout_at(limit.deadline, answered).await {
        Ok(Err(error)) => Err(connect_error(&error)),
        Ok(Ok(_)) | Err(_) => Ok(Instant::now()),
    }
}
