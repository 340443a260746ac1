//! Secrets in the file itself: a warning where others can read it.

use std::path::Path;

use super::Content;
use crate::announce::By;
use crate::secret_file::{Exposed, Readers};

/// What to say of a file that holds a secret and that others than its owner and its group can read.
pub fn exposed_secrets(path: &Path, content: &Content) -> Option<String> {
    if !content.holds_secrets() {
        return None;
    }
    // One that has gone since it was read can't be read by others.
    let exposed = Exposed::find(&path.metadata().ok()?, Readers::OwnerAndGroup)?;
    let file = path.display();
    Some(format!(
        "{file} holds the md5_password of a router and {exposed}; remedy: chmod 640 {file}, after chgrp sluice {file} \
         where the packaged unit reads it"
    ))
}

impl Content {
    /// Whether the text holds what nobody else should read. (Credentials are in files of their own.)
    fn holds_secrets(&self) -> bool {
        match self.announce.as_ref().map(|announce| &announce.by) {
            Some(By::Bgp(speaker)) => speaker.peers.iter().any(|peer| peer.md5_password.is_some()),
            Some(By::KernelTable(_)) | None => false,
        }
    }
}
