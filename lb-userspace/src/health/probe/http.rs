//! HTTP/1.1 over whatever stream there is.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::{AGENT, Limit, words};
use crate::health::state::{Failure, Outcome};
use crate::model::StatusCodes;

/// Bytes of an answer's head that are taken; a longer head fails the check.
pub(super) const HEAD_LIMIT: usize = 16 * 1024;

/// Headers of an answer that are taken; more fail the check.
const HEADERS_LIMIT: usize = 100;

/// Bytes of a body that are read before the connection is closed on the rest.
const BODY_LIMIT: usize = 64 * 1024;

/// How long a body is read, for it decides nothing: an endless one must not delay the verdict.
const BODY_WITHIN: Duration = Duration::from_millis(500);

/// The moment of the answer that passes, or the outcome that is none.
pub(super) async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: SocketAddr,
    path: &str,
    matcher: &StatusCodes,
    limit: Limit,
) -> Result<Instant, Outcome> {
    let request = request(target, path)?;
    let answer = exchange(stream, request, limit).await.map_err(Outcome::Failed)?;
    answer.judge(matcher).map_err(Outcome::Failed)
}

pub(super) fn request(target: SocketAddr, path: &str) -> Result<Request<Empty<Bytes>>, Outcome> {
    Request::get(path)
        .header(HOST, target.to_string())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| Outcome::NotMade(format!("the path {path:?} can't be requested: {error}")))
}

/// What counts of an HTTP answer.
struct Answer {
    code: u16,
    at: Instant,
}

impl Answer {
    fn judge(self, matcher: &StatusCodes) -> Result<Instant, Failure> {
        if matcher.contains(self.code) {
            return Ok(self.at);
        }
        Err(Failure::ResponseCode { code: self.code, matcher: matcher.clone() })
    }
}

/// Sends the request and drives the connection until the answer was read.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
    limit: Limit,
) -> Result<Answer, Failure> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADERS_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| http_failure(&error))?;
    let answer = pin!(async {
        let response = timeout_at(limit.deadline, sender.send_request(request)).await;
        let response =
            response.map_err(|_| Failure::NoAnswer(limit.timeout))?.map_err(|error| http_failure(&error))?;
        let answer = Answer { code: response.status().as_u16(), at: Instant::now() };
        discard(response.into_body(), limit.deadline.min(answer.at + BODY_WITHIN)).await;
        Ok(answer)
    });
    match select(answer, pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        // The connection's end, good or bad, was told to whoever waits for the answer.
        Either::Right((_, answer)) => answer.await,
    }
}

/// Reads the body so that the target can finish sending it in peace; how that ends decides nothing.
async fn discard(mut body: Incoming, deadline: Instant) {
    let mut read = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read >= BODY_LIMIT {
            return;
        }
    }
}

fn http_failure(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::Malformed(error.to_string());
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(io_error) => Failure::Connection(words(io_error)),
        None if error.is_incomplete_message() || error.is_canceled() => {
            Failure::Connection("connection closed before an answer".to_owned())
        }
        None => Failure::Connection(error.to_string()),
    }
}
