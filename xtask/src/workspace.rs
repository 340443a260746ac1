//! Where the workspace and what it builds are. `CARGO_TARGET_DIR` and cargo's own configuration are honoured,
//! because cargo is the one that is asked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::invocation::{cargo, output_of};

/// The directories that every command works with.
pub(crate) struct Workspace {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, absolute.
    pub(crate) target: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

impl Workspace {
    /// The workspace that this very xtask belongs to, wherever it is called from.
    pub(crate) fn find() -> Result<Workspace> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(manifest);
        let metadata: Metadata = serde_json::from_str(&output_of(&mut command)?)
            .context("reading the output of cargo metadata")?;
        Ok(Workspace { root: metadata.workspace_root, target: metadata.target_directory })
    }

    /// Where tools that were built for this workspace are installed (`bin` is inside).
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The eBPF programs' own workspace.
    pub(crate) fn ebpf_manifest(&self) -> PathBuf {
        self.root.join("lb-ebpf").join("Cargo.toml")
    }

    /// Cargo's target directory for the eBPF programs.
    pub(crate) fn ebpf_target(&self) -> PathBuf {
        self.target.join("ebpf")
    }

    /// Where the user-space crate finds the eBPF objects.
    pub(crate) fn bpf_objects(&self) -> PathBuf {
        self.target.join("bpf")
    }

    /// A binary of the workspace in a profile's directory (`debug` or `release`).
    pub(crate) fn binary(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }
}
