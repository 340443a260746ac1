//! What an operator should know of a valid configuration before it is in force.

use std::path::Path;

use super::Content;
use crate::announce::{By, Configuration};
use crate::secret_file::{Exposed, Readers};

/// All that is to be said of the file and of what it holds.
pub fn warnings(path: &Path, content: &Content) -> Vec<String> {
    let of_routers = content.announce.iter().flat_map(Configuration::warnings);
    of_routers.chain(exposed_secrets(path, content)).collect()
}

/// What to say of a file that holds a secret and that others than its owner and its group can read.
fn exposed_secrets(path: &Path, content: &Content) -> Option<String> {
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
