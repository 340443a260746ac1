//! What the agent tells of itself: a line in the log, and `GET /status` as JSON on an owner-only socket.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use lb_common::reason::Reason;
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{debug, error};

use super::connections;
use super::directory::RuntimeDirectory;
use super::options::Configuration;
use super::program::Counters;
use crate::listen::LateListener;

/// How the program runs on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// XDP in the driver.
    Native,
    /// XDP in the network stack, after the driver has built its packet buffer.
    Generic,
    /// The traffic control's ingress, behind whatever XDP there is.
    Tc,
}

impl AttachMode {
    /// Such as `native XDP`.
    pub(super) fn describe(self) -> &'static str {
        match self {
            AttachMode::Native => "native XDP",
            AttachMode::Generic => "generic XDP",
            AttachMode::Tc => "tc ingress",
        }
    }

    /// The name under which a link of this mode is pinned.
    pub(super) fn pin(self, interface: &str) -> String {
        format!("{self}-{interface}")
    }
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AttachMode::Native => "native",
            AttachMode::Generic => "generic",
            AttachMode::Tc => "tc",
        })
    }
}

/// An interface that the agent is attached to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// How the program runs there.
    pub mode: AttachMode,
    /// The program's id, as `bpftool prog` shows it.
    pub program_id: u32,
}

/// The agent's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Where tunnel packets arrive.
    pub interfaces: Vec<InterfaceReport>,
    /// From which outer source addresses they are taken.
    pub nodes: Vec<IpAddr>,
    /// Which VIPs this target serves.
    pub vips: Vec<IpAddr>,
    /// Which other targets packets are handed on to and taken from: addresses and prefixes.
    pub peers: Vec<String>,
    /// Which ports are translated: `VIP:PORT/tcp=PORT`.
    pub ports: Vec<String>,
    /// The agent's version.
    pub version: &'static str,
    /// Packets by what became of them, since the start of the first agent of those that took over from one another;
    /// reasons without packets are left out.
    pub packets: BTreeMap<&'static str, u64>,
}

/// Makes reports.
pub(super) struct Reporter {
    interfaces: Vec<InterfaceReport>,
    nodes: Vec<IpAddr>,
    vips: Vec<IpAddr>,
    peers: Vec<String>,
    ports: Vec<String>,
    counters: Counters,
}

impl Reporter {
    /// Reports on the program as it was attached.
    pub(super) fn new(
        configuration: &Configuration,
        interfaces: Vec<InterfaceReport>,
        counters: Counters,
    ) -> Reporter {
        Reporter {
            interfaces,
            nodes: configuration.nodes.iter().copied().collect(),
            vips: configuration.vips.iter().copied().collect(),
            peers: configuration.peers.iter().map(ToString::to_string).collect(),
            ports: configuration.ports.iter().map(ToString::to_string).collect(),
            counters,
        }
    }

    /// The state now.
    pub(super) fn report(&self) -> anyhow::Result<Report> {
        let mut packets = BTreeMap::new();
        for reason in Reason::ALL {
            let count = self.counters.count(*reason)?;
            if count > 0 {
                packets.insert(reason.name(), count);
            }
        }
        Ok(Report {
            interfaces: self.interfaces.clone(),
            nodes: self.nodes.clone(),
            vips: self.vips.clone(),
            peers: self.peers.clone(),
            ports: self.ports.clone(),
            version: env!("CARGO_PKG_VERSION"),
            packets,
        })
    }

    /// Such as `eth0 native, 2 VIPs, 1 node`.
    pub(super) fn summary(&self) -> String {
        let interfaces =
            self.interfaces.iter().map(|interface| format!("{} {}", interface.name, interface.mode));
        let counts = [counted(self.vips.len(), "VIP"), counted(self.nodes.len(), "node")];
        interfaces.chain(counts).collect::<Vec<_>>().join(", ")
    }

    /// The counters in one line for the log.
    pub(super) fn counted(&self) -> String {
        match self.report() {
            Err(error) => format!("{error:#}"),
            Ok(report) if report.packets.is_empty() => "no packets".to_string(),
            Ok(report) => {
                let counts = report.packets.iter().map(|(name, count)| format!("{name} {count}"));
                format!("packets: {}", counts.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// All counters, those at zero too: a counter that appears with its first packet has no rate before the second.
    fn counts(&self) -> anyhow::Result<Vec<(Reason, u64)>> {
        let of_agent =
            |reason: &&Reason| !reason.is_on_node() || self.counters.count(**reason).is_ok_and(|n| n > 0);
        Reason::ALL
            .iter()
            .filter(of_agent)
            .map(|reason| Ok((*reason, self.counters.count(*reason)?)))
            .collect()
    }

    /// Serves the report on the directory's socket until what is returned is dropped.
    pub(super) fn serve(self: &Arc<Self>, directory: &RuntimeDirectory) -> anyhow::Result<StatusServer> {
        let path = directory.socket();
        // The directory's lock is ours, so the socket is one that nobody listens on any more.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing the old socket {}", path.display()));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))
            .with_context(|| format!("giving {} to its owner alone", path.display()))?;
        let router = Router::new().route("/status", get(status)).with_state(Arc::clone(self));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                error!("the status is served no more: {error}");
            }
        });
        Ok(StatusServer { task, path: Some(path) })
    }

    /// Serves `GET /metrics` until what is returned is dropped, as soon as that can be.
    pub(super) fn serve_metrics(self: &Arc<Self>, address: SocketAddr) -> StatusServer {
        let listener = LateListener::when_possible("the page of metrics", address);
        let router = Router::new().route("/metrics", get(metrics)).with_state(Arc::clone(self));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                error!("metrics are served no more: {error}");
            }
        });
        StatusServer { task, path: None }
    }
}

async fn metrics(State(reporter): State<Arc<Reporter>>) -> Result<impl IntoResponse, (StatusCode, String)> {
    let counts =
        reporter.counts().map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")))?;
    let vips = reporter.vips.clone();
    let listed = spawn_blocking(move || connections::count(&vips)).await;
    let connections = match listed.map_err(anyhow::Error::from).flatten() {
        Ok(connections) => connections,
        Err(problem) => {
            debug!("the kernel does not list its connections: {problem:#}");
            BTreeMap::new()
        }
    };
    Ok((
        [(header::CONTENT_TYPE, crate::metrics::CONTENT_TYPE)],
        super::metrics::render(&reporter.interfaces, &counts, &connections),
    ))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

async fn status(State(reporter): State<Arc<Reporter>>) -> Result<Json<Report>, (StatusCode, String)> {
    reporter.report().map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")))
}

/// A server of status or metrics; ends, and takes its socket away, when it is dropped.
pub(super) struct StatusServer {
    task: JoinHandle<()>,
    /// Of a socket in the file system.
    path: Option<std::path::PathBuf>,
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        self.task.abort();
        // A socket that stays behind is replaced by the next agent.
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}
