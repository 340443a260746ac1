//! `cargo xtask run`: builds all, then hands over to the lab (or, after `--`, to the controller on this
//! host). Hands over for good: the lab then gets Ctrl-C itself and can clean up.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::build::{self, Profile};
use crate::invocation::shown;
use crate::privilege::Privilege;
use crate::toolchain;
use crate::workspace::Workspace;

/// The lab's binary, in the package `lab`.
pub(crate) const LAB_BINARY: &str = "sluice-lab";

/// Arguments of `cargo xtask run`.
#[derive(Args)]
pub(crate) struct Run {
    /// Play the lab's story, check each step, and exit with 0 or 1
    #[arg(long)]
    demo: bool,
    /// How many nodes the lab has, behind a router that shares packets out to them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8), conflicts_with = "demo")]
    nodes: u8,
    /// How many targets the lab has
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    targets: u8,
    /// Build user space with optimizations
    #[arg(long)]
    release: bool,
    /// Run `sluice run` with these arguments on this host instead of a lab: --config FILE --interface IF …
    #[arg(last = true, conflicts_with = "demo")]
    controller: Vec<String>,
}

impl Run {
    /// Builds, and becomes the lab or the controller.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let privilege = Privilege::find("cargo xtask run")?;
        let profile = if self.release { Profile::Release } else { Profile::Debug };
        toolchain::ensure_runtime()?;
        build::ebpf(workspace)?;
        build::user_space(workspace, profile, &["lb-userspace", "lab"])?;
        become_command(&mut self.command(workspace, profile, privilege))
    }

    fn command(&self, workspace: &Workspace, profile: Profile, privilege: Privilege) -> Command {
        if !self.controller.is_empty() {
            let mut command = privilege.command(workspace.binary(profile.directory(), "sluice"));
            command.arg("run").args(&self.controller);
            return command;
        }
        if self.demo {
            return demo(workspace, profile, privilege, self.targets);
        }
        let mut command = privilege.command(workspace.binary(profile.directory(), LAB_BINARY));
        command.args(["run", "--nodes", &self.nodes.to_string(), "--targets", &self.targets.to_string()]);
        command
    }
}

/// The lab's command that plays its story.
pub(crate) fn demo(workspace: &Workspace, profile: Profile, privilege: Privilege, targets: u8) -> Command {
    let mut command = privilege.command(workspace.binary(profile.directory(), LAB_BINARY));
    command.args(["demo", "--targets", &targets.to_string()]);
    command
}

/// Replaces this process.
pub(crate) fn become_command(command: &mut Command) -> Result<ExitCode> {
    let error = command.exec();
    Err(error).with_context(|| format!("starting {}", shown(command)))
}
