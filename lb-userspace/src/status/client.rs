//! Fetches the report from the controller on this host, over its Unix socket.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::report::Report;

/// The report of the controller that serves on the Unix socket `path`.
///
/// # Errors
/// When no controller serves there, when it may not be asked by this user, and when it is of another version
/// whose report this one can't read.
pub async fn fetch(path: &Path) -> Result<Report> {
    let request = Request::get("/status").header(header::HOST, "sluice").body(Full::default())?;
    parse(&ask(path, request).await?)
}

/// What the agent that serves on the Unix socket `path` says of itself.
///
/// # Errors
/// When no agent serves there, or what it says can't be read.
pub(crate) async fn agent<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let connected = UnixStream::connect(path).await;
    let stream = connected.with_context(|| format!("connecting to {}", path.display()))?;
    let request = Request::get("/status")
        .header(header::HOST, "sluice")
        .header(header::CONNECTION, "close")
        .body(Full::default())?;
    let who = format!("the agent at {}", path.display());
    let body = converse(&who, stream, request).await?;
    serde_json::from_slice(&body).with_context(|| format!("reading the answer of {who}"))
}

/// What the controller that serves on the Unix socket `path` has at `what`, as JSON.
///
/// # Errors
/// As [`fetch`], and when the controller is of a version that has no such thing.
pub async fn get<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T> {
    let request = Request::get(what).header(header::HOST, "sluice").body(Full::default())?;
    serde_json::from_slice(&ask(path, request).await?)
        .context("the answer has another shape than this sluice expects; use the controller's own version")
}

/// The answer of the controller that serves on the Unix socket `path` to `question`, both as JSON.
///
/// # Errors
/// As [`fetch`], and with the controller's own words when it refuses the question.
pub async fn post<T: DeserializeOwned>(path: &Path, what: &str, question: &impl Serialize) -> Result<T> {
    let body = serde_json::to_vec(question).context("writing the question as JSON")?;
    let request = Request::post(what)
        .header(header::HOST, "sluice")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body))?;
    serde_json::from_slice(&ask(path, request).await?)
        .context("the answer has another shape than this sluice expects; use the controller's own version")
}

async fn ask(path: &Path, request: Request<Full<Bytes>>) -> Result<Bytes> {
    let stream = UnixStream::connect(path).await.map_err(|error| not_connected(path, error))?;
    converse(&format!("the controller at {}", path.display()), stream, request).await
}

async fn converse(who: &str, stream: UnixStream, request: Request<Full<Bytes>>) -> Result<Bytes> {
    let (status, body) = timeout(ANSWER, exchange(stream, request))
        .await
        .unwrap_or_else(|_| Err(anyhow!("no answer within {} seconds", ANSWER.as_secs())))
        .with_context(|| format!("{who} could not be asked; see its log"))?;
    if status != StatusCode::OK {
        bail!("{who} answered {status}: {}", String::from_utf8_lossy(&body).trim_end());
    }
    Ok(body)
}

fn not_connected(path: &Path, error: io::Error) -> anyhow::Error {
    let path = path.display();
    let meaning = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
            "no controller serves {path}; start one with `sluice run`, or name the socket of the one that runs"
        ),
        ErrorKind::PermissionDenied => {
            format!(
                "{path} is its owner's alone; run this as root, or as the user that the controller runs as"
            )
        }
        _ => format!("{path} can't be connected to"),
    };
    anyhow::Error::new(error).context(meaning)
}

async fn exchange(stream: UnixStream, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = requests.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        anyhow::Ok((status, body.map_err(|error| anyhow!(error))?.to_bytes()))
    };
    // The connection's future moves the bytes; its own error reaches the answer's.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn parse(body: &[u8]) -> Result<Report> {
    serde_json::from_slice(body).with_context(|| {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let ours = env!("CARGO_PKG_VERSION");
        match serde_json::from_slice::<Version>(body) {
            Ok(Version { version }) if version != ours => format!(
                "the controller is sluice {version}, this is {ours}, and can't read its report; use the same"
            ),
            _ => "the answer is not a status report; is the socket a controller's?".to_owned(),
        }
    })
}

/// How long the controller may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The biggest answer that is read: a target takes less than a kilobyte, and a node has at most 65535.
const MAX_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: ErrorKind) -> String {
        format!("{:#}", not_connected(Path::new("/run/sluice/status.sock"), io::Error::from(kind)))
    }

    #[test]
    fn errors_say_what_to_do() {
        assert!(told(ErrorKind::NotFound).contains("start one with `sluice run`"));
        assert!(told(ErrorKind::ConnectionRefused).contains("no controller serves /run/sluice/status.sock"));
        assert!(told(ErrorKind::PermissionDenied).contains("run this as root"));
    }

    #[test]
    fn a_report_of_another_version_is_named() {
        let error = parse(br#"{"version": "9.0.0", "nodes": []}"#).unwrap_err();
        assert!(error.to_string().contains("the controller is sluice 9.0.0, this is"), "{error}");
    }

    #[test]
    fn what_is_no_report_is_named() {
        for body in [&b""[..], b"{}", b"<html>", b"\xff"] {
            let error = parse(body).unwrap_err();
            assert!(error.to_string().contains("not a status report"), "{error}");
        }
    }
}
