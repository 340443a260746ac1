//! `cargo xtask fuzz`: builds the mutation fuzzer with optimizations, and becomes it.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::build::{self, Profile};
use crate::privilege::Privilege;
use crate::run::become_command;
use crate::toolchain;
use crate::workspace::Workspace;

/// The fuzzer's binary, in the package `lab`.
const FUZZER: &str = "sluice-fuzz";

/// Arguments of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// How many packets
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// What all packets and maps follow from; without it another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// When to end in any case
    #[arg(long)]
    seconds: Option<u64>,
    /// The first epoch: with the seed and the epoch of a report it is found again at once
    #[arg(long)]
    epoch: Option<u64>,
    /// Threads; one a processor if not said
    #[arg(long)]
    threads: Option<u64>,
}

impl Fuzz {
    /// Builds, and becomes the fuzzer.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let privilege = Privilege::find("cargo xtask fuzz")?;
        toolchain::ensure_runtime()?;
        build::ebpf(workspace)?;
        build::user_space(workspace, Profile::Release, &["lab"])?;
        let mut command = privilege.command(workspace.binary(Profile::Release.directory(), FUZZER));
        self.pass_on(&mut command);
        become_command(&mut command)
    }

    fn pass_on(&self, command: &mut Command) {
        let optional = [
            ("--seed", self.seed),
            ("--seconds", self.seconds),
            ("--epoch", self.epoch),
            ("--threads", self.threads),
        ];
        command.args(["--packets", &self.packets.to_string()]);
        for (name, value) in optional {
            if let Some(value) = value {
                command.args([name, &value.to_string()]);
            }
        }
    }
}
