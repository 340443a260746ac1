//! What the kernel complains of while packets are played.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;

/// The kernel's log from a moment on.
#[derive(Debug)]
pub struct KernelLog(Option<File>);

/// Words of a message that no packet may cause.
const COMPLAINTS: [&str; 6] = ["WARNING:", "BUG:", "Oops", "general protection", "KASAN", "Call Trace"];

impl KernelLog {
    /// The log from now on; without access to it, which containers often lack, an empty one.
    pub fn from_now() -> KernelLog {
        let file =
            OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open("/dev/kmsg");
        KernelLog(file.ok().filter(|mut file| file.seek(SeekFrom::End(0)).is_ok()))
    }

    /// Whether there is one to read.
    pub fn is_readable(&self) -> bool {
        self.0.is_some()
    }

    /// Its complaints until now.
    pub fn complaints(&mut self) -> Vec<String> {
        let Some(file) = &mut self.0 else { return Vec::new() };
        let mut complaints = Vec::new();
        // One read is one record (Documentation/ABI/testing/dev-kmsg), at most 8 KiB.
        let mut record = [0; 8192];
        loop {
            match file.read(&mut record) {
                Ok(0) => return complaints,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    if COMPLAINTS.iter().any(|complaint| text.contains(complaint)) {
                        complaints.push(text.trim_end().to_string());
                    }
                }
                // Records were overwritten before they were read: go on with the oldest that is left.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(_) => return complaints,
            }
        }
    }
}
