//! The configuration file as a source of events: its changes and SIGHUP. It does not read the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// How long a file must be left alone before it is read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(50);

/// The link by which Kubernetes swaps all files of a ConfigMap at once: the file's own link stays as it is.
const SWAPPED_LINK: &str = "..data";

/// Watches one file.
pub(super) struct ConfigurationFile {
    changes: mpsc::UnboundedReceiver<()>,
    hangups: Signal,
    _watcher: RecommendedWatcher,
}

impl ConfigurationFile {
    /// Watches `path` by its directory, because most tools replace a file instead of writing into it, and the
    /// directory of the file that it leads to if it is a link.
    pub(super) fn watch(path: PathBuf) -> anyhow::Result<ConfigurationFile> {
        let named =
            std::path::absolute(&path).with_context(|| format!("{}: no such path", path.display()))?;
        let meant = path.canonicalize().with_context(|| format!("{}: can't be found", path.display()))?;
        let places = BTreeSet::from([directory_of(&named)?, directory_of(&meant)?]);
        let (sender, changes) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let is_ours = |path: &PathBuf| *path == named || *path == meant || path.ends_with(SWAPPED_LINK);
            let ours = event.map_or(true, |event| !event.kind.is_access() && event.paths.iter().any(is_ours));
            if ours {
                // The receiver is gone only when the controller ends.
                let _ = sender.send(());
            }
        })
        .context("making a file watcher (inotify)")?;
        for directory in places {
            watcher
                .watch(&directory, RecursiveMode::NonRecursive)
                .with_context(|| format!("watching the directory {}", directory.display()))?;
        }
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

fn directory_of(file: &Path) -> anyhow::Result<PathBuf> {
    Ok(file.parent().context("a file lies in a directory")?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory as kubelet makes it: FILE → ..data/FILE, ..data → a directory of this version.
    #[tokio::test]
    async fn a_swapped_config_map_is_noticed() {
        let root = std::env::temp_dir().join(format!("sluice-configuration-{}", std::process::id()));
        for version in ["..1", "..2"] {
            fs::create_dir_all(root.join(version)).unwrap();
            fs::write(root.join(version).join("sluice.json"), version).unwrap();
        }
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/sluice.json", root.join("sluice.json")).unwrap();
        let mut file = ConfigurationFile::watch(root.join("sluice.json")).unwrap();
        symlink("..2", root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        let noticed = tokio::time::timeout(Duration::from_secs(10), file.changed()).await;
        fs::remove_dir_all(root).unwrap();
        assert!(noticed.is_ok());
    }
}
