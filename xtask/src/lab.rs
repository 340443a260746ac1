//! `cargo xtask lab`: talks to the lab that `cargo xtask run` made in another terminal.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::build::Profile;
use crate::privilege::Privilege;
use crate::run::{LAB_BINARY, become_command};
use crate::workspace::Workspace;

/// Arguments of `cargo xtask lab`.
#[derive(Args)]
pub(crate) struct Lab {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Subcommand)]
enum LabCommand {
    /// Stop a target's server: its health checks fail, and it is withdrawn
    Stop {
        /// The target's name: t1, t2, …
        target: String,
    },
    /// Start a target's server again
    Start {
        /// The target's name: t1, t2, …
        target: String,
    },
    /// Kill a node, as a machine dies: its controller and its port; the router leaves it out
    Kill {
        /// The node's name: lb1, lb2, …
        node: String,
    },
    /// Bring a killed node back; the router uses it when it is ready
    Revive {
        /// The node's name: lb1, lb2, …
        node: String,
    },
    /// Print a controller's status as JSON
    Status {
        /// The node's name: lb1, lb2, …
        #[arg(default_value = "lb1")]
        node: String,
    },
}

impl Lab {
    /// Becomes the lab's own binary, which knows how to talk to a running lab.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let mut command = Privilege::find("cargo xtask lab")?.command(built(workspace)?);
        match &self.command {
            LabCommand::Stop { target } => command.args(["stop", target]),
            LabCommand::Start { target } => command.args(["start", target]),
            LabCommand::Kill { node } => command.args(["kill", node]),
            LabCommand::Revive { node } => command.args(["revive", node]),
            LabCommand::Status { node } => command.args(["status", node]),
        };
        become_command(&mut command)
    }
}

/// The lab's binary as `cargo xtask run` built it.
fn built(workspace: &Workspace) -> Result<PathBuf> {
    for profile in [Profile::Debug, Profile::Release] {
        let binary = workspace.binary(profile.directory(), LAB_BINARY);
        if binary.exists() {
            return Ok(binary);
        }
    }
    bail!("there is no lab yet: start one with `cargo xtask run`")
}
