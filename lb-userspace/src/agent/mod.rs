//! The agent on a target (`sluice agent`): takes clients' packets out of the nodes' tunnels,
//! and lowers the TCP segments that servers offer to take to what fits into the tunnels.
//!
//! ```text
//!   options → privileges → directory (lock, journal) → host (VIPs on lo, ARP, rp_filter) → program (XDP) → status
//! ```
//!
//! Whatever the agent changes on the host is in the journal before it is changed, and is put back when the agent
//! ends: by a signal, by an error, or, after a crash, by the next agent's start. Answers of the target's servers
//! go straight to the clients and never pass the agent.

mod addresses;
mod connections;
mod directory;
mod host;
mod mss;
mod options;
mod privileges;
mod program;
mod report;
mod sysctl;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

pub use mss::MssClamp;
pub use options::{Configuration, Options};
pub use report::{InterfaceReport, Report, XdpMode};

use addresses::{AddressChanges, Netlink};
use directory::RuntimeDirectory;
use mss::Segments;
use program::{Locals, Program};
use report::Reporter;

/// How often the host's addresses are read although nothing told that they changed.
const RESYNC: Duration = Duration::from_secs(30);

/// Runs the agent until SIGINT or SIGTERM; SIGUSR1 logs the counters.
///
/// # Errors
/// If the options are wrong, a privilege is lacking, or the host could not be prepared or put back.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let mut terminate = listen_for(SignalKind::terminate())?;
    run_until(options, async move {
        tokio::select! {
            _ = interrupt.recv() => info!("SIGINT: the agent ends"),
            _ = terminate.recv() => info!("SIGTERM: the agent ends"),
        }
    })
    .await
}

/// Runs the agent until `shutdown` is over.
///
/// # Errors
/// As [`run`].
pub async fn run_until(options: Options, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let (configuration, directory) = options.resolve()?;
    privileges::check()?;
    let directory = RuntimeDirectory::open(&directory)?;
    let netlink = Netlink::connect()?;
    host::restore(&directory, &netlink).await.context("undoing what an earlier agent left behind")?;
    let served = serve(&configuration, &directory, &netlink, shutdown).await;
    let restored = host::restore(&directory, &netlink).await;
    served.and(restored)
}

/// The program is detached when this returns, before the host is put back.
async fn serve(
    configuration: &Configuration,
    directory: &RuntimeDirectory,
    netlink: &Netlink,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let links = netlink.links().await?;
    let interfaces = host::interfaces(&links, &configuration.interfaces)?;
    let mut changes = AddressChanges::watch()?;
    let mut program = Program::load(configuration)?;
    let mut locals = program.locals()?;
    let claim = host::prepare(configuration, &links, directory, netlink).await?;
    locals.refresh(netlink, configuration).await?;
    let attached = interfaces.iter().map(|link| program.attach(link)).collect::<anyhow::Result<Vec<_>>>()?;
    let segments = program.segments(configuration.mss_clamp, &interfaces)?;
    let mut host = Host { netlink, locals, segments };
    claim.hold(netlink).await?;
    let reporter = Arc::new(Reporter::new(configuration, attached, program.counters()?));
    let _status = reporter.serve(directory)?;
    let _connections = connections::serve(configuration.nodes.clone()).await?;
    info!("agent ready: {}", reporter.summary());
    follow(configuration, &mut host, &mut changes, &reporter, shutdown).await?;
    info!("agent ends: {}", reporter.counted());
    Ok(())
}

/// What the program is told of the host.
struct Host<'a> {
    netlink: &'a Netlink,
    locals: Locals,
    segments: Segments,
}

impl Host<'_> {
    /// Tells it anew.
    async fn refresh(&mut self, configuration: &Configuration) {
        if let Err(error) = self.locals.refresh(self.netlink, configuration).await {
            error!("the tunnels' ends stay as they were: {error:#}");
        }
        let links = self.netlink.links().await;
        if let Err(error) = links.and_then(|links| self.segments.refresh(&links)) {
            error!("the limits of TCP segments stay as they were: {error:#}");
        }
    }
}

/// Keeps what the program knows of the host current, until `shutdown` is over.
async fn follow(
    configuration: &Configuration,
    host: &mut Host<'_>,
    changes: &mut AddressChanges,
    reporter: &Reporter,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut counters_wanted = listen_for(SignalKind::user_defined1())?;
    let mut resync = tokio::time::interval(RESYNC);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            _ = counters_wanted.recv() => {
                info!("{}", reporter.counted());
                continue;
            }
            () = changes.changed() => {}
            _ = resync.tick() => {}
        }
        host.refresh(configuration).await;
    }
}

fn listen_for(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).with_context(|| format!("listening for signal {}", kind.as_raw_value()))
}
