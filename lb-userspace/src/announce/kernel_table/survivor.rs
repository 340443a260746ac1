//! A process that outlives the controller and withdraws the routes of one that was killed.
//!
//! For controllers without pins, whose data plane ends with them however they end: routers must lead nobody there. It is
//! `sluice` itself, started by the controller before that gives up its rights, which tells it through a pipe where there
//! are routes. When the controller is gone the kernel closes the pipe; one that has withdrawn all itself has the survivor
//! forget it before.

use std::collections::BTreeSet;
use std::io::{BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info};

use super::{Configuration, Ending};
use crate::output;

/// The hidden command of `sluice` that does [`survive`].
pub const COMMAND: &str = "outlive-controller";

/// The controller's side of it. Dropping it is as the controller's end.
#[derive(Debug)]
pub(crate) struct Survivor {
    child: Child,
    pipe: ChildStdin,
    told: Option<Configuration>,
}

impl Survivor {
    /// Starts it, and waits until it takes no signal for its own; it knows of no routes yet.
    ///
    /// # Errors
    /// If it can't be started.
    pub(crate) fn start() -> anyhow::Result<Survivor> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("sluice").arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a process that outlives this one")?;
        let pipe = child.stdin.take().context("its standard input is a pipe")?;
        let mut words = child.stdout.take().context("its standard output is a pipe")?;
        let ready = poll(&mut [PollFd::new(&words, PollFlags::IN)], Some(&READY_WITHIN));
        ensure!(
            ready.is_ok_and(|ready| ready > 0),
            "the process that outlives this one is not ready in time"
        );
        words.read_exact(&mut [0]).context("the process that outlives this one has ended")?;
        Ok(Survivor { child, pipe, told: None })
    }

    /// Tells it where routes will be.
    pub(in crate::announce) fn tell(&mut self, configuration: &Configuration) -> anyhow::Result<()> {
        if self.told.as_ref() == Some(configuration) {
            return Ok(());
        }
        let written = self.pipe.write_all(line(configuration).as_bytes());
        written.context("telling the process that outlives this one")?;
        self.told = Some(*configuration);
        Ok(())
    }

    /// Returns when it has ended, which it should not before this process. Dropping the future loses nothing.
    pub(in crate::announce) async fn ended(survivor: &mut Option<Survivor>) {
        if let (Some(survivor), Ok(mut deaths)) = (survivor, signal(SignalKind::child())) {
            while let Ok(None) = survivor.child.try_wait() {
                deaths.recv().await;
            }
            return;
        }
        std::future::pending().await
    }

    /// There is no route any more.
    pub(in crate::announce) fn forget(&mut self) {
        self.told = None;
        // An error means that it has ended.
        let _ = self.pipe.write_all(FORGET.as_bytes());
    }
}

/// Waits for the controller's end, and withdraws its routes: the whole work of the survivor.
///
/// # Errors
/// If standard input is no controller's pipe, or routes can't be removed.
pub async fn survive() -> anyhow::Result<()> {
    // A terminal and a service manager send these to all processes of a controller that is to end. It ends first.
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
    let _taken = kinds.map(signal).into_iter().collect::<Result<Vec<_>, _>>().context("taking signals")?;
    output::print(READY)?;
    let told = tokio::task::spawn_blocking(|| read(std::io::stdin().lock())).await;
    for configuration in told.context("reading what the controller tells")?? {
        withdraw(configuration).await?;
    }
    Ok(())
}

/// What was told until the pipe's end.
fn read(pipe: impl BufRead) -> anyhow::Result<Vec<Configuration>> {
    let mut told = BTreeSet::new();
    for line in pipe.lines() {
        let line = line.context("reading standard input")?;
        if line == FORGET.trim_end() {
            told.clear();
        } else {
            told.insert(line);
        }
    }
    told.iter().map(|line| configuration(line)).collect()
}

fn line(configuration: &Configuration) -> String {
    let Configuration { table, protocol, draining_protocol, .. } = configuration;
    format!("{table} {protocol} {draining_protocol}\n")
}

/// As far as it tells whose routes are which.
fn configuration(line: &str) -> anyhow::Result<Configuration> {
    let words: Vec<&str> = line.split(' ').collect();
    let [table, protocol, draining_protocol] = words[..] else {
        bail!("{line:?} is nothing that a controller tells: this command is its own, for itself")
    };
    let number = |word: &str| word.parse().with_context(|| format!("the protocol {word:?}"));
    Ok(Configuration {
        table: table.parse().with_context(|| format!("the table {table:?}"))?,
        protocol: number(protocol)?,
        draining_protocol: number(draining_protocol)?,
        ..Configuration::default()
    })
}

async fn withdraw(configuration: Configuration) -> anyhow::Result<()> {
    let mut tries = TRIES;
    loop {
        let (_nothing, wanted) = watch::channel(std::sync::Arc::default());
        let withdrawn = super::start(&configuration, &wanted)?.stop(Ending::Withdraw).await;
        tries -= 1;
        match withdrawn {
            Ok(()) => {
                info!(
                    "the controller is gone, and no VIP has a route in table {} any more",
                    configuration.table
                );
                return Ok(());
            }
            Err(problem) if tries == 0 => return Err(problem),
            Err(problem) => error!("trying again: {problem:#}"),
        }
        sleep(PAUSE).await;
    }
}

/// What the survivor says when it takes signals.
const READY: &str = "ready\n";
const READY_WITHIN: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// What it is told when all that it was told is withdrawn.
const FORGET: &str = "forget\n";

const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_controller_tells_is_read_once_each() {
        let first = Configuration::default();
        let second = Configuration { table: 70_000, protocol: 220, draining_protocol: 221, ..first };
        let text = [line(&first), line(&second), line(&first)].concat();
        assert_eq!(read(text.as_bytes()).unwrap(), [first, second]);
        assert_eq!(read(&b""[..]).unwrap(), []);
        let text = [line(&first), FORGET.to_owned(), line(&second)].concat();
        assert_eq!(read(text.as_bytes()).unwrap(), [second]);
    }

    #[test]
    fn what_no_controller_tells_is_refused() {
        for wrong in ["", "214", "214 214", "214 214 300", "-1 214 215", "a b c", "214 214 215 9"] {
            assert!(configuration(wrong).is_err(), "{wrong:?}");
        }
    }
}
