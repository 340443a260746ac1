//! A BPF file system of a lab's own, where its nodes pin their data planes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::lease::Lease;
use crate::process::output_of;
use crate::topology::Lab;

/// The mounted file system, and with it what is pinned there; must end before the lab, in whose directory it is.
#[derive(Debug)]
pub struct BpfFileSystem {
    point: PathBuf,
}

impl BpfFileSystem {
    /// Mounts it in the lab's directory.
    ///
    /// # Errors
    /// If it can't be mounted.
    pub fn mount(lease: &Lease) -> Result<BpfFileSystem> {
        let point = lease.directory().join("bpf");
        std::fs::create_dir(&point).with_context(|| format!("making {}", point.display()))?;
        output_of(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&point))?;
        Ok(BpfFileSystem { point })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// Mounts it, and makes it the place of all nodes' pins: controllers that start from now on keep their data planes
    /// there.
    ///
    /// # Errors
    /// If it can't be mounted.
    pub fn for_all_nodes(lab: &mut Lab) -> Result<BpfFileSystem> {
        let mounted = BpfFileSystem::mount(&lab.lease)?;
        for node in &mut lab.nodes {
            node.pins = Some(mounted.path().join(&node.name));
        }
        Ok(mounted)
    }
}

impl Drop for BpfFileSystem {
    fn drop(&mut self) {
        // A controller that still runs has a directory in it open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.point).status();
    }
}
