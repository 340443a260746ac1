//! Follows files: sees when one of them changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// How often the files are looked at. A look is cheap, and works wherever they are: a mounted secret is a chain of
/// symbolic links, of which none but the innermost changes.
const PERIOD: Duration = Duration::from_secs(1);

/// What tells one content of a file from another without reading it; nothing where the file is not there.
pub(super) type Mark = (PathBuf, Option<(u64, u64, u64, u32, u32, i64, i64)>);

/// Calls `read` at once, when one of the files is another than at the last look, and upon SIGHUP; for ever. Where it says
/// that what it read is no good, it is called again at the next look: what failed once may not fail again.
///
/// # Errors
/// When SIGHUP can't be listened for.
pub(super) async fn follow(
    files: impl Fn() -> Vec<PathBuf>,
    read: impl Fn(&[PathBuf]) -> bool,
) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    let mut last = None;
    loop {
        let files = files();
        let present: Vec<Mark> = files.iter().map(|file| mark(file)).collect();
        if last.as_ref() == Some(&present) || read(&files) {
            last = Some(present);
        }
        tokio::select! {
            _ = hangups.recv() => last = None,
            () = sleep(PERIOD) => {}
        }
    }
}

/// As a file is now.
pub(super) fn mark(file: &Path) -> Mark {
    let seen = std::fs::metadata(file).ok().map(|at| {
        (
            at.dev(),
            at.ino(),
            at.size(),
            at.mode(),
            at.uid(),
            at.mtime_nsec() + at.mtime() * 1_000_000_000,
            at.ctime_nsec() + at.ctime() * 1_000_000_000,
        )
    });
    (file.to_owned(), seen)
}
