//! Serves the API over HTTP/1.1, with TLS or without, within limits that no client can stretch.

mod body;
mod crowd;
mod limits;
mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{Response, header};
use axum::serve::Listener;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, error};

use super::calendar::Timestamp;
use super::configuration::Tls;
use super::service::{Answer, Part, Request, Service};
use crate::listen::LateListener;
use crowd::{Activity, Crowd};
pub use limits::Limits;
use tls::Certified;

/// What is served.
const NAME: &str = "the API";

/// A server.
pub struct Server {
    listener: LateListener,
    tls: Option<Arc<Certified>>,
    service: Arc<Service>,
    limits: Limits,
}

impl Server {
    /// Listens on the address.
    ///
    /// # Errors
    /// When that can't be, or the TLS files are no good.
    pub fn bind(address: SocketAddr, tls: Option<&Tls>, service: Arc<Service>) -> anyhow::Result<Server> {
        let tls = tls.map(Certified::load).transpose()?.map(Arc::new);
        let listener = LateListener::now(NAME, address)?;
        Ok(Server { listener, tls, service, limits: Limits::default() })
    }

    /// The same, now or as soon as it can be; the log and the service tell of what it waits for.
    pub fn bind_when_possible(address: SocketAddr, tls: Option<&Tls>, service: Arc<Service>) -> Server {
        let tls = tls.map(Certified::awaited).map(Arc::new);
        let listener = LateListener::when_possible(NAME, address);
        service.tell(Part::Address, listener.problem().map(str::to_owned));
        Server { listener, tls, service, limits: Limits::default() }
    }

    /// With other limits.
    pub fn with_limits(self, limits: Limits) -> Server {
        Server { limits, ..self }
    }

    /// The address, with the port that the kernel chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// What clients call their endpoint.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address())
    }

    /// Serves for ever. Connections end when this is dropped.
    pub async fn serve(mut self) {
        let (tls, service) = (self.tls.clone(), Arc::clone(&self.service));
        let renew = async {
            if let Some(tls) = &tls
                && let Err(problem) = tls.follow(&service).await
            {
                error!("the certificate is not followed: {problem:#}");
            }
        };
        tokio::join!(renew, self.accept());
    }

    async fn accept(&mut self) {
        self.listener.listens().await;
        self.service.tell(Part::Address, None);
        let mut crowd = Crowd::of(self.limits.connections);
        for number in 0.. {
            let (stream, peer) = self.listener.accept().await;
            let (tls, service, limits) = (self.tls.clone(), self.service.clone(), self.limits);
            crowd
                .admit(|activity| {
                    connection(stream, tls, Exchange { number, peer, service, limits, activity })
                })
                .await;
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<Arc<Certified>>, exchange: Exchange) {
    // Answers are small and wait for nothing.
    let _ = stream.set_nodelay(true);
    let Some(certified) = tls else {
        exchange.serve(stream).await;
        return;
    };
    let Some(acceptor) = certified.acceptor() else {
        debug!("a connection was closed, as there is no certificate yet");
        return;
    };
    match timeout(exchange.limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => exchange.serve(stream).await,
        Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
        Err(_) => debug!("a TLS handshake took too long"),
    }
}

/// The requests and answers of one connection.
#[derive(Clone)]
struct Exchange {
    number: u64,
    peer: SocketAddr,
    service: Arc<Service>,
    limits: Limits,
    activity: Activity,
}

impl Exchange {
    /// Serves the requests. After `limits.connection` the request in hand is the last, and soon after that the
    /// connection is cut: a client that does not read its answers holds it no longer.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let limits = self.limits;
        let answer = service_fn(move |request| self.clone().answer(request));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.headers)
            .max_buf_size(limits.header_bytes)
            .max_headers(limits.header_fields)
            .serve_connection(TokioIo::new(stream), answer);
        let mut serving = std::pin::pin!(serving);
        if timeout(limits.connection, serving.as_mut()).await.is_err() {
            serving.as_mut().graceful_shutdown();
            if timeout(limits.body, serving).await.is_err() {
                debug!("a connection was cut: its client did not read its answers");
            }
        }
    }

    async fn answer(self, request: hyper::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        self.activity.note();
        let (Parts { method, uri, headers, .. }, body) = request.into_parts();
        let (connection, peer) = (self.number, Some(self.peer));
        let request = Request { method, uri, headers, body: Vec::new(), connection, peer };
        let answer = match body::read(body, &self.limits).await {
            Ok(body) => self.carry_out(Request { body, ..request }).await,
            Err(error) => self.service.refuse_unread(&request, &error, Timestamp::now()),
        };
        Ok(response(answer))
    }
}

impl Exchange {
    /// A change waits for a disk or for other nodes, which must not keep others from being served.
    async fn carry_out(self, request: Request) -> Answer {
        let answering = spawn_blocking(move || self.service.answer(&request, Timestamp::now()));
        answering.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::builder()
        .status(answer.status)
        .header(header::CONTENT_TYPE, "text/xml")
        .header("x-amzn-requestid", answer.request_id);
    if matches!(answer.status, 408 | 413) {
        // The rest of the body is not worth reading.
        response = response.header(header::CONNECTION, "close");
    }
    response.body(Full::new(Bytes::from(answer.body))).expect("a status and header fields that are valid")
}
