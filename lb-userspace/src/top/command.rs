//! The terminal: what is read from it and drawn on it, and how it is left.

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::controls::{Controls, Flow};
use super::rates::Pair;
use super::screen::{Room, draw, picture};
use crate::output;
use crate::status::client;
use crate::status::report::Report;

/// Show listeners and targets with their rates, on a terminal that stays
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Print the picture once, as text, and end
    #[arg(long)]
    once: bool,
    /// Between two looks, in seconds: 0.2 to 60
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.2..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "it is 0.2 to 60 seconds".to_owned())
}

/// Shows the picture until somebody has seen enough.
///
/// # Errors
/// If no controller answers at the start, or there is no terminal.
pub async fn show(options: Options) -> Result<()> {
    let socket = options.runtime_directory.join(crate::STATUS_SOCKET);
    let first = client::fetch(&socket).await?;
    if options.once {
        return print_once(&socket, first, options.interval).await;
    }
    if !stdout().is_terminal() {
        bail!("standard output is no terminal; `sluice top --once` prints one picture as text");
    }
    let terminal = Held::take()?;
    watch(terminal, socket, first, options.interval).await
}

async fn print_once(socket: &Path, first: Report, interval: Duration) -> Result<()> {
    let begun = Instant::now();
    tokio::time::sleep(interval).await;
    let second = client::fetch(socket).await?;
    let pair = Pair::first(first).next(second, begun.elapsed());
    let width = stdout().is_terminal().then(event_size).flatten();
    let picture = picture(&pair, &Controls::default(), None, Room { width, height: None });
    output::print(&picture.into_iter().map(|(_, line)| line + "\n").collect::<String>())
}

fn event_size() -> Option<usize> {
    ratatui::crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns))
}

/// The terminal in raw mode with a screen of its own. It is as it was when this is dropped, and after a panic.
struct Held(DefaultTerminal);

impl Held {
    fn take() -> Result<Held> {
        ratatui::try_init().map(Held).context("taking the terminal; `sluice top --once` needs none")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Of a terminal that is lost nothing can be put back.
        let _ = ratatui::try_restore();
    }
}

/// A report, and when it came; or why there is none.
type Look = (Instant, Result<Report>);

async fn watch(mut terminal: Held, socket: PathBuf, first: Report, interval: Duration) -> Result<()> {
    let mut looks = look_again_and_again(socket, interval);
    let mut keys = keys();
    let mut signals = ends()?;
    let (mut pair, mut last) = (Pair::first(first), Instant::now());
    let (mut controls, mut problem) = (Controls::default(), None);
    loop {
        let drawn = terminal.0.draw(|frame| {
            let area = frame.area();
            let room = Room { width: Some(area.width.into()), height: Some(area.height.into()) };
            draw(frame, &picture(&pair, &controls, problem.as_deref(), room));
        });
        if drawn.is_err() {
            // The terminal is lost: there is nobody to tell.
            return Ok(());
        }
        tokio::select! {
            _ = signals.recv() => return Ok(()),
            event = keys.recv() => match event {
                None => return Ok(()),
                Some(Event::Key(key)) if controls.key(key) == Flow::Ends => return Ok(()),
                Some(_) => {}
            },
            Some((at, look)) = looks.recv() => match look {
                Ok(_) if controls.is_paused => {}
                Ok(report) => {
                    pair = pair.next(report, at.duration_since(last));
                    (last, problem) = (at, None);
                }
                Err(why) => problem = Some(format!("{why:#}")),
            },
        }
    }
}

/// Tells of signals that end programs. (Ctrl-C is a key here.)
fn ends() -> Result<mpsc::Receiver<()>> {
    let (sender, signals) = mpsc::channel(1);
    for kind in [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signal, sender) = (signal(kind).context("listening for signals")?, sender.clone());
        tokio::spawn(async move { while signal.recv().await.is_some() && sender.send(()).await.is_ok() {} });
    }
    Ok(signals)
}

/// The controller may take its time: keys don't wait for it.
fn look_again_and_again(socket: PathBuf, interval: Duration) -> mpsc::Receiver<Look> {
    let (sender, looks) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            let report = client::fetch(&socket).await;
            if sender.send((Instant::now(), report)).await.is_err() {
                return;
            }
        }
    });
    looks
}

/// What the terminal says; it ends with the terminal. The thread, which only waits, ends with the process.
fn keys() -> mpsc::UnboundedReceiver<Event> {
    let (sender, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    keys
}
