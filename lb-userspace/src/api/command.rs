//! `sluice run --api-only`: the API without root and without a data plane.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::configuration::Configuration;
use super::domain::Engine;
use super::server::Server;
use super::service::Service;
use super::signature::{Credentials, Guard};

/// Options of the API
#[derive(Debug, Clone, clap::Args)]
#[group(id = "api")]
pub struct Options {
    /// Serve the ELBv2 API alone, without root and without a data plane, to try it out
    #[arg(long)]
    pub api_only: bool,
    /// Keep the API's state in memory; it is gone at the end, and POST /_sluice/reset forgets it at once
    #[arg(long, requires = "api_only")]
    pub ephemeral: bool,
    /// Serve the API here instead of at the configuration's address (127.0.0.1:8440 without one)
    #[arg(long, value_name = "IP:PORT", requires = "api_only")]
    pub api_address: Option<SocketAddr>,
}

/// Serves the API until SIGINT or SIGTERM. Without a configuration file the inventory is a sample.
///
/// # Errors
/// If it can't start.
pub async fn run(options: Options, file: Option<PathBuf>) -> anyhow::Result<()> {
    if !options.ephemeral {
        bail!("--api-only keeps its state in memory: say so with --ephemeral");
    }
    let mut configuration =
        file.map_or_else(|| Ok(Configuration::sample()), |file| Configuration::load(&file))?;
    if let Some(address) = options.api_address {
        configuration.address = address;
    }
    configuration.check_exposure()?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let guard = guard(&configuration)?;
    let engine = Engine::ephemeral(configuration.identity.clone(), configuration.inventory.clone());
    let service = Arc::new(Service::ephemeral(engine, guard));
    let server = Server::bind(configuration.address, configuration.tls.as_ref(), service).await?;
    info!("ready: the API is served at {}; there is no data plane", server.url());
    tokio::select! {
        () = server.serve() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn guard(configuration: &Configuration) -> anyhow::Result<Guard> {
    match &configuration.credentials {
        Some(file) => Credentials::load(file).map(Guard::signed),
        None => {
            warn!("no credentials are set: everybody on this host may do everything");
            Ok(Guard::Open)
        }
    }
}
