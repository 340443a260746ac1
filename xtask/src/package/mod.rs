//! `cargo xtask package`: the Debian package, the same bytes from the same sources.
//!
//! A package is a tree of files with modes, made under the target directory, and dpkg-deb's work on it: no time, user or
//! path of this machine gets into it. What is in the package is `tree`'s, what is said of it `control`'s.

mod control;
mod licences;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::build::{self, Profile};
use crate::invocation::{clean, output_of, say, succeed};
use crate::workspace::Workspace;
use control::Control;
use tree::Tree;

/// Its version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Arguments of `cargo xtask package`.
#[derive(Args)]
pub(crate) struct Package {
    /// Package this `sluice` instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the package goes: `target/package` without it
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Compress little: for trying out
    #[arg(long)]
    quick: bool,
}

impl Package {
    /// Builds the binary, if none is named, and the package, and says where it is.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => {
                build::ebpf(workspace)?;
                build::user_space(workspace, Profile::Release, &["lb-userspace"])?;
                workspace.binary(Profile::Release.directory(), "sluice")
            }
        };
        let output = self.output.clone().unwrap_or_else(|| workspace.target.join("package"));
        let compression = if self.quick { Compression::Quick } else { Compression::Small };
        let package = make(workspace, &binary, &output, compression)?;
        println!("{}", package.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// What compressing may take.
#[derive(Debug, Clone, Copy)]
enum Compression {
    /// Seconds of a processor, for a third of the size.
    Small,
    /// Little.
    Quick,
}

impl Compression {
    /// dpkg-deb's words for it.
    fn options(self) -> [&'static str; 2] {
        match self {
            Compression::Small => ["-Zxz", "-z6"],
            Compression::Quick => ["-Zgzip", "-z1"],
        }
    }
}

fn make(workspace: &Workspace, binary: &Path, output: &Path, compression: Compression) -> Result<PathBuf> {
    let architecture = control::architecture()?;
    let stage = output.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("clearing {}", stage.display()))?;
    }
    let tree = Tree::new(&stage)?;
    tree.program(binary)?;
    tree.manual_and_completions(binary)?;
    tree.files(&workspace.root)?;
    tree.documentation(&workspace.root)?;
    let programs =
        [(workspace.root.join("Cargo.toml"), "lb-userspace"), (workspace.ebpf_manifest(), "lb-ebpf")];
    tree.licences(&licences::of(&programs)?)?;
    let needs =
        control::libc_version(&output_of(clean("objdump").arg("-T").arg(stage.join("usr/bin/sluice")))?)?;
    let control = Control { version: VERSION, architecture, libc: &needs, kilobytes: tree.kilobytes()? };
    tree.control(&workspace.root, &control.to_string())?;
    let package = output.join(format!("sluice_{VERSION}_{architecture}.deb"));
    say(format_args!("packing {}", package.display()));
    let mut command = clean("dpkg-deb");
    command.env("SOURCE_DATE_EPOCH", date(workspace)?);
    command.arg("--root-owner-group").args(compression.options());
    command.arg("--build").args([&stage, &package]);
    succeed(command.stdout(std::io::stderr()))?;
    fs::remove_dir_all(&stage).with_context(|| format!("clearing {}", stage.display()))?;
    Ok(package)
}

/// The time that all files get: `SOURCE_DATE_EPOCH`, or else the last commit's.
fn date(workspace: &Workspace) -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let mut command = clean("git");
    command.arg("-C").arg(&workspace.root).args(["log", "-1", "--format=%ct"]);
    let time =
        output_of(&mut command).context("no commit tells the package's date: set SOURCE_DATE_EPOCH")?;
    Ok(time.trim().to_owned())
}
