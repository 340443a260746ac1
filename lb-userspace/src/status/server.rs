//! Serves the status on a Unix socket and the metrics on a TCP address.
//!
//! Both ask the controller for a fresh report at each request, through a channel, and know nothing else of it.
//! A connection carries one request and lives for seconds, and there are few at a time: a client that is slow
//! or greedy can delay other clients, never the controller.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Extension, Json, Router};
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::report::Report;
use super::socket_file::{self, SocketFile};
use crate::listen::LateListener;
use crate::metrics::{self, ApiScrape, Scrape};

/// Asks the controller: it answers each request with a fresh report.
pub type Reports = mpsc::Sender<oneshot::Sender<Report>>;

/// Tells what the API counted, where it is served.
pub type ApiScrapes = Box<dyn Fn() -> Option<ApiScrape> + Send + Sync>;

/// Who is at the other end of the Unix socket: an extension of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The user id of the process that connected, as the kernel tells it.
    pub user: u32,
}

/// A connection that may know who is at its other end.
trait Connected {
    fn peer(&self) -> Option<Peer>;
}

impl Connected for UnixStream {
    fn peer(&self) -> Option<Peer> {
        self.peer_cred().ok().map(|credentials| Peer { user: credentials.uid() })
    }
}

impl Connected for TcpStream {
    fn peer(&self) -> Option<Peer> {
        None
    }
}

/// Something that is being served, until this is dropped; then a socket's file is gone too.
#[derive(Debug)]
#[must_use = "serving ends when this is dropped"]
pub struct Serving {
    task: JoinHandle<()>,
    address: Option<SocketAddr>,
    /// Held for its end alone.
    file: Option<SocketFile>,
}

impl Serving {
    /// The address in use, with the port that the kernel chose for port 0; none for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    fn start<L: Listener<Io: Connected>>(listener: L, router: Router, limits: Limits) -> Serving {
        Serving { task: tokio::spawn(accept(listener, router, limits)), address: None, file: None }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `GET /status` (the report as JSON) and what `more` serves on the Unix socket `path`, for its owner alone.
///
/// # Errors
/// When the socket can't be made, and when another controller serves there.
pub async fn serve_socket(path: &Path, reports: Reports, more: Router) -> Result<Serving> {
    serve_local(path, status_routes(reports).merge(more)).await
}

/// Serves `router` on the Unix socket `path`, for its owner alone.
///
/// # Errors
/// As [`serve_socket`].
pub async fn serve_local(path: &Path, router: Router) -> Result<Serving> {
    let (listener, file) = socket_file::bind(path).await?;
    let mut serving = Serving::start(listener, router, LIMITS);
    serving.file = Some(file);
    Ok(serving)
}

/// Serves `GET /metrics` (OpenMetrics text) on `address`, with what `api` tells of the API. Where that can't be yet, the
/// log tells why, and it is tried again each second.
pub fn serve_metrics(address: SocketAddr, reports: Reports, api: ApiScrapes) -> Serving {
    let listener = LateListener::when_possible("the page of metrics", address);
    let bound = listener.address();
    let mut serving = Serving::start(listener, metrics_routes(reports, api), LIMITS);
    serving.address = Some(bound);
    serving
}

fn status_routes(reports: Reports) -> Router {
    let router = Router::new().route("/status", get(status)).with_state(reports);
    router.fallback(async || {
        nothing_here("this socket serves GET /status and /events, POST /explain, /plan, /apply and /targets")
    })
}

fn metrics_routes(reports: Reports, api: ApiScrapes) -> Router {
    let scrapes = Arc::new(Scrapes { reports, api, last: Mutex::new(None) });
    let router = Router::new().route("/metrics", get(openmetrics)).with_state(scrapes);
    router.fallback(async || nothing_here("this address serves GET /metrics"))
}

async fn status(State(reports): State<Reports>) -> Result<Json<Report>, Unavailable> {
    ask(&reports).await.map(Json)
}

/// Where scrapes come from. One is made at a time, and serves whoever asks within [`FRESH`]: many who ask cost the
/// controller no more than one.
struct Scrapes {
    reports: Reports,
    api: ApiScrapes,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Scrapes {
    async fn text(&self) -> Result<Bytes, Unavailable> {
        let mut last = self.last.lock().await;
        if let Some((made, text)) = &*last
            && made.elapsed() < FRESH
        {
            return Ok(text.clone());
        }
        let (made, report) = (Instant::now(), ask(&self.reports).await?);
        let scrape = Scrape { report, api: (self.api)() };
        // With thousands of targets it takes tens of milliseconds, in which other tasks have this thread's work.
        let text = spawn_blocking(|| metrics::render(scrape)).await.map_err(|_| Unavailable::Stopping)?;
        let text = Bytes::from(text);
        *last = Some((made, text.clone()));
        Ok(text)
    }
}

async fn openmetrics(State(scrapes): State<Arc<Scrapes>>) -> Result<Response, Unavailable> {
    let text = scrapes.text().await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

fn nothing_here(what_is: &str) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("{what_is}, nothing else\n"))
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum Unavailable {
    #[error("the controller is stopping")]
    Stopping,
    #[error("the controller did not answer within {} seconds", REPORT.as_secs())]
    Busy,
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{self}\n")).into_response()
    }
}

async fn ask(reports: &Reports) -> Result<Report, Unavailable> {
    let answer = async {
        let (sender, receiver) = oneshot::channel();
        reports.send(sender).await.map_err(|_| Unavailable::Stopping)?;
        receiver.await.map_err(|_| Unavailable::Stopping)
    };
    timeout(REPORT, answer).await.unwrap_or(Err(Unavailable::Busy))
}

/// Accepts for ever. The connections' tasks are this task's, so that they end with it.
async fn accept<L: Listener<Io: Connected>>(mut listener: L, router: Router, limits: Limits) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= limits.connections {
            connections.join_next().await;
        }
        let (io, _) = listener.accept().await;
        while connections.try_join_next().is_some() {}
        let router = match io.peer() {
            Some(peer) => router.clone().layer(Extension(peer)),
            None => router.clone(),
        };
        connections.spawn(connection(io, router, limits));
    }
}

async fn connection<Io>(io: Io, router: Router, limits: Limits)
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router));
    match timeout(limits.connection, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a status or metrics connection failed"),
        Err(_) => tracing::debug!("a status or metrics connection took too long"),
    }
}

/// What clients may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections that are served at the same time; more wait in the socket's backlog.
    connections: usize,
    /// How long a client may take to send its request.
    headers: Duration,
    /// How long a connection may live, its answer's reading included.
    connection: Duration,
}

const LIMITS: Limits =
    Limits { connections: 32, headers: Duration::from_secs(5), connection: Duration::from_secs(20) };
/// How long a scrape serves: less than between two of the keenest Prometheus.
const FRESH: Duration = Duration::from_millis(500);
/// How long the controller may take to make a report.
const REPORT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
