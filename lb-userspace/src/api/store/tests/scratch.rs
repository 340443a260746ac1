//! Directories that vanish with their test.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory for one test.
pub(in crate::api::store) struct Scratch {
    /// Where it is.
    pub(in crate::api::store) path: PathBuf,
}

impl Scratch {
    pub(in crate::api::store) fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sluice-state-{}-{number}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Scratch { path }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
