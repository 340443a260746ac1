//! The rustc that knows `core` for eBPF: the distribution's, with a ready-made `core`, or rustup's nightly,
//! which builds it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt;
use crate::invocation::{clean, on_path, output_of, say, succeed, try_output};

/// The target of every eBPF program here: little endian, as the hosts are.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Debian's rustc for the web browsers, newer than its `rustc`, with `core` for eBPF in a package of its own.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const SYSTEM_CARGO: &str = "/usr/bin/cargo";

/// A way to compile for eBPF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EbpfRustc {
    /// The distribution's rustc has `core` for eBPF; nightly flags are unlocked by RUSTC_BOOTSTRAP.
    System,
    /// rustup's nightly with the `rust-src` component builds `core` itself.
    Nightly,
}

impl EbpfRustc {
    /// Finds one, preferring what needs no download, or installs one.
    pub(crate) fn ensure() -> Result<EbpfRustc> {
        if let Some(found) = EbpfRustc::find() {
            return Ok(found);
        }
        if apt::is_usable() && apt::offers(&DEBIAN_PACKAGES) {
            say("no rustc here has `core` for eBPF; Debian's rustc-web has it");
            apt::install(&DEBIAN_PACKAGES)?;
        } else if on_path("rustup").is_some() {
            install_nightly()?;
        }
        EbpfRustc::find().context(
            "no rustc here can compile for eBPF: install Debian's packages rustc-web, cargo-web and \
             libstd-rust-web-dev-bpf, or rustup (https://rustup.rs) and then \
             `rustup toolchain install nightly --profile minimal --component rust-src`",
        )
    }

    fn find() -> Option<EbpfRustc> {
        if system_has_core() {
            Some(EbpfRustc::System)
        } else if nightly_has_sources() {
            Some(EbpfRustc::Nightly)
        } else {
            None
        }
    }

    /// `cargo SUBCOMMAND` with this compiler.
    pub(crate) fn cargo(self, subcommand: &str) -> Command {
        match self {
            EbpfRustc::System => {
                let mut command = clean(SYSTEM_CARGO);
                command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", SYSTEM_RUSTC).arg(subcommand);
                command
            }
            EbpfRustc::Nightly => {
                let mut command = clean("rustup");
                // Otherwise the stable toolchain that called xtask would be used again.
                command.env_remove("RUSTUP_TOOLCHAIN");
                command.args(["run", "nightly", "cargo", subcommand, "-Z", "build-std=core"]);
                command
            }
        }
    }

    /// Whether clippy is there for this compiler; Debian's rustc-web comes without it.
    pub(crate) fn has_clippy(self) -> bool {
        match self {
            EbpfRustc::System => Path::new("/usr/bin/cargo-clippy").exists(),
            EbpfRustc::Nightly => {
                nightly_sysroot().is_some_and(|root| root.join("bin/cargo-clippy").exists())
            }
        }
    }

    /// The major version of the LLVM that writes this compiler's bitcode; a linker must not be older.
    pub(crate) fn llvm_major(self) -> Result<u32> {
        let mut command = match self {
            EbpfRustc::System => clean(SYSTEM_RUSTC),
            EbpfRustc::Nightly => {
                let mut command = clean("rustup");
                command.args(["run", "nightly", "rustc"]);
                command
            }
        };
        let version = output_of(command.args(["--version", "--verbose"]))?;
        parse_llvm_major(&version).with_context(|| format!("no LLVM version in rustc's answer: {version}"))
    }

    /// Names the compiler for messages.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            EbpfRustc::System => "the system's rustc with its core for eBPF",
            EbpfRustc::Nightly => "rustup's nightly, building core for eBPF",
        }
    }
}

fn parse_llvm_major(version: &str) -> Option<u32> {
    version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?
        .split('.')
        .next()?
        .trim()
        .parse()
        .ok()
}

fn system_has_core() -> bool {
    let Some(sysroot) = try_output(clean(SYSTEM_RUSTC).args(["--print", "sysroot"])) else { return false };
    Path::new(SYSTEM_CARGO).exists() && Path::new(&sysroot).join("lib/rustlib").join(TARGET).exists()
}

fn nightly_has_sources() -> bool {
    nightly_sysroot().is_some_and(|root| root.join("lib/rustlib/src/rust/library/core").exists())
}

/// `rustup run` would install a missing toolchain where its settings say so; only a look is wanted here.
fn nightly_sysroot() -> Option<PathBuf> {
    let mut command = clean("rustup");
    command.env("RUSTUP_AUTO_INSTALL", "0").args(["run", "nightly", "rustc", "--print", "sysroot"]);
    try_output(&mut command).map(PathBuf::from)
}

fn install_nightly() -> Result<()> {
    say("no rustc here has `core` for eBPF; installing rustup's nightly with the sources to build it");
    let mut command = clean("rustup");
    command.args(["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"]);
    if succeed(&mut command).is_err() {
        bail!("rustup could not install nightly with rust-src; its messages are above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_is_read_from_rustc() {
        let text =
            "rustc 1.96.0 (ac68faa20 2026-05-25)\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.8\n";
        assert_eq!(parse_llvm_major(text), Some(22));
        assert_eq!(parse_llvm_major("rustc 1.96.0"), None);
    }
}
