//! `sluice stop`: ends the controller that serves in a runtime directory, and waits for its end.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::net::UnixStream;

use super::detach::Left;
use crate::output;

/// How long a controller may take to end.
const END: Duration = Duration::from_secs(30);

/// End the controller of this node; the data plane goes on forwarding
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
    /// End the data plane too: packets are not forwarded any more
    #[arg(long)]
    withdraw: bool,
    #[command(flatten)]
    left: Left,
}

/// Asks the controller to end, and waits until it has. That there is none is no error.
///
/// # Errors
/// If it may not be asked, or does not end.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let socket = options.runtime_directory.join(crate::STATUS_SOCKET);
    let said = match controller(&socket).await? {
        Some(process) => {
            let number = process.as_raw_nonzero();
            tokio::task::spawn_blocking(move || end(process))
                .await
                .context("waiting for the controller")??;
            format!("the controller (process {number}) has ended")
        }
        None => format!("no controller serves {}", socket.display()),
    };
    output::print(&format!("{said}\n"))?;
    if options.withdraw {
        options.left.end().await?;
    }
    Ok(())
}

/// The process that serves the socket.
async fn controller(socket: &Path) -> anyhow::Result<Option<Pid>> {
    let stream = match UnixStream::connect(socket).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        connected => connected.with_context(|| format!("connecting to {}", socket.display()))?,
    };
    let credentials = stream.peer_cred().context("asking who serves the socket")?;
    let process = credentials.pid().and_then(Pid::from_raw);
    process.context("the controller is in another process namespace: end it there").map(Some)
}

/// Sends SIGTERM, and waits. The descriptor names this very process, whoever gets its number later.
fn end(process: Pid) -> anyhow::Result<()> {
    let about = || format!("ending the controller (process {})", process.as_raw_nonzero());
    let descriptor = pidfd_open(process, PidfdFlags::empty()).with_context(about)?;
    pidfd_send_signal(&descriptor, Signal::TERM).with_context(about)?;
    let limit = Timespec { tv_sec: END.as_secs() as i64, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&limit)).with_context(about)?;
    if ended == 0 {
        bail!(
            "the controller (process {}) has not ended within {END:?}; see its log",
            process.as_raw_nonzero()
        );
    }
    Ok(())
}
