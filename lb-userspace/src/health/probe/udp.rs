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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::state::Failure;
    use std::time::Duration;

    fn limit(timeout: Duration) -> Limit {
        Limit { timeout, deadline: Instant::now() + timeout }
    }

    #[tokio::test]
    async fn an_answer_and_silence_pass_and_a_closed_port_does_not() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = server.local_addr().unwrap();
        let started = Instant::now();
        assert!(ask(target, limit(Duration::from_millis(50))).await.is_ok());
        assert!(started.elapsed() >= Duration::from_millis(50), "silence is waited out");
        let answering = tokio::spawn(async move {
            loop {
                let (_, client) = server.recv_from(&mut [0; 8]).await.unwrap();
                server.send_to(b"here", client).await.unwrap();
            }
        });
        assert!(ask(target, limit(Duration::from_secs(20))).await.is_ok());
        assert!(started.elapsed() < Duration::from_secs(10));
        answering.abort();
        let _ = answering.await;
        let refused = ask(target, limit(Duration::from_secs(20))).await;
        let expected = Outcome::Failed(Failure::Connection("connection refused".to_owned()));
        assert_eq!(refused.unwrap_err(), expected);
    }
}
