//! The agent on a target (`sluice agent`): takes clients' packets out of the nodes' tunnels, gives those that no socket
//! here has their second chance, translates ports, and lowers the TCP segments that servers offer to take to what fits
//! into the tunnels.
//!
//! ```text
//!   options → privileges → directory (lock, journal) → host (VIPs on lo, ARP, rp_filter) → program (XDP, tc) → status
//! ```
//!
//! Whatever the agent changes on the host is in the journal before it is changed, and is put back when the agent
//! ends by SIGINT, SIGTERM or an error. An agent that crashed, or was told by SIGUSR2 to leave everything in place,
//! leaves the pinned programs at work; the next one takes over what is still wanted, and puts back the rest. SIGHUP
//! reads the configuration anew, and does the same within one process. Answers of the target's servers go straight to
//! the clients and never pass the agent.

mod addresses;
mod attach;
mod connections;
mod directory;
mod host;
mod metrics;
mod mss;
mod options;
mod peers;
mod pins;
mod ports;
mod privileges;
mod program;
mod report;
mod sysctl;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use lb_common::packet::mss::OuterVersion;
use lb_common::tunnel;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info};

pub use metrics::METRICS;
pub use mss::MssClamp;
pub use options::{Configuration, Options};
pub use peers::Prefix;
pub use ports::{PortMapping, Protocol};
pub use report::{AttachMode, InterfaceReport, Report};

use crate::service_manager::{self, Watchdog};
use addresses::{AddressChanges, Link, Netlink};
use directory::RuntimeDirectory;
use mss::Segments;
use peers::Peers;
use pins::{Held, Pins};
use program::{Locals, Program};
use report::{Reporter, StatusServer};

/// How often the host's addresses are read although nothing told that they changed.
const RESYNC: Duration = Duration::from_secs(30);

/// What a running agent is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// End, and put the host back as it was.
    End,
    /// End, and leave the programs at work and the host as it is, for the next agent.
    HandOver,
    /// Read the configuration anew.
    Reload,
    /// Log the counters.
    Count,
}

/// Runs the agent until SIGINT or SIGTERM, or SIGUSR2, which leaves everything in place; SIGHUP reads the configuration
/// anew, SIGUSR1 logs the counters.
///
/// # Errors
/// If the options are wrong, a privilege is lacking, or the host could not be prepared or put back.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let (sender, commands) = mpsc::channel(8);
    for (kind, command) in [
        (SignalKind::interrupt(), Command::End),
        (SignalKind::terminate(), Command::End),
        (SignalKind::user_defined2(), Command::HandOver),
        (SignalKind::hangup(), Command::Reload),
        (SignalKind::user_defined1(), Command::Count),
    ] {
        let (mut signal, sender) = (listen_for(kind)?, sender.clone());
        tokio::spawn(async move {
            while signal.recv().await.is_some() && sender.send(command).await.is_ok() {
                info!("signal {}: {command:?}", kind.as_raw_value());
            }
        });
    }
    run_until(options, commands).await
}

/// Runs the agent until a command ends it, or nobody can give one any more, which is [`Command::End`].
///
/// # Errors
/// As [`run`].
pub async fn run_until(options: Options, mut commands: mpsc::Receiver<Command>) -> anyhow::Result<()> {
    let mut configuration = options.resolve()?;
    privileges::check()?;
    let directory = RuntimeDirectory::open(&options.runtime_directory)?;
    let netlink = Netlink::connect()?;
    loop {
        let agent = Agent { options: &options, directory: &directory, netlink: &netlink };
        match agent.serve(&configuration, &mut commands).await {
            Ok(Ending::Anew(changed)) => configuration = *changed,
            Ok(Ending::HandOver) => {
                service_manager::stopping();
                return Ok(());
            }
            Ok(Ending::End) => {
                service_manager::stopping();
                return agent.put_back().await;
            }
            Err(error) => {
                if let Err(another) = agent.put_back().await {
                    error!("{another:#}");
                }
                return Err(error);
            }
        }
    }
}

/// How a configuration's time ends.
enum Ending {
    End,
    HandOver,
    Anew(Box<Configuration>),
}

/// What stays the same from one configuration to the next.
#[derive(Clone, Copy)]
struct Agent<'a> {
    options: &'a Options,
    directory: &'a RuntimeDirectory,
    netlink: &'a Netlink,
}

impl Agent<'_> {
    /// Detaches the programs, and makes the host as it was.
    async fn put_back(self) -> anyhow::Result<()> {
        let detached = Pins::remove_all(&self.options.pins());
        let restored = host::restore(self.directory, self.netlink).await;
        detached.and(restored)
    }

    /// What is not pinned is detached when this returns, before the host is put back.
    async fn serve(
        self,
        configuration: &Configuration,
        commands: &mut mpsc::Receiver<Command>,
    ) -> anyhow::Result<Ending> {
        let links = self.netlink.links().await?;
        let interfaces = host::interfaces(&links, &configuration.interfaces)?;
        let mut changes = AddressChanges::watch()?;
        let mut pins = Pins::open(&self.options.pins())?;
        let mut program = Program::load(configuration, &mut pins)?;
        let mut locals = program.locals()?;
        let claim = host::prepare(configuration, &links, self.directory, self.netlink).await?;
        locals.refresh(self.netlink, configuration).await?;
        let segments = program.segments(configuration, &interfaces)?;
        let mut peers = Peers::follow(&mut program.ebpf, &configuration.peers).await?;
        peers.write()?;
        let attached = Attached::attach(&mut program, configuration, &interfaces, pins)?;
        let mut host = Host { netlink: self.netlink, locals, segments, peers };
        claim.hold(self.directory, self.netlink).await?;
        let reporter = Arc::new(Reporter::new(configuration, attached.reports.clone(), program.counters()?));
        let _servers = serve_reports(&reporter, configuration, self.directory)?;
        let _connections = connections::serve(configuration.nodes.clone(), &configuration.ports);
        info!("agent ready: {}", reporter.summary());
        service_manager::ready(&reporter.summary());
        let ending = self.follow(configuration, &mut host, &mut changes, &reporter, commands).await?;
        info!("agent ends: {}", reporter.counted());
        Ok(ending)
    }

    /// Keeps what the program knows of the host current, until a command ends that.
    async fn follow(
        self,
        configuration: &Configuration,
        host: &mut Host<'_>,
        changes: &mut AddressChanges,
        reporter: &Reporter,
        commands: &mut mpsc::Receiver<Command>,
    ) -> anyhow::Result<Ending> {
        let mut resync = tokio::time::interval(RESYNC);
        let mut wishes = tokio::time::interval(peers::WISHES);
        let mut watchdog = Watchdog::of_this_process(Instant::now());
        loop {
            tokio::select! {
                command = commands.recv() => match command.unwrap_or(Command::End) {
                    Command::End => return Ok(Ending::End),
                    Command::HandOver => return Ok(Ending::HandOver),
                    Command::Count => info!("{}", reporter.counted()),
                    Command::Reload => match self.options.resolve() {
                        Ok(changed) => return Ok(Ending::Anew(Box::new(changed))),
                        Err(error) => error!("the configuration in force stays: {error:#}"),
                    },
                },
                () = changes.changed() => host.refresh(configuration).await,
                _ = resync.tick() => host.refresh(configuration).await,
                _ = wishes.tick() => host.look_for_wishes(),
                () = host.peers.changed() => host.write_ways(),
                () = watchdog.due() => watchdog.feed(Instant::now()),
            }
        }
    }
}

fn serve_reports(
    reporter: &Arc<Reporter>,
    configuration: &Configuration,
    directory: &RuntimeDirectory,
) -> anyhow::Result<Vec<StatusServer>> {
    let mut servers = vec![reporter.serve(directory)?];
    if let Some(address) = configuration.metrics_address {
        servers.push(reporter.serve_metrics(address));
    }
    Ok(servers)
}

/// The programs on their interfaces, for as long as this lives, or as they are pinned.
struct Attached {
    reports: Vec<InterfaceReport>,
    _held: Vec<Held>,
}

impl Attached {
    fn attach(
        program: &mut Program,
        configuration: &Configuration,
        interfaces: &[&Link],
        mut pins: Pins,
    ) -> anyhow::Result<Attached> {
        let (mut reports, mut held) = (Vec::new(), Vec::new());
        for link in interfaces {
            if configuration.needs_egress() {
                held.extend(program.attach_egress(link, &mut pins)?);
            }
            let (report, link) = program.attach(link, &mut pins)?;
            reports.push(report);
            held.push(link);
        }
        for map in [tunnel::AGENT_CONTINUATIONS, tunnel::AGENT_TC_CONTINUATIONS] {
            let programs = program.ebpf.map(map).with_context(|| format!("the program has no map {map}"))?;
            pins.pin_map(&map.to_lowercase(), programs)?;
        }
        pins.remove_others()?;
        Ok(Attached { reports, _held: held })
    }
}

impl Program {
    /// The limits of the segments that servers offer, to be kept current.
    fn segments(&mut self, configuration: &Configuration, links: &[&Link]) -> anyhow::Result<Segments> {
        let is_ipv4 = configuration.nodes.iter().all(std::net::IpAddr::is_ipv4);
        let outer = if is_ipv4 { OuterVersion::V4 } else { OuterVersion::V6 };
        Segments::new(&mut self.ebpf, configuration.mss_clamp, outer, links)
    }
}

/// What the program is told of the host.
struct Host<'a> {
    netlink: &'a Netlink,
    locals: Locals,
    segments: Segments,
    peers: Peers,
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

    fn look_for_wishes(&mut self) {
        if let Err(error) = self.peers.look_for_wishes() {
            error!("peers that are not configured by their addresses are not found: {error:#}");
        }
    }

    fn write_ways(&mut self) {
        if let Err(error) = self.peers.write() {
            error!("the ways to peers stay as they were: {error:#}");
        }
    }
}

fn listen_for(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).with_context(|| format!("listening for signal {}", kind.as_raw_value()))
}
