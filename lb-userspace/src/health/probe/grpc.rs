//! gRPC's own health check: `grpc.health.v1.Health/Check` over HTTP/2 without TLS.
//!
//! The two messages have one field each, so they are made and read by hand:
//!
//! ```text
//!   message HealthCheckRequest  { string service = 1; }
//!   message HealthCheckResponse { ServingStatus status = 1; }   // 0 unknown, 1 serving, 2 not, 3 no such service
//! ```
//!
//! In HTTP/2 each is preceded by a byte (0: not compressed) and its length in four.

use std::net::SocketAddr;
use std::pin::pin;

use futures_util::future::{Either, select};
use h2::client::SendRequest;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::{Request, Response, Version};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{AGENT, Limit, words};
use crate::health::state::Failure;

/// Bytes of an answer that are taken: the message that is expected has seven.
const ANSWER_LIMIT: usize = 4096;

/// Bytes before a message.
const PREFIX: usize = 5;

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// The moment of the answer that says SERVING, or why there is none.
pub(super) async fn ask(
    stream: TcpStream,
    target: SocketAddr,
    service: &str,
    limit: Limit,
) -> Result<Instant, Failure> {
    let asking = async {
        let (sender, connection) = h2::client::handshake(stream).await.map_err(|error| failure(&error))?;
        let answer = pin!(exchange(sender, target, service));
        match select(answer, pin!(connection)).await {
            Either::Left((answer, _)) => answer,
            // The connection's end, good or bad, was told to whoever waits for the answer.
            Either::Right((_, answer)) => answer.await,
        }
    };
    let answer = timeout_at(limit.deadline, asking).await.map_err(|_| Failure::NoAnswer(limit.timeout))??;
    let at = Instant::now();
    answer.judge().map(|()| at)
}

/// What counts of an answer.
struct Answer {
    /// The gRPC status, from the trailers or, where nothing else came, from the headers.
    status: Option<String>,
    /// Its words.
    message: Option<String>,
    body: Vec<u8>,
}

async fn exchange(sender: SendRequest<Bytes>, target: SocketAddr, service: &str) -> Result<Answer, Failure> {
    let mut sender = sender.ready().await.map_err(|error| failure(&error))?;
    let request = Request::post(format!("http://{target}/grpc.health.v1.Health/Check"))
        .version(Version::HTTP_2)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, AGENT)
        .body(())
        .map_err(|error| Failure::Malformed(error.to_string()))?;
    let (response, mut body) = sender.send_request(request, false).map_err(|error| failure(&error))?;
    body.send_data(question(service), true).map_err(|error| failure(&error))?;
    read(response.await.map_err(|error| failure(&error))?).await
}

async fn read(response: Response<h2::RecvStream>) -> Result<Answer, Failure> {
    if !response.status().is_success() {
        return Err(Failure::Grpc(format!("HTTP status {}", response.status().as_u16())));
    }
    let headers = response.headers().clone();
    let (mut stream, mut body) = (response.into_body(), Vec::new());
    while let Some(data) = stream.data().await {
        let data = data.map_err(|error| failure(&error))?;
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
        if body.len() > ANSWER_LIMIT {
            return Err(Failure::Grpc(format!("the answer is longer than {ANSWER_LIMIT} bytes")));
        }
    }
    let trailers = stream.trailers().await.map_err(|error| failure(&error))?.unwrap_or_default();
    let find = |name| text(&trailers, name).or_else(|| text(&headers, name));
    Ok(Answer { status: find("grpc-status"), message: find("grpc-message"), body })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

impl Answer {
    fn judge(&self) -> Result<(), Failure> {
        match self.status.as_deref() {
            Some("0") => {}
            None => return Err(Failure::Grpc("the answer has no grpc-status".to_owned())),
            Some(status) => {
                let words = self.message.as_deref().map_or(String::new(), |message| format!(": {message}"));
                return Err(Failure::Grpc(format!("grpc-status {status}{words}")));
            }
        }
        match serving_status(&self.body) {
            Some(SERVING) => Ok(()),
            Some(status) => {
                let name = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"].get(status as usize);
                Err(Failure::Grpc(format!("it says {}", name.unwrap_or(&"something unknown"))))
            }
            None => Err(Failure::Grpc("the answer is no HealthCheckResponse".to_owned())),
        }
    }
}

/// The request with its prefix; a field that has its default, the empty string, is left out.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        push_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The status in an answer; 0 where it is left out. Other fields, which a later version may have, are skipped.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (prefix, mut message) = body.split_at_checked(PREFIX)?;
    if prefix[0] != 0 || prefix[1..] != (message.len() as u32).to_be_bytes() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                status = if key >> 3 == 1 { value } else { status };
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn failure(error: &h2::Error) -> Failure {
    match error.get_io() {
        Some(io_error) => Failure::Connection(words(io_error)),
        None if error.is_remote() || error.is_library() => Failure::Malformed(format!("HTTP/2: {error}")),
        None => Failure::Connection(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::net::TcpListener;

    /// A server that answers one check with these bytes and this status, and the bytes that it was asked with.
    async fn serve(
        answer: &'static [u8],
        status: &'static str,
    ) -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(request.headers()[TE], "trailers");
            let mut body = request.into_body();
            let asked = async {
                let mut asked = Vec::new();
                while let Some(data) = body.data().await {
                    asked.extend_from_slice(&data.unwrap());
                }
                asked
            };
            let asked = match select(pin!(asked), pin!(std::future::poll_fn(|cx| connection.poll_closed(cx))))
                .await
            {
                Either::Left((asked, _)) => asked,
                Either::Right(_) => panic!("closed early"),
            };
            let response = Response::builder().header(CONTENT_TYPE, "application/grpc").body(()).unwrap();
            let mut stream = respond.send_response(response, false).unwrap();
            stream.send_data(Bytes::from_static(answer), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            stream.send_trailers(trailers).unwrap();
            let _ = std::future::poll_fn(|cx| connection.poll_closed(cx)).await;
            asked
        });
        (address, server)
    }

    async fn check(answer: &'static [u8], status: &'static str) -> (Result<Instant, Failure>, Vec<u8>) {
        let (target, server) = serve(answer, status).await;
        let stream = TcpStream::connect(target).await.unwrap();
        let timeout = Duration::from_secs(20);
        let result = ask(stream, target, "a.B", Limit { timeout, deadline: Instant::now() + timeout }).await;
        (result, server.await.unwrap())
    }

    #[tokio::test]
    async fn serving_passes_and_the_service_is_named() {
        let (result, asked) = check(&[0, 0, 0, 0, 2, 8, 1], "0").await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(asked, [&[0, 0, 0, 0, 5, 0x0a, 3][..], b"a.B"].concat());
    }

    #[tokio::test]
    async fn everything_else_fails_in_words() {
        for (answer, status, words) in [
            (&[0, 0, 0, 0, 2, 8, 2][..], "0", "gRPC: it says NOT_SERVING"),
            (&[0, 0, 0, 0, 0], "0", "gRPC: it says UNKNOWN"),
            (&[], "12", "gRPC: grpc-status 12"),
            (&[0, 0, 0, 0, 2, 8], "0", "gRPC: the answer is no HealthCheckResponse"),
        ] {
            assert_eq!(check(answer, status).await.0.unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn every_truncation_of_an_answer_is_refused_and_unknown_fields_are_skipped() {
        let answer = [0, 0, 0, 0, 11, 0x12, 2, 1, 2, 0x1d, 1, 2, 3, 4, 8, 1];
        assert_eq!(serving_status(&answer), Some(1));
        for length in 0..answer.len() {
            assert_eq!(serving_status(&answer[..length]), None, "{length}");
            let mut framed = answer[..length].to_vec();
            if let Some(prefix) = framed.get_mut(4) {
                *prefix = length.saturating_sub(PREFIX) as u8;
                let _ = serving_status(&framed);
            }
        }
        assert_eq!(
            serving_status(&[0, 0, 0, 0, 11, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]),
            None
        );
        assert_eq!(question(""), &[0, 0, 0, 0, 0][..]);
    }
}
