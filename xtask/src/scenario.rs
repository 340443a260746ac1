//! `cargo xtask scenario`: builds all, then becomes the lab's binary, which has the scenarios.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::build::{self, Profile};
use crate::privilege::Privilege;
use crate::run::{LAB_BINARY, become_command};
use crate::toolchain;
use crate::workspace::Workspace;

/// Arguments of `cargo xtask scenario`.
#[derive(Args)]
pub(crate) struct Scenario {
    /// Build user space with optimizations
    #[arg(long)]
    release: bool,
    /// The scenario's name; without it, all are listed
    name: Option<String>,
    /// --connections N, --rounds N, --nodes N, --targets N, --changes N, --neighbours N, --flapping N, --packets N, --seconds N, --seed N: where the scenario's own size does not suit
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

impl Scenario {
    /// Builds, and becomes the lab.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let profile = if self.release { Profile::Release } else { Profile::Debug };
        toolchain::ensure_runtime()?;
        build::ebpf(workspace)?;
        build::user_space(workspace, profile, &["lb-userspace", "lab"])?;
        let binary = workspace.binary(profile.directory(), LAB_BINARY);
        let mut command = match &self.name {
            Some(_) => Privilege::find("cargo xtask scenario")?.command(binary),
            None => Command::new(binary),
        };
        command.arg("scenario").args(&self.name).args(&self.options);
        become_command(&mut command)
    }
}
