//! A cpio archive as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst, the
//! "newc" format). Pure: bytes in, bytes out.

use std::collections::BTreeSet;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;

/// Writes an archive entry by entry.
pub(super) struct Archive<W> {
    out: W,
    entries: u32,
    directories: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    /// An empty archive.
    pub(super) fn new(out: W) -> Archive<W> {
        Archive { out, entries: 0, directories: BTreeSet::new() }
    }

    /// Adds a file that can be run, and the directories above it. `path` is absolute.
    pub(super) fn file(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, EXECUTABLE, content)
    }

    /// Adds a symbolic link. `path` is absolute.
    pub(super) fn link(&mut self, path: &Path, to: &str) -> Result<()> {
        self.parents(path)?;
        self.entry(path, SYMLINK, to.as_bytes())
    }

    /// Adds a directory and those above it. `path` is absolute.
    pub(super) fn directory(&mut self, path: &Path) -> Result<()> {
        self.parents(path)?;
        if self.directories.insert(path.to_path_buf()) {
            self.entry(path, DIRECTORY, &[])?;
        }
        Ok(())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<W> {
        self.entry(Path::new("TRAILER!!!"), 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parents(&mut self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) if parent.parent().is_some() => self.directory(parent),
            _ => Ok(()),
        }
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        let name = path.strip_prefix("/").unwrap_or(path).as_os_str().as_encoded_bytes();
        self.entries += 1;
        let (number, size, name_size) = (self.entries, content.len(), name.len() + 1);
        // inode, mode, user, group, links, time, size, two devices of two numbers, name's size, checksum
        write!(self.out, "070701{number:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}", 0, 1)?;
        write!(self.out, "{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}", 0)?;
        self.out.write_all(name)?;
        self.out.write_all(&[0])?;
        const HEADER: usize = 110;
        self.pad(HEADER + name_size)?;
        self.out.write_all(content)?;
        self.pad(size)
    }

    /// Zeros up to the next multiple of four.
    fn pad(&mut self, written: usize) -> Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_directories_before_their_files_and_a_trailer() {
        let mut archive = Archive::new(Vec::new());
        archive.file(Path::new("/bin/ip"), b"12345").unwrap();
        archive.link(Path::new("/init"), "bin/ip").unwrap();
        archive.directory(Path::new("/bin")).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let names: Vec<usize> = ["bin\0", "bin/ip\0", "init\0", "TRAILER!!!\0"]
            .iter()
            .map(|name| text.find(name).unwrap())
            .collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(text.matches("070701").count(), 4);
    }

    #[test]
    fn a_header_has_the_sizes_in_hexadecimal() {
        let mut archive = Archive::new(Vec::new());
        archive.file(Path::new("/a"), &[b'x'; 17]).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(&bytes[..22], b"07070100000001000081ed");
        assert_eq!(&bytes[54..62], b"00000011");
        assert_eq!(&bytes[94..102], b"00000002");
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..129], &[b'x'; 17]);
    }
}
