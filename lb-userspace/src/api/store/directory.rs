//! The directory of an embedded store: who may read it, who has it, and what was acknowledged last.
//!
//! ```text
//!   /var/lib/sluice/        0700
//!     state.redb            the state
//!     acknowledged          the newest generation that anybody was told of
//!     lock                  held by the one process that uses the directory; its process id
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::api::calendar::Timestamp;

/// The file of the state.
const STATE: &str = "state.redb";
/// The file of the state in the making.
const NEW: &str = "state.redb.new";

/// A directory that this process has for itself.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
    acknowledged: File,
}

impl Directory {
    /// Takes a directory; makes it if it is not there.
    ///
    /// # Errors
    /// If others may write there, or another process has it.
    pub(super) fn take(path: &Path) -> anyhow::Result<Directory> {
        let shown = path.display();
        DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
            format!("the state's directory {shown} can't be made; --state-directory DIR names another one")
        })?;
        Directory::take_existing(path)
    }

    /// Takes a directory that is there.
    ///
    /// # Errors
    /// If it is not there, others may write there, or another process has it.
    pub(super) fn take_existing(path: &Path) -> anyhow::Result<Directory> {
        let shown = path.display();
        let mode = fs::metadata(path).with_context(|| format!("looking at {shown}"))?.permissions().mode();
        if mode & 0o022 != 0 {
            bail!("others may write to the state's directory {shown}: chmod go-w {shown}");
        }
        let lock = lock(path)?;
        let acknowledged = open(&path.join("acknowledged"))?;
        Ok(Directory { path: path.to_owned(), _lock: lock, acknowledged })
    }

    /// The file of the state.
    pub(super) fn state(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file, to be published.
    pub(super) fn new_file(&self) -> anyhow::Result<File> {
        let path = self.path.join(NEW);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
        open(&path)
    }

    /// Puts the new file into the state's place, in one step and for good.
    pub(super) fn publish(&self) -> anyhow::Result<()> {
        let (new, state) = (self.path.join(NEW), self.state());
        let synced = || -> std::io::Result<()> {
            File::open(&new)?.sync_all()?;
            fs::rename(&new, &state)?;
            File::open(&self.path)?.sync_all()
        };
        synced().with_context(|| format!("putting {} into the place of {}", new.display(), state.display()))
    }

    /// Gives the state's file a second name that is kept when another one takes its place.
    pub(super) fn keep_old(&self, why: &str, now: Timestamp) -> anyhow::Result<PathBuf> {
        let time: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
        let kept = self.path.join(format!("{STATE}.{why}-{time}"));
        fs::hard_link(self.state(), &kept)
            .with_context(|| format!("keeping the old state as {}", kept.display()))?;
        Ok(kept)
    }

    /// The newest generation that anybody was told of, as far as that is known: 0 if it is not.
    pub(super) fn acknowledged(&self) -> u64 {
        let mut bytes = [0; RECORD];
        match self.acknowledged.read_at(&mut bytes, 0) {
            Ok(0) => 0,
            Ok(RECORD) if bytes[8..] == checksum(&bytes[..8]) => {
                u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"))
            }
            _ => {
                let shown = self.path.join("acknowledged");
                warn!("{} is damaged: a loss of the newest changes would not be noticed", shown.display());
                0
            }
        }
    }

    /// Notes that somebody is told of a generation. This need not reach the disk: it is only to notice a state that is
    /// older than it can be, which is never a reason to lose one.
    pub(super) fn acknowledge(&self, generation: u64) {
        let number = generation.to_le_bytes();
        let record = [number, checksum(&number)].concat();
        if let Err(error) = self.acknowledged.write_all_at(&record, 0) {
            warn!("{}: {error}", self.path.join("acknowledged").display());
        }
    }
}

/// Generation and checksum.
const RECORD: usize = 16;

fn checksum(number: &[u8]) -> [u8; 8] {
    Sha256::digest(number)[..8].try_into().expect("SHA-256 has 32 bytes")
}

fn open(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).with_context(|| format!("opening {}", path.display()))
}

fn lock(directory: &Path) -> anyhow::Result<File> {
    let mut file = open(&directory.join("lock"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        let is_known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
        let holder =
            if is_known { format!("process {}", holder.trim()) } else { "another process".to_owned() };
        let shown = directory.display();
        bail!("the state in {shown} is in use by {holder}: stop it first, or name another --state-directory");
    }
    sign(&mut file, directory);
    Ok(file)
}

/// Says who has the lock. It is had without a word too: a full disk is no reason not to start.
fn sign(file: &mut File, directory: &Path) {
    let signed = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    if let Err(error) = signed {
        warn!("the lock of {} does not say whose it is: {error}", directory.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::store::tests::Scratch;

    #[test]
    fn only_one_has_a_directory_and_others_are_told_who() {
        let scratch = Scratch::new();
        let held = Directory::take(&scratch.path).unwrap();
        let error = Directory::take(&scratch.path).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
        drop(held);
        Directory::take(&scratch.path).unwrap();
    }

    /// A full disk is a limit on the size of files here, in a process of its own that outlives the limit's signal.
    #[test]
    fn a_full_disk_does_not_keep_a_directory_from_being_taken() {
        use rustix::process::{Resource, Rlimit, setrlimit};
        if let Some(path) = std::env::var_os(FULL) {
            setrlimit(Resource::Fsize, Rlimit { current: Some(0), maximum: None }).unwrap();
            let _held = Directory::take(Path::new(&path)).unwrap();
            let error = Directory::take(Path::new(&path)).unwrap_err().to_string();
            assert!(error.contains("in use by another process"), "{error}");
            return;
        }
        let scratch = Scratch::new();
        drop(Directory::take(&scratch.path).unwrap());
        let name = "api::store::directory::tests::a_full_disk_does_not_keep_a_directory_from_being_taken";
        let child = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" --exact --nocapture \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(FULL, &scratch.path)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    }

    const FULL: &str = "SLUICE_TEST_DIRECTORY_ON_FULL_DISK";

    #[test]
    fn nobody_else_may_read_it_or_write_to_it() {
        let scratch = Scratch::new();
        let path = scratch.path.join("new");
        let directory = Directory::take(&path).unwrap();
        directory.new_file().unwrap();
        directory.publish().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&directory.state())), (0o700, 0o600));
        drop(directory);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        let error = Directory::take(&path).unwrap_err().to_string();
        assert!(error.contains("chmod go-w"), "{error}");
    }

    #[test]
    fn what_was_acknowledged_is_known_or_not() {
        let scratch = Scratch::new();
        let directory = Directory::take(&scratch.path).unwrap();
        assert_eq!(directory.acknowledged(), 0);
        directory.acknowledge(1 << 40);
        assert_eq!(directory.acknowledged(), 1 << 40);
        directory.acknowledged.write_all_at(&[1], 3).unwrap();
        assert_eq!(directory.acknowledged(), 0);
    }
}
