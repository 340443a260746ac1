//! `cargo xtask build`: first the eBPF programs, with their own toolchain, then the user space that embeds
//! them. Objects that did not change are not written, so nothing is rebuilt for nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use crate::invocation::{cargo, output_of, say, succeed};
use crate::object::without_dwarf;
use crate::toolchain::{self, EBPF_TARGET, EbpfToolchain};
use crate::workspace::Workspace;

/// Arguments of `cargo xtask build`.
#[derive(Args)]
pub(crate) struct Build {
    /// Build user space with optimizations (the eBPF programs always are)
    #[arg(long)]
    release: bool,
    /// Let the balancer log each packet that it does not forward; for finding a fault, never for production
    #[arg(long)]
    trace: bool,
}

impl Build {
    /// Builds the eBPF programs and `sluice`.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<()> {
        let features = if self.trace { vec![TRACE.to_string()] } else { Vec::new() };
        ebpf_with(workspace, &features, &workspace.bpf_objects())?;
        let profile = if self.release { Profile::Release } else { Profile::Debug };
        user_space_with(workspace, profile, &["lb-userspace"], &features)
    }
}

/// The feature of programs and user space that logs packets.
const TRACE: &str = "trace";

/// How user space is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build.
    Debug,
    /// Quick to run.
    Release,
}

impl Profile {
    /// Its directory under the target directory.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            Profile::Debug => "debug",
            Profile::Release => "release",
        }
    }
}

/// Builds every binary of `packages`.
pub(crate) fn user_space(workspace: &Workspace, profile: Profile, packages: &[&str]) -> Result<()> {
    user_space_with(workspace, profile, packages, &[])
}

fn user_space_with(
    workspace: &Workspace,
    profile: Profile,
    packages: &[&str],
    features: &[String],
) -> Result<()> {
    toolchain::ensure_build()?;
    say(format_args!("building {} ({})", packages.join(", "), profile.directory()));
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["build", "--bins"]);
    for package in packages {
        command.args(["--package", package]);
    }
    if profile == Profile::Release {
        command.arg("--release");
    }
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    succeed(&mut command)
}

/// Builds every program of `lb-ebpf` and puts the objects where user space finds them.
pub(crate) fn ebpf(workspace: &Workspace) -> Result<()> {
    ebpf_with(workspace, &[], &workspace.bpf_objects())
}

/// Builds every program of `lb-ebpf` with these features and puts the objects into `directory`.
pub(crate) fn ebpf_with(workspace: &Workspace, features: &[String], directory: &Path) -> Result<()> {
    let toolchain = EbpfToolchain::ensure(workspace)?;
    say(format_args!("building the eBPF programs ({})", toolchain.rustc.describe()));
    let mut command = ebpf_cargo(workspace, &toolchain, "build");
    command.args(["--release", "--bins", "--message-format=json-render-diagnostics"]);
    command.args(["--features", &features.join(",")]);
    for object in executables(&output_of(&mut command)?) {
        let content = fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
        let content =
            without_dwarf(&content).with_context(|| format!("making {} smaller", object.display()))?;
        let name = object.file_name().expect("an entry of a directory has a name");
        write_if_changed(&content, &directory.join(name))?;
    }
    Ok(())
}

/// `cargo SUBCOMMAND` for the eBPF programs: their manifest, target, flags and target directory.
pub(crate) fn ebpf_cargo(
    workspace: &Workspace,
    toolchain: &EbpfToolchain,
    subcommand: &str,
) -> std::process::Command {
    let mut command = toolchain.rustc.cargo(subcommand);
    command
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&toolchain.linker.path, std::env::consts::ARCH))
        .env_remove("CARGO_BUILD_TARGET")
        .current_dir(&workspace.root)
        .arg("--manifest-path")
        .arg(workspace.ebpf_manifest())
        .args(["--target", EBPF_TARGET, "--target-dir"])
        .arg(workspace.ebpf_target());
    command
}

/// Flags that are separated as `CARGO_ENCODED_RUSTFLAGS` wants it, so that a path may hold spaces.
fn rustflags(linker: &Path, architecture: &str) -> String {
    [
        "-C".to_string(),
        format!("linker={}", linker.display()),
        "-C".to_string(),
        "debuginfo=2".to_string(),
        // Names and types of maps and programs, for the loader and for people's tools.
        "-C".to_string(),
        "link-arg=--btf".to_string(),
        // The host's registers, as aya-ebpf's build script would have it.
        "--cfg".to_string(),
        format!("bpf_target_arch=\"{architecture}\""),
    ]
    .join("\u{1f}")
}

/// What cargo says in JSON, one message a line, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    /// The linked object of a binary.
    executable: Option<PathBuf>,
}

fn executables(messages: &str) -> Vec<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable).collect()
}

fn write_if_changed(content: &[u8], destination: &Path) -> Result<()> {
    if fs::read(destination).is_ok_and(|present| present == content) {
        return Ok(());
    }
    if let Some(directory) = destination.parent() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    // By renaming, so that a build that runs now never embeds half an object.
    let half = destination.with_extension("half");
    fs::write(&half, content).with_context(|| format!("writing {}", half.display()))?;
    fs::rename(&half, destination).with_context(|| format!("writing {}", destination.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_survive_a_path_with_spaces() {
        let flags = rustflags(Path::new("/a b/bpf-linker"), "x86_64");
        let words: Vec<&str> = flags.split('\u{1f}').collect();
        assert_eq!(words[1], "linker=/a b/bpf-linker");
        assert_eq!(words.last(), Some(&"bpf_target_arch=\"x86_64\""));
    }

    #[test]
    fn only_linked_objects_are_taken() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","executable":"/t/release/balancer"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executables(messages), [PathBuf::from("/t/release/balancer")]);
    }

    #[test]
    fn an_object_that_did_not_change_is_not_written() {
        let directory = std::env::temp_dir().join(format!("sluice-xtask-write-{}", std::process::id()));
        let object = directory.join("bpf").join("balancer");
        let modified = || fs::metadata(&object).unwrap().modified().unwrap();
        write_if_changed(b"1", &object).unwrap();
        let first = modified();
        write_if_changed(b"1", &object).unwrap();
        assert_eq!(modified(), first);
        write_if_changed(b"2", &object).unwrap();
        assert_eq!(fs::read(&object).unwrap(), b"2");
        assert_eq!(fs::read_dir(directory.join("bpf")).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
