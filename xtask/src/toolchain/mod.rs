//! Everything that building and running Sluice needs beyond stable Rust: found if it is there, installed if
//! it is not, and never twice. What is installed is said, with the reason.

pub(crate) mod apt;
mod ebpf_rustc;
mod linker;
pub(crate) mod promtool;
pub(crate) mod python;
pub(crate) mod routers;

use std::path::Path;

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

/// Programs that only tests call.
const TESTS: [(&str, &str, &str); 8] = [
    ("etcd", "etcd-server", "nodes of the tests share their state in it"),
    ("etcdctl", "etcd-client", "the tests make users of etcd with it"),
    ("systemd-analyze", "systemd", "it reads the units, and runs them on a copy of the machine"),
    ("setpriv", "util-linux", "programs are run with what their units grant"),
    ("strace", "strace", "it tells which system calls the units must allow"),
    ("objdump", "binutils", "packages are stripped, and name the C library that they need"),
    ("man", "man-db", "manual pages are read with it"),
    ("lintian", "lintian", "it examines the package"),
];

/// What the user space is built with.
const BUILD: [(&str, &str, &str); 2] = [
    ("make", "make", "the allocator, jemalloc, is built with it"),
    ("protoc", "protobuf-compiler", "the client of etcd is made of etcd's protocol files"),
];

/// Where protoc finds the types that every protocol file may use; Debian has them in a package of their own.
const WELL_KNOWN_TYPES: &str = "/usr/include/google/protobuf/descriptor.proto";

/// Makes sure that the programs which the lab calls are there.
pub(crate) fn ensure_runtime() -> Result<()> {
    ensure(&RUNTIME)
}

/// Makes sure that the programs which the tests call are there.
pub(crate) fn ensure_tests() -> Result<()> {
    ensure(&RUNTIME)?;
    ensure(&TESTS)
}

/// Makes sure that the user space can be built.
pub(crate) fn ensure_build() -> Result<()> {
    // A protoc from elsewhere brings the types along.
    let is_debians = on_path("protoc").is_none_or(|path| path.starts_with("/usr/bin"));
    ensure(&BUILD)?;
    if is_debians && !Path::new(WELL_KNOWN_TYPES).exists() {
        say("the well-known types of protoc are missing (Debian package libprotobuf-dev)");
        apt::install(&["libprotobuf-dev"])?;
    }
    Ok(())
}

fn ensure(programs: &[(&str, &str, &str)]) -> Result<()> {
    let missing: Vec<_> = programs.iter().filter(|(program, ..)| on_path(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, package, why) in &missing {
        say(format_args!("{program} is missing (Debian package {package}): {why}"));
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    apt::install(&packages)
}
