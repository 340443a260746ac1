//! The privileged helper: the process beside a controller that may load programs, attach them, and write neighbours and
//! routes; that listens to nobody else, and does nothing but what `protocol` has words for and the configuration file
//! names.
//!
//! ```text
//!   sluice run ──(before it has threads or sockets)──► privileged-helper   CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN
//!       │  gives up its capabilities                        │  standard input: programs, links, pins
//!       │  gets the maps' descriptors ◄─────────────────────┤  standard output: neighbours, routes
//!       ▼                                                    ▼
//!   API, checks, BGP, the maps' content                  the kernel
//! ```
//!
//! What is asked is held against the configuration *file*, which the helper reads itself: who has taken over the
//! controller can ask for what the administrator has written there, and for nothing else. What is refused is logged. The
//! helper ends with its controller, however that ends.

mod network;
mod permitted;
mod programs;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::set_name;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::network::without_waiting;
use super::{Jobs, Role, confine};
use crate::controller::sizes::{self, Size};
use permitted::Permitted;

/// What the helper is told when it is started.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// The controller's configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Use these interfaces instead of the configuration's
    #[arg(long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// Where the data plane is pinned
    #[arg(long, value_name = "DIR")]
    pub pins: Option<PathBuf>,
    /// Make the data plane for so many flows, targets, listeners, slots or allowed-prefixes
    #[arg(long, value_name = "WHAT=N", value_parser = Size::parse)]
    pub max: Vec<Size>,
}

/// Serves the process that has started this one, until it ends.
///
/// # Errors
/// If somebody else has started it, or it can't give up what it does not need.
pub fn serve(options: Options) -> anyhow::Result<()> {
    let (programs, network) = (line(io::stdin())?, line(io::stdout())?);
    // Processes of the same user can't look into it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("hiding the helper's memory")?;
    set_parent_process_death_signal(Some(Signal::KILL)).context("following the controller's end")?;
    set_name(c"sluice-helper").context("naming the helper")?;
    confine(Role::Helper, Jobs { file: Some(&options.config), ..Jobs::default() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting the helper's runtime")?.block_on(async {
        ignore_signals()?;
        let permitted = Permitted::new(options.config, options.interfaces);
        let network = without_waiting(network).context("the line for the network")?;
        tokio::spawn(network::serve(network, permitted.clone()));
        let programs = without_waiting(programs).context("the line for programs")?;
        let capacity = sizes::capacity(&options.max);
        programs::serve(programs, permitted, options.pins, capacity).await
    })
}

/// One of the sockets that the controller gives to its helper.
fn line(stream: impl AsFd) -> anyhow::Result<OwnedFd> {
    let kind = socket_type(&stream).ok();
    ensure!(
        kind == Some(SocketType::SEQPACKET),
        "this command is for `sluice run`, which starts it, and talks to it by its standard input and output"
    );
    stream.as_fd().try_clone_to_owned().context("taking a line to the controller")
}

/// What ends a controller is often sent to all processes of its unit or terminal. The helper ends after the controller.
fn ignore_signals() -> anyhow::Result<()> {
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ] {
        let mut signals = signal(kind).context("listening for signals")?;
        tokio::spawn(async move { while signals.recv().await.is_some() {} });
    }
    Ok(())
}

/// Reads a message, which may be anything.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("no request of this build: {error}"))
}

/// Says what was refused, once a second at most: whoever has taken over a controller can ask often.
#[derive(Debug, Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    fn say(&mut self, why: &str) {
        if self.last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            self.unsaid += 1;
            return;
        }
        let more = std::mem::take(&mut self.unsaid);
        let and = if more > 0 { format!(" ({more} more were refused before)") } else { String::new() };
        warn!("the privileged helper refuses a request: {why}{and}");
        self.last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::privileges::protocol::{NetworkRequest, Numbered, Request};

    proptest! {
        #[test]
        fn no_bytes_are_more_than_a_refusal(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read::<Request>(&bytes);
            let _ = read::<Numbered<NetworkRequest>>(&bytes);
        }
    }

    #[test]
    fn every_truncation_of_a_request_is_refused_and_so_is_what_it_does_not_know() {
        let whole = serde_json::to_vec(&Request::Load { k0: 1, k1: u64::MAX }).unwrap();
        assert_eq!(read::<Request>(&whole), Ok(Request::Load { k0: 1, k1: u64::MAX }));
        for length in 0..whole.len() {
            read::<Request>(&whole[..length]).unwrap_err();
        }
        for unknown in [
            r#"{"attach":{"interface":"eth0","program":"mine"}}"#,
            r#"{"load_object":{"path":"/tmp/x"}}"#,
            r#""begin" "begin""#,
            r#"{"run":"explain"}"#,
        ] {
            read::<Request>(unknown.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn complaints_do_not_fill_the_log() {
        let mut complaints = Complaints::default();
        (0..1000).for_each(|_| complaints.say("nonsense"));
        assert!(complaints.unsaid >= 990, "{complaints:?}");
    }
}
