//! The API in a process: `sluice run --api-only`, and the options that the API has beside a data plane.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::configuration::Configuration;
use super::inventory::Source;
use super::process::Api;
use crate::data_plane::Capacity;
use crate::plan::{self, Planner};
use crate::status::server;

/// Options of the API
#[derive(Debug, Clone, clap::Args)]
#[group(id = "api")]
pub struct Options {
    /// Serve the ELBv2 API alone, without root and without a data plane, to try it out
    #[arg(long)]
    pub api_only: bool,
    /// Keep the API's state in memory; it is gone at the end, and POST /_sluice/reset forgets it at once
    #[arg(long)]
    pub ephemeral: bool,
    /// Keep the API's state in this directory instead of the configuration's (/var/lib/sluice without one)
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    pub state_directory: Option<PathBuf>,
    /// Serve the API here instead of at the configuration's address (127.0.0.1:8440 without one)
    #[arg(long, value_name = "IP:PORT")]
    pub api_address: Option<SocketAddr>,
    /// With --api-only: serve `sluice plan` and `sluice apply` on a socket in this directory, to this user alone
    #[arg(long, value_name = "DIR", requires = "api_only")]
    pub local_socket: Option<PathBuf>,
}

impl Options {
    /// Where the API alone is to be served, if what says so can be read.
    pub fn address(&self, file: Option<&Path>) -> Option<SocketAddr> {
        self.configuration(file).ok().map(|configuration| configuration.address)
    }

    fn configuration(&self, file: Option<&Path>) -> anyhow::Result<Configuration> {
        self.apply(file.map_or_else(|| Ok(Configuration::sample()), Configuration::load)?)
    }

    /// The configuration as these options change it.
    ///
    /// # Errors
    /// When it would let strangers in.
    pub fn apply(&self, mut configuration: Configuration) -> anyhow::Result<Configuration> {
        if let Some(address) = self.api_address {
            configuration.address = address;
        }
        if let Some(directory) = &self.state_directory {
            configuration.store.directory.clone_from(directory);
        }
        configuration.check_exposure()?;
        Ok(configuration)
    }
}

/// Serves the API until SIGINT or SIGTERM. Without a configuration file the inventory is a sample.
///
/// # Errors
/// If it can't start.
pub async fn run(options: Options, file: Option<PathBuf>) -> anyhow::Result<()> {
    let configuration = options.configuration(file.as_deref())?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let ground = Api::no_ground(&configuration);
    let api = Api::open(&configuration, &options, ground.clone(), Capacity::default()).await?;
    let planner = Planner::alone(Arc::clone(api.service()), ground);
    let _local = match &options.local_socket {
        Some(directory) => {
            let socket = directory.join(crate::STATUS_SOCKET);
            Some(server::serve_local(&socket, plan::routes(planner)).await.context("serving plans")?)
        }
        None => None,
    };
    info!("ready: the API is served at {}; there is no data plane", api.url());
    tokio::select! {
        () = api.serve() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Checks the sections of a file that are the API's; says what they hold.
///
/// # Errors
/// With what is wrong, and where.
pub fn check(text: &str) -> anyhow::Result<String> {
    let configuration = Configuration::parse(text)?;
    configuration.check_exposure()?;
    let inventory = match &configuration.inventory {
        Source::File(inventory) => format!(
            "{} VPCs, {} subnets, {} security groups, {} instances",
            inventory.vpcs.len(),
            inventory.subnets.len(),
            inventory.security_groups.len(),
            inventory.instances.len()
        ),
        Source::Ec2(ec2) => format!("what {} tells of {} subnets", ec2.endpoint, ec2.subnets()),
    };
    Ok(format!("the API owns the state; its inventory: {inventory}"))
}
