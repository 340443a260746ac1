//! rustfmt and clippy, with warnings as errors.

use std::process::Command;

use anyhow::Result;

use super::summary::Summary;
use crate::build::ebpf_cargo;
use crate::invocation::{cargo, clean, on_path, say, shown, status_of, succeed, try_output};
use crate::toolchain::EbpfToolchain;
use crate::workspace::Workspace;

/// Lints the workspace and the eBPF programs; what complains is in the summary.
pub(super) fn run(workspace: &Workspace, summary: &mut Summary) -> Result<()> {
    ensure_components()?;
    let mut format = cargo();
    check(format.args(["fmt", "--all", "--check"]).current_dir(&workspace.root), summary)?;
    let mut format = cargo();
    check(format.args(["fmt", "--check", "--manifest-path"]).arg(workspace.ebpf_manifest()), summary)?;
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    check(clippy.current_dir(&workspace.root), summary)?;
    clippy_of_ebpf(workspace, summary)
}

/// The eBPF programs are for another compiler, which has a clippy of its own or none.
fn clippy_of_ebpf(workspace: &Workspace, summary: &mut Summary) -> Result<()> {
    let toolchain = EbpfToolchain::ensure(workspace)?;
    if !toolchain.rustc.has_clippy() {
        say(format_args!("no clippy for lb-ebpf: {} comes without it", toolchain.rustc.describe()));
        return Ok(());
    }
    let mut clippy = ebpf_cargo(workspace, &toolchain, "clippy");
    check(clippy.args(["--release", "--bins", "--", "-D", "warnings"]), summary)
}

fn check(command: &mut Command, summary: &mut Summary) -> Result<()> {
    say(shown(command));
    if !status_of(command)?.success() {
        summary.add_failure(format!("lint: {}", shown(command)));
    }
    Ok(())
}

/// rustup's minimal profile has neither rustfmt nor clippy.
fn ensure_components() -> Result<()> {
    let missing: Vec<_> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(subcommand, _)| try_output(cargo().args([subcommand, "--version"])).is_none())
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() || on_path("rustup").is_none() {
        return Ok(());
    }
    say(format_args!("installing rustup's components {} to lint with", missing.join(", ")));
    succeed(clean("rustup").args(["component", "add"]).args(missing))
}
