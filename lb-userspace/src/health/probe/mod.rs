//! One check of one target: the sockets of this module.
//!
//! A check is a single future that owns its socket and spawns nothing: dropping it closes the connection, at
//! whatever point it is. It never takes longer than the health check's time-out, connecting included.

mod grpc;
mod http;
mod tls;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::state::{Failure, Outcome};
use crate::model::{HealthCheck, Probe};

/// How targets recognise checks in their access logs.
const AGENT: &str = concat!("sluice-health-check/", env!("CARGO_PKG_VERSION"));

/// Asks `target` once. `target`'s port is the one that is checked; `health_check.port` is not looked at.
pub async fn check(target: SocketAddr, health_check: &HealthCheck) -> Outcome {
    let started = Instant::now();
    let limit = Limit { timeout: health_check.timeout, deadline: started + health_check.timeout };
    match ask(target, &health_check.probe, limit).await {
        Ok(answered) => Outcome::Passed { latency: answered - started },
        Err(outcome) => outcome,
    }
}

/// The check's time-out and when it is over.
#[derive(Clone, Copy)]
struct Limit {
    timeout: Duration,
    deadline: Instant,
}

/// The moment of the answer that passes, or the outcome that is none.
async fn ask(target: SocketAddr, probe: &Probe, limit: Limit) -> Result<Instant, Outcome> {
    if *probe == Probe::Udp {
        return udp::ask(target, limit).await;
    }
    let stream = connect(target, limit).await?;
    let connected = Instant::now();
    match probe {
        Probe::Tcp => {
            close(stream).await;
            Ok(connected)
        }
        Probe::Http { path, matcher } => http::ask(stream, target, path, matcher, limit).await,
        Probe::Https { path, matcher } => {
            let stream = tls::within(stream, target.ip(), limit).await.map_err(Outcome::Failed)?;
            http::ask(stream, target, path, matcher, limit).await
        }
        Probe::Grpc { service } => grpc::ask(stream, target, service, limit).await.map_err(Outcome::Failed),
        Probe::Udp => unreachable!("it was asked without a connection"),
    }
}

async fn connect(target: SocketAddr, limit: Limit) -> Result<TcpStream, Outcome> {
    let connected = timeout_at(limit.deadline, TcpStream::connect(target)).await;
    let stream = connected
        .map_err(|_| Outcome::Failed(Failure::NoConnection(limit.timeout)))?
        .map_err(|error| connect_error(&error))?;
    // A closed port of this very host within the ephemeral range can be met by the socket's own source port:
    // TCP then connects to itself (RFC 9293, simultaneous open). Nobody serves there.
    if stream.local_addr().is_ok_and(|local| local == target) {
        return Err(Outcome::Failed(Failure::Connection("connection refused".to_owned())));
    }
    Ok(stream)
}

/// Tells a target that can't be reached from a node that can't ask.
fn connect_error(error: &io::Error) -> Outcome {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    if exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
        return Outcome::NotMade(error.to_string());
    }
    Outcome::Failed(Failure::Connection(words(error)))
}

/// Says goodbye with a FIN. What the target sent unasked (a banner) is read first, for closing a socket on
/// unread bytes sends a reset. The check has passed: whatever happens here does not matter.
async fn close(mut stream: TcpStream) {
    let mut banner = [0; 1024];
    let _ = stream.try_read(&mut banner);
    let _ = stream.shutdown().await;
}

/// A connection's error without the error number, which means nothing to most readers.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::BrokenPipe => "connection closed before an answer".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::http::{HEAD_LIMIT, request};
    use super::*;
    use crate::model::{CheckPort, StatusCodes};
    use std::net::Ipv4Addr;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::task::JoinHandle;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(200);

    fn tcp(timeout: Duration) -> HealthCheck {
        HealthCheck {
            probe: Probe::Tcp,
            port: CheckPort::Traffic,
            interval: LONG,
            timeout,
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        }
    }

    fn http(timeout: Duration) -> HealthCheck {
        let matcher = StatusCodes(vec![(200, 399)]);
        HealthCheck { probe: Probe::Http { path: "/health?deep=1".to_owned(), matcher }, ..tcp(timeout) }
    }

    /// Answers one connection with `answer` once the request's head is there, keeps the connection open until
    /// the client closes it, and returns the head.
    async fn serve(answer: &'static [u8]) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0, "the client left early");
            }
            stream.write_all(answer).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            String::from_utf8(head).unwrap()
        });
        (address, server)
    }

    async fn failure(target: SocketAddr, health_check: &HealthCheck) -> Failure {
        match check(target, health_check).await {
            Outcome::Failed(failure) => failure,
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    /// A port that is taken, so that no other test gets it, but not listened on.
    fn closed_port() -> (SocketAddr, TcpSocket) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(LOOPBACK).unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    #[tokio::test]
    async fn an_expected_status_passes_and_the_request_names_its_sender() {
        let (target, server) = serve(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        let outcome = check(target, &http(LONG)).await;
        assert!(matches!(outcome, Outcome::Passed { latency } if latency < LONG), "{outcome:?}");
        let head = server.await.unwrap();
        assert!(head.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{head}");
        for header in [format!("host: {target}"), "connection: close".into(), format!("user-agent: {AGENT}")]
        {
            assert!(head.contains(&format!("\r\n{header}\r\n")), "{head}");
        }
    }

    #[tokio::test]
    async fn another_status_fails_with_both_sides_named() {
        let (target, _server) = serve(b"HTTP/1.1 503 Unwell\r\nContent-Length: 5\r\n\r\nsorry").await;
        let failure = failure(target, &http(LONG)).await;
        assert_eq!(failure.to_string(), "HTTP status 503 is not one of 200-399");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let (target, _server) =
            serve(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n").await;
        assert!(matches!(check(target, &http(LONG)).await, Outcome::Passed { .. }));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_does_not_change_the_verdict() {
        let (target, _server) = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart").await;
        let started = Instant::now();
        assert!(matches!(check(target, &http(LONG)).await, Outcome::Passed { .. }));
        assert!(started.elapsed() < LONG / 2);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_http_is_malformed() {
        let (target, _server) = serve(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
        let failure = failure(target, &http(LONG)).await;
        assert!(matches!(failure, Failure::Malformed(_)), "{failure:?}");
    }

    #[tokio::test]
    async fn an_endless_head_is_refused() {
        let head: Vec<u8> = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 4 * HEAD_LIMIT]].concat();
        let (target, _server) = serve(head.leak()).await;
        let failure = failure(target, &http(LONG)).await;
        assert!(matches!(failure, Failure::Malformed(_)), "{failure:?}");
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_at_once_fails() {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let target = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            loop {
                drop(listener.accept().await.unwrap());
            }
        });
        let outcome = failure(target, &http(LONG)).await;
        assert!(matches!(outcome, Failure::Connection(_)), "{outcome:?}");
        assert!(
            matches!(check(target, &tcp(LONG)).await, Outcome::Passed { .. }),
            "TCP asks no more than that"
        );
        server.abort();
    }

    #[tokio::test]
    async fn a_connection_that_is_never_answered_times_out() {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let failure = failure(listener.local_addr().unwrap(), &http(SHORT)).await;
        assert_eq!(failure.to_string(), "no answer within 0.2 s");
    }

    #[tokio::test]
    async fn half_an_answer_times_out() {
        let (target, _server) = serve(b"HTTP/1.1 200 OK\r\nContent-").await;
        assert_eq!(failure(target, &http(SHORT)).await, Failure::NoAnswer(SHORT));
    }

    #[tokio::test]
    async fn a_target_that_ignores_the_handshake_times_out() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(LOOPBACK).unwrap();
        let listener = socket.listen(1).unwrap();
        let target = listener.local_addr().unwrap();
        // Nobody accepts: once the backlog is full the kernel drops further SYNs.
        let mut backlog = Vec::new();
        while let Ok(stream) = tokio::time::timeout(SHORT, TcpStream::connect(target)).await {
            backlog.push(stream.unwrap());
        }
        assert_eq!(failure(target, &tcp(SHORT)).await, Failure::NoConnection(SHORT));
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let (target, _taken) = closed_port();
        for health_check in [tcp(LONG), http(LONG)] {
            let failure = failure(target, &health_check).await;
            assert_eq!(failure.to_string(), "connection refused");
        }
    }

    #[tokio::test]
    async fn a_tcp_check_ends_with_a_fin() {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let target = listener.local_addr().unwrap();
        assert!(matches!(check(target, &tcp(LONG)).await, Outcome::Passed { .. }));
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "the end of the stream, not a reset");
    }

    #[test]
    fn a_node_without_sockets_says_nothing_of_the_target() {
        let error = io::Error::from(Errno::MFILE);
        assert!(matches!(connect_error(&error), Outcome::NotMade(_)));
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_requested_says_nothing_of_the_target() {
        assert!(matches!(request(LOOPBACK, "/with space"), Err(Outcome::NotMade(_))));
    }
}
