//! bpf-linker: turns the bitcode of eBPF programs into objects with BTF.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{EbpfRustc, apt};
use crate::invocation::{cargo, clean, on_path, say, succeed, try_output};
use crate::workspace::Workspace;

/// The version that all programs here were tried with.
const VERSION: &str = "0.13.0";

/// LLVM versions that this bpf-linker can be built against.
const LLVM_VERSIONS: [u32; 3] = [21, 22, 23];

/// A bpf-linker of the right version.
pub(crate) struct BpfLinker {
    /// Its executable.
    pub(crate) path: PathBuf,
}

impl BpfLinker {
    /// Finds it on the PATH or among this workspace's tools, or builds it there.
    pub(crate) fn ensure(workspace: &Workspace, rustc: &EbpfRustc) -> Result<BpfLinker> {
        let built = workspace.tools().join("bin/bpf-linker");
        for candidate in on_path("bpf-linker").into_iter().chain([built.clone()]) {
            if is_right_version(&candidate) {
                return Ok(BpfLinker { path: candidate });
            }
        }
        build(workspace, rustc.llvm_major()?)?;
        Ok(BpfLinker { path: built })
    }
}

fn is_right_version(linker: &Path) -> bool {
    try_output(clean(linker).arg("--version"))
        .is_some_and(|version| version.split(' ').nth(1) == Some(VERSION))
}

fn build(workspace: &Workspace, rustc_llvm: u32) -> Result<()> {
    let (llvm, prefix) =
        find_llvm(rustc_llvm).or_else(|| install_llvm(rustc_llvm)).with_context(|| remedy(rustc_llvm))?;
    say(format_args!(
        "building bpf-linker {VERSION} with LLVM {llvm}: it links eBPF programs (some minutes, once)"
    ));
    let mut command = cargo();
    command
        .env("LLVM_PREFIX", prefix)
        .args(["install", "bpf-linker", "--locked", "--version", VERSION, "--no-default-features"])
        .args(["--features", &format!("llvm-{llvm}"), "--root"])
        .arg(workspace.tools());
    succeed(&mut command).context("building bpf-linker")
}

fn remedy(rustc_llvm: u32) -> String {
    format!(
        "bpf-linker {VERSION} is missing, and there is no LLVM {rustc_llvm} or newer to build it with: install \
         the development files of LLVM {rustc_llvm} (with llvm-config on the PATH), or put a ready-made \
         bpf-linker {VERSION} on the PATH (https://github.com/aya-rs/bpf-linker/releases)"
    )
}

/// An installed LLVM that is new enough to read the compiler's bitcode, the closest first, with its prefix.
fn find_llvm(rustc_llvm: u32) -> Option<(u32, PathBuf)> {
    LLVM_VERSIONS.iter().filter(|version| **version >= rustc_llvm).find_map(|version| {
        let debian = PathBuf::from(format!("/usr/lib/llvm-{version}"));
        if debian.join("include/llvm-c").exists() {
            return Some((*version, debian));
        }
        ["llvm-config".to_string(), format!("llvm-config-{version}")].iter().find_map(|config| {
            let found = try_output(clean(config).arg("--version"))?;
            let prefix = PathBuf::from(try_output(clean(config).arg("--prefix"))?);
            let is_usable =
                found.starts_with(&format!("{version}.")) && prefix.join("include/llvm-c").exists();
            is_usable.then_some((*version, prefix))
        })
    })
}

fn install_llvm(rustc_llvm: u32) -> Option<(u32, PathBuf)> {
    if !apt::is_usable() {
        return None;
    }
    for version in LLVM_VERSIONS.iter().filter(|version| **version >= rustc_llvm) {
        let (llvm, polly) = (format!("llvm-{version}-dev"), format!("libpolly-{version}-dev"));
        let packages = [llvm.as_str(), polly.as_str(), "zlib1g-dev", "libzstd-dev", "g++"];
        if apt::offers(&packages) {
            say(format_args!("bpf-linker {VERSION} is missing; LLVM {version} is needed to build it"));
            return apt::install(&packages).ok().and_then(|()| find_llvm(*version));
        }
    }
    None
}
