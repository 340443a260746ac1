//! A process that outlives the controller and withdraws the routes of one that was killed.
//!
//! For controllers without pins, whose data plane ends with them however they end: routers must lead nobody there. It is
//! `sluice` itself, started by the controller, which tells it through a pipe where there are routes. When the controller
//! is gone the kernel closes the pipe; a controller that has withdrawn all itself dismisses the survivor before.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use super::{Configuration, Ending};
use crate::output;

/// The hidden command of `sluice` that does [`survive`].
pub const COMMAND: &str = "outlive-controller";

/// The controller's side of it. Dropping it is as the controller's end.
#[derive(Debug)]
pub(in crate::announce) struct Survivor {
    child: Child,
    pipe: ChildStdin,
    told: Option<Configuration>,
}

impl Survivor {
    /// Starts it, and waits until it takes no signal for its own; it knows of no routes yet.
    pub(in crate::announce) async fn start() -> anyhow::Result<Survivor> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("sluice").arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a process that outlives this one")?;
        let pipe = child.stdin.take().context("its standard input is a pipe")?;
        let mut words = child.stdout.take().context("its standard output is a pipe")?;
        let ready = timeout(READY_WITHIN, words.read_u8()).await;
        ready.context("the process that outlives this one is not ready in time")?.context("it has ended")?;
        Ok(Survivor { child, pipe, told: None })
    }

    /// Tells it where routes will be.
    pub(in crate::announce) async fn tell(&mut self, configuration: &Configuration) -> anyhow::Result<()> {
        if self.told.as_ref() == Some(configuration) {
            return Ok(());
        }
        let written = self.pipe.write_all(line(configuration).as_bytes()).await;
        written.context("telling the process that outlives this one")?;
        self.told = Some(*configuration);
        Ok(())
    }

    /// Returns when it has ended, which it should not before this process. Dropping the future loses nothing.
    pub(in crate::announce) async fn ended(survivor: &mut Option<Survivor>) {
        match survivor {
            // An error means that nobody knows how it ended.
            Some(survivor) => drop(survivor.child.wait().await),
            None => std::future::pending().await,
        }
    }

    /// Ends it: there is no route any more.
    pub(in crate::announce) async fn dismiss(mut self) {
        // An error means that it has ended.
        let _ = self.child.kill().await;
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
        told.insert(line.context("reading standard input")?);
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
const READY_WITHIN: Duration = Duration::from_secs(10);

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
    }

    #[test]
    fn what_no_controller_tells_is_refused() {
        for wrong in ["", "214", "214 214", "214 214 300", "-1 214 215", "a b c", "214 214 215 9"] {
            assert!(configuration(wrong).is_err(), "{wrong:?}");
        }
    }
}
