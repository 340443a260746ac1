//! A helper beside this process.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use super::channel::pair;
use super::helper::Options;
use super::{Jobs, Network, Programs, Role, confine};
use crate::announce::kernel_table::Survivor;

/// The name of the helper's command.
pub const COMMAND: &str = "privileged-helper";

/// How long the helper may take to end after the process that asks it.
const END: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A helper that was started, with the lines to it.
pub struct Helper {
    child: Child,
    ended: OwnedFd,
    programs: OwnedFd,
    network: OwnedFd,
    pins: Option<PathBuf>,
    survivor: Option<Survivor>,
}

/// A helper that can be asked.
pub struct Talk {
    /// Its process.
    pub helper: HelperProcess,
    /// For programs and pins.
    pub programs: Programs,
    /// For neighbours and routes.
    pub network: Network,
    /// Who withdraws routes when this process ends without having done so; where nothing is pinned.
    pub(crate) survivor: Option<Survivor>,
}

/// The helper's process.
pub struct HelperProcess {
    child: Child,
    /// Readable when it has ended.
    ended: OwnedFd,
    /// Of children.
    deaths: Signal,
}

/// Starts a helper, and then gives up what it is for: from now on this process can load no program. It serves at
/// `addresses`. To be called by the
/// process's only thread.
///
/// # Errors
/// If the helper can't be started, or the kernel lacks something.
pub fn start(options: Options, addresses: [Option<SocketAddr>; 2]) -> anyhow::Result<Helper> {
    let (programs, far_programs) = pair().context("making a pair of sockets")?;
    let (network, far_network) = pair().context("making a pair of sockets")?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(COMMAND).arg("--config").arg(&options.config);
    for interface in &options.interfaces {
        command.arg("--interface").arg(interface);
    }
    for size in &options.max {
        command.arg("--max").arg(size.to_string());
    }
    if let Some(pins) = &options.pins {
        command.arg("--pins").arg(pins);
    }
    command.stdin(Stdio::from(far_programs)).stdout(Stdio::from(far_network));
    let child = command.spawn().context(
        "starting the privileged helper, which is this program again (/proc/self/exe): is /proc mounted?",
    )?;
    // The command holds the far ends: a line whose helper is gone has to be at its end.
    drop(command);
    let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
        .context("following the privileged helper")?;
    let survivor = if options.pins.is_none() { Some(Survivor::start()?) } else { None };
    confine(Role::Controller, Jobs { file: Some(&options.config), addresses })?;
    Ok(Helper { child, ended, programs, network, pins: options.pins, survivor })
}

impl Helper {
    /// Its process, and what it can be asked. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the process has no free descriptors.
    pub fn talk(self) -> anyhow::Result<Talk> {
        let network = Network::new(self.network)?;
        let deaths = signal(SignalKind::child()).context("listening for the privileged helper's end")?;
        Ok(Talk {
            helper: HelperProcess { child: self.child, ended: self.ended, deaths },
            programs: Programs::new(self.programs, self.pins),
            network,
            survivor: self.survivor,
        })
    }
}

impl HelperProcess {
    /// Returns when the helper has ended, with how. May be cancelled without loss.
    pub async fn ended(&mut self) -> String {
        loop {
            match self.child.try_wait() {
                Ok(None) => _ = self.deaths.recv().await,
                Ok(Some(status)) => return status.to_string(),
                Err(error) => return error.to_string(),
            }
        }
    }
}

impl Drop for HelperProcess {
    /// Waits for its end: what comes next finds its pins free.
    fn drop(&mut self) {
        match poll(&mut [PollFd::new(&self.ended, PollFlags::IN)], Some(&END)) {
            Ok(0) => warn!("the privileged helper takes its time to end"),
            // It is reaped; how it ended is in its own words.
            _ => drop(self.child.try_wait()),
        }
    }
}
