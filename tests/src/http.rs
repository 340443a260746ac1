//! HTTP/1.1 as far as the lab needs it: the targets' small server, and a client that counts on one connection.
//!
//! `GET /` answers the line `NAME CLIENT-ADDRESS`, `GET /healthz` answers `ok`; connections are kept alive.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::server::accept;
use crate::stall::Stall;

/// The port of the targets' HTTP server.
pub const PORT: u16 = 80;

/// How long the client waits for a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same where a failed request is a failed story: a machine that stands still fails none.
const LONG_PATIENCE: Duration = Duration::from_secs(15);
/// A machine that keeps no thread waiting for longer is no reason for an answer that needs more than [`PATIENCE`].
const CALM: Duration = Duration::from_millis(100);

/// The longest request or answer head that is read, in lines.
const MAX_HEAD_LINES: usize = 64;

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, name: Arc<str>) -> Result<()> {
    loop {
        let (connection, client) = accept(&listener).await;
        let name = name.clone();
        tokio::spawn(async move {
            let (read, write) = connection.into_split();
            // A client that goes away in the middle is its own business.
            let _ = serve_connection(read, write, &name, client.ip()).await;
        });
    }
}

async fn serve_connection(
    read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    name: &str,
    client: IpAddr,
) -> std::io::Result<()> {
    let mut lines = tokio::io::BufReader::new(read).lines();
    while let Some(request) = lines.next_line().await? {
        let mut is_last = false;
        for _ in 0..MAX_HEAD_LINES {
            let header = lines.next_line().await?.unwrap_or_default();
            is_last |= header.eq_ignore_ascii_case("connection: close");
            if header.is_empty() {
                break;
            }
        }
        write.write_all(answer(&request, name, client).as_bytes()).await?;
        if is_last {
            break;
        }
    }
    Ok(())
}

fn answer(request: &str, name: &str, client: IpAddr) -> String {
    let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let (status, body) = match path {
        "/" => ("200 OK", format!("{name} {}\n", client.to_canonical())),
        "/healthz" => ("200 OK", "ok\n".to_string()),
        _ => ("404 Not Found", "there are only / and /healthz\n".to_string()),
    };
    format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Who answered, and whom it saw.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// The name of the target that served.
    pub target: String,
    /// The client's address as the target saw it.
    pub client: IpAddr,
}

/// A kept-alive connection to one of the targets; it belongs to the host whose thread opened it.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects from the namespace that the calling thread is in.
    pub fn open(to: SocketAddr) -> Result<Connection> {
        Connection::with_patience(to, PATIENCE)
    }

    fn with_patience(to: SocketAddr, patience: Duration) -> Result<Connection> {
        let stream =
            TcpStream::connect_timeout(&to, patience).with_context(|| format!("connecting to {to}"))?;
        stream.set_read_timeout(Some(patience)).context("setting a time-out")?;
        stream.set_write_timeout(Some(patience)).context("setting a time-out")?;
        stream.set_nodelay(true).context("setting TCP_NODELAY")?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// `GET /` on this connection.
    pub fn get(&mut self) -> Result<Answer> {
        self.stream
            .get_mut()
            .write_all(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")
            .context("sending a request")?;
        let status = self.line()?;
        ensure!(status.starts_with("HTTP/1.1 200 "), "the answer is {status:?}, not 200");
        for _ in 0..MAX_HEAD_LINES {
            if self.line()?.is_empty() {
                break;
            }
        }
        parse(&self.line()?)
    }

    /// The address and port of this end.
    pub fn local_address(&self) -> Result<SocketAddr> {
        self.stream.get_ref().local_addr().context("asking for the own address")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).context("waiting for the answer")?;
        ensure!(read > 0, "the server closed the connection instead of answering");
        Ok(line.trim_end().to_string())
    }
}

/// `GET /` on a connection of its own: a new flow.
pub fn get(to: SocketAddr) -> Result<Answer> {
    Connection::open(to)?.get().with_context(|| format!("GET http://{to}/"))
}

/// The same for a story in which no request may fail. A late answer is one if the machine itself stood still meanwhile:
/// else packets were lost, which is a failure, although TCP sends them again.
pub fn get_patiently(to: SocketAddr) -> Result<Answer> {
    let (begun, stall) = (Instant::now(), Stall::watch());
    let answer = Connection::with_patience(to, LONG_PATIENCE).and_then(|mut connection| connection.get());
    let answer = answer.with_context(|| format!("GET http://{to}/"))?;
    let (took, stall) = (begun.elapsed(), stall.longest());
    ensure!(
        is_in_time(took, stall),
        "GET http://{to}/ took {took:?}, and the machine kept no thread waiting for more than {stall:?}"
    );
    Ok(answer)
}

fn is_in_time(took: Duration, stall: Duration) -> bool {
    took < PATIENCE || stall > CALM
}

/// Reads the body of an answer: `t1 10.201.0.2`.
pub fn parse(body: &str) -> Result<Answer> {
    let (target, client) = body.trim_end().split_once(' ').context("the answer is not `NAME ADDRESS`")?;
    let client = client.parse().with_context(|| format!("the answer {body:?} has no address"))?;
    Ok(Answer { target: target.to_string(), client })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_names_the_server_and_the_client() {
        let text = answer("GET /?1 HTTP/1.1", "t1", "::ffff:10.201.0.2".parse().unwrap());
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        let answer = parse(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(answer, Answer { target: "t1".to_string(), client: "10.201.0.2".parse().unwrap() });
    }

    #[test]
    fn only_a_machine_that_stood_still_is_a_reason_for_a_late_answer() {
        let [late, second, moment] = [4000, 1000, 10].map(Duration::from_millis);
        assert!(is_in_time(second, moment) && is_in_time(late, second) && !is_in_time(late, moment));
    }

    #[test]
    fn other_paths_are_not_there() {
        assert!(answer("GET /x HTTP/1.1", "t1", IpAddr::from([1, 2, 3, 4])).starts_with("HTTP/1.1 404 "));
    }
}
