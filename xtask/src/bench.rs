//! `cargo xtask bench`: builds all, then hands over to the bench of the package `lab`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::build::{self, Profile};
use crate::privilege::Privilege;
use crate::run::become_command;
use crate::workspace::Workspace;

/// The bench's binary, in the package `lab`.
const BENCH_BINARY: &str = "bench";

/// The binary of the control plane's bench, there too.
const CONTROL_BINARY: &str = "control";

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Bench {
    /// Measure the way from the API to the kernel instead
    #[arg(long)]
    control: bool,
    /// What to measure and how long; `cargo xtask bench -- --help` says it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

impl Bench {
    /// Builds, and becomes the bench. User space is optimized: how long it takes to publish a change is measured, too.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let privilege = Privilege::find("cargo xtask bench")?;
        build::ebpf(workspace)?;
        let (packages, binary): (&[&str], _) =
            if self.control { (&["lab", "lb-userspace"], CONTROL_BINARY) } else { (&["lab"], BENCH_BINARY) };
        build::user_space(workspace, Profile::Release, packages)?;
        let mut command = privilege.command(workspace.binary(Profile::Release.directory(), binary));
        become_command(command.args(&self.arguments))
    }
}
