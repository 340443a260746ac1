//! The runtime directory: the lock that keeps a second agent out, and the journal of what is changed.
//!
//! The journal is written before the first change and removed after the last is undone, so whatever an agent
//! that was killed left behind is in it. One of an earlier boot is void: the kernel has forgotten the changes.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::sysctl;

/// What the agent has changed on the host, or is about to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    /// The kernel settings, in the order of their change.
    pub(super) settings: Vec<sysctl::Change>,
    /// The addresses that were added to lo.
    pub(super) addresses: Vec<IpAddr>,
}

impl Journal {
    /// All that these say.
    pub(super) fn all<'a>(journals: impl IntoIterator<Item = &'a Journal>) -> Journal {
        let mut all = Journal::default();
        for journal in journals {
            all.settings.extend(journal.settings.iter().cloned());
            all.addresses.extend(&journal.addresses);
        }
        all
    }

    /// Whether nothing is to be undone.
    pub(super) fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.addresses.is_empty()
    }
}

#[derive(Serialize, Deserialize)]
struct Entry {
    boot: String,
    journal: Journal,
}

/// The directory, locked for this agent until it is dropped.
#[derive(Debug)]
pub(super) struct RuntimeDirectory {
    path: PathBuf,
    lock: File,
}

impl Drop for RuntimeDirectory {
    fn drop(&mut self) {
        // Closing alone would not do while a child of this process, not yet at its exec, has the descriptor too.
        if let Err(error) = self.lock.unlock() {
            warn!("unlocking {}: {error}", self.path.display());
        }
    }
}

impl RuntimeDirectory {
    /// Makes the directory (for its owner alone) if it isn't there, and locks it.
    pub(super) fn open(path: &Path) -> anyhow::Result<RuntimeDirectory> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("making the runtime directory {}", path.display()))?;
        let lock_path = path.join("lock");
        let lock = File::create(&lock_path).with_context(|| format!("opening {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(RuntimeDirectory { path: path.to_path_buf(), lock }),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another agent runs with {}: stop it, or name another --runtime-directory",
                    path.display()
                )
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", lock_path.display()))
            }
        }
    }

    /// Where the status is served.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("status.sock")
    }

    /// The journal of this boot; empty if there is none.
    pub(super) fn journal(&self) -> anyhow::Result<Journal> {
        let path = self.journal_path();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Journal::default()),
            read => read.with_context(|| format!("reading the journal {}", path.display()))?,
        };
        let entry: Entry = serde_json::from_str(&text).with_context(|| {
            format!(
                "the journal {} is damaged: put the host's settings right by hand, and remove it",
                path.display()
            )
        })?;
        Ok(if entry.boot == boot()? { entry.journal } else { Journal::default() })
    }

    /// Replaces the journal whole; an empty one is removed.
    pub(super) fn write(&self, journal: &Journal) -> anyhow::Result<()> {
        let path = self.journal_path();
        if journal.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("removing the journal {}", path.display()))
                }
                _ => Ok(()),
            };
        }
        let entry = Entry { boot: boot()?, journal: journal.clone() };
        let text = serde_json::to_vec_pretty(&entry).context("encoding the journal")?;
        let new = self.path.join("journal.new");
        fs::write(&new, text).with_context(|| format!("writing the journal {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("replacing the journal {}", path.display()))
    }

    fn journal_path(&self) -> PathBuf {
        self.path.join("journal.json")
    }
}

fn boot() -> anyhow::Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).with_context(|| format!("reading {path}"))?.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory under the system's temporary one that vanishes with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            Scratch(std::env::temp_dir().join(format!("sluice-agent-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn some_journal() -> Journal {
        let change = sysctl::Change { name: "net/x".into(), before: 0, set: 1 };
        Journal { settings: vec![change], addresses: vec!["192.0.2.7".parse().unwrap()] }
    }

    #[test]
    fn a_journal_is_read_back_until_it_is_emptied() {
        let scratch = Scratch::new("journal");
        let directory = RuntimeDirectory::open(&scratch.0).unwrap();
        assert!(directory.journal().unwrap().is_empty());
        directory.write(&some_journal()).unwrap();
        assert_eq!(directory.journal().unwrap(), some_journal());
        directory.write(&Journal::default()).unwrap();
        assert!(directory.journal().unwrap().is_empty());
        assert!(!directory.journal_path().exists());
    }

    #[test]
    fn a_journal_of_another_boot_is_void() {
        let scratch = Scratch::new("boot");
        let directory = RuntimeDirectory::open(&scratch.0).unwrap();
        let entry = Entry { boot: "another".into(), journal: some_journal() };
        fs::write(directory.journal_path(), serde_json::to_vec(&entry).unwrap()).unwrap();
        assert!(directory.journal().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_journal_is_told_and_kept() {
        let scratch = Scratch::new("damaged");
        let directory = RuntimeDirectory::open(&scratch.0).unwrap();
        fs::write(directory.journal_path(), "{").unwrap();
        assert!(directory.journal().unwrap_err().to_string().contains("is damaged"));
        assert!(directory.journal_path().exists());
    }

    #[test]
    fn a_second_agent_is_kept_out_until_the_first_ends() {
        let scratch = Scratch::new("lock");
        let first = RuntimeDirectory::open(&scratch.0).unwrap();
        let refusal = RuntimeDirectory::open(&scratch.0).unwrap_err().to_string();
        assert!(refusal.contains("another agent runs"), "{refusal}");
        drop(first);
        RuntimeDirectory::open(&scratch.0).unwrap();
    }
}
