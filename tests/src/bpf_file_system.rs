//! A BPF file system of a lab's own, where all its nodes pin their data planes.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::output_of;
use crate::topology::Lab;

/// The mounted file system; must end before the lab, in whose directory it is.
#[derive(Debug)]
pub struct BpfFileSystem {
    point: PathBuf,
}

impl BpfFileSystem {
    /// Mounts it, and makes it the place of all nodes' pins: controllers that start from now on keep their data planes
    /// there.
    ///
    /// # Errors
    /// If it can't be mounted.
    pub fn for_all_nodes(lab: &mut Lab) -> Result<BpfFileSystem> {
        let point = lab.lease.directory().join("bpf");
        std::fs::create_dir(&point).with_context(|| format!("making {}", point.display()))?;
        output_of(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&point))?;
        for node in &mut lab.nodes {
            node.pins = Some(point.join(&node.name));
        }
        Ok(BpfFileSystem { point })
    }
}

impl Drop for BpfFileSystem {
    fn drop(&mut self) {
        // A controller that still runs has a directory in it open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.point).status();
    }
}
