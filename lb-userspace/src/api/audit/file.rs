//! The log's files: one that grows, and older ones with numbers.
//!
//! ```text
//!   audit.log ─(full)─► audit.log.1 ─► audit.log.2 ─► … ─► audit.log.N ─► gone
//! ```
//!
//! A line is in a file whole or not at all: what a failed write left of it is cut off again.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::configuration::AuditConfiguration;

/// The file that is written to, and its place among its elders.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    files: u32,
    file: File,
    /// Bytes of whole lines in the file.
    bytes: u64,
    /// Whether a failed write may have left part of a line behind.
    is_torn: bool,
}

impl LogFile {
    /// Opens the file, or makes it, for its owner alone. A line that an earlier process did not finish is ended.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn open(configuration: &AuditConfiguration) -> anyhow::Result<LogFile> {
        let path = configuration.file.clone();
        let open = || {
            let file = append_to(&path)?;
            let mut bytes = file.metadata()?.len();
            if bytes > 0 && !ends_with_a_line(&path, bytes)? {
                (&file).write_all(b"\n")?;
                bytes += 1;
            }
            Ok::<_, io::Error>((file, bytes))
        };
        let (file, bytes) = open().with_context(|| {
            format!(
                "api.audit_log.file: {} can't be written; its directory must be there and be this process's",
                path.display()
            )
        })?;
        let AuditConfiguration { max_bytes, files, .. } = *configuration;
        Ok(LogFile { path, max_bytes, files, file, bytes, is_torn: false })
    }

    /// Appends a line; begins another file first if this one would be too long. Whether it did.
    ///
    /// # Errors
    /// When it can't be written; then nothing of the line is there.
    pub(super) fn append(&mut self, line: &str) -> io::Result<bool> {
        self.mend()?;
        let is_full = self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes;
        if is_full {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.is_torn = true;
            // If this fails too, the next append tries it again before it writes.
            let _ = self.mend();
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(is_full)
    }

    /// Waits until all lines are on the disk.
    ///
    /// # Errors
    /// When the disk says that they are not.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn mend(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
            self.is_torn = false;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        for number in (1..self.files).rev() {
            rename(&self.elder(number), &self.elder(number + 1))?;
        }
        rename(&self.path, &self.elder(1))?;
        // Were the new one not to open, lines go on into the file that has a number now, and the next one tries again.
        self.file = append_to(&self.path)?;
        self.bytes = 0;
        // The names are as durable as the lines.
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        File::open(directory)?.sync_all()
    }

    fn elder(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Locked, because two writers would cut off each other's lines.
fn append_to(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another process writes to it")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn ends_with_a_line(path: &Path, bytes: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, bytes - 1)?;
    Ok(last == *b"\n")
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::Scratch;
    use super::*;

    fn small(scratch: &Scratch) -> LogFile {
        let configuration = AuditConfiguration { max_bytes: 30, files: 3, ..scratch.configuration() };
        LogFile::open(&configuration).unwrap()
    }

    #[test]
    fn full_files_get_numbers_and_the_oldest_goes() {
        let scratch = Scratch::new("rotation");
        let mut log = small(&scratch);
        for number in 0..12 {
            log.append(&format!("a line: {number:04}\n")).unwrap();
        }
        // 13 bytes a line: two fit.
        assert_eq!(scratch.files(), ["audit.log", "audit.log.1", "audit.log.2", "audit.log.3"]);
        assert_eq!(scratch.read("audit.log"), "a line: 0010\na line: 0011\n");
        assert_eq!(scratch.read("audit.log.3"), "a line: 0004\na line: 0005\n");
        let mode = fs::metadata(scratch.configuration().file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_unfinished_line_of_an_earlier_process_does_not_join_the_next() {
        let scratch = Scratch::new("torn");
        fs::write(scratch.configuration().file, "half a li").unwrap();
        small(&scratch).append("whole\n").unwrap();
        assert_eq!(scratch.read("audit.log"), "half a li\nwhole\n");
    }

    #[test]
    fn a_file_has_one_writer() {
        let scratch = Scratch::new("lock");
        let log = small(&scratch);
        let error = format!("{:#}", LogFile::open(&scratch.configuration()).unwrap_err());
        assert!(error.contains("another process writes to it"), "{error}");
        drop(log);
        LogFile::open(&scratch.configuration()).unwrap();
    }

    #[test]
    fn a_line_longer_than_a_file_gets_one_of_its_own() {
        let scratch = Scratch::new("long");
        let mut log = small(&scratch);
        let long = format!("{}\n", "x".repeat(50));
        for line in ["short\n", &long, "short\n"] {
            log.append(line).unwrap();
        }
        assert_eq!(scratch.read("audit.log.1"), long);
    }
}
