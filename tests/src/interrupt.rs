//! Stories that can be interrupted: their lab is taken away.

use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Plays a story on a thread of its own; Ctrl-C and SIGTERM end this process and the labs that it has made.
pub(crate) async fn unless_interrupted<F>(story: F) -> Result<ExitCode>
where
    F: FnOnce() -> Result<ExitCode> + Send + 'static,
{
    let mut terminate = signal(SignalKind::terminate()).context("watching for signals")?;
    let played = tokio::task::spawn_blocking(story);
    tokio::select! {
        result = played => result.context("the story panicked")?,
        _ = tokio::signal::ctrl_c() => abandon(),
        _ = terminate.recv() => abandon(),
    }
}

/// The story's thread can't be stopped half-way, but its lab can be taken away. If it is not whole yet, the
/// next lab clears it.
fn abandon() -> ! {
    eprintln!("interrupted; removing the lab");
    if let Err(error) = lab::lease::clear_own() {
        eprintln!("{error:#}");
    }
    std::process::exit(INTERRUPTED)
}
