//! The Unix socket's file: who may use it, whose it was before, and its end.

use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::net::{UnixListener, UnixStream};

/// A socket's file, removed when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|present| present == self.identity) {
            // Nothing is lost if it stays: the next controller finds nobody behind it and replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds `path` for its owner alone (0600), in a directory that is made for the owner alone (0700) if there is
/// none. A socket that a dead process left is replaced.
///
/// The socket is bound under another name and renamed when its permissions are right, so that there is no
/// moment in which others could connect, whatever the umask, and none without a socket while a stale one is
/// replaced.
pub(crate) async fn bind(path: &Path) -> Result<(UnixListener, SocketFile)> {
    let about = || format!("the socket {} can't be made", path.display());
    make_directory(path).with_context(about)?;
    refuse_if_taken(path).await.with_context(about)?;
    let unready = unready_name(path);
    let bound = bind_as(&unready, path);
    if bound.is_err() {
        let _ = fs::remove_file(&unready);
    }
    bound.with_context(about)
}

fn bind_as(unready: &Path, path: &Path) -> Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(unready).with_context(|| format!("binding {}", unready.display()))?;
    fs::set_permissions(unready, Permissions::from_mode(0o600)).context("setting its mode to 0600")?;
    let file = SocketFile { path: path.to_owned(), identity: identity(unready)? };
    fs::rename(unready, path).with_context(|| format!("renaming {} to it", unready.display()))?;
    Ok((listener, file))
}

/// Beside the socket; the process's id keeps two controllers apart.
fn unready_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    name.into()
}

fn make_directory(path: &Path) -> Result<()> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("making the directory {}", directory.display()))?;
    let mode = fs::metadata(directory)?.mode();
    if mode & 0o022 != 0 && mode & STICKY == 0 {
        bail!(
            "others may write to the directory {}, and so replace the socket; run `chmod go-w {0}` or choose \
             another directory",
            directory.display()
        );
    }
    Ok(())
}

async fn refuse_if_taken(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("looking for one that is there already"),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            bail!("something is there that is not a socket; remove it or choose another path")
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(living) => bail!("{} serves there; stop it or choose another path", owner(&living)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context("asking whether the socket that is there is in use"),
    }
}

fn owner(living: &UnixStream) -> String {
    match living.peer_cred().ok().and_then(|credentials| credentials.pid()) {
        Some(pid) => format!("another controller (process {pid})"),
        None => "another controller".to_owned(),
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// In a directory with this mode bit, such as `/tmp`, people can rename and remove only what is theirs.
const STICKY: u32 = 0o1000;
