//! The configuration file as a source of events: its changes and SIGHUP. It does not read the file.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// How long a file must be left alone before it is read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(50);

/// Watches one file.
pub(super) struct ConfigurationFile {
    changes: mpsc::UnboundedReceiver<()>,
    hangups: Signal,
    _watcher: RecommendedWatcher,
}

impl ConfigurationFile {
    /// Watches `path` by its directory, because most tools replace a file instead of writing into it.
    pub(super) fn watch(path: PathBuf) -> anyhow::Result<ConfigurationFile> {
        let path = path.canonicalize().with_context(|| format!("{}: can't be found", path.display()))?;
        let directory = path.parent().context("a file lies in a directory")?.to_owned();
        let (sender, changes) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let ours = event.map_or(true, |event| !event.kind.is_access() && event.paths.contains(&path));
            if ours {
                // The receiver is gone only when the controller ends.
                let _ = sender.send(());
            }
        })
        .context("making a file watcher (inotify)")?;
        watcher
            .watch(&directory, RecursiveMode::NonRecursive)
            .with_context(|| format!("watching the directory {}", directory.display()))?;
        let hangups = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        Ok(ConfigurationFile { changes, hangups, _watcher: watcher })
    }

    /// Returns when the file should be read again. Dropping the future loses nothing but the quiet time.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            _ = self.changes.recv() => self.settle().await,
            _ = self.hangups.recv() => {}
        }
    }

    async fn settle(&mut self) {
        while tokio::time::timeout(QUIET, self.changes.recv()).await.is_ok() {}
    }
}
