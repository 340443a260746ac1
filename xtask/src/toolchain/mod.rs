//! Everything that building and running Sluice needs beyond stable Rust: found if it is there, installed if
//! it is not, and never twice. What is installed is said, with the reason.

pub(crate) mod apt;
mod ebpf_rustc;
mod linker;
pub(crate) mod python;
pub(crate) mod routers;

use anyhow::Result;

pub(crate) use ebpf_rustc::{EbpfRustc, TARGET as EBPF_TARGET};
pub(crate) use linker::BpfLinker;

use crate::invocation::{on_path, say};
use crate::workspace::Workspace;

/// What compiles eBPF programs.
pub(crate) struct EbpfToolchain {
    /// Compiles Rust to LLVM bitcode.
    pub(crate) rustc: EbpfRustc,
    /// Turns the bitcode into eBPF objects.
    pub(crate) linker: BpfLinker,
}

impl EbpfToolchain {
    /// Finds it, or installs it.
    pub(crate) fn ensure(workspace: &Workspace) -> Result<EbpfToolchain> {
        let rustc = EbpfRustc::ensure()?;
        let linker = BpfLinker::ensure(workspace, &rustc)?;
        Ok(EbpfToolchain { rustc, linker })
    }
}

/// Programs that the lab and the tests call: name, Debian package, why.
const RUNTIME: [(&str, &str, &str); 3] = [
    ("ip", "iproute2", "the lab makes network namespaces and links with it"),
    ("curl", "curl", "it is the lab's client"),
    ("nsenter", "util-linux", "the commands that the lab prints enter namespaces with it"),
];

/// Makes sure that the programs which the lab and the tests call are there.
pub(crate) fn ensure_runtime() -> Result<()> {
    let missing: Vec<_> = RUNTIME.iter().filter(|(program, ..)| on_path(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, package, why) in &missing {
        say(format_args!("{program} is missing (Debian package {package}): {why}"));
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    apt::install(&packages)
}
