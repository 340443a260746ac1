//! `cargo xtask fuzz-api`: libFuzzer on the API's edge, from the corpus in `fuzz/corpus`.
//!
//! The targets are built by the workspace's own toolchain: coverage is an LLVM pass that a stable rustc has, and
//! libFuzzer comes with its crate. `cargo +nightly fuzz run TARGET` works as well, where it is installed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::invocation::{cargo, on_path, say, status_of, succeed};
use crate::toolchain;
use crate::workspace::Workspace;

/// What libFuzzer follows: counters of edges with their table, and the operands of comparisons.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Arguments of `cargo xtask fuzz-api`.
#[derive(Args)]
pub(crate) struct FuzzApi {
    /// How long, for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Which targets; all if not said
    #[arg(long, value_enum)]
    target: Vec<Target>,
    /// Put the smallest corpus that reaches as much into fuzz/corpus afterwards
    #[arg(long)]
    minimise: bool,
    /// Play these inputs instead, as a report names them
    #[arg(last = true)]
    inputs: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Forms, shapes and operations
    Requests,
    /// Signatures in headers and in queries
    Signature,
    /// Configuration files
    Configuration,
    /// What an EC2-compatible endpoint answers
    Answers,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::Requests => "requests",
            Target::Signature => "signature",
            Target::Configuration => "configuration",
            Target::Answers => "answers",
        }
    }
}

impl FuzzApi {
    /// Builds the targets, and runs one after the other until one fails.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let fuzzing = Fuzzing::build(workspace)?;
        let targets = if self.target.is_empty() { Target::value_variants() } else { &self.target };
        for target in targets {
            let status = if self.inputs.is_empty() {
                fuzzing.search(*target, self.seconds)?
            } else {
                status_of(fuzzing.command(*target).args(&self.inputs))?
            };
            if !status.success() {
                return Ok(ExitCode::FAILURE);
            }
            if self.minimise {
                fuzzing.minimise(*target)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The built targets and their directories.
struct Fuzzing {
    /// In the repository.
    package: PathBuf,
    /// In the target directory.
    output: PathBuf,
    triple: String,
}

impl Fuzzing {
    fn build(workspace: &Workspace) -> Result<Fuzzing> {
        if on_path("c++").is_none() {
            say("there is no c++: libFuzzer is C++");
            toolchain::apt::install(&["g++"])?;
        }
        let (package, output) = (workspace.root.join("fuzz"), workspace.target.join("fuzz"));
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        // The versions are the workspace's; cargo adds those that the fuzzer alone has.
        fs::copy(workspace.root.join("Cargo.lock"), package.join("Cargo.lock"))
            .context("copying Cargo.lock into fuzz")?;
        // With a target, the flags are not those of build scripts and macros.
        let mut build = cargo();
        build.args(["build", "--bins", "--target", &triple, "--manifest-path"]);
        build.arg(package.join("Cargo.toml")).arg("--target-dir").arg(&output);
        succeed(build.env("RUSTFLAGS", COVERAGE).env_remove("CARGO_TARGET_DIR"))?;
        Ok(Fuzzing { package, output, triple })
    }

    fn corpus(&self, target: Target) -> PathBuf {
        self.package.join("corpus").join(target.name())
    }

    /// What was found beyond the corpus.
    fn found(&self, target: Target) -> PathBuf {
        self.output.join("found").join(target.name())
    }

    fn command(&self, target: Target) -> Command {
        Command::new(self.output.join(&self.triple).join("debug").join(target.name()))
    }

    fn search(&self, target: Target, seconds: u64) -> Result<std::process::ExitStatus> {
        let found = self.found(target);
        fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
        let mut command = self.command(target);
        command.arg(format!("-max_total_time={seconds}"));
        command.args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={}/", self.output.display()));
        command.arg(format!("-dict={}", self.package.join("dictionary").display()));
        status_of(command.arg(found).arg(self.corpus(target)))
    }

    /// The corpus again, from the corpus and what was found.
    fn minimise(&self, target: Target) -> Result<()> {
        let corpus = self.corpus(target);
        let smallest = self.output.join("smallest").join(target.name());
        let _ = fs::remove_dir_all(&smallest);
        fs::create_dir_all(&smallest).with_context(|| format!("making {}", smallest.display()))?;
        let mut command = self.command(target);
        succeed(
            command.args(["-merge=1", "-max_len=1024"]).arg(&smallest).arg(&corpus).arg(self.found(target)),
        )?;
        fs::remove_dir_all(&corpus).with_context(|| format!("replacing {}", corpus.display()))?;
        fs::create_dir_all(&corpus).with_context(|| format!("making {}", corpus.display()))?;
        for entry in fs::read_dir(&smallest)? {
            let entry = entry?;
            fs::copy(entry.path(), corpus.join(entry.file_name()))?;
        }
        Ok(())
    }
}
